"""The net that OpenCV gets to be compared with: inputs in the place of data, no losses, and Caffe's defaults in words.

What OpenCV 4.10 reads otherwise than Caffe is written so that both compute the same:

    LRN              alpha is 1e-4 where it is not written, and k is not read: a Power behind it multiplies by k^-beta
    Axpy             its second and third bottom are taken for each other
    DetectionOutput  nms_threshold is 0 where it is not written; keep_top_k must be
    PriorBox         clip is true where it is not written; variance must be
    Pooling, Permute, Slice   pool, all axes and all points must be written
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

import numpy as np

from .inputs import FEEDING
from .message import Message
from .model import Model
from .translation import is_loss

METRICS = ("Accuracy",)
SHAPING = ("Split", "Reshape", "Flatten", "Slice", "Concat", "Permute", "Tile", "Crop")  # the numbers stay the same


@dataclass
class Twin:
    """The net for OpenCV.

    net      its definition
    inputs   what it is given, by Caffe's names: what these are called here
    left     for each layer that is left out, why
    """

    net: Message
    inputs: dict[str, str] = field(default_factory=dict)
    left: dict[str, str] = field(default_factory=dict)


def foreign_inputs(model: Model) -> list[str]:
    """Caffe's names of the inputs."""
    return [model.foreign(name) for name in model.config.get("inputs", {})]


def predicting(model: Model) -> Twin:
    """The layers that predict; what reads labels is left out, and losses and metrics, whatever they read."""
    twin = Twin(Message("NetParameter", name=model.name))
    kept, gone = [], _unfed(model)
    for number, layer in enumerate(model.definition.get("layer")):
        if layer.get("type") in FEEDING:
            continue
        why = _why_left(layer, gone)
        if why:
            gone |= dict.fromkeys(set(layer.get("top")) - set(layer.get("bottom")), "it reads what is left out")
            twin.left[layer.get("name")] = why
        else:
            kept.append((number, layer))
    read = {blob for _, layer in kept for blob in layer.get("bottom")}
    for name, section in model.config.get("inputs", {}).items():
        blob = model.foreign(name)
        if blob in read:
            twin.inputs[blob] = name
            made = twin.net.add("layer", Message("LayerParameter", name=blob, type="Input", top=[blob]))
            made.set("input_param", Message("InputParameter", shape=[Message("BlobShape", dim=section["shape"])]))
    for number, layer in kept:
        made = layer.copy()
        for name in ("include", "exclude", "phase", "blobs", "loss_weight", "param"):
            made.clear(name)
        twin.net.add("layer", made)
        if layer.get("type") in ADAPTED:
            ADAPTED[layer.get("type")](model, number, made, twin.net)
        for top, blob in enumerate(layer.get("top")[1:], 1):
            name = copy_of(layer.get("name"), top)
            twin.net.add("layer", Message("LayerParameter", name=name, type="Power", bottom=[blob], top=[name]))
    return twin


def copy_of(layer: str, top: int) -> str:
    """What the copy of a second top is called: OpenCV lets its readers overwrite it, unlike a first top."""
    return f"{layer}/top {top}"


def _unfed(model: Model) -> dict[str, str]:
    """The blobs that data layers give beside their first, and what is told of who reads them."""
    found: dict[str, str] = {}
    for number, layer in enumerate(model.definition.get("layer")):
        if layer.get("type") in FEEDING and layer.get("type") != "Input":
            found |= {version.blob: "it reads labels" for version in model.translation.names.tops[number][1:]}
    return found


def _why_left(layer: Message, gone: dict[str, str]) -> str:
    """Why a layer is left out; empty where it is not."""
    for blob in layer.get("bottom"):
        if blob in gone:
            return gone[blob]
    if is_loss(layer.get("type")):
        return "it is a loss"
    return "it is a metric" if layer.get("type") in METRICS else ""


# What OpenCV reads otherwise ------------------------------------------------------------------------------------------


def _write(message: Message, *names: str) -> None:
    """Write down the defaults of fields."""
    for name in names:
        if not message.has(name):
            message.set(name, message.get(name))


def _own(layer: Message, name: str) -> Message:
    """The message of a type's own fields, which is there then."""
    if not layer.has(name):
        layer.set(name, layer.get(name))
    message: Message = layer.get(name)
    return message


def _shape(model: Model, number: int, top: int = 0) -> tuple[int, ...]:
    """The shape of a top."""
    site, version = model.translation.sites[number], model.translation.names.tops[number][top]
    return site.streams[version.name].shape


def _lrn(model: Model, number: int, layer: Message, net: Message) -> None:
    p = _own(layer, "lrn_param")
    _write(p, "local_size", "alpha", "beta")
    k = p.get("k")
    p.clear("k")
    if k == 1 or k <= 0 or p.get("norm_region") != "ACROSS_CHANNELS":
        return
    p.set("alpha", p.get("alpha") / k)  # (k + a s)^-b = k^-b (1 + a/k s)^-b
    power = Message("LayerParameter", name=layer.get("name"), type="Power", top=layer.get("top"))
    power.set("power_param", Message("PowerParameter", scale=k ** -p.get("beta")))
    inner = f"{layer.get('name')}/1"
    for name, value in (("name", inner), ("top", [inner])):
        layer.set(name, value)
    power.set("bottom", [inner])
    net.add("layer", power)


def _axpy(model: Model, number: int, layer: Message, net: Message) -> None:
    factor, x, y = layer.get("bottom")
    layer.set("bottom", [factor, y, x])


def _detection_output(model: Model, number: int, layer: Message, net: Message) -> None:
    p = _own(layer, "detection_output_param")
    _write(p, "share_location", "background_label_id", "code_type", "keep_top_k", "variance_encoded_in_target")
    if not p.has("nms_param"):
        p.set("nms_param", Message("NonMaximumSuppressionParameter"))
    _write(p.get("nms_param"), "nms_threshold", "eta")


def _pooling(model: Model, number: int, layer: Message, net: Message) -> None:
    _write(_own(layer, "pooling_param"), "pool")


def _prior_box(model: Model, number: int, layer: Message, net: Message) -> None:
    p = _own(layer, "prior_box_param")
    _write(p, "flip", "clip", "offset")
    if not p.has("variance"):
        p.set("variance", [0.1])


def _permute(model: Model, number: int, layer: Message, net: Message) -> None:
    p = _own(layer, "permute_param")
    order = list(p.get("order"))
    if order:
        p.set("order", [*order, *(axis for axis in range(len(_shape(model, number))) if axis not in order)])


def _slice(model: Model, number: int, layer: Message, net: Message) -> None:
    p = _own(layer, "slice_param")
    if p.get("slice_point"):
        return
    axis = p.get("slice_dim") if p.has("slice_dim") else p.get("axis")
    lengths = [_shape(model, number, top)[axis] for top in range(len(layer.get("top")))]
    p.clear("slice_dim")
    p.set("axis", axis)
    p.set("slice_point", list(accumulate(lengths[:-1])))


ADAPTED: dict[str, Callable[[Model, int, Message, Message], None]] = {
    "Axpy": _axpy,
    "DetectionOutput": _detection_output,
    "LRN": _lrn,
    "Permute": _permute,
    "Pooling": _pooling,
    "PriorBox": _prior_box,
    "Slice": _slice,
}


# Inputs ---------------------------------------------------------------------------------------------------------------


def drawn(model: Model, generator: np.random.Generator) -> dict[str, np.ndarray]:
    """Numbers for the inputs, by their names here: normally distributed, and whole where they are indices."""
    indices, found = _indices(model), {}
    for name, section in model.config.get("inputs", {}).items():
        values: Any = generator.standard_normal(section["shape"])
        if name in indices:
            values = generator.integers(0, max(indices[name], 1), section["shape"])
        found[name] = values.astype(np.float32)
    return found


def _indices(model: Model) -> dict[str, int]:
    """The inputs that are read as indices, also behind layers that leave numbers as they are: how many there may be.

    Where only a loss or the like knows that, it is 1: each index is 0 then.
    """
    makers = {version.name: number for number, tops in enumerate(model.translation.names.tops) for version in tops}
    sites = model.translation.sites
    found: dict[str, int] = {}
    for site in sites:
        casts = {index.name: blob for (blob, role), index in site.casts.items() if role == "index"}
        limit = site.param("embed_param").get("input_dim") if site.type == "Embed" else 1
        read = [made.item.get("bottom", []) for made in site.made if made.item["type"] != "Cast"]
        each = [name for names in read for name in ([names] if isinstance(names, str) else names)]
        todo = [casts[name] for name in each if name in casts]
        while todo:
            name = todo.pop()
            if name in model.config.get("inputs", {}):
                found[name] = min(limit, found.get(name, limit))
            elif name in makers and sites[makers[name]].type in SHAPING:
                todo += [bottom.name for bottom in sites[makers[name]].bottoms]
    return found
