"""Whether a net has as many scores as its data have classes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..schema.errors import ConfigError
from ..schema.texts import first_few
from .graph import Graph, Step

OF_CLASSES = ("logits", "log_probabilities", "probabilities", "margins")  # what a loss reads, a score for each class


def compare_class_counts(graph: Graph, names: Sequence[str]) -> list[str]:
    """What is to be said where losses read more scores than there are classes.

    names   of the classes of the data, by number; () where they have none: then nothing is known

    Errors   ConfigError where there are fewer scores than classes: a label would be out of range
    """
    remarks = []
    for step, scores in _of_labels(graph, len(names)) if names else ():
        loss, blob = f"'{step.node.name}' ({step.node.layer.type_name})", step.node.bottoms[0]
        words = f"{loss} reads {scores} scores ('{blob}'), the data have {len(names)} classes"
        if scores < len(names):
            raise ConfigError(words, place=step.node.place, hint=f"a score for each of them: {first_few(names, 5)}")
        if scores > len(names):
            remarks.append(f"{words}: predictions will be numbers, not names. Is the number of outputs meant?")
    return remarks


def _of_labels(graph: Graph, count: int) -> Iterator[tuple[Step, int]]:
    """The losses of labels of so many classes that come from the data, and how many scores they read."""
    phase = graph.phases["train"]
    for step in phase.steps:
        layer = step.node.layer
        if not layer.loss or getattr(layer, "scores", "") not in OF_CLASSES or len(step.bottoms) < 2:
            continue
        scores, labels = (phase.blobs[i] for i in step.bottoms[:2])
        plain = labels.producer is None and labels.spec is not None and labels.spec.high == count
        if plain and scores.spec is not None and scores.spec.ndim > 1 and getattr(layer, "ignore_index", None) is None:
            yield step, scores.spec.shape[1]
