"""Convolutions, in one to three axes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..importing import REFUSED, Site, imports
from ..values import Known, Stream
from .common_in import fixed_shape, same
from .windows_in import SAME, Windows, padded, per_axis, windows

REFUSED.update(dict.fromkeys(("ConvInteger", "QLinearConv", "MatMulInteger", "QLinearMatMul"), "quantised nets"))
REFUSED.update(dict.fromkeys(("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"), "quantised nets"))
REMEDY = (
    "of torch: call torch.nn.utils.parametrize.remove_parametrizations (or remove_weight_norm) before the export, "
    "or export with do_constant_folding=True"
)
REFUSED["DeformConv"] = "no layer convolves at places that are computed"


def _weight(site: Site) -> Known:
    if site.has(1) and not site.is_known(1):
        raise site.unsupported("its weight is computed by the net: it must be constant", REMEDY)
    weight = site.known(1, "its weight")
    if not 3 <= weight.ndim <= 5 or not weight.fixed or weight.array.dtype.kind != "f":
        raise site.unsupported(f"a weight of shape {weight.shape}: real numbers for one to three axes are supported")
    given = site.attributes.integers("kernel_shape", list(weight.shape[2:]))
    if given != list(weight.shape[2:]):
        raise site.invalid(f"kernel_shape {given} is not that of its weight, {weight.shape}")
    return weight


def _bias(site: Site, count: int) -> Known | None:
    if not site.has(2):
        return None
    bias = site.known(2, "its bias")
    if bias.shape != (count,):
        raise site.invalid(f"its bias has shape {bias.shape}, expected ({count},)")
    return bias if bias.learned or bias.array.any() else None  # zeros that are no parameter stand for none


@imports("Conv")
def conv(site: Site) -> None:
    """Conv1d to Conv3d; where the ends of an axis have other pads, behind a Pad."""
    x, weight = site.real(0), _weight(site)
    w, groups = windows(site, x, weight.shape[2:]), site.attributes.integer("group", 1)
    bias = _bias(site, weight.shape[0])
    if not w.even:
        x = padded(site, x, w)
    site.emit(
        f"Conv{len(w.kernel)}d", x, out_channels=weight.shape[0], kernel_size=same(w.kernel), stride=same(w.stride),
        padding=same(w.before) if w.even else 0, dilation=same(w.dilation), groups=groups, bias=bias is not None,
    )  # fmt: skip
    site.param("weight", weight)
    if bias is not None:
        site.param("bias", bias)


@imports("ConvTranspose")
def conv_transpose(site: Site) -> None:
    """ConvTranspose1d to 3d; where the ends of an axis lose different numbers of places, in front of an Index."""
    x, weight = site.real(0), _weight(site)
    kernel, groups = list(weight.shape[2:]), site.attributes.integer("group", 1)
    axes = len(kernel)
    if x.ndim != axes + 2:
        raise site.invalid(f"its input has shape {x.shape}, its weight {weight.shape}")
    more = per_axis(site, "output_padding", axes, 0)
    stride, dilation = per_axis(site, "strides", axes), per_axis(site, "dilations", axes)
    before, behind = _lost(site, x, Windows(kernel, stride, dilation, more, more))
    extra = [0] * axes
    for i in range(axes):  # fewer places lost than none are more places
        extra[i], behind[i] = max(0, -behind[i]), max(0, behind[i])
    if min(before) < 0:
        raise site.unsupported(f"pads {before}: negative ones")
    even = before == behind
    trim = [0] * axes if even else [max(0, b - a) for a, b in zip(before, behind, strict=True)]
    margin = [min(a, b) for a, b in zip(before, behind, strict=True)]
    out, bias = weight.shape[1] * groups, _bias(site, weight.shape[1] * groups)
    (y,) = site.emit(
        f"ConvTranspose{axes}d", x, part="" if even else "whole", out_channels=out, kernel_size=same(kernel),
        stride=same(stride), padding=same(margin), dilation=same(dilation), groups=groups, bias=bias is not None,
        output_padding=same([a + b for a, b in zip(more, extra, strict=True)]),
    )  # fmt: skip
    site.param("weight", weight)
    if bias is not None:
        site.param("bias", bias)
    if not even:
        first = [max(0, a - b) for a, b in zip(before, behind, strict=True)]
        entries = [f"{a or ''}:{-b if b else ''}" for a, b in zip(first, trim, strict=True)]
        site.emit("Index", y, index=[":", ":", *entries])


def _lost(site: Site, x: Stream, w: Windows) -> tuple[list[int], list[int]]:
    """How many places the output loses at both ends of each axis."""
    axes, auto = len(w.kernel), site.attributes.text("auto_pad", "NOTSET")
    wanted = site.attributes.integers("output_shape")
    pads = site.attributes.integers("pads", [0] * 2 * axes) or [0] * 2 * axes
    if len(pads) != 2 * axes:
        raise site.invalid(f"{len(pads)} pads for {axes} axes: two for each")
    if wanted is None and auto not in SAME:
        pads = [0] * 2 * axes if auto == "VALID" else pads
        return list(pads[:axes]), list(pads[axes:])
    sizes: Sequence[int] = x.shape[2:]
    if wanted is None:
        wanted = [size * s for size, s in zip(sizes, w.stride, strict=True)]
    else:
        sizes, wanted = fixed_shape(site, x, range(2, x.ndim), "output_shape"), list(wanted[-axes:])
    parts = zip(sizes, w.stride, w.before, w.kernel, w.dilation, wanted, strict=True)
    totals = [s * (size - 1) + more + (k - 1) * d + 1 - want for size, s, more, k, d, want in parts]
    less = [int(np.floor(total / 2)) for total in totals]
    rest = [total - half for total, half in zip(totals, less, strict=True)]
    return (less, rest) if auto == SAME[0] else (rest, less)
