"""Golden cases of nets: whole ones, and layers that show only among others."""

from __future__ import annotations

from typing import Any

from support.golden_cases import Case

from layerforge.arrays.spec import Spec, index


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


def given(what: str, spec: Spec, **hyper: Any) -> Case:
    """A case of Input: its top is an input of the case."""
    layer = {"name": "layer", "type": "Input", "top": "y", "shape": list(spec.shape), **hyper}
    return Case(f"Input-{what}", [layer], {"y": spec}, differentiable=False)


X = Spec((2, 3, 4))
NETS = [
    LENET,
    RESIDUAL,
    given("reals", Spec((4, 3))),
    given("reals-with-gradient", Spec((2, 1, 3)), grad=True),
    given("labels", index((5,), 7), role="index"),
    given("sparse", Spec((4, 3), sparse="csr"), sparse="csr"),
    Case(
        "sparse-forks",
        [
            {"name": "fc", "type": "Linear", "bottom": "x", "out_features": 3},
            {"name": "product", "type": "SparseMatmul", "bottom": ["x", "b"]},
            {"name": "y", "type": "Mul", "bottom": ["fc", "product"]},
        ],
        {"x": Spec((4, 5), sparse="csr"), "b": Spec((5, 3))},
        {"fc.weight": (3, 5), "fc.bias": (3,)},
    ),
    Case(
        "Parameter-broadcast",
        [
            {"name": "layer", "type": "Parameter", "shape": [4], "top": "w"},
            {"name": "mul", "type": "Mul", "bottom": ["x", "w"]},
            {"name": "y", "type": "Add", "bottom": ["mul", "w"]},
        ],
        {"x": X},
        {"layer.weight": (4,)},
    ),
    Case(
        "Identity-fork",
        [
            {"name": "layer", "type": "Identity", "bottom": "x"},
            {"name": "y", "type": "Mul", "bottom": ["layer", "x"]},
        ],
        {"x": X},
    ),
    Case(
        "a-branch-without-gradient",
        [
            {"name": "square", "type": "Square", "bottom": "x"},
            {"name": "constant", "type": "Detach", "bottom": "square"},
            {"name": "y", "type": "Mul", "bottom": ["square", "constant"]},
        ],
        {"x": X},
    ),
    Case(
        "beside-a-silenced-branch",
        [
            {"name": "square", "type": "Square", "bottom": "x"},
            {"name": "silence", "type": "Silence", "bottom": ["square", "x"], "top": []},
            {"name": "y", "type": "Exp", "bottom": "square"},
        ],
        {"x": X},
    ),
    Case(
        "CTCLoss-above-LogSoftmax",
        [
            {"name": "log_p", "type": "LogSoftmax", "bottom": "x", "dim": 2},
            {"name": "loss", "type": "CTCLoss", "bottom": ["log_p", "targets", "steps", "labels"], "top": "y"},
        ],
        {"x": Spec((8, 4, 4)), "targets": index((4, 3), 4, 1), "steps": index((4,), 9, 4), "labels": index((4,), 4)},
    ),
]
