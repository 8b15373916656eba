"""What is to be reached, as ratios: by whom we are measured against, by our way of computing, by net.

They were set for a processor with AMX.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from .catalogue import ANY, FLOAT32, INFERENCE_BATCHES


@dataclass(frozen=True)
class Goals:
    """Ratios of nets, and their geometric mean, measured with so many threads; of inference, that of one batch."""

    nets: Mapping[str, float] = field(default_factory=dict)
    mean: float | None = None
    threads: int = 2
    batch: int | None = None


NONE = Goals()
NETS = ("mlp", "mlp_bn", "mlpwide", "mlpwide_bn", "lenet", "quick", "resnet20", "lstm", "tblock", "mobile")


def each(*values: float) -> dict[str, float]:
    """A figure for each net; one alone holds for all."""
    return dict(zip(NETS, values * len(NETS) if len(values) == 1 else values, strict=False))


TRAINING = {
    (FLOAT32, "float32"): Goals(each(0.60, 0.55, 0.84, 0.82, 0.68, 0.55, 0.62, 0.70, 0.76, 0.40), 0.64),
    (FLOAT32, "bf16-mixed"): Goals(each(0.55, 0.52, 0.38, 0.40, 0.42, 0.22, 0.32, 0.60, 0.33, 0.28), 0.39),
    (ANY, "bf16-mixed"): Goals(each(1.0), 0.55),
    (FLOAT32, "reference"): Goals({"quick": 1.9, "tblock": 1.7, "mobile": 1.4, "lstm": 1.4}, threads=1),
}
INFERENCE = {
    (FLOAT32, "float32"): Goals(each(1.0)),
    (FLOAT32, "bf16-mixed"): Goals({}, 0.45, batch=INFERENCE_BATCHES[-1]),
    (ANY, "bf16-mixed"): Goals(each(1.0)),
}
KEEP = Goals(each(1.10), 1.05)  # keep="all" over keep="none"
NEIGHBOUR = Goals(dict.fromkeys(("mlp", "lenet", "resnet20"), 2.5))  # a busy step over a quiet one


def goals_of(mode: str, group: str, way: str, threads: int) -> Goals:
    """The goals of one of our ways against a group of competitors; NONE where there are none."""
    found = (TRAINING if mode == "train" else INFERENCE).get((group, way), NONE)
    return found if found.threads == threads else NONE


def verdict(value: float, goal: float | None) -> str:
    """`0.55 yes`; "-" without a goal."""
    return "-" if goal is None else f"{goal:.2f} {'yes' if value <= goal else 'no'}"


def any_of(goals: Iterable[Goals]) -> bool:
    """Whether there is anything to judge."""
    return any(g.nets or g.mean is not None for g in goals)
