"""What is known of a value of an ONNX graph while it is imported: a blob of the net, or numbers that are known already.

A graph is translated with its dynamic lengths at several sizes in parallel, the *variants*: the first is what the
configuration says, each of the others has other sizes of the batch or of another dynamic length. So shape arithmetic,
which is computed on the way, shows what follows the batch and what is fixed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...arrays.spec import Spec
from ...schema.errors import ConfigError
from .graph import Node, OnnxGraph

BOOL, REAL, INDEX = "bool", "float32", "int64"  # dtypes of streams: truth is real numbers 0 and 1, or an index

NARROW = (2, 3, 4, 5, 6, 12, 13)  # ONNX's numbers of the integers that have other limits than int64


class Unsupported(ConfigError):
    """A graph asks for something that cannot be imported exactly."""


@dataclass(frozen=True)
class Stream:
    """A blob on its way through the net.

    name     in LayerForge
    specs    what is known of it, in each variant
    dtype    what it is in ONNX: float32 for all real numbers, int64 for all integers, bool
    guessed  its shape is a guess, as the layer that makes it cannot be imported
    """

    name: str
    specs: tuple[Spec, ...]
    dtype: str = REAL
    guessed: bool = False

    @property
    def spec(self) -> Spec:
        return self.specs[0]

    @property
    def shape(self) -> tuple[int, ...]:
        return self.specs[0].shape

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Its shape in each variant."""
        return tuple(spec.shape for spec in self.specs)

    @property
    def ndim(self) -> int:
        return len(self.specs[0].shape)


@dataclass(frozen=True)
class Known:
    """Numbers that are known without running the net.

    arrays   in each variant
    learned  the initializer that they come from: what uses them learns them. "" for constants
    origin   whose numbers they are, and the order of the axes: layers with the same origin share a parameter
    """

    arrays: tuple[np.ndarray, ...]
    learned: str = ""
    origin: tuple[str, tuple[int, ...]] = ("", ())

    @property
    def array(self) -> np.ndarray:
        """In the first variant."""
        return self.arrays[0]

    @property
    def shape(self) -> tuple[int, ...]:
        return self.arrays[0].shape

    @property
    def ndim(self) -> int:
        return self.arrays[0].ndim

    @property
    def fixed(self) -> bool:
        """Whether they are the same in all variants."""
        first = self.arrays[0]
        nan = first.dtype.kind == "f"  # which is the same here, though it is not equal to itself
        return all(one is first or np.array_equal(one, first, equal_nan=nan) for one in self.arrays)

    @property
    def dtype(self) -> str:
        """float32 for all real numbers, int64 for all integers, or bool."""
        return kind_of(self.arrays[0].dtype)

    def changed(self, array: np.ndarray) -> Known:
        """The same numbers, perhaps some of them several times, in another form."""
        return Known((array,), self.learned)

    def flattened(self) -> Known:
        """All numbers along one axis. Whoever learns them so learns the same, as with the axes in another order."""
        if self.ndim == 1:
            return self
        name, order = self.origin
        name = f"{name}[{', '.join(map(str, order))}: flat]" if name else ""
        return Known(tuple(array.reshape(-1) for array in self.arrays), self.learned, (name, ()))

    def transposed(self, dims: tuple[int, ...]) -> Known:
        """With the axes in another order."""
        name, order = self.origin
        order = tuple((order or tuple(range(self.ndim)))[axis] for axis in dims)
        order = () if order == tuple(range(self.ndim)) else order
        turned = tuple(array.transpose(dims) for array in self.arrays)
        return Known(turned, self.learned, (name, order) if name else ("", ()))


Value = Stream | Known


def kind_of(dtype: Any) -> str:
    """What dtypes of ONNX are here: float32, int64, bool; what else there is by its own name."""
    if str(dtype) == "bfloat16":
        return REAL
    try:
        kind = np.dtype(dtype).kind
    except TypeError:
        return str(dtype)
    return {"f": REAL, "i": INDEX, "u": INDEX, "b": BOOL}.get(kind, str(dtype))


@dataclass
class Attributes:
    """The attributes of a node, and which of them somebody has read."""

    node: Node
    read: set[str] = field(default_factory=set)

    def has(self, name: str) -> bool:
        """Whether it is there, which reads it."""
        self.read.add(name)
        return name in self.node.attributes

    def unread(self) -> list[str]:
        """Those that nobody has read."""
        return [name for name in self.node.attributes if name not in self.read]

    def get(self, name: str, default: Any, *kinds: type) -> Any:
        """An attribute, or the default. Errors: ConfigError where it is of none of the kinds."""
        if not self.has(name):
            return default
        value = self.node.attributes[name]
        if isinstance(value, kinds):
            return value
        words = " or ".join(WORDS[kind] for kind in kinds)
        raise ConfigError(f"{self.told(name)} must be {words}, got {type(value).__name__}")

    def told(self, name: str) -> str:
        """An attribute, in the words of an error."""
        return f"node '{called(self.node)}' ({self.node.op}): attribute {name}"

    def integer(self, name: str, default: int) -> int:
        """An integer."""
        return int(self.get(name, default, int))

    def number(self, name: str, default: float) -> float:
        """A real number."""
        return float(self.get(name, default, float, int))

    def text(self, name: str, default: str) -> str:
        """A text."""
        return str(self.get(name, default, str))

    def flag(self, name: str, default: bool = False) -> bool:
        """0 or 1."""
        return bool(self.get(name, int(default), int))

    def integers(self, name: str, default: list[int] | None = None) -> list[int] | None:
        """A list of integers."""
        found = self.get(name, default, list)
        if found is not None and not all(isinstance(one, int) for one in found):
            raise ConfigError(f"{self.told(name)} must be a list of integers")
        return None if found is None else list(found)

    def numbers(self, name: str, default: list[float] | None = None) -> list[float] | None:
        """A list of real numbers."""
        found = self.get(name, default, list)
        if found is not None and not all(isinstance(one, float | int) for one in found):
            raise ConfigError(f"{self.told(name)} must be a list of numbers")
        return None if found is None else [float(one) for one in found]


WORDS = {
    **{int: "an integer", float: "a number", str: "a text", list: "a list"},
    **{np.ndarray: "a tensor", OnnxGraph: "a graph"},
}


def called(node: Node) -> str:
    """A node's name, or what it makes where it has none."""
    return node.name or next((name for name in node.outputs if name), node.op)
