"""The net of a written file: its layers with what they are told, and forward with a line for each."""

from __future__ import annotations

import keyword
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...arrays.spec import Spec
from ...check.draws import with_batch
from ...contract.layer import Layer
from ...graph.graph import Graph, PhaseGraph, Step
from ...plan.planner import with_shapes
from ...schema.errors import LayerForgeError
from .knowledge import is_plain
from .reach import Reach
from .sources import Unwritable
from .writing import TAKEN, WIDTH, filled, literal

IN_FILE = 4  # numbers of an array that are written into the file, as those of channels; more are in weights.npz


@dataclass
class Part:
    """What of a net is written: the steps of eval that some blobs need.

    blobs    the blobs that forward returns, by number
    inputs   the inputs that they are computed from, by number
    """

    phase: PhaseGraph
    blobs: tuple[int, ...]
    steps: list[Step] = field(default_factory=list)
    inputs: list[int] = field(default_factory=list)

    @classmethod
    def of(cls, phase: PhaseGraph, names: Sequence[str]) -> Part:
        """The part for blobs by name."""
        part = cls(phase, tuple(phase.current[name].index for name in names))
        wanted = set(part.blobs)
        for step in reversed(phase.steps):
            if wanted & set(step.tops):
                wanted |= set(step.bottoms)
                part.steps.insert(0, step)
        part.inputs = [b.index for b in phase.blobs if b.index in wanted and b.producer is None]
        return part

    @property
    def layers(self) -> list[Layer]:
        return [step.node.layer for step in self.steps]

    def input_names(self) -> list[str]:
        return [self.phase.blobs[i].name for i in self.inputs]


def settle_defaults(reach: Reach, layers: Sequence[Layer]) -> None:
    """Give classes of layers the declared values of hyper-parameters, where one of the layers has these."""
    for layer in layers:
        cls = type(layer)
        for name, declared in cls.fields.items():
            if name not in reach.settings[layer.name] or declared.required:
                continue
            if is_plain(value := declared.parse(declared.default)) and is_same(getattr(layer, name), value):
                reach.items[cls].values[name] = value


def is_same(one: Any, other: Any) -> bool:
    """Whether two plain values are the same, in type too: 1 is not 1.0, nor is it True."""
    return repr(one) == repr(other)


class Names:
    """Names of Python for names of a net, no two the same."""

    def __init__(self, taken: Iterable[str] = ()) -> None:
        self._taken = set(taken)
        self._known: dict[str, str] = {}

    def __call__(self, name: str, wanted: str = "") -> str:
        """The name of `name`, as near to it, or to `wanted`, as Python allows."""
        if name not in self._known:
            plain = unicodedata.normalize("NFKC", wanted or name)  # as Python reads it
            plain = "".join(c if f"_{c}".isidentifier() else "_" for c in plain)
            plain = plain if plain.isidentifier() else f"_{plain}"
            plain = f"_{plain.lstrip('_')}" if plain.startswith("__") else plain  # others mean something in a class
            plain += "_" if keyword.iskeyword(plain) or plain in self._taken else ""
            found, n = plain, 2
            while found in self._taken:
                found, n = f"{plain}_{n}", n + 1
            self._taken.add(found)
            self._known[name] = found
        return self._known[name]


class NetText:
    """Writes the methods of Net that hold the net."""

    def __init__(self, part: Part, reach: Reach, graph: Graph, dtype: str) -> None:
        self.part = part
        self.reach = reach
        self.shared = graph.shared
        self.shapes = _shapes(part, graph)
        self.dtype = dtype
        self.arrays: dict[str, np.ndarray] = {}  # that layers hold beside their parameters
        self.attribute = Names(["forward", "prepare", "scores", "predict", "forget", "blobs"])
        self.variable = Names(["self", "ValueError", *TAKEN])

    def layers(self, class_of: Mapping[type, str]) -> list[str]:
        """The lines that make the layers."""
        lines: list[str] = []
        for layer in self.part.layers:
            try:
                told = self._told(layer)
            except Unwritable as problem:
                raise Unwritable(f"layer '{layer.name}' ({layer.type_name}): {problem}") from None
            name = self.attribute(layer.name)
            head = f"self.{name} = {class_of[type(layer)]}("
            lines += filled(head, ["weights", literal(layer.name), *told], indent="        ")
            for (owner, word), (other, own) in self.shared.items():
                if owner == layer.name:
                    lines.append(f"        self.{name}.params[{literal(word)}] = weights[{literal(f'{other}.{own}')}]")
        return lines

    def _told(self, layer: Layer) -> list[str]:
        """What a layer is told, as arguments: hyper-parameters in the order of their declaration, then the rest."""
        read = self.reach.settings[layer.name]
        order = [name for name in layer.fields if name in read] + sorted(read - set(layer.fields))
        usual = self.reach.items[type(layer)].values
        order = [n for n in order if hasattr(layer, n) and not (n in usual and is_same(getattr(layer, n), usual[n]))]
        return [f"{name}={self._argument(layer, name)}" for name in order]

    def _argument(self, layer: Layer, name: str) -> str:
        value = getattr(layer, name)
        if isinstance(value, np.generic):
            value = value.item()
        if is_plain(value):
            return literal(value)
        if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
            key = f"{layer.name}/{name}"  # no parameter is called so
            self.arrays[key] = value
            return f"weights[{literal(key)}]"
        raise Unwritable(f"its {name} is of type {type(value).__name__}, which cannot be written down")

    # forward ----------------------------------------------------------------------------------------------------------

    def inputs(self) -> list[str]:
        """The arguments of forward."""
        return [self.variable(name) for name in self.part.input_names()]

    def forward(self) -> list[str]:
        """The lines of forward."""
        blobs, lines = self.part.phase.blobs, []
        for index in self.part.inputs:
            name = self.variable(blobs[index].name)
            if _is_real(blobs[index].spec):
                lines.append(f'        {name} = np.asarray({name}, "{self.dtype}")')
            else:  # an index is never cut off a fraction
                lines.append(f'        {name} = np.asarray({name}).astype("int64", casting="same_kind")')
        for step in self.part.steps:
            tops = ", ".join(self.variable(blobs[i].name) for i in step.tops)
            bottoms = ", ".join(self.variable(blobs[i].name) for i in step.bottoms)
            call = f"        {tops} = self.{self.attribute(step.node.name)}({bottoms})"
            lines += [call] if len(call) <= WIDTH else _broken(call)
        returned = ", ".join(self.variable(blobs[i].name) for i in self.part.blobs)
        return [*lines, f"        return {returned}"]

    def said(self, indices: Sequence[int]) -> str:
        """Blobs with their shapes, in words."""
        blobs = self.part.phase.blobs
        return ", ".join(f"{in_words(blobs[i].name)} {self.shape(i)}" for i in indices)

    def shape(self, index: int) -> str:
        """The shape of a blob."""
        return _tuple(self.shapes[index])


def in_words(name: str, instead: str = "_") -> str:
    """A name, or a text, for a docstring, which it must not end."""
    return re.sub(r'[\\"\s{}]+', instead, name)


def _broken(call: str) -> list[str]:
    """A call that is too long for one line."""
    head, _, rest = call.partition("(")
    return filled(f"{head.strip()}(", rest.removesuffix(")").split(", "), indent="        ")


def _is_real(spec: Spec | None) -> bool:
    return spec is None or spec.is_real


def shape_of(spec: Spec | None) -> str:
    """The shape of a blob of N samples."""
    if spec is None or not spec.shape:
        return "()"
    return _tuple(["N", *map(str, spec.shape[1:])])


def _tuple(lengths: Sequence[str]) -> str:
    return f"({', '.join(lengths)}{',' if len(lengths) == 1 else ''})"


SIZES = (2, 3, 5)  # numbers of samples that shapes are looked at with


def _shapes(part: Part, graph: Graph) -> list[list[str]]:
    """The lengths of all blobs, by how they follow the number of samples N; as declared where it must be that one."""
    names = tuple(part.phase.blobs[i].name for i in part.blobs)
    given = dict(graph.inputs)
    try:
        found = [with_shapes(part.phase, with_batch(given, n), names, None, False).specs for n in SIZES]
    except LayerForgeError:
        found = []
    finally:
        declared = with_shapes(part.phase, given, names, None, False).specs  # layers are set up as they were
    if not found:
        return [[str(length) for length in spec.shape] for spec in declared]
    return [
        [_length(seen) for seen in zip(*(spec.shape for spec in specs), strict=True)]
        for specs in zip(*found, strict=True)
    ]


def _length(seen: Sequence[int]) -> str:
    """A length that was `seen` with SIZES: 12, N, 4 N, 2 N + 1."""
    per, rest = divmod(seen[1] - seen[0], SIZES[1] - SIZES[0])
    plus = seen[0] - per * SIZES[0]
    if rest or any(per * n + plus != length for n, length in zip(SIZES, seen, strict=True)):
        return "..."
    follows = "N" if per == 1 else f"{per} N"
    return str(plus) if not per else f"{follows} {'-' if plus < 0 else '+'} {abs(plus)}" if plus else follows
