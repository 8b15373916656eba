"""Scoring a net on a data set: metrics over all samples, whatever the batches are."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..arrays.uploading import uploads_to
from ..contract.metric import Merging, Metric
from ..data.loader import Loader
from ..net import Net
from ..plan.plan import Plan
from ..run.counting import Count, Total
from ..run.splitting import REMEDY, reasons

LOSS = "loss"


class Scores(NamedTuple):
    """What a net comes to on a data set.

    numbers   the metrics that are one number
    each      those that are one number for each class or output, "f1/cat", by the metric's name
    tables    those that are tables of float64, such as a ConfusionMatrix
    classes   the names of the classes, where they are known
    """

    numbers: dict[str, float]
    each: dict[str, dict[str, float]] = {}
    tables: dict[str, np.ndarray] = {}
    classes: tuple[str, ...] = ()

    @property
    def values(self) -> dict[str, float]:
        """All that is a number, by name."""
        return self.numbers | {name: value for parts in self.each.values() for name, value in parts.items()}

    def named_tables(self, section: str) -> dict[str, Any]:
        """The tables as lists, by section and name, and the names of the classes that their rows and columns have."""
        lists = {f"{section}/{name}": table.tolist() for name, table in self.tables.items()}
        of_classes = any(len(self.classes) in table.shape for table in self.tables.values())
        return {"classes": list(self.classes), **lists} if of_classes else lists


def evaluate(net: Net, batches: Iterable[Any]) -> dict[str, float]:
    """The numbers of `score`."""
    return score(net, batches).numbers


def score_all(net: Net, loader: Loader) -> Scores:
    """The `score` of all batches of a loader."""
    with uploads_to(net.xp) as uploads:
        return score(net, loader.epoch(0, uploads=uploads), loader.class_names)


def score(net: Net, batches: Iterable[Any], classes: Sequence[str] = ()) -> Scores:
    """Every metric of the eval phase over all batches, and `loss`, the weighted sum of the losses.

    classes   the names of the classes of the labels, where the data know them

    The tallies of a Metric are merged, and its value computed once. Of other layers a mean is weighted by how many
    things each batch had (a ragged last batch counts by its size, an ignored label not at all); a sum is added up. Each
    loss is totalled by itself, with its own count, before they are added: what batches the data came in makes no
    difference. What layers carry from batch to batch begins from zero, and training's is not touched.
    """
    net.reset_carried("eval")
    totals: dict[str, Total] = {}
    losses: dict[str, tuple[float, Total]] = {}
    merging: dict[str, Merging] = {}
    made: list[tuple[Metric, dict[str, int]]] = []
    for number, batch in enumerate(batches):
        outputs = net.forward(phase="eval", copy=False, **batch.blobs)
        made = list(metrics_of(net.passes.current.plan))
        for metric, _ in made:
            assert metric.tally is not None
            merging.setdefault(metric.name, Merging(metric)).add(metric.tally)
        exact = {name for _, tops in made for name in tops}
        for name, count in net.metric_counts().items():
            if name in exact:
                continue
            value = net.backend.to_host(outputs[name]).astype(np.float64)
            if number:
                warn_of_batches(count)
            totals.setdefault(name, Total()).add(value, count)
        for part in net.losses():
            if number:
                warn_of_batches(part.count)
            losses.setdefault(part.name, (part.weight, Total()))[1].add(part.value, part.count)
    found = {name: total.value for name, total in totals.items()}
    for metric, tops in made:
        values = merging[metric.name].value()
        found |= {name: net.backend.to_host(values[i]).astype(np.float64) for name, i in tops.items()}
    if losses:
        found[LOSS] = sum(weight * total.value for weight, total in losses.values())
    return _sorted_out(net, found, classes)


def _sorted_out(net: Net, found: dict[str, Any], classes: Sequence[str]) -> Scores:
    """Numbers, numbers of each class, and tables; in the order in which the net names them."""
    order = [blob.name for blob in net.graph.phases["eval"].outputs()]
    found = {name: found[name] for name in [*order, *found] if name in found}
    named = each_names(net, classes)
    return Scores(
        {name: float(value) for name, value in found.items() if not np.ndim(value)},
        {n: dict(zip(named[n], found[n].tolist(), strict=True)) for n in found if n in named},
        {name: value for name, value in found.items() if np.ndim(value) and name not in named},
        tuple(classes),
    )


def metrics_of(plan: Plan) -> Iterator[tuple[Metric, dict[str, int]]]:
    """The metrics of a plan with those of its outputs that they make: name and number of the top."""
    names = {i: name for name, i in plan.outputs.items()}
    for step in plan.steps:
        tops = {names[blob]: number for number, blob in enumerate(step.tops) if blob in names}
        if tops and isinstance(step.node.layer, Metric):
            yield step.node.layer, tops


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


def metric_of(net: Net, top: str) -> Metric | None:
    """The metric that makes a top of the eval phase, if it is one."""
    for step in net.graph.phases["eval"].steps:
        if top in step.node.tops and isinstance(step.node.layer, Metric):
            return step.node.layer
    return None


def each_names(net: Net, classes: Sequence[str] = ()) -> dict[str, list[str]]:
    """Of the metrics that are one number for each class or output, what the numbers are called: "f1/cat", "f1/dog".

    Classes have the names that the data know, if these are as many and all different; otherwise their numbers.
    """
    names: dict[str, list[str]] = {}
    for blob in net.graph.phases["eval"].outputs():
        metric, shape = metric_of(net, blob.name), blob.spec.shape if blob.spec is not None else ()
        if metric is not None and len(shape) == 1:
            known = metric.by_class and len(set(classes)) == shape[0]
            names[blob.name] = [f"{blob.name}/{n}" for n in (classes if known else range(shape[0]))]
    return names
