"""How patterns are looked for: who makes a value, who reads it, what is known of it, and what takes a pattern's place.

    def silu(look: Look, node: Node) -> list[Node] | None: ...

    PASSES = [{"Mul": [silu]}]      in __init__.py: by the operator of its last node

A pattern gets the node that makes what the pattern makes, its last, and returns the nodes that take its place: None
where it is not the pattern. The last node and all that only it needs are then gone. The table of `patterns/__init__.py`
says which operators a pattern is tried at.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ..graph import OWN, Node, OnnxGraph, free_name
from ..naming import base_of
from ..ordering import needed, put_in_order, used
from ..values import Known, Value

DEPTH = 5  # products within one another that are taken apart
FREE = ("Identity", "Transpose", "Reshape")  # cost nothing: what they take the place of may have other readers

class NotThis(Exception):
    """Nodes are not the pattern that one looks for: what it must know of a value is not known, or does not fit."""


Pattern = Callable[["Look", Node], list[Node] | None]
Patterns = dict[str, list[Pattern]]


@dataclass
class Look:
    """A graph in which patterns are looked for.

    values    what is known of its values, from one walk through it
    makers    which node makes a value
    readers   which nodes read it, of those that the net computes
    uses      how many nodes of the file read it, whatever they are
    taken     names of values
    first     constants that patterns have made, which come before all nodes
    variants  in how many sizes of the inputs values are known
    origins   new nodes by their identity, each with the nodes of the file that it stands for
    """

    graph: OnnxGraph
    values: dict[str, Value]
    makers: dict[str, Node] = field(default_factory=dict)
    readers: dict[str, list[Node]] = field(default_factory=dict)
    uses: Counter[str] = field(default_factory=Counter)
    taken: set[str] = field(default_factory=set)
    first: list[Node] = field(default_factory=list)
    variants: int = 1
    origins: dict[int, tuple[Node, list[Node]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        known = [shapes for name in self.values if (shapes := self.shapes(name)) is not None]
        self.variants = max(map(len, known), default=1)
        self.taken |= {*self.graph.initializers, *(value.name for value in self.graph.inputs)}
        for node in self.graph.nodes:
            self._enter(node)
            self.uses.update(used(node))

    def _enter(self, node: Node) -> None:
        for name in node.outputs:
            self.makers[name] = node
            self.taken.add(name)
        if all(self.known(name) is not None for name in node.outputs if name):
            return  # what it makes is known, such as the shape of what it reads
        for name in used(node):
            self.readers.setdefault(name, []).append(node)

    def _leave(self, node: Node) -> None:
        for name in used(node):
            self.readers[name] = [one for one in self.readers.get(name, ()) if one is not node]

    # Looking ------------------------------------------------------------------------------------------------------

    def maker(self, name: str, *ops: str) -> Node | None:
        """The node that makes a value, if it is one of these operators."""
        node = self.makers.get(name)
        return node if node is not None and node.op in ops else None

    def value(self, name: str) -> Value:
        """What is known of a value. Errors: NotThis where it cannot be imported"""
        if name not in self.values:
            raise NotThis(name)
        return self.values[name]

    def known(self, name: str) -> Known | None:
        """A value whose numbers are known."""
        value = self.values.get(name)
        return value if isinstance(value, Known) else None

    def number(self, name: str) -> float | None:
        """A single number that is known, and the same for all sizes of the batch."""
        known = self.known(name)
        single = known is not None and known.array.size == 1 and known.fixed
        return float(known.array.reshape(())) if known is not None and single else None

    def vector(self, name: str) -> Known | None:
        """Learned numbers that may be a bias, or a scale: one axis."""
        known = self.known(name)
        return known if known is not None and known.learned and known.ndim == 1 else None

    def shapes(self, name: str) -> tuple[tuple[int, ...], ...] | None:
        """The shape of a value in each variant; None where it is not known."""
        value = self.values.get(name)
        if isinstance(value, Known):
            return tuple(array.shape for array in value.arrays)
        return None if value is None or value.guessed else value.shapes

    def ndim(self, name: str) -> int:
        """The axes of a value; -1 where they are not known."""
        shapes = self.shapes(name)
        return -1 if shapes is None else len(shapes[0])

    def with_number(self, node: Node) -> tuple[str, float] | None:
        """The value and the number that a sum or product of two joins."""
        one, other = node.inputs
        for value, number in ((one, self.number(other)), (other, self.number(one))):
            if number is not None:
                return value, number
        return None

    def factors(self, name: str, depth: int = DEPTH) -> tuple[float, list[str]]:
        """A value as a number times values: products, quotients by numbers and changes of sign, taken apart."""
        number, node = self.number(name), self.maker(name, "Mul", "Div", "Neg")
        if number is not None:
            return number, []
        if node is None or not depth:
            return 1.0, [name]
        first, rest = self.factors(node.inputs[0], depth - 1)
        if node.op == "Neg":
            return -first, rest
        if node.op == "Mul":
            second, more = self.factors(node.inputs[1], depth - 1)
            return first * second, rest + more
        below = self.number(node.inputs[1])
        return (first / below, rest) if below else (1.0, [name])

    # Making -------------------------------------------------------------------------------------------------------

    def fresh(self, name: str, part: str) -> str:
        """A name that no value has, for a part of what another one becomes."""
        return free_name(f"{base_of(name)}.{part}", self.taken)

    def constant(self, array: Any, name: str, part: str) -> str:
        """A constant of these numbers."""
        name, numbers = self.fresh(name, part), np.asarray(array)
        self.first.append(Node("Constant", [], [name], {"value": numbers}, name))
        self.values[name] = Known((numbers,) * self.variants)
        return name

    def learned(self, array: np.ndarray, name: str, part: str) -> str:
        """An initializer of these numbers, which are learned."""
        name = self.fresh(name, part)
        self.graph.initializers[name] = np.ascontiguousarray(array)
        self.values[name] = Known((array,) * self.variants, name, (name, ()))
        return name

    # Taking the place ---------------------------------------------------------------------------------------------

    def replace(self, patterns: Patterns) -> None:
        """Put what they stand for in the place of all patterns, in the order of the nodes."""
        nodes = list(self.graph.nodes)
        gone: set[int] = set()
        self.graph.nodes = []
        for node in nodes:
            found = self._found(patterns, node)
            if found is None:
                self.graph.nodes.append(node)
                continue
            made, inner = found
            gone |= {id(one) for one in inner}
            self._tell(made, inner)
            for one in inner:
                self._leave(one)
            for one in made:
                self._enter(one)
            self.graph.nodes.extend(made)
        self.graph.nodes = [*self.first, *(node for node in self.graph.nodes if id(node) not in gone)]
        self.first = []
        self.drop_unread()
        put_in_order("the graph", self.graph)

    def _tell(self, made: list[Node], inner: list[Node]) -> None:
        """Say of the new nodes which ones of the file they stand for."""
        stand_for = [old for one in inner[::-1] for old in self.origins.get(id(one), (one, [one]))[1]]
        for one in made:
            if one.op not in FREE and len(stand_for) > 1:
                self.origins[id(one)] = (one, stand_for)
                one.note = f"stands for {len(stand_for)} nodes: {', '.join(dict.fromkeys(old.op for old in stand_for))}"

    def _found(self, patterns: Patterns, node: Node) -> tuple[list[Node], list[Node]] | None:
        if node.domain not in ("", OWN):
            return None
        for pattern in patterns.get(node.op, ()):
            try:
                made = pattern(self, node)
            except NotThis:
                continue
            if made is None:
                continue
            inner = [node] if all(one.op in FREE for one in made) else self._inside(node, made)
            if inner is not None:
                return made, inner
        return None

    def _inside(self, last: Node, made: Iterable[Node]) -> list[Node] | None:
        """The nodes between what takes a pattern's place reads, and the last of the pattern; None where others read
        what they make.
        """
        made = list(made)
        ends = {name for node in made for name in node.inputs}
        remade = {name for node in made for name in node.outputs}
        found, todo = [last], [name for name in last.inputs if name]
        while todo:
            name = todo.pop()
            node = self.makers.get(name)
            if name in ends or self.known(name) is not None or any(node is one for one in found):
                continue
            if node is None:
                return None
            found.append(node)
            todo += [name for name in node.inputs if name]
        seen, outputs = {id(node) for node in found}, {value.name for value in self.graph.outputs}
        for node in found[1:]:
            for name in node.outputs:
                if name in remade:
                    continue
                if name in outputs or any(id(reader) not in seen for reader in self.readers.get(name, ())):
                    return None
        return found

    def drop_unread(self) -> None:
        """Leave out the nodes that no output needs."""
        kept = needed(self.graph)
        there = {id(node) for node in kept}
        for node in self.graph.nodes:
            if id(node) not in there:
                self._leave(node)
        self.graph.nodes = kept


def turned(value: Value, order: Sequence[int]) -> Value:
    """What is known of a value with its axes in another order. Errors: NotThis where it has not so many"""
    if value.ndim != len(order):
        raise NotThis(f"{value.ndim} axes")
    if isinstance(value, Known):
        return value.transposed(tuple(order))
    return replace(value, specs=tuple(spec.with_shape([spec.shape[i] for i in order]) for spec in value.specs))


def reshaped(value: Value, shapes: Sequence[tuple[int, ...]]) -> Value:
    """What is known of a blob in another shape, given for each variant. Errors: NotThis where sizes differ"""
    if isinstance(value, Known) or any(s.size != math.prod(one) for s, one in zip(value.specs, shapes, strict=True)):
        raise NotThis(f"a value of shape {shapes} is no blob with as many numbers")
    return replace(value, specs=tuple(spec.with_shape(one) for spec, one in zip(value.specs, shapes, strict=True)))


def axes_of(look: Look, node: Node) -> list[int] | None:
    """Over which axes a reduction goes: an attribute, or in newer versions its second input."""
    if len(node.inputs) > 1:
        known = look.known(node.inputs[1])
        return None if known is None else [int(n) for n in known.array.reshape(-1)]
    axes = node.attributes.get("axes")
    return None if axes is None else list(axes)


def shape_of(look: Look, lengths: Sequence[tuple[int, ...]], source: str) -> list[int] | None:
    """A shape in each variant as Reshape takes it: 0 copies a length of the source, -1 is one that varies."""
    from_source = look.shapes(source) or ()
    shape = []
    for axis, sizes in enumerate(zip(*lengths, strict=True)):
        copied = all(axis < len(one) for one in from_source) and [one[axis] for one in from_source] == list(sizes)
        shape.append(sizes[0] if len(set(sizes)) == 1 and sizes[0] else 0 if copied else -1)
    return None if shape.count(-1) > 1 else shape
