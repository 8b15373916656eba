"""Mistakes that only NumPy forgives are seen without a GPU: by the contract on the strict stand-in for CuPy."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.broken_layers import HEALTHY
from support.numpy_only import MISTAKES
from support.strict_backend import STRICT

from layerforge.arrays.backend import NUMPY, Backend
from layerforge.check import contract
from layerforge.check.case import computes
from layerforge.check.contract import DEVICE_CHECKS
from layerforge.check.costs import GROWING, WAITS, recorded
from layerforge.contract.layer import Layer
from layerforge.schema.registry import LAYERS


def complaints(cls: type[Layer], backend: Backend) -> Iterator[str]:
    """What the contract says of a layer on a backend."""
    for _, case in contract.cases(cls, backend):
        for check in contract.applicable(case):
            told = contract.run(check, case)
            if told is not None:
                yield told


@pytest.mark.parametrize("what", MISTAKES)
def test_a_mistake_is_seen_on_the_stand_in(what: str) -> None:
    mistake = MISTAKES[what]
    told = list(complaints(mistake.cls, STRICT))
    assert any(mistake.message in words for words in told), told


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize("what", MISTAKES)
def test_it_is_one_that_numpy_forgives(what: str) -> None:
    mistake = MISTAKES[what]
    assert bool(list(complaints(mistake.cls, NUMPY))) == mistake.seen_on_numpy


@pytest.mark.parametrize("cls", HEALTHY, ids=lambda cls: cls.__name__)
def test_healthy_layers_pass_on_the_stand_in(cls: type[Layer]) -> None:
    assert list(complaints(cls, STRICT)) == []


SEEN_BY = {
    "agrees_with_numpy": "an np.errstate that is to raise",
    "costs": "an array in an if",
    "indices": "an IndexError that Gather waits for",
}


def test_checks_of_devices_are_those_of_layers_and_that_of_kernels() -> None:
    """What a kernel does wrong is no layer's mistake: tests/check/test_grounds.py has one."""
    assert {*SEEN_BY, "kernels_agree"} == set(DEVICE_CHECKS)


@pytest.mark.parametrize("check", SEEN_BY)
def test_every_check_of_devices_sees_a_mistake(check: str) -> None:
    cls = MISTAKES[SEEN_BY[check]].cls
    assert any(contract.run(check, case) for _, case in contract.cases(cls, STRICT))


def test_numpy_is_asked_nothing_of_devices() -> None:
    for _, case in contract.cases(MISTAKES["an array in an if"].cls):
        assert not DEVICE_CHECKS.keys() & set(case.checks)


def test_every_layer_that_computes_has_a_record_of_launches() -> None:
    cases = {name: contract.cases(LAYERS.get(name)) for name in LAYERS.names()}
    computing = {name for name, several in cases.items() if any(computes(case) is None for _, case in several)}
    assert recorded().keys() == computing, "run python scripts/make_launches.py"


def test_what_costs_declares_is_of_layers_that_there_are() -> None:
    assert (WAITS.keys() | GROWING.keys()) <= set(LAYERS.names())
