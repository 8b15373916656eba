"""Nets: wiring, gradients at forks, vector-Jacobian products, in-place proofs, sharing, keeping, saving."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from layerforge import Net
from layerforge.run.views import BlobError
from layerforge.schema.errors import ConfigError, DataError, LayerError, LayerForgeError

MLP = [
    {"name": "fc1", "type": "Linear", "out_features": 5, "bottom": "x"},
    {"name": "act", "type": "Tanh"},
    {"name": "fc2", "type": "Linear", "out_features": 3},
    {"name": "loss", "type": "SoftmaxCrossEntropy", "bottom": ["fc2", "t"]},
    {"name": "accuracy", "type": "Accuracy", "bottom": ["fc2", "t"], "phase": "eval"},
]


def make(net: list[Any], **more: Any) -> Net:
    inputs = {"x": {"shape": [4, 6], "grad": True}, "t": {"shape": [4], "dtype": "int64"}}
    keep = more.pop("keep", "all")
    return Net.from_config({"dtype": "float64", "inputs": inputs, "net": net, **more}, keep=keep)


def batch(n: int = 4) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {"x": rng.normal(size=(n, 6)), "t": rng.integers(0, 3, n)}


def refused(net: list[Any], **more: Any) -> str:
    with pytest.raises(LayerForgeError) as caught:
        make(net, **more)
    assert caught.value.exit_code == 2
    return str(caught.value)


def slope(net: Net, array: np.ndarray, element: Any, **inputs: Any) -> float:
    """The central difference of the loss for one element."""
    values = []
    for h in (1e-6, -1e-6):
        array[element] += h
        net.forward(**inputs)
        values.append(net.total_loss())
        array[element] -= h
    return (values[0] - values[1]) / 2e-6


def test_the_public_example() -> None:
    net = Net.from_config(
        {
            "dtype": "float64",
            "inputs": {"x": {"shape": [2, 3], "grad": True}, "t": {"shape": [2], "dtype": "int64"}},
            "net": [
                {"name": "fc", "type": "Linear", "out_features": 4},
                {"name": "loss", "type": "SoftmaxCrossEntropy", "bottom": ["fc", "t"]},
            ],
        }
    )
    x, t = np.array([[1.0, 2, 3], [0, -1, 2]]), np.array([1, 3])
    out = net.forward(x=x, t=t)
    assert list(out) == ["loss"]
    w, b = net.params["fc"]["weight"], net.params["fc"]["bias"]
    z = x @ w.data.T + b.data
    p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    assert out["loss"] == pytest.approx(-np.log(p[[0, 1], t]).mean())
    net.backward()
    d = (p - np.eye(4)[t]) / 2
    np.testing.assert_allclose(w.grad, d.T @ x)
    np.testing.assert_allclose(b.grad, d.sum(0))
    np.testing.assert_allclose(net.blobs["x"].grad, d @ w.data)
    np.testing.assert_allclose(net.blobs["fc"].grad, d)
    net.backward(fc=np.ones((2, 4)))
    np.testing.assert_allclose(w.grad, d.T @ x + np.ones((4, 2)) @ x)
    net.zero_grad()
    assert not w.grad.any()


def test_bottoms_default_to_the_layer_above_of_the_same_phase() -> None:
    net = make([*MLP, {"name": "after", "type": "Linear", "out_features": 2, "bottom": "fc2"}])
    bottoms = {n.name: n.bottoms for n in net.graph.nodes}
    assert bottoms["act"] == ("fc1",)
    chained = make([MLP[0], {"name": "probe", "type": "Tanh", "phase": "eval"}, {"name": "next", "type": "Tanh"}])
    assert {n.name: n.bottoms for n in chained.graph.nodes}["next"] == ("fc1",)


def test_phases_have_their_own_outputs() -> None:
    net = make(MLP)
    assert set(net.forward(**batch())) == {"loss"}
    assert set(net.forward(phase="eval", **batch())) == {"loss", "accuracy"}


def test_gradients_add_up_at_forks() -> None:
    net = make(
        [
            {"name": "fc", "type": "Linear", "out_features": 3, "bottom": "x"},
            {"name": "a", "type": "Tanh", "bottom": "fc"},
            {"name": "b", "type": "Sigmoid", "bottom": "fc"},
            {"name": "sum", "type": "Add", "bottom": ["a", "b", "fc"]},
            {"name": "twice", "type": "Mul", "bottom": ["sum", "sum"]},
            {"name": "loss", "type": "SoftmaxCrossEntropy", "bottom": ["twice", "t"]},
        ]
    )
    data = batch()
    net.forward(**data)
    net.backward()
    weight, got = net.params["fc"]["weight"].data, net.params["fc"]["weight"].grad.copy()
    assert got[1, 2] == pytest.approx(slope(net, weight, (1, 2), **data), rel=1e-6)


def test_backward_of_an_inner_blob_runs_only_what_is_below() -> None:
    net = make(MLP)
    net.forward(**batch())
    net.backward(act=np.ones((4, 5)))
    assert net.params["fc1"]["weight"].grad.any()
    assert not net.params["fc2"]["weight"].grad.any()
    with pytest.raises(BlobError, match="does not lie below"):
        net.blobs["fc2"].grad  # noqa: B018
    with pytest.raises(ConfigError, match=r"cotangent of 'act' has shape \(5,\)"):
        net.backward(act=np.ones(5))
    with pytest.raises(ConfigError, match="did you mean 'act'"):
        net.backward(atc=np.ones((4, 5)))


def test_one_forward_serves_several_backwards() -> None:
    net = make(MLP)
    net.forward(**batch())
    rows = []
    for k in range(3):
        dy = np.zeros((4, 3))
        dy[0, k] = 1
        net.backward(fc2=dy)
        rows.append(net.blobs["x"].grad[0].copy())
    w1, w2 = net.params["fc1"]["weight"].data, net.params["fc2"]["weight"].data
    a = net.blobs["act"].data[0]
    np.testing.assert_allclose(rows, w2 @ np.diag(1 - a**2) @ w1, rtol=1e-12)


def test_eval_can_be_differentiated_when_asked() -> None:
    net = make(MLP)
    net.forward(phase="eval", **batch())
    with pytest.raises(BlobError, match="backward=True"):
        net.backward()
    net.forward(phase="eval", backward=True, **batch())
    net.backward()
    assert net.params["fc1"]["weight"].grad.any()


def test_backward_before_forward_is_a_clear_error() -> None:
    with pytest.raises(BlobError, match="needs a forward"):
        make(MLP).backward()
    with pytest.raises(BlobError, match="has no data yet"):
        make(MLP).blobs["fc1"].data  # noqa: B018


def test_frozen_layers_get_no_gradient_and_prune_what_is_below() -> None:
    frozen = [{**layer, "freeze": True} if layer["name"] == "fc1" else layer for layer in MLP]
    config = {"inputs": {"x": {"shape": [4, 6]}, "t": {"shape": [4], "dtype": "int64"}}, "net": frozen}
    net = Net.from_config(config)
    assert [s.node.name for s in net.graph.phases["train"].steps if s.runs_backward] == ["fc2", "loss"]
    net.forward(**batch())
    net.backward()
    assert net.params["fc1"]["weight"].grad is None
    assert net.params["fc2"]["weight"].grad.any()
    assert net.parameters.grad.size < net.parameters.data.size
    with pytest.raises(BlobError, match="nothing below them is learned"):
        net.blobs["fc1"].grad  # noqa: B018


def test_shared_parameters_are_one_array_and_sum_their_gradients() -> None:
    net = make(
        [
            {"name": "a", "type": "Linear", "out_features": 6, "bottom": "x"},
            {"name": "b", "type": "Linear", "out_features": 6, "share": {"weight": "a.weight"}},
            {"name": "fc", "type": "Linear", "out_features": 3},
            {"name": "loss", "type": "SoftmaxCrossEntropy", "bottom": ["fc", "t"]},
        ]
    )
    assert net.params["a"]["weight"].data is not None
    assert np.shares_memory(net.params["a"]["weight"].data, net.params["b"]["weight"].data)
    assert not np.shares_memory(net.params["a"]["bias"].data, net.params["b"]["bias"].data)
    data = batch()
    net.forward(**data)
    net.backward()
    got = net.params["a"]["weight"].grad[2, 3]
    assert got == pytest.approx(slope(net, net.params["a"]["weight"].data, (2, 3), **data), rel=1e-6)
    assert "params/b/weight" not in net.arrays()


def test_sharing_errors() -> None:
    base = {"name": "a", "type": "Linear", "out_features": 6, "bottom": "x"}
    use = {"name": "b", "type": "Linear", "out_features": 4}
    assert "shape" in refused([base, {**use, "share": {"weight": "a.weight"}}])
    assert "is no layer" in refused([base, {**use, "share": {"weight": "aa.weight"}}])
    assert "no parameter 'wieght'" in refused([base, {**use, "share": {"wieght": "a.weight"}}])


def test_loss_weight_scales_loss_and_gradient() -> None:
    plain, heavy = make(MLP), make([*MLP[:3], {**MLP[3], "loss_weight": 2.5}])
    for net in (plain, heavy):
        net.forward(**batch())
        net.backward()
    assert heavy.total_loss() == pytest.approx(2.5 * plain.total_loss())
    np.testing.assert_allclose(heavy.params["fc1"]["weight"].grad, 2.5 * plain.params["fc1"]["weight"].grad)


def test_any_top_can_be_a_loss() -> None:
    net = make([{"name": "fc", "type": "Linear", "out_features": 2, "bottom": "x", "loss_weight": 3.0}])
    data = {"x": batch()["x"]}
    net.forward(**data)
    net.backward()
    assert net.total_loss() == pytest.approx(3 * net.blobs["fc"].data.sum())
    np.testing.assert_allclose(net.params["fc"]["bias"].grad, [12.0, 12.0])


def test_a_net_without_loss_says_so() -> None:
    net = make(MLP[:2])
    net.forward(x=batch()["x"])
    with pytest.raises(ConfigError, match="no loss"):
        net.backward()


def test_another_batch_size_needs_no_new_net() -> None:
    net = make(MLP)
    for n in (4, 7, 1, 4):
        assert net.forward(**batch(n))["loss"].shape == ()
        assert net.blobs["fc2"].data.shape == (n, 3)


def test_inputs_are_checked() -> None:
    net = make(MLP)
    data = batch()
    with pytest.raises(ConfigError, match=r"needs the input\(s\) t"):
        net.forward(x=data["x"])
    with pytest.raises(ConfigError, match="no input 'y'"):
        net.forward(y=data["x"], **data)
    with pytest.raises(ConfigError, match="takes integers"):
        net.forward(x=data["x"], t=data["t"] + 0.5)
    with pytest.raises(ConfigError, match="takes numbers"):
        net.forward(x=np.full((4, 6), "a"), t=data["t"])
    with pytest.raises(ConfigError, match="phase must be one of"):
        net.forward(phase="test", **data)
    with pytest.raises(LayerError, match=r"layer 'fc1' \(Linear\).*was set up with shape \(5, 6\)"):
        net.forward(x=np.zeros((4, 7)), t=data["t"])


def test_only_what_is_asked_for_is_computed() -> None:
    net = make(MLP)
    out = net.forward(phase="eval", outputs="fc2", x=batch()["x"])
    assert list(out) == ["fc2"]
    with pytest.raises(BlobError, match="was not computed"):
        net.blobs["loss"].data  # noqa: B018


def test_forward_returns_copies_unless_asked_not_to() -> None:
    net = make(MLP)
    first = net.forward(phase="eval", outputs="fc2", x=batch()["x"])["fc2"]
    live = net.forward(phase="eval", outputs="fc2", copy=False, x=batch()["x"])["fc2"]
    assert np.shares_memory(live, net.blobs["fc2"].data)
    assert not np.shares_memory(first, net.blobs["fc2"].data)


def test_keep_none_frees_blobs_and_says_how_to_keep_them() -> None:
    net = make(MLP, keep="none")
    whole = make(MLP)
    for n in (net, whole):
        n.forward(**batch())
        n.backward()
    np.testing.assert_array_equal(net.parameters.grad, whole.parameters.grad)
    with pytest.raises(BlobError, match='keep=\\["fc1"\\]'):
        net.blobs["fc1"].data  # noqa: B018
    with pytest.raises(BlobError, match='keep=\\["fc1"\\]'):
        net.blobs["fc1"].grad  # noqa: B018
    some = make(MLP, keep=["fc1"])
    some.forward(**batch())
    some.backward()
    np.testing.assert_array_equal(some.blobs["fc1"].data, whole.blobs["fc1"].data)
    np.testing.assert_array_equal(some.blobs["fc1"].grad, whole.blobs["fc1"].grad)
    with pytest.raises(ConfigError, match="no blob 'fc9'"):
        make(MLP, keep=["fc9"])


def test_names_that_do_not_exist_get_a_suggestion() -> None:
    net = make(MLP)
    with pytest.raises(KeyError, match="did you mean 'fc1'"):
        net.blobs["fc11"]
    with pytest.raises(KeyError, match="did you mean 'weight'"):
        net.params["fc1"]["wieght"]
    assert "nothing" not in net.blobs
    assert net.params.get("act") is None


# In place -----------------------------------------------------------------------------------------------------------


def in_place(*layers: dict[str, Any]) -> list[dict[str, Any]]:
    return [*layers, {"name": "loss", "type": "SoftmaxCrossEntropy", "bottom": [layers[-1]["top"], "t"]}]


FC = {"name": "fc", "type": "Linear", "out_features": 3, "bottom": "x"}


def test_in_place_gives_the_same_gradients() -> None:
    def layers(top: str) -> list[dict[str, Any]]:
        return in_place(FC, {"name": "act", "type": "ReLU", "bottom": "fc", "top": top})

    plain, over = make(layers("act")), make(layers("fc"))
    for net in (plain, over):
        net.forward(**batch())
        net.backward()
    np.testing.assert_array_equal(plain.parameters.grad, over.parameters.grad)
    assert any(s.in_place for s in over.graph.phases["train"].steps)


def test_in_place_is_refused_where_somebody_still_reads() -> None:
    act = {"name": "act", "type": "ReLU", "bottom": "fc", "top": "fc"}
    other = {"name": "other", "type": "Mul", "bottom": ["fc", "fc"], "top": "other"}
    assert "the backward of 'other' reads 'fc'" in refused(in_place(FC, other, act))
    tanh = {"name": "tanh", "type": "Tanh", "bottom": "fc", "top": "h"}
    over_tanh = {"name": "act", "type": "ReLU", "bottom": "h", "top": "h"}
    assert "the backward of 'tanh' reads 'h'" in refused(in_place(FC, tanh, over_tanh))
    assert "input of the net" in refused(in_place({"name": "act", "type": "ReLU", "bottom": "x", "top": "x"}))
    row = {"name": "row", "type": "Slice", "dim": 0, "points": [1], "bottom": "fc", "top": ["row", "rest"]}
    wide = {"name": "sum", "type": "Add", "bottom": ["row", "fc"], "top": "row"}
    assert "its top would be (4, 3) float64, its bottom is (1, 3) float64" in refused(in_place(FC, row, wide))
    linear = {"name": "fc2", "type": "Linear", "out_features": 3, "bottom": "fc", "top": "fc"}
    assert "Linear cannot write its top over its bottom" in refused(in_place(FC, linear))


def test_in_place_through_a_view_is_seen() -> None:
    flat = {"name": "flat", "type": "Flatten", "bottom": "fc", "top": "flat"}
    act = {"name": "act", "type": "ReLU", "bottom": "flat", "top": "flat"}
    late = {"name": "late", "type": "Tanh", "bottom": "fc", "top": "late"}
    assert "'fc' was overwritten in place by layer 'act'" in refused(in_place(FC, flat, act, late))


# Errors -------------------------------------------------------------------------------------------------------------


def test_errors_of_a_net_are_collected() -> None:
    text = refused(
        [
            {"name": "fc1", "type": "Linear", "out_features": 0, "bottom": "x"},
            {"name": "fc2", "type": "Linaer", "out_features": 3},
            {"name": "fc2b", "type": "Linear", "out_features": 3, "bottom": "nothing"},
            {"name": "bad name", "type": "Tanh", "bottom": "x"},
        ]
    )
    assert "out_features must be >= 1, got 0" in text
    assert "did you mean 'Linear'?" in text
    assert "bottom 'nothing' is not produced by any earlier layer" in text
    assert "'bad name' is not a layer name" in text


def test_where_no_blob_is_known_that_is_said() -> None:
    with pytest.raises(ConfigError, match=r"known blobs: none: declare `inputs:` or `data:`"):
        Net.from_config({"net": [{"name": "r", "type": "ReLU", "bottom": "x"}]})


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ({"name": "fc1", "type": "Tanh"}, "two layers are called 'fc1'"),
        ({"name": "a", "type": "Tanh", "top": "x"}, "top 'x' is already made by an input"),
        ({"name": "a", "type": "Add", "bottom": ["fc1", "x"]}, "do not broadcast"),
        ({"name": "a", "type": "Tanh", "bottom": ["fc1", "x"]}, "takes 1 bottom(s), got 2"),
        ({"name": "a", "type": "Tanh", "top": ["b", "c"]}, "makes 1 top(s), 2 are named"),
        ({"name": "a", "type": "Tanh", "top": []}, "makes 1 top(s), 0 are named"),
        ({"name": "a", "type": "Tanh", "loss_weight": [1, 2]}, "2 loss_weight(s) for 1 top(s)"),
        ({"name": "a", "type": "Tanh", "phase": "test"}, "phase must be one of train, eval"),
        ({"name": "a", "type": "Tanh", "lr_mult": {"weight": 2}}, "lr_mult names 'weight', which is no parameter"),
        ({"type": "Tanh"}, "name is required"),
        ({"name": "a"}, "type is required"),
        ("Tanh", "must be a mapping"),
    ],
)
def test_wiring_errors(layer: Any, message: str) -> None:
    assert message in refused([{"name": "fc1", "type": "Linear", "out_features": 5, "bottom": "x"}, layer])


def test_a_layer_that_fails_says_which_and_where(tmp_path: Path) -> None:
    file = tmp_path / "net.yaml"
    file.write_text(
        "inputs: {x: {shape: [2, 3]}, t: {shape: [2], dtype: int64}}\n"
        "net:\n"
        "  - {name: fc, type: Linear, out_features: 4}\n"
        "  - {name: loss, type: SoftmaxCrossEntropy, bottom: [fc, t]}\n"
    )
    net = Net.from_yaml(file)
    with pytest.raises(LayerError) as caught:
        net.forward(x=np.zeros((2, 3)), t=np.array([0, 9]))
    text = str(caught.value)
    assert f"{file}:4:" in text
    assert "layer 'loss' (SoftmaxCrossEntropy): label 9 at position 1 is out of range for 4 classes" in text
    assert "[bottoms (2, 4), (2,)]" in text
    assert caught.value.exit_code == 3


# Blocks -------------------------------------------------------------------------------------------------------------

RESIDUAL = {
    "res": {
        "args": {"n": None, "kind": "Tanh"},
        "net": [
            {"name": "fc", "type": "Linear", "out_features": "${n}"},
            {"name": "act", "type": "${kind}"},
            {"name": "add", "type": "Add", "bottom": ["act", "input"]},
        ],
    }
}


def test_blocks_repeat_with_their_own_names_and_input() -> None:
    net = make(
        [
            {"name": "first", "type": "Linear", "out_features": 5, "bottom": "x"},
            {"name": "r", "block": "res", "repeat": 2, "with": {"n": 5}},
            {"name": "s", "block": "res", "with": {"n": 5, "kind": "Sigmoid"}},
            {"name": "fc", "type": "Linear", "out_features": 3, "bottom": "r"},
        ],
        blocks=RESIDUAL,
    )
    nodes = {n.name: n for n in net.graph.nodes}
    assert list(nodes) == ["first", *(f"r.{i}.{n}" for i in (0, 1) for n in ("fc", "act", "add")), "s.fc", "s.act",
                           "s.add", "fc"]  # fmt: skip
    assert nodes["r.0.add"].bottoms == ("r.0.act", "first")
    assert nodes["r.1.fc"].bottoms == ("r.0.add",)
    assert nodes["r.1.add"].bottoms == ("r.1.act", "r.0.add")
    assert nodes["s.add"].bottoms == ("s.act", "r.1.add")
    assert nodes["s.act"].layer.type_name == "Sigmoid"
    net.forward(x=batch()["x"])
    np.testing.assert_array_equal(
        net.blobs["fc"].data,
        net.blobs["r.1.add"].data @ net.params["fc"]["weight"].data.T + net.params["fc"]["bias"].data,
    )


@pytest.mark.parametrize(
    ("use", "message"),
    [
        ({"name": "r", "block": "res"}, "must give block 'res' its variable(s) n"),
        ({"name": "r", "block": "rse", "with": {"n": 5}}, "there is no block 'rse'"),
        ({"name": "r", "block": "res", "with": {"n": 5, "m": 1}}, "block 'res' has no variable 'm'"),
        ({"name": "r", "block": "res", "with": {"n": 5}, "repeat": 0}, "repeat must be >= 1"),
        ({"name": "r", "block": "res", "with": {"n": 4}}, "do not broadcast"),
        ({"name": "r", "block": "loop"}, "use each other without end"),
        ({"name": "r", "block": "typo"}, "the block has no variable 'nn'"),
    ],
)
def test_block_errors(use: dict[str, Any], message: str) -> None:
    blocks = {
        **RESIDUAL,
        "loop": {"net": [{"name": "again", "block": "loop"}]},
        "typo": {"args": {"n": 1}, "net": [{"name": "fc", "type": "Linear", "out_features": "${nn}"}]},
    }
    first = {"name": "first", "type": "Linear", "out_features": 5, "bottom": "x"}
    assert message in refused([first, use], blocks=blocks)


# Save and load ------------------------------------------------------------------------------------------------------

NORMED = [MLP[0], {"name": "bn", "type": "BatchNorm"}, *MLP[2:4]]


def test_save_and_load_round_trip(tmp_path: Path) -> None:
    net, other = make(NORMED), make(NORMED, seed=1)
    net.forward(**batch())
    net.save(tmp_path / "w.h5")
    assert not np.array_equal(net.parameters.data, other.parameters.data)
    other.load(tmp_path / "w.h5")
    np.testing.assert_array_equal(net.parameters.data, other.parameters.data)
    np.testing.assert_array_equal(net.state["bn"]["running_mean"], other.state["bn"]["running_mean"])


def test_weights_that_do_not_fit_change_nothing(tmp_path: Path) -> None:
    make(NORMED).save(tmp_path / "w.h5")
    smaller = make([{**MLP[0], "out_features": 4}, *MLP[1:4]])
    before = smaller.parameters.data.copy()
    with pytest.raises(DataError) as caught:
        smaller.load(tmp_path / "w.h5")
    text = str(caught.value)
    assert "unexpected params/bn/weight" in text
    assert "params/fc1/weight has shape (5, 6), the net's is (4, 6)" in text
    np.testing.assert_array_equal(smaller.parameters.data, before)


def test_a_damaged_or_foreign_file_is_refused(tmp_path: Path) -> None:
    net, path = make(MLP), tmp_path / "w.h5"
    net.save(path)
    good = path.read_bytes()
    for damaged, message in ((good[:-7], "digest"), (good[:700] + b"x" + good[701:], "digest"), (b"", "is empty")):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match=message):
            net.load(path)
    path.write_bytes(b"\x89HDF\r\n\x1a\n" + good[8:])
    with pytest.raises(DataError, match="not a LayerForge snapshot"):
        net.load(path)
    with pytest.raises(DataError, match="cannot read"):
        net.load(tmp_path / "nothing.h5")


def test_start_values_depend_on_seed_and_name_only() -> None:
    a, b, c = make(MLP), make([MLP[0], *MLP[1:3], MLP[3]]), make(MLP, seed=1)
    np.testing.assert_array_equal(a.params["fc2"]["weight"].data, b.params["fc2"]["weight"].data)
    assert not np.array_equal(a.params["fc2"]["weight"].data, c.params["fc2"]["weight"].data)
    more = make([{"name": "zero", "type": "Linear", "out_features": 6, "bottom": "x"}, {**MLP[0], "bottom": "zero"}])
    np.testing.assert_array_equal(a.params["fc1"]["weight"].data, more.params["fc1"]["weight"].data)


def test_the_device_backend_gives_the_same_step(device_backend: Any) -> None:
    host = make(NORMED)
    config = {"dtype": "float64", "inputs": {"x": {"shape": [4, 6]}, "t": {"shape": [4], "dtype": "int64"}}}
    device = Net.from_config({**config, "net": NORMED}, backend=device_backend)
    for net in (host, device):
        net.forward(**batch())
        net.backward()
    grad = device_backend.to_host(device.parameters.grad)
    np.testing.assert_allclose(grad, host.parameters.grad, rtol=1e-12, atol=1e-14)
    assert device.total_loss() == pytest.approx(host.total_loss())


@pytest.mark.parametrize("dtype", ["int65", "int>4", "int32,int8", "i8", "S4"])
def test_an_input_has_a_dtype_of_numbers(dtype: str) -> None:
    """Found by scripts/fuzz.py: what begins like an integer was one, and NumPy did not know it."""
    layers = [{"name": "y", "type": "Identity", "bottom": "x"}]
    with pytest.raises(ConfigError, match="is no type of numbers"):
        Net.from_config({"inputs": {"x": {"shape": [2], "dtype": dtype}}, "net": layers})
