"""Windows over spatial axes: what convolutions, poolings and unfolding have in common in ONNX."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ....arrays.sliding_windows import Axis, Windows
from ..exporting import Export, Value


def spatial(w: Export, x: Value) -> tuple[int, ...]:
    """The lengths of the axes behind samples and channels, which do not follow the batch."""
    lengths = [x.fixed(axis) for axis in range(2, x.ndim)]
    known = tuple(length for length in lengths if length is not None)
    if len(known) < len(lengths):
        w.refuse("the size of the image follows the number of samples")
    return known


def geometry(w: Export, *, end: tuple[int, ...] | None = None) -> dict[str, Any]:
    """Kernel, stride, padding and dilation of a layer as attributes; `end` is the padding behind, where it differs."""
    layer = w.layer
    stride, dilation = layer.stride or layer.kernel_size, layer.dilation or (1,) * len(layer.kernel_size)
    padding = layer.padding or (0,) * len(layer.kernel_size)
    return {
        "kernel_shape": list(layer.kernel_size),
        "strides": list(stride),
        "pads": [*padding, *(padding if end is None else end)],
        "dilations": list(dilation) if max(dilation) > 1 else None,
    }


def columns(w: Export, x: Value, windows: Windows) -> Value:
    """Every window of x (N, C, *S): (N, C, *K, *P), zeros where it sees nothing of x. By Pad and a Gather an axis."""
    ends = [max(0, end(axis)) for axis in windows.axes]
    starts = [axis.padding for axis in windows.axes]
    if any(starts) or any(ends):
        x = w.op("Pad", x, [0, 0, *starts, 0, 0, *ends])
    for i, axis in enumerate(windows.axes):
        x = w.op("Gather", x, places(axis), axis=2 + 2 * i)
    count = len(windows.axes)
    if count > 1:
        x = w.op("Transpose", x, perm=[0, 1, *range(2, 2 + 2 * count, 2), *range(3, 3 + 2 * count, 2)])
    return x


def places(axis: Axis) -> np.ndarray:
    """Where element k of window p is on an axis that begins with the padding: (kernel, count)."""
    return np.arange(axis.kernel)[:, None] * axis.dilation + np.arange(axis.count) * axis.stride


def end(axis: Axis) -> int:
    """The padding behind an axis that its last window ends with; below 0 where some of the axis is left."""
    return (axis.count - 1) * axis.stride + axis.extent - axis.size - axis.padding


def rounding(windows: Windows) -> int | None:
    """The attribute ceil_mode that gives as many windows; None where neither does.

    With ceil_mode ONNX has windows that start behind the end of the input, which are none here.
    """
    rooms = [axis.size + 2 * axis.padding - axis.extent for axis in windows.axes]
    pairs = list(zip(rooms, windows.axes, strict=True))
    if all(axis.count == room // axis.stride + 1 for room, axis in pairs):
        return 0
    return 1 if all(axis.count == math.ceil(room / axis.stride) + 1 for room, axis in pairs) else None
