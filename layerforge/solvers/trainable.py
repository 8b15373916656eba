"""What a solver needs of a net: `Net` has it, and so has whatever else is to be minimised by one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from ..arrays.backend import Array
from ..plan.engines import EngineRequest
from ..run.counting import Counts, LossPart
from ..run.net_parts import NetParts


class Trainable(NetParts, Protocol):
    """A net that a solver drives.

    Its arrays are `parameters` and `backend`; `engine_request` says who may update them. A step is: `iteration` and
    `first_sample` are set, `snapshot_state` copies the running statistics, `forward` and `backward_losses` run, and
    `losses`, `total_loss`, `mean_over` and `batch_size` tell of what was run. `count_losses` counts ahead.
    What has no `passes` is used by one thread, and its multipliers stay as they are.
    """

    iteration: int
    first_sample: int

    @property
    def engine_request(self) -> EngineRequest: ...
    @property
    def batch_size(self) -> int: ...
    def forward(
        self, *, phase: str | None = None, backward: bool | None = None, copy: bool = True, **inputs: Any
    ) -> dict[str, Array]: ...
    def backward_losses(self, scale: float | Sequence[float] = 1.0, *, overwrite_grad: bool = False) -> None: ...
    def losses(self) -> list[LossPart]: ...
    def total_loss(self, scales: Sequence[float] | None = None) -> float: ...
    def mean_over(self) -> Counts: ...
    def count_losses(self, **inputs: Any) -> Counts: ...
    def snapshot_state(self) -> dict[tuple[str, str], Array]: ...
    def restore_state(self, copies: Mapping[tuple[str, str], Array]) -> None: ...
