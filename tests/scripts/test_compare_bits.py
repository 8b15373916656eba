"""scripts/compare_bits.py: a checkout gives the bits of itself, and another one is told apart by what differs."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def compared(*arguments: str) -> subprocess.CompletedProcess[str]:
    """A net with BatchNorm on the reference, in this checkout and in another."""
    few = ["--only", "mlp_bn", "--engine", "reference", "--nets", "0"]
    command = [sys.executable, "scripts/compare_bits.py", str(ROOT), *arguments, *few]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)


def changed(tmp_path: Path, file: str, old: str, new: str) -> str:
    """A checkout in which a text of one file is another."""
    shutil.copytree(ROOT / "layerforge", tmp_path / "layerforge", ignore=shutil.ignore_patterns("__pycache__"))
    path = tmp_path / "layerforge" / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    return str(tmp_path)


def test_a_checkout_gives_the_bits_of_itself() -> None:
    command = [sys.executable, "scripts/compare_bits.py", str(ROOT), "--only", "random", "--nets", "1", "--steps", "2"]
    same = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert same.returncode == 0, same.stdout + same.stderr
    assert "4 trainings of 2 steps: 4 identical" in same.stdout


def test_another_rate_of_learning_is_found(tmp_path: Path) -> None:
    path = changed(tmp_path, "solvers/updater.py", "lr * group.lr_mult", "lr * group.lr_mult * 1.0001")
    other = compared(path, "--steps", "1")
    assert other.returncode == 1
    assert "mlp_bn reference all: differs from step 1: parameters\n" in other.stdout


def test_other_running_statistics_are_found(tmp_path: Path) -> None:
    other = compared(changed(tmp_path, "layers/norms/batch_norm.py", "m / (m - 1)", "1"), "--steps", "1")
    assert "mlp_bn reference all: differs from step 1: statistics\n" in other.stdout


def test_another_eval_is_found(tmp_path: Path) -> None:
    old = "xp.subtract(x, mean, out=xhat)\n    xhat *= inv_std\n"
    path = changed(tmp_path, "layers/norms/standardize.py", old, "xp.subtract(x, mean, out=xhat)\n")
    other = compared(path, "--steps", "5")
    assert "mlp_bn reference all: differs from step 5: outputs in eval\n" in other.stdout


def test_other_starting_values_are_found_or_left_aside(tmp_path: Path) -> None:
    path = changed(tmp_path, "contract/fillers.py", "rng.normal(0.0", "1.5 * rng.normal(0.0")
    other = compared(path, "--steps", "1")
    assert "mlp_bn reference all: starts with other: parameters\n" in other.stdout
    same = compared(path, "--steps", "1", "--same-start")
    assert same.returncode == 0, same.stdout + same.stderr
