"""Recurrent operators with the samples in front, as our layers have them, and recurrence written step by step."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..conversions.recurrent_in import CELLS, STATES
from ..graph import OWN, Node
from ..values import Known
from .linear import Linear, linear_of
from .looking import Look, reshaped, shape_of, turned
from .movements import places, source_of, transposed


def batch_first(look: Look, node: Node) -> list[Node] | None:
    """LSTM, GRU and RNN with time in front, as one of our layers between two changes of axes.

    ONNX's y is (T, directions, N, H), our layers' (N, T, directions · H). Most exporters undo all this around the
    operator, so that the movements shorten to little or nothing (`movements.shortened`).
    """
    outputs = [name if name in look.values else "" for name in node.outputs]  # "" is one that nobody reads
    shapes, of_y = look.shapes(node.inputs[0]), look.shapes(outputs[0])
    if node.domain or node.attributes.get("layout", 0) or shapes is None or len(shapes[0]) != 3:
        return None
    if outputs[0] and (of_y is None or any(len(one) != 4 for one in of_y)):
        return None
    before = transposed(look, node.inputs[0], (1, 0, 2))
    inputs, made = [before.outputs[0], *node.inputs[1:]], [before]
    for i in range(STATES, min(len(inputs), STATES + CELLS[node.op].states)):
        known = look.known(inputs[i]) if inputs[i] else None
        if known is not None and _none(known, look.known(node.inputs[2]), [shape[1] for shape in shapes]):
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
            look.values[own[j]] = turned(look.value(name), (1, 0, 2))
    if outputs[0]:
        made += _unfolded(look, own[0], outputs[0], [(n, t, passes, size) for t, passes, n, size in of_y or ()])
    return made


def _none(state: Known, r: Known | None, samples: list[int]) -> bool:
    """Whether an initial state is as good as none: zeros of the right shape that nobody learns."""
    passes, size = (r.shape[0], r.shape[-1]) if r is not None and r.ndim else (0, 0)
    fits = all(one.shape == (passes, n, size) for one, n in zip(state.arrays, samples, strict=False))
    return fits and not state.learned and not any(one.any() for one in state.arrays)


def _unfolded(look: Look, name: str, output: str, shapes: list[tuple[int, ...]]) -> list[Node]:
    """(N, T, directions · H) as (T, directions, N, H)."""
    joined = [(n, t, passes * size) for n, t, passes, size in shapes]
    look.values[name] = reshaped(look.value(output), joined)
    target = look.constant(np.array(shape_of(look, shapes, name), np.int64), output, "shape")
    middle = look.fresh(output, "unfolded")
    look.values[middle] = reshaped(look.value(output), shapes)
    reshape = Node("Reshape", [name, target], [middle], {}, middle)
    return [reshape, Node("Transpose", [middle], [output], {"perm": [1, 2, 0, 3]}, output)]


@dataclass(frozen=True)
class UnrolledStep:
    """A step of an RNN: h = op(below + W before + b)."""

    op: str
    before: str
    along: Linear
    below: str
    source: str  # the linear map of all steps, of which `below` is one


def unrolled(look: Look, node: Node) -> list[Node] | None:
    """RNN as torch.export writes it, step by step: hₜ = tanh(uₜ + W hₜ₋₁ + b) or ReLU, u a linear map of all steps.

    The node joins all hₜ; the last of them may be read by others, too.
    """
    shapes, steps = look.shapes(node.outputs[0]), [_step(look, name) for name in node.inputs]
    found = [step for step in steps if step is not None]
    if len(found) < max(2, len(steps)) or shapes is None or node.attributes.get("axis", 0) != 0:
        return None
    first, *others = found
    if any((s.op, s.along.names, s.source) != (first.op, first.along.names, first.source) for s in others):
        return None
    if [step.before for step in others] != node.inputs[:-1]:
        return None
    inputs, wanted = linear_of(look, first.source), [tuple(shape[1:]) for shape in shapes]
    if inputs is None or not _are_steps(look, [step.below for step in found], first.source, wanted):
        return None
    return _as_layer(look, node, first, inputs)


def _step(look: Look, name: str) -> UnrolledStep | None:
    """What a value is, if it is a step."""
    node = look.maker(name, "Tanh", "Relu")
    added = None if node is None else look.maker(node.inputs[0], "Add")
    for state, below in (added.inputs, added.inputs[::-1]) if added is not None else ():
        source, along = source_of(look, below), linear_of(look, state)
        if node is not None and along is not None and source != below and linear_of(look, source) is not None:
            return UnrolledStep(node.op, along.x, along, below, source)
    return None


def _are_steps(look: Look, parts: list[str], source: str, wanted: list[tuple[int, ...]]) -> bool:
    """Whether parts of a value (T, N, H) are its steps, in their order."""
    if look.shapes(source) != tuple((len(parts), *shape) for shape in wanted):
        return False
    for t, part in enumerate(parts):
        found = places(look, part, source)
        if found is None or any(one.size != math.prod(shape) for one, shape in zip(found, wanted, strict=True)):
            return False
        if any(not np.array_equal(one.reshape(-1), np.arange(one.size) + t * one.size) for one in found):
            return False
    return True


def _as_layer(look: Look, node: Node, first: UnrolledStep, inputs: Linear) -> list[Node] | None:
    """The layer between changes of axes, and the last state."""
    along, initial, name = first.along, first.before, node.outputs[0]
    known = look.known(initial)
    if inputs.bias is None or along.bias is None:
        return None
    base = next((one.removesuffix(".bias_ih_l0") for one in inputs.names if one.endswith(".bias_ih_l0")), node.name)
    made = [transposed(look, inputs.x, (1, 0, 2))]
    arrays = {"W": inputs.weight[None], "R": along.weight[None], "B": np.concatenate([inputs.bias, along.bias])[None]}
    read = [made[0].outputs[0], *(look.learned(array, base, key) for key, array in arrays.items())]
    if known is None or known.learned or any(one.any() for one in known.arrays):
        if look.ndim(initial) != 3:
            return None
        made.append(transposed(look, initial, (1, 0, 2)))
        read += ["", made[-1].outputs[0]]
    y, last = look.fresh(base, "y"), look.fresh(base, "h")
    look.values[y] = turned(look.value(name), (1, 0, 2))
    look.values[last] = turned(look.value(node.inputs[-1]), (1, 0, 2))
    attributes = {"hidden_size": len(along.weight), "activations": [first.op]}
    made.append(Node("RNN", read, [y, last], attributes, base, OWN))
    made.append(Node("Transpose", [y], [name], {"perm": [1, 0, 2]}, name))
    return [*made, Node("Transpose", [last], [node.inputs[-1]], {"perm": [1, 0, 2]}, node.inputs[-1])]
