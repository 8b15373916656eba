"""Old forms of definitions, as Caffe itself brings them up to date when it loads them.

V0 layers   layers { layer { name type kernelsize ... } bottom top }     see upgrade_v0.py
V1 layers   layers { type: CONVOLUTION blobs_lr weight_decay ... }
inputs      input: "data"  input_dim: 1 ... or input_shape { ... }       a layer of type Input
transforms  scale, mean_file, crop_size, mirror in the parameters of V1's data layers
BatchNorm   with three `param`: their lr_mult and decay_mult are 0
solver_type of a solver: type
"""

from __future__ import annotations

from ...schema.errors import ConfigError, LayerForgeError, raise_all
from .message import Message
from .upgrade_v0 import upgraded_v0

V1_TYPES = {
    "ABSVAL": "AbsVal",
    "ACCURACY": "Accuracy",
    "ARGMAX": "ArgMax",
    "BNLL": "BNLL",
    "CONCAT": "Concat",
    "CONTRASTIVE_LOSS": "ContrastiveLoss",
    "CONVOLUTION": "Convolution",
    "DATA": "Data",
    "DECONVOLUTION": "Deconvolution",
    "DROPOUT": "Dropout",
    "DUMMY_DATA": "DummyData",
    "ELTWISE": "Eltwise",
    "EUCLIDEAN_LOSS": "EuclideanLoss",
    "EXP": "Exp",
    "FLATTEN": "Flatten",
    "HDF5_DATA": "HDF5Data",
    "HDF5_OUTPUT": "HDF5Output",
    "HINGE_LOSS": "HingeLoss",
    "IM2COL": "Im2col",
    "IMAGE_DATA": "ImageData",
    "INFOGAIN_LOSS": "InfogainLoss",
    "INNER_PRODUCT": "InnerProduct",
    "LRN": "LRN",
    "MEMORY_DATA": "MemoryData",
    "MULTINOMIAL_LOGISTIC_LOSS": "MultinomialLogisticLoss",
    "MVN": "MVN",
    "NONE": "",
    "POOLING": "Pooling",
    "POWER": "Power",
    "RELU": "ReLU",
    "SIGMOID": "Sigmoid",
    "SIGMOID_CROSS_ENTROPY_LOSS": "SigmoidCrossEntropyLoss",
    "SILENCE": "Silence",
    "SLICE": "Slice",
    "SOFTMAX": "Softmax",
    "SOFTMAX_LOSS": "SoftmaxWithLoss",
    "SPLIT": "Split",
    "TANH": "TanH",
    "THRESHOLD": "Threshold",
    "WINDOW_DATA": "WindowData",
}
SOLVER_TYPES = {
    "SGD": "SGD",
    "NESTEROV": "Nesterov",
    "ADAGRAD": "AdaGrad",
    "RMSPROP": "RMSProp",
    "ADADELTA": "AdaDelta",
    "ADAM": "Adam",
}
TRANSFORMED = {"DATA": "data_param", "IMAGE_DATA": "image_data_param", "WINDOW_DATA": "window_data_param"}
TRANSFORMS = ("scale", "mean_file", "crop_size", "mirror")
PER_PARAM = {"param": "name", "blob_share_mode": "share_mode", "blobs_lr": "lr_mult", "weight_decay": "decay_mult"}


def upgraded(net: Message) -> Message:
    """A net's definition in the present form, with the places of the old one; `net` stays as it is.

    An `input` whose shape the definition does not give becomes a top of an Input layer that has no shape.
    Errors   ConfigErrors with their places: V0 layers that cannot be translated, `layers` beside `layer`, a number
             of sizes that does not fit the inputs
    """
    net = net.copy()
    problems: list[LayerForgeError] = []
    if net.has("layers"):
        _layers(net, problems)
    if net.has("input") or net.has("input_dim") or net.has("input_shape"):
        _inputs(net, problems)
    raise_all(problems)
    for layer in net.peek("layer"):
        if layer.peek("type") == "BatchNorm" and len(layer.peek("param")) == 3:
            for spec in layer.peek("param"):
                spec.set("lr_mult", 0.0)
                spec.set("decay_mult", 0.0)
    return net


def _layers(net: Message, problems: list[LayerForgeError]) -> None:
    """Turn all `layers` into `layer`."""
    if net.has("layer"):
        hint = "write all of them as 'layer'"
        problems.append(ConfigError("a net has both 'layer' and 'layers'", place=net.place("layers"), hint=hint))
        return
    old = upgraded_v0(net, problems)
    net.clear("layers")
    for layer in old:
        net.add("layer", _layer(layer))


def _layer(old: Message) -> Message:
    """A layer of V1 in the present form."""
    kind = old.peek("type")
    if kind in TRANSFORMED:
        _transforms(old, TRANSFORMED[kind])
    layer = Message("LayerParameter").placed_like(old)
    layer.unknown = old.unknown
    for name in list(old.values):
        if name == "type":
            layer.take(old, "type", V1_TYPES.get(kind, kind))
        elif name not in PER_PARAM:
            layer.take(old, name)
    count = max(len(old.peek(name)) for name in PER_PARAM)
    specs = [Message("ParamSpec").placed_like(old) for _ in range(count)]
    for name, new in PER_PARAM.items():
        for spec, value in zip(specs, old.peek(name), strict=False):
            spec.placed_like(old, name).set(new, value)
    if specs:
        layer.take(old, next(name for name in PER_PARAM if name in old.values), specs, as_name="param")
    return layer


def _transforms(layer: Message, name: str) -> None:
    """Move what transforms the samples of a data layer to its transform_param."""
    given = layer.peek(name)
    moved = [field for field in TRANSFORMS if field in given.values]
    if not moved:
        return
    transform = layer.peek("transform_param")
    for field in moved:
        transform.take(given, field)
        given.clear(field)
    layer.values["transform_param"] = transform


def _inputs(net: Message, problems: list[LayerForgeError]) -> None:
    """Turn `input` and its sizes into a layer of type Input, the first."""
    names, shapes, sizes = net.get("input"), net.get("input_shape"), net.get("input_dim")
    what = f"{len(names)} input{'' if len(names) == 1 else 's'}"
    if shapes and len(shapes) not in (1, len(names)):
        problems.append(ConfigError(f"{len(shapes)} input_shape for {what}", place=net.place("input_shape")))
        return
    if sizes and not shapes and len(sizes) != 4 * len(names):
        hint = "four sizes for each input: samples, channels, height, width"
        problems.append(ConfigError(f"{len(sizes)} input_dim for {what}", place=net.place("input_dim"), hint=hint))
        return
    if not shapes and sizes:
        shapes = []
        for first in range(0, len(sizes), 4):
            shape = Message("BlobShape").placed_like(net, "input_dim")
            shape.set("dim", sizes[first : first + 4])
            shapes.append(shape)
    layer = Message("LayerParameter").placed_like(net, "input")
    layer.set("name", "input")
    layer.set("type", "Input")
    layer.take(net, "input", names, as_name="top")
    if shapes:
        given = Message("InputParameter").placed_like(net, "input_shape" if net.has("input_shape") else "input_dim")
        given.set("shape", shapes)
        layer.set("input_param", given)
    for name in ("input", "input_shape", "input_dim"):
        net.clear(name)
    if names:
        net.insert("layer", layer)


def upgraded_solver(solver: Message) -> Message:
    """A solver's definition with `type` for the old `solver_type`; `solver` stays as it is.

    Errors   ConfigError where both are given
    """
    solver = solver.copy()
    if "solver_type" not in solver.values:
        return solver
    if "type" in solver.values:
        hint = "leave out solver_type"
        raise ConfigError("both type and solver_type are given", place=solver.place("solver_type"), hint=hint)
    solver.take(solver, "solver_type", SOLVER_TYPES[solver.peek("solver_type")], as_name="type")
    solver.clear("solver_type")
    return solver
