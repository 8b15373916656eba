"""What the importer makes of wiring, parameters and names, and what it says where it cannot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from layerforge.interop import caffe
from layerforge.interop.caffe.training import merge
from layerforge.run.views import BlobError
from layerforge.schema.errors import ConfigError, ConfigErrors, DataError, flatten

DATA = "layer { name: 'data' type: 'Input' top: 'data' input_param { shape { dim: 3 dim: 4 } } }\n"
LABEL = "layer { name: 'label' type: 'Input' top: 'label' input_param { shape { dim: 3 } } }\n"
IMAGE = "layer { name: 'data' type: 'Input' top: 'data' input_param { shape { dim: 2 dim: 3 dim: 5 dim: 6 } } }\n"


def opened(tmp_path: Path, text: str, **options: Any) -> Any:
    file = tmp_path / "net.prototxt"
    file.write_text(text)
    return caffe.load_model(file, **{"phase": "train", **options})


def product(name: str, bottom: str, top: str = "", more: str = "", param: str = "") -> str:
    """An InnerProduct with four outputs."""
    return (
        f"layer {{ name: '{name}' type: 'InnerProduct' bottom: '{bottom}' top: '{top or name}' {more}\n"
        f"        inner_product_param {{ num_output: 4 {param} }} }}\n"
    )


def layer(kind: str, name: str, bottom: str, top: str, more: str = "") -> str:
    return f"layer {{ name: '{name}' type: '{kind}' bottom: '{bottom}' top: '{top}' {more} }}\n"


LOSS = layer("SoftmaxWithLoss", "loss", "fc' bottom: 'label", "loss")


def random(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


# Start values ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("filler", "expected"),
    [
        ("", "constant"),
        ("weight_filler { }", "constant"),
        ("weight_filler { value: 0.5 }", {"type": "constant", "value": 0.5}),
        ("weight_filler { type: 'uniform' }", "uniform"),
        ("weight_filler { type: 'uniform' min: -1 max: 3 }", {"type": "uniform", "min": -1.0, "max": 3.0}),
        ("weight_filler { type: 'gaussian' std: 0.01 }", {"type": "gaussian", "std": 0.01}),
        ("weight_filler { type: 'gaussian' mean: 2 sparse: 1 }", {"type": "gaussian", "mean": 2.0, "sparse": 1}),
        ("weight_filler { type: 'xavier' }", "xavier"),
        ("weight_filler { type: 'xavier' variance_norm: AVERAGE }", {"type": "xavier", "mode": "average"}),
        ("weight_filler { type: 'msra' variance_norm: FAN_OUT }", {"type": "msra", "mode": "fan_out"}),
        ("weight_filler { type: 'positive_unitball' }", "positive_unitball"),
    ],
)
def test_fillers(filler: str, expected: Any, tmp_path: Path) -> None:
    model = opened(tmp_path, DATA + product("fc", "data", param=filler))
    assert model.config["net"][0]["weight_filler"] == expected
    model.net()


def test_a_weight_without_a_filler_is_zero(tmp_path: Path) -> None:
    net = opened(tmp_path, DATA + product("fc", "data")).net()
    assert not net.params["fc"]["weight"].data.any()


def test_an_unknown_filler_is_refused_with_its_place(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unknown filler 'orthogonal'") as caught:
        opened(tmp_path, DATA + product("fc", "data", param="weight_filler { type: 'orthogonal' }"))
    assert caught.value.place.line == 3


# Parameters -----------------------------------------------------------------------------------------------------------


def test_multipliers_are_caffes(tmp_path: Path) -> None:
    more = "param { lr_mult: 0.5 decay_mult: 3 } param { lr_mult: 2 }"
    net = opened(tmp_path, DATA + product("fc", "data", more=more) + product("plain", "fc")).net()
    found = {(n, p): (net.params[n][p].lr_mult, net.params[n][p].decay_mult) for n in net.params for p in net.params[n]}
    assert found == {
        ("fc", "weight"): (0.5, 3),
        ("fc", "bias"): (2, 1),
        ("plain", "weight"): (1, 1),
        ("plain", "bias"): (1, 1),
    }


def test_lr_mult_0_freezes(tmp_path: Path) -> None:
    model = opened(tmp_path, DATA + product("fc", "data", more="param { lr_mult: 0 }"))
    net = model.net()
    net.forward(data=random((3, 4)))
    net.backward(fc=random((3, 4), 1))
    assert net.params["fc"]["weight"].frozen
    assert not net.params["fc"]["bias"].frozen
    assert not model.param(net, "fc", 0).grad.any()
    assert model.param(net, "fc", 1).grad.any()


def test_shared_parameters_are_one_and_take_what_any_sharer_says(tmp_path: Path) -> None:
    said = "param { name: 'w' } param { name: 'b' lr_mult: 2 }"
    unsaid = "param { name: 'w' lr_mult: 3 } param { name: 'b' }"
    first = product("a", "data", more=said, param="weight_filler { type: 'xavier' }")
    second = product("b", "a", more=unsaid, param="weight_filler { type: 'msra' }")
    model = opened(tmp_path, DATA + first + second)
    net = model.net()
    assert np.shares_memory(net.params["a"]["weight"].data, net.params["b"]["weight"].data)
    assert net.params["b"]["weight"].lr_mult == 3
    assert net.params["b"]["bias"].lr_mult == 2
    model.set_blobs("b", [random((4, 4)), random((4,), 1)])
    assert (model.net().params["a"]["weight"].data == random((4, 4))).all()


def test_a_transposed_weight_is_shared_in_its_own_layout(tmp_path: Path) -> None:
    text = DATA + layer(
        "InnerProduct", "code", "data", "code",
        "param { name: 'w' } inner_product_param { num_output: 2 bias_term: false }",
    )  # fmt: skip
    text += layer(
        "InnerProduct", "back", "code", "back",
        "param { name: 'w' } param { } inner_product_param { num_output: 4 transpose: true }",
    )  # fmt: skip
    model = opened(tmp_path, text)
    weight, bias, x = random((2, 4)), random((4,), 1), random((3, 4), 2)
    model.set_blobs("code", [weight])
    model.set_blobs("back", [weight, bias])
    net = model.net()
    net.forward(data=x)
    np.testing.assert_allclose(model.blob(net, "back").data, x @ weight.T @ weight + bias, rtol=1e-5, atol=1e-5)
    net.backward(back=np.ones((3, 4)))
    assert (model.param(net, "back", 0).grad == model.param(net, "code", 0).grad).all()
    assert model.param(net, "back", 0).grad.shape == (2, 4)


# Wiring ---------------------------------------------------------------------------------------------------------------


def test_a_blob_overwritten_in_place_has_caffes_data_and_gradient(tmp_path: Path) -> None:
    text = DATA + product("fc", "data") + layer("ReLU", "relu", "fc", "fc") + layer("Scale", "scale", "fc", "fc")
    model = opened(tmp_path, text + product("out", "fc"))
    weight, factor, x = random((4, 4)), random((4,), 1), random((3, 4), 2)
    model.set_blobs("fc", [weight, np.zeros(4)])
    model.set_blobs("scale", [factor])
    model.set_blobs("out", [np.eye(4), np.zeros(4)])
    net = model.net()
    net.forward(data=x)
    z = x @ weight.T
    np.testing.assert_allclose(model.blob(net, "fc").data, np.maximum(z, 0) * factor, rtol=1e-5, atol=1e-6)
    dy = random((3, 4), 3)
    net.backward(out=dy)
    np.testing.assert_allclose(model.blob(net, "fc").grad, dy * factor * (z > 0), rtol=1e-5, atol=1e-6)
    assert [item.get("top", item["name"]) for item in model.config["net"]] == ["fc.out", "relu", "fc", "out"]


def test_of_an_input_overwritten_in_place_a_cotangent_is_the_last_versions(tmp_path: Path) -> None:
    model = opened(tmp_path, DATA + layer("Scale", "scale", "data", "data"))
    factor, x, dy = random((4,)), random((3, 4), 1), random((3, 4), 2)
    model.set_blobs("scale", [factor])
    net = model.net()
    net.forward(data=x)
    net.backward(data=dy)
    np.testing.assert_allclose(model.blob(net, "data").data, x * factor, rtol=1e-6)
    np.testing.assert_allclose(model.blob(net, "data").grad, dy * factor, rtol=1e-6)
    np.testing.assert_allclose(model.param(net, "scale", 0).grad, (dy * x).sum(0), rtol=1e-5, atol=1e-6)


def test_what_others_read_is_not_overwritten(tmp_path: Path) -> None:
    text = DATA + product("fc", "data") + layer("TanH", "other", "fc", "other") + layer("ReLU", "relu", "fc", "fc")
    with pytest.raises(ConfigError, match="top 'fc' is made by a layer above") as caught:
        opened(tmp_path, text)
    assert caught.value.place.line == 5


def test_propagate_down_cuts(tmp_path: Path) -> None:
    text = DATA + LABEL + product("a", "data") + product("fc", "a", more="propagate_down: false") + LOSS
    model = opened(tmp_path, text)
    for name in ("a", "fc"):
        model.set_blobs(name, [random((4, 4)), random((4,), 1)])
    net = model.net()
    net.forward(data=random((3, 4), 2), label=np.array([0, 1, 2]))
    net.backward()
    assert not model.param(net, "a", 0).grad.any()
    assert model.param(net, "fc", 0).grad.any()
    assert not model.blob(net, "a").grad.any()


FROZEN = "param { lr_mult: 0 } param { lr_mult: 0 }"


@pytest.mark.parametrize(
    ("first", "asked"),
    [
        (product("fc", "data", more="propagate_down: true"), True),
        (product("fc", "data", more="propagate_down: true param { lr_mult: 0 }"), True),
        (product("a", "data", more=f"propagate_down: true {FROZEN}") + product("fc", "a"), False),
        (layer("ReLU", "relu", "data", "r", "propagate_down: true") + product("fc", "r"), False),
        (layer("TanH", "other", "data", "other") + product("fc", "data", more="propagate_down: true"), False),
        (product("fc", "data"), False),
    ],
)
def test_propagate_down_asks_for_the_gradient_of_an_input(first: str, asked: bool, tmp_path: Path) -> None:
    model = opened(tmp_path, DATA + LABEL + first + LOSS)
    model.set_blobs("fc", [random((4, 4)), random((4,), 1)])
    assert model.config["inputs"]["data"].get("grad", False) == asked
    net = model.net()
    net.forward(data=random((3, 4), 2), label=np.array([0, 1, 2]))
    net.backward()
    expected = net.blobs["fc"].grad @ random((4, 4)) if asked else np.zeros((3, 4))
    np.testing.assert_allclose(model.blob(net, "data").grad, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("first", "noted"),
    [
        (layer("ReLU", "relu", "data", "r") + product("fc", "r", more="propagate_down: true"), True),
        (layer("TanH", "other", "data", "other") + product("fc", "data", more="propagate_down: true"), True),
        (product("r", "data") + product("fc", "r", more="propagate_down: true"), False),
        (product("fc", "data", more="propagate_down: true"), False),
    ],
)
def test_a_gradient_that_is_asked_for_and_not_computed_is_noted(first: str, noted: bool, tmp_path: Path) -> None:
    notes = opened(tmp_path, DATA + LABEL + first + LOSS).report.entry("fc").notes
    assert any("nothing learned makes" in note for note in notes) == noted


@pytest.mark.parametrize("weight", ["loss_weight: 0.5", "loss_weight: 1"])
def test_a_loss_weight_of_what_is_given_is_refused(weight: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="a loss_weight of what is given to the net") as caught:
        opened(tmp_path, DATA.replace("top:", f"{weight} top:") + product("fc", "data"))
    assert caught.value.place.line == 1
    assert opened(tmp_path, DATA.replace("top:", "loss_weight: 0 top:") + product("fc", "data")).report.exact


def test_any_blob_may_have_a_loss_weight(tmp_path: Path) -> None:
    model = opened(tmp_path, DATA + product("fc", "data", more="loss_weight: 0.5"))
    model.set_blobs("fc", [random((4, 4)), random((4,), 1)])
    net = model.net()
    net.forward(data=random((3, 4), 2))
    assert net.total_loss() == pytest.approx(0.5 * model.blob(net, "fc").data.sum(), rel=1e-5)
    net.backward()
    np.testing.assert_allclose(model.param(net, "fc", 1).grad, np.full(4, 1.5), rtol=1e-6)


def test_copies_of_a_blob_have_the_gradients_of_their_readers(tmp_path: Path) -> None:
    text = DATA + product("fc", "data") + layer("TanH", "a", "fc", "a") + layer("ReLU", "b", "fc", "b")
    text += layer("Eltwise", "sum", "a' bottom: 'b", "sum", "loss_weight: 1")
    model = opened(tmp_path, text)
    model.set_blobs("fc", [random((4, 4)), random((4,), 1)])
    net = model.net()
    net.forward(data=random((3, 4), 2))
    net.backward()
    z = model.blob(net, "fc").data
    np.testing.assert_allclose(model.blob(net, "fc_fc_0_split_0").grad, 1 - np.tanh(z) ** 2, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(model.blob(net, "fc_fc_0_split_1").grad, z > 0)
    total = model.blob(net, "fc_fc_0_split_0").grad + model.blob(net, "fc_fc_0_split_1").grad
    np.testing.assert_allclose(model.blob(net, "fc").grad, total, rtol=1e-6)
    assert all(item["type"] != "Identity" for item in model.config["net"])


def test_labels_may_be_real_numbers_or_integers(tmp_path: Path) -> None:
    model = opened(tmp_path, DATA + LABEL + product("fc", "data") + LOSS)
    model.set_blobs("fc", [random((4, 4)), random((4,), 1)])
    net = model.net()
    found = []
    for labels in (np.array([0, 3, 1]), np.array([0, 3, 1], np.float32), np.array([0.0, 3.9, 1.2])):
        net.forward(data=random((3, 4), 2), label=labels)
        found.append(net.total_loss())
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize(
    ("said", "phase", "fixed"),
    [
        ("", "train", None),
        ("true", "train", True),
        ("false", "train", None),
        ("", "test", None),
        ("true", "test", None),
    ],
)
def test_statistics_are_fixed_where_caffe_fixes_them(said: str, phase: str, fixed: Any, tmp_path: Path) -> None:
    more = f"batch_norm_param {{ use_global_stats: {said} }}" if said else ""
    (item,) = opened(tmp_path, DATA + layer("BatchNorm", "bn", "data", "bn", more), phase=phase).config["net"]
    assert item.get("use_running_stats") is fixed


@pytest.mark.parametrize("engine", ["reference", "auto"])
def test_statistics_of_the_batch_normalise_in_test_where_caffe_is_told_so(engine: str, tmp_path: Path) -> None:
    text = "force_backward: true\n" + IMAGE
    text += layer("BatchNorm", "bn", "data", "bn", "batch_norm_param { use_global_stats: false }")
    model = opened(tmp_path, text, phase="test")
    blobs = [random(3, seed) for seed in (1, 2)]
    model.set_blobs("bn", [blobs[0], abs(blobs[1]), np.ones(1)])
    net = model.net(engine=engine)
    x, dy = random((2, 3, 5, 6), 3), random((2, 3, 5, 6), 4)
    found = net.forward(data=x)["bn"]
    net.backward({"bn": dy})
    over = {"axis": (0, 2, 3), "keepdims": True}
    spread = np.sqrt(x.var(**over) + 1e-5)
    y = (x - x.mean(**over)) / spread
    np.testing.assert_allclose(found, y, rtol=2e-5, atol=2e-5)
    expected = (dy - dy.mean(**over) - y * (dy * y).mean(**over)) / spread
    np.testing.assert_allclose(model.blob(net, "data").grad, expected, rtol=2e-5, atol=2e-5)
    np.testing.assert_array_equal(model.param(net, "bn", 0).data, blobs[0])  # eval changes nothing
    assert "here they rest" in model.report.entry("bn").notes[0]


def test_a_net_runs_in_the_phase_that_it_was_opened_for(tmp_path: Path) -> None:
    text = DATA + layer("Dropout", "drop", "data", "drop") + layer("BatchNorm", "bn", "drop", "bn")
    x = random((3, 4))
    tested, trained = (opened(tmp_path, text, phase=phase).net() for phase in ("test", "train"))
    np.testing.assert_array_equal(tested.forward(data=x)["bn"], tested.forward(phase="eval", data=x)["bn"])
    assert not tested.state["bn"]["correction"].any()
    assert (tested.blobs["drop"].data == x).all()
    trained.forward(data=x)
    assert trained.state["bn"]["correction"] == 1
    assert (trained.blobs["drop"].data == 0).any()
    tested.forward(data=x)
    tested.backward(bn=random((3, 4), 1))
    assert tested.blobs["data"].grad.any()


# Names and reports ----------------------------------------------------------------------------------------------------


def test_names_that_are_not_legal_are_mapped(tmp_path: Path) -> None:
    text = DATA + product("1 x", "data") + product("conv a", "1 x") + product("conv_a", "conv a")
    model = opened(tmp_path, text)
    assert [item["name"] for item in model.config["net"]] == ["_1_x", "conv_a", "conv_a_2"]
    assert model.report.layers == {"1 x": "_1_x", "conv a": "conv_a", "conv_a": "conv_a_2"}
    net = model.net()
    net.forward(data=random((3, 4)))
    assert model.blob(net, "1 x").data.shape == (3, 4)
    assert net.blobs["conv_a"].data.shape == (3, 4)


def test_everything_wrong_is_told_at_once_with_its_lines(tmp_path: Path) -> None:
    text = DATA + layer("Foo", "one", "data", "one") + product("two", "one", param="strange: 3 axis: 7")
    text += layer("Bar", "three", "two", "three") + layer("ReLU", "four", "data", "four", "relu_param { slope: 1 }")
    with pytest.raises(ConfigErrors) as caught:
        opened(tmp_path, text)
    told = [(error.place.line, error.message) for error in flatten(caught.value)]
    assert [line for line, _ in told] == [2, 4, 5, 6]
    assert "type Foo" in told[0][1]
    assert "strange" in told[1][1]
    assert "type Bar" in told[2][1]
    assert "slope" in told[3][1]


def test_a_field_of_a_fork_is_refused_where_it_would_count(tmp_path: Path) -> None:
    more = "dropout_param { dropout_ratio: 0.5 sample_weights_test: true }"
    with pytest.raises(ConfigError, match="sample_weights_test") as caught:
        opened(tmp_path, DATA + layer("Dropout", "drop", "data", "drop", more))
    assert caught.value.place.line == 2


def test_fields_that_change_nothing_are_listed(tmp_path: Path) -> None:
    text = "debug_info: true\n" + IMAGE + layer(
        "Convolution", "conv", "data", "conv",
        "convolution_param { num_output: 2 kernel_size: 3 engine: CAFFE } pooling_param { kernel_size: 2 }",
    )  # fmt: skip
    ignored = {path: why for path, _, why in opened(tmp_path, text).report.ignored}
    assert set(ignored) == {"debug_info", "layer conv: engine", "layer conv: pooling_param"}


# Weights --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("blobs", "told"),
    [
        ([np.zeros((4, 4))], r"2 blob\(s\), 1 are given"),
        ([np.zeros((4, 3)), np.zeros(4)], r"blob 0 of layer 'fc' has shape \(4, 4\), \(4, 3\) is given"),
        ([np.zeros((4, 4)), np.zeros((4, 1, 1, 1))], "blob 1"),
    ],
)
def test_blobs_that_do_not_fit_are_refused(blobs: list[np.ndarray], told: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=told):
        opened(tmp_path, DATA + product("fc", "data")).set_blobs("fc", blobs)


def test_in_hdf5_a_blob_that_another_layer_owns_may_be_missing(tmp_path: Path) -> None:
    shared = "param { name: 'w' } param { }"
    model = opened(tmp_path, DATA + product("a", "data", more=shared) + product("b", "a", more=shared))
    weight, one, two = random((4, 4)), random((4,), 1), random((4,), 2)
    with h5py.File(tmp_path / "w.h5", "w") as file:
        file["data/a/0"], file["data/a/1"], file["data/b/1"] = weight, one, two
    text = DATA + product("a", "data", more=shared) + product("b", "a", more=shared)
    net = opened(tmp_path, text, weights=tmp_path / "w.h5").net()
    for layer_, bias in (("a", one), ("b", two)):
        assert (model.param(net, layer_, 0).data == weight).all()
        assert (model.param(net, layer_, 1).data == bias).all()
    with h5py.File(tmp_path / "w.h5", "w") as file:
        file["data/a/1"] = one
    with pytest.raises(DataError, match="blob 0 of layer 'a' is missing"):
        opened(tmp_path, DATA + product("a", "data"), weights=tmp_path / "w.h5")


def test_nvidias_batch_norm_stores_a_weight_and_a_bias_too(tmp_path: Path) -> None:
    statistics = [random((4,)), abs(random((4,), 1)), np.array([2.0])]
    model = opened(tmp_path, DATA + layer("BatchNorm", "bn", "data", "bn"))
    model.set_blobs("bn", [*statistics, np.ones(4), np.zeros(4)])
    with pytest.raises(DataError, match="3 blob"):
        model.set_blobs("bn", [*statistics, np.full(4, 2.0), np.zeros(4)])
    scaled = layer("BatchNorm", "bn", "data", "bn", "batch_norm_param { scale_bias: true }")
    net_of = opened(tmp_path, DATA + scaled, phase="test")
    net_of.set_blobs("bn", [*statistics, np.full(4, 2.0), np.ones(4)])
    net, x = net_of.net(), random((3, 4), 2)
    expected = 2 * (x - statistics[0] / 2) / np.sqrt(statistics[1] / 2 + 1e-5) + 1
    np.testing.assert_allclose(net.forward(data=x)["bn"], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("key", ["name", "type", "tops", "kind", "part", "self", "bottoms", "given", "other"])
def test_param_str_holds_hyper_parameters_alone(key: str, tmp_path: Path) -> None:
    more = f"python_param {{ module: 'm' layer: 'ReLU' param_str: \"{{'{key}': 1}}\" }}"
    with pytest.raises(ConfigError, match=f"ReLU has no hyper-parameter '{key}'") as caught:
        opened(tmp_path, DATA + layer("Python", "p", "data", "p", more))
    assert caught.value.place.line == 2


def test_layers_without_an_equal_are_told_of(tmp_path: Path) -> None:
    more = "hdf5_output_param { file_name: 'a' }"
    text = DATA + f"layer {{ name: 'out' type: 'HDF5Output' bottom: 'data' bottom: 'data' {more} }}\n"
    assert "nothing is written" in opened(tmp_path, text).report.entry("out").notes[0]
    python = "python_param {{ module: 'm' layer: '{}' param_str: \"{{'out_features': 2}}\" }}"
    with pytest.raises(ConfigError, match=r"Python layer m\.NoSuch") as caught:
        opened(tmp_path, DATA + layer("Python", "p", "data", "p", python.format("NoSuch")))
    assert caught.value.place.line == 2
    model = opened(tmp_path, DATA + layer("Python", "p", "data", "p", python.format("Linear")))
    assert model.config["net"][0]["out_features"] == 2


@pytest.mark.parametrize(
    ("kind", "bottoms", "more"),
    [
        ("Convolution", 1, "top: 't0' convolution_param { num_output: 2 kernel_size: 1 }"),
        ("ContrastiveLoss", 3, "top: 't0'"),
        ("Filter", 2, "top: 't0'"),
        ("LSTMUnit", 3, "top: 't0' top: 't1'"),
    ],
)
def test_bottoms_without_axes_are_refused(kind: str, bottoms: int, more: str, tmp_path: Path) -> None:
    text = "layer { name: 'x' type: 'Input' top: 'x' input_param { shape { } } }\n"
    read = "bottom: 'x' " * bottoms
    with pytest.raises(ConfigError, match=r"\(\)|0 axes"):
        opened(tmp_path, text + f"layer {{ name: 'l' type: '{kind}' {read} {more} }}")


def test_old_shapes_of_four_axes_fit(tmp_path: Path) -> None:
    model = opened(tmp_path, DATA + product("fc", "data"))
    model.set_blobs("fc", [random((1, 1, 4, 4)), random((1, 1, 1, 4), 1)])
    net = model.net()
    assert (net.params["fc"]["weight"].data == random((1, 1, 4, 4))[0, 0]).all()
    assert (model.param(net, "fc", 1).data == random((1, 1, 1, 4), 1).reshape(4)).all()


def test_parameters_are_written_in_caffes_layout(tmp_path: Path) -> None:
    shapes = "shape { dim: 2 dim: 1 dim: 3 } shape { dim: 2 dim: 1 }"
    text = f"layer {{ name: 'x' type: 'Input' top: 'x' top: 'c' input_param {{ {shapes} }} }}\n"
    model = opened(tmp_path, text + layer("LSTM", "lstm", "x' bottom: 'c", "h", "recurrent_param { num_output: 2 }"))
    net = model.net()
    value = random((8, 3))
    model.param(net, "lstm", 0).data = value
    assert (model.param(net, "lstm", 0).data == value).all()
    own = net.params["lstm.steps"]["weight_ih_l0"].data
    np.testing.assert_array_equal(own, value[[0, 1, 2, 3, 6, 7, 4, 5]])  # from i, f, o, g to i, f, g, o


def test_unknown_names_are_refused(tmp_path: Path) -> None:
    model = opened(tmp_path, DATA + product("fc", "data"))
    net = model.net()
    with pytest.raises(ConfigError, match="no blob 'fd'"):
        model.blob(net, "fd")
    with pytest.raises(ConfigError, match="no layer 'relu' with blobs"):
        model.param(net, "relu", 0)
    with pytest.raises(ConfigError, match="0 to 1"):
        model.param(net, "fc", 2)
    with pytest.raises(BlobError):
        _ = model.blob(net, "fc").data


def test_an_input_gets_its_shape_from_the_caller(tmp_path: Path) -> None:
    text = "layer { name: 'data' type: 'Input' top: 'data' }\n" + product("fc", "data")
    with pytest.raises(ConfigError, match="shape of 'data' is not known"):
        opened(tmp_path, text)
    assert opened(tmp_path, text, inputs={"data": (3, 5)}).net().params["fc"]["weight"].data.shape == (4, 5)


@pytest.mark.parametrize("name", ["phase", "backward", "copy", "outputs"])
def test_a_shape_from_the_caller_counts_for_an_input_with_another_name_here(name: str, tmp_path: Path) -> None:
    text = DATA.replace("top: 'data'", f"top: '{name}'") + product("fc", name)
    net = opened(tmp_path, text, inputs={name: (7, 4)}).net(keep="all")
    assert net.graph.inputs[f"{name}_"].shape == (7, 4)


def test_data_with_another_name_here_keep_their_shape(tmp_path: Path) -> None:
    sizes = "batch_size: 2 channels: 3 height: 4 width: 5"
    text = f"layer {{ name: 'd' type: 'MemoryData' top: 'copy' top: 'label' memory_data_param {{ {sizes} }} }}\n"
    assert opened(tmp_path, text + product("fc", "copy")).net(keep="all").graph.inputs["copy_"].shape == (2, 3, 4, 5)


def test_names_with_a_slash_keep_it(tmp_path: Path) -> None:
    shared = "param { name: 'w' }"
    model = opened(tmp_path, DATA + product("a/fc", "data", more=shared) + product("b/fc", "a/fc", more=shared))
    weight = random((4, 4))
    model.set_blobs("a/fc", [weight, random((4,))])
    net = model.net()
    assert np.array_equal(model.param(net, "a/fc", 0).data, weight)
    assert np.array_equal(model.get_blobs("b/fc", net.arrays())[0], weight)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (DATA.replace("dim: 4", "dim: 2147483647"), "more than 2147483647 numbers"),
        (IMAGE + layer("Pooling", "p", "data", "p", "pooling_param { kernel_size: 4294967295 }"), "windows have up to"),
        (DATA + layer("Tile", "t", "data", "t", "tile_param { tiles: 2147483647 }"), "more than 2147483647 numbers"),
        (DATA + product("fc", "data", param="weight_filler { type: 'bilinear' }"), "it takes square kernels"),
        (DATA + product("fc", "data", param="weight_filler { type: 'gaussian' std: -1 }"), "std must be >= 0"),
    ],
)
def test_absurd_sizes_and_fillers_are_refused_when_the_definition_is_read(text: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=told) as caught:
        opened(tmp_path, text)
    assert caught.value.place.line > 0


@pytest.mark.parametrize("phase", ["tests", "", 0, 1])
def test_a_phase_that_there_is_not(phase: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"phase must be train or test, got '{phase}'"):
        opened(tmp_path, DATA, phase=phase)


def test_only_a_gaussian_can_be_sparse(tmp_path: Path) -> None:
    text = DATA + product("fc", "data", param="weight_filler { type: 'xavier' sparse: 2 }")
    with pytest.raises(ConfigError, match="the filler xavier cannot be sparse"):
        opened(tmp_path, text)


@pytest.mark.parametrize(
    ("in_train", "in_test", "expected"),
    [
        ("", "", {}),
        ("false", "true", {}),
        ("false", "false", {"use_batch_stats": True}),
        ("true", "", {"use_running_stats": True}),
        ("true", "false", {"use_running_stats": True, "use_batch_stats": True}),
    ],
)
def test_one_layer_says_which_statistics_normalise_in_each_phase(
    in_train: str, in_test: str, expected: dict[str, bool], tmp_path: Path
) -> None:
    text = DATA
    for phase, said in (("TRAIN", in_train), ("TEST", in_test)):
        more = f"batch_norm_param {{ use_global_stats: {said} }}" if said else ""
        text += layer("BatchNorm", "bn", "data", "bn", f"include {{ phase: {phase} }} {more}")
    train, test = (opened(tmp_path, text, phase=phase).translation for phase in ("train", "test"))
    (item,) = merge(train, test)
    assert {key: value for key, value in item.items() if key.startswith("use_")} == expected
