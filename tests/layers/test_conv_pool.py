"""Convolution and pooling: values by hand, the geometry of windows, and all of it against plain loops."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from layerforge.arrays import sliding_windows as geometry
from layerforge.arrays.sliding_windows import Axis, chunks, fold, slide, unfold
from layerforge.arrays.spec import Spec
from layerforge.check.harness import Probe
from layerforge.contract.layer import Example
from layerforge.layers.convolutions.conv import Conv2d
from layerforge.layers.poolings.avg_pool import AvgPool2d, GlobalAvgPool2d
from layerforge.layers.poolings.max_pool import MaxPool2d
from layerforge.schema.errors import LayerError

NINE = np.arange(1.0, 10.0).reshape(1, 1, 3, 3)


def run(cls: Any, params: dict[str, Any], x: np.ndarray, dy: Any = None, **values: Any) -> tuple[Any, Any, Probe]:
    """The top for x, the bottom's gradient for dy (ones where not given), and the probe that holds the layer."""
    probe = Probe(cls, Example(params, [Spec(x.shape)]))
    for name, value in values.items():
        probe.layer.params[name][...] = value
    (y,) = probe.forward([x])
    (dx,) = probe.backward([np.ones_like(y) if dy is None else np.broadcast_to(np.asarray(dy, float), y.shape)])
    return y, dx, probe


# Geometry -------------------------------------------------------------------------------------------------------------


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
    rows = range(windows.counts[0] // 2, windows.counts[0])
    columns = unfold(np, x, windows, rows)
    back, weights = np.zeros_like(x), rng.normal(size=columns.shape)
    fold(weights, back, windows, rows)
    assert np.isclose((columns * weights).sum(), (x * back).sum(), rtol=1e-10, atol=1e-10)


def test_chunks_cover_all_columns_once_and_respect_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    windows, x = slide((9, 4), (2, 2), (1, 1), (0, 0)), np.zeros((3, 9, 4, 5))
    monkeypatch.setattr(geometry, "COLUMNS_AT_MOST", 3 * 3 * 4 * 3 * 5 * 8)  # three rows
    parts = list(chunks(windows, x))
    assert [rows for rows, _ in parts] == [range(0, 3), range(3, 6), range(6, 8)]
    assert [places for _, places in parts] == [slice(0, 45), slice(45, 90), slice(90, 120)]
    monkeypatch.setattr(geometry, "COLUMNS_AT_MOST", 1)
    assert [len(rows) for rows, _ in chunks(windows, x)] == [1] * 8


# Convolution ----------------------------------------------------------------------------------------------------------


def test_convolution_by_hand() -> None:
    weight = np.array([[[[1.0, 0.0], [0.0, -1.0]]]])
    dy = np.array([[[[1.0, 2.0], [3.0, 4.0]]]])
    y, dx, probe = run(Conv2d, {"out_channels": 1, "kernel_size": 2}, NINE, dy, weight=weight, bias=10)
    assert y.tolist() == [[[[6, 6], [6, 6]]]]  # 1 - 5 + 10 = 2 - 6 + 10 = ...
    assert dx.tolist() == [[[[1, 2, 0], [3, 3, -2], [0, -3, -4]]]]
    assert probe.layer.grads.weight.tolist() == [[[[37, 47], [67, 77]]]]  # 1·1 + 2·2 + 3·4 + 4·5 = 37 ...
    assert probe.layer.grads.bias.tolist() == [10]


def plain_convolution(x: np.ndarray, dy: Any, weight: np.ndarray, bias: np.ndarray, layer: Conv2d) -> dict[str, Any]:
    """The formula of the docstring, number by number; with dy also the gradients, by the product rule."""
    n, c, h, w = x.shape
    m, per_group, kh, kw = weight.shape
    (sh, sw), (ph, pw), (dh, dw) = layer.stride, layer.padding, layer.dilation
    y = np.zeros((n, m, (h + 2 * ph - dh * (kh - 1) - 1) // sh + 1, (w + 2 * pw - dw * (kw - 1) - 1) // sw + 1))
    out = {"y": y, "dx": np.zeros_like(x), "weight": np.zeros_like(weight), "bias": np.zeros_like(bias)}
    for s, o, p, q in np.ndindex(y.shape):
        y[s, o, p, q] += bias[o]
        out["bias"][o] += dy[s, o, p, q]
        for c, i, j in product(range(per_group), range(kh), range(kw)):
            row, col = p * sh + i * dh - ph, q * sw + j * dw - pw
            if 0 <= row < h and 0 <= col < w:
                place = s, o // (m // layer.groups) * per_group + c, row, col
                y[s, o, p, q] += weight[o, c, i, j] * x[place]
                out["weight"][o, c, i, j] += dy[s, o, p, q] * x[place]
                out["dx"][place] += dy[s, o, p, q] * weight[o, c, i, j]
    return out


@pytest.mark.parametrize("at_most", [1, 2000, 2**30], ids=["row by row", "some rows", "all at once"])
@pytest.mark.parametrize("index", range(len(Conv2d.examples)))
def test_convolution_equals_the_plain_loop(index: int, at_most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(geometry, "COLUMNS_AT_MOST", at_most)
    probe = Probe(Conv2d, Conv2d.examples[index])
    layer, (x,) = probe.layer, probe.bottoms
    (y,) = probe.forward()
    (dy,) = probe.draw_cotangents([y])
    (dx,) = probe.backward([dy])
    bias = layer.params.bias if layer.bias else np.zeros(layer.out_channels)
    want = plain_convolution(x, dy, layer.params.weight, bias, layer)
    got = {"y": y, "dx": dx} | dict(layer.grads.items())
    for name, array in got.items():
        np.testing.assert_allclose(array, want[name], rtol=1e-12, atol=1e-12, err_msg=name)


def test_biases_do_not_decay() -> None:
    layer = Probe(Conv2d, Conv2d.examples[0]).layer
    assert [(d.name, d.decay_mult) for d in layer.param_decls.values()] == [("weight", 1), ("bias", 0)]


def test_flops_of_grouped_convolution() -> None:
    layer = Conv2d(out_channels=6, kernel_size=[3, 2], groups=2)
    x = Spec((5, 4, 7, 7))
    top = layer.setup(x)
    assert top.shape == (5, 6, 5, 6)
    assert layer.flops([x], [top]) == 2 * (5 * 6 * 5 * 6) * (4 // 2) * (3 * 2)


def test_the_output_of_one_convolution_enters_the_next_without_a_copy() -> None:
    y, _, _ = run(Conv2d, {"out_channels": 3, "kernel_size": 2}, np.ones((4, 2, 5, 5)))
    assert np.shares_memory(geometry.batch_last(np, y), y)


# Pooling --------------------------------------------------------------------------------------------------------------


def test_maximum_by_hand() -> None:
    y, dx, _ = run(MaxPool2d, {"kernel_size": 2, "stride": 1}, NINE, [[1, 2], [3, 4]])
    assert y.tolist() == [[[[5, 6], [8, 9]]]]
    assert dx.tolist() == [[[[0, 0, 0], [0, 1, 2], [0, 3, 4]]]]


def test_a_number_that_wins_several_windows_gets_the_sum_of_their_gradients() -> None:
    x = np.zeros((1, 1, 3, 3))
    x[..., 1, 1] = 1
    _, dx, _ = run(MaxPool2d, {"kernel_size": 2, "stride": 1}, x, [[1, 2], [3, 4]])
    assert dx[0, 0].tolist() == [[0, 0, 0], [0, 10, 0], [0, 0, 0]]


def test_the_first_of_equal_maxima_takes_the_gradient() -> None:
    x = np.array([[[[1.0, 3.0, 3.0], [3.0, 2.0, 3.0]]]])
    _, dx, _ = run(MaxPool2d, {"kernel_size": [2, 3]}, x)
    assert dx[0, 0].tolist() == [[0, 1, 0], [0, 0, 0]]


@pytest.mark.parametrize("value", [-5.0, -np.inf])
def test_padding_never_wins(value: float) -> None:
    y, dx, _ = run(MaxPool2d, {"kernel_size": 2, "padding": 1}, np.full((1, 1, 2, 2), value))
    assert (y == value).all()
    assert (dx == 1).all()


def test_nan_is_passed_on_by_maximum() -> None:
    x = NINE.copy()
    x[..., 0, 0] = np.nan
    y, _, _ = run(MaxPool2d, {"kernel_size": 2, "stride": 1}, x)
    assert np.isnan(y).tolist() == [[[[True, False], [False, False]]]]


def test_more_than_255_elements_in_a_window() -> None:
    x = np.zeros((1, 1, 20, 20))
    x[..., 19, 18] = 1
    _, dx, _ = run(MaxPool2d, {"kernel_size": 20}, x, 7)
    assert dx[..., 19, 18] == 7
    assert dx.sum() == 7


def test_stride_is_kernel_size_unless_given() -> None:
    for cls in (MaxPool2d, AvgPool2d):
        y, _, _ = run(cls, {"kernel_size": [2, 3]}, np.ones((1, 1, 6, 6)))
        assert y.shape == (1, 1, 3, 2)


def test_ceil_mode_by_hand() -> None:
    floor, _, _ = run(MaxPool2d, {"kernel_size": 2}, NINE)
    ceil, _, _ = run(MaxPool2d, {"kernel_size": 2, "ceil_mode": True}, NINE)
    assert floor.tolist() == [[[[5]]]]
    assert ceil.tolist() == [[[[5, 6], [8, 9]]]]


def test_means_by_hand() -> None:
    y, dx, _ = run(AvgPool2d, {"kernel_size": 2, "stride": 1}, NINE, [[4, 8], [12, 16]])
    assert y.tolist() == [[[[3, 4], [6, 7]]]]
    assert dx.tolist() == [[[[1, 3, 2], [4, 10, 6], [3, 7, 4]]]]


@pytest.mark.parametrize(
    ("params", "counts"),
    [
        ({"kernel_size": 2, "padding": 1}, [4, 4]),
        ({"kernel_size": 2, "padding": 1, "count_include_pad": False}, [1, 2]),
        ({"kernel_size": 2, "ceil_mode": True}, [4, 2]),  # what hangs over the end never counts
        ({"kernel_size": 3, "stride": 3, "padding": 1, "ceil_mode": True}, [9, 6]),  # padding does
        ({"kernel_size": 3, "stride": 3, "padding": 1, "ceil_mode": True, "count_include_pad": False}, [4, 2]),
    ],
)
def test_what_a_mean_divides_by(params: dict[str, Any], counts: list[int]) -> None:
    """The sum of the ones in a window of the first row over its mean is the divisor."""
    x = np.ones((1, 1, 3, 3))
    y, _, probe = run(AvgPool2d, params, x)
    summed = np.zeros_like(y)
    for tap in probe.layer.windows((3, 3)).taps():
        summed[:, :, *tap.outputs] += x[:, :, *tap.inputs]
    assert (summed / y)[0, 0, 0].tolist() == counts


def plain_pooling(x: np.ndarray, dy: np.ndarray, layer: Any) -> tuple[np.ndarray, np.ndarray]:
    """Top and bottom gradient, window by window."""
    y, dx = np.zeros_like(dy), np.zeros_like(x)
    (sh, sw), (ph, pw), (kh, kw) = layer.stride or layer.kernel_size, layer.padding, layer.kernel_size
    dh, dw = layer.dilation or (1, 1)
    h, w = x.shape[2:]
    for s, c, p, q in np.ndindex(dy.shape):
        rows, cols = ([o * s - m + k * d for k in range(n)] for o, s, m, n, d in
                      ((p, sh, ph, kh, dh), (q, sw, pw, kw, dw)))  # fmt: skip
        seen = [(s, c, i, j) for i, j in product(rows, cols) if 0 <= i < h and 0 <= j < w]
        if isinstance(layer, MaxPool2d):
            first = max(seen, key=lambda place: x[place])
            y[s, c, p, q] = x[first]
            dx[first] += dy[s, c, p, q]
        else:
            padded = [1 for i, j in product(rows, cols) if i < h + ph and j < w + pw]
            count = len(padded) if layer.count_include_pad else len(seen)
            y[s, c, p, q] = sum(x[place] for place in seen) / count
            for place in seen:
                dx[place] += dy[s, c, p, q] / count
    return y, dx


@pytest.mark.parametrize(
    ("cls", "example"),
    [(c, e) for c in (MaxPool2d, AvgPool2d) for e in c.examples],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_pooling_equals_the_plain_loop(cls: Any, example: Example) -> None:
    probe = Probe(cls, example)
    x = np.round(probe.bottoms[0])  # many equal numbers
    (y,) = probe.forward([x])
    (dy,) = probe.draw_cotangents([y])
    (dx,) = probe.backward([dy])
    want_y, want_dx = plain_pooling(x, dy, probe.layer)
    np.testing.assert_allclose(y, want_y, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(dx, want_dx, rtol=1e-12, atol=1e-12)


def test_pooling_keeps_the_memory_order_of_its_bottom() -> None:
    x = np.zeros((3, 4, 5, 6))
    for order in ((0, 1, 2, 3), (1, 2, 3, 0), (0, 2, 3, 1)):
        ordered = np.ascontiguousarray(x.transpose(order)).transpose(np.argsort(order))
        for cls in (MaxPool2d, AvgPool2d):
            y, _, _ = run(cls, {"kernel_size": 2}, ordered)
            assert y.transpose(order).flags.c_contiguous


def test_maximum_keeps_nothing_but_one_byte_per_window() -> None:
    _, _, probe = run(MaxPool2d, {"kernel_size": 2}, np.zeros((2, 3, 4, 4)))
    kept = probe.layer.saved
    assert kept.winner.nbytes == 2 * 3 * 2 * 2
    assert set(kept) == {"winner", "shape"}


def test_flops_of_pooling() -> None:
    x = Spec((2, 3, 6, 6))
    for layer in (MaxPool2d(kernel_size=[2, 3]), AvgPool2d(kernel_size=[2, 3])):
        assert layer.flops([x], [layer.setup(x)]) == (2 * 3 * 3 * 2) * 6
    assert GlobalAvgPool2d().flops([x], [Spec((2, 3, 1, 1))]) == x.size


def test_global_mean_by_hand() -> None:
    y, dx, _ = run(GlobalAvgPool2d, {}, NINE, 9)
    assert y.tolist() == [[[[5]]]]
    assert (dx == 1).all()


@pytest.mark.parametrize("cls", [Conv2d, MaxPool2d, AvgPool2d, GlobalAvgPool2d])
def test_no_gradient_is_computed_for_a_bottom_that_needs_none(cls: Any) -> None:
    probe = Probe(cls, cls.examples[0])
    probe.layer.needs_grad = (False,)
    (y,) = probe.forward()
    assert probe.backward([y]) == (None,)
