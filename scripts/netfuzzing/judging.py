"""Judging a trial: the reference in float64 is the truth; float32 may differ from it by its roundings.

    |y - truth|  <=  4 |reference - truth| + eps (64 max |truth| + 16 max |truth of its group|)

with the largest over an array on both sides; the group of a gradient are all gradients of the pass. Beyond that it is
asked how far the truth itself moves where inputs, parameters and what layers hand on change by some roundings: a net
that has a kink there (ReLU, a maximum), that magnifies them, or in whose sums everything else cancels, may differ by as
much. Such a difference is counted as undecided; everything else is a finding.

Nets in bf16-mixed, and those whose products are (matmul_precision: medium), are judged alike, with the roundings of
bfloat16. What the engine computes in bf16-mixed is bit by bit the same besides, whichever blobs are kept, and whether
steps are replayed together or run one by one.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from layerforge.arrays.bfloat16 import EPSILON
from layerforge.schema.precisions import BF16_MIXED, FULL, MEDIUM

from .passes import SIZES, Noise, Seen, Variant, largest, watch
from .trials import Trial

OF_REFERENCE, OF_NOISE = 4, 6


@dataclass(frozen=True)
class Roundings:
    """What a precision may be off by, relative to an array's largest number, and to that of its group."""

    of_array: float
    of_group: float


EPS = float(np.finfo("float32").eps)
OF_BFLOAT16 = Roundings(2 * EPSILON, EPSILON / 4)
ALLOWED = {FULL: Roundings(64 * EPS, 16 * EPS), BF16_MIXED: OF_BFLOAT16, MEDIUM: OF_BFLOAT16}
NOISY = 8, 40  # passes with noise: at first, and before something is called a finding
TRUTH = Variant("float64", "reference", "all", "float64")


@dataclass
class Verdict:
    """What came of a trial: `findings` in words; how many differences are `undecided`; what a net refused to do."""

    findings: list[str] = field(default_factory=list)
    undecided: int = 0
    refused: int = 0
    compared: int = 0


def variants(trial: Trial) -> list[Variant]:
    """The nets that are compared with the truth; the first is the reference in float32."""
    first, second = trial.keeps
    return [
        Variant(f"reference, keep {first}", "reference", first),
        Variant("engine, keep all", "auto", "all"),
        Variant(f"engine, keep {second}", "auto", second),
        *(same_bits(second) if trial.precision == BF16_MIXED else ()),
    ]


def same_bits(keep: str) -> list[Variant]:
    """A net that computes bit by bit what both nets on the engine do, whatever these keep."""
    return [Variant(f"engine, keep {keep}, step by step", "auto", keep, stepwise=True)]


def judge(trial: Trial, others: Sequence[Variant] | None = None) -> Verdict:
    """Do a trial with all of its nets, or the `others` that are named, and compare them with the truth."""
    nets = [TRUTH, *(variants(trial) if others is None else others)]
    seen = _in_threads(trial, nets) if trial.threads else [_watched(trial, net) for net in nets]
    verdict, truth = Verdict(), seen[0]
    if isinstance(truth, str):
        verdict.findings.append(f"float64: {truth}")
        return verdict
    spread = Spread(trial, truth)
    for number, (net, mine) in enumerate(zip(nets[1:], seen[1:], strict=True), 1):
        if net.stepwise:
            for other in (number - 1, number - 2):
                _compare_bits(net, mine, nets[other], seen[other], verdict)
            continue
        if isinstance(mine, str):
            verdict.findings.append(f"{net.name}: {mine}")
            continue
        reference = seen[1] if mine is not seen[1] and not isinstance(seen[1], str) else []
        _compare(net, mine, truth, reference, spread, verdict)
    return verdict


def _watched(trial: Trial, net: Variant) -> list[Seen] | str:
    """What is seen, or the error that is none of LayerForge's."""
    try:
        return watch(trial, net)
    except Exception as problem:
        return f"{type(problem).__name__}: {problem}".splitlines()[0][:200]


def _in_threads(trial: Trial, nets: list[Variant]) -> list[Any]:
    """The same with all nets at once."""
    found: list[Any] = [None] * len(nets)

    def work(i: int) -> None:
        found[i] = _watched(trial, nets[i])

    crowd = [threading.Thread(target=partial(work, i)) for i in range(len(nets))]
    for thread in crowd:
        thread.start()
    for thread in crowd:
        thread.join()
    return found


def _compare_bits(
    net: Variant, mine: list[Seen] | str, other: Variant, theirs: list[Seen] | str, verdict: Verdict
) -> None:
    """Find what differs at all between two nets. What is not kept, one of them need not show, nor go back twice."""
    if isinstance(mine, str) or isinstance(theirs, str):
        verdict.findings += [] if mine == theirs else [f"{net.name}: {mine if isinstance(mine, str) else theirs}"]
        return
    for number, (ours, seen) in enumerate(zip(mine, theirs, strict=False)):
        verdict.compared += len(ours.arrays)
        for key, array in ours.arrays.items():
            if key in seen.arrays and not np.array_equal(array, seen.arrays[key], equal_nan=True):
                where = f"{net.name}: action {number}: {' '.join(key)}"
                verdict.findings.append(f"{where} has other bits than {other.name}")
                return


def _compare(
    net: Variant, mine: list[Seen], truth: list[Seen], reference: list[Seen], spread: Spread, verdict: Verdict
) -> None:
    for number, right in enumerate(truth):
        if number >= len(mine):
            return
        seen, near = mine[number], reference[number] if number < len(reference) else Seen()
        where = f"{net.name}: action {number}"
        if not all(np.isfinite(a).all() for a in right.arrays.values()):
            return
        problem = _refusal(net, seen, right)
        if problem is not None:
            verdict.findings.append(f"{where}: {problem}")
            return
        verdict.refused += bool(seen.error) and not right.error
        for key in right.arrays:
            if key not in seen.arrays:
                if not (seen.error or key[1].startswith("blob ")):
                    verdict.findings.append(f"{where}: {' '.join(key)} is missing")
                continue
            verdict.compared += 1
            outcome = _difference(number, key, seen, right, near, spread)
            verdict.undecided += outcome == "undecided"
            if outcome not in ("", "undecided"):
                verdict.findings.append(f"{where}: {' '.join(key)} {outcome}")
                return
        if right.error and not right.doing.startswith("backward"):
            return


def _refusal(net: Variant, seen: Seen, right: Seen) -> str | None:
    """Why an error, or the lack of one, is a finding. Where blobs are not kept, a backward may be refused in words."""
    if right.error and not seen.error:
        return f"{seen.doing} did what float64 refuses: {right.error}"
    if not seen.error or (right.error and seen.doing == right.doing):
        return None
    return None if net.keep != "all" and seen.doing.startswith("backward") else f"{seen.doing}: {seen.error}"


def _difference(number: int, key: tuple[str, str], seen: Seen, right: Seen, near: Seen, spread: Spread) -> str:
    """In words how far an array is off; "" where it is not, "undecided" where the truth itself moves as far."""
    array, mine = right.arrays[key], seen.arrays[key]
    if array.shape != mine.shape:
        return f"has shape {mine.shape}, not {array.shape}"
    if not array.size:
        return ""
    off = np.abs(mine - array).max()
    known = near.arrays.get(key)
    of_reference = np.abs(known - array).max() if known is not None and known.shape == array.shape else 0.0
    of_group = max(largest(right.arrays, key[0]), right.scale.get(key[0], 0.0))
    roundings = ALLOWED[spread.trial.precision]
    if off <= OF_REFERENCE * of_reference + roundings.of_array * np.abs(array).max() + roundings.of_group * of_group:
        return ""
    for passes in NOISY if np.isfinite(off) else ():
        if off <= OF_NOISE * spread.of(number, key, passes):
            return "undecided"
    return f"is off by {off:.2g} of {np.abs(array).max():.2g}"


class Spread:
    """How far the truth moves with roundings of inputs and parameters; measured where it is asked for."""

    def __init__(self, trial: Trial, truth: list[Seen]) -> None:
        self.trial, self.truth = trial, truth
        self.noisy: list[list[Seen]] = []

    def of(self, number: int, key: tuple[str, str], passes: int) -> float:
        """The largest move of an array in so many passes with noise."""
        while len(self.noisy) < passes:
            noise = Noise(len(self.noisy), SIZES[self.trial.precision])
            self.noisy.append(watch(self.trial, TRUTH, noise))
        right = self.truth[number].arrays[key]
        moved = (seen[number].arrays.get(key) for seen in self.noisy if number < len(seen))
        return max((float(np.abs(a - right).max()) for a in moved if a is not None), default=0.0)
