"""Poolings."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ....arrays.sliding_windows import Windows
from ....layers.poolings.pooling import parts
from ..exporting import Export, Value, exports
from .resampling import resampled
from .windows import columns, end, geometry, rounding, spatial


@exports("MaxPool1d", "MaxPool2d", "MaxPool3d")
def max_pool(w: Export, x: Value) -> Any:
    """MaxPool; its second output counts through all planes, and ours within one: Mod."""
    size = spatial(w, x)
    windows, several = w.layer.windows(size), len(w.tops) == 2
    attributes, ceil = geometry(w), rounding(windows)
    if ceil is None:
        ends = tuple(max(0, end(axis)) for axis in windows.axes)
        attributes = geometry(w, end=ends)
        if any(e >= axis.kernel for e, axis in zip(ends, windows.axes, strict=True)):
            if several:
                w.refuse("ONNX Runtime takes no padding as wide as the kernel", "ceil_mode: false, or a single top")
            starts = [axis.padding for axis in windows.axes]
            x = w.op("Pad", x, [0, 0, *starts, 0, 0, *ends], -math.inf)
            attributes["pads"] = None
    made = w.op("MaxPool", x, outputs=len(w.tops), ceil_mode=ceil or None, **attributes)
    return (made[0], w.op("Mod", made[1], math.prod(size), dtype="int64")) if several else made


@exports("AvgPool1d", "AvgPool2d", "AvgPool3d")
def avg_pool(w: Export, x: Value) -> Any:
    """AveragePool."""
    return averages(w, x, w.layer.windows(spatial(w, x)), w.layer.count_include_pad)


def averages(w: Export, x: Value, windows: Windows, counted: bool) -> Value:
    """The mean of each window; `counted` says whether the padding counts. What hangs over its end never does."""
    ceil, ends = rounding(windows), [max(0, end(axis)) for axis in windows.axes]
    attributes = geometry(w)
    padding = attributes["pads"][: len(ends)]
    if ceil is None:
        if counted and any(padding):
            x = w.op("Pad", x, [0, 0, *padding, 0, 0, *padding])
            ends, padding = [max(0, e - p) for e, p in zip(ends, padding, strict=True)], [0] * len(ends)
        counted, attributes["pads"] = False, [*padding, *ends]
    return w.op("AveragePool", x, ceil_mode=ceil or None, count_include_pad=int(counted), **attributes)


@exports("AdaptiveAvgPool2d")
def adaptive_avg_pool(w: Export, x: Value) -> Any:
    """GlobalAveragePool or AveragePool where all parts are as large; otherwise a matrix product along each axis."""
    return even(w, x, "AveragePool") or resampled(w, x)


@exports("AdaptiveMaxPool2d")
def adaptive_max_pool(w: Export, x: Value) -> Any:
    """GlobalMaxPool or MaxPool where all parts are as large; otherwise ReduceMax of each part of an axis."""
    y = even(w, x, "MaxPool")
    if y is not None:
        return y
    size, wanted = spatial(w, x), w.layer.output_size
    for axis, (length, count) in enumerate(zip(size, wanted, strict=True), start=2):
        pieces = [w.op("Slice", x, [part.start], [part.stop], [axis]) for part in parts(length, count)]
        largest = [w.op("ReduceMax", piece, axes=[axis]) for piece in pieces]
        x = w.op("Concat", *largest, axis=axis)
    return x


def even(w: Export, x: Value, op: str) -> Value | None:
    """That pooling with windows side by side, where all parts are as large; None where they are not."""
    size, wanted = spatial(w, x), w.layer.output_size
    if wanted == (1, 1):
        return w.op(f"Global{op}", x)
    kernel = whole(size, wanted)
    return w.op(op, x, kernel_shape=kernel, strides=kernel) if kernel else None


def whole(size: tuple[int, ...], wanted: tuple[int, ...]) -> list[int] | None:
    """How long the parts of each axis are, where they come out even."""
    if any(n % count for n, count in zip(size, wanted, strict=True)):
        return None
    return [n // count for n, count in zip(size, wanted, strict=True)]


@exports("LPPool2d")
def lp_pool(w: Export, x: Value) -> Any:
    """Powers of the windows over their largest elements, as our layer has them: LpPool overflows, and has no signs."""
    windows, q = w.layer.windows(spatial(w, x)), float(w.layer.norm_type)
    seen = columns(w, x, windows)
    largest = w.op("ReduceMax", w.op("Abs", seen), axes=[2, 3])
    largest = w.op("Where", w.op("Equal", largest, 0.0, dtype="bool"), 1.0, largest, dtype=x.dtype)
    total = w.op("ReduceSum", w.op("Pow", w.op("Div", seen, largest), q), [2, 3], keepdims=0)
    counts = [[axis.covered(o, with_padding=True) for o in range(axis.count)] for axis in windows.axes]
    made_up = windows.elements / np.multiply.outer(*counts)
    if (made_up != 1).any():
        total = w.op("Mul", total, made_up)
    root = w.op("Mul", w.op("Sign", total), w.op("Pow", w.op("Abs", total), 1 / q))
    return w.op("Mul", root, w.op("Squeeze", largest, [2, 3]))


@exports("StochasticPool2d")
def stochastic_pool(w: Export, x: Value) -> Any:
    """Σ a² / Σ a: the mean of the squares over the mean, 0 where there is nothing."""
    windows, odds = w.layer.windows(spatial(w, x)), w.op("Relu", x)
    mean = averages(w, odds, windows, counted=False)
    some = w.op("Where", w.op("Equal", mean, 0.0, dtype="bool"), 1.0, mean, dtype=x.dtype)
    return w.op("Div", averages(w, w.op("Mul", odds, odds), windows, counted=False), some)


@exports("SpatialPyramidPool")
def spatial_pyramid_pool(w: Export, x: Value) -> Any:
    """MaxPool or AveragePool of each level, flattened and side by side."""
    tops = []
    for bins, windows in w.layer.levels(spatial(w, x)):
        kernel, starts = [axis.kernel for axis in windows.axes], [axis.padding for axis in windows.axes]
        ends = [bins * axis.kernel - axis.size - axis.padding for axis in windows.axes]
        kind, counted = ("MaxPool", None) if w.layer.pool == "max" else ("AveragePool", 1)
        pads = [*starts, *ends]
        y = w.op(kind, x, kernel_shape=kernel, strides=kernel, pads=pads, count_include_pad=counted)
        tops.append(w.op("Flatten", y))
    return w.op("Concat", *tops, axis=1) if len(tops) > 1 else tops[0]


@exports("MaxUnpool2d")
def max_unpool(w: Export, x: Value, index: Value) -> Any:
    """ScatterElements into planes of zeros: of several at a place the last one stays, which MaxUnpool leaves open."""
    samples, channels, *pooled = x.shape
    size = w.layer.size(spatial(w, x))
    positions = math.prod(length for length in pooled if isinstance(length, int))
    zeros = w.op("ConstantOfShape", w.shape([samples, channels, math.prod(size)]), dtype=x.dtype)
    flat = (w.reshape(value, (samples, channels, positions)) for value in (index, x))
    return w.reshape(w.op("ScatterElements", zeros, *flat, axis=2), w.tops[0].shape)
