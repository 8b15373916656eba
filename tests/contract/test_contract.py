"""The contract, on every registered layer: registry x examples x checks x backends."""

from __future__ import annotations

import pytest
from support.contract import broken

from layerforge.arrays.backend import Backend
from layerforge.check.contract import Case, applicable, cases, check_bad, check_documented
from layerforge.contract.layer import Bad, Example, Layer
from layerforge.schema.registry import LAYERS

TYPES = [LAYERS.get(name) for name in LAYERS.names()]
CASES = [pytest.param(case, id=name) for cls in TYPES for name, case in cases(cls)]
BAD = [pytest.param(cls, bad, id=f"{cls.type_name}-{i}") for cls in TYPES for i, bad in enumerate(cls.bad_examples)]


@pytest.mark.parametrize("case", CASES)
def test_numpy(case: Case) -> None:
    assert broken(case, applicable(case)) == {}


# Differences of thousands of forwards: NumPy's gradients are proved by them above, to which `agrees_with_numpy` holds
# those of a device in both phases.
DIFFERENCES = {"gradients", "eval_gradients"}


@pytest.mark.parametrize("case", CASES)
def test_device(case: Case, device_backend: Backend) -> None:
    on_device = Case(case.cls, case.example, device_backend)
    assert broken(on_device, [check for check in applicable(on_device) if check not in DIFFERENCES]) == {}


@pytest.mark.parametrize(("cls", "bad"), BAD)
def test_bad_examples(cls: type[Layer], bad: Bad) -> None:
    check_bad(cls, bad)


@pytest.mark.parametrize("cls", TYPES, ids=lambda cls: cls.type_name)
def test_documented(cls: type[Layer]) -> None:
    check_documented(cls)


@pytest.mark.parametrize("cls", TYPES, ids=lambda cls: cls.type_name)
def test_every_layer_shows_what_it_refuses_and_what_it_does(cls: type[Layer]) -> None:
    assert all(isinstance(e, Example) for e in cls.examples)
    assert cls.examples
    assert cls.bad_examples, "a built-in layer shows at least one use that it refuses"
