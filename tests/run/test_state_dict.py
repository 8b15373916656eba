"""Weights come from torch and go back: names, layouts, files. The numbers are torch's own, recorded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.torch_weights import ANSWERS, GOLDEN, MODELS, RESNET, Model, narrow_resnet18

from layerforge import ConfigError, DataError, Net


def recorded(model: Model) -> dict[str, np.ndarray]:
    """What is recorded of a model: its weights, unless they have a file, and `y`."""
    with np.load(ANSWERS) as file:
        return {key.partition("/")[2]: file[key] for key in file.files if key.startswith(f"{model.name}/")}


def net_of(model: Model, tmp_path: Path) -> Net:
    """The model as a net of ours, with start values of its own."""
    if model is not RESNET:
        return Net.from_config(model.config)
    (tmp_path / "net.yaml").write_text(narrow_resnet18())
    return Net.from_yaml(tmp_path / "net.yaml")


def answer(net: Net, model: Model) -> np.ndarray:
    return net.forward(phase="eval", outputs=[model.output], **model.drawn())[model.output]


def loaded(model: Model, tmp_path: Path) -> tuple[Net, np.ndarray]:
    """A net with torch's weights, and torch's answer."""
    net, held = net_of(model, tmp_path), recorded(model)
    wanted = held.pop("y")
    if model.file:
        assert net.load(GOLDEN / model.file, rename=model.rename) == []
    else:
        assert net.load_state_dict(held) == []
    return net, wanted


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_the_answer_is_torchs(model: Model, tmp_path: Path) -> None:
    net, wanted = loaded(model, tmp_path)
    np.testing.assert_allclose(answer(net, model), wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_torch_gets_back_what_it_gave(model: Model, tmp_path: Path) -> None:
    net, _ = loaded(model, tmp_path)
    state = net.state_dict()
    if not model.file:
        given = recorded(model)
        given.pop("y")
        assert {k: (a.shape, a.dtype) for k, a in state.items()} == {k: (a.shape, a.dtype) for k, a in given.items()}
        for name, array in state.items():
            if ("num_batches" not in name or model.name == "batch_norm_of_all") and model.name != "lstm_of_one_bias":
                np.testing.assert_allclose(array, given[name], rtol=1e-6, err_msg=name)
    before = answer(net, model)
    net.save(tmp_path / "w.safetensors")
    other = net_of(model, tmp_path)
    assert other.load(tmp_path / "w.safetensors") == []
    np.testing.assert_allclose(answer(other, model), before, rtol=0, atol=1e-6 * np.abs(before).max())


# Names ----------------------------------------------------------------------------------------------------------------


def stack(*layers: dict[str, Any], **more: Any) -> Net:
    """A net of layers on an input of 2 samples with 4 features."""
    first, *others = layers
    return Net.from_config({"inputs": {"x": {"shape": [2, 4]}}, "net": [{**first, "bottom": "x"}, *others], **more})


def linear(name: str, width: int = 4, **more: Any) -> dict[str, Any]:
    return {"name": name, "type": "Linear", "out_features": width, **more}


def drawn(net: Net, prefix: str = "") -> dict[str, np.ndarray]:
    """A state_dict of the net's shapes with numbers of its own."""
    rng = np.random.default_rng(5)
    return {prefix + name: rng.normal(size=array.shape).astype(np.float32) for name, array in net.state_dict().items()}


def unchanged(net: Net, before: dict[str, np.ndarray]) -> bool:
    now = net.state_dict()
    return all(np.array_equal(now[name], array) for name, array in before.items())


def test_a_slash_is_a_dot() -> None:
    net = stack(linear("enc/0.fc"), linear("head", 3))
    assert list(net.state_dict()) == ["enc.0.fc.weight", "enc.0.fc.bias", "head.weight", "head.bias"]
    given = drawn(net)
    net.load_state_dict(given)
    np.testing.assert_array_equal(net.params["enc/0.fc"]["weight"].data, given["enc.0.fc.weight"])


@pytest.mark.parametrize(
    "layers",
    [(linear("a/b"), linear("a.b")), (linear("a.out_proj"), {"name": "a", "type": "Bilinear", "out_features": 2})],
)
def test_two_layers_of_one_name_are_refused_where_they_are_written(layers: tuple[dict[str, Any], ...]) -> None:
    if layers[1]["type"] == "Bilinear":  # the second is an attention, whose arrays are in a module of its own
        attention = {"name": "a", "type": "MultiheadAttention", "num_heads": 1, "bottom": "y"}
        net = Net.from_config({"inputs": {"y": {"shape": [2, 3, 4]}}, "net": [attention, linear("a/out_proj")]})
    else:
        net = stack(*layers)
    for call in (net.state_dict, lambda: net.load_state_dict({}), lambda: net.save("nowhere/w.safetensors")):
        with pytest.raises(ConfigError, match=r"would both have an array 'a\."):
            call()
    assert not Path("nowhere").exists()


def test_a_shared_parameter_has_every_name_and_may_be_given_by_one() -> None:
    net = stack(linear("a"), linear("b", share={"weight": "a.weight"}), linear("c"))
    state = net.state_dict()
    assert {"a.weight", "b.weight", "b.bias"} <= set(state)
    np.testing.assert_array_equal(state["a.weight"], state["b.weight"])
    given = drawn(net)
    given["b.weight"] = given["a.weight"].copy()
    for left_out in ("a.weight", "b.weight", None):
        net.load_state_dict({name: array for name, array in given.items() if name != left_out})
        np.testing.assert_array_equal(net.params["b"]["weight"].data, given["a.weight"])
        net.load_arrays({k: v * 0 for k, v in net.arrays().items()}, "zeros")
    with pytest.raises(DataError, match=r"different arrays a\.weight and b\.weight, which this net shares"):
        net.load_state_dict({**given, "b.weight": given["b.weight"] + 1})


@pytest.mark.parametrize(
    ("prefix", "rename"),
    [
        ("module.", {"module.*": "*"}),
        ("model.body.", {"model.body": "body", "model.body.head": "head"}),
        ("body.", {"body.head": "head", "body.body": "body/fc1", "body.body.fc1": "body/fc1"}),
        ("q.", {"q.*.fc1": "*/fc1", "q.head.weight": "head.weight", "q.head.bias": "head.bias"}),
    ],
)
def test_modules_and_arrays_may_have_other_names(prefix: str, rename: dict[str, str]) -> None:
    net = stack(linear("body/fc1"), linear("head", 3))
    given = drawn(net)
    named = {prefix + key: array for key, array in given.items()}
    if prefix == "model.body.":
        named = {key.replace("body.body.", "body."): array for key, array in named.items()}
    assert net.load_state_dict(named, rename=rename) == []
    for key, array in given.items():
        np.testing.assert_array_equal(net.state_dict()[key], array)


def test_renaming_says_what_it_does_not_find() -> None:
    net = stack(linear("body/fc1"), linear("head", 3))
    given, before = drawn(net, "net."), net.state_dict()
    for rename, words in (
        ({"nat": "body"}, "there is nothing that is called 'nat'"),
        ({"net.head": "haed"}, "the net has nothing that is called 'haed'"),
        ({"net.*": "body"}, r"need one \* each"),
        ({"net.head": "body/fc1", "net.body.fc1": "body/fc1"}, r"would both be 'body\.fc1\.weight'"),
    ):
        with pytest.raises(ConfigError, match=words):
            net.load_state_dict(given, rename=rename)
    assert unchanged(net, before)


# What does not fit ----------------------------------------------------------------------------------------------------


def test_all_that_does_not_fit_is_named_and_nothing_is_changed() -> None:
    net = stack(linear("fc1"), {"name": "bn", "type": "BatchNorm"}, linear("head", 3))
    given, before = drawn(net), net.state_dict()
    given["fc1.wieght"] = given.pop("fc1.weight")
    given["head.weight"] = given["head.weight"][:, :2]
    given["bn.running_var"] = np.arange(4)
    with pytest.raises(DataError) as caught:
        net.load_state_dict(given)
    text = str(caught.value)
    for words in (
        "missing fc1.weight",
        "unexpected fc1.wieght (did you mean 'fc1.weight'?)",
        "head.weight has shape (3, 2), the net's is (3, 4)",
        "bn.running_var holds int64, not real numbers",
        "allow_missing=['fc1', 'bn', 'head']",
    ):
        assert words in text
    assert unchanged(net, before)


def test_names_that_differ_in_front_are_seen() -> None:
    net = stack(linear("fc1"), linear("head", 3))
    with pytest.raises(DataError, match=r"rename=\{'module\.\*': '\*'\}"):
        net.load_state_dict(drawn(net, "module."))
    inner = stack(linear("net/fc1"), linear("net/head", 3))
    with pytest.raises(DataError, match=r"rename=\{'\*': 'net\.\*'\}"):
        inner.load_state_dict(drawn(net))


def test_layers_that_may_be_missing_keep_what_they_have() -> None:
    net = stack(linear("body/fc1"), linear("head", 3), linear("more", 2))
    given, before = drawn(net), net.state_dict()
    given["head.weight"], given["extra.weight"] = given["head.weight"][:2], np.zeros(3)
    del given["more.bias"]
    said = net.load_state_dict(given, allow_missing=["head", "m*", "extra"])
    assert said == ["missing more.bias", "unexpected extra.weight", "head.weight has shape (2, 4), the net's is (3, 4)"]
    now = net.state_dict()
    for name in ("head.weight", "head.bias", "more.weight", "more.bias"):
        np.testing.assert_array_equal(now[name], before[name])
    np.testing.assert_array_equal(now["body.fc1.weight"], given["body.fc1.weight"])
    with pytest.raises(DataError, match="nothing that fits"):
        net.load_state_dict(drawn(net, "x/"), allow_missing=["*"])
    with pytest.raises(ConfigError, match="is a list of patterns"):
        net.load_state_dict(given, allow_missing="head")


def test_numbers_that_the_nets_dtype_cannot_hold_are_refused() -> None:
    net = stack(linear("fc1"))
    given, before = {k: v.astype(np.float64) for k, v in drawn(net).items()}, net.state_dict()
    given["fc1.bias"][2] = -1e39
    with pytest.raises(DataError, match=r"fc1\.bias has numbers up to 1e\+39, which are too large for float32"):
        net.load_state_dict(given)
    assert unchanged(net, before)
    given["fc1.bias"][2] = np.inf  # which was there before
    net.load_state_dict(given)
    assert net.state_dict()["fc1.bias"][2] == np.inf


def test_what_is_no_mapping_of_arrays_is_refused() -> None:
    net = stack(linear("fc1"))
    for given, words in (
        ([1, 2], "is a list, not a mapping"),
        ({"fc1.weight": [1.0], 3: np.zeros(2)}, "'fc1.weight' is a list; the name 3 is a int"),
        ({"state_dict": {}, "epoch": 3}, "'state_dict' is a dict; 'epoch' is a int"),
    ):
        with pytest.raises(DataError, match=words):
            net.load_state_dict(given)  # type: ignore[arg-type]


# Layouts --------------------------------------------------------------------------------------------------------------


def test_sums_of_statistics_become_means_that_forget_as_torchs_do() -> None:
    """bias_correction: what an evaluation sees, and what the next batch makes of it, are those of running means."""
    sums, means = (
        stack({"name": "bn", "type": "BatchNorm", "momentum": 0.25, "bias_correction": each}) for each in (True, False)
    )
    x = np.random.default_rng(1).normal(2, 3, size=(8, 4))
    for _ in range(40):  # until sums and means agree
        for net in (sums, means):
            net.forward(phase="train", backward=False, x=x)
    assert sums.state["bn"]["correction"][0] == pytest.approx(4, rel=1e-4)
    given = means.state_dict()
    sums.load_state_dict(given)
    for name, array in sums.state_dict().items():
        np.testing.assert_allclose(array, given[name], rtol=1e-6)
    for net in (sums, means):
        net.forward(phase="train", backward=False, x=x + 5)
    np.testing.assert_allclose(sums.state_dict()["bn.running_mean"], means.state_dict()["bn.running_mean"], rtol=1e-5)


def test_plain_means_of_all_batches_keep_their_count() -> None:
    """momentum 0 with bias_correction is torch's momentum=None, the only use that torch has for the count."""
    net = stack({"name": "bn", "type": "BatchNorm", "momentum": 0.0, "bias_correction": True})
    other = stack({"name": "bn", "type": "BatchNorm", "momentum": 0.0, "bias_correction": True})
    rng = np.random.default_rng(2)
    for _ in range(5):
        net.forward(phase="train", backward=False, x=rng.normal(size=(8, 4)))
    state = net.state_dict()
    assert state["bn.num_batches_tracked"] == 5 and state["bn.num_batches_tracked"].dtype == np.int64
    other.load_state_dict(state)
    x = rng.normal(size=(8, 4))
    for each in (net, other):
        each.forward(phase="train", backward=False, x=x)
    np.testing.assert_allclose(other.state_dict()["bn.running_var"], net.state_dict()["bn.running_var"], rtol=1e-5)
    assert other.state_dict()["bn.num_batches_tracked"] == 6
    del state["bn.num_batches_tracked"]  # as older files of torch
    assert other.load_state_dict(state) == []


def test_before_the_first_batch_there_are_no_means() -> None:
    net = stack({"name": "bn", "type": "BatchNorm", "bias_correction": True})
    assert not net.state_dict()["bn.running_var"].any()


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_a_second_bias_is_added_where_that_is_the_same(kind: str) -> None:
    layer = {"name": "cell", "type": kind, "hidden_size": 3}
    both, single = (
        Net.from_config({"inputs": {"x": {"shape": [2, 5, 4]}}, "net": [{**layer, "recurrent_bias": each}]})
        for each in (True, False)
    )
    given = drawn(both)
    given["cell.bias_hh_l0"][-3:] = 0  # a GRU's reset gate multiplies these
    for net in (both, single):
        net.load_state_dict(given)
    x = np.random.default_rng(3).normal(size=(2, 5, 4))
    answers = [net.forward(phase="eval", x=x)["cell"] for net in (both, single)]
    np.testing.assert_allclose(answers[1], answers[0], rtol=1e-5, atol=1e-6)
    given["cell.bias_hh_l0"][-1] = 1
    before = single.state_dict()
    if kind == "GRU":
        with pytest.raises(DataError, match="bias_hh_l0 is not 0 where the reset gate multiplies it"):
            single.load_state_dict(given)
        assert unchanged(single, before)
    else:
        single.load_state_dict(given)


def test_sums_that_the_nets_dtype_cannot_hold_are_refused() -> None:
    """Found by scripts/fuzz.py: the weight of the sums takes a mean beyond float32."""
    net = stack({"name": "bn", "type": "BatchNorm", "bias_correction": True})
    given = net.state_dict()
    given["bn.running_mean"] = np.full(4, 1e38, np.float32)
    with pytest.raises(DataError, match=r"bn\.running_mean has numbers up to 1e\+39, which are too large for float32"):
        net.load_state_dict(given)
