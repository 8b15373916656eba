"""Answers: what scores come to, by the loss that the net was trained with: classes, probabilities or values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..arrays.functional import sigmoid, softmax
from ..graph.graph import PHASES, Graph
from ..schema.errors import ConfigError, DataError

PROBABILITIES: dict[str, Callable[[Any], Any]] = {
    "logits": lambda s: softmax(np, s, 1),
    "log_probabilities": np.exp,
    "probabilities": lambda s: s,
    "binary_logits": lambda s: sigmoid(np, s),
    "binary_probabilities": lambda s: s,
}
LAST = {"Softmax": "probabilities", "LogSoftmax": "log_probabilities"}  # of nets without losses: types of last layers


def scores_blob(graph: Graph) -> tuple[str, str]:
    """The blob that the first loss reads, and what it says (`Reduction.scores`); the last top where there is no loss.

    A loss of the phase train alone counts where evaluation computes what it reads.
    """
    steps = graph.phases["eval"].steps
    known = graph.phases["eval"].current
    for phase in reversed(PHASES):
        for step in graph.phases[phase].steps:
            if step.node.layer.loss and step.node.bottoms[0] in known:
                return step.node.bottoms[0], getattr(step.node.layer, "scores", "")
    last = steps[-1].node
    says = LAST.get(type(last.layer).type_name, "") if getattr(last.layer, "dim", 1) == 1 else ""
    return last.tops[0], says


class Answers:
    """From scores (N, K, ...) to answers; (N,) or (N, 1) of a binary net.

    kind      what the scores say: a word of `Reduction.scores`; "" for values
    classes   the names of the classes by number; () where they have none
    """

    def __init__(self, kind: str, classes: Sequence[str]) -> None:
        self.kind = kind
        self.classes = tuple(classes)
        self._names = np.array(self.classes) if self.classes else None
        self._is_binary = kind.startswith("binary")
        self._threshold = 0.0 if kind == "binary_logits" else 0.5

    @property
    def gives_probabilities(self) -> bool:
        """Whether the scores are, or come to, probabilities."""
        return self.kind in PROBABILITIES

    def demand_probabilities(self) -> None:
        """ConfigError where the scores are no probabilities."""
        if not self.gives_probabilities:
            what = "margins" if self.kind else "values"
            raise ConfigError(f"the net gives {what}, no probabilities", hint="model.predict or model.scores")

    @property
    def classifies(self) -> bool:
        """Whether the scores choose among classes, or say yes and no."""
        return bool(self.kind)

    def is_one_score(self, scores: np.ndarray) -> bool:
        """Whether there is one score for two classes."""
        return self._is_binary and (scores.ndim == 1 or scores.shape[1:] == (1,))

    def probabilities(self, scores: np.ndarray) -> np.ndarray:
        """Of every class (N, K, ...); of two classes with one score (N, 2); of several independent answers each.

        Errors   ConfigError where the scores are no probabilities; DataError for NaN
        """
        self.demand_probabilities()
        _demand_numbers(scores)
        p = PROBABILITIES[self.kind](scores)
        if self.is_one_score(scores):
            p = p.reshape(-1)
            return np.stack([1 - p, p], axis=1)
        return p

    def numbers(self, scores: np.ndarray) -> np.ndarray:
        """The class of each sample by its number; 0 or 1 of each of several independent answers.

        Errors   DataError for NaN
        """
        if self._is_binary:
            _demand_numbers(scores)
            yes = scores.reshape(-1) if self.is_one_score(scores) else scores
            return (yes > self._threshold).astype(np.int64)
        _demand_numbers(scores)
        return scores.argmax(axis=1)

    def of_one(self, scores: np.ndarray) -> Any:
        """The class of a single sample, from scores (1, K): as `of`, without its axis of samples."""
        if self._is_binary or scores.shape[1] != len(self.classes):
            found = self.of(scores)
            return found[0].item() if found.ndim == 1 else found[0]
        number = int(scores.argmax())
        best = scores[0, number]
        if best != best:  # NaN, where there is one
            _demand_numbers(scores)
        return self.classes[number]

    def of(self, scores: np.ndarray) -> np.ndarray:
        """Classes by their names where these are known, by their numbers otherwise; values as they are."""
        if not self.kind:
            return scores
        found = self.numbers(scores)
        return found if self._names is None or not self.names_fit(scores) else self._names[found]

    def names_fit(self, scores: np.ndarray) -> bool:
        """Whether the names are those of the classes that the scores are of."""
        count = 2 if self.is_one_score(scores) else 0 if self._is_binary else scores.shape[1]
        return count == len(self.classes)


def _demand_numbers(scores: np.ndarray) -> None:
    """DataError where scores are NaN: no class is the right one."""
    wrong = np.isnan(scores)
    if wrong.any():
        sample = int(np.argwhere(wrong)[0][0])
        hint = "is a weight, or a running statistic, not finite? layerforge predict --blob shows each activation"
        raise DataError(f"the scores of sample {sample} are not a number (NaN)", hint=hint)
