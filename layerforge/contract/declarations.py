"""What a layer's set-up declares: parameters and running statistics, before any of them has memory."""

from __future__ import annotations

from dataclasses import dataclass

from .fillers import Filler


@dataclass(frozen=True)
class ParamDecl:
    """A parameter as declared: its memory comes when all layers are set up.

    filler  None: the graph chooses by what follows the layer
    fan_in  for that choice, how many elements are summed up for one of the top; None: count / shape[0]
    by_columns  whether it is stored in the order of its transpose
    """

    name: str
    shape: tuple[int, ...]
    filler: Filler | None
    lr_mult: float
    decay_mult: float
    fan_in: float | None = None
    sparse_grad: bool = False
    by_columns: bool = False


@dataclass(frozen=True)
class StateDecl:
    """A state array as declared. `dtype` "" is the net's."""

    name: str
    shape: tuple[int, ...]
    value: float
    dtype: str = ""
