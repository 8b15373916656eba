"""Scoring a net on a data set: metrics over all samples, whatever the batches are."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..net import Net

LOSS = "loss"


def evaluate(net: Net, batches: Iterable[Any]) -> dict[str, float]:
    """Every scalar output of the eval phase over all batches, and `loss`, the weighted sum of the losses.

    A mean is weighted by how many things each batch had (a ragged last batch counts by its size, an ignored label not
    at all); a sum is added up.
    """
    sums: dict[str, float] = {}
    counts: dict[str, int] = {}
    for batch in batches:
        outputs = net.forward(phase="eval", copy=False, **batch.blobs)
        for name, count in net.metric_counts().items():
            value = float(outputs[name])
            sums[name] = sums.get(name, 0.0) + value * (1 if count is None else count)
            counts[name] = counts.get(name, 0) + (count or 0)
        if LOSS not in outputs:
            size = net.mean_over()
            sums[LOSS] = sums.get(LOSS, 0.0) + net.total_loss() * (size or 1)
            counts[LOSS] = counts.get(LOSS, 0) + (size or 0)
    return {name: total / counts[name] if counts[name] else total for name, total in sums.items()}


def metric_names(net: Net) -> list[str]:
    """The names that `evaluate` will return."""
    graph = net.graph.phases["eval"]
    scalars = [b.name for b in graph.outputs() if b.spec is not None and not b.spec.shape]
    return scalars if LOSS in scalars else [*scalars, LOSS]


def is_higher_better(metric: str) -> bool:
    """Losses and errors fall, everything else rises."""
    return not any(word in metric.lower() for word in ("loss", "error", "perplexity"))
