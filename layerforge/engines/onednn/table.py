"""The engine's layers by the type that they stand in for. A layer's module is imported when a net has its type."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from typing import Any

from .activation import ALGORITHMS
from .base import OneDnn
from .elementwise import elementwise
from .loss import LOSSES, loss

# The types of each module; a layer's class has the name of its type after OneDnn.
TYPES = {
    "linear": ("Linear",),
    "conv": ("Conv1d", "Conv2d", "Conv3d", "ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d"),
    "pool": ("MaxPool1d", "MaxPool2d", "MaxPool3d", "AvgPool1d", "AvgPool2d", "AvgPool3d", "GlobalAvgPool2d"),
    "norm": ("BatchNorm", "LayerNorm", "LocalResponseNorm"),
    "recurrent": ("LSTM", "RNN"),
    "gru": ("GRU",),
    "attention": ("ScaledDotProductAttention", "MultiheadAttention"),
    "add": ("Add",),
    "dropout": ("Dropout", "Dropout2d"),
    "softmax": ("Softmax", "LogSoftmax"),
    "reshaping": ("Flatten", "Reshape"),
    "squared_loss": ("MSELoss", "EuclideanLoss"),
    "cross_entropy": ("SoftmaxCrossEntropy",),
}
MODULES = {name: module for module, names in TYPES.items() for name in names}


class Layers(Mapping[str, type[OneDnn]]):
    """The classes by type; those of element-wise types and most losses are made here, the others imported."""

    def __getitem__(self, name: str) -> type[OneDnn]:
        if name in ALGORITHMS:
            return elementwise(name)
        if name in LOSSES:
            return loss(name)
        module: Any = importlib.import_module(f"{__package__}.{MODULES[name]}")
        cls: type[OneDnn] = getattr(module, f"OneDnn{name}")
        return cls

    def __contains__(self, name: object) -> bool:
        return name in MODULES or name in ALGORITHMS or name in LOSSES

    def __iter__(self) -> Iterator[str]:
        yield from MODULES
        yield from ALGORITHMS
        yield from LOSSES

    def __len__(self) -> int:
        return len(MODULES) + len(ALGORITHMS) + len(LOSSES)


LAYERS = Layers()
