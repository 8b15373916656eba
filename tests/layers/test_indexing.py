"""What the layers compute that pick elements by an index, by values that were worked out by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from support.alone import Alone

from layerforge import Net
from layerforge.arrays.scattering import scatter_add
from layerforge.check.harness import Probe
from layerforge.contract.layer import Example, Layer
from layerforge.schema.errors import LayerError
from layerforge.schema.registry import LAYERS


def test_index_select_adds_up_where_a_slice_was_picked_twice() -> None:
    layer = Alone("IndexSelect", [[1.0, 2.0, 3.0]], np.array([2, 0, 2]), dim=1)
    assert_array_equal(layer.top(), [[3, 1, 3]])
    assert_array_equal(layer.vjp([[1.0, 10.0, 100.0]])["bottom[0]"], [[10, 0, 101]])


def test_batch_reindex_by_hand() -> None:
    layer = Alone("BatchReindex", [[1.0, 2.0], [3.0, 4.0]], np.array([1, 1, 0]))
    assert_array_equal(layer.top(), [[3, 4], [3, 4], [1, 2]])
    assert_array_equal(layer.vjp([[1.0, 2.0], [10.0, 20.0], [5.0, 6.0]])["bottom[0]"], [[5, 6], [11, 22]])


def test_gather_takes_one_number_of_each_row() -> None:
    layer = Alone("Gather", [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], np.array([[2], [0]]), dim=1)
    assert_array_equal(layer.top(), [[3], [4]])
    assert_array_equal(layer.vjp([[7.0], [8.0]])["bottom[0]"], [[0, 0, 7], [8, 0, 0]])


def test_gather_adds_up_in_a_part_of_the_rows() -> None:
    layer = Alone("Gather", [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], np.array([[1, 1]]), dim=1)
    assert_array_equal(layer.top(), [[2, 2]])
    assert_array_equal(layer.vjp([[1.0, 10.0]])["bottom[0]"], [[0, 11], [0, 0], [0, 0]])


def test_embedding_gives_rows_and_their_gradients_add_up() -> None:
    layer = Alone("Embedding", np.array([[2, 0], [2, 2]]), num_embeddings=4, embedding_dim=2)
    layer.layer.params.weight[...] = [[1, 2], [3, 4], [5, 6], [7, 8]]
    assert_array_equal(layer.top(), [[[5, 6], [1, 2]], [[5, 6], [5, 6]]])
    dy = [[[1.0, 0.0], [2.0, 3.0]], [[10.0, 0.0], [100.0, 4.0]]]
    assert_array_equal(layer.vjp(dy)["weight"], [[2, 3], [0, 0], [111, 4], [0, 0]])


def test_embedding_of_the_padding_index_is_zero_and_learns_nothing() -> None:
    layer = Alone("Embedding", np.array([0, 1]), num_embeddings=2, embedding_dim=1, padding_idx=1)
    layer.layer.params.weight[...] = [[3], [5]]
    assert_array_equal(layer.top(), [[3], [0]])
    assert_array_equal(layer.vjp([[1.0], [1.0]])["weight"], [[1], [0]])


PICKS: list[tuple[str, dict[str, Any], list[Any]]] = [
    ("Embedding", {"num_embeddings": 3, "embedding_dim": 2}, []),
    ("IndexSelect", {"dim": 1}, [np.zeros((2, 3))]),
    ("BatchReindex", {}, [np.zeros((3, 2))]),
    ("Gather", {"dim": 0}, [np.zeros(3)]),
]


@pytest.mark.parametrize(("name", "params", "bottoms"), PICKS, ids=lambda p: p if isinstance(p, str) else "")
@pytest.mark.parametrize("wrong", [3, -1])
def test_an_index_out_of_range_is_an_error_of_the_data(
    name: str, params: dict[str, Any], bottoms: list[Any], wrong: int
) -> None:
    layer = Alone(name, *bottoms, np.array([0, 2, wrong]), **params)
    with pytest.raises(LayerError, match=f"'{name}'.*index {wrong} at position 2 is out of range") as caught:
        layer.forward()
    assert caught.value.exit_code == 3
    assert "indices must be 0 to 2" in str(caught.value)


TELLING = [
    pytest.param(cls, example, id=f"{name}-{i}")
    for name in LAYERS.names()
    for cls in [LAYERS.get(name)]
    for i, example in enumerate(cls.examples)
    if cls.index_range is not Layer.index_range
    and all(b.size for b in example.bottoms)
    and "ignore_index" not in example.params
]


@pytest.mark.parametrize(("cls", "example"), TELLING)
def test_what_a_layer_says_of_its_indices_is_what_it_takes(cls: type[Layer], example: Example) -> None:
    """The first and the last of the range go through, what is before and behind is an error of the data."""
    probe = Probe(cls, example)
    for i, spec in enumerate(probe.bottom_specs):
        allowed = None if spec.is_real else probe.layer.index_range(i, *probe.bottom_specs)
        if allowed is None:
            continue
        for value, fits in ((allowed[0], True), (allowed[-1], True), (allowed[0] - 1, False), (allowed[-1] + 1, False)):
            bottoms = [*probe.bottoms]
            bottoms[i] = np.full(spec.shape, value)
            if fits:
                probe.forward(bottoms)
            else:
                with pytest.raises(LayerError) as caught:
                    probe.forward(bottoms)
                assert caught.value.exit_code == 3


def test_scatter_add_undoes_a_take_along_any_axis() -> None:
    rng = np.random.default_rng(0)
    for dim in range(3):
        x, index = rng.normal(size=(3, 4, 5)), rng.integers(0, 3, 7)
        dy, out = rng.normal(size=x.take(index, axis=dim).shape), np.zeros_like(x)
        want = np.zeros_like(x)
        for k, i in enumerate(index):
            want[(slice(None),) * dim + (i,)] += dy[(slice(None),) * dim + (k,)]
        scatter_add(np, out, index.reshape((-1,) + (1,) * (2 - dim)), dim, dy)
        assert_allclose(out, want, atol=1e-12)


def test_scatter_add_of_small_integers_does_not_overflow() -> None:
    out = np.zeros((200, 3))
    scatter_add(np, out, np.array([[199]], dtype=np.uint8), 0, np.ones((1, 3)))
    assert_array_equal(out.sum(axis=1).nonzero(), [[199]])


def test_filter_moves_the_selected_samples_to_the_front() -> None:
    x, labels, selector = [[1.0], [2.0], [3.0], [4.0]], np.array([5, 6, 7, 8]), np.array([0, 1, 0, 2])
    layer = Alone("Filter", x, labels, selector, tops=2)
    moved, kept = layer.forward()
    assert_array_equal(moved, [[2], [4], [0], [0]])
    assert_array_equal(kept, [6, 8, -1, -1])
    assert_array_equal(layer.vjp([[1.0], [2.0], [3.0], [4.0]], None)["bottom[0]"], [[0], [1], [0], [2]])


def test_a_loss_behind_filter_is_the_mean_over_the_selected_samples() -> None:
    rng = np.random.default_rng(0)
    x, labels, selector = rng.normal(size=(6, 3)), rng.integers(0, 3, 6), np.array([0, 1, 1, 0, 0, 1])
    inputs = {"x": {"shape": [6, 3]}, "labels": {"shape": [6], "dtype": "int64"}}
    loss = {"name": "loss", "type": "SoftmaxCrossEntropy"}
    whole = Net.from_config({"dtype": "float64", "inputs": inputs, "net": [{**loss, "bottom": ["x", "labels"]}]})
    filtered = Net.from_config(
        {
            "dtype": "float64",
            "inputs": {**inputs, "selector": {"shape": [6], "dtype": "int64"}},
            "net": [
                {"name": "f", "type": "Filter", "bottom": ["x", "labels", "selector"], "top": ["fx", "fl"]},
                {**loss, "bottom": ["fx", "fl"], "ignore_index": -1},
            ],
        }
    )
    want = whole.forward(x=x[selector == 1], labels=labels[selector == 1])["loss"]
    assert_allclose(filtered.forward(x=x, labels=labels, selector=selector)["loss"], want, rtol=1e-12)


# Scatter, ScatterAdd --------------------------------------------------------------------------------------------------


def test_of_several_numbers_for_one_place_the_last_stays_and_has_the_gradient() -> None:
    layer = Alone("Scatter", [[9.0, 9.0, 9.0]], np.array([[2, 0, 2]]), [[1.0, 2.0, 3.0]], dim=1)
    assert_array_equal(layer.top(), [[2, 9, 3]])
    got = layer.vjp([[10.0, 100.0, 1000.0]])
    assert_array_equal(got["bottom[0]"], [[0, 100, 0]])
    assert_array_equal(got["bottom[2]"], [[0, 10, 1000]])


def test_the_last_is_the_last_in_row_major_order() -> None:
    """Along axis 0 the rows of src come one after the other, whatever their memory looks like."""
    index, src = np.array([[0, 1], [0, 0], [0, 1]]), np.arange(6.0).reshape(3, 2)
    layer = Alone("Scatter", np.full((2, 2), -1.0), index, src, dim=0)
    assert_array_equal(layer.top(), [[4, 3], [-1, 5]])
    layer.given[2] = np.asfortranarray(src)
    assert_array_equal(layer.top(), [[4, 3], [-1, 5]])


def test_scatter_is_numpys_assignment_number_by_number() -> None:
    rng = np.random.default_rng(0)
    for dim in range(3):
        x, src = rng.normal(size=(3, 4, 2)), rng.normal(size=(4, 4, 4))
        shape = [3, 4, 2]
        shape[dim] = 4
        index = rng.integers(0, x.shape[dim], shape)
        want = x.copy()
        for place in np.ndindex(*shape):
            want[(*place[:dim], index[place], *place[dim + 1 :])] = src[place]
        assert_array_equal(Alone("Scatter", x, index, src, dim=dim).top(), want)


def test_scatter_makes_one_hot_vectors() -> None:
    layer = Alone("Scatter", np.zeros((2, 3)), np.array([[1], [2]]), np.ones((2, 1)), dim=1)
    assert_array_equal(layer.top(), np.eye(3)[1:])


def test_scatter_add_sums_by_group() -> None:
    layer = Alone("ScatterAdd", [[1.0, 2.0, 3.0]], np.array([[2, 0, 2]]), [[10.0, 20.0, 30.0, 99.0]], dim=1)
    assert_array_equal(layer.top(), [[21, 2, 43]])
    got = layer.vjp([[1.0, 10.0, 100.0]])
    assert_array_equal(got["bottom[0]"], [[1, 10, 100]])
    assert_array_equal(got["bottom[2]"], [[100, 1, 100, 0]])


@pytest.mark.parametrize("name", ["Scatter", "ScatterAdd"])
@pytest.mark.parametrize("wrong", [3, -1])
def test_a_place_to_scatter_to_that_is_none_is_an_error_of_the_data(name: str, wrong: int) -> None:
    layer = Alone(name, np.zeros((1, 3)), np.array([[0, wrong]]), np.ones((1, 2)), dim=1)
    with pytest.raises(LayerError, match=rf"'{name}'.*index {wrong} at position 0, 1 is out of range") as caught:
        layer.forward()
    assert caught.value.exit_code == 3
