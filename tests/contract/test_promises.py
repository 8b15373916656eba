"""No built-in layer promises less than it keeps, so that none loses a flag, and no check its cases, unseen.

A stronger promise than a layer makes must fail its check: a layer that can run in place, or whose backward does not
read its bottom, says so. What can only be said and not be seen, such as `jvp`, is listed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from layerforge.check.contract import CHECKS, cases, run, why_not
from layerforge.contract.layer import Layer
from layerforge.layers import family_of
from layerforge.schema.registry import LAYERS

TYPES = [LAYERS.get(name) for name in LAYERS.names()]
WITHOUT_JVP = {"Embedding", "Parameter"}  # a net derives it from backward
NOT_ADDING_UP = {  # a whole batch's is not a mean of parts
    *("LogSumExp", "Max", "Min", "Norm", "Prod", "Std", "Var"),
    *("AUROC", "AveragePrecision", "BalancedAccuracy", "CalibrationError", "CohenKappa", "Dice", "F1", "IoU", "MAE"),
    *("MAPE", "MatthewsCorrelation", "Perplexity", "Precision", "R2", "RMSE", "Recall"),
}
# Those that are not per sample for some bottoms which no example shows: these have no batch axis, or (SparseMatmul) a
# matrix has as many rows as there are samples, and they are none.
WITHOUT_SAMPLES = {
    *("Cholesky", "Det", "GLU", "Inverse", "LogDet", "Solve", "SparseMatmul", "Squeeze", "SVDVals", "Where")
}

Promise = tuple[str, str, dict[str, Any]]


def stronger_promises(cls: type[Layer]) -> Iterator[Promise]:
    """(what is promised, the check that proves it, the attributes that promise it), more than the layer does."""
    if not cls.inplace:
        yield "inplace", "in_place", {"inplace": True}
    if cls.top_is_view:
        never = property(lambda self: False, lambda self, value: None)  # also where hyper-parameters decide it
        yield "no view", "views", {"top_is_view": never}
    if cls.grad_aliases:
        yield "no alias", "views", {"grad_aliases": False}
    depends = not cls.per_sample or cls.per_sample_for is not Layer.per_sample_for
    if depends and cls.type_name not in WITHOUT_SAMPLES:
        yield "per_sample", "per_sample", {"per_sample": True, "per_sample_for": lambda self, *bottoms: True}
    if cls.is_differentiable():
        for read in cls.backward_reads:
            fewer = tuple(other for other in cls.backward_reads if other != read)
            yield f"without {read}", "backward_reads", {"backward_reads": fewer}
        if cls.no_grad_bottoms:
            yield "all gradients", "needs_grad", {"no_grad_bottoms": ()}


def is_refuted(cls: type[Layer], check: str, attributes: dict[str, Any]) -> bool:
    """Whether the check fails on some example of the layer with these attributes."""
    stronger = type(cls.__name__, (cls,), dict(attributes))
    return any(run(check, case) is not None for _, case in cases(stronger) if why_not(check, case) is None)


STRONGER = [
    pytest.param(cls, check, attributes, id=f"{cls.type_name}-{what}")
    for cls in TYPES
    for what, check, attributes in stronger_promises(cls)
]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(("cls", "check", "attributes"), STRONGER)
def test_a_layer_promises_all_that_it_keeps(cls: type[Layer], check: str, attributes: dict[str, Any]) -> None:
    assert is_refuted(cls, check, attributes), f"{cls.type_name} keeps it on all of its examples: let it say so"


@pytest.mark.parametrize("cls", TYPES, ids=lambda cls: cls.type_name)
def test_what_can_only_be_said_is_listed(cls: type[Layer]) -> None:
    assert cls.has_jvp() == (cls.is_differentiable() and cls.type_name not in WITHOUT_JVP)
    assert cls.adds_up == (cls.type_name not in NOT_ADDING_UP)
    assert cls.loss == (family_of(cls) == "Losses")


LOST = [
    ("ReLU", {"inplace": False}),
    ("Dropout", {"inplace": False}),
    ("ReLU", {"backward_reads": ("bottom", "top")}),
    ("Linear", {"backward_reads": ("bottom", "top")}),
    ("Linear", {"grad_aliases": True}),
    ("Linear", {"per_sample": False}),
]


@pytest.mark.parametrize(("name", "weaker"), LOST, ids=[f"{name}-{'-'.join(weaker)}" for name, weaker in LOST])
def test_a_layer_that_loses_a_flag_is_noticed(name: str, weaker: dict[str, Any]) -> None:
    careless = type(name, (LAYERS.get(name),), dict(weaker))
    stronger = [(check, attributes) for _, check, attributes in stronger_promises(careless)]
    assert not all(is_refuted(careless, check, attributes) for check, attributes in stronger)


@pytest.mark.parametrize("check", CHECKS)
def test_every_check_has_cases(check: str) -> None:
    assert any(why_not(check, case) is None for cls in TYPES for _, case in cases(cls))


NEEDED = {
    "in_place": lambda cls: cls.inplace,
    "jvp": Layer.has_jvp.__func__,  # type: ignore[attr-defined]
    "formula": lambda cls: cls.loss,
    "gradients": Layer.is_differentiable.__func__,  # type: ignore[attr-defined]
    "per_sample": lambda cls: cls.per_sample and cls.bottoms != 0,
}


@pytest.mark.parametrize("cls", TYPES, ids=lambda cls: cls.type_name)
def test_what_a_layer_promises_is_proved_on_some_example(cls: type[Layer]) -> None:
    applicable = {check for check in NEEDED for _, case in cases(cls) if why_not(check, case) is None}
    assert {check for check, is_promised in NEEDED.items() if is_promised(cls)} <= applicable
