"""What a model takes and gives, for people and for programs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ..arrays.spec import Spec
from ..data.image_reader import ImageReader
from ..data.kinds import Kind
from ..data.reader import Reader
from ..data.transform import InputTransform
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
    def images_of(self, name: str) -> Mapping[str, Any]: ...


def description(model: Described) -> dict[str, Any]:
    """As plain values: inputs with their columns and the range that training saw, scores, classes, targets."""
    inputs = {}
    for name, spec in model.inputs.items():
        kind, columns = model.kinds.get(name), model.columns_of(name)
        seen = {} if kind is None else {"seen": {"dtype": kind.dtype, "low": kind.low, "high": kind.high}}
        images = {"images": found} if (found := model.images_of(name)) else {}
        inputs[name] = {**spec.plain, **({"columns": list(columns)} if columns else {}), **seen, **images}
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
        if images := model.images_of(name):
            lines.append(f"{'':8} {_in_words(images)}")
    lines.append(f"{'gives':8} {model.blob}: {MEANINGS[model.answers.kind]}")
    if model.classes:
        lines.append(f"{'':8} {len(model.classes)} classes: {first_few(model.classes)}")
    if model.targets:
        lines.append(f"{'':8} of {first_few(model.targets)}")
    lines.append(f"{'from':8} {model.weights}")
    return "\n".join(lines)


def image_form(reader: Reader | None, transform: InputTransform | None, name: str) -> dict[str, Any]:
    """What becomes of an image for an input, y = (x - mean) scale with x in 0..255; {} where it takes none."""
    if not isinstance(reader, ImageReader) or reader.blob != name or transform is None:
        return {}
    factor, offset = transform.affine[name]
    made = {"size": list(reader.form.size), "channels": reader.form.color}
    middle = {} if transform.crop is None else {"middle": list(transform.crop)}
    return {**made, **middle, "mean": _plain(0 - offset / factor), "scale": _plain(factor)}


def _plain(values: np.ndarray) -> Any:
    """One number, or one for each channel; of as many as pixels their shape."""
    if values.size > max(values.shape[:1], default=1):
        return f"an image of {' x '.join(map(str, values.shape))}"
    numbers = [float(f"{value:.9g}") for value in values.reshape(-1)]
    return numbers[0] if len(numbers) == 1 else numbers


def _in_words(images: Mapping[str, Any]) -> str:
    """What `image_form` says."""
    sides = {key: "{} x {}".format(*images[key]) for key in ("size", "middle") if key in images}
    told = {key: str(images[key]).strip("[]") for key in ("mean", "scale")}
    middle = f", of which the middle {sides['middle']} is taken" if "middle" in sides else ""
    made = f"images of {sides['size']}{middle}, channels {images['channels']}"
    return f"{made}; bytes minus {told['mean']}, times {told['scale']}"
