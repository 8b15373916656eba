"""Broken layers, each of which the check that is to see it must catch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from support.broken_layers import HEALTHY, MUTANTS, Noise, Softmax, SoftmaxWithoutGradient
from support.strict_backend import STRICT

from layerforge.arrays.backend import Backend
from layerforge.check import contract
from layerforge.check.contract import CHECKS, Case, CheckFailed, check_bad, check_documented
from layerforge.contract.layer import Bad, Layer
from layerforge.layers.matrices.linear import Linear
from layerforge.schema.params import param


@pytest.mark.parametrize("cls", HEALTHY, ids=lambda c: c.__name__)
def test_healthy_layers_pass_every_check_that_applies(cls: type[Layer]) -> None:
    for name, case in contract.cases(cls):
        for check in contract.applicable(case):
            assert contract.run(check, case) is None, f"{name} {check}"


@pytest.mark.parametrize("check", CHECKS)
def test_a_check_that_does_not_apply_is_no_pass(check: str) -> None:
    reasons = [(contract.why_not(check, case), case) for cls in HEALTHY for _, case in contract.cases(cls)]
    for reason, case in reasons:
        if reason is not None:
            assert contract.run(check, case) == f"does not apply: {reason}"


@pytest.mark.parametrize(("check", "mutant"), MUTANTS, ids=[f"{c}-{m.__name__}" for c, m in MUTANTS])
def test_mutant_is_caught(check: str, mutant: type[Layer]) -> None:
    applicable = [case for _, case in contract.cases(mutant) if contract.why_not(check, case) is None]
    assert any(contract.run(check, case) for case in applicable), f"{mutant.__name__} passes {check}"


def test_every_check_has_a_mutant() -> None:
    assert {check for check, _ in MUTANTS} == set(CHECKS)


def test_a_gradient_of_ones_would_not_have_seen_the_softmax_mutant() -> None:
    """Why upstream gradients are random: through a sum, the gradient of softmax is zero, as the mutant's is."""
    probe = Case(SoftmaxWithoutGradient, Softmax.examples[0]).probe()
    healthy = Case(Softmax, Softmax.examples[0]).probe()
    ones = [np.ones_like(healthy.forward()[0])]
    assert np.allclose(healthy.gradients(ones)["bottom[0]"], probe.gradients(ones)["bottom[0]"], atol=1e-12)


IN_PLACE = [mutant for check, mutant in MUTANTS if check == "in_place"]


@pytest.mark.parametrize("mapped_twice", [True, False])
@pytest.mark.parametrize("mutant", IN_PLACE, ids=lambda cls: cls.__name__)
def test_in_place_use_is_proved_on_a_device(
    mutant: type[Layer], mapped_twice: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not mapped_twice:  # as on a real device, whose memory has one address
        monkeypatch.delattr(STRICT.xp, "adopted")
    for cls, fails in ((mutant, True), (Softmax, False)):
        cases = [case for _, case in contract.cases(cls, STRICT)]
        assert all(contract.why_not("in_place", case) is None for case in cases)
        assert any(contract.run("in_place", case) for case in cases) == fails


def test_host_arrays_on_a_device_are_caught(device_backend: Backend) -> None:
    class HostMask(Noise):
        def forward(self, x: Any) -> Any:
            mask = np.ones(x.shape, x.dtype)
            self.save(mask=mask)
            return x * mask

    assert contract.run("shapes_and_dtypes", Case(HostMask, Noise.examples[0], device_backend))
    assert contract.run("shapes_and_dtypes", Case(Noise, Noise.examples[0], device_backend)) is None


def test_a_bad_example_that_is_accepted_is_caught() -> None:
    class AcceptsAnything(Layer):
        width: int = param(3, help="width")

    with pytest.raises(CheckFailed, match="is accepted"):
        check_bad(AcceptsAnything, Bad({"width": -1}, "must be >= 1"))
    with pytest.raises(CheckFailed, match="lacks 'must be even'"):
        check_bad(Linear, Bad({"out_features": 0}, "must be even"))


def test_a_missing_docstring_section_is_caught() -> None:
    class Quiet(Softmax):
        """Quiet: says too little

        Shapes    x (N, K)
        """

    with pytest.raises(CheckFailed, match="lacks: Source, Backward, Keeps"):
        check_documented(Quiet)
