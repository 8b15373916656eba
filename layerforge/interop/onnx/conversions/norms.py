"""Normalisation."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ....layers.norms.batch_norm import corrected_share, reduced_axes
from ..exporting import Export, Value, exports
from .windows import spatial

Shape = tuple[int, ...]
BIAS_CORRECTION = "BatchNorm with bias_correction is written with the statistics that eval uses, not with their sums"


def affine(w: Export, x: Value, aligned: Callable[[Shape], Shape] = lambda shape: shape) -> Value:
    """x times the weight plus the bias, as far as there are any; `aligned` gives them a shape that broadcasts."""
    for name, kind in (("weight", "Mul"), ("bias", "Add")):
        if w.has(name):
            numbers = w.numbers(name)
            x = w.op(kind, x, w.array(name, numbers.reshape(aligned(numbers.shape))))
    return x


def centred(w: Export, x: Value, over: Sequence[int], times: int = 2) -> Value:
    """x minus its mean over some axes.

    In float32 the mean of large values is off in its last digits, which a small spread would show; that of what is left
    is not. So the mean is taken away twice, here or by the operator that follows.
    """
    for _ in range(times):
        x = w.op("Sub", x, w.op("ReduceMean", x, axes=list(over)))
    return x


def mean_square(w: Export, x: Value, over: Sequence[int]) -> Value:
    """The mean of x² over some axes, which stay with length 1."""
    return w.op("ReduceMean", w.op("Mul", x, x), axes=list(over))


def standardized(w: Export, x: Value, over: Sequence[int], eps: float) -> Value:
    """x over the root of its mean square plus eps."""
    return w.op("Div", x, w.op("Sqrt", w.op("Add", mean_square(w, x, over), eps)))


def of_channels(ndim: int) -> Callable[[Shape], Shape]:
    """A vector (C,) against (N, C, ...) with ndim axes."""
    return lambda shape: (*shape, *(1,) * (ndim - 2))


def affine_inputs(w: Export, shape: int | Shape) -> tuple[Value, Value]:
    """Weight and bias as the inputs of an operator that wants both; constants where nothing is learned."""
    weight = w.param("weight") if w.has("weight") else w.constant(np.ones(shape, np.float32))
    bias = w.param("bias") if w.has("bias") else w.constant(np.zeros(shape, np.float32))
    return weight, bias


@exports("BatchNorm")
def batch_norm(w: Export, x: Value) -> Any:
    """BatchNormalization; with the statistics of the batch, what it is made of."""
    layer = w.layer
    if layer.uses_batch("eval"):
        y = standardized(w, centred(w, x, reduced_axes(x)), reduced_axes(x), layer.eps)
        return affine(w, y, of_channels(x.ndim))
    mean, var = w.numbers("running_mean"), w.numbers("running_var")
    if layer.bias_correction:
        share = corrected_share(np, w.numbers("correction"))
        mean, var = mean * share, var * share
        if BIAS_CORRECTION not in w.building.notes:
            w.building.notes.append(BIAS_CORRECTION)
    weight, bias = affine_inputs(w, w.demand_fixed(x.shape[1], "channels"))
    statistics = w.array("running_mean", mean), w.array("running_var", var)
    return w.op("BatchNormalization", x, weight, bias, *statistics, epsilon=layer.eps, momentum=1 - layer.momentum)


@exports("InstanceNorm")
def instance_norm(w: Export, x: Value) -> Any:
    """InstanceNormalization, of what is centred before."""
    y = centred(w, x, range(2, x.ndim), times=1)
    scale, shift = affine_inputs(w, w.demand_fixed(x.shape[1], "channels"))
    return w.op("InstanceNormalization", y, scale, shift, epsilon=w.layer.eps)


@exports("GroupNorm")
def group_norm(w: Export, x: Value) -> Any:
    """InstanceNormalization of groups that are channels; then Mul and Add for each channel."""
    groups = w.layer.num_groups
    of_groups = centred(w, w.op("Reshape", x, [0, groups, -1]), [2], times=1)
    ones, zeros = np.ones(groups, np.float32), np.zeros(groups, np.float32)
    y = w.op("InstanceNormalization", of_groups, ones, zeros, epsilon=w.layer.eps)
    return affine(w, w.reshape(y, x.shape), of_channels(x.ndim))


@exports("LayerNorm")
def layer_norm(w: Export, x: Value) -> Any:
    """LayerNormalization over the last axes, of what is centred before."""
    features = w.layer.features
    weight = w.param("weight") if w.has("weight") else np.ones(features, np.float32)
    bias = w.param("bias") if w.has("bias") else None
    y = centred(w, x, range(x.ndim - len(features), x.ndim), times=1)
    return w.op("LayerNormalization", y, weight, bias, axis=-len(features), epsilon=w.layer.eps)


@exports("RMSNorm")
def rms_norm(w: Export, x: Value) -> Any:
    """x over the root of its mean square (ONNX has RMSNormalization from opset 23 on)."""
    over = range(x.ndim - len(w.layer.features), x.ndim)
    return affine(w, standardized(w, x, over, w.layer.epsilon()))


@exports("MVN")
def mvn(w: Export, x: Value) -> Any:
    """What MeanVarianceNormalization is made of, which loses digits where the mean is large."""
    over = range(w.layer.first_axis, x.ndim)
    y = centred(w, x, over)
    if not w.layer.normalize_variance:
        return y
    return w.op("Div", y, w.op("Add", w.op("Sqrt", mean_square(w, y, over)), w.layer.eps))


@exports("LocalResponseNorm")
def local_response_norm(w: Export, x: Value) -> Any:
    """LRN where that is defined: images, an odd size; otherwise AveragePool of x², with the zeros outside counted."""
    layer, size = w.layer, w.layer.size
    if not layer.within and size % 2 and x.ndim == 4 and layer.alpha and layer.beta:  # ONNX Runtime wants both above 0
        return w.op("LRN", x, size=size, alpha=layer.alpha, beta=layer.beta, bias=layer.k)
    squares = w.op("Mul", x, x)
    before, after = size // 2, (size - 1) // 2
    if layer.within:
        mean = _mean(w, squares, [size, size], [before, before, after, after])
    else:
        image = w.reshape(squares, (x.shape[0], 1, x.shape[1], math.prod(spatial(w, x))))
        mean = w.reshape(_mean(w, image, [size, 1], [before, 0, after, 0]), x.shape)
    s = w.op("Add", w.op("Mul", mean, float(layer.alpha)), float(layer.k))
    return w.op("Div", x, w.op("Pow", s, float(layer.beta)))


def _mean(w: Export, x: Value, kernel: list[int], pads: list[int]) -> Value:
    """Means of windows around each position, with the zeros outside counted."""
    return w.op("AveragePool", x, kernel_shape=kernel, pads=pads, count_include_pad=1)


@exports("Scale", "Bias")
def scale(w: Export, x: Value, *second: Value) -> Any:
    """Mul and Add of what is learned, or of the second bottom, in a shape that broadcasts."""
    layer = w.layer
    if second:
        new = list(range(second[0].ndim, len(layer.aligned(second[0].shape, x.ndim))))
        operand = w.op("Unsqueeze", second[0], new) if new else second[0]
        y = w.op("Mul" if layer.type_name == "Scale" else "Add", x, operand)
        return affine(w, y, lambda shape: layer.aligned(shape, x.ndim))
    return affine(w, x, lambda shape: layer.aligned(shape, x.ndim))
