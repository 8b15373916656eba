"""Convolutions, which may have several bottoms with the same weights, and their windows as columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..conversion import Made, Site, converts
from ..message import Message
from .common import bias_blob, windows

BY_AXES = {1: "Conv1d", 2: "Conv2d", 3: "Conv3d"}
TRANSPOSED = {1: "ConvTranspose1d", 2: "ConvTranspose2d", 3: "ConvTranspose3d"}


@converts("Convolution")
def convolution(site: Site) -> None:
    """Conv1d, Conv2d or Conv3d; for every further bottom one more that shares the weights."""
    _convolutions(site, BY_AXES)


@converts("Deconvolution")
def deconvolution(site: Site) -> None:
    """ConvTranspose1d, 2d or 3d, whose weight has Caffe's layout (Cin, Cout / group, ...)."""
    _convolutions(site, TRANSPOSED)


def _convolutions(site: Site, kinds: dict[int, str]) -> None:
    site.count((1, None), (1, None))
    if len(site.bottoms) != len(site.tops):
        raise site.invalid(f"{len(site.bottoms)} bottoms and {len(site.tops)} tops: there must be as many", site.layer)
    p = site.param("convolution_param")
    site.harmless(p, "engine", "force_nd_im2col")
    x = site.bottoms[0]
    axis = site.axis(p.get("axis"), x.ndim, p)
    for i, other in enumerate(site.bottoms[1:], 1):
        if other.shape != x.shape:
            raise site.invalid(f"bottom {i} has shape {other.shape}, bottom 0 {x.shape}", site.layer, "bottom")
    options = _options(site, p, x.shape[axis + 1 :], x.shape[axis])
    _positions_of(site, kinds, axis, p, options)


def _positions_of(site: Site, kinds: dict[int, str], axis: int, p: Message, options: dict[str, Any]) -> None:
    """Emit the layers: axes in front of the channels are samples, and a blob without positions has one."""
    axes = len(site.bottoms[0].shape) - axis - 1
    if axes > 3:
        raise site.unsupported(f"a convolution over {axes} axes", p, "axis", hint="1 to 3 axes are supported")
    first: Made | None = None
    for number, (stream, top) in enumerate(zip(site.bottoms, site.tops, strict=True), 1):
        own = "" if number == 1 else f"{number}"  # what the layers of this bottom are called
        x, shape = site.real(stream), stream.shape
        if axis == 1 and axes:
            site.emit(kinds[axes], x, part=own, tops=[top], **options)
            made = site.made[-1]
        else:
            inner = [-1, *shape[axis:], *[1] * (axes == 0)]
            samples = site.emit("Reshape", x, part=f"{own}.samples".lstrip("."), shape=inner)
            (y,) = site.emit(kinds[max(axes, 1)], samples, part=f"{own}.conv".lstrip("."), **options)
            made = site.made[-1]
            outer = [*([-1] if axis else []), *shape[1:axis], *y.shape[1 : 2 + axes]]
            site.emit("Reshape", y, part=own, tops=[top], shape=outer)
        if first is None:
            first = made
            _blobs(site, made, p, axes)
        else:
            made.item["share"] = {name: f"{first.name}.{name}" for name in first.layer.param_decls}


def _blobs(site: Site, made: Made, p: Message, axes: int) -> None:
    shape = made.layer.param_decls["weight"].shape
    site.blob("weight", of=made, filler=p.get("weight_filler"), shape=shape if axes else shape[:2])
    bias_blob(site, p, "bias" in made.layer.param_decls, of=made)


def _options(site: Site, p: Message, size: Sequence[int], channels: int) -> dict[str, Any]:
    """The hyper-parameters."""
    outputs, groups = p.get("num_output"), p.get("group")
    if outputs < 1:
        raise site.invalid("num_output must be at least 1", p, "num_output")
    if groups < 1 or channels % groups or outputs % groups:
        told = f"group {groups} must divide the {channels} channels and num_output {outputs}"
        raise site.invalid(told, p, "group")
    return {"out_channels": outputs, **windows(site, p, len(size)), "groups": groups, "bias": p.get("bias_term")}


@converts("Im2col")
def im2col(site: Site) -> None:
    """Unfold, in the shape of an image."""
    site.count(1, 1)
    p, x = site.param("convolution_param"), site.real(site.bottoms[0])
    site.harmless(p, "engine", "force_nd_im2col", "num_output", "group", "bias_term", why="Im2col does not read it")
    axis = site.axis(p.get("axis"), x.ndim, p)
    axes = x.ndim - axis - 1
    if axis != 1 or not 1 <= axes <= 3:
        raise site.unsupported(f"windows over {axes} axes behind axis {axis}", p, "axis")
    options = windows(site, p, axes)
    (columns,) = site.emit({1: "Unfold1d", 2: "Unfold", 3: "Unfold3d"}[axes], x, part="columns", **options)
    each = zip(x.shape[2:], *(_each(options[name], axes) for name in options), strict=True)
    size = [(n + 2 * pad - dilation * (kernel - 1) - 1) // stride + 1 for n, kernel, stride, pad, dilation in each]
    site.emit("Reshape", columns, shape=[0, 0, *size])


def _each(value: int | list[int], axes: int) -> list[int]:
    """A number for each axis."""
    return [value] * axes if isinstance(value, int) else value
