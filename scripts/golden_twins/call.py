"""A layer as its twin in torch sees it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.func import functional_call


@dataclass(frozen=True)
class Call:
    """A layer as its twin sees it: hyper-parameters as the case has them, bottoms, own arrays, how many tops."""

    name: str
    phase: str
    hyper: Mapping[str, Any]
    x: list[Tensor]
    own: dict[str, Tensor]
    tops: int = 1

    def through(self, module: nn.Module) -> Tensor:
        """The bottoms through torch's module, which follows the running statistics in place."""
        return functional_call(module.train(self.phase == "train"), self.own, tuple(self.x))
