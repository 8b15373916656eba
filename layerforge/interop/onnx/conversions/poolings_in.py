"""Poolings, in one to three axes."""

from __future__ import annotations

import numpy as np

from ..constants import number
from ..importing import REFUSED, Site, imports
from ..values import Stream
from .common_in import constant, fixed_shape, same
from .windows_in import Windows, kernel_of, padded, windows

REFUSED["MaxUnpool"] = "its places count through all samples; ours are those of one image"


def _pooled(site: Site, x: Stream) -> Windows:
    w = windows(site, x, kernel_of(site))
    if len(w.kernel) > 3:
        raise site.unsupported(f"windows of {len(w.kernel)} axes: one to three are supported")
    return w


def _within(w: Windows) -> bool:
    """Whether the layers have these pads themselves: the same on both ends, at most half a window."""
    return w.even and all(2 * p <= k for p, k in zip(w.before, w.kernel, strict=True))


@imports("MaxPool")
def max_pool(site: Site) -> None:
    """MaxPool1d to 3d."""
    x, ceil = site.real(0), site.attributes.flag("ceil_mode")
    w = _pooled(site, x)
    site.attributes.has("storage_order")
    if len(site.tops) > 1 and site.tops[1]:
        raise site.unsupported("its second output, the places of the maxima, is used")
    site.tops = site.tops[:1]
    mine = _within(w)
    if not mine:
        x = padded(site, x, w, -np.inf)
    site.emit(
        f"MaxPool{len(w.kernel)}d", x, kernel_size=same(w.kernel), stride=same(w.stride),
        padding=same(w.before) if mine else 0, dilation=same(w.dilation), ceil_mode=ceil,
    )  # fmt: skip


@imports("AveragePool")
def average_pool(site: Site) -> None:
    """AvgPool1d to 3d; windows whose elements are apart, or with other pads, are told what they count."""
    x, ceil = site.real(0), site.attributes.flag("ceil_mode")
    all_count = site.attributes.flag("count_include_pad")
    w = _pooled(site, x)
    given = {"kernel_size": same(w.kernel), "stride": same(w.stride), "ceil_mode": ceil}
    kind = f"AvgPool{len(w.kernel)}d"
    if set(w.dilation) != {1}:
        return _apart(site, x, w, all_count)
    if _within(w):
        include = all_count if w.padded else True
        site.emit(kind, x, given=given, padding=same(w.before), count_include_pad=include)
        return None
    x = padded(site, x, w)
    if all_count:
        site.emit(kind, x, given=given)
        return None
    (y,) = site.emit(kind, x, part="mean", given=given)
    return _by_count(site, y, w)


def _by_count(site: Site, y: Stream, w: Windows) -> None:
    """Means over whole windows, pads and all, as means over what is in the input."""
    x = site.stream(0)
    sizes = fixed_shape(site, x, range(2, x.ndim), "what a window counts")
    factor = np.ones((1,) * y.ndim)
    for i, size in enumerate(sizes):
        starts = np.arange(y.shape[2 + i]) * w.stride[i] - w.before[i]
        places = starts[:, None] + np.arange(w.kernel[i]) * w.dilation[i]
        held = (places < size + w.behind[i]).sum(1)  # what hangs over the pads never counts
        inside = ((places >= 0) & (places < size)).sum(1)
        shape = [1] * y.ndim
        shape[2 + i] = -1
        factor = factor * (held / inside).reshape(shape)
    site.emit("Mul", [y, constant(site, factor.astype(np.float32))])


def _apart(site: Site, x: Stream, w: Windows, all_count: bool) -> None:
    """A mean of elements that are apart: a convolution of each channel with a weight that does not learn."""
    if site.attributes.flag("ceil_mode"):
        raise site.unsupported("dilations together with ceil_mode")
    channels, axes = x.shape[1], len(w.kernel)
    if w.padded:
        x = padded(site, x, w)
    plain = all_count or not w.padded
    (y,) = site.emit(
        f"Conv{axes}d", x, part="" if plain else "mean", out_channels=channels, kernel_size=same(w.kernel),
        stride=same(w.stride), dilation=same(w.dilation), groups=channels, bias=False,
    )  # fmt: skip
    site.made[-1].item["freeze"] = True
    site.param("weight", np.full((channels, 1, *w.kernel), 1 / np.prod(w.kernel), np.float32))
    if not plain:
        _by_count(site, y, w)


@imports("LpPool")
def lp_pool(site: Site) -> None:
    """LPPool2d of an input with zeros around it."""
    x, p = site.real(0), site.attributes.number("p", 2)
    ceil = site.attributes.flag("ceil_mode")
    w = _pooled(site, x)
    if set(w.dilation) != {1} or p < 1 or ceil:
        raise site.unsupported("windows without dilation and ceil_mode, and p of 1 or more are supported")
    if len(w.kernel) != 2:
        return _power_mean(site, x, w, p)
    if p % 2:
        (x,) = site.emit("Abs", x, part="size")
    if w.padded:
        x = padded(site, x, w)
    site.emit("LPPool2d", x, norm_type=number(p), kernel_size=same(w.kernel), stride=same(w.stride))
    return None


def _power_mean(site: Site, x: Stream, w: Windows, p: float) -> None:
    """The root of the sum of powers, by their mean."""
    (size,) = site.emit("Abs", x, part="size")
    (power,) = site.emit("Pow", size, part="power", exponent=number(p))
    if w.padded:
        power = padded(site, power, w)
    (mean,) = site.emit(
        f"AvgPool{len(w.kernel)}d", power, part="mean", kernel_size=same(w.kernel), stride=same(w.stride)
    )
    site.emit("Pow", mean, exponent=1 / p, scale=float(np.prod(w.kernel)))


def _spatial(site: Site) -> tuple[Stream, list[int]]:
    x = site.real(0)
    if x.ndim < 3:
        raise site.invalid(f"its input has shape {x.shape}: samples, channels and positions are expected")
    return x, list(range(2, x.ndim))


@imports("GlobalAveragePool")
def global_average_pool(site: Site) -> None:
    """GlobalAvgPool2d, or Mean over all positions."""
    x, axes = _spatial(site)
    if len(axes) == 2:
        site.emit("GlobalAvgPool2d", x)
    else:
        site.emit("Mean", x, dim=same(axes), keepdim=True)


@imports("GlobalMaxPool")
def global_max_pool(site: Site) -> None:
    """Max over all positions."""
    x, axes = _spatial(site)
    site.emit("Max", x, dim=same(axes), keepdim=True)


@imports("GlobalLpPool")
def global_lp_pool(site: Site) -> None:
    """Norm over all positions."""
    x, axes = _spatial(site)
    site.emit("Norm", x, dim=same(axes), keepdim=True, p=number(site.attributes.number("p", 2)))


@imports("MaxRoiPool")
def max_roi_pool(site: Site) -> None:
    """ROIPooling."""
    size = site.attributes.integers("pooled_shape") or []
    if len(size) != 2:
        raise site.invalid(f"pooled_shape is {size}")
    scale = number(site.attributes.number("spatial_scale", 1.0))
    site.emit("ROIPooling", [site.real(0), site.real(1)], output_size=same(size), spatial_scale=scale)
