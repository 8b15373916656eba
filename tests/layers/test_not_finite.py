"""NaN in, NaN out: no layer may turn what went wrong below it into a number that looks right."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from support.alone import Alone

from layerforge.arrays.sparse import is_sparse, stored
from layerforge.check.harness import Probe
from layerforge.contract.layer import Example
from layerforge.schema.errors import LayerError
from layerforge.schema.registry import LAYERS

SAFE = "ignore:.*(invalid value|divide by zero|overflow) encountered:RuntimeWarning"
NO_NUMBERS_OF_ITS_BOTTOM = {"Random"}  # takes its shape only
COUNTS = {"Accuracy"}  # what is not known to be right counts as wrong
# No integer is NaN; a matrix that is not finite has no such factors: an error that names the layer.
REFUSE = {"Cast", "Cholesky", "SVDVals"}


def of_reals(name: str) -> list[tuple[Example, int]]:
    """The examples of a layer with each of their bottoms that hold real numbers, without the optional ones."""
    examples = [example for example in LAYERS.get(name).examples if all(spec.size for spec in example.bottoms)]
    first = next(iter(examples), None)
    if first is None or "ignore_index" in first.params or not all(spec.is_real for spec in first.bottoms[:1]):
        return []
    skip = LAYERS.get(name).no_grad_bottoms  # masks, and shapes to take
    return [(first, i) for i, spec in enumerate(first.bottoms) if spec.is_real and i not in skip]


@pytest.mark.filterwarnings(SAFE)
@pytest.mark.parametrize("name", sorted(set(LAYERS.names()) - NO_NUMBERS_OF_ITS_BOTTOM - COUNTS))
def test_nan_in_nan_out(name: str) -> None:
    for example, i in of_reals(name):
        for phase in ("train", "eval"):
            probe = Probe(LAYERS.get(name), example, dtype="float32", phase=phase)
            values = np.full_like(stored(probe.bottoms[i]), np.nan)
            probe.bottoms[i] = probe.bottoms[i].with_data(values) if is_sparse(probe.bottoms[i]) else values
            if name in REFUSE:
                with pytest.raises(LayerError, match=name):
                    probe.forward()
                continue
            tops = [top for top in probe.forward() if np.asarray(top).dtype.kind == "f"]
            assert not tops or any(np.isnan(top).any() for top in tops), (example.params, i, phase)


@pytest.mark.filterwarnings(SAFE)
@pytest.mark.parametrize("reduction", ["none", "mean"])
def test_binary_cross_entropy_of_nan(reduction: str) -> None:
    x, t = [0.5, np.nan, np.nan, 0.0], [1.0, 0.0, 1.0, 1.0]
    found = Alone("BCELoss", x, t, reduction=reduction).top()
    want: Any = [np.log(2), np.nan, np.nan, 100] if reduction == "none" else np.nan
    np.testing.assert_allclose(found, want, rtol=1e-6)
    assert_array_equal(np.isnan(Alone("BCELoss", [0.5, 0.5], [np.nan, 1.0], reduction="none").top()), [True, False])


@pytest.mark.filterwarnings(SAFE)
def test_a_score_that_is_nan_spoils_its_row_of_the_confusion_matrix_and_no_other() -> None:
    x = np.array([[0.0, 1, 0], [np.nan, 1, 0], [2, 1, 0], [np.nan, 0, 0]])
    matrix = Alone("ConfusionMatrix", x, [1, 2, 0, -1], num_classes=3, ignore_index=-1).top()
    assert_array_equal(matrix, [[1, 0, 0], [0, 1, 0], [np.nan] * 3])
    assert_array_equal(Alone("ConfusionMatrix", np.full((2, 2), np.nan), [0, 1], num_classes=2).top(), np.nan)


def test_nan_is_the_largest_number_and_the_first_of_several_the_largest() -> None:
    x = [[3.0, np.nan, 5.0, np.nan], [np.nan] * 4]
    assert_array_equal(Alone("ArgMax", x, dim=1).top(), [1, 0])
    assert_array_equal(Alone("ArgMax", x, dim=1, ties="caffe").top(), [3, 3])
    assert_array_equal(Alone("ArgMax", x, dim=1, top_k=3).top(), [[1, 3, 2], [0, 1, 2]])
    assert_array_equal(Alone("TopK", x, k=3, tops=2).forward()[1], [[1, 3, 2], [0, 1, 2]])
    assert_array_equal(Alone("TopK", x, k=2, largest=False, tops=2).forward()[1], [[0, 2], [0, 1]])


# Attention ------------------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings(SAFE)
@pytest.mark.parametrize("mask", [None, "causal", [[1, 1]], [[1, 0]]], ids=str)
@pytest.mark.parametrize("score", [-np.inf, np.inf, np.nan, -1e30], ids=str)
def test_a_query_whose_scores_are_all_not_finite_is_nan(score: float, mask: Any) -> None:
    q, k, v = np.full((1, 2, 2), 1e30), np.full((1, 2, 2), score), [[[1.0], [2.0]]]
    q[0, 1] = 0 if np.isfinite(score) else 1
    bottoms, params = ([mask], {}) if isinstance(mask, list) else ([], {"causal": mask == "causal"})
    y = Alone("ScaledDotProductAttention", q, k, v, *bottoms, dtype="float32", **params).top()
    assert_array_equal(np.isnan(y[0, :, 0]), [True, not np.isfinite(score)])


@pytest.mark.filterwarnings(SAFE)
@pytest.mark.parametrize("score", [-np.inf, np.inf, np.nan], ids=str)
def test_the_score_of_a_key_that_may_not_be_seen_does_not_matter(score: float) -> None:
    q, k, v = np.ones((1, 2, 2)), np.ones((1, 2, 2)), [[[1.0], [2.0]]]
    k[0, 1] = score
    for bottoms, params in ([[[1, 0]]], {}), ([[[[1, 0], [0, 0]]]], {}):
        y = Alone("ScaledDotProductAttention", q, k, v, *bottoms, **params).top()
        assert_array_equal(y[0, 0], [1.0])
