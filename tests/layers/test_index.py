"""Index against NumPy's own brackets, on random shapes and entries; what it says of samples; how a net takes it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from support.alone import Alone

from layerforge import Net
from layerforge.config.yaml_dump import dump_yaml
from layerforge.schema.errors import LayerError, LayerForgeError

SIZES = st.lists(st.integers(0, 4), max_size=4)
BOUND = st.one_of(st.none(), st.integers(-6, 6))
STEP = st.one_of(st.none(), st.sampled_from([-3, -2, -1, 1, 2]))


@st.composite
def a_slice(draw: Any) -> str:
    """A slice as text, some of it missing."""
    start, stop, step = ("" if n is None else str(n) for n in (draw(BOUND), draw(BOUND), draw(STEP)))
    return f"{start}:{stop}:{step}" if step else f"{start}:{stop}"


def an_entry(size: int, length: int) -> st.SearchStrategy[Any]:
    """An entry for an axis of that size: a number, a slice, a mask, or a list (of that length, one, two lists)."""
    if not size:
        return a_slice()
    place, chosen = st.integers(-size, size - 1), min(length, size)
    mask = st.permutations([True] * chosen + [False] * (size - chosen))
    lists = [st.lists(place, min_size=n, max_size=n) for n in (1, length)]
    column = st.lists(st.lists(place, min_size=1, max_size=1), min_size=2, max_size=2)
    return st.one_of(a_slice(), place, *lists, column, *([mask] if chosen in (1, length) else []))


@st.composite
def blobs_and_entries(draw: Any) -> tuple[tuple[int, ...], list[Any]]:
    """A shape, and entries for its first axes and perhaps, behind "...", for its last ones."""
    shape, length = tuple(draw(SIZES)), draw(st.integers(1, 3))
    first = draw(st.integers(0, len(shape)))
    last = draw(st.integers(0, len(shape) - first)) if draw(st.booleans()) else None
    entries = [draw(an_entry(size, length)) for size in shape[:first]]
    if last is not None:
        entries += ["...", *(draw(an_entry(size, length)) for size in shape[len(shape) - last :])]
    return shape, entries


def brackets(entries: list[Any]) -> tuple[Any, ...]:
    """What stands between NumPy's brackets."""

    def bracket(entry: Any) -> Any:
        if isinstance(entry, str):
            return ... if entry == "..." else slice(*(int(n) if n else None for n in entry.split(":")))
        return entry

    return tuple(map(bracket, entries))


@settings(deadline=None, max_examples=400)
@given(blobs_and_entries())
def test_index_is_numpys(drawn: tuple[tuple[int, ...], list[Any]]) -> None:
    """The top, the gradient that elements picked several times add up to, and the shape that set-up promises."""
    shape, entries = drawn
    rng = np.random.default_rng(0)
    x = rng.normal(size=shape)
    want = x[brackets(entries)]
    layer = Alone("Index", x, index=entries)
    assert layer.top_specs[0].shape == want.shape
    assert_array_equal(layer.top(), want)
    dy, dx = rng.normal(size=want.shape), np.zeros(shape)
    np.add.at(dx, brackets(entries), dy)
    assert_allclose(layer.vjp(dy)["bottom[0]"], dx, atol=1e-12)


@settings(deadline=None, max_examples=200)
@given(blobs_and_entries())
def test_what_is_said_to_keep_samples_keeps_them(drawn: tuple[tuple[int, ...], list[Any]]) -> None:
    """Where a sample's top depends on that sample alone, one sample gives what it gives among others."""
    shape, entries = drawn
    x = np.random.default_rng(0).normal(size=shape)
    layer = Alone("Index", x, index=entries)
    if not shape or not layer.layer.per_sample_for(*layer.bottom_specs):
        return
    for i in range(shape[0]):
        assert_array_equal(Alone("Index", x[i : i + 1], index=entries).top(), layer.top()[i : i + 1])


@pytest.mark.parametrize(
    ("entries", "kept"),
    [
        ([":", 0], True),
        (["...", 0], True),
        (["0:", [1, 0]], True),
        ([], True),
        (["::-1"], False),
        (["0:4"], False),  # all of this batch, and not of a larger one
        (["-4:"], False),
        ([[0, 1, 2, 3]], False),
        ([0], False),
        ([":", [0, 1], ":", [0, 1]], False),  # the lists' axis is in front
    ],
)
def test_only_a_whole_first_axis_keeps_samples_for_every_batch(entries: list[Any], kept: bool) -> None:
    layer = Alone("Index", np.zeros((4, 3, 2, 3)), index=entries)
    assert layer.layer.per_sample_for(*layer.bottom_specs) is kept


@pytest.mark.parametrize(("entries", "view"), [([":", "1:", -1], True), ([0], True), ([1, 2], True), ([[0, 1]], False)])
def test_what_needs_no_list_is_a_view(entries: list[Any], view: bool) -> None:
    layer = Alone("Index", np.arange(6.0).reshape(2, 3), index=entries[:2])
    top = layer.forward()[0]
    assert np.shares_memory(top, layer.bottoms[0]) is layer.layer.top_is_view is view


def test_gradients_of_places_that_were_read_several_times_are_added_exactly() -> None:
    layer = Alone("Index", np.zeros((1, 2)), dtype="float32", index=[":", [0] * 2**20 + [1]])
    dy = np.full((1, 2**20 + 1), 0.1, "float32")
    assert_allclose(layer.vjp(dy)["bottom[0]"], [[0.1 * 2**20, 0.1]], rtol=1e-7)


def net(*layers: dict[str, Any], shape: list[int]) -> Net:
    return Net.from_config({"dtype": "float64", "inputs": {"x": {"shape": shape, "grad": True}}, "net": list(layers)})


def test_slices_of_a_blob_come_together_in_a_net() -> None:
    """d/dx of Σ w x[:, ::2] x[:, 1::2]: each half has the other one as its gradient."""
    both = net(
        {"name": "even", "type": "Index", "bottom": "x", "index": [":", "::2"]},
        {"name": "odd", "type": "Index", "bottom": "x", "index": [":", "1::2"]},
        {"name": "mul", "type": "Mul", "bottom": ["even", "odd"]},
        shape=[2, 4],
    )
    x, w = np.arange(1.0, 9.0).reshape(2, 4), np.array([[1.0, 10.0], [100.0, 1000.0]])
    both.forward(x=x, backward=True)
    both.backward(mul=w)
    want = np.empty((2, 4))
    want[:, ::2], want[:, 1::2] = w * x[:, 1::2], w * x[:, ::2]
    assert_array_equal(both.blobs["x"].grad, want)


def test_a_layer_may_write_over_a_list_of_places_though_the_blob_is_read_again() -> None:
    layers = [
        {"name": "picked", "type": "Index", "bottom": "x", "index": [":", [0, 1]]},
        {"name": "r", "type": "ReLU", "bottom": "picked", "top": "picked"},
        {"name": "s", "type": "Square", "bottom": "x"},
    ]
    found = net(*layers, shape=[1, 2]).forward(x=np.array([[-1.0, 2.0]]))
    assert_array_equal(found["picked"], [[0, 2]])
    assert_array_equal(found["s"], [[1, 4]])
    layers[0]["index"] = [":", "0:2"]
    with pytest.raises(LayerForgeError, match="in place"):
        net(*layers, shape=[1, 2])


def test_a_batch_that_is_too_small_for_its_samples_is_an_error_that_says_so() -> None:
    third = net({"name": "third", "type": "Index", "bottom": "x", "index": [2]}, shape=[4, 3])
    assert third.forward(x=np.arange(12.0).reshape(4, 3))["third"].tolist() == [6, 7, 8]
    with pytest.raises(LayerError, match=r"'third'.*index 2 is out of range for axis 0 of size 2") as caught:
        third.forward(x=np.zeros((2, 3)))
    assert "a batch may have fewer" in str(caught.value)


@pytest.mark.parametrize("written", ['["0:6:2", -1, [2, 0]]', "[0:6:2, -1, [2, 0]]", '["...", [true, false, true]]'])
def test_entries_survive_yaml_and_the_resolved_configuration(written: str, tmp_path: Any) -> None:
    text = f"inputs: {{x: {{shape: [7, 2, 3]}}}}\nnet:\n  - {{name: part, type: Index, index: {written}}}\n"
    (tmp_path / "net.yaml").write_text(text)
    first = Net.from_yaml(tmp_path / "net.yaml")
    layers = [{"name": "part", **first.layers["part"].plain()}]
    (tmp_path / "again.yaml").write_text(dump_yaml({"inputs": {"x": {"shape": [7, 2, 3]}}, "net": layers}))
    again = Net.from_yaml(tmp_path / "again.yaml")
    x = np.random.default_rng(0).normal(size=(7, 2, 3)).astype("float32")
    want = x[0:6:2, -1, [2, 0]] if "-1" in written else x[..., [True, False, True]]
    for made in (first, again):
        assert_array_equal(next(iter(made.forward(x=x).values())), want)
