"""Pooling over windows, and over pyramids of them."""

from __future__ import annotations

from typing import Any

from ..conversion import Site, Stream, converts
from ..message import Message
from .common import demand_sizes, pair, plain, with_samples

LEAST = -3.4028234663852886e38  # the least number of 32 bits, which Caffe's maximum begins with


@converts("Pooling")
def pooling(site: Site) -> None:
    """MaxPool2d, AvgPool2d or StochasticPool2d, rounded as in Caffe; AdaptiveMaxPool2d or AdaptiveAvgPool2d of all."""
    site.count(1, (1, 2))
    p = site.param("pooling_param")
    site.harmless(p, "engine")
    method = p.get("pool")
    if len(site.tops) > 1 and method != "MAX":
        raise site.invalid("a second top, the indices, is for pool: MAX", site.layer, "top")
    x = with_samples(site, site.bottoms[0])
    options = _windows(site, p, x.shape[2:])
    if p.get("global_pooling") and len(site.tops) == 1 and method != "STOCHASTIC":
        # All positions, however many there are: images of another size may follow.
        site.emit("AdaptiveMaxPool2d" if method == "MAX" else "AdaptiveAvgPool2d", x, output_size=1)
        return
    rounds_up = _rounds_up(site, p)
    if method == "STOCHASTIC":
        if options.pop("padding"):
            raise site.unsupported("stochastic pooling with padding", p, "pool")
        site.emit("StochasticPool2d", x, **options, ceil_mode=rounds_up)
        site.note("drawn numbers are others than Caffe's; Caffe itself has this pooling on a GPU only")
        return
    kind = "MaxPool2d" if method == "MAX" else "AvgPool2d"
    if rounds_up:
        _rounded_up(site, kind, x, options)
    elif 2 * max(_both(options["padding"])) > min(_both(options["kernel_size"])):
        _with_margin(site, kind, x, options)
    else:
        site.emit(kind, x, **options)


def _rounded_up(site: Site, kind: str, x: Stream, options: dict[str, Any]) -> None:
    """Windows rounded up as Caffe's. Without padding it may have one more behind the end, in which there is nothing."""
    each = zip(x.shape[2:], *(_both(options[name]) for name in ("kernel_size", "stride")), strict=True)
    counts = [(-(-(size - kernel) // stride) + 1, size, stride) for size, kernel, stride in each]
    empty = [int((count - 1) * stride >= size) for count, size, stride in counts]
    if any(_both(options["padding"])) or not any(empty):
        site.emit(kind, x, **options, caffe_rounding=True)
        return
    site.note("a window lies behind the end of the input: Caffe's maximum of it is -3.4e38, its mean 0")
    names = [site.unique(f"{site.own}.{name}") for name in ("windows", "places")][: len(site.tops)]
    made = site.emit(kind, x, name=names[0], tops=names, **options, ceil_mode=True)
    border = [0, empty[1], 0, empty[0]]
    for part, stream, top in zip(("", "ends"), made, site.tops, strict=False):
        value = -1 if part else LEAST if kind == "MaxPool2d" else 0
        site.emit("Pad", stream, part=part, tops=[top], padding=border, value=value)


def _with_margin(site: Site, kind: str, x: Stream, options: dict[str, Any]) -> None:
    """Padding of more than half a window, which pooling takes only when it rounds up.

    The margin is made in front of it; for indices, which such a margin would move, the last windows are cut off.
    """
    if len(site.tops) == 1:
        high, wide = _both(options.pop("padding"))
        value = float("-inf") if kind == "MaxPool2d" else 0
        (x,) = site.emit("Pad", x, part="margin", padding=[wide, wide, high, high], value=value)
        site.emit(kind, x, **options)
        return
    each = zip(x.shape[2:], *(_both(options[name]) for name in ("kernel_size", "padding", "stride")), strict=True)
    counts = [(size + 2 * pad - kernel) // stride + 1 for size, kernel, pad, stride in each]
    names = [site.unique(f"{site.own}.{name}") for name in ("windows", "places")][: len(site.tops)]
    made = site.emit(kind, x, name=names[0], tops=names, **options, caffe_rounding=True)
    part = [":", ":", *(f":{count}" for count in counts)]
    for name, stream, top in zip(("", "ends"), made, site.tops, strict=False):
        site.emit("Index", stream, part=name, tops=[top], index=part)


def _both(value: Any) -> list[int]:
    """A number for each of the two axes."""
    return [value] * 2 if isinstance(value, int) else list(value)


def _rounds_up(site: Site, p: Message) -> bool:
    """Whether the last window may hang over the end; forks have ceil_mode for it."""
    if p.has("ceil_mode"):
        if p.has("round_mode"):
            raise site.invalid("round_mode and ceil_mode together", p, "ceil_mode")
        return bool(p.get("ceil_mode"))
    return bool(p.get("round_mode") == "CEIL")


def _windows(site: Site, p: Message, size: tuple[int, ...]) -> dict[str, Any]:
    """kernel_size, stride and padding, after Caffe's checks."""
    if p.get("global_pooling"):
        if p.has("kernel_size") or p.has("kernel_h") or p.has("kernel_w"):
            raise site.invalid("global_pooling and a kernel size", p, "kernel_size", hint="write one of the two")
        kernel = list(size)
    else:
        kernel = pair(site, p, "kernel_size", "kernel_h", "kernel_w")
        if not kernel:
            raise site.invalid("the kernel size is missing", p, hint="write kernel_size, or global_pooling: true")
    padding = pair(site, p, "pad", "pad_h", "pad_w") or [0, 0]
    stride = pair(site, p, "stride", "stride_h", "stride_w") or [1, 1]
    demand_sizes(site, p, padding, stride, [] if p.get("global_pooling") else kernel)
    if p.get("global_pooling") and (any(padding) or set(stride) != {1}):
        raise site.invalid("global_pooling takes pad 0 and stride 1", p, "global_pooling")
    if min(kernel) < 1 or min(stride) < 1:
        raise site.invalid("kernel size and stride must be at least 1", p)
    if any(before >= length for before, length in zip(padding, kernel, strict=True)):
        raise site.invalid(f"pad {plain(padding)} must be less than the kernel, {plain(kernel)}", p, "pad")
    return {"kernel_size": plain(kernel), "stride": plain(stride), "padding": plain(padding)}


@converts("SPP")
def spp(site: Site) -> None:
    """SpatialPyramidPool; of one level the top keeps its four axes."""
    site.count(1, 1)
    p, x = site.param("spp_param"), with_samples(site, site.bottoms[0])
    site.harmless(p, "engine")
    height, method = p.get("pyramid_height"), p.get("pool")
    if height < 1:
        raise site.invalid("pyramid_height must be at least 1", p, "pyramid_height")
    if method == "STOCHASTIC":
        raise site.unsupported("pool: STOCHASTIC", p, "pool")
    options = {"pyramid_height": height, "pool": {"MAX": "max", "AVE": "avg"}[method]}
    y = site.emit("SpatialPyramidPool", x, part="" if height > 1 else "level", **options)
    if height == 1:
        site.emit("Reshape", y, shape=[0, 0, 1, 1])
