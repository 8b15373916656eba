"""Recurrent operators with the samples in front, as our layers have them, and recurrence that is written step by step."""

from __future__ import annotations

import numpy as np

from ..graph import Node
from .looking import OWN, Look, reshaped, shape_of, turned
from .linear import Linear, linear_of
from .movements import places, source_of, transposed

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
    own = [look.fresh(name, "batch_first") if name else "" for name in outputs]
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
    target = look.constant(np.array(shape_of(look, shapes, name), np.int64), output, "shape")
    middle = look.fresh(output, "unfolded")
    look.values[middle] = reshaped(look.values[output], shapes)
    reshape = Node("Reshape", [name, target], [middle], {}, middle)
    return [reshape, Node("Transpose", [middle], [output], {"perm": [1, 2, 0, 3]}, output)]


def unrolled(look: Look, node: Node) -> list[Node] | None:
    """RNN as torch.export writes it, step by step: hₜ = tanh(uₜ + W hₜ₋₁ + b) or ReLU, u a linear map of all steps.

    The node joins all hₜ; the last of them may be read by others, too.
    """
    shapes, steps = look.shapes(node.outputs[0]), len(node.inputs)
    if steps < 2 or node.attributes.get("axis", 0) != 0 or shapes is None or any(len(s) != 3 or s[0] != steps for s in shapes):
        return None
    first = _step(look, node.inputs[0])
    if first is None:
        return None
    op, initial, along, below, source = first
    before, parts = "", []
    for name in node.inputs:
        step = _step(look, name)
        if step is None or step[0] != op or step[2].names != along.names or step[4] != source or (before and step[1] != before):
            return None
        before = name
        parts.append(step[3])
    inputs = linear_of(look, source)
    wanted = [(n, size) for _, n, size in shapes]
    if inputs is None or not _are_steps(look, parts, source, wanted) or look.shapes(inputs.x) is None:
        return None
    return _as_layer(look, node, op, initial, inputs, along)


def _step(look: Look, name: str) -> tuple[str, str, Linear, str, str] | None:
    """Of a step: its function, the state before it, the linear map of that, what comes from below, and from where."""
    node = look.maker(name, "Tanh", "Relu")
    added = None if node is None else look.maker(node.inputs[0], "Add")
    for state, below in (added.inputs, added.inputs[::-1]) if added is not None else ():
        source, linear = source_of(look, below), linear_of(look, state)
        if node is not None and linear is not None and linear.bias is not None and linear_of(look, source) is not None:
            if source_of(look, state) == state and source != below:
                return node.op, linear.x, linear, below, source
    return None


def _are_steps(look: Look, parts: list[str], source: str, wanted: list[tuple[int, int]]) -> bool:
    """Whether parts of a value (T, N, H) are its steps, in their order."""
    for t, part in enumerate(parts):
        found = places(look, part, source)
        if found is None:
            return False
        for one, (n, size) in zip(found, wanted, strict=True):
            if not np.array_equal(one.reshape(-1), np.arange(t * n * size, (t + 1) * n * size)):
                return False
    return (look.shapes(source) or ((),))[0][:1] == (len(parts),)


def _as_layer(look: Look, node: Node, op: str, initial: str, inputs: Linear, along: Linear) -> list[Node] | None:
    """The layer between changes of axes, and the last state."""
    known, name = look.known(initial), node.outputs[0]
    if inputs.bias is None or along.bias is None:
        return None
    base = next((one.removesuffix(".bias_ih_l0") for one in inputs.names if one.endswith(".bias_ih_l0")), node.name)
    made = [transposed(look, inputs.x, (1, 0, 2))]
    arrays = {"W": inputs.weight[None], "R": along.weight[None], "B": np.concatenate([inputs.bias, along.bias])[None]}
    read = [made[0].outputs[0], *(look.learned(array, base, key) for key, array in arrays.items())]
    if known is None or any(one.any() for one in known.arrays):
        if look.ndim(initial) != 3:
            return None
        made.append(transposed(look, initial, (1, 0, 2)))
        read += ["", made[-1].outputs[0]]
    y, last = look.fresh(base, "y"), look.fresh(base, "h")
    look.values[y] = turned(look.values[name], (1, 0, 2))
    look.values[last] = turned(look.values[node.inputs[-1]], (1, 0, 2))
    attributes = {"hidden_size": len(along.weight), "activations": [op]}
    made.append(Node("RNN", read, [y, last], attributes, base, OWN))
    made.append(Node("Transpose", [y], [name], {"perm": [1, 0, 2]}, name))
    return [*made, Node("Transpose", [last], [node.inputs[-1]], {"perm": [1, 0, 2]}, node.inputs[-1])]
