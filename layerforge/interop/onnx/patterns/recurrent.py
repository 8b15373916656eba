"""Recurrent operators with the samples in front, as our layers have them."""

from __future__ import annotations

import numpy as np

from ..graph import Node
from .looking import OWN, Look, reshaped, shape_of, turned
from .movements import transposed

STATES = {"LSTM": 2, "GRU": 1, "RNN": 1}


def batch_first(look: Look, node: Node) -> list[Node] | None:
    """LSTM, GRU and RNN with time in front, as one of our layers between two changes of axes.

    ONNX's y is (T, directions, N, H), our layers' (N, T, directions · H). Most exporters undo all this around the
    operator, so that the movements shorten to little or nothing (`movements.shortened`).
    """
    outputs = [name if name in look.values else "" for name in node.outputs]  # "" is one that nobody reads
    shapes, of_y = look.shapes(node.inputs[0]), look.shapes(outputs[0])
    if node.domain or node.attributes.get("layout", 0) or shapes is None or len(shapes[0]) != 3:
        return None
    size = node.attributes.get("hidden_size", 0)
    passes = 2 if node.attributes.get("direction") == "bidirectional" else 1
    if outputs[0] and (of_y is None or any(len(one) != 4 for one in of_y)):
        return None
    before = transposed(look, node.inputs[0], (1, 0, 2))
    inputs, made = [before.outputs[0], *node.inputs[1:]], [before]
    for i in range(5, min(len(inputs), 5 + STATES[node.op])):
        known = look.known(inputs[i]) if inputs[i] else None
        if known is not None and not any(one.any() for one in known.arrays):
            inputs[i] = ""
        elif inputs[i]:
            made.append(transposed(look, inputs[i], (1, 0, 2)))
            inputs[i] = made[-1].outputs[0]
    while not inputs[-1]:
        inputs.pop()
    own = [look.fresh(f"{name}.batch_first") if name else "" for name in outputs]
    attributes = {key: value for key, value in node.attributes.items() if key != "layout"}
    made.append(Node(node.op, inputs, own, attributes, node.name, OWN))
    for j, name in enumerate(outputs):
        if j and name:
            made.append(Node("Transpose", [own[j]], [name], {"perm": [1, 0, 2]}, name))
            look.values[own[j]] = turned(look.values[name], (1, 0, 2))
    if outputs[0]:
        made += _unfolded(look, own[0], outputs[0], [(n, t, passes, size) for t, n, _ in shapes])
    return made


def _unfolded(look: Look, name: str, output: str, shapes: list[tuple[int, ...]]) -> list[Node]:
    """(N, T, directions · H) as (T, directions, N, H)."""
    joined = [(n, t, passes * size) for n, t, passes, size in shapes]
    look.values[name] = reshaped(look.values[output], joined)
    target = look.constant(np.array(shape_of(look, shapes, name), np.int64), f"{output}.shape")
    middle = look.fresh(f"{output}.unfolded")
    look.values[middle] = reshaped(look.values[output], shapes)
    reshape = Node("Reshape", [name, target], [middle], {}, middle)
    return [reshape, Node("Transpose", [middle], [output], {"perm": [1, 2, 0, 3]}, output)]
