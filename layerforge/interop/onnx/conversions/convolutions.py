"""Convolutions and windows side by side."""

from __future__ import annotations

from typing import Any

from ..exporting import Export, Value, exports
from .windows import columns, geometry, spatial


@exports("Conv1d", "Conv2d", "Conv3d")
def convolution(w: Export, x: Value) -> Any:
    """Conv."""
    bias = w.param("bias") if w.has("bias") else None
    return w.op("Conv", x, w.param("weight"), bias, group=w.layer.groups, **geometry(w))


@exports("ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d")
def transposed(w: Export, x: Value) -> Any:
    """ConvTranspose; an output_padding of a stride or more, which ONNX Runtime refuses, is less padding, and Pad."""
    layer, bias = w.layer, w.param("bias") if w.has("bias") else None
    more, attributes = layer.output_padding, {"group": layer.groups, **geometry(w)}
    if all(m < stride for m, stride in zip(more, layer.stride, strict=True)):
        attributes["output_padding"] = list(more) if any(more) else None
        return w.op("ConvTranspose", x, w.param("weight"), bias, **attributes)
    kept = [max(0, p - m) for p, m in zip(layer.padding, more, strict=True)]
    beyond = [max(0, m - p) for p, m in zip(layer.padding, more, strict=True)]
    attributes["pads"] = [*layer.padding, *kept]
    if not any(beyond):
        return w.op("ConvTranspose", x, w.param("weight"), bias, **attributes)
    y = w.op("ConvTranspose", x, w.param("weight"), **attributes)
    y = w.op("Pad", y, [0] * (x.ndim + 2) + beyond)
    return w.op("Add", y, w.array("bias", w.numbers("bias").reshape(-1, *(1,) * len(more)))) if bias else y


@exports("Unfold1d", "Unfold", "Unfold3d")
def unfold(w: Export, x: Value) -> Any:
    """Pad and Gather along each axis, and Reshape."""
    return w.reshape(columns(w, x, w.layer.windows(spatial(w, x))), w.tops[0].shape)
