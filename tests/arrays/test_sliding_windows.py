"""Sliding windows: how many there are, which positions they see, and their columns."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from layerforge.arrays import sliding_windows as geometry
from layerforge.arrays.functional import MANY
from layerforge.arrays.sliding_windows import Axis, chunks, fold, slide, unfold, unfolded
from layerforge.schema.errors import LayerError


@pytest.mark.parametrize(
    ("axis", "count"),
    [
        (Axis(5, 3, 1, 0), 3),
        (Axis(5, 3, 2, 1), 3),
        (Axis(6, 3, 2, 0), 2),
        (Axis(6, 3, 2, 0, ceil_mode=True), 3),
        (Axis(5, 2, 1, 0, dilation=4), 1),
        (Axis(3, 3, 1, 0), 1),
        (Axis(2, 3, 1, 0), 0),
        (Axis(2, 3, 2, 0, ceil_mode=True), 1),
        (Axis(4, 1, 3, 0, ceil_mode=True), 2),
        (Axis(3, 2, 3, 1), 2),
        (Axis(2, 2, 3, 1, ceil_mode=True), 1),  # a second window would start at 2, behind the input
    ],
)
def test_number_of_windows(axis: Axis, count: int) -> None:
    assert axis.count == count


def plain_windows(axis: Axis) -> list[list[int]]:
    """The positions of every window, by trying one after the other until one ends behind the padding."""
    windows, begin, last = [], -axis.padding, axis.size + axis.padding - 1
    while begin + (axis.kernel - 1) * axis.dilation <= last:
        windows.append([begin + k * axis.dilation for k in range(axis.kernel)])
        begin += axis.stride
    if windows and axis.ceil_mode and windows[-1][-1] < last and begin < axis.size:
        windows.append([begin + k * axis.dilation for k in range(axis.kernel)])
    return windows


AXES = st.builds(
    Axis,
    size=st.integers(1, 9),
    kernel=st.integers(1, 4),
    stride=st.integers(1, 4),
    padding=st.integers(0, 3),
    dilation=st.integers(1, 3),
    ceil_mode=st.booleans(),
)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(AXES)
def test_taps_pair_windows_with_the_positions_that_they_see(axis: Axis) -> None:
    windows = plain_windows(axis)
    assume(windows and not (axis.ceil_mode and 2 * axis.padding > axis.kernel))  # which pooling refuses
    assert axis.count == len(windows)
    for first, stop in ((0, len(windows)), (1, len(windows)), (0, len(windows) - 1)):
        for k in range(axis.kernel):
            outputs, inputs = axis.tap(k, first, stop)
            pairs = list(zip(range(first, stop)[outputs], range(axis.size)[inputs], strict=True))
            wanted = [(o, windows[o][k]) for o in range(first, stop) if 0 <= windows[o][k] < axis.size]
            assert pairs == wanted


@settings(max_examples=100, deadline=None, derandomize=True)
@given(AXES)
def test_how_much_of_a_window_is_covered(axis: Axis) -> None:
    for o, window in enumerate(plain_windows(axis)):
        assert axis.covered(o, with_padding=False) == len([i for i in window if 0 <= i < axis.size])
        assert axis.covered(o, with_padding=True) == len([i for i in window if i < axis.size + axis.padding])


def test_too_large_a_kernel_is_named_with_its_sizes() -> None:
    with pytest.raises(LayerError, match=r"kernel_size \(3, 2\) with dilation \(2, 1\) covers 5 x 2.* input, 6 x 1"):
        slide((4, 1), (3, 2), (1, 1), (1, 0), (2, 1))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(AXES, min_size=1, max_size=3), st.integers(0, 2**31))
def test_fold_is_the_transpose_of_unfold_in_any_number_of_axes(axes: list[Axis], seed: int) -> None:
    windows = geometry.Windows(tuple(axes))
    assume(min(windows.counts) >= 1)
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(2, *windows.size, 3))
    block = (range(windows.counts[0] // 2, windows.counts[0]),)
    columns = unfold(np, x, windows, block)
    back, weights = np.zeros_like(x), rng.normal(size=columns.shape)
    fold(weights, back, windows, block)
    assert np.isclose((columns * weights).sum(), (x * back).sum(), rtol=1e-10, atol=1e-10)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(AXES, min_size=1, max_size=3), st.integers(1, 2**12), st.integers(0, 2**31))
def test_columns_in_chunks_are_those_of_the_whole_and_so_is_what_they_fold_to(
    axes: list[Axis], at_most: int, seed: int
) -> None:
    windows = geometry.Windows(tuple(axes))
    assume(min(windows.counts) >= 1)
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(2, *windows.size, 3))
    whole, back = unfold(np, x, windows), np.zeros_like(x)
    weights, wanted = rng.normal(size=whole.shape), np.zeros_like(x)
    fold(weights, wanted, windows)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(geometry, "COLUMNS_AT_MOST", at_most)
        parts = [(places, columns.copy()) for places, columns in unfolded(np, x, windows)]
        for block, places in chunks(windows, x):
            fold(np.ascontiguousarray(weights[:, places]), back, windows, block)
    np.testing.assert_array_equal(np.concatenate([columns for _, columns in parts], axis=1), whole)
    assert [places.start for places, _ in parts] == [0, *(places.stop for places, _ in parts[:-1])]
    assert all(columns.nbytes <= at_most or columns.shape[1] == 3 for _, columns in parts)
    np.testing.assert_allclose(back, wanted, rtol=1e-12, atol=1e-12)


def test_chunks_are_whole_rows_where_they_fit_and_parts_of_rows_where_not(monkeypatch: pytest.MonkeyPatch) -> None:
    windows, x = slide((9, 4), (2, 2), (1, 1), (0, 0)), np.zeros((3, 9, 4, 5))
    monkeypatch.setattr(geometry, "COLUMNS_AT_MOST", 3 * 3 * 4 * 3 * 5 * 8)  # three rows
    parts = list(chunks(windows, x))
    assert [block for block, _ in parts] == [(range(0, 3),), (range(3, 6),), (range(6, 8),)]
    assert [places for _, places in parts] == [slice(0, 45), slice(45, 90), slice(90, 120)]
    monkeypatch.setattr(geometry, "COLUMNS_AT_MOST", 2 * 3 * 4 * 5 * 8)  # two windows
    parts = list(chunks(windows, x))
    assert [block for block, _ in parts[:3]] == [
        (range(0, 1), range(0, 2)),
        (range(0, 1), range(2, 3)),
        (range(1, 2), range(0, 2)),
    ]
    assert [places for _, places in parts[:3]] == [slice(0, 10), slice(10, 15), slice(15, 25)]
    monkeypatch.setattr(geometry, "COLUMNS_AT_MOST", 1)
    assert len(list(chunks(windows, x))) == 8 * 3


def test_a_chunk_has_no_more_columns_than_a_plain_product_sums_up() -> None:
    windows, x = slide((100, 100), (1, 1), (1, 1)), np.zeros((1, 100, 100, 2), "float32")
    assert max(places.stop - places.start for _, places in chunks(windows, x)) <= MANY


def test_what_windows_cover_and_which_hang_over_by_counting() -> None:
    sizes = itertools.product(range(1, 7), range(1, 4), range(1, 4), range(4), range(1, 4), (False, True))
    for size, kernel, stride, padding, dilation, ceil in sizes:
        axis = Axis(size, kernel, stride, padding, dilation, ceil)
        if axis.extent > size + 2 * padding:
            continue
        hanging = set(axis.overhanging())
        for o in range(axis.count):
            begin = o * stride - padding
            seen = range(begin, begin + axis.extent, dilation)
            assert axis.covered(o, with_padding=False) == sum(0 <= i < size for i in seen)
            assert axis.covered(o, with_padding=True) == sum(-padding <= i < size + padding for i in seen)
            assert (o in hanging) == (begin < 0 or begin + axis.extent > size)
