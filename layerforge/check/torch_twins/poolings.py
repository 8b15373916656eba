"""Twins of the poolings. What torch has no like of is written out: one window after the other."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from .call import Call

# Along an axis: the positions of a window that are in the input, and how many of its positions count in a mean.
Span = tuple[slice, int]


def spans(size: int, kernel: int, stride: int, padding: int, count: int, dilation: int = 1) -> list[Span]:
    """The windows of an axis; what is in the padding counts, what is behind it does not."""
    found = []
    for begin in range(-padding, -padding + count * stride, stride):
        positions = range(begin, begin + kernel * dilation, dilation)
        inside = [i for i in positions if 0 <= i < size]
        first, behind = (inside[0], inside[-1] + 1) if inside else (0, 0)
        found.append((slice(first, behind, dilation), sum(i < size + padding for i in positions)))
    return found


def pooled(x: Tensor, axes: Sequence[list[Span]], of: Callable[[Tensor, int, int], Tensor]) -> Tensor:
    """`of(window (N, C, elements), positions that count, its number)` for every window: (N, C, *counts)."""
    tops = []
    for number, window in enumerate(product(*axes)):
        inside = x[(slice(None), slice(None), *(places for places, _ in window))].flatten(2)
        tops.append(of(inside, math.prod(count for _, count in window), number))
    return torch.stack(tops, dim=2).unflatten(2, [len(spans) for spans in axes])


def maximum(window: Tensor, counting: int, number: int) -> Tensor:
    """The largest element of a window."""
    return window.max(dim=2).values


def mean(window: Tensor, counting: int, number: int) -> Tensor:
    """The sum of a window by the positions that count."""
    return window.sum(dim=2) / counting


def mean_of_input(window: Tensor, counting: int, number: int) -> Tensor:
    """The sum of a window by the positions that are in the input."""
    return window.mean(dim=2)


def listed(value: Any, axes: int) -> list[int]:
    """A hyper-parameter for each axis."""
    return list(value) if isinstance(value, list) else [value] * axes


def caffe_axes(c: Call) -> list[list[Span]]:
    """The windows of Caffe's Pooling: the quotient rounded up; with padding, none that starts behind the input."""
    size = c.x[0].shape[2:]
    kernel = listed(c.hyper["kernel_size"], len(size))
    stride = listed(c.hyper.get("stride", kernel), len(size))
    padding, axes = listed(c.hyper.get("padding", 0), len(size)), []
    dilation = listed(c.hyper.get("dilation", 1), len(size))
    for s, k, step, p, d in zip(size, kernel, stride, padding, dilation, strict=True):
        count = math.ceil((s + 2 * p - (k - 1) * d - 1) / step) + 1
        if any(padding) and (count - 1) * step >= s + p:
            count -= 1
        axes.append(spans(s, k, step, p, count, d))
    return axes


def padded(module: type[nn.Module], of: Callable[[Tensor, int, int], Tensor]) -> Callable[[Call], Tensor]:
    """torch's module, or Caffe's windows where they are asked for."""

    def twin(c: Call) -> Tensor:
        hyper = dict(c.hyper)
        if hyper.pop("caffe_rounding", False):
            return pooled(c.x[0], caffe_axes(c), of if hyper.get("count_include_pad", True) else mean_of_input)
        if c.tops == 2:
            hyper["return_indices"] = True
        return c.through(module(**hyper))

    return twin


def avg_pool3d(c: Call) -> Tensor:
    """torch's AvgPool3d; as that wants windows no larger than the input, zeros are put around small ones before."""
    padding, size = listed(c.hyper.get("padding", 0), 3), c.x[0].shape[2:]
    fits = all(k <= n for k, n in zip(listed(c.hyper["kernel_size"], 3), size, strict=True))
    hyper = dict(c.hyper)
    if fits or hyper.pop("caffe_rounding", False) or not hyper.get("count_include_pad", True):
        return padded(nn.AvgPool3d, mean)(c)
    x = functional.pad(c.x[0], [p for p in reversed(padding) for _ in range(2)])
    return nn.AvgPool3d(**{**hyper, "padding": 0})(x)


def stochastic(c: Call) -> Tensor:
    """Zeiler & Fergus 2013, with the random numbers of the layer."""
    x = c.x[0]
    kernel = listed(c.hyper["kernel_size"], 2)
    stride, axes = listed(c.hyper.get("stride", kernel), 2), []
    for size, k, step in zip(x.shape[2:], kernel, stride, strict=True):
        whole = (math.ceil if c.hyper.get("ceil_mode") else math.floor)((size - k) / step) + 1
        axes.append(spans(size, k, step, 0, whole if (whole - 1) * step < size else whole - 1))
    shape = (*x.shape[:2], *(len(axis) for axis in axes))
    random = c.uniform(shape).flatten(2)

    def drawn(window: Tensor, counting: int, number: int) -> Tensor:
        odds = window.clamp(min=0)
        total = odds.sum(dim=2, keepdim=True)
        if c.phase == "eval":
            return (odds**2).sum(dim=2) / torch.where(total == 0, 1, total)[..., 0]
        behind = odds.cumsum(dim=2) > random[:, :, number, None] * total
        first = behind.to(torch.int8).argmax(dim=2, keepdim=True)
        return (window.gather(2, first) * behind.any(dim=2, keepdim=True))[..., 0]

    return pooled(x, axes, drawn)


def lp_pool(c: Call) -> Tensor:
    """torch's LPPool2d; for an odd norm_type its root written out, which is NaN for negative sums in torch.

    A sum is its own root: torch's sign and abs have no slope where it is 0.
    """
    p = c.hyper["norm_type"]
    if p % 2 != 1:
        return c.through(nn.LPPool2d(**c.hyper))
    kernel = listed(c.hyper["kernel_size"], 2)
    hyper = {name: value for name, value in c.hyper.items() if name != "norm_type"}
    total = nn.AvgPool2d(**hyper)(c.x[0] ** p) * math.prod(kernel)
    return total if p == 1 else total.sign() * total.abs() ** (1 / p)


def pyramid(c: Call) -> Tensor:
    """He et al. 2014, with the windows of Caffe."""
    x, of = c.x[0], mean if c.hyper.get("pool") == "avg" else maximum
    levels = []
    for bins in (2**level for level in range(c.hyper["pyramid_height"])):
        axes = []
        for size in x.shape[2:]:
            kernel = math.ceil(size / bins)
            axes.append(spans(size, kernel, kernel, (kernel * bins - size + 1) // 2, bins))
        levels.append(pooled(x, axes, of).flatten(1))
    return torch.cat(levels, dim=1)


def max_unpool(c: Call) -> Tensor:
    """One element put after the other: torch's MaxUnpool2d is not deterministic where several go to one place."""
    (x, places), kernel = (t.flatten(2) for t in c.x), listed(c.hyper["kernel_size"], 2)
    stride, padding = listed(c.hyper.get("stride", kernel), 2), listed(c.hyper.get("padding", 0), 2)
    geometry = zip(c.x[0].shape[2:], kernel, stride, padding, strict=True)
    size = listed(c.hyper.get("output_size", [(n - 1) * s - 2 * p + k for n, k, s, p in geometry]), 2)
    y = x.new_zeros((*x.shape[:2], math.prod(size)))
    for place, element in zip(places.split(1, 2), x.split(1, 2), strict=True):
        y = y.scatter(2, place, element)
    return y.unflatten(2, size)


TWINS = {
    "MaxPool1d": padded(nn.MaxPool1d, maximum),
    "MaxPool2d": padded(nn.MaxPool2d, maximum),
    "MaxPool3d": padded(nn.MaxPool3d, maximum),
    "MaxUnpool2d": max_unpool,
    "AvgPool1d": padded(nn.AvgPool1d, mean),
    "AvgPool2d": padded(nn.AvgPool2d, mean),
    "AvgPool3d": avg_pool3d,
    "GlobalAvgPool2d": lambda c: c.through(nn.AdaptiveAvgPool2d(1)),
    "AdaptiveAvgPool2d": lambda c: c.through(nn.AdaptiveAvgPool2d(**c.hyper)),
    "AdaptiveMaxPool2d": lambda c: c.through(nn.AdaptiveMaxPool2d(**c.hyper)),
    "LPPool2d": lp_pool,
    "StochasticPool2d": stochastic,
    "SpatialPyramidPool": pyramid,
}
