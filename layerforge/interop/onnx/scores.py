"""What the scores of a net say: told in the metadata of a file, and made probabilities where that is asked for.

    scores = {"output": "fc", "blob": "fc", "kind": "logits"}       as JSON; there where the file gives the scores

    kind                                                    probabilities are their
    logits               a number for each class            Softmax over axis 1
    log_probabilities    a number for each class            Exp
    probabilities        one for each class, sum 1          own
    binary_logits        a number for each yes or no        Sigmoid
    binary_probabilities one for each yes or no             own
    values               numbers that are no classes        -

and others that an own loss declares, such as margins (`Reduction.scores`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ...inference.answers import PROBABILITIES, scores_blob
from ...net import Net
from ...schema.errors import ConfigError
from ...schema.texts import from_json, to_json
from ..predicted import predicted
from .graph import Node, OnnxGraph
from .in_front import InFront, rename
from .netgraph import distinct

KEY = "scores"
OPERATORS = {"logits": "Softmax", "log_probabilities": "Exp", "binary_logits": "Sigmoid"}


def told(net: Net, graph: OnnxGraph, outputs: Sequence[str] | None) -> dict[str, str]:
    """The metadata: nothing where the scores are none of the outputs."""
    if not net.graph.phases["eval"].steps:
        return {}
    blob, kind = scores_blob(net.graph)
    names = distinct(predicted(net) if outputs is None else outputs)
    for info, name in zip(graph.outputs, names, strict=True):
        if name == blob:
            return {KEY: to_json({"output": info.name, "blob": blob, "kind": kind or "values"})}
    return {}


def to_probabilities(graph: OnnxGraph) -> None:
    """Let a file give probabilities in the place of scores, under their name.

    Errors   ConfigError where the scores are none of the outputs, and where they are no probabilities
    """
    if KEY not in graph.metadata:
        hint = "leave --probabilities out, or name the scores with --blob"
        raise ConfigError("the file gives no scores that could become probabilities", hint=hint)
    entry = from_json(graph.metadata[KEY])
    name, kind = entry["output"], entry["kind"]
    if kind not in PROBABILITIES:
        raise ConfigError(f"'{name}' gives {kind}, no probabilities", hint="leave --probabilities out")
    if kind in OPERATORS:
        w = InFront(graph, name)
        inner = w.unique(kind)
        rename(graph, name, inner)
        for node in graph.nodes:
            node.outputs = [inner if one == name else one for one in node.outputs]
        attributes = {"axis": 1} if kind == "logits" else {}
        graph.nodes.append(Node(OPERATORS[kind], [inner], [name], attributes, w.unique(OPERATORS[kind])))
    made = "binary_probabilities" if kind.startswith("binary") else "probabilities"
    graph.metadata[KEY] = to_json({**entry, "kind": made})


def output_of(graph: OnnxGraph) -> str:
    """The output that is the scores; "" where none is."""
    name: str = from_json(graph.metadata.get(KEY, "{}")).get("output", "")
    return name


def probable(net: Net, name: str, made: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Outputs of a net with its scores, which are called `name`, as `to_probabilities` makes them."""
    return {**made, name: PROBABILITIES[scores_blob(net.graph)[1]](made[name])} if name in made else dict(made)
