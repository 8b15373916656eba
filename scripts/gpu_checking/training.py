"""Example nets train on the device as on NumPy, and twice alike.

How far float32 may lead two trainings apart is not guessed but measured. NumPy trains in float64, which is the truth;
in float32; and in float32 from parameters that are off by NOISE of themselves, as much as some of float32's roundings.
Noise also finds the kinks, where the larger of two numbers changes with a rounding, and a gradient goes another way.
For the loss of each step, and for each array in the end,

    |device - truth|  <=  FACTOR max |numpy - truth| + ROOM eps max |truth|

with the largest over the array and over NumPy's trainings in float32. For losses that of all steps until then counts,
since a deviation may pass through zero.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import accumulate
from typing import Any

import numpy as np

from .device import same_bits
from .examples import Example, Trajectory, follow
from .stages import Check

# With its own rate ResNet-20 is chaotic at first: in twenty steps roundings become as large as what it has learned.
CALM = ("solver.lr=0.01",)
NETS = [
    Example("mnist_mlp"),
    Example("mnist_lenet", 32),
    Example("char_transformer", 4),
    Example("cifar10_resnet20", 8, CALM),
]
QUICK = [
    Example("mnist_mlp"),
    Example("mnist_lenet", 8),
    Example("char_transformer", 2),
    Example("cifar10_resnet20", 2, CALM),
]
STEPS, QUICK_STEPS = 20, 4
NOISE = 2e-6  # what is left of a sum of a thousand products in float32, whatever their order
NOISY = 2  # trainings with noise
FACTOR = 4  # deviations that are independent of each other may well differ by so much in size
ROOM = 16  # of the last digit: where NumPy happened to round nothing
EPS = float(np.finfo("float32").eps)


def training(check: Check) -> None:
    """Losses and weights are NumPy's up to rounding, and the same bits in a second training."""
    quick = check.options.quick
    rows: list[dict[str, Any]] = []
    for example in QUICK if quick else NETS:
        with check.guarded(example.name):
            rows.append(compare(check, example, QUICK_STEPS if quick else STEPS))
        check.fact("training", rows)
    check.finished(f"{len(rows)} nets")


def compare(check: Check, example: Example, steps: int) -> dict[str, Any]:
    """The row of an example."""
    batches, origin = example.batches(steps)
    ours, config = example.config("backend=cupy"), example.config("engine=reference")
    tick = partial(check.reached, example.name)
    start = follow(config, []).arrays
    start = {path: array for path, array in start.items() if not path.startswith("history/")}
    once = follow(ours, batches, check.backend, start, tick)
    again = follow(ours, batches, check.backend, start, tick)
    plain = follow(config, batches, start=start, stepped=tick)
    noisy = [follow(config, batches, start=with_noise(n, start), stepped=tick) for n in range(NOISY)]
    truth = follow(example.config("engine=reference", "dtype=float64"), batches, start=start, stepped=tick)
    differ = differing(once, again)
    check.demand(not differ, f"{example.name}: two trainings differ in {listed(differ)}")
    worst = {
        "loss": hold_losses(check, example.name, once, [plain, *noisy], truth),
        "arrays": hold_arrays(check, example.name, once, [plain, *noisy], truth),
    }
    size = len(next(iter(batches[0].values())))
    return {
        "net": example.name, "data": origin, "batch": size, "steps": steps, "first_loss": once.losses[0],
        "last_loss": once.losses[-1], "same_bits": not differ, "used_of_bound": worst,
    }  # fmt: skip


def with_noise(number: int, start: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """A start whose real numbers are a little off; another number, other noise."""
    rng = np.random.default_rng([1, number])

    def noisy(array: np.ndarray) -> np.ndarray:
        if array.dtype.kind != "f":
            return array
        return (array * (1 + NOISE * rng.uniform(-1, 1, array.shape))).astype(array.dtype)

    return {path: noisy(array) for path, array in start.items()}


def differing(one: Trajectory, other: Trajectory) -> list[str]:
    """What is not the same bits in two trajectories."""
    steps = [f"the loss of step {i}" for i, (a, b) in enumerate(zip(one.losses, other.losses, strict=True)) if a != b]
    return steps + [path for path, array in one.arrays.items() if not same_bits(array, other.arrays[path])]


def listed(names: Sequence[str]) -> str:
    """The first names, and how many there are."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def hold_losses(check: Check, name: str, mine: Trajectory, numpy: Sequence[Trajectory], truth: Trajectory) -> float:
    """Demand the bound of each step's loss; the largest share of it that is used."""
    steps = range(len(truth.losses))
    spread = accumulate((max(abs(n.losses[i] - truth.losses[i]) for n in numpy) for i in steps), max)
    shares = [0.0]
    for i, moved in zip(steps, spread, strict=True):
        right = truth.losses[i]
        shares.append(share_of(abs(mine.losses[i] - right), moved, abs(right)))
        sentence = f"{name}: the loss of step {i} is {mine.losses[i]:.9g}, in float64 {right:.9g}; NumPy is off by"
        if not check.demand(shares[-1] <= 1, f"{sentence} {moved:.1g}"):
            break
    return max(shares)


def hold_arrays(check: Check, name: str, mine: Trajectory, numpy: Sequence[Trajectory], truth: Trajectory) -> float:
    """Demand the bound of each array; the largest share of it that is used."""
    shares, wrong = [0.0], list[str]()
    for path, right in truth.arrays.items():
        if not right.size:
            continue
        off, moved = distance(mine.arrays, path, right), max(distance(n.arrays, path, right) for n in numpy)
        shares.append(share_of(off, moved, float(np.abs(right).max())))
        if shares[-1] > 1:
            wrong.append(f"{path} (off by {off:.2g} of {np.abs(right).max():.2g}, NumPy by {moved:.1g})")
    check.demand(not wrong, f"{name}: after the last step {len(wrong)} arrays are too far off: {listed(wrong)}")
    return max(shares)


def distance(arrays: Mapping[str, np.ndarray], path: str, right: np.ndarray) -> float:
    """How far an array is from the truth."""
    return float(np.abs(arrays[path].astype("float64") - right).max())


def share_of(off: float, moved: float, size: float) -> float:
    """The share of the bound that a deviation uses; infinite where it is no number."""
    allowed = FACTOR * moved + ROOM * EPS * size
    return (off / allowed if allowed else float(off > 0) * np.inf) if np.isfinite(off) else np.inf
