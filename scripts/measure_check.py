"""What the check of every step costs: the share of the gradient's norm in a step of a wide MLP.

    python scripts/measure_check.py [--steps 100]

The net is 784-1024-1024-10 with batches of 128, float32; the norm is timed inside the step, with the gradient as far
from the caches as backward leaves it. Run it on an idle machine.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

import numpy as np

from layerforge import Net, Solver

SIZES, BATCH, WARM_UP = (1024, 1024, 10), 128, 10


def wide_mlp() -> Net:
    """The net, as training would have it."""
    layers: list[dict[str, Any]] = []
    for number, size in enumerate(SIZES, 1):
        layers.append({"name": f"fc{number}", "type": "Linear", "out_features": size})
        layers.append({"name": f"act{number}", "type": "ReLU"})
    layers[-1] = {"name": "loss", "type": "SoftmaxCrossEntropy", "bottom": ["fc3", "t"]}
    inputs = {"x": {"shape": [BATCH, 784]}, "t": {"shape": [BATCH], "dtype": "int64"}}
    return Net.from_config({"inputs": inputs, "net": layers}, keep="none")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=100, metavar="N", help="steps to measure (default 100)")
    args = parser.parse_args()
    solver = Solver(wide_mlp(), lr=0.01, momentum=0.9)
    measure, checks, steps = solver.measure, [], []

    def timed() -> None:
        begun = time.perf_counter()
        measure()
        checks.append(time.perf_counter() - begun)

    solver.measure = timed  # type: ignore[method-assign]
    rng = np.random.default_rng(0)
    batch = {"x": rng.standard_normal((BATCH, 784), dtype="float32"), "t": rng.integers(0, 10, BATCH)}
    for _ in range(WARM_UP + args.steps):
        begun = time.perf_counter()
        solver.step(**batch)
        steps.append(time.perf_counter() - begun)
    check, step = (1e3 * statistics.median(values[WARM_UP:]) for values in (checks, steps))
    print(f"step {step:.2f} ms, of which the check {check:.3f} ms: {100 * check / step:.1f} %")


if __name__ == "__main__":
    main()
