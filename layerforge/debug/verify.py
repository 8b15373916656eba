"""`layerforge verify resume`: the promise of bit-exact resume, put to the test on the user's own configuration.

One training runs through. Another is killed (SIGKILL, which nobody can catch) again and again, at random moments and in
the middle of writing checkpoints, and resumed each time. At the end both must hold the same bits and have logged the
same figures.
"""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from .. import snapshot
from ..schema.errors import LayerForgeError
from ..training.rundir import find_run, metrics_by_step

# The command of this very package. -P: nothing in the working folder is imported in the place of a module.
PROGRAM = "import sys; sys.path.append(sys.argv.pop(1)); from layerforge.cli import main; sys.exit(main())"
PACKAGE = str(Path(__file__).resolve().parents[2])
TIMES = ("seconds", "time/step_ms", "run_segment")  # what may differ between two runs that are the same


@dataclass
class Verdict:
    """What came of a verification: how often it was killed, and what differs."""

    kills: int = 0
    writing: int = 0  # kills in the middle of writing a checkpoint
    starts: int = 0
    arrays: int = 0
    rows: int = 0
    differences: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not self.differences


def verify_resume(
    config: str, overrides: Sequence[str], kills: int, seed: int, tell: Callable[[str], None]
) -> Verdict:
    """Train `config` once through and once with `kills` kills, in a temporary folder, and compare.

    Errors   LayerForgeError when the uninterrupted training fails
    """
    with tempfile.TemporaryDirectory(prefix="layerforge-verify-") as folder:
        whole, broken = Path(folder) / "whole", Path(folder) / "broken"
        begun = time.monotonic()
        _finish(_start(config, overrides, whole, []))
        seconds = time.monotonic() - begun
        tell(f"uninterrupted: {seconds:.1f} s")
        verdict = Verdict()
        rng = random.Random(seed)
        while verdict.kills < kills:
            process = _start(config, overrides, broken, _resume_words(broken))
            verdict.starts += 1
            delay = rng.uniform(0.3, 1.0) * max(1.0, 2 * seconds / (kills + 1))
            in_writing = _kill(process, broken, delay, rng.random() < 0.5)
            if process.returncode == 0:
                tell(f"the run ended after {verdict.kills} kills; beginning another one")
                _compare(_run_of(whole), _run_of(broken), verdict)
                shutil.rmtree(broken)
                if verdict.differences:
                    return verdict
                continue
            verdict.kills += 1
            verdict.writing += in_writing
        _finish(_start(config, overrides, broken, _resume_words(broken)))
        verdict.starts += 1
        _compare(_run_of(whole), _run_of(broken), verdict)
        return verdict


def _start(config: str, overrides: Sequence[str], folder: Path, words: Sequence[str]) -> subprocess.Popen[str]:
    command = [sys.executable, "-P", "-c", PROGRAM, PACKAGE, "train", config, *overrides, "--output-dir", str(folder)]
    command += [*words, "--quiet", "--progress", "off", "--allow-config-change"]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def _resume_words(folder: Path) -> list[str]:
    """How to go on: with --resume where there is a checkpoint, from the beginning where none was written in time."""
    runs = [p.parent.parent for p in folder.glob("*/*/checkpoints/last.h5") if not p.parent.parent.is_symlink()]
    if runs:
        return ["--resume-from", str(runs[0])]
    shutil.rmtree(folder, ignore_errors=True)
    return []


def _finish(process: subprocess.Popen[str]) -> None:
    _, said = process.communicate()
    if process.returncode:
        raise LayerForgeError(f"training failed with exit code {process.returncode}:\n{said.strip()}")


def _kill(process: subprocess.Popen[str], folder: Path, delay: float, in_writing: bool) -> bool:
    """Kill a training after a delay, or, if asked, at the first moment after it when a checkpoint is being written."""
    deadline = time.monotonic() + delay
    while time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.002)
    caught, patience = False, time.monotonic() + delay
    while in_writing and not caught and time.monotonic() < patience and process.poll() is None:
        caught = any(folder.glob("*/*/checkpoints/.*.tmp"))
    process.kill()
    process.communicate()
    return caught and process.returncode != 0


def _run_of(folder: Path) -> Path:
    runs = [run for p in folder.iterdir() if (run := find_run(p)) is not None]
    return runs[0].path


def _compare(whole: Path, broken: Path, verdict: Verdict) -> None:
    for name in ("last.h5", "best.h5"):
        files = [run / "checkpoints" / name for run in (whole, broken)]
        if not files[0].exists():
            continue
        a, b = (snapshot.read_snapshot(f)[0] for f in files)
        verdict.arrays += len(a)
        verdict.differences += [f"{name}: {k} differs" for k in a if k not in b or not _same(a[k], b[k])]
    one, two = (_timeless(metrics_by_step(run)) for run in (whole, broken))
    verdict.rows += len(one)
    verdict.differences += [f"metrics of step {key[0]} differ" for key in one if one[key] != two.get(key)]


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    return np.array_equal(a, b, equal_nan=a.dtype.kind == "f")


def _timeless(rows: dict[Any, dict[str, Any]]) -> dict[Any, dict[str, str]]:
    """Rows without times, values as texts: NaN, which a skipped step logs, is not equal to itself."""
    return {key: {k: repr(v) for k, v in row.items() if k not in TIMES} for key, row in rows.items()}
