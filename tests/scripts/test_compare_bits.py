"""scripts/compare_bits.py: a checkout gives the bits of itself, and another one is told apart."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def compared(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "scripts/compare_bits.py", *arguments, "--only", "random", "--nets", "1", "--steps", "2"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)


def test_another_rate_of_learning_is_found(tmp_path: Path) -> None:
    same = compared(str(ROOT))
    assert same.returncode == 0, same.stdout + same.stderr
    assert "4 trainings of 2 steps: 4 identical" in same.stdout
    shutil.copytree(ROOT / "layerforge", tmp_path / "layerforge", ignore=shutil.ignore_patterns("__pycache__"))
    rules = tmp_path / "layerforge" / "solvers" / "updater.py"
    text = rules.read_text()
    assert "lr * group.lr_mult" in text
    rules.write_text(text.replace("lr * group.lr_mult", "lr * group.lr_mult * 1.0001"))
    other = compared(str(tmp_path))
    assert other.returncode == 1
    assert "differs from step 1 on" in other.stdout
