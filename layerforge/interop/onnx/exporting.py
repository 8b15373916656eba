"""How a layer becomes operators of ONNX: the table of exports, and what an export works with.

    @exports("Linear")
    def linear(w: Export, x: Value) -> Value:
        return w.op("Gemm", x, w.param("weight"), w.param("bias"), transB=1)

An export writes nodes and returns the values of the layer's tops, in their order; the layer is set up. Names, wiring
and the batch axis of the net's inputs are not its business. What it cannot say in ONNX it refuses with `w.refuse(...)`,
and the walk goes on, so that all such layers are told of at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

import numpy as np

from ...contract import call
from ...schema.errors import ConfigError
from ..tables import entering
from .dtypes import NUMBERS
from .graph import Node, OnnxGraph, free_name

SIZES = (2, 3, 5)  # numbers of samples that shapes are looked at with
BEFORE, BEHIND = int(np.iinfo(np.int64).min), int(np.iinfo(np.int64).max)  # of Slice: beyond the ends of every axis


@dataclass(frozen=True)
class Extent:
    """A length that follows the number N of samples: per N + plus."""

    per: int
    plus: int = 0

    def __str__(self) -> str:
        whole = "N" if self.per == 1 else f"{self.per}*N"
        return f"{whole}{self.plus:+d}" if self.plus else whole


Length = int | Extent


@dataclass(frozen=True)
class Value:
    """A value of the graph: its name, its dtype as NumPy calls it, and its lengths where they are known.

    shape   of a blob always there; of what an export makes on the way only if it says so
    """

    name: str
    dtype: str = "float32"
    shape: tuple[Length, ...] = ()

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def fixed(self, axis: int) -> int | None:
        """A length that does not follow the batch; None for one that does."""
        length = self.shape[axis]
        return length if isinstance(length, int) else None


class Unexportable(ConfigError):
    """A layer that cannot be said in ONNX."""


@dataclass
class Building:
    """The graph that is being built, and what all exports of a net share.

    batch    a value with the number of samples is made of this input: its name and axis; "" where nothing follows it
    arrays   parameters and statistics on the host, by (layer, name); those of a shared parameter under its owner
    owners   from a shared parameter to its owner
    notes    what is to be known of the graph
    host     an array of the net's device as NumPy's
    """

    graph: OnnxGraph
    arrays: dict[tuple[str, str], np.ndarray]
    owners: dict[tuple[str, str], tuple[str, str]]
    batch: tuple[str, int, Length] = ("", 0, 0)
    names: set[str] = field(default_factory=set)
    node_names: set[str] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)
    samples: Value | None = None
    host: Callable[[Any], np.ndarray] = np.asarray

    def unique(self, name: str, taken: set[str] | None = None) -> str:
        """A name that no other value has, as close to this one as may be; of nodes with their names as `taken`."""
        return free_name(name, self.names if taken is None else taken)


@dataclass
class Export:
    """A layer while it is exported.

    layer     itself
    bottoms   what it reads
    tops      the lengths and dtypes of what it makes: values without a name
    """

    building: Building
    layer: Any  # a Layer, with the hyper-parameters of its type
    bottoms: list[Value]
    tops: list[Value]
    first: int = 0  # its first node

    # Values -------------------------------------------------------------------------------------------------------

    def op(
        self,
        kind: str,
        *inputs: Any,
        outputs: int = 1,
        dtype: str = "",
        shape: Sequence[Length] | None = None,
        domain: str = "",
        **attributes: Any,
    ) -> Any:
        """Add a node and return its value; a tuple of them where there are several outputs.

        inputs      values; arrays, floats, integers and lists of integers become constants; None is one left out
        dtype       of the outputs; by default that of the first input which is a value
        shape       of the outputs, where somebody asks for it later
        attributes  None is one that is left out
        """
        read = [one for one in inputs if isinstance(one, Value)]
        dtype = dtype or (read[0].dtype if read else "float32")
        graph, prefix = self.building.graph, f"{self.layer.name}/{kind}"
        names = [self.building.unique(f"{prefix}.{j}" if j else prefix) for j in range(outputs)]
        given = ["" if one is None else self.value(one).name for one in inputs]
        while given and not given[-1]:
            given.pop()
        kept = {key: value for key, value in attributes.items() if value is not None}
        name = self.building.unique(prefix, self.building.node_names)
        graph.nodes.append(Node(kind, given, names, kept, name, domain))
        made = tuple(Value(one, dtype, tuple(shape or ())) for one in names)
        return made if outputs > 1 else made[0]

    def cast(self, x: Value, dtype: str) -> Value:
        """A value in another dtype, by NumPy's name: truth values are 1 and 0, what is behind a point is cut off."""
        return self.op("Cast", x, to=NUMBERS[dtype], dtype=dtype)

    def value(self, given: Any) -> Value:
        """A value as it is; a constant for an array, a float (float32), an integer or a list of them (int64)."""
        return given if isinstance(given, Value) else self.constant(given)

    def constant(self, given: Any, dtype: str = "") -> Value:
        """A constant that is no parameter: float32 for real numbers, int64 for integers, bool; or of that dtype."""
        array = np.asarray(given, dtype=dtype or None)
        if array.dtype.kind == "f" and not dtype:
            array = self._float32(array, "a constant")
        elif array.dtype.kind in "iu":
            array = array.astype(np.int64)
        name = self.building.unique(f"{self.layer.name}/constant")
        node = self.building.unique(name, self.building.node_names)
        self.building.graph.nodes.append(Node("Constant", [], [name], {"value": np.asarray(array, order="C")}, node))
        return Value(name, array.dtype.name, array.shape)

    def param(self, name: str) -> Value:
        """A parameter, or an array of the layer's state, as it is: an initializer called "layer.name"."""
        return self.array(name, self.numbers(name))

    def has(self, name: str) -> bool:
        """Whether the layer has a parameter or a state of that name."""
        return name in self.layer.param_decls or name in self.layer.state_decls

    def numbers(self, name: str) -> np.ndarray:
        """The values of a parameter or a state."""
        return self.building.arrays[self._owner(name)]

    def array(self, name: str, values: Any) -> Value:
        """Parameters in another form than the layer has them: an initializer called "layer.name".

        A shared parameter is called as its owner's.
        """
        owner, own = self._owner(name)
        path, initializers = f"{owner}.{own}", self.building.graph.initializers
        array = self._float32(np.asarray(values, order="C"), path)
        if path not in initializers or not np.array_equal(initializers[path], array, equal_nan=True):
            path = self.building.unique(path)
            initializers[path] = array
        return Value(path, "float32", array.shape)

    def _float32(self, array: np.ndarray, what: str) -> np.ndarray:
        """An array in float32; one with numbers that become infinite there is refused."""
        with np.errstate(over="ignore"):
            made = array.astype(np.float32)
        if array.dtype.itemsize > 4 and not np.array_equal(np.isinf(made), np.isinf(array)):
            largest = np.abs(array[np.isfinite(array)]).max()
            self.refuse(f"{what} has numbers as large as {largest:.3g}, which float32 does not hold")
        return made

    def _owner(self, name: str) -> tuple[str, str]:
        key = (self.layer.name, name)
        return self.building.owners.get(key, key)

    # Shapes -------------------------------------------------------------------------------------------------------

    def reshape(self, x: Value, shape: Sequence[Length]) -> Value:
        """x in another shape; at most what follows the batch is computed when the graph runs."""
        return self.op("Reshape", x, self.shape(shape, x), shape=shape, allowzero=1 if 0 in shape else None)

    def shape(self, shape: Sequence[Length], of: Value | None = None) -> Value:
        """Lengths as a value: a constant, with -1 for the one that follows the batch, where `of` is what is reshaped.

        Without `of`, or where several lengths follow the batch, they are computed from that of the net's input.
        """
        varying = [length for length in shape if isinstance(length, Extent)]
        if not varying or (of is not None and len(varying) == 1 and 0 not in shape):
            fixed = [-1 if isinstance(length, Extent) else length for length in shape]
            return self.constant(np.array(fixed, dtype=np.int64))
        parts = [self.length(length) for length in shape]
        return self.op("Concat", *parts, axis=0, dtype="int64")

    def length(self, length: Length) -> Value:
        """A length as a value of one axis."""
        if isinstance(length, int):
            return self.constant([length])
        value = self._samples()
        if length.per != 1:
            value = self.op("Mul", value, [length.per])
        return self.op("Add", value, [length.plus]) if length.plus else value

    def _samples(self) -> Value:
        """The number of samples, as a value of one axis."""
        if self.building.samples is None:
            name, axis, length = self.building.batch
            shape = self.op("Shape", Value(name), dtype="int64")
            value = self.op("Slice", shape, [axis], [axis + 1], [0])
            if isinstance(length, Extent) and (length.plus or length.per != 1):
                value = self.op("Div", self.op("Sub", value, [length.plus]), [length.per])
            self.building.samples = value
        return self.building.samples

    # Refusing -----------------------------------------------------------------------------------------------------

    def refuse(self, told: str, hint: str = "") -> NoReturn:
        """Stop here: ONNX has no words for what the layer does."""
        raise Unexportable(f"{call.owner(self.layer)}: {told}", place=self.layer.place, hint=hint or None)

    def demand_fixed(self, length: Length, what: str) -> int:
        """A length that must not follow the batch: the number of `what`. Errors: Unexportable where it does."""
        if isinstance(length, Extent):
            self.refuse(f"the number of {what} is that of the samples, of which there may be any number")
        return length

    def note(self, told: str) -> None:
        """Something that is to be known of this layer in ONNX."""
        self.building.notes.append(f"{call.owner(self.layer)}: {told}")


Exporter = Callable[..., Any]  # (Export, *bottoms) -> the value of the top, or a sequence of them
EXPORTS: dict[str, Exporter] = {}
REFUSED: dict[str, str] = {}  # types without a counterpart, and why


def exports(*types: str) -> Callable[[Exporter], Exporter]:
    """Enter an export into the table, under types of layers."""
    return entering(EXPORTS, types, "exports of")
