"""Convolutions and what changes the size of images: values by hand, and each against another that must agree."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose
from support.alone import Alone, run

from layerforge.arrays import sliding_windows as geometry
from layerforge.arrays.sliding_windows import Axis
from layerforge.arrays.spec import Spec
from layerforge.check.harness import Probe
from layerforge.layers.convolutions import correlation, depthwise
from layerforge.layers.convolutions.conv import Conv2d
from layerforge.layers.convolutions.conv_transpose import ConvTranspose2d

RNG = np.random.default_rng(0)
NINE = np.arange(1.0, 10.0).reshape(1, 1, 3, 3)
TURNED = [
    {"kernel_size": 3},
    {"kernel_size": 3, "stride": 2, "padding": 1, "output_padding": 1},
    {"kernel_size": [2, 3], "stride": [3, 1], "dilation": [1, 2], "groups": 2},
    {"kernel_size": 2, "dilation": 3, "output_padding": 2, "padding": 1},
    {"kernel_size": 3, "groups": 4, "stride": 2},
]


def conv(type_name: str, x: Any, weight: Any, bias: Any = 0.0, **params: Any) -> Alone:
    """A convolution of x with these kernels."""
    layer = Alone(type_name, x, **params)
    layer.layer.params.weight[...] = weight
    if params.get("bias", True):
        layer.layer.params.bias[...] = bias
    return layer


# Conv2d ---------------------------------------------------------------------------------------------------------------


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


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize(
    ("size", "kernel", "stride", "padding", "dilation"),
    [
        ([7], [3], [1], [0], [2]),
        ([5, 6], [3, 3], [1, 1], [1, 1], [1, 1]),
        ([5, 6], [2, 3], [1, 1], [1, 4], [2, 2]),
        ([5, 4], [1, 3], [1, 1], [0, 2], [1, 1]),
        ([5, 6], [3, 2], [1, 1], [3, 0], [1, 1]),  # windows that see nothing but padding
        ([5, 6], [3, 3], [1, 2], [1, 1], [1, 1]),
        ([3, 4, 3], [2, 3, 1], [1, 1, 1], [1, 0, 0], [1, 1, 1]),
    ],
)
def test_both_gradients_of_a_convolution_from_columns_that_are_made_once(
    size: list[int], kernel: list[int], stride: list[int], padding: list[int], dilation: list[int], groups: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(geometry, "COLUMNS_AT_MOST", 4000)  # a few windows at a time
    windows = geometry.slide(size, kernel, stride, padding, dilation)
    x, kernels = RNG.normal(size=(8, *size, 3)), RNG.normal(size=(6, 8 // groups, *kernel))
    y = RNG.normal(size=(6, *windows.counts, 3))
    dx, dkernels = correlation.spread_and_weigh(np, kernels, y, x, windows)
    assert_allclose(dx, correlation.spread(np, kernels, y, windows, 8), rtol=1e-11, atol=1e-12)
    assert_allclose(dkernels, correlation.weigh(np, y, x, windows, kernels), rtol=1e-11, atol=1e-12)
    whole = correlation.correlate(np, kernels, x, windows)
    assert_allclose((dx * x).sum(), (whole * y).sum(), rtol=1e-10)
    assert_allclose((dkernels * kernels).sum(), (whole * y).sum(), rtol=1e-10)


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (0, 2, 3, 1), (3, 1, 0, 2)], ids=["NCHW", "NHWC", "mixed"])
def test_the_batch_goes_last_from_any_order_in_memory(order: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(geometry, "ELEMENTS", 100)  # two of the five rows at a time
    x = RNG.normal(size=(4, 3, 5, 4)).transpose(order).copy().transpose(np.argsort(order))
    moved = geometry.batch_last(np, x)
    assert moved.flags.c_contiguous
    np.testing.assert_array_equal(moved, np.moveaxis(x, 0, -1))


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize(("stride", "padding"), [(1, 0), (2, 0), (1, 1), (2, 1)])
def test_a_kernel_of_one_position_is_a_linear_map_of_the_channels(groups: int, stride: int, padding: int) -> None:
    """Stride 2 leaves positions out; with padding 1 it sees as many of these three as there are."""
    x, weight, bias = RNG.normal(size=(2, 4, 3, 3)), RNG.normal(size=(6, 4 // groups, 1, 1)), RNG.normal(size=6)
    options = {"kernel_size": 1, "stride": stride, "padding": padding, "groups": groups}
    one = conv("Conv2d", x, weight, bias, out_channels=6, **options)
    matrix = np.zeros((6, 4))
    for o, c in np.ndindex(6, 4 // groups):
        matrix[o, o // (6 // groups) * (4 // groups) + c] = weight[o, c, 0, 0]
    seen = np.pad(x, [(0, 0), (0, 0), (padding, padding), (padding, padding)])[:, :, ::stride, ::stride]
    assert_allclose(one.top(), np.einsum("oc,nchw->nohw", matrix, seen) + bias[:, None, None], rtol=1e-12)
    dy = RNG.normal(size=one.top().shape)
    dx = np.zeros((2, 4, 3 + 2 * padding, 3 + 2 * padding))
    dx[:, :, ::stride, ::stride] = np.einsum("oc,nohw->nchw", matrix, dy)
    got = one.vjp(dy)
    assert_allclose(got["bottom[0]"], dx[:, :, padding : padding + 3, padding : padding + 3], rtol=1e-12, atol=1e-14)
    dmatrix = np.einsum("nohw,nchw->oc", dy, seen)
    want = [[dmatrix[o, o // (6 // groups) * (4 // groups) + c] for c in range(4 // groups)] for o in range(6)]
    assert_allclose(got["weight"][:, :, 0, 0], want, rtol=1e-11)


@pytest.mark.parametrize("cls", [Conv2d])
def test_no_gradient_is_computed_for_a_bottom_that_needs_none(cls: Any) -> None:
    probe = Probe(cls, cls.examples[0])
    probe.layer.needs_grad = (False,)
    (y,) = probe.forward()
    assert probe.backward([y]) == (None,)


def test_a_transposed_convolution_paints_its_kernel_by_hand() -> None:
    x = [[[[1.0, 2.0], [3.0, 4.0]]]]
    kernel = np.array([[[[1.0, 0.0], [0.0, -1.0]]]])
    one = conv("ConvTranspose2d", x, kernel, bias=10, out_channels=1, kernel_size=2)
    assert one.top().tolist() == [[[[11, 12, 10], [13, 13, 8], [10, 7, 6]]]]
    apart = conv("ConvTranspose2d", x, kernel, out_channels=1, kernel_size=2, stride=2)
    assert apart.top().tolist() == [[[[1, 0, 2, 0], [0, -1, 0, -2], [3, 0, 4, 0], [0, -3, 0, -4]]]]
    grads = apart.vjp(np.arange(16.0).reshape(1, 1, 4, 4))
    assert grads["bottom[0]"].tolist() == [[[[-5, -5], [-5, -5]]]]  # 0 - 5, 2 - 7, 8 - 13, 10 - 15
    assert grads["weight"].tolist() == [[[[68, 78], [108, 118]]]]  # 1·0 + 2·2 + 3·8 + 4·10, ...
    assert grads["bias"].tolist() == [120]


@pytest.mark.parametrize("params", TURNED)
def test_a_transposed_convolution_is_the_transpose_of_the_convolution(params: dict[str, Any]) -> None:
    """<T x, z> = <x, C z> for the same weight: C (M to C channels) maps T's output back to T's input."""
    x, out_channels = RNG.normal(size=(2, 8, 3, 4)), 4
    layer = ConvTranspose2d(out_channels=out_channels, bias=False, **params)
    top = layer.setup(Spec(x.shape))
    weight = RNG.normal(size=layer.param_decls["weight"].shape)
    turned = conv("ConvTranspose2d", x, weight, out_channels=out_channels, bias=False, **params)
    z = RNG.normal(size=top.shape)
    options = {key: value for key, value in params.items() if key != "output_padding"}
    back = conv("Conv2d", z, weight, out_channels=8, bias=False, **options).top()[:, :, : x.shape[2], : x.shape[3]]
    assert_allclose((turned.top() * z).sum(), (x * back).sum(), rtol=1e-12)


def test_sizes_of_a_transposed_convolution() -> None:
    """stride (size - 1) + dilation (kernel - 1) + 1 - 2 padding + output_padding; and Conv2d's way back."""
    layer = ConvTranspose2d(out_channels=2, kernel_size=3, stride=2, padding=1, output_padding=[0, 1], dilation=2)
    assert layer.setup(Spec((5, 3, 4, 6))).shape == (5, 2, 9, 14)
    forth = Conv2d(out_channels=3, kernel_size=3, stride=2, padding=1, dilation=2)
    assert forth.setup(Spec((5, 2, 9, 14))).shape == (5, 3, 4, 6)
    assert layer.flops([Spec((5, 3, 4, 6))], [Spec((5, 2, 9, 14))]) == 2 * (5 * 3 * 4 * 6) * 2 * 9


def test_upsampling_by_a_bilinear_kernel_as_in_caffe() -> None:
    """Deconvolution with a bilinear filler, one group per channel: a ramp stays a ramp, twice as fine."""
    ramp = np.broadcast_to(np.arange(6.0), (1, 2, 6, 6))
    options = {"kernel_size": 4, "stride": 2, "padding": 1, "groups": 2, "bias": False, "weight_filler": "bilinear"}
    layer = ConvTranspose2d(out_channels=2, **options)
    layer.setup(Spec(ramp.shape))
    weight = layer.param_decls["weight"].filler.fill(RNG, (2, 1, 4, 4))
    y = conv("ConvTranspose2d", ramp, weight, out_channels=2, **options).top()
    assert_allclose(y[:, :, 1:-1, 1:-1], np.broadcast_to(np.arange(0.25, 5, 0.5), (1, 2, 10, 10)), rtol=1e-12)


def test_biases_of_a_transposed_convolution_do_not_decay() -> None:
    layer = ConvTranspose2d(out_channels=2, kernel_size=1)
    layer.setup(Spec((1, 1, 1, 1)))
    assert [(d.name, d.decay_mult) for d in layer.param_decls.values()] == [("weight", 1), ("bias", 0)]


def test_only_so_many_windows_as_are_wanted() -> None:
    assert Axis(9, 2, 3, 0).count == 3
    assert Axis(9, 2, 3, 0, at_most=2).count == 2
    assert Axis(9, 2, 3, 0, at_most=4).count == 3


@pytest.mark.parametrize("at_once", [1, 1500, 2**30], ids=["one channel", "some channels", "all at once"])
@pytest.mark.parametrize("copies", [1, 3000, 2**24], ids=["one sample", "two samples", "all samples"])
@pytest.mark.parametrize("multiplier", [1, 2])
def test_depthwise_convolution_is_a_convolution_with_zeros_between_channels(
    multiplier: int, copies: int, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(depthwise, "AT_ONCE", at_once)
    monkeypatch.setattr(depthwise, "COPIES_AT_MOST", copies)
    channels, options = 5, {"kernel_size": [3, 2], "stride": [1, 2], "padding": 1, "dilation": [2, 1]}
    x, weight = RNG.normal(size=(3, channels, 6, 5)), RNG.normal(size=(channels * multiplier, 1, 3, 2))
    bias, outputs = RNG.normal(size=len(weight)), np.arange(channels * multiplier)
    whole = np.zeros((len(weight), channels, 3, 2))
    whole[outputs, outputs // multiplier] = weight[:, 0]
    split = conv("Conv2d", x, weight, bias, out_channels=len(weight), groups=channels, **options)
    mixed = conv("Conv2d", x, whole, bias, out_channels=len(weight), **options)
    assert_allclose(split.top(), mixed.top(), rtol=1e-12)
    dy = RNG.normal(size=split.top().shape)
    got, want = split.vjp(dy), mixed.vjp(dy)
    assert_allclose(got["bottom[0]"], want["bottom[0]"], rtol=1e-10, atol=1e-12)
    assert_allclose(got["weight"][:, 0], want["weight"][outputs, outputs // multiplier], rtol=1e-10)


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_convolutions_along_one_and_three_axes_are_those_along_two(groups: int) -> None:
    """With an axis of length 1 and a kernel of that size."""
    x, weight = RNG.normal(size=(2, 4, 3, 7)), RNG.normal(size=(8, 4 // groups, 1, 3))
    options = {"out_channels": 8, "groups": groups}
    flat = {**options, "kernel_size": [1, 3], "stride": [1, 2], "padding": [0, 1], "dilation": [1, 2]}
    deep = {key: [1, *value] if isinstance(value, list) else value for key, value in flat.items()}
    deep["padding"] = [0, 0, 1]
    want = conv("Conv2d", x, weight, 1.0, **flat).top()
    assert_allclose(conv("Conv3d", x[:, :, None], weight[:, :, None], 1.0, **deep).top()[:, :, 0], want, rtol=1e-12)
    line = {**options, "kernel_size": 3, "stride": 2, "padding": 1, "dilation": 2}
    for row in range(3):
        got = conv("Conv1d", x[:, :, row], weight[:, :, 0], 1.0, **line).top()
        assert_allclose(got, want[:, :, row], rtol=1e-12)


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_transposed_convolutions_along_one_and_three_axes_are_those_along_two(groups: int) -> None:
    x, weight = RNG.normal(size=(2, 4, 3, 5)), RNG.normal(size=(4, 8 // groups, 1, 3))
    options = {"out_channels": 8, "groups": groups}
    line = {**options, "kernel_size": 3, "stride": 3, "padding": 1, "dilation": 2, "output_padding": 2}
    flat = {**line, "kernel_size": [1, 3], "stride": [1, 3], "padding": [0, 1], "output_padding": [0, 2]}
    deep = {**line, "kernel_size": [1, 1, 3], "stride": [1, 1, 3], "padding": [0, 0, 1], "output_padding": [0, 0, 2]}
    two = conv("ConvTranspose2d", x, weight, 1.0, **flat)
    three = conv("ConvTranspose3d", x[:, :, None], weight[:, :, None], 1.0, **deep)
    assert_allclose(three.top()[:, :, 0], two.top(), rtol=1e-12)
    dy = RNG.normal(size=two.top().shape)
    want, got = two.vjp(dy), three.vjp(dy[:, :, None])
    assert_allclose(got["bottom[0]"][:, :, 0], want["bottom[0]"], rtol=1e-12)
    assert_allclose(got["weight"][:, :, 0], want["weight"], rtol=1e-12)
    for row in range(3):
        one = conv("ConvTranspose1d", x[:, :, row], weight[:, :, 0], 1.0, **line)
        assert_allclose(one.top(), two.top()[:, :, row], rtol=1e-12)
        assert_allclose(one.vjp(dy[:, :, row])["bottom[0]"], want["bottom[0]"][:, :, row], rtol=1e-12)


# Upsample, PixelShuffle, Unfold ---------------------------------------------------------------------------------------


def along(type_name: str, numbers: list[float], **params: Any) -> np.ndarray:
    """The first row that a layer makes of an image with these columns and one row."""
    return Alone(type_name, np.array(numbers, dtype=float).reshape(1, 1, 1, -1), **params).top()[0, 0, 0]


@pytest.mark.parametrize(
    ("params", "numbers", "want"),
    [
        ({"scale_factor": 2}, [1, 2], [1, 1, 2, 2]),
        ({"scale_factor": 1.5}, [1, 2, 3, 4], [1, 1, 2, 3, 3, 4]),
        ({"scale_factor": [1, 0.5]}, [1, 2, 3, 4, 5], [1, 3]),
        ({"scale_factor": 2, "mode": "bilinear"}, [0, 1], [0, 0.25, 0.75, 1]),
        ({"scale_factor": 3, "mode": "bilinear"}, [0, 3], [0, 0, 1, 2, 3, 3]),
        ({"scale_factor": 2, "mode": "bilinear", "align_corners": True}, [0, 3], [0, 1, 2, 3]),
        ({"scale_factor": 3, "mode": "bilinear", "align_corners": True}, [5], [5, 5, 5]),
    ],
)
def test_upsampling_by_hand(params: dict[str, Any], numbers: list[float], want: list[float]) -> None:
    if not isinstance(params["scale_factor"], list):
        params = {**params, "scale_factor": [1, params["scale_factor"]]}
    assert_allclose(along("Upsample", numbers, **params), want, rtol=1e-14, atol=1e-14)


def test_upsampling_works_along_both_axes() -> None:
    up = Alone("Upsample", [[[[1.0, 2.0], [3.0, 4.0]]]], scale_factor=[2, 3])
    assert up.top()[0, 0].tolist() == [[1, 1, 1, 2, 2, 2]] * 2 + [[3, 3, 3, 4, 4, 4]] * 2
    dx = up.vjp(np.arange(24.0).reshape(1, 1, 4, 6))["bottom[0]"]
    assert dx[0, 0].tolist() == [[0 + 1 + 2 + 6 + 7 + 8, 3 + 4 + 5 + 9 + 10 + 11], [96, 114]]


@pytest.mark.parametrize("params", [{}, {"align_corners": True}])
def test_a_constant_image_stays_constant_when_it_is_interpolated(params: dict[str, Any]) -> None:
    up = Alone("Upsample", np.full((1, 2, 5, 3), 7.0), scale_factor=[2.7, 0.7], mode="bilinear", **params)
    assert_allclose(up.top(), 7, rtol=1e-14)


def test_pixels_by_hand() -> None:
    shuffled = Alone("PixelShuffle", np.arange(8.0).reshape(1, 4, 1, 2), upscale_factor=2)
    assert shuffled.top().tolist() == [[[[0, 2, 1, 3], [4, 6, 5, 7]]]]
    assert shuffled.vjp(shuffled.top())["bottom[0]"].tolist() == np.arange(8.0).reshape(1, 4, 1, 2).tolist()


def test_unfolded_windows_by_hand() -> None:
    columns = Alone("Unfold", np.arange(9.0).reshape(1, 1, 3, 3), kernel_size=2)
    assert columns.top().tolist() == [[[0, 1, 3, 4], [1, 2, 4, 5], [3, 4, 6, 7], [4, 5, 7, 8]]]
    assert columns.vjp(np.ones((1, 4, 4)))["bottom[0]"][0, 0].tolist() == [[1, 2, 1], [2, 4, 2], [1, 2, 1]]


UNFOLDED = {
    "1d": ((2, 3, 9), {"kernel_size": 3, "stride": 2, "padding": 2, "dilation": 2}),
    "2d": ((2, 3, 7, 6), {"kernel_size": [3, 2], "stride": 2, "padding": 1, "dilation": [1, 2]}),
    "3d": ((2, 3, 4, 5, 3), {"kernel_size": [3, 1, 2], "stride": [1, 2, 1], "padding": 1, "dilation": [2, 1, 3]}),
}  # fmt: skip


@pytest.mark.parametrize("axes", UNFOLDED)
def test_a_convolution_is_a_product_with_the_unfolded_image(axes: str) -> None:
    shape, options = UNFOLDED[axes]
    x = RNG.normal(size=shape)
    conv = Alone(f"Conv{axes}", x, out_channels=4, bias=False, **options)
    y = conv.top()
    product = conv.layer.params.weight.reshape(4, -1) @ Alone(f"Unfold{axes.replace('2d', '')}", x, **options).top()
    assert_allclose(product.reshape(y.shape), y, rtol=1e-12, atol=1e-12)
