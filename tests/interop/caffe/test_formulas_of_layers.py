"""Layers of Caffe with parameters that no recorded case has, held against formulas in NumPy."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from layerforge.interop import caffe
from layerforge.interop.caffe import binary
from layerforge.interop.caffe.blobs import blob


class Case:
    """One layer, `L`, with its bottoms b0, b1, ... and tops t0, t1, ..., after a forward and a backward."""

    def __init__(
        self, path: Path, definition: str, *bottoms: np.ndarray, tops: int = 1, blobs: Sequence[np.ndarray] = (),
        phase: str = "train", in_place: bool = False,
    ) -> None:  # fmt: skip
        lines = ["force_backward: true"]
        for i, array in enumerate(bottoms):
            dims = " ".join(f"dim: {n}" for n in array.shape)
            lines.append(f"layer {{ name: 'in{i}' type: 'Input' top: 'b{i}' input_param {{ shape {{ {dims} }} }} }}")
        read = " ".join(f"bottom: 'b{i}'" for i in range(len(bottoms)))
        names = ["b0"] if in_place else [f"t{j}" for j in range(tops)]
        made = " ".join(f"top: '{name}'" for name in names)
        file = path / "net.prototxt"
        file.write_text("\n".join([*lines, f"layer {{ name: 'L' {read} {made} {definition} }}"]))
        self.model = caffe.load_model(file, phase=phase)
        if len(blobs):
            self.model.set_blobs("L", blobs)
        self.net = self.model.net(keep="all")
        which = {"train": "train", "test": "eval"}[phase]
        self.net.forward(phase=which, backward=True, **{f"b{i}": a for i, a in enumerate(bottoms)})
        self.tops = [np.array(self.model.blob(self.net, name).data) for name in names]
        self.names = names

    def gradients(self, *dtops: np.ndarray) -> list[np.ndarray]:
        """Those of the bottoms."""
        self.net.backward(dict(zip(self.names, dtops, strict=False)))
        count = len([n for n in self.model.translation.inputs if n.startswith("b")])
        return [np.array(self.model.blob(self.net, f"b{i}").grad) for i in range(count)]

    def param(self, i: int) -> np.ndarray:
        return np.array(self.model.param(self.net, "L", i).grad)


def random(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).normal(size=shape).astype(np.float32)


def near(found: Any, expected: Any) -> None:
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize(("axis", "transpose"), [*itertools.product((0, 1, 2, -1), (False, True))])
def test_inner_product(axis: int, transpose: bool, tmp_path: Path) -> None:
    x = random(2, 3, 4)
    start = axis % 3
    outer, inner = x.shape[:start], int(np.prod(x.shape[start:]))
    weight, bias = random(5, inner), random(5, seed=1)
    stored = weight.T if transpose else weight
    more = f"num_output: 5 axis: {axis} transpose: {str(transpose).lower()}"
    case = Case(tmp_path, f"type: 'InnerProduct' inner_product_param {{ {more} }}", x, blobs=[stored, bias])
    near(case.tops[0], (x.reshape(-1, inner) @ weight.T + bias).reshape(*outer, 5))
    dy = random(*outer, 5, seed=2)
    (dx,) = case.gradients(dy)
    near(dx, (dy.reshape(-1, 5) @ weight).reshape(x.shape))
    dweight = dy.reshape(-1, 5).T @ x.reshape(-1, inner)
    near(case.param(0), dweight.T if transpose else dweight)
    near(case.param(1), dy.reshape(-1, 5).sum(0))


@pytest.mark.parametrize("axis", [0, 1, 2, -2])
def test_a_convolution_behind_other_axes(axis: int, tmp_path: Path) -> None:
    x, start = random(2, 3, 4, 5), axis % 4
    channels, size = x.shape[start], x.shape[start + 1 :]
    axes = len(size)
    kernel = (2,) * axes
    weight, bias = random(3, channels, *kernel), random(3, seed=1)
    case = Case(
        tmp_path, f"type: 'Convolution' convolution_param {{ num_output: 3 kernel_size: 2 axis: {axis} }}", x,
        blobs=[weight, bias],
    )  # fmt: skip
    flat = x.reshape(-1, channels, *size)
    expected = np.zeros((len(flat), 3, *(n - 1 for n in size)))
    for place in itertools.product(*(range(n - 1) for n in size)):
        window = flat[(slice(None), slice(None), *(slice(p, p + 2) for p in place))].reshape(len(flat), -1)
        expected[(slice(None), slice(None), *place)] = window @ weight.reshape(3, -1).T + bias
    near(case.tops[0], expected.reshape(*x.shape[:start], 3, *(n - 1 for n in size)))


def test_several_bottoms_of_a_convolution_have_the_same_weights(tmp_path: Path) -> None:
    x, z = random(2, 3, 4, 4), random(2, 3, 4, 4, seed=1)
    weight, bias = random(2, 3, 1, 1), random(2, seed=1)
    definition = "type: 'Convolution' convolution_param { num_output: 2 kernel_size: 1 }"
    case = Case(tmp_path, definition, x, z, tops=2, blobs=[weight, bias])
    for top, bottom in zip(case.tops, (x, z), strict=True):
        near(top, np.einsum("oc,nchw->nohw", weight[:, :, 0, 0], bottom) + bias[:, None, None])
    dy, dz = random(2, 2, 4, 4, seed=3), random(2, 2, 4, 4, seed=4)
    case.gradients(dy, dz)
    expected = np.einsum("nohw,nchw->oc", dy, x) + np.einsum("nohw,nchw->oc", dz, z)
    near(case.param(0)[:, :, 0, 0], expected)
    near(case.param(1), dy.sum((0, 2, 3)) + dz.sum((0, 2, 3)))


REDUCED = {"SUM": np.sum, "MEAN": np.mean, "ASUM": lambda a, k: abs(a).sum(k), "SUMSQ": lambda a, k: (a * a).sum(k)}


@pytest.mark.parametrize(("operation", "axis"), [*itertools.product(REDUCED, (0, 1, -1))])
def test_reductions(operation: str, axis: int, tmp_path: Path) -> None:
    x = random(2, 3, 4)
    definition = f"type: 'Reduction' reduction_param {{ operation: {operation} axis: {axis} coeff: -2.5 }}"
    near(Case(tmp_path, definition, x).tops[0], -2.5 * REDUCED[operation](x, tuple(range(axis % 3, 3))))


@pytest.mark.parametrize(("pool", "empty"), [("MAX", -3.4028235e38), ("AVE", 0.0)])
def test_a_window_behind_the_end_is_empty(pool: str, empty: float, tmp_path: Path) -> None:
    x = random(1, 2, 4, 3)
    case = Case(tmp_path, f"type: 'Pooling' pooling_param {{ pool: {pool} kernel_size: 1 stride: 4 }}", x)
    expected = np.full((1, 2, 2, 2), empty, np.float32)
    expected[:, :, 0, 0] = x[:, :, 0, 0]
    near(case.tops[0], expected)
    dy = random(1, 2, 2, 2)
    (dx,) = case.gradients(dy)
    assert dx.sum() == pytest.approx(dy[:, :, 0, 0].sum())
    near(dx[:, :, 0, 0], dy[:, :, 0, 0])


@pytest.mark.parametrize("pool", ["MAX", "AVE"])
def test_pooling_rounded_down_with_a_wide_margin(pool: str, tmp_path: Path) -> None:
    x = random(1, 1, 4, 4)
    more = f"pool: {pool} kernel_size: 3 pad: 2 round_mode: FLOOR"
    case = Case(tmp_path, f"type: 'Pooling' pooling_param {{ {more} }}", x)
    filled = np.pad(x[0, 0], 2, constant_values=-np.inf if pool == "MAX" else 0)
    make = np.max if pool == "MAX" else np.mean
    near(case.tops[0][0, 0], [[make(filled[i : i + 3, j : j + 3]) for j in range(6)] for i in range(6)])


def test_places_of_maxima_are_a_second_top(tmp_path: Path) -> None:
    x = random(2, 3, 4, 6)
    case = Case(tmp_path, "type: 'Pooling' pooling_param { kernel_size: 2 stride: 2 }", x, tops=2)
    flat = x.reshape(2, 3, 24)
    near(np.take_along_axis(flat, case.tops[1].reshape(2, 3, 6).astype(int), 2).reshape(2, 3, 2, 3), case.tops[0])


def test_bnll_in_place_has_the_slope_at_its_top(tmp_path: Path) -> None:
    x, dy = random(3, 4), random(3, 4, seed=1)
    case = Case(tmp_path, "type: 'BNLL'", x, in_place=True)
    near(case.tops[0], np.logaddexp(x, 0))
    near(case.gradients(dy)[0], dy / (1 + np.exp(-np.logaddexp(x, 0))))
    assert "sigmoid(y)" in case.model.report.entry("L").notes[0]


def test_a_slope_below_zero_in_place_passes_every_gradient_on(tmp_path: Path) -> None:
    x, dy = random(3, 4), random(3, 4, seed=1)
    case = Case(tmp_path, "type: 'ReLU' relu_param { negative_slope: -0.5 }", x, in_place=True)
    near(case.tops[0], np.where(x > 0, x, -0.5 * x))
    near(case.gradients(dy)[0], dy)
    assert "passes every gradient on" in case.model.report.entry("L").notes[0]


@pytest.mark.parametrize(
    ("definition", "told"),
    [
        ("type: 'Power' power_param { scale: 2 }", True),
        ("type: 'Log'", True),
        ("type: 'LRN'", True),
        ("type: 'Exp'", False),
        ("type: 'Sigmoid'", False),
    ],
)
def test_the_report_tells_of_gradients_that_are_wrong_in_place(definition: str, told: bool, tmp_path: Path) -> None:
    case = Case(tmp_path, definition, abs(random(1, 2, 3, 4)) + 1, in_place=True)
    notes = " ".join(case.model.report.entry("L").notes)
    assert ("from what it has overwritten" in notes) is told


@pytest.mark.parametrize(("more", "told"), [("", False), ("coeff: 1 coeff: 2", True), ("operation: MAX", True)])
def test_the_report_tells_of_eltwise_in_place(more: str, told: bool, tmp_path: Path) -> None:
    case = Case(tmp_path, f"type: 'Eltwise' eltwise_param {{ {more} }}", random(2, 3), random(2, 3), in_place=True)
    assert ("from what it has overwritten" in " ".join(case.model.report.entry("L").notes)) is told


def test_clip_in_place_passes_every_gradient_on(tmp_path: Path) -> None:
    x, dy = random(3, 4), random(3, 4, seed=1)
    case = Case(tmp_path, "type: 'Clip' clip_param { min: -0.5 max: 0.5 }", x, in_place=True)
    near(case.tops[0], np.clip(x, -0.5, 0.5))
    near(case.gradients(dy)[0], dy)


@pytest.mark.parametrize(("shape", "top"), [((3, 4), (3, 2, 2)), ((3, 4, 5), (3, 2, 2)), ((3, 2, 2, 3), (3, 2, 2, 1))])
def test_arg_max_with_values(shape: tuple[int, ...], top: tuple[int, ...], tmp_path: Path) -> None:
    x = random(*shape)
    (found,) = Case(tmp_path, "type: 'ArgMax' argmax_param { top_k: 2 out_max_val: true }", x).tops
    assert found.shape == top
    flat = x.reshape(len(x), -1)
    best = np.argsort(-flat, axis=1)[:, :2]
    near(found.reshape(3, 2, 2)[:, 0], best)
    near(found.reshape(3, 2, 2)[:, 1], np.take_along_axis(flat, best, 1))


def test_an_lstm_with_a_constant_input_goes_on(tmp_path: Path) -> None:
    x, constant = random(3, 2, 4), random(2, 3, seed=1)
    cont = np.array([[0, 1], [1, 1], [1, 0]], np.float32)
    blobs = [random(8, 4), random(8, seed=1), random(8, 3, seed=2), random(8, 2, seed=3)]
    case = Case(tmp_path, "type: 'LSTM' recurrent_param { num_output: 2 }", x, cont, constant, blobs=blobs)

    def sigmoid(a: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-a))

    h, c = np.zeros((2, 2)), np.zeros((2, 2))
    for turn in range(2):
        expected = []
        for t in range(3):
            keeps = cont[t][:, None]
            a = x[t] @ blobs[0].T + blobs[1] + constant @ blobs[2].T + keeps * h @ blobs[3].T
            i, f, o, g = np.split(a, 4, axis=1)
            c = keeps * sigmoid(f) * c + sigmoid(i) * np.tanh(g)
            h = sigmoid(o) * np.tanh(c)
            expected.append(h)
        near(case.model.blob(case.net, "t0").data, np.stack(expected))
        if turn == 0:
            case.net.forward(phase="train", b0=x, b1=cont, b2=constant)
    dy = random(3, 2, 2, seed=5)
    case.net.backward(t0=dy)
    for number, array in enumerate(blobs):
        assert case.param(number).shape == array.shape
        assert case.param(number).any()


def test_the_matrix_of_infogain_comes_from_its_file(tmp_path: Path) -> None:
    x, labels, matrix = random(4, 3), np.array([0, 2, 1, 2], np.float32), abs(random(3, 3, seed=1))
    (tmp_path / "H.binaryproto").write_bytes(binary.serialize(blob(matrix.reshape(1, 1, 3, 3))))
    case = Case(tmp_path, "type: 'InfogainLoss' infogain_loss_param { source: 'H.binaryproto' }", x, labels)
    p = np.exp(x) / np.exp(x).sum(1, keepdims=True)
    near(case.tops[0], -(matrix[labels.astype(int)] * np.log(p)).sum() / 4)


def test_dummy_data(tmp_path: Path) -> None:
    definition = (
        "type: 'DummyData' dummy_data_param { shape { dim: 2 dim: 3 } shape { dim: 400 dim: 50 }"
        " data_filler { value: 2.5 } data_filler { type: 'gaussian' mean: 1 std: 3 } }"
    )
    constant, drawn = Case(tmp_path, definition, tops=2).tops
    assert (constant == np.full((2, 3), 2.5)).all()
    assert (drawn.mean(), drawn.std()) == (pytest.approx(1, abs=0.1), pytest.approx(3, rel=0.02))


def test_threshold_is_1_above_it(tmp_path: Path) -> None:
    x = np.array([[0.5, 0.50001, -1, 3]], np.float32)
    near(Case(tmp_path, "type: 'Threshold' threshold_param { threshold: 0.5 }", x).tops[0], [[0, 1, 0, 1]])
