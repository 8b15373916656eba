"""The table of docs/onnx.md: what each layer becomes in ONNX, observed in the graphs of its examples."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from layerforge.contract.layer import Layer
from layerforge.interop.onnx.graph import OnnxGraph
from layerforge.interop.onnx.netgraph import graph_of_net, known_types
from layerforge.layers import builtin_layers, by_family
from layerforge.schema.errors import LayerForgeError

from .onnx_nets import examples_of

PAGE = Path(__file__).parents[2] / "docs" / "onnx.md"
VARIANTS = 4  # kinds of graphs of a layer that are told one by one
MARKS = re.compile(r"(<!-- layers -->\n).*?(<!-- end -->)", re.S)


def filled(text: str) -> str:
    """The page with its table made anew."""
    return MARKS.sub(lambda match: match[1] + "\n" + "\n".join(layers()) + "\n\n" + match[2], text)


def layers() -> Iterator[str]:
    """A row for each layer, family by family."""
    known = known_types()
    yield "| layer | operators of ONNX |"
    yield "|---|---|"
    for family, classes in by_family(builtin_layers()).items():
        yield f"| **{family}** | |"
        for cls in classes:
            if cls.type_name in known:
                why = known[cls.type_name]
                yield f"| {cls.type_name} | {f'none: {why}' if why else operators(cls)} |"


def operators(cls: type[Layer]) -> str:
    """The operators of a layer's examples: those of each kind of graph; where there are many kinds, of all together."""
    found = sorted(dict.fromkeys(tuple(dict.fromkeys(kinds(graph))) for graph in graphs(cls)), key=len)
    if len(found) <= VARIANTS:
        return "; ".join(", ".join(one) for one in found)
    everywhere = [kind for kind in merged(found) if all(kind in one for one in found)]
    others = [kind for kind in merged(found) if kind not in everywhere]
    return f"{', '.join(everywhere)} (and {', '.join(others)})".strip()


def graphs(cls: type[Layer]) -> Iterator[OnnxGraph]:
    """The graphs of the examples that a net of one layer can be made of."""
    for _, net in examples_of(cls):
        outputs = [blob.name for blob in net.graph.phases["eval"].outputs()]
        try:
            yield graph_of_net(net, outputs)[0]
        except LayerForgeError:  # an example with hyper-parameters that ONNX has no words for
            continue


def kinds(graph: OnnxGraph) -> Iterator[str]:
    """The operators of a graph, those in its loops behind them; constants are none."""
    for node in graph.nodes:
        if node.op != "Constant":
            yield node.op
        for value in node.attributes.values():
            if isinstance(value, OnnxGraph):
                yield from kinds(value)


def merged(sequences: list[tuple[str, ...]]) -> list[str]:
    """All that is in some sequences, the longest one first and what others have more put in where they have it."""
    order: list[str] = []
    for sequence in sorted(sequences, key=len, reverse=True):
        at = 0
        for kind in sequence:
            if kind in order:
                at = order.index(kind) + 1
            else:
                order.insert(at, kind)
                at += 1
    return order
