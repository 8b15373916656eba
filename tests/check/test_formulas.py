"""The check of formulas holds every loss, with every option on, and what it says can be acted on."""

from __future__ import annotations

from typing import Any

import pytest
from support.broken_layers import InfogainLossWithoutWeight

from layerforge.check import contract
from layerforge.check.formulas import with_all_options
from layerforge.check.loss_formulas import FORMULAS
from layerforge.contract.layer import Layer
from layerforge.layers import builtin_layers
from layerforge.schema.registry import LAYERS

LOSSES = [cls for cls in builtin_layers() if ".losses." in cls.__module__]


def options(cls: type[Layer], params: Any) -> set[str]:
    """The hyper-parameters that differ from their defaults."""
    return {name for name, value in params.items() if value != cls.fields[name].default}


@pytest.mark.parametrize("cls", LOSSES, ids=lambda cls: cls.type_name)
def test_every_loss_has_a_formula_that_is_tried_with_all_options_at_once(cls: type[Layer]) -> None:
    """In each example all are on but one of `reduction` and `normalization`, which exclude each other."""
    assert cls.type_name in FORMULAS, "write its formula a second time, in layerforge/check/loss_formulas.py"
    tried = [options(cls, example.params) for example in with_all_options(cls)]
    assert set.union(*tried) == set(cls.fields), f"{cls.type_name}: OPTIONS in check/formulas.py lacks some"
    common = set(cls.fields) - {"reduction", "normalization"}
    missing = set.union(*(common - on for on in tried))
    assert missing <= ALONE.get(cls.type_name, set())


# A matrix is a bottom instead; probabilities have no label to ignore; sigma says what beta does. Boxes by class know no
# mining, and bipartite matches no threshold.
ALONE = {
    "InfogainLoss": {"matrix"},
    "SoftmaxCrossEntropy": {"ignore_index"},
    "SmoothL1Loss": {"beta", "sigma"},
    "MultiBoxLoss": {
        *("share_location", "mining_type", "neg_pos_ratio", "neg_overlap", "background_label_id"),
        *("match_type", "overlap_threshold", "use_prior_for_matching"),
    },
}


def test_there_are_no_formulas_of_layers_that_do_not_exist() -> None:
    assert set(FORMULAS) <= {cls.type_name for cls in LOSSES}


def test_the_options_are_what_shows_a_weight_that_was_left_out() -> None:
    """The first example has no option, and there the layer is right; the check runs the options with it."""
    _, case = next(contract.cases(InfogainLossWithoutWeight))
    told = contract.run("formula", case)
    assert not case.example.params
    assert told is not None and "the formula gives" in told and "'weight': [0.5, 2.0, 1.5]" in told


def test_layers_of_users_have_no_formula_to_keep() -> None:
    """Not even one that is derived from a loss of ours: it may have a formula of its own."""

    class Halved(LAYERS.get("MSELoss")):  # type: ignore[misc]
        def reduce(self, losses: Any, n: float) -> Any:
            return super().reduce(losses, n) / 2

    assert all(contract.why_not("formula", case) for _, case in contract.cases(Halved))
