"""Another program that says what is right, in a process of its own: it may crash, or come to no end."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


class Failed(Exception):
    """The process gave nothing: what it says, and its exit code; 0 where it did not end by itself."""

    def __init__(self, told: str, code: int = 0) -> None:
        super().__init__(told)
        self.told, self.code = told, code


def run_judge(program: Path, *arguments: str | Path, seconds: float) -> None:
    """Run a Python program.

    Errors   Failed with the last line of its stderr where its exit code is not 0; with what happened where it crashed,
             or took longer than so many seconds
    """
    command = [sys.executable, "-P", str(program), *map(str, arguments)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        raise Failed(f"did not come to an end within {seconds} s") from None
    if done.returncode < 0:
        raise Failed(f"crashed (signal {-done.returncode})")
    if done.returncode:
        raise Failed((done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1], done.returncode)
