"""`layerforge ARGUMENTS`, which ends with the first update: prints "first step" then, and nothing else is done.

python -m benchmarks.first_step train configs/mnist_mlp.yaml
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

from layerforge.cli import main
from layerforge.solvers.solver import Solver


def ending_with(update: Callable[..., Any]) -> Callable[..., None]:
    """The update, after which the process ends without tidying up."""

    def first_and_last(*arguments: Any, **named: Any) -> None:
        update(*arguments, **named)
        print("first step", flush=True)
        os._exit(0)

    return first_and_last


if __name__ == "__main__":
    Solver.update = ending_with(Solver.update)  # type: ignore[method-assign]
    sys.exit(main(sys.argv[1:]))
