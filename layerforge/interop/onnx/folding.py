"""What is known without running the net is computed while it is imported: constants, and arithmetic with shapes.

    @folds("Transpose")
    def transpose(f: Folding) -> np.ndarray: ...

A fold gets the arrays of a node's inputs in one variant and returns those of its outputs, in ONNX's dtypes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...schema.errors import ConfigError
from ..tables import entering
from .dtypes import NAMES
from .graph import Node, OnnxGraph
from .importing import Site
from .values import Attributes, Known, Stream, Unsupported, called

LARGEST = 1 << 24  # numbers that are made of fewer
MOST_MADE = 8 * LARGEST  # numbers that all nodes make, beside four times those that are stored
MOST_WORK = 64 * LARGEST  # numbers that they read and make, beside sixteen times those
# What NumPy says of arrays that do not fit.
FAILURES = (ValueError, IndexError, TypeError, KeyError, ArithmeticError, MemoryError, RuntimeError)
OF_SHAPES = ("Shape", "Size", "EyeLike")  # operators that read lengths alone
MOVES = ("Identity", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten", "Cast", "Concat", "Slice", "Split")

DTYPES = {number: name for number, name in NAMES.items() if name != "bfloat16"}  # those of NumPy


class NotComputed(Unsupported):
    """A node whose inputs are known cannot be computed; too many numbers may be the reason."""


@dataclass
class Room:
    """What may still be computed of a graph: a small file must not take all memory, or all time.

    made   numbers that may be made
    work   numbers that may be read and made; of a product of matrices WIDTH multiplications count as one
    """

    made: int = MOST_MADE
    work: int = MOST_WORK

    @classmethod
    def of(cls, graph: OnnxGraph) -> Room:
        """That of a graph: more where it has many numbers of its own."""
        tensors = [one for node in graph.nodes for one in node.attributes.values() if isinstance(one, np.ndarray)]
        stored = sum(array.size for array in (*graph.initializers.values(), *tensors))
        return cls(MOST_MADE + 4 * stored, MOST_WORK + 16 * stored)

    def take(self, read: Sequence[np.ndarray | None], made: Sequence[np.ndarray]) -> None:
        """Count what a node has read and made; what shares memory with its inputs was not made."""
        inputs = [array for array in read if array is not None]
        new = sum(array.size for array in made if not any(np.may_share_memory(array, one) for one in inputs))
        self.made -= new
        self.work -= new + sum(array.size for array in inputs) if new else 0


@dataclass
class Folding:
    """A node whose inputs are known, in one variant; None is an input that is not there."""

    attributes: Attributes
    arrays: list[np.ndarray | None]
    opset: int
    outputs: int
    room: Room = field(default_factory=Room)

    def given(self, i: int) -> np.ndarray:
        """An input. Errors: ValueError where it is not there."""
        array = self.optional(i)
        if array is None:
            raise ValueError(f"input {i} is missing")
        return array

    def optional(self, i: int) -> np.ndarray | None:
        """An input, or None."""
        return self.arrays[i] if i < len(self.arrays) else None

    def integers(self, i: int, name: str = "") -> list[int] | None:
        """Integers of an input, or of the attribute that older versions have; None where there are none."""
        array = self.optional(i)
        if array is None:
            return self.attributes.integers(name) if name else None
        return [int(n) for n in array.reshape(-1)]

    def bounded(self, shape: Sequence[int]) -> tuple[int, ...]:
        """A shape that is to be made.

        Errors   ValueError for a negative length, and for more than LARGEST numbers, where the inputs have not so many
        """
        shape = tuple(int(n) for n in shape)
        most = max(LARGEST, sum({id(array): array.size for array in self.arrays if array is not None}.values()))
        most = min(most, max(0, self.room.made))
        if min(shape, default=0) < 0:
            raise ValueError(f"the shape {shape} has a negative length")
        if math.prod(shape) > most:
            raise ValueError(f"an array of shape {shape} is not made: up to {most} numbers are")
        return shape

    def broadcast(self, *shapes: tuple[int, ...]) -> tuple[int, ...]:
        """The shape that shapes have together, which is to be made. Errors: ValueError as `bounded`."""
        return self.bounded(np.broadcast_shapes(*shapes))

    def together(self, count: int) -> list[np.ndarray]:
        """The first inputs, of which something of their common shape is to be made."""
        arrays = [self.given(i) for i in range(count)]
        self.broadcast(*(array.shape for array in arrays))
        return arrays


Fold = Callable[[Folding], Any]
FOLDS: dict[str, Fold] = {}


def folds(*ops: str) -> Callable[[Fold], Fold]:
    """Enter a fold into the table, under operators."""
    return entering(FOLDS, ops, "folds of")


def fold(
    node: Node,
    attributes: Attributes,
    values: Sequence[Known | None],
    opset: int,
    count: int,
    room: Room | None = None,
) -> list[Known]:
    """The outputs of a node whose inputs are all known, in each variant.

    room   what the graph may still compute; by default that of a node alone

    Errors   ConfigError where they do not fit each other; NotComputed where too much would be made
    """
    made: list[list[np.ndarray]] = []
    room = room or Room()
    fixed = all(value is None or value.fixed for value in values)
    for variant in range(1 if fixed else count):
        arrays = [None if value is None else value.arrays[variant] for value in values]
        try:
            if min(room.made, room.work) < 0:
                raise ValueError("all that is constant in the graph would be more numbers than are computed here")
            with np.errstate(all="ignore"):
                result = FOLDS[node.op](Folding(attributes, arrays, opset, len(node.outputs), room))
        except FAILURES as problem:
            raise NotComputed(f"node '{called(node)}' ({node.op}) cannot be computed: {_why(problem)}") from None
        made.append([np.asarray(one) for one in (result if isinstance(result, list) else [result])])
        if node.op != "Constant":
            room.take(arrays, made[-1])
    if fixed:
        made *= count
    there = [value for value in values if value is not None]
    learned = "" if vanishes(node, there) else next((value.learned for value in there if value.learned), "")
    found = []
    for j, name in enumerate(node.outputs):
        if j >= len(made[0]):
            raise ConfigError(f"node '{called(node)}' ({node.op}) makes {len(made[0])} values, not {len(node.outputs)}")
        outputs = tuple(one[j] for one in made)
        real = outputs[0].dtype.kind == "f"
        found.append(Known(outputs, learned if real else "", (name, ()) if real else ("", ())))
    return found


def vanishes(node: Node, values: Sequence[Known]) -> bool:
    """Whether a node is a product with zeros that nobody learns, so that the other factor has no gradient."""
    zeros = any(not value.learned and not any(array.any() for array in value.arrays) for value in values)
    return node.op in ("Mul", "MatMul") and zeros


def _why(problem: Exception) -> str:
    """What to say of a failure; Python's own words say nothing about a graph."""
    if isinstance(problem, ZeroDivisionError):
        return "a number is divided by 0"
    said = str(problem)
    if isinstance(problem, TypeError | KeyError) or "unpack" in said or not said:
        return "its inputs are not of the kinds, or not as many numbers, as the operator takes"
    return said


def lengths(site: Site, x: Stream) -> Known:
    """What Shape, Size and EyeLike give of a blob."""
    if site.node.op == "Size":
        return Known(tuple(np.asarray(math.prod(shape), np.int64) for shape in x.shapes))
    if site.node.op == "EyeLike":
        usual = np.zeros((), np.dtype(x.dtype))
        try:
            arrays = [np.broadcast_to(usual, shape) for shape in x.shapes]
            return Known(tuple(eye_like(Folding(site.attributes, [array], site.opset, 1)) for array in arrays))
        except FAILURES as problem:
            raise NotComputed(site.said(f"it cannot be computed: {_why(problem)}")) from None
    start, end = site.attributes.integer("start", 0), site.attributes.get("end", None, int)
    return Known(tuple(np.asarray(shape[start:end], np.int64) for shape in x.shapes))


@folds("Constant")
def constant(f: Folding) -> np.ndarray:
    """The numbers of an attribute."""
    node = f.attributes.node
    f.attributes.read |= set(node.attributes)
    ((kind, value),) = node.attributes.items()
    if kind == "value":
        return np.asarray(value)
    if kind in ("value_float", "value_floats"):
        return np.asarray(value, np.float32)
    if kind in ("value_int", "value_ints"):
        return np.asarray(value, np.int64)
    raise ValueError(f"its {kind} is no tensor of numbers")


@folds("Shape", "Size")
def shape(f: Folding) -> np.ndarray:
    """Lengths."""
    found = f.given(0).shape
    if f.attributes.node.op == "Size":
        return np.asarray(math.prod(found), np.int64)
    start, end = f.attributes.integer("start", 0), f.attributes.get("end", None, int)
    return np.asarray(found[start:end], np.int64)


# The same numbers elsewhere ---------------------------------------------------------------------------------------


@folds("Identity")
def identity(f: Folding) -> np.ndarray:
    """As it is."""
    return f.given(0)


@folds("Cast")
def cast(f: Folding) -> np.ndarray:
    """In another dtype."""
    f.attributes.has("saturate")
    return f.given(0).astype(numpy_dtype(f.attributes.integer("to", 1)))


def numpy_dtype(number: int) -> str:
    """What a dtype of ONNX is in NumPy. Errors: ValueError."""
    if number not in DTYPES:
        raise ValueError(f"dtype {number} is not known")
    return DTYPES[number]


@folds("CastLike")
def cast_like(f: Folding) -> np.ndarray:
    """In the dtype of the second input."""
    f.attributes.has("saturate")
    return f.given(0).astype(f.given(1).dtype)


@folds("Reshape")
def reshape(f: Folding) -> np.ndarray:
    """In another shape; 0 copies a length unless allowzero is set."""
    x, shape = f.given(0), f.integers(1, "shape") or []
    if not f.attributes.flag("allowzero"):
        shape = [x.shape[i] if n == 0 else n for i, n in enumerate(shape)]
    return x.reshape(shape)


@folds("Flatten")
def flatten(f: Folding) -> np.ndarray:
    """As a matrix."""
    x, axis = f.given(0), f.attributes.integer("axis", 1)
    axis = axis + x.ndim if axis < 0 else axis
    return x.reshape(math.prod(x.shape[:axis]), -1)


@folds("Transpose")
def transpose(f: Folding) -> np.ndarray:
    """Axes in another order."""
    return f.given(0).transpose(f.attributes.integers("perm"))


@folds("Squeeze")
def squeeze(f: Folding) -> np.ndarray:
    """Without axes of length 1."""
    axes = f.integers(1, "axes")
    return f.given(0).squeeze(None if axes is None else tuple(axes))


@folds("Unsqueeze")
def unsqueeze(f: Folding) -> np.ndarray:
    """With axes of length 1."""
    return np.expand_dims(f.given(0), tuple(f.integers(1, "axes") or ()))


@folds("Concat")
def concat(f: Folding) -> np.ndarray:
    """Joined."""
    arrays = [f.given(i) for i in range(len(f.arrays))]
    f.bounded([sum(array.size for array in arrays)])
    return np.concatenate(arrays, axis=f.attributes.integer("axis", 0))


@folds("Split")
def split(f: Folding) -> list[np.ndarray]:
    """In parts."""
    x, axis = f.given(0), f.attributes.integer("axis", 0)
    f.attributes.has("num_outputs")
    sizes = f.integers(1, "split")
    if sizes is None:
        part = -(-x.shape[axis] // f.outputs)
        sizes = [part] * (f.outputs - 1)
    else:
        sizes = sizes[:-1]
    return list(np.split(x, np.cumsum(sizes), axis=axis))


def slices(ndim: int, starts: Sequence[int], ends: Sequence[int], axes: Any, steps: Any) -> tuple[slice, ...]:
    """The slice of each axis; axes and steps may be None."""
    found = [slice(None)] * ndim
    axes = range(len(starts)) if axes is None else axes
    steps = [1] * len(starts) if steps is None else steps
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        stop = None if step < 0 and end < -(1 << 30) else end
        found[axis] = slice(int(start), stop, int(step))
    return tuple(found)


@folds("Slice")
def slice_(f: Folding) -> np.ndarray:
    """A part."""
    x = f.given(0)
    starts, ends = f.integers(1, "starts") or [], f.integers(2, "ends") or []
    return x[slices(x.ndim, starts, ends, f.integers(3, "axes"), f.integers(4))]


@folds("Gather")
def gather(f: Folding) -> np.ndarray:
    """Slices in the order of indices."""
    x, index, axis = f.given(0), f.given(1), f.attributes.integer("axis", 0)
    f.bounded([index.size, *(n for i, n in enumerate(x.shape) if i != axis % x.ndim)])
    return x.take(index, axis=axis)


@folds("GatherElements")
def gather_elements(f: Folding) -> np.ndarray:
    """An element for each index."""
    return np.take_along_axis(f.given(0), f.given(1), axis=f.attributes.integer("axis", 0))


@folds("GatherND")
def gather_nd(f: Folding) -> np.ndarray:
    """Parts that tuples of indices name."""
    x, index = f.given(0), f.given(1)
    if f.attributes.integer("batch_dims", 0):
        raise ValueError("batch_dims is not 0")
    f.bounded([*index.shape[:-1], *x.shape[index.shape[-1] :]])
    return x[tuple(np.moveaxis(index, -1, 0))]


@folds("ScatterND")
def scatter_nd(f: Folding) -> np.ndarray:
    """With parts that tuples of indices name written over."""
    if f.attributes.text("reduction", "none") != "none":
        raise ValueError("reduction is not none")
    y, index = f.given(0).copy(), f.given(1)
    y[tuple(np.moveaxis(index, -1, 0))] = f.given(2)
    return y


# More numbers -----------------------------------------------------------------------------------------------------


@folds("Expand")
def expand(f: Folding) -> np.ndarray:
    """Broadcast."""
    x = f.given(0)
    shape = f.bounded(np.broadcast_shapes(x.shape, f.bounded(f.integers(1) or [])))
    return np.broadcast_to(x, shape)


@folds("Tile")
def tile(f: Folding) -> np.ndarray:
    """Copies side by side."""
    x, counts = f.given(0), f.integers(1) or []
    f.bounded([n * count for n, count in zip(x.shape, counts, strict=True)])
    return np.tile(x, counts)


@folds("ConstantOfShape")
def constant_of_shape(f: Folding) -> np.ndarray:
    """One number everywhere."""
    value = f.attributes.get("value", np.zeros(1, np.float32), np.ndarray)
    return np.full(f.bounded(f.integers(0) or []), value.reshape(-1)[0], value.dtype)


@folds("Range")
def range_(f: Folding) -> np.ndarray:
    """Numbers at equal distances."""
    start, limit, delta = (f.given(i).reshape(()) for i in range(3))
    count = max(0, math.ceil((float(limit) - float(start)) / float(delta)))
    f.bounded([count])
    return (start + np.arange(count) * delta).astype(start.dtype)


@folds("EyeLike")
def eye_like(f: Folding) -> np.ndarray:
    """1 on a diagonal."""
    x = f.given(0)
    dtype = numpy_dtype(f.attributes.integer("dtype", 1)) if f.attributes.has("dtype") else x.dtype
    rows, columns = f.bounded(x.shape)
    return np.eye(rows, columns, k=f.attributes.integer("k", 0)).astype(dtype)


@folds("OneHot")
def one_hot(f: Folding) -> np.ndarray:
    """A vector for each index."""
    index, depth, values = f.given(0), int(f.given(1).reshape(-1)[0]), f.given(2)
    f.bounded([*index.shape, depth])
    axis = f.attributes.integer("axis", -1)
    hot = (index.astype(np.int64)[..., None] % depth) == np.arange(depth)
    hot &= (index >= -depth)[..., None] & (index < depth)[..., None]
    return np.moveaxis(np.where(hot, values[1], values[0]), -1, axis)


@folds("Trilu")
def trilu(f: Folding) -> np.ndarray:
    """A triangle of matrices."""
    k = f.integers(1) or [0]
    return (np.triu if f.attributes.flag("upper", True) else np.tril)(f.given(0), k[0])


@folds("Pad")
def pad(f: Folding) -> np.ndarray:
    """A border."""
    x, widths, axes = f.given(0), f.integers(1, "pads") or [], f.integers(3)
    mode = f.attributes.text("mode", "constant")
    value = f.optional(2)
    number = f.attributes.number("value", 0.0) if value is None else value.reshape(-1)[0]
    pairs = [(0, 0)] * x.ndim
    axes = list(range(x.ndim)) if axes is None else axes
    for i, axis in enumerate(axes):
        pairs[axis] = (widths[i], widths[i + len(axes)])
    f.bounded([n + low + high for n, (low, high) in zip(x.shape, pairs, strict=True)])
    if mode == "constant":
        return np.pad(x, pairs, constant_values=number)
    if mode not in ("reflect", "edge"):
        raise ValueError(f"mode is {mode}")
    return np.pad(x, pairs, "reflect" if mode == "reflect" else "edge")
