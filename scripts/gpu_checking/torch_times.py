"""A process that times torch on the GPU: problems come as JSON on stdin, times go as JSON to stdout.

    {"mnist_mlp": {"inputs": {"image": [[64, 1, 28, 28], "float32", 10], ...}, "solver": {...}, "steps": [5, 30]}, ...}
    -> {"torch": "2.13.0", "device": "...", "nets": {"mnist_mlp": {"eager": ms, "graph": ms, "parameters": n}, ...}}

Where there is no torch, or none that finds a GPU: {"missing": "why"}. With LAYERFORGE_TORCH_CPU=1 the processor takes
the place of the GPU, for a look at this program; then there are no graphs.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

SCRIPTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(SCRIPTS), str(SCRIPTS.parent)]
ON_CPU = os.environ.get("LAYERFORGE_TORCH_CPU") == "1"


def main() -> dict[str, Any]:
    """The times of all problems on stdin."""
    try:
        import torch
    except ImportError as problem:
        return {"missing": f"torch was not measured ({problem})"}
    if not (ON_CPU or torch.cuda.is_available()):
        return {"missing": f"torch {torch.__version__} finds no GPU, and was not measured"}
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    name = "cpu" if ON_CPU else torch.cuda.get_device_name()
    found: dict[str, Any] = {"torch": torch.__version__, "device": name, "nets": {}}
    for net, problem in json.load(sys.stdin).items():
        found["nets"][net] = timed(net, problem)
    return found


def timed(name: str, problem: dict[str, Any]) -> dict[str, Any]:
    """Milliseconds of a step of one net, eager and as a graph."""
    from gpu_checking.torch_nets import Training

    training = Training(name, problem, "cpu" if ON_CPU else "cuda")
    row: dict[str, Any] = {"parameters": training.parameters}
    row["eager"] = median(training.step, training.wait, *problem["steps"])
    if not ON_CPU:
        try:
            row["graph"] = median(training.captured(), training.wait, *problem["steps"])
        except RuntimeError as error:
            row["graph"], row["why"] = None, str(error).splitlines()[0]
    return row


def median(step: Callable[[], None], wait: Callable[[], None], warm_up: int, counted: int) -> float:
    """Milliseconds of a step: the median of so many."""
    seconds = []
    for _ in range(warm_up + counted):
        wait()
        began = time.perf_counter()
        step()
        wait()
        seconds.append(time.perf_counter() - began)
    return 1e3 * statistics.median(seconds[warm_up:])


if __name__ == "__main__":
    print(json.dumps(main()))
