"""The check of metrics: what is counted of parts comes to what is counted of the whole."""

from __future__ import annotations

from typing import Any

from ..contract import call
from ..contract.metric import Metric, merged
from .case import Case, compare, demand, layer_check, outputs, same
from .phases import batch_size, has_batch


def can_be_split(case: Case) -> str | None:
    """Condition of the check of merging."""
    if not issubclass(case.cls, Metric):
        return "it is no metric that merges what it counts"
    return None if batch_size(case.example) > 2 else "its batch has no three parts"


@layer_check(can_be_split)
def check_merges(case: Case) -> None:
    """The tallies of three parts of a batch, merged in either grouping, give the value of the whole, in float64."""
    probe = case.probe(phase="eval")
    layer: Any = probe.layer
    n = batch_size(case.example)
    probe.forward()
    want = outputs(probe, layer.computed(layer.tally))
    parts = []
    for part in (slice(0, 1), slice(1, 1 + n // 2), slice(1 + n // 2, n)):
        batch = [b[part] if has_batch(case.example, b.shape) else b for b in probe.bottoms]
        call.setup(layer, [s.with_shape(b.shape) for s, b in zip(probe.bottom_specs, batch, strict=True)])
        probe.forward(batch)
        parts.append(layer.tally)
    a, b, c = parts
    before = {name: probe.host(array).copy() for name, array in a.items()}
    for how, tally in (("", layer.merge(layer.merge(a, b), c)), (" in another grouping", merged(layer, parts))):
        tops = layer.computed(tally)
        demand(all(str(top.dtype) == "float64" for top in tops), "compute does not return float64")
        got: dict[str, Any] = outputs(probe, tops)
        compare(got, want, case.close, f"the tallies of parts, merged{how}, do not come to that of the whole")
    after = {name: probe.host(array) for name, array in a.items()}
    compare(after, before, same, "merge writes into what it merges")
