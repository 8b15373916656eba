"""Indices on a device: one that is out of range is told of.

NumPy raises an IndexError for it, which a layer could take for its own check. A device reads from somewhere else.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..schema.errors import LayerError
from .case import Case, CheckFailed, computes, device_check


def bounded(case: Case) -> Iterator[tuple[int, range]]:
    """The index bottoms that have elements, and the integers that they may hold."""
    layer, specs = case.used[0].layer, case.used[0].bottom_specs
    for i, spec in enumerate(specs):
        allowed = None if spec.is_real or not spec.size else layer.index_range(i, *specs)
        if allowed is not None:
            yield i, allowed


def has_indices(case: Case) -> str | None:
    """Condition of the check of indices."""
    return None if any(bounded(case)) else "it takes no indices, or any"


@device_check(computes, has_indices)
def check_indices(case: Case) -> None:
    """An index beyond its range, at either end, is a LayerError."""
    for i, allowed in bounded(case):
        ignored: Any = getattr(case.used[0].layer, "ignore_index", None)
        for index in {allowed.start - allowed.step, allowed.stop} - {ignored}:
            probe = case.probe()
            spec = probe.bottom_specs[i]
            probe.bottoms[i] = probe.backend.from_host(np.full(spec.shape, index, spec.dtype))
            try:
                probe.forward()
            except LayerError:
                continue
            raise CheckFailed(f"bottom[{i}] may hold {allowed}, and takes {index}: check it before it is used")
