"""Scan: a body that runs once for each place of an axis, with states that go from one to the next."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..exporting import Export, Value
from ..graph import OnnxGraph, ValueInfo


def scan(
    w: Export,
    body: Callable[..., tuple[Sequence[Value], Sequence[Value]]],
    states: Sequence[Value],
    read: Sequence[Value],
    *,
    axis: int = 0,
    made: int = 1,
    stacked: int | None = None,
    reverse: bool = False,
) -> list[Value]:
    """The last states, then what was made at each place, stacked.

    body     of the states and of each `read` at one place: the new states, and what is made there. It may use values
             from outside, but no lengths that follow the batch
    axis     of `read` that is walked along, reverse from its end
    made     how many values a place makes
    stacked  the axis along which they are stacked; None: `axis`
    """
    given = [Value(w.building.unique(f"{w.layer.name}/given"), one.dtype) for one in (*states, *read)]
    outer, w.building.graph = w.building.graph, OnnxGraph(f"{w.layer.name}/body")
    try:
        new, results = body(*given)
        ends = [w.op("Identity", one) for one in (*new, *results)]
        graph = w.building.graph
    finally:
        w.building.graph = outer
    graph.inputs = [ValueInfo(one.name, one.dtype, None) for one in given]
    graph.outputs = [ValueInfo(one.name, one.dtype, None) for one in ends]
    backwards = int(reverse)
    options: dict[str, Any] = {"scan_input_axes": [axis] * len(read), "scan_input_directions": [backwards] * len(read)}
    if made:
        options["scan_output_axes"] = [axis if stacked is None else stacked] * made
        options["scan_output_directions"] = [backwards] * made
    count = len(states) + made
    found = w.op("Scan", *states, *read, outputs=count, body=graph, num_scan_inputs=len(read), **options)
    values = [found] if count == 1 else list(found)
    return [Value(one.name, end.dtype) for one, end in zip(values, ends, strict=True)]
