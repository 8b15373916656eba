"""A Loop over the steps of a sequence whose body is a cell of ours: one recurrent layer.

So exporters write what is no operator to them, such as TensorFlow's of Keras's GRU. What a body counts is computed run
after run, and must be the number of the step; what it computes with numbers becomes formulas (terms.py), in which cells
are recognised (cells.py). Whatever is another loop is imported run after run (branches.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ....schema.errors import LayerForgeError
from ..folding import FOLDS, fold
from ..graph import Node, OnnxGraph, ValueInfo
from ..naming import base_of
from ..ordering import needed, passed_on, subgraphs, used
from ..values import BOOL, INDEX, Attributes, Known, Stream, Value
from . import recurrent
from .cells import Found, X, found
from .looking import Look, NotThis
from .terms import Terms

SAMPLES = 2  # that formulas are of: those of one must not reach the other
MOST = 50_000  # computations of what is counted
LARGEST = 1 << 24  # learned numbers


def as_layer(look: Look, node: Node) -> list[Node] | None:
    """GRU, LSTM or RNN: hₜ, or hₜ and cₜ, of xₜ and those of the step before, for each step of x (T, N, D)."""
    body, states = node.attributes.get("body"), len(node.inputs) - 2
    if node.domain or not isinstance(body, OnnxGraph) or states < 1 or len(body.inputs) != states + 2:
        return None
    if not states < len(body.outputs) == len(node.outputs) + 1:
        return None
    try:
        loop = Body(look, node, body)
        loop.count()
        return _made(loop, *loop.cell())
    except LayerForgeError:  # what cannot be computed
        return None


class Body:
    """A Loop, taken apart.

    same      what its body calls values that are the same in each run, and what they are called outside
    counted   states of integers or truth, by their places: the net does not compute them
    moving    the other states that change: h, or h and c
    counting  the nodes that only count
    computing the others
    x         the sequence
    turns     what the body calls the number of the step that is read, and how many axes that has
    """

    def __init__(self, look: Look, node: Node, body: OnnxGraph) -> None:
        self.look = look
        self.node = node
        self.body = body
        self.inner = {info.name for info in body.inputs} | {name for one in body.nodes for name in one.outputs}
        self.same: dict[str, str] = {}
        self.counted: list[int] = []
        self.moving: list[int] = []
        self.counting: list[Node] = []
        self.computing: list[Node] = []
        self.x = ""
        self.turns: dict[str, int] = {}
        self.terms = Terms()
        self._part_states()
        self._part_nodes()
        self._find_x()

    def _part_states(self) -> None:
        for k, outside in enumerate(self.node.inputs[2:]):
            end, name = passed_on(self.body, self.body.outputs[1 + k].name), self.body.inputs[2 + k].name
            known = self.look.known(outside)
            if end == name:
                self.same[name] = outside
            elif known is not None and known.dtype in (INDEX, BOOL):
                self.counted.append(k)
            else:
                self.moving.append(k)

    def _part_nodes(self) -> None:
        numbers = {info.name for info in (*self.body.inputs[:2], *self._states(self.counted))}
        for node in needed(self.body):
            if any(subgraphs(node)) or node.domain:
                raise NotThis(node.op)
            if node.op in FOLDS and all(name in numbers or self.constant(name) is not None for name in used(node)):
                self.counting.append(node)
                numbers |= set(node.outputs)
            else:
                self.computing.append(node)

    def _states(self, places: Sequence[int]) -> list[ValueInfo]:
        return [self.body.inputs[2 + k] for k in places]

    def _find_x(self) -> None:
        for node in self.computing:
            outside = self._read_in_steps(node)
            value = self.outside(node.inputs[0]) if outside else None
            if isinstance(value, Stream) and value.ndim == 3 and not value.guessed and self.x in ("", outside):
                self.x = outside
                self.turns[node.inputs[1]] = 0
        if not self.x or not all(all(shape) for shape in self.look.shapes(self.x) or ()):
            raise NotThis("no sequence")

    def _read_in_steps(self, node: Node) -> str:
        """What a node takes a step of, along the first of its axes; "" for another node."""
        steps = node.op == "Gather" and Attributes(node).integer("axis", 0) in (0, -3)
        return self.same.get(node.inputs[0], node.inputs[0]) if steps else ""

    # What is known ------------------------------------------------------------------------------------------------

    def outside(self, name: str) -> Value | None:
        """A value from outside of the body, or one that is stored in it."""
        stored = self.body.initializers.get(name)
        if stored is not None:
            return Known((stored,) * self.look.variants, name if stored.dtype.kind == "f" else "")
        if name in self.inner and name not in self.same:
            return None
        return self.look.values.get(self.same.get(name, name))

    def constant(self, name: str) -> Known | None:
        """What is known of a value that is the same in each run, and that nobody learns."""
        value = self.outside(name)
        return value if isinstance(value, Known) and not _is_learned(value) else None

    def given(self, i: int, usual: Any) -> Known:
        """How often it runs at most, or whether it begins."""
        name = self.node.inputs[i]
        known = self.look.known(name) if name else _alike(usual, self.look.variants)
        if known is None or known.array.size != 1:
            raise NotThis("the net computes how often it runs")
        return known

    # Counting -----------------------------------------------------------------------------------------------------

    def count(self) -> None:
        """Run what is counted. Errors: NotThis where steps are not read in their turn, or not all of them."""
        lengths = [shape[0] for shape in self.look.shapes(self.x) or ()]
        limits = [int(one.reshape(())) for one in self.given(0, MOST).arrays]
        states = [self.look.value(self.node.inputs[2 + k]) for k in self.counted]
        if not all(bool(one.all()) for one in self.given(1, True).arrays) or min(limits) < 1:
            raise NotThis("it does not begin")
        if max(lengths) * max(1, len(self.counting)) > MOST:
            raise NotThis("it is too long to be counted")
        for number in range(max(lengths)):
            condition, turns, states = self._run(number, states)
            axes = [turn.ndim for turn in turns]
            if number and axes != list(self.turns.values()):
                raise NotThis("steps of several shapes")
            self.turns = dict(zip(self.turns, axes, strict=True))
            for v, length in enumerate(lengths):
                if number >= length:
                    continue
                goes_on = bool(condition.arrays[v].all()) and number + 1 < limits[v]
                read = [turn.arrays[v].reshape(-1).tolist() for turn in turns]
                if goes_on != (number + 1 < length) or any(one != [number] for one in read):
                    raise NotThis("not each step in its turn")

    def _run(self, number: int, states: Sequence[Value]) -> tuple[Known, list[Known], list[Value]]:
        """What a run counts: whether it goes on, which steps it reads, and its states."""
        begins = [_alike(np.int64(number), self.look.variants), _alike(True, self.look.variants), *states]
        infos = [*self.body.inputs[:2], *self._states(self.counted)]
        values = {info.name: value for info, value in zip(infos, begins, strict=True) if isinstance(value, Known)}

        def known(name: str) -> Known:
            value = values.get(name) or self.constant(name)
            if value is None:
                raise NotThis(name)
            return value

        for node in self.counting:
            read = [known(name) if name else None for name in node.inputs]
            made = fold(node, Attributes(node), read, self.look.graph.opset, self.look.variants)
            values |= dict(zip(node.outputs, made, strict=False))
        ends: list[Value] = [known(self.body.outputs[1 + k].name) for k in self.counted]
        return known(self.body.outputs[0].name), [known(name) for name in self.turns], ends

    # Computing ----------------------------------------------------------------------------------------------------

    def cell(self) -> tuple[Found, dict[str, np.ndarray]]:
        """The cell whose step it is, and the formulas of what the body makes."""
        formulas = self._begin()
        step = self.terms.source(X, (SAMPLES, self._last(self.x)))
        for k in self.moving:
            name = self.body.inputs[2 + k].name
            formulas[name] = self.terms.source(name, (SAMPLES, self._features(self.node.inputs[2 + k])))
        for node in self.computing:
            if self._read_in_steps(node) == self.x:
                formulas[node.outputs[0]] = step.reshape(*[1] * self.turns[node.inputs[1]], *step.shape)
                continue
            read = [self._formula(name, formulas) for name in node.inputs]
            known = [self.constant(name) for name in node.inputs]
            made = self.terms.run(node, read, known, self.look.graph.opset)
            formulas |= dict(zip(node.outputs, made, strict=False))
        names = [info.name for info in self._states(self.moving)]
        afters = [self._formula(self.body.outputs[1 + k].name, formulas) for k in self.moving]
        layer = found(self.terms, names, [formulas[name] for name in names], afters)
        self._demand_all(layer)
        return layer, formulas

    def _begin(self) -> dict[str, np.ndarray]:
        """Formulas of what is learned."""
        formulas, held = {}, dict[str, np.ndarray]()
        for name in dict.fromkeys(name for node in self.computing for name in used(node)):
            value, outside = self.outside(name), self.same.get(name, name)
            if not isinstance(value, Known) or not _is_learned(value):
                continue
            if outside not in held:
                self._demand_alone(name, outside)
                held[outside] = self.terms.learn(outside, value.array)
            formulas[name] = held[outside]
        if self.terms.count > LARGEST:
            raise NotThis("too many numbers")
        return formulas

    def _demand_alone(self, name: str, outside: str) -> None:
        """Refuse what others learn, too: a layer has numbers of its own."""
        graph = self.look.graph
        given = any(info.name == outside for info in graph.outputs)
        if name not in self.body.initializers and (
            outside not in graph.initializers or given or self.look.uses[outside] > 1
        ):
            raise NotThis(f"'{outside}' is of others, too")

    def _features(self, name: str) -> int:
        """How many features a state has: of each sample of the sequence, and the same for all sizes."""
        size, of_x = self._last(name), self.look.shapes(self.x) or ()
        if self.look.shapes(name) != tuple((samples, size) for _, samples, _ in of_x):
            raise NotThis(f"'{name}' is not of each sample")
        return size

    def _last(self, name: str) -> int:
        """The length of the last axis, which must be the same for all sizes."""
        lengths = {shape[-1] for shape in self.look.shapes(name) or () if shape}
        if len(lengths) != 1:
            raise NotThis(name)
        return lengths.pop()

    def _formula(self, name: str, formulas: dict[str, np.ndarray]) -> np.ndarray:
        if name not in formulas:
            known = self.constant(name)
            if known is None or not known.fixed:
                raise NotThis(name)
            real = known.array.dtype.kind == "f"  # other numbers say how these are moved
            formulas[name] = self.terms.numbers(known.array) if real else np.zeros(0, np.int64)
        return formulas[name]

    def _demand_all(self, layer: Found) -> None:
        """Refuse a layer that has some of the learned numbers not once."""
        of_it = [one for one in (layer.w, layer.r, layer.b, layer.rb) if one is not None]
        every = np.sort(np.concatenate([one.reshape(-1) for one in of_it]))
        if not np.array_equal(every, np.arange(sum(array.size for _, _, array in self.terms.held))):
            raise NotThis("numbers that are not those of the layer, once each")


def _is_learned(value: Known) -> bool:
    return bool(value.learned) and value.array.size > 1


def _alike(number: Any, variants: int) -> Known:
    return Known((np.asarray(number),) * variants)


# The layer ------------------------------------------------------------------------------------------------------------


def _made(loop: Body, layer: Found, formulas: dict[str, np.ndarray]) -> list[Node] | None:
    """The operator, and what the Loop makes of it: its last states, and hₜ of all steps."""
    look, node = loop.look, loop.node
    states, size = len(node.inputs) - 2, len(layer.r[0])
    h, *others = (loop.moving[i] for i in layer.order)
    y, *ends = (look.fresh(node.outputs[k], "layer") for k in (0, h, *others))
    x = look.value(loop.x)
    made, squeezed = list[Node](), list[Node]()
    for j, name in enumerate(node.outputs):
        if not look.uses[name] and not any(info.name == name for info in look.graph.outputs):
            continue
        shown = formulas.get(loop.body.outputs[1 + j].name)
        if j >= states and shown is not None and np.array_equal(shown, formulas[loop.body.outputs[1 + h].name]):
            look.values[y] = _shaped(x, [(t, 1, n, size) for t, n, _ in look.shapes(loop.x) or ()])
            squeezed.append(_axis(look, "Squeeze", y, name, 1))
        elif j in (h, *others):
            end = ends[0 if j == h else 1]
            look.values[end] = _shaped(x, [(1, n, size) for _, n, _ in look.shapes(loop.x) or ()])
            squeezed.append(_axis(look, "Squeeze", end, name, 0))
        else:
            return None
    base = base_of(node.name).removesuffix("/while_loop") or base_of(node.outputs[0])
    read = [loop.x, *_numbers(look, loop, layer, base)]
    for k in (h, *others):
        outside = node.inputs[2 + k]
        begin, shapes = look.fresh(outside, "begin"), [(1, *shape) for shape in look.shapes(outside) or ()]
        look.values[begin] = _shaped(look.value(outside), shapes)
        made.append(_axis(look, "Unsqueeze", outside, begin, 0))
        read.append(begin)
    attributes: dict[str, Any] = {"hidden_size": size, "recurrent_bias": int(layer.rb is not None)}
    attributes |= {"linear_before_reset": 1} if layer.op == "GRU" else {}
    attributes |= {"activations": [layer.activation]} if layer.activation else {}
    own = recurrent.batch_first(look, Node(layer.op, read, [y, *ends], attributes, base))
    if own is None:
        return None
    for one in own:
        if one.op == layer.op:
            one.note = f"stands for a Loop whose body, of {len(loop.body.nodes)} nodes, is a step of it"
    return [*made, *own, *squeezed]


def _numbers(look: Look, loop: Body, layer: Found, base: str) -> list[str]:
    """W, R, B, and no lengths."""
    table = np.concatenate([array.reshape(-1) for _, _, array in loop.terms.held])
    arrays = {"W": table[layer.w], "R": table[layer.r]}
    if layer.b is not None:
        second = np.zeros(len(layer.b), table.dtype) if layer.rb is None else table[layer.rb]
        arrays["B"] = np.concatenate([table[layer.b], second])
    names = [look.learned(array[None], base, key) for key, array in arrays.items()]
    return [*names, *[""] * (4 - len(names))]


def _shaped(value: Value, shapes: Sequence[tuple[int, ...]]) -> Value:
    if isinstance(value, Known):
        return Known(tuple(one.reshape(shape) for one, shape in zip(value.arrays, shapes, strict=True)), value.learned)
    return replace(value, specs=tuple(spec.with_shape(one) for spec, one in zip(value.specs, shapes, strict=True)))


def _axis(look: Look, op: str, name: str, output: str, axis: int) -> Node:
    """An axis of length 1, taken away or put in."""
    if look.graph.opset < 13:
        return Node(op, [name], [output], {"axes": [axis]}, output)
    return Node(op, [name, look.constant(np.array([axis]), output, "axis")], [output], {}, output)
