"""Which prior of a detector is to find which object, and which are to find none: what MultiBoxLoss compares with.

All of it is constant for backward: a match jumps or stands still.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import numpy as np

from ...arrays.awaited import refuse_where
from ...arrays.functional import order_along
from ...schema.errors import LayerError

LEAST = 1e-6  # an overlap that counts
NONE, IGNORED = -1, -2  # instead of the number of an object
ROW = "[sample, class, anything, left, top, right, bottom, difficult]"


class Objects(NamedTuple):
    """The objects of each sample, side by side: their boxes, their classes, and which places hold one."""

    boxes: Any  # (N, G, 4)
    labels: Any  # (N, G)
    there: Any  # (N, G)


def objects_of(xp: Any, rows: Any, samples: int, classes: int, background: int, use_difficult: bool) -> Objects:
    """The objects that rows of eight numbers tell of; a row with sample -1 tells of none.

    Errors   LayerError (exit 3) for a row of a sample or a class that is not there
    """
    rows = rows.reshape(-1, 8)
    if not len(rows):
        rows = xp.full((1, 8), -1, dtype=rows.dtype)
    sample, label = rows[:, 0], rows[:, 1]
    used = sample != -1
    good = (sample >= 0) & (sample < samples) & (sample == xp.floor(sample)) & xp.isfinite(rows[:, 3:7]).all(axis=1)
    good &= (label >= 0) & (label < classes) & (label == xp.floor(label)) & (label != background)
    bad = used & ~good
    refuse_where(bad.any(), partial(first_bad_row, rows, bad, samples, classes, background))
    if xp is not np:  # a device tells of it afterwards
        rows, used = xp.where(bad[:, None], NONE, rows), used & good
    if not use_difficult:
        used = used & (rows[:, 7] == 0)
    own = used & (sample == xp.arange(samples)[:, None])
    most = max(1, int(xp.count_nonzero(own, axis=1).max())) if samples else 1
    order = xp.argsort(~own, axis=1, kind="stable")[:, :most]
    found = rows[order]
    return Objects(found[..., 3:7], found[..., 1].astype("int64"), xp.take_along_axis(own, order, axis=1))


def first_bad_row(rows: Any, bad: Any, samples: int, classes: int, background: int) -> LayerError:
    """The error for the first of the rows that tell of nothing that may be."""
    i = int(bad.argmax())
    found = ", ".join(f"{float(number):g}" for number in rows[i])
    but = f" but {background}, the background" if background >= 0 else ""
    hint = f"a row is {ROW}, with samples 0 to {samples - 1} (-1: no object) and classes 0 to {classes - 1}{but}"
    return LayerError(f"row {i} of the objects is [{found}]", hint=hint, exit_code=3)


def matches(xp: Any, overlaps: Any, ignored: Any, threshold: float | None) -> Any:
    """The object of each prior, NONE or IGNORED (B, K), from their overlaps (B, K, G): 0 where there is no object.

    The pair that overlaps most belongs together, then of the other priors and objects the pair that does, and so on;
    each object gets one prior. Then, with a threshold, each other prior gets the object that it overlaps most, from
    that overlap on.
    """
    count, priors, objects = overlaps.shape
    pairs = xp.where((overlaps > LEAST) & ~ignored[..., None], overlaps, 0)
    found = xp.where(ignored, IGNORED, NONE)
    if not pairs.size:
        return found
    left, each = pairs.copy(), xp.arange(count)
    for _ in range(objects):
        best = left.reshape(count, priors * objects).argmax(axis=1)
        prior, thing = best // objects, best % objects
        is_pair = left[each, prior, thing] > 0
        found[each, prior] = xp.where(is_pair, thing, found[each, prior])
        left[each, prior] = xp.where(is_pair[:, None], 0, left[each, prior])
        left[each, :, thing] = xp.where(is_pair[:, None], 0, left[each, :, thing])
    if threshold is None:
        return found
    most = pairs.max(axis=2)
    near = (found == NONE) & (most >= threshold) & (most > 0)
    return xp.where(near, pairs.argmax(axis=2), found)


def hardest(xp: Any, losses: Any, candidates: Any, counts: Any) -> Any:
    """Which of the candidates (N, K) have the largest losses, so many of each sample; the first of equal ones."""
    order = order_along(xp, xp.where(candidates, losses, -np.inf), 1)
    return candidates & (xp.argsort(order, axis=1) < counts[:, None])
