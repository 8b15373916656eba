"""What a layer costs on a device beside its arithmetic, and how much of that it may: waits, uploads, launches.

A wait is the host waiting for the device: an array in `if`, `float()` or a mask. It empties the queue of work. An
upload is an array of the host's that moves to the device. A launch is a call that is no view. NumPy knows none of
these, so a layer that is right on NumPy may be slow on a device by one of them in each pass. The check runs on a
backend that counts them, whose `xp.counting()` has the counts of a block.

Limits are for a pass that is not the first, in float32:

waits      none, or what WAITS says. What a layer refuses, and what it has been asked for, the host fetches when a step
           is done, all of it in one wait (arrays/awaited.py)
uploads    none
launches   what launches.json says of built-in layers, as many as they had when `scripts/make_launches.py` was run; and
           with a larger batch no more than with a smaller one, but for those of GROWING
"""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path

from ..arrays.awaited import awaiting
from .case import Case, computes, demand, device_check
from .phases import batch_size, grow

RECORD = Path(__file__).with_name("launches.json")
PASSES = ("forward", "backward")

WAITS: dict[str, tuple[int, int]] = {  # by type: in forward, in backward
    # How many objects there are, how large regions are, and how many detections, whose number depends on their values.
    **{"MultiBoxLoss": (1, 0), "DetectionOutput": (1, 0), "ROIPooling": (4, 0), "PSROIPooling": (4, 4)},
    # How many numbers the rows and columns of a sparse matrix hold.
    **{"Linear": (2, 1), "SparseMatmul": (3, 1)},
    # Metrics leave positions out, and rank the rest of each class by itself.
    **dict.fromkeys(("Accuracy", "BalancedAccuracy", "CalibrationError", "CohenKappa", "ConfusionMatrix"), (2, 0)),
    **dict.fromkeys(("Dice", "F1", "IoU", "MatthewsCorrelation", "Perplexity", "Precision", "Recall"), (2, 0)),
    **dict.fromkeys(("AUROC", "AveragePrecision"), (32, 0)),
}

GROWING = {  # why what a pass costs depends on the size of a batch, or on its values
    "CTCLoss": "time is its first axis, and a step of time needs the one before it",
    "Cumprod": "a place along the axis needs the one after it, also where that is the axis of samples",
    "MultiBoxLoss": "boxes are matched one after the other",
    "DetectionOutput": "boxes are dropped one after the other",
    "ROIPooling": "a part of a region has as many positions as its values say, and they are taken one by one",
    "PSROIPooling": "the same",
    "CalibrationError": "a batch that is large enough to tell is asked whether scores are probabilities",
    "Perplexity": "the same",
    "SparseMatmul": "a matrix may hold nothing",
}


@cache
def recorded() -> dict[str, list[int]]:
    """How many launches a forward and a backward of built-in layers had, at most over their examples."""
    found: dict[str, list[int]] = json.loads(RECORD.read_text())
    return found


def measured(case: Case, phase: str) -> dict[str, dict[str, int]]:
    """The counts of forward, and in train of backward where there is one, in the second of two passes.

    Of the layer's text: how many launches kernels make of it is theirs to say.
    """
    probe, found = case.probe(phase=phase, dtype=case.dtypes[0]), {}
    probe.layer.run.keep = case.differentiable and phase == "train"
    probe.layer.run.as_text = frozenset([probe.layer.name])
    for _ in range(2):
        with awaiting(probe.xp), probe.xp.counting() as found["forward"]:
            tops = probe.forward()
        if probe.layer.run.keep:
            dys = probe.draw_cotangents(tops)
            with awaiting(probe.xp), probe.xp.counting() as found["backward"]:
                probe.backward(dys)
    return found


def types(case: Case) -> list[str]:
    """The type of the layer, and those that it is derived from."""
    return [cls.type_name for cls in case.cls.__mro__ if hasattr(cls, "type_name")]


def limits(case: Case) -> dict[str, tuple[int, int]]:
    """How often the host may wait in each pass, and how many launches there may be; no limit is -1."""
    waits = next((WAITS[name] for name in types(case) if name in WAITS), (0, 0))
    launches = recorded().get(case.cls.type_name, (-1, -1))
    return {each: (waits[i], launches[i]) for i, each in enumerate(PASSES)}


def larger(case: Case, extra: int) -> Case:
    """The case with so many samples more. (Of no sample, or one, some arrays are views that are none of several.)"""
    example = case.example
    return replace(case, example=replace(example, bottoms=[grow(example, spec, extra) for spec in example.bottoms]))


def counts(case: Case) -> str | None:
    """Condition of the check of costs."""
    return None if hasattr(case.backend.xp, "counting") else "the backend counts nothing"


@device_check(computes, counts)
def check_costs(case: Case) -> None:
    """On a device a pass waits, uploads and launches no more than the layer may, however large the batch is."""
    n = batch_size(case.example)
    for phase in ("train", "eval"):
        found = measured(case, phase)
        for each, (waits, launches) in limits(case).items():
            if each in found:
                _hold(found[each], waits, launches, f"{each} in {phase}")
        if case.example.bottoms and not GROWING.keys() & set(types(case)):
            sizes = max(n, 2), max(n, 2) + 1
            less, more = (found if size == n else measured(larger(case, size - n), phase) for size in sizes)
            for each in found:
                _compare(less[each], more[each], f"{each} in {phase}")


def _hold(found: dict[str, int], waits: int, launches: int, where: str) -> None:
    """Fail where a pass costs more than it may."""
    waited, uploaded, launched = (found[name] for name in ("waits", "uploads", "launches"))
    demand(waited <= waits, f"{where} waits {waited} times for the device, and may {waits} times (if, float(), a mask)")
    demand(not uploaded, f"{where} uploads {uploaded} times: make constants by self.constant(...), or by self.xp")
    more = f"{where} launches {launched} times, {launches} are recorded; if it must, run make_launches.py"
    demand(launches < 0 or launched <= launches, more)


def _compare(less: dict[str, int], more: dict[str, int], where: str) -> None:
    """Fail where a larger batch costs more than a smaller one."""
    for what in ("waits", "uploads", "launches"):
        demand(more[what] <= less[what], f"{where}: with a sample more {what} go from {less[what]} to {more[what]}")
