"""A layer as its twin in torch sees it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from layerforge.arrays import philox


@dataclass(frozen=True)
class Call:
    """A layer as its twin sees it: hyper-parameters as written, bottoms, own arrays, how many tops, the net's seed."""

    name: str
    phase: str
    hyper: Mapping[str, Any]
    x: list[Tensor]
    own: dict[str, Tensor]
    tops: int = 1
    seed: int = 0

    def through(self, module: nn.Module) -> Tensor:
        """The bottoms through torch's module, which follows the running statistics in place."""
        return functional_call(module.train(self.phase == "train"), self.own, tuple(self.x))

    def uniform(self, shape: Sequence[int], draw: int = 0) -> Tensor:
        """The random numbers that the layer draws in a step, first or later: torch would draw others."""
        return torch.from_numpy(philox.uniform(np, philox.stream_key(self.seed, self.name, draw), tuple(shape)))
