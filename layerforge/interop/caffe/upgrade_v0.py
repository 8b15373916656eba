"""Layers of Caffe's first format, V0, as those of V1: one flat list of fields for layers of every type."""

from __future__ import annotations

from typing import TypeAlias

from ...schema.errors import ConfigError, LayerForgeError
from .message import Message

TYPES = {
    "accuracy": "ACCURACY",
    "bnll": "BNLL",
    "concat": "CONCAT",
    "conv": "CONVOLUTION",
    "data": "DATA",
    "dropout": "DROPOUT",
    "euclidean_loss": "EUCLIDEAN_LOSS",
    "flatten": "FLATTEN",
    "hdf5_data": "HDF5_DATA",
    "hdf5_output": "HDF5_OUTPUT",
    "im2col": "IM2COL",
    "images": "IMAGE_DATA",
    "infogain_loss": "INFOGAIN_LOSS",
    "innerproduct": "INNER_PRODUCT",
    "lrn": "LRN",
    "multinomial_logistic_loss": "MULTINOMIAL_LOGISTIC_LOSS",
    "pool": "POOLING",
    "relu": "RELU",
    "sigmoid": "SIGMOID",
    "softmax": "SOFTMAX",
    "softmax_loss": "SOFTMAX_LOSS",
    "split": "SPLIT",
    "tanh": "TANH",
    "window_data": "WINDOW_DATA",
}
# Of a type: the message that its fields go to, and the names that they have there.
CONVOLUTION = {
    "num_output": "num_output",
    "biasterm": "bias_term",
    "weight_filler": "weight_filler",
    "bias_filler": "bias_filler",
    "pad": "pad",
    "kernelsize": "kernel_size",
    "group": "group",
    "stride": "stride",
}
TRANSFORM = {"scale": "scale", "meanfile": "mean_file", "cropsize": "crop_size", "mirror": "mirror"}
SOURCE = {"source": "source", "batchsize": "batch_size", "rand_skip": "rand_skip"}
PARAMETERS = {
    "conv": ("convolution_param", CONVOLUTION),
    "im2col": ("convolution_param", CONVOLUTION),
    "innerproduct": ("inner_product_param", {name: CONVOLUTION[name] for name in list(CONVOLUTION)[:4]}),
    "pool": ("pooling_param", {"pool": "pool", "pad": "pad", "kernelsize": "kernel_size", "stride": "stride"}),
    "dropout": ("dropout_param", {"dropout_ratio": "dropout_ratio"}),
    "lrn": ("lrn_param", {name: name for name in ("local_size", "alpha", "beta", "k")}),
    "concat": ("concat_param", {"concat_dim": "concat_dim"}),
    "data": ("data_param", SOURCE | TRANSFORM),
    "hdf5_data": ("hdf5_data_param", {"source": "source", "batchsize": "batch_size"}),
    "images": (
        "image_data_param",
        SOURCE | TRANSFORM | {"shuffle_images": "shuffle", "new_height": "new_height", "new_width": "new_width"},
    ),
    "infogain_loss": ("infogain_loss_param", {"source": "source"}),
    "window_data": (
        "window_data_param",
        {"source": "source", "batchsize": "batch_size"}
        | TRANSFORM
        | {f"det_{name}": name for name in ("fg_threshold", "bg_threshold", "fg_fraction", "context_pad", "crop_mode")},
    ),
}
COMMON = ("name", "type", "blobs", "blobs_lr", "weight_decay", "hdf5_output_param")
Padding: TypeAlias = dict[str, tuple[str, int, Message]]  # top of a layer to its bottom, its size and itself
REMEDY = "write it in the present form, or run Caffe's own upgrade_net_proto_text on the file"


def upgraded_v0(net: Message, problems: list[LayerForgeError]) -> list[Message]:
    """The `layers` of a net, those of V0 as V1; layers of type padding become the `pad` of the convolution after them.

    What cannot be translated is added to `problems`.
    """
    old = net.peek("layers")
    if not any("layer" in layer.values for layer in old):
        return old
    padding: Padding = {}
    layers = []
    for layer in old:
        inner = layer.peek("layer")
        kind = inner.peek("type")
        if kind == "padding":
            if len(layer.peek("bottom")) == 1 and len(layer.peek("top")) == 1:
                padding[layer.peek("top")[0]] = (layer.peek("bottom")[0], inner.peek("pad"), layer)
            else:
                place = layer.place()
                problems.append(ConfigError("a padding layer has one bottom and one top", place=place, hint=REMEDY))
            continue
        made = _layer(layer, problems)
        if made is not None:
            _pad(made, kind, padding, problems)
            layers.append(made)
    used = {bottom for layer in old for bottom in layer.peek("bottom")}
    problems += [
        ConfigError("nothing uses this padding layer", place=layer.place(), hint="leave it out")
        for top, (_, _, layer) in padding.items()
        if top not in used
    ]
    return layers


def _pad(layer: Message, kind: str, padding: Padding, problems: list[LayerForgeError]) -> None:
    """Let a layer pad its own input where a padding layer did."""
    bottoms = layer.peek("bottom")
    for bottom in bottoms:
        if bottom not in padding:
            continue
        source, size, _ = padding[bottom]
        if kind not in ("conv", "pool") or len(bottoms) != 1:
            problem = f"a padding layer stands before a layer of type {kind}, which cannot pad"
            problems.append(ConfigError(problem, place=layer.place(), hint=REMEDY))
            return
        layer.take(layer, "bottom", [source])
        name = PARAMETERS[kind][0]
        given = layer.peek(name)
        given.set("pad", [size] if kind == "conv" else size)
        layer.values[name] = given


def _layer(old: Message, problems: list[LayerForgeError]) -> Message | None:
    """A layer of V0 as one of V1, or None after adding to `problems`."""
    if "layer" not in old.values:
        problems.append(ConfigError("a net has layers of two formats, V0 and V1", place=old.place(), hint=REMEDY))
        return None
    inner = old.peek("layer")
    kind = inner.peek("type")
    layer = Message("V1LayerParameter").placed_like(old)
    layer.unknown = old.unknown + inner.unknown
    for name in old.values:
        if name != "layer":
            layer.take(old, name)
    if kind not in TYPES:
        place = inner.place("type")
        problems.append(ConfigError(f"V0 has no layers of type '{kind}'", place=place, hint=REMEDY))
        return None
    parameter, names = PARAMETERS.get(kind, ("", {}))
    for name in inner.values:
        if name == "type":
            layer.take(inner, "type", TYPES[kind])
        elif name in COMMON:
            layer.take(inner, name)
        elif name in names:
            given = layer.peek(parameter)
            value = inner.peek(name)
            given.take(inner, name, [value] if _repeats(given, names[name]) else value, as_name=names[name])
            layer.values[parameter] = given
        else:
            problem = f"a V0 layer of type '{kind}' has no use for {name}"
            problems.append(ConfigError(problem, place=inner.place(name), hint="leave it out"))
    return layer


def _repeats(message: Message, name: str) -> bool:
    """Whether a field takes a list."""
    return isinstance(message.peek(name), list)
