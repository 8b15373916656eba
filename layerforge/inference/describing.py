"""What a model takes and gives, for people and for programs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from ..arrays.spec import Spec
from ..data.kinds import Kind
from ..net import Net
from ..schema.texts import first_few
from .answers import Answers

MEANINGS = {
    "logits": "a score per class; their softmax are probabilities",
    "log_probabilities": "the logarithm of a probability per class",
    "probabilities": "a probability per class",
    "margins": "a margin per class: the largest wins",
    "binary_logits": "the logit of yes (1)",
    "binary_probabilities": "the probability of yes (1)",
    "": "values",
}


class Described(Protocol):
    """What is told of a Model."""

    net: Net
    blob: str
    answers: Answers
    inputs: dict[str, Spec]
    classes: tuple[str, ...]
    targets: tuple[str, ...]

    @property
    def weights(self) -> Path: ...
    @property
    def kinds(self) -> Mapping[str, Kind]: ...
    def columns_of(self, name: str) -> tuple[str, ...]: ...


def description(model: Described) -> dict[str, Any]:
    """As plain values: inputs with their columns and the range that training saw, scores, classes, targets."""
    inputs = {}
    for name, spec in model.inputs.items():
        kind, columns = model.kinds.get(name), model.columns_of(name)
        seen = {} if kind is None else {"seen": {"dtype": kind.dtype, "low": kind.low, "high": kind.high}}
        inputs[name] = {**spec.plain, **({"columns": list(columns)} if columns else {}), **seen}
    return {
        "name": model.net.config.name,
        "weights": str(model.weights),
        "inputs": inputs,
        "scores": {"blob": model.blob, "say": model.answers.kind or "values"},
        "classes": list(model.classes),
        "targets": list(model.targets),
    }


def described(model: Described) -> str:
    """The same as lines of text."""
    lines: list[str] = []
    for name, spec in model.inputs.items():
        kind, columns = model.kinds.get(name), model.columns_of(name)
        seen = "" if kind is None else f", in training {kind}"
        lines.append(f"{'' if lines else 'takes':8} {name}: samples of {spec}{seen}")
        if columns:
            lines.append(f"{'':8} columns: {first_few(columns)}")
    lines.append(f"{'gives':8} {model.blob}: {MEANINGS[model.answers.kind]}")
    if model.classes:
        lines.append(f"{'':8} {len(model.classes)} classes: {first_few(model.classes)}")
    if model.targets:
        lines.append(f"{'':8} of {first_few(model.targets)}")
    lines.append(f"{'from':8} {model.weights}")
    return "\n".join(lines)
