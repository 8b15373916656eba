"""What `print(net)` shows: a line for the whole, and one for each layer; of very many, the first and the last."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

from ..graph.graph import Node, Step
from ..plan.engines import EngineRequest
from ..plan.precision import computing_in, in_words
from .net_parts import NetParts

HEADINGS = ("layer", "type", "bottoms", "top", "parameters", "")
MOST, FIRST, LAST = 60, 40, 10  # layers that are all shown; of more, how many from the front and from the end


def align(rows: Sequence[Sequence[str]], right: Collection[int] = ()) -> list[str]:
    """Lines of a table: every column as wide as its widest cell, those in `right` flush right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if i in right else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def shape_in_words(shape: Sequence[int]) -> str:
    """As Python writes a tuple: (64, 784), (64,), ()."""
    return f"({', '.join(map(str, shape))}{',' if len(shape) == 1 else ''})"


def headline(net: NetParts) -> str:
    """Name, layers, parameters, dtype, precision and backend of a net in one line."""
    layers, flat = len(net.layers), net.parameters
    frozen = sum(slot.size for slot in flat.slots.values() if slot.frozen)
    parameters = f"{flat.count:,} parameters" + (f" ({frozen:,} frozen)" if frozen else "")
    computed = in_words(net.dtype, computing_in(net.passes.engine, net.graph.nodes), net.backend.name)
    plural = "" if layers == 1 else "s"
    return f"{net.config.name}: {layers:,} layer{plural}, {parameters}, {computed}"


def summary(net: NetParts, request: EngineRequest) -> str:
    """The table of a net. Shapes are those of the batch size that the configuration names."""
    nodes = net.graph.nodes
    steps = {step.node.name: step for phase in ("eval", "train") for step in net.graph.phases[phase].steps}
    rows: list[tuple[str, ...]] = [HEADINGS]
    rows += [
        (name, "input", "", f"{shape_in_words(spec.shape)} {spec.dtype}", "", "")
        for name, spec in net.graph.inputs.items()
    ]
    left_out = len(nodes) - FIRST - LAST if len(nodes) > MOST else 0
    rows += [_row(net, steps[node.name]) for node in (nodes[:FIRST] if left_out else nodes)]
    if left_out:
        rows.append((f"... {left_out:,} more", "", "", "", "", ""))
        rows += [_row(net, steps[node.name]) for node in nodes[-LAST:]]
    lines = align(rows, right=(4,))
    return "\n".join([headline(net), _engine(request.computing(nodes)), "", *lines])


def _row(net: NetParts, step: Step) -> tuple[str, ...]:
    node, layer, flat = step.node, step.node.layer, net.parameters
    blobs = net.graph.phases["train" if node.runs_in("train") else "eval"].blobs
    specs = (blobs[i].spec for i in step.tops)
    shapes = " ".join(shape_in_words(spec.shape) for spec in specs if spec is not None)
    own = [flat.slots[node.name, name].size for name in layer.param_decls if (node.name, name) in flat.slots]
    count = f"{sum(own):,}" if own else ""
    return (node.name, layer.type_name, ", ".join(node.bottoms), shapes, count, ", ".join(_remarks(net, node)))


def _remarks(net: NetParts, node: Node) -> Iterator[str]:
    """What else is to be known of a layer."""
    if node.wiring.phase:
        yield f"{node.wiring.phase} only"
    flags = [node.layer.needs_param_grad[name] for name in node.layer.param_decls]
    if flags and not any(flags):
        yield "frozen"
    for mine in node.wiring.share:
        yield f"{mine} is {'.'.join(net.parameters.shared[node.name, mine])}"


def _engine(computing: dict[str, Any]) -> str:
    if computing["library"] is None:
        return f"engine: reference ({computing['why']})"
    threads = computing["threads"]
    told = "" if threads is None else f", {threads} thread{'' if threads == 1 else 's'}"
    return f"engine: {computing['library']}{told}"
