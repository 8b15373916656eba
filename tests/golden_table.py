"""The golden cases: every layer with every branch of its hyper-parameters, whole nets, solvers and schedules.

A family is a list of cases and becomes one file; see golden_cases.py.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from golden_cases import Case, Rates, Shapes, Training

from layerforge.spec import Spec, index

# One layer ------------------------------------------------------------------------------------------------------------


def one(
    name: str,
    hyper: Mapping[str, Any],
    *bottoms: Spec,
    params: Shapes | None = None,
    state: Shapes | None = None,
    tops: int = 1,
    phase: str = "train",
    differentiable: bool = True,
) -> Case:
    """The case of a layer by itself, called "layer", with bottoms x0, x1 ... and tops y or y0, y1 ...

    name   "Type" or "Type-what": what the case is about
    """
    inputs = {f"x{i}": spec for i, spec in enumerate(bottoms)}
    outputs = ("y",) if tops == 1 else tuple(f"y{i}" for i in range(tops))
    wiring = {"name": "layer", "type": name.partition("-")[0], "bottom": list(inputs), "top": list(outputs)}
    owned, kept = ({f"layer.{key}": shape for key, shape in (shapes or {}).items()} for shapes in (params, state))
    return Case(name, [{**wiring, **hyper}], inputs, owned, kept, outputs, phase, differentiable)


def linear(name: str, hyper: Mapping[str, Any], x: tuple[int, ...], **params: tuple[int, ...]) -> Case:
    """A case of Linear or Conv2d: a bottom of shape x, parameters of these shapes."""
    return one(name, hyper, Spec(x), params=params)


def batch_norm(name: str, hyper: Mapping[str, Any], x: Spec, phase: str = "train") -> Case:
    """A case of BatchNorm."""
    channels = x.shape[1:2]
    learned = {"weight": channels, "bias": channels} if hyper.get("affine", True) else {}
    kept = {"running_mean": channels, "running_var": channels}
    return one(name, hyper, x, params=learned, state=kept, phase=phase)


def constant_channel(rng: np.random.RandomState, shape: tuple[int, ...]) -> np.ndarray:
    """Numbers whose first channel does not vary."""
    x = rng.random_sample(shape)
    x[:, 0] = 0.7
    return x


def labels(shape: tuple[int, ...], classes: int, ignored: int) -> Spec:
    """Labels of which about a third is the ignored one."""

    def some_ignored(rng: np.random.RandomState, shape: tuple[int, ...]) -> np.ndarray:
        kept = rng.random_sample(shape) > 1 / 3
        return np.where(kept, rng.randint(0, classes, shape, dtype=np.int64), ignored)

    return Spec(shape, role="index", draw=some_ignored)


def labelled(layer: str, differentiable: bool = True) -> list[Case]:
    """Cases of a layer that holds scores of classes against labels."""

    def case(what: str, hyper: Mapping[str, Any], x: tuple[int, ...], t: Spec) -> Case:
        return one(f"{layer}-{what}", hyper, Spec(x), t, differentiable=differentiable)

    return [
        case("plain", {}, (6, 5), index((6,), 5)),
        case("one-class", {}, (3, 1), index((3,), 1)),
        case("sequence", {}, (2, 4, 3), index((2, 3), 4)),
        case("image", {}, (2, 3, 4, 5), index((2, 4, 5), 3)),
        case("ignore-100", {"ignore_index": -100}, (9, 4), labels((9,), 4, -100)),
        case("ignore-a-class", {"ignore_index": 2}, (9, 4), index((9,), 4)),
        case("ignore-in-image", {"ignore_index": 255}, (2, 3, 4, 5), labels((2, 4, 5), 3, 255)),
    ]


def few_values(rng: np.random.RandomState, shape: tuple[int, ...]) -> np.ndarray:
    """Whole numbers from -1 to 1: full of zeros and ties."""
    return rng.randint(-1, 2, shape, dtype=np.int64).astype(np.float64)


def elementwise(layer: str, *settings: Mapping[str, Any]) -> list[Case]:
    """Cases of an activation."""
    cases = [one(f"{layer}-{i}", hyper, Spec((4, 6))) for i, hyper in enumerate(({}, *settings))]
    cases += [one(f"{layer}-{i}-zeros", hyper, Spec((5,), draw=few_values)) for i, hyper in enumerate(({}, *settings))]
    cases += [one(f"{layer}-{x.ndim}d", {}, x) for x in (Spec((2, 3, 1, 5)), Spec((7,)), Spec(()))]
    return [*cases, one(f"{layer}-extreme", {}, Spec((4, 6), low=-1e4, high=1e4))]


def broadcasting(layer: str) -> list[Case]:
    """Cases of Add or Mul."""
    shapes = {
        "two": [(3, 4), (3, 4)],
        "three": [(2, 3, 4), (2, 3, 4), (2, 3, 4)],
        "row": [(2, 3, 5), (5,)],
        "column-and-number": [(2, 3, 5), (3, 1), ()],
        "both-ways": [(3, 1, 4), (3, 5, 1)],
        "smaller-first": [(5,), (2, 3, 5)],
        "numbers": [(), ()],
    }
    return [one(f"{layer}-{what}", {}, *map(Spec, bottoms)) for what, bottoms in shapes.items()]


def softmax(layer: str) -> list[Case]:
    """Cases of Softmax or LogSoftmax."""
    return [
        one(f"{layer}-plain", {}, Spec((4, 5))),
        one(f"{layer}-image", {}, Spec((2, 3, 2, 3))),
        one(f"{layer}-last", {"dim": -1}, Spec((2, 3, 5))),
        one(f"{layer}-batch", {"dim": 0}, Spec((4, 3))),
        one(f"{layer}-one-class", {}, Spec((3, 1))),
        one(f"{layer}-extreme", {}, Spec((3, 5), low=-1e4, high=1e4)),
    ]


IMAGE = Spec((2, 3, 7, 8))

LINEAR = [
    linear("Linear-plain", {"out_features": 4}, (3, 5), weight=(4, 5), bias=(4,)),
    linear("Linear-no-bias", {"out_features": 2, "bias": False}, (3, 5), weight=(2, 5)),
    linear("Linear-more-axes", {"out_features": 3}, (2, 3, 4, 5), weight=(3, 5), bias=(3,)),
    linear("Linear-vector", {"out_features": 3}, (4,), weight=(3, 4), bias=(3,)),
    linear("Linear-one", {"out_features": 1}, (1, 1), weight=(1, 1), bias=(1,)),
    linear("Linear-large", {"out_features": 7}, (16, 65), weight=(7, 65), bias=(7,)),
]

CONV = {"out_channels": 4, "kernel_size": 3}
EVERYTHING = {
    "out_channels": 4,
    "kernel_size": [3, 2],
    "stride": [2, 3],
    "padding": [2, 1],
    "dilation": [2, 1],
    "groups": 2,
}
CONVOLUTION = [
    linear("Conv2d-plain", CONV, (2, 3, 5, 6), weight=(4, 3, 3, 3), bias=(4,)),
    linear("Conv2d-no-bias", {**CONV, "bias": False}, (2, 3, 5, 6), weight=(4, 3, 3, 3)),
    linear("Conv2d-1x1", {**CONV, "kernel_size": 1}, (2, 3, 4, 5), weight=(4, 3, 1, 1), bias=(4,)),
    linear("Conv2d-kernel-is-input", {**CONV, "kernel_size": [4, 5]}, (2, 3, 4, 5), weight=(4, 3, 4, 5), bias=(4,)),
    linear("Conv2d-stride", {**CONV, "stride": 2}, (2, 3, 8, 7), weight=(4, 3, 3, 3), bias=(4,)),
    linear("Conv2d-stride-skips", {**CONV, "stride": [4, 5]}, (2, 3, 9, 14), weight=(4, 3, 3, 3), bias=(4,)),
    linear("Conv2d-padding", {**CONV, "padding": 1}, (2, 3, 5, 4), weight=(4, 3, 3, 3), bias=(4,)),
    linear("Conv2d-padding-wide", {**CONV, "padding": [4, 0]}, (2, 3, 2, 5), weight=(4, 3, 3, 3), bias=(4,)),
    linear("Conv2d-dilation", {**CONV, "dilation": [2, 3]}, (2, 3, 6, 9), weight=(4, 3, 3, 3), bias=(4,)),
    linear("Conv2d-groups", {**CONV, "groups": 2}, (2, 6, 5, 4), weight=(4, 3, 3, 3), bias=(4,)),
    linear("Conv2d-depthwise", {**CONV, "out_channels": 6, "groups": 3}, (2, 3, 5, 4), weight=(6, 1, 3, 3), bias=(6,)),
    linear("Conv2d-everything", EVERYTHING, (3, 4, 7, 8), weight=(4, 2, 3, 2), bias=(4,)),
    linear("Conv2d-large", {"out_channels": 2, "kernel_size": 11}, (2, 4, 26, 40), weight=(2, 4, 11, 11), bias=(2,)),
    linear("Conv2d-one-sample", CONV, (1, 1, 3, 3), weight=(4, 1, 3, 3), bias=(4,)),
]

WINDOW = {"kernel_size": 3}
POOL = {
    "plain": {"kernel_size": 2},
    "stride": {**WINDOW, "stride": 2},
    "stride-skips": {"kernel_size": 2, "stride": [3, 4]},
    "overlap": {**WINDOW, "stride": 1},
    "padding": {**WINDOW, "stride": 2, "padding": 1},
    "oblong": {"kernel_size": [2, 3], "stride": [1, 2], "padding": [0, 1]},
    "ceil": {"kernel_size": 2, "stride": 2, "ceil_mode": True},
    "ceil-wide": {**WINDOW, "stride": [5, 3], "ceil_mode": True},
    "ceil-padding": {**WINDOW, "stride": [2, 3], "padding": 1, "ceil_mode": True},
    "ceil-last-in-padding": {"kernel_size": 2, "stride": 3, "padding": 1, "ceil_mode": True},
    "whole": {"kernel_size": [7, 8]},
}
DILATED_POOL = {
    "dilation": {**WINDOW, "stride": 1, "dilation": 2},
    "dilation-everything": {
        "kernel_size": [2, 3],
        "stride": [2, 3],
        "padding": 1,
        "dilation": [3, 2],
        "ceil_mode": True,
    },
}
INSIDE = {"count_include_pad": False}
INSIDE_POOL = {
    "inside": {**WINDOW, "stride": 2, "padding": 1, **INSIDE},
    "inside-ceil": {**WINDOW, "stride": [2, 3], "padding": 1, "ceil_mode": True, **INSIDE},
    "inside-no-padding": {"kernel_size": 2, "ceil_mode": True, **INSIDE},
}
POOLING = [
    *(one(f"MaxPool2d-{what}", hyper, IMAGE) for what, hyper in (POOL | DILATED_POOL).items()),
    *(one(f"AvgPool2d-{what}", hyper, IMAGE) for what, hyper in (POOL | INSIDE_POOL).items()),
    one("MaxPool2d-negative", {**WINDOW, "padding": 1}, Spec((2, 3, 5, 5), low=-3, high=-1)),
    one("MaxPool2d-ties", {**WINDOW, "stride": 1, "padding": 1}, Spec((2, 3, 5, 5), draw=few_values)),
    one("MaxPool2d-wide", {"kernel_size": 17, "stride": 1}, Spec((1, 1, 19, 18))),
    one("AvgPool2d-wide", {"kernel_size": 17, "stride": 1}, Spec((1, 1, 19, 18))),
    one("GlobalAvgPool2d", {}, IMAGE),
    one("GlobalAvgPool2d-one", {}, Spec((2, 3, 1, 1))),
]

NORMALISATION = [
    batch_norm("BatchNorm-2d", {}, Spec((5, 3))),
    batch_norm("BatchNorm-3d", {}, Spec((3, 2, 5))),
    batch_norm("BatchNorm-4d", {}, Spec((2, 3, 4, 5))),
    batch_norm("BatchNorm-5d", {}, Spec((2, 2, 3, 1, 3))),
    batch_norm("BatchNorm-settings", {"eps": 0.25, "momentum": 0.3}, Spec((3, 3, 2, 2))),
    batch_norm("BatchNorm-momentum-0", {"momentum": 0.0}, Spec((5, 3))),
    batch_norm("BatchNorm-momentum-1", {"momentum": 1.0}, Spec((5, 3))),
    batch_norm("BatchNorm-not-affine", {"affine": False}, Spec((3, 4, 2, 2))),
    batch_norm("BatchNorm-two-values", {}, Spec((2, 3))),
    batch_norm("BatchNorm-one-sample", {}, Spec((1, 3, 2, 4))),
    batch_norm("BatchNorm-far-from-zero", {}, Spec((6, 3, 2, 2), low=1000, high=1001)),
    batch_norm("BatchNorm-no-variance", {}, Spec((4, 3, 2, 2), draw=constant_channel)),
    batch_norm("BatchNorm-eval-2d", {}, Spec((5, 3)), "eval"),
    batch_norm("BatchNorm-eval-3d", {}, Spec((3, 2, 5)), "eval"),
    batch_norm("BatchNorm-eval-4d", {"eps": 0.25}, Spec((2, 3, 4, 5)), "eval"),
    batch_norm("BatchNorm-eval-5d", {}, Spec((2, 2, 3, 1, 3)), "eval"),
    batch_norm("BatchNorm-eval-not-affine", {"affine": False}, Spec((1, 4, 2, 2)), "eval"),
]

ACTIVATIONS = [
    *elementwise("ReLU", {"negative_slope": 0.1}, {"negative_slope": 1.0}),
    *elementwise("Sigmoid"),
    *elementwise("Tanh"),
    *softmax("Softmax"),
    *softmax("LogSoftmax"),
    one("Dropout-train", {}, Spec((6, 5))),
    one("Dropout-train-p", {"p": 0.2}, Spec((3, 2, 2, 5))),
    one("Dropout-train-none", {"p": 0.0}, Spec((3, 5))),
    one("Dropout-eval", {"p": 0.2}, Spec((6, 5)), phase="eval"),
]

EXTREME = Spec((4, 5), low=-1e4, high=1e4)
LOSSES = [
    *labelled("NLLLoss"),
    *labelled("SoftmaxCrossEntropy"),
    one("SoftmaxCrossEntropy-extreme", {}, EXTREME, index((4,), 5)),
    *(one(f"MSELoss-{len(shape)}d", {}, Spec(shape), Spec(shape)) for shape in ((5,), (3, 4), (2, 3, 1, 5))),
    *labelled("Accuracy", differentiable=False),
    one("Accuracy-top-3", {"top_k": 3}, Spec((20, 7)), index((20,), 7), differentiable=False),
    one("Accuracy-top-all", {"top_k": 4}, Spec((5, 4)), index((5,), 4), differentiable=False),
    one(
        "Accuracy-top-2-ignore",
        {"top_k": 2, "ignore_index": 255},
        Spec((3, 4, 5, 2)),
        labels((3, 5, 2), 4, 255),
        differentiable=False,
    ),
]

STRUCTURE = [
    *broadcasting("Add"),
    *broadcasting("Mul"),
    one("Concat-channels", {}, Spec((2, 1, 3, 3)), Spec((2, 3, 3, 3)), Spec((2, 2, 3, 3))),
    one("Concat-last", {"dim": -1}, Spec((2, 3, 1)), Spec((2, 3, 4))),
    one("Concat-batch", {"dim": 0}, Spec((2, 3)), Spec((4, 3))),
    one("Concat-single", {}, Spec((2, 3))),
    one("Concat-labels", {}, index((3, 2), 5), index((3, 1), 5), differentiable=False),
    one("Slice-points", {"points": [1, 3]}, Spec((2, 6, 3)), tops=3),
    one("Slice-equal", {}, Spec((2, 6)), tops=3),
    one("Slice-last", {"dim": -1, "points": [3]}, Spec((2, 3, 4)), tops=2),
    one("Slice-batch", {"dim": 0}, Spec((4, 3)), tops=2),
    one("Slice-single", {}, Spec((2, 3))),
    one("Slice-labels", {}, index((3, 4), 5), tops=2, differentiable=False),
    one("Flatten-plain", {}, Spec((2, 3, 4, 5))),
    one("Flatten-all", {"start_dim": 0}, Spec((2, 3, 4))),
    one("Flatten-last-two", {"start_dim": -2}, Spec((2, 3, 4, 5))),
    one("Flatten-middle", {"end_dim": 2}, Spec((2, 3, 4, 5))),
    one("Flatten-nothing", {}, Spec((3, 5))),
    one("Flatten-labels", {}, index((2, 3, 2), 7), differentiable=False),
]

# Nets -----------------------------------------------------------------------------------------------------------------


def normalised(name: str, channels: int) -> dict[str, tuple[int, ...]]:
    """The parameters of a BatchNorm."""
    return {f"{name}.weight": (channels,), f"{name}.bias": (channels,)}


def running(*layers: tuple[str, int]) -> dict[str, tuple[int, ...]]:
    """The running statistics of BatchNorms: (name, channels)."""
    return {f"{name}.running_{which}": (channels,) for name, channels in layers for which in ("mean", "var")}


LENET = Case(
    "lenet",
    [
        {"name": "conv1", "type": "Conv2d", "bottom": "x", "out_channels": 6, "kernel_size": 5, "padding": 2},
        {"name": "bn1", "type": "BatchNorm"},
        {"name": "act1", "type": "ReLU", "bottom": "bn1", "top": "bn1"},
        {"name": "pool1", "type": "MaxPool2d", "kernel_size": 2},
        {"name": "conv2", "type": "Conv2d", "out_channels": 8, "kernel_size": 3, "bias": False},
        {"name": "bn2", "type": "BatchNorm"},
        {"name": "act2", "type": "ReLU"},
        {"name": "pool2", "type": "MaxPool2d", "kernel_size": 3, "stride": 2, "ceil_mode": True},
        {"name": "flat", "type": "Flatten"},
        {"name": "fc1", "type": "Linear", "out_features": 16},
        {"name": "act3", "type": "ReLU"},
        {"name": "fc2", "type": "Linear", "out_features": 10},
        {"name": "loss", "type": "SoftmaxCrossEntropy", "bottom": ["fc2", "t"]},
    ],
    {"x": Spec((4, 1, 12, 12)), "t": index((4,), 10)},
    {
        "conv1.weight": (6, 1, 5, 5),
        "conv1.bias": (6,),
        **normalised("bn1", 6),
        "conv2.weight": (8, 6, 3, 3),
        **normalised("bn2", 8),
        "fc1.weight": (16, 32),
        "fc1.bias": (16,),
        "fc2.weight": (10, 16),
        "fc2.bias": (10,),
    },
    running(("bn1", 6), ("bn2", 8)),
    outputs=("loss",),
)

# x is read three times, conv1 twice: gradients must be summed at forks. Two outputs, one of them read further on.
RESIDUAL = Case(
    "residual",
    [
        {"name": "conv1", "type": "Conv2d", "bottom": "x", "out_channels": 4, "kernel_size": 3, "padding": 1},
        {"name": "bn1", "type": "BatchNorm"},
        {"name": "act1", "type": "Sigmoid"},
        {"name": "conv2", "type": "Conv2d", "out_channels": 4, "kernel_size": 3, "padding": 1, "groups": 2},
        {"name": "sum", "type": "Add", "bottom": ["conv2", "x"]},
        {"name": "gate", "type": "Mul", "bottom": ["conv1", "sum"]},
        {"name": "both", "type": "Concat", "bottom": ["gate", "x"]},
        {"name": "pool", "type": "GlobalAvgPool2d"},
        {"name": "flat", "type": "Flatten"},
        {"name": "fc", "type": "Linear", "out_features": 3},
        {"name": "out", "type": "LogSoftmax"},
    ],
    {"x": Spec((3, 4, 5, 5))},
    {
        "conv1.weight": (4, 4, 3, 3),
        "conv1.bias": (4,),
        **normalised("bn1", 4),
        "conv2.weight": (4, 2, 3, 3),
        "conv2.bias": (4,),
        "fc.weight": (3, 8),
        "fc.bias": (3,),
    },
    running(("bn1", 4)),
    outputs=("out", "gate"),
)

FAMILIES: dict[str, list[Case]] = {
    "linear": LINEAR,
    "convolution": CONVOLUTION,
    "pooling": POOLING,
    "normalisation": NORMALISATION,
    "activations": ACTIVATIONS,
    "losses": LOSSES,
    "structure": STRUCTURE,
    "nets": [LENET, RESIDUAL],
}

# Solvers --------------------------------------------------------------------------------------------------------------

MLP = Case(
    "mlp",
    [
        {"name": "fc1", "type": "Linear", "bottom": "x", "out_features": 5},
        {"name": "bn", "type": "BatchNorm"},
        {"name": "act", "type": "Tanh"},
        {"name": "fc2", "type": "Linear", "out_features": 3},
        {"name": "loss", "type": "SoftmaxCrossEntropy", "bottom": ["fc2", "t"]},
    ],
    {"x": Spec((6, 4)), "t": index((6,), 3)},
    {"fc1.weight": (5, 4), "fc1.bias": (5,), **normalised("bn", 5), "fc2.weight": (3, 5), "fc2.bias": (3,)},
    running(("bn", 5)),
    outputs=("loss",),
)
PLAIN = {"type": "SGD", "lr": 0.3}

# Where the formulas coincide: with momentum only while lr stays the same, and torch's clipping by norm divides by
# norm + 1e-6.
TRAININGS = [
    Training("SGD-plain", MLP, PLAIN),
    Training("SGD-momentum", MLP, {**PLAIN, "momentum": 0.9}),
    Training("SGD-decay", MLP, {**PLAIN, "momentum": 0.9, "weight_decay": 0.1}),
    Training("SGD-clip", MLP, {**PLAIN, "momentum": 0.9, "weight_decay": 0.1, "clip_grad_value": 0.02}),
    Training("SGD-schedule", MLP, {**PLAIN, "schedule": {"type": "exp", "gamma": 0.5}}),
    Training("Nesterov-momentum", MLP, {"type": "Nesterov", "lr": 0.3, "momentum": 0.8}),
    Training("Nesterov-decay", MLP, {"type": "Nesterov", "lr": 0.3, "momentum": 0.9, "weight_decay": 0.1}),
    Training("SGD-lenet", LENET, {"type": "SGD", "lr": 0.01, "momentum": 0.9, "weight_decay": 0.01}, steps=3),
]

METRICS = [1.0, 0.8, math.nan, 0.8, 0.85, 0.9, 0.7, 0.75, 0.7, 0.71, 0.9, 0.6, 0.7, 0.7, 0.7, 0.7, 0.7, 0.7]
RATES = [
    Rates("fixed", 0.3, {"type": "fixed"}),
    Rates("fixed-warmup", 0.3, {"type": "fixed", "warmup": 7}),
    Rates("step", 0.8, {"type": "step", "step_size": 3, "gamma": 0.5}),
    Rates("step-warmup", 0.8, {"type": "step", "step_size": 4, "gamma": 0.5, "warmup": 6}),
    Rates("multistep", 0.8, {"type": "multistep", "milestones": [2, 5, 11], "gamma": 0.3}),
    Rates("exp", 0.8, {"type": "exp", "gamma": 0.9}),
    Rates("poly", 0.8, {"type": "poly"}),
    Rates("poly-power", 0.8, {"type": "poly", "power": 0.7}),
    Rates("cosine", 0.8, {"type": "cosine"}),
    Rates("cosine-min", 0.8, {"type": "cosine", "min_lr": 0.1}, steps=13),
    Rates("onecycle", 0.8, {"type": "onecycle"}),
    Rates("onecycle-settings", 0.8, {"type": "onecycle", "pct_start": 0.45, "div_factor": 10, "final_div_factor": 99}),
    Rates("plateau", 0.8, {"type": "plateau", "factor": 0.5, "patience": 1, "min_lr": 0.15}, metrics=METRICS),
    Rates("plateau-max", 0.8, {"type": "plateau", "mode": "max", "patience": 2, "min_delta": 0.04}, metrics=METRICS),
]
