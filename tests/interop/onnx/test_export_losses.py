"""Losses with hyper-parameters drawn at random, in combinations that no example has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from support.onnx_nets import differences, net_of
from support.tools import demand

from layerforge.arrays.spec import Spec
from layerforge.contract.layer import Example
from layerforge.schema.registry import LAYERS

OF_LABELS = ("SoftmaxCrossEntropy", "NLLLoss", "MultinomialLogisticLoss", "HingeLoss", "FocalLoss", "DiceLoss")
OF_PROBABILITIES = ("SoftmaxCrossEntropy", "DiceLoss")
OF_ELEMENTS = ("BCEWithLogitsLoss", "SmoothL1Loss", "MSELoss", "KLDivLoss", "SigmoidFocalLoss")
WITHOUT_WEIGHTS = ("DiceLoss",)
DRAWS = 6  # of each loss
CLASSES = 3
CHOICES: dict[str, list[Any]] = {
    "weight": [None, [0.5, 0.0, 2.0]],
    "label_smoothing": [0.0, 0.2],
    "min_probability": [0.0, 0.3],
    "gamma": [0.0, 0.5, 2.0],
    "norm": ["L1", "L2"],
    "activation": ["softmax", "sigmoid"],
    "smooth": [0.0, 1.0],
    "squares": [False, True],
    "pos_weight": [None, 2.0],
    "beta": [0.0, 0.3, 1.0],
    "log_target": [False, True],
}


def draw(kind: str, targets: str, number: int) -> Example:
    """A loss with some hyper-parameters, and with weights of samples every other time."""
    rng = np.random.default_rng([number, 5])
    fields = LAYERS.get(kind).fields

    def chosen(values: list[Any]) -> Any:
        return values[int(rng.integers(len(values)))]

    reductions = ["mean", "mean", "sum", "none"]
    params = {"reduction": chosen([*reductions, "batchmean"] if targets == "elements" else reductions)}
    params |= {name: chosen(values) for name, values in CHOICES.items() if name in fields}
    if "normalization" in fields and params["reduction"] == "mean":
        params["normalization"] = chosen(["valid", "full", "batch_size", "none"])
    if kind == "FocalLoss":
        params["alpha"] = chosen([0.5, [0.5, 0.0, 2.0]])
    ignored = chosen([None, 0, 1, -1]) if "ignore_index" in fields and targets != "probabilities" else None
    params["ignore_index"] = ignored
    behind = chosen([(), (4,), (2, 3)])
    x = Spec((3, CLASSES, *behind))
    positions = x.shape if targets == "elements" else (3, *behind)
    t = Spec(positions, role="index", draw=labels(ignored)) if targets == "labels" else Spec(x.shape, low=0, high=1)
    weights = [Spec(chosen([positions, positions[:1]]), low=0, high=2)] * (number % 2)
    given = {name: value for name, value in params.items() if value is not None}
    return Example(given, [x, t, *([] if kind in WITHOUT_WEIGHTS else weights)])


def labels(ignored: int | None) -> Callable[[Any, tuple[int, ...]], Any]:
    """A draw of classes, of which about a third is the ignored one."""
    other = 0 if ignored is None else ignored
    return lambda rng, shape: np.where(rng.random(shape) < 0.3, other, rng.integers(0, CLASSES, shape))


CASES = [
    *((kind, "labels") for kind in OF_LABELS),
    *((kind, "probabilities") for kind in OF_PROBABILITIES),
    *((kind, "elements") for kind in OF_ELEMENTS),
]


@pytest.mark.parametrize(("kind", "targets"), CASES)
def test_drawn_losses(kind: str, targets: str) -> None:
    demand("onnxruntime")
    found = []
    for number in range(DRAWS):
        example = draw(kind, targets, number)
        specs = {f"x{i}": spec for i, spec in enumerate(example.bottoms)}
        wrong = differences(net_of(LAYERS.get(kind), example), specs, ["y0"])
        found += [f"{example.params} on {[*map(str, specs.values())]}: {one}" for one in wrong]
    assert not found, "\n".join(found)
