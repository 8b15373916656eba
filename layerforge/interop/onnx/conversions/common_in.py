"""What imports of several kinds of operators have in common: shapes in all variants, numbers, axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..constants import is_learned, plain
from ..importing import Site
from ..values import Known, Stream

Shape = tuple[int, ...]


def same(values: Sequence[float]) -> Any:
    """One number where all are the same."""
    return values[0] if len(set(values)) == 1 else list(values)


def scalar(site: Site, i: int) -> float | int | None:
    """An input that is one number for good, and not learned; None where it is something else."""
    if not site.is_known(i):
        return None
    value = site.known(i)
    if value.array.size != 1 or value.ndim > 1 or not value.fixed or is_learned(site, value):
        return None
    return plain(value.array.reshape(-1)[0])


def reshaped(site: Site, x: Stream, shapes: Sequence[Shape], part: str = "") -> Stream:
    """A blob in another shape, which is given in each variant.

    A length that is the same in all of them is fixed, unless it is the bottom's at the same place; one may be what is
    left. Errors: Unsupported where more lengths depend on the sizes of the net's inputs
    """
    if all(one == mine for one, mine in zip(shapes, x.shapes, strict=True)) and part:
        return x
    target = [_length(i, x, shapes) for i in range(len(shapes[0]))]
    if target.count(-1) > 1:
        raise site.unsupported(f"lengths {shapes[0]} depend on the sizes of the net's inputs in more than one place")
    if part:
        return site.emit("Reshape", x, part=part, dtype=x.dtype, shape=target)[0]
    if x.ndim > 2 and all(shape == _joined(one.shape) for shape, one in zip(shapes, x.specs, strict=True)):
        return site.emit("Flatten", x, dtype=x.dtype)[0]
    return site.emit("Reshape", x, dtype=x.dtype, shape=target)[0]


def _joined(shape: Shape) -> Shape:
    """A shape with all axes but the first as one."""
    return (shape[0], int(np.prod(shape[1:])))


def _length(i: int, x: Stream, shapes: Sequence[Shape]) -> int:
    """A length of a Reshape: 0 copies, -1 takes the rest."""
    if i < x.ndim and all(shape[i] == mine[i] for shape, mine in zip(shapes, x.shapes, strict=True)):
        return 0
    return shapes[0][i] if len({shape[i] for shape in shapes}) == 1 else -1


def fixed_shape(site: Site, x: Stream, axes: Sequence[int], why: str) -> list[int]:
    """The lengths of some axes. Errors: Unsupported where they depend on the sizes of the net's inputs."""
    for axis in axes:
        if len({shape[axis] for shape in x.shapes}) != 1:
            raise site.unsupported(f"{why} depends on length {axis} of its input, which is dynamic")
    return [x.shape[axis] for axis in axes]


def constant(site: Site, array: np.ndarray) -> Stream:
    """Numbers as a blob."""
    return site.as_stream(Known((np.asarray(array),) * max(1, site.shared.count)))


def operand(site: Site, i: int) -> Stream:
    """An input that is broadcast against the others.

    Numbers that depend on the sizes of the net's inputs in their number alone are given along an axis of length 1,
    where another input is a blob that has the length.
    """
    value = site.input(i)
    blobs = [one for one in site.inputs if isinstance(one, Stream)]
    if isinstance(value, Stream) or value.fixed or not blobs:
        return site.as_stream(value)
    arrays = []
    for v, array in enumerate(value.arrays):
        shape = np.broadcast_shapes(*(one.shapes[min(v, len(one.shapes) - 1)] for one in blobs))
        for axis in range(array.ndim):
            behind = array.ndim - axis
            long = behind <= len(shape) and shape[-behind] == array.shape[axis]
            if long and array.shape[axis] > 1 and len({one.shape[axis] for one in value.arrays}) > 1:
                first = array.take([0], axis)
                array = first if bool((array == first).all()) else array
        arrays.append(array)
    return site.as_stream(Known(tuple(arrays), value.learned))


def truth(site: Site, stream: Stream, part: str) -> Stream:
    """0 and 1: 1 where a number is not 0."""
    if stream.dtype == "bool":
        return site.as_real(stream)
    (size,) = site.emit("Abs", site.as_real(stream, computing=False), part=f"{part}.size")
    return site.emit("Sign", size, part=part, dtype="bool")[0]
