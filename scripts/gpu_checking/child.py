"""A training in a process of its own that is killed: `python child.py BACKEND STEP CONFIG`.

After that many steps the process kills itself with SIGKILL, which nobody can catch, and nothing more is saved.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

SCRIPTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(SCRIPTS), str(SCRIPTS.parent)]

from gpu_checking.device import opened  # noqa: E402
from gpu_checking.runs import QUIET  # noqa: E402
from layerforge import hook, train  # noqa: E402


@hook
class Killer:
    """Kills the process after so many steps."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, run: Any) -> None:
        if run.step == self.step:
            os.kill(os.getpid(), signal.SIGKILL)


def main(backend: str, step: int, config: str) -> None:
    """Train until the kill."""
    with opened(backend):
        train(config, console=QUIET, hooks=[Killer(step)])


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
