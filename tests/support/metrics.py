"""Metrics by batches, as an evaluation runs them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from support.alone import Alone

from layerforge.contract import call
from layerforge.contract.metric import Merging


def over_batches(type_name: str, *arrays: Any, sizes: Sequence[int], tops: int = 1, **params: Any) -> Any:
    """The tops of a metric in float64, from batches of the given sizes that are repeated until the end."""
    arrays = tuple(np.asarray(a) for a in arrays)
    alone = Alone(type_name, *arrays, tops=tops, **params)
    merging, start, turn = Merging(alone.layer), 0, 0
    while start < len(arrays[0]):
        stop = start + sizes[turn % len(sizes)]
        batch = [a[start:stop] for a in alone.given]
        call.setup(alone.layer, [s.with_shape(b.shape) for s, b in zip(alone.bottom_specs, batch, strict=True)])
        alone.forward(batch)
        merging.add(alone.layer.tally)
        start, turn = stop, turn + 1
    found = [alone.host(top) for top in merging.value()]
    return found[0] if tops == 1 else found


def value(type_name: str, *arrays: Any, **params: Any) -> Any:
    """The first top of a metric of everything, which batches of any sizes give too."""
    whole = over_batches(type_name, *arrays, sizes=[max(1, len(arrays[0]))], **params)
    for sizes in ([1, 1, 6], [11]):
        np.testing.assert_allclose(
            over_batches(type_name, *arrays, sizes=sizes, **params), whole, rtol=1e-12, atol=1e-12, err_msg=str(sizes)
        )
    return whole
