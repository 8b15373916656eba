"""Scoring a net on a data set: metrics over all samples, whatever the batches are."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from ..net import Net
from ..run.counting import Count, Total
from ..run.splitting import REMEDY, reasons

LOSS = "loss"


class Scores(NamedTuple):
    """What a net comes to on a data set: the metrics that are numbers, and those that are tables of float64."""

    numbers: dict[str, float]
    tables: dict[str, np.ndarray]


def evaluate(net: Net, batches: Iterable[Any]) -> dict[str, float]:
    """The numbers of `score`."""
    return score(net, batches).numbers


def score(net: Net, batches: Iterable[Any]) -> Scores:
    """Every metric of the eval phase over all batches, and `loss`, the weighted sum of the losses.

    A mean is weighted by how many things each batch had (a ragged last batch counts by its size, an ignored label not
    at all); a sum is added up, and so are tables such as a ConfusionMatrix. Each loss is totalled by itself, with its
    own count, before they are added: what batches the data came in makes no difference.
    """
    metrics: dict[str, Total] = {}
    losses: dict[str, tuple[float, Total]] = {}
    for number, batch in enumerate(batches):
        outputs = net.forward(phase="eval", copy=False, **batch.blobs)
        for name, count in net.metric_counts().items():
            value = net.backend.to_host(outputs[name]).astype(np.float64)
            if number:
                warn_of_batches(count)
            metrics.setdefault(name, Total()).add(value, count)
        for part in net.losses():
            if number:
                warn_of_batches(part.count)
            losses.setdefault(part.name, (part.weight, Total()))[1].add(part.value, part.count)
    totals = {name: total.value for name, total in metrics.items()}
    if losses:
        totals[LOSS] = sum(weight * total.value for weight, total in losses.values())
    return Scores(
        {name: float(total) for name, total in totals.items() if not np.ndim(total)},
        {name: total for name, total in totals.items() if np.ndim(total)},
    )


def warn_of_batches(count: Count) -> None:
    """A warning, once, where a loss depends on the batches that the data come in."""
    for why in reasons(count):
        why = re.sub(r" \(.*over.*\)", "", why)  # with the counts of this batch it would be said of each
        warnings.warn(f"{why}: its value depends on the batches that the data come in; {REMEDY}", stacklevel=2)


def metric_names(net: Net) -> list[str]:
    """The names that `evaluate` will return."""
    graph = net.graph.phases["eval"]
    scalars = [b.name for b in graph.outputs() if b.spec is not None and not b.spec.shape]
    return scalars if LOSS in scalars or not graph.has_losses() else [*scalars, LOSS]
