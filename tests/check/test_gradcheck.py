"""gradcheck of nets and layers, and `layerforge test`: right nets pass, broken ones fail by name, and it ends."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.broken_layers import HEALTHY, MUTANTS

from layerforge import Net, gradcheck, register
from layerforge.arrays.backend import Backend
from layerforge.arrays.spec import Spec, index
from layerforge.check.contract import engine_cases
from layerforge.check.differences import Difference, Tolerance, along, compare
from layerforge.check.draws import input_specs
from layerforge.check.examine import ALL, examine
from layerforge.check.gradients import REDRAWS, Effort, Row
from layerforge.check.net_gradients import NetCheck
from layerforge.check.report import Report
from layerforge.cli import test_command
from layerforge.contract.layer import Example, Layer
from layerforge.layers.matrices.linear import Linear
from layerforge.layers.norms.batch_norm import BatchNorm
from layerforge.run.executor import Executor
from layerforge.schema.errors import ConfigError, LayerForgeError
from layerforge.schema.registry import LAYERS

ReLU: type[Layer] = LAYERS.get("ReLU")
CrossEntropy: type[Layer] = LAYERS.get("SoftmaxCrossEntropy")


pytestmark = pytest.mark.usefixtures("registry_as_before")


def layer(name: str, kind: str, bottom: Any = None, **more: Any) -> dict[str, Any]:
    return {"name": name, "type": kind, **({} if bottom is None else {"bottom": bottom}), **more}


def mlp(features: int = 12, hidden: tuple[int, ...] = (9, 7), classes: int = 5, **types: str) -> dict[str, Any]:
    """Linear, BatchNorm, ReLU for each hidden width, then a linear layer and the loss; other `types` by layer name."""
    net = []
    for i, width in enumerate(hidden, 1):
        net += [layer(f"fc{i}", "Linear", "x" if i == 1 else None, out_features=width)]
        net += [layer(f"bn{i}", "BatchNorm"), layer(f"act{i}", "ReLU")]
    net += [layer("out", "Linear", out_features=classes), layer("loss", "SoftmaxCrossEntropy", ["out", "t"])]
    net += [layer("accuracy", "Accuracy", ["out", "t"], phase="eval")]
    for item in net:
        item["type"] = types.get(item["name"], item["type"])
    inputs = {"x": {"shape": [32, features], "grad": True}, "t": {"shape": [32], "dtype": "int64"}}
    return {"inputs": inputs, "net": net}


def rows(report: Report) -> dict[tuple[str, str], Any]:
    return {(row.owner.split(" ")[0], row.blob): row for row in report.rows}


# Nets -----------------------------------------------------------------------------------------------------------------


def test_a_right_net_passes_in_every_parameter_and_input() -> None:
    report = gradcheck(mlp())
    assert report.ok, report
    parameters = {(f"{kind}{i}", blob) for kind in ("fc", "bn") for i in (1, 2) for blob in ("weight", "bias")}
    assert set(rows(report)) == parameters | {("out", "weight"), ("out", "bias"), ("input", "x")}
    assert report.worst is not None
    assert report.worst.relative < 1e-6
    assert all(row.compared >= 3 for row in report.rows)
    assert "11 gradients: all pass" in str(report)


def test_a_bias_below_batch_norm_is_printed_as_zero() -> None:
    report = gradcheck(mlp())
    row = rows(report)["fc1", "bias"]
    assert row.is_zero
    assert (row.absolute, row.relative) == (0, 0)
    assert not rows(report)["out", "bias"].is_zero
    line = next(words for words in map(str.split, str(report).splitlines()) if words[:3] == ["fc1", "(Linear)", "bias"])
    assert line[4:6] == ["0", "0"]
    assert line[-2:] == ["ok", "(zero)"]


@pytest.mark.parametrize("seed", [0, 1])
def test_a_net_of_the_size_of_mnist_mlp_ends_and_passes(seed: int) -> None:
    report = gradcheck(mlp(784, (256, 128), 10), seed=seed)
    assert report.ok, report
    assert rows(report)["fc2", "bias"].is_zero


class SteepReLU(ReLU):
    def backward(self, dy: Any) -> Any:
        return 1.001 * super().backward(dy)


class OneWeightWrong(Linear):
    def backward(self, dy: Any) -> Any:
        dx = super().backward(dy)
        self.grads.weight[1, 2] += 1e-3
        return dx


class SignOfBias(Linear):
    def backward(self, dy: Any) -> Any:
        before = self.grads.bias.copy()
        dx = super().backward(dy)
        self.grads.bias[...] = 2 * before - self.grads.bias
        return dx


class NormForgetsTheMean(BatchNorm):
    def backward(self, dy: Any) -> Any:
        dx = super().backward(dy)
        return dx + 0.01 * dy.sum(axis=0)


class SummedLoss(CrossEntropy):
    def backward(self, dy: Any) -> Any:
        dx, _ = super().backward(dy)
        return dx * len(dx), None


BROKEN = [
    ("act1", SteepReLU, "bottom[0]"),
    ("act2", SteepReLU, "bottom[0]"),
    ("fc2", OneWeightWrong, "weight"),
    ("out", SignOfBias, "bias"),
    ("bn2", NormForgetsTheMean, "bottom[0]"),
    ("loss", SummedLoss, "bottom[0]"),
]


@pytest.mark.parametrize(("name", "broken", "blob"), BROKEN, ids=[f"{n}-{b.__name__}" for n, b, _ in BROKEN])
def test_a_broken_layer_is_named_with_blob_and_element(name: str, broken: type[Layer], blob: str) -> None:
    register(broken)
    report = gradcheck(mlp(**{name: broken.__name__}))
    assert not report.ok
    assert report.worst is not None
    assert (report.worst.owner, report.worst.blob) == (f"{name} ({broken.__name__})", blob)
    assert report.worst.decided.where.startswith("[")
    guilty = {row.owner for row in report.rows if not row.ok and not row.cause}
    assert guilty == {f"{name} ({broken.__name__})"}
    assert not gradcheck(mlp(**{name: broken.__name__}), layer=name)
    text = str(report)
    assert f"{name} ({broken.__name__}): gradient of {blob}" in text
    assert text.splitlines()[-1].endswith(f"failed ({name} ({broken.__name__}))")


def test_what_lies_below_a_broken_layer_is_not_blamed() -> None:
    register(SteepReLU)
    found = rows(gradcheck(mlp(act2="SteepReLU")))
    assert found["fc1", "weight"].cause == "act2"
    assert not found["fc1", "weight"].ok
    assert found["out", "weight"].ok


def test_the_wrong_element_is_found_among_many() -> None:
    register(OneWeightWrong)
    report = gradcheck(mlp(40, (60, 50), fc2="OneWeightWrong"), samples=0)
    assert report.worst is not None
    assert report.worst.decided.where == "[1, 2]"


def test_parameters_that_start_at_zero_hide_nothing() -> None:
    @register
    class BiasMissing(Linear):
        """y = (x Wᵀ + b)², whose backward forgets b."""

        def forward(self, x: Any) -> Any:
            return super().forward(x) ** 2

        def backward(self, dy: Any) -> Any:
            return super().backward(2 * dy * (self.saved.x @ self.params.weight.T))

    report = gradcheck(mlp(out="BiasMissing"))
    assert report.summary().endswith("failed (out (BiasMissing))")


def test_a_given_net_lends_its_numbers_and_is_left_alone() -> None:
    net = Net.from_config(mlp())
    net.parameters.data[...] *= 3
    net.forward(x=np.random.default_rng(0).normal(size=(4, 12)), t=np.array([0, 1, 2, 3]))
    net.backward()
    before = net.parameters.data.copy(), net.parameters.grad.copy(), net.snapshot_state()
    report = gradcheck(net)
    assert report.ok, report
    assert np.array_equal(net.parameters.data, before[0])
    assert np.array_equal(net.parameters.grad, before[1])
    assert all(np.array_equal(net.state[n][k], a) for (n, k), a in before[2].items())
    scales = (rows(r)["out", "weight"].scale for r in (report, gradcheck(mlp())))
    assert not np.isclose(*scales), "the values of the net were not used"


class LagsBehind(Layer):
    """y = x - what the mean was before this batch: depends on state in train."""

    examples = [Example({}, [Spec((4, 3))])]

    def setup(self, x: Spec) -> Spec:
        self.add_state("mean", x.shape[1:], 0.0)
        return x

    def forward(self, x: Any) -> Any:
        y = (x - self.state.mean) ** 2
        self.save(d=2 * (x - self.state.mean))
        if self.phase == "train":
            self.state.mean = self.state.mean + 0.5 * x.mean(axis=0)
        return y

    def backward(self, dy: Any) -> Any:
        return dy * self.saved.d


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_state_does_not_drift_between_evaluations(dtype: str) -> None:
    register(LagsBehind)
    net = mlp(act1="LagsBehind")
    assert (report := gradcheck(net, dtype=dtype)).ok, report
    check = NetCheck(Net.from_config(net).config, Effort(dtype=dtype))
    first, second = ([check.scene(0)[1][target] for target in check.targets] for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


def test_dropout_keeps_its_mask() -> None:
    net = mlp()
    net["net"].insert(3, layer("drop", "Dropout", p=0.4))
    assert (report := gradcheck(net)).ok, report


def test_a_layer_with_random_numbers_of_its_own_is_named() -> None:
    @register
    class Tossed(ReLU):
        def forward(self, x: Any) -> Any:
            return super().forward(x) * np.random.default_rng().random(x.shape)

    with pytest.raises(LayerForgeError, match=r"layer 'act1' \(Tossed\): two forwards"):
        gradcheck(mlp(act1="Tossed"))


def test_shared_parameters_are_judged_once_and_in_all_their_uses() -> None:
    net = {
        "inputs": {"x": {"shape": [4, 3]}},
        "net": [
            layer("a", "Linear", "x", out_features=3),
            layer("b", "Linear", "x", out_features=3, share={"weight": "a.weight"}),
            layer("s", "Tanh", "b"),
            layer("c", "Linear", "s", out_features=3, share={"weight": "a.weight"}, bias=False),
        ],
    }
    report = gradcheck(net)
    assert report.ok, report
    assert set(rows(report)) == {("a", "weight"), ("a", "bias"), ("b", "bias")}


def test_a_net_without_loss_is_judged_by_random_projections_of_its_outputs() -> None:
    @register
    class NoGradient(LAYERS.get("Softmax")):  # right for a sum of its outputs, whose gradient is zero
        def backward(self, dy: Any) -> Any:
            return 0 * dy

    net = {"inputs": {"x": {"shape": [6, 4]}}, "net": [layer("fc", "Linear", out_features=3), layer("p", "Softmax")]}
    net["net"] += [layer("q", "Linear", "fc", out_features=2)]
    assert (report := gradcheck(net)).ok, report
    net["net"][1]["type"] = "NoGradient"
    report = gradcheck(net)
    assert {row.owner for row in report.rows if not row.ok and not row.cause} == {"p (NoGradient)"}


def test_weights_of_several_losses_count() -> None:
    net = mlp()
    net["net"] += [layer("size", "MSELoss", ["fc1", "act1"], loss_weight=-0.7), layer("more", "Tanh", "out")]
    assert (report := gradcheck(net)).ok, report


def test_one_layer_of_a_net() -> None:
    assert set(rows(gradcheck(mlp(), layer="bn1"))) == {("bn1", "bottom[0]"), ("bn1", "weight"), ("bn1", "bias")}
    assert set(rows(gradcheck(mlp(), layer="act1"))) == {("act1", "bottom[0]")}
    with pytest.raises(ConfigError, match="layer 'act3' does not exist") as caught:
        gradcheck(mlp(), layer="act3")
    assert "did you mean 'act" in str(caught.value)
    with pytest.raises(ConfigError, match="layer 'accuracy' has no gradient"):
        gradcheck(mlp(), layer="accuracy")


def test_frozen_parameters_have_no_row() -> None:
    net = mlp()
    net["net"][0]["freeze"] = True
    assert ("fc1", "weight") not in rows(gradcheck(net))


def test_own_inputs() -> None:
    x, t = np.random.default_rng(1).normal(size=(6, 12)), np.array([0, 4, 2, 1, 1, 3])
    report = gradcheck(mlp(), inputs={"x": x, "t": t})
    assert report.ok, report
    assert rows(report)["input", "x"].shape == (6, 12)
    assert rows(gradcheck(mlp(), inputs={"x": x}))["input", "x"].shape == (6, 12)
    with pytest.raises(ConfigError, match="no input 'y'"):
        gradcheck(mlp(), inputs={"y": x})
    with pytest.raises(LayerForgeError, match="label 9 at position 0 is out of range"):
        gradcheck(mlp(), inputs={"x": x, "t": np.full(6, 9)})


def test_the_batch_is_small_unless_the_net_takes_no_other() -> None:
    @register
    class OnlyThirtyTwo(ReLU):
        def setup(self, x: Spec) -> Spec:
            assert x.shape[0] == 32
            return super().setup(x)

    assert rows(gradcheck(mlp()))["input", "x"].shape == (4, 12)
    assert rows(gradcheck(mlp(act1="OnlyThirtyTwo")))["input", "x"].shape == (32, 12)


def test_float32_is_judged_against_differences_in_float64() -> None:
    @register
    class CoarseInSingle(Linear):
        def backward(self, dy: Any) -> Any:
            dx = super().backward(dy)
            return dx.astype("float16").astype(dx.dtype) if dx.dtype == "float32" else dx

    assert (report := gradcheck(mlp(), dtype="float32")).ok, report
    assert gradcheck(mlp(out="CoarseInSingle")).ok
    report = gradcheck(mlp(out="CoarseInSingle"), dtype="float32", rtol=1e-5, atol=1e-6)
    assert "out (CoarseInSingle)" in report.summary()


def test_tolerances_decide() -> None:
    register(SteepReLU)
    net = mlp(act1="SteepReLU")
    assert not gradcheck(net).ok
    assert gradcheck(net, rtol=1e-2).ok
    assert not gradcheck(net, eps=1e-6).ok


def test_an_error_of_the_net_itself_is_not_hidden_by_layers_that_are_right(monkeypatch: pytest.MonkeyPatch) -> None:
    net = {
        "inputs": {"x": {"shape": [4, 3]}},
        "net": [layer("fc", "Linear", out_features=3), layer("a", "Tanh", "fc"), layer("b", "Sigmoid", "fc")],
    }
    assert gradcheck(net).ok
    monkeypatch.setattr(Executor, "_add_grad", lambda self, place, index, grad: self.grads.__setitem__(index, grad))
    report = gradcheck(net)
    assert {(row.owner, row.note) for row in report.rows if not row.ok} == {("fc (Linear)", "no layer fails alone")}


def test_another_backend(device_backend: Backend) -> None:
    report = gradcheck(Net.from_config(mlp(), backend=device_backend))
    assert report.ok, report


def test_nothing_to_check_is_an_error() -> None:
    net = {"inputs": {"x": {"shape": [4, 3]}}, "net": [layer("a", "Tanh")]}
    with pytest.raises(ConfigError, match="nothing in this net has a gradient"):
        gradcheck(net)


def test_a_config_file_is_checked_without_its_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAYERFORGE_DATA", str(tmp_path))
    monkeypatch.setenv("LAYERFORGE_OFFLINE", "1")
    config = tmp_path / "net.yaml"
    config.write_text(
        "data: {train: {type: MNIST, batch_size: 64}}\n"
        "net:\n"
        "  - {name: flat, type: Flatten, bottom: image}\n"
        "  - {name: fc, type: Linear, out_features: 10}\n"
        "  - {name: loss, type: SoftmaxCrossEntropy, bottom: [fc, label]}\n"
    )
    assert (report := gradcheck(config)).ok, report


# What inputs are drawn from -------------------------------------------------------------------------------------------


def bounds(config: dict[str, Any], name: str) -> tuple[Any, Any]:
    spec = input_specs(Net.from_config(config).graph)[name]
    return spec.low, spec.high


def test_labels_stay_below_the_classes_that_they_are_paired_with() -> None:
    assert bounds(mlp(classes=3), "t") == (0, 3)
    flat = mlp(classes=3)
    flat["inputs"]["t"]["shape"] = [32, 1]
    flat["net"].insert(0, layer("labels", "Flatten", "t", start_dim=0))
    for item in flat["net"]:
        item["bottom"] = ["out", "labels"] if item.get("bottom") == ["out", "t"] else item.get("bottom")
    assert bounds(flat, "t") == (0, 3)


def test_bounds_that_all_examples_of_a_reader_share_are_kept() -> None:
    @register
    class LogOf(Layer):
        examples = [Example({}, [Spec((3,), low=0.5, high=2)])]

        def setup(self, x: Spec) -> Spec:
            return x

        def forward(self, x: Any) -> Any:
            self.save(x=x.copy())
            return self.xp.log(x)

        def backward(self, dy: Any) -> Any:
            return dy / self.saved.x

    @register
    class SameOrNot(Layer):
        bottoms = 2
        examples = [Example({}, [Spec((3, n)), index((3,), 2)]) for n in (4, 5)]

        def setup(self, x: Spec, same: Spec) -> Spec:
            return x

        def forward(self, x: Any, same: Any) -> Any:
            assert same.max() < 2
            return x * 1

        def backward(self, dy: Any) -> Any:
            return dy.copy(), None

    net = {
        "inputs": {"x": {"shape": [9, 6], "grad": True}, "t": {"shape": [9], "dtype": "int64"}},
        "net": [layer("log", "LogOf", "x"), layer("pair", "SameOrNot", ["log", "t"])],
    }
    assert bounds(net, "x") == (0.5, 2)
    assert bounds(net, "t") == (0, 2)
    assert (report := gradcheck(net)).ok, report


def test_an_index_is_drawn_from_what_its_reader_accepts() -> None:
    x, i = {"shape": [9, 6, 3], "grad": True}, {"shape": [5], "dtype": "int64"}
    nets = {
        (0, 6): layer("y", "IndexSelect", ["x", "i"], dim=1),
        (0, 3): layer("y", "IndexSelect", ["x", "i"], dim=-1),
        (0, 4): layer("y", "BatchReindex", ["x", "i"]),  # a small batch is what is run
        (0, 7): layer("y", "Embedding", "i", num_embeddings=7, embedding_dim=2),
    }
    for wanted, net in nets.items():
        config = {"inputs": {"x": x, "i": i}, "net": [net]}
        assert bounds(config, "i") == wanted
        assert (report := gradcheck(config)).ok, report


def test_what_reads_an_index_behind_a_layer_that_picks_from_it_counts_too() -> None:
    config = {
        "inputs": {"x": {"shape": [8, 3], "grad": True}, "t": {"shape": [8], "dtype": "int64"}, "i": {"shape": [8]}},
        "net": [layer("some", "BatchReindex", ["t", "i"]), layer("loss", "SoftmaxCrossEntropy", ["x", "some"])],
    }
    config["inputs"]["i"]["dtype"] = "int64"
    assert bounds(config, "t") == (0, 3)
    assert bounds(config, "i") == (0, 4)


def test_labels_that_are_signs_and_several_readers() -> None:
    real, t = {"shape": [8], "grad": True}, {"shape": [8], "dtype": "int64"}
    ranking = layer("rank", "MarginRankingLoss", ["a", "b", "t"])
    config = {"inputs": {"a": real, "b": real, "t": t}, "net": [ranking]}
    assert (report := gradcheck(config)).ok, report
    config["net"] = [ranking, layer("name", "Embedding", "t", num_embeddings=4, embedding_dim=2)]
    assert bounds(config, "t") == (1, 2)  # the only number that both accept


def test_a_net_with_ctc_is_checked_on_labels_and_lengths_that_it_accepts() -> None:
    lengths = {"shape": [2], "dtype": "int64"}
    config = {
        "inputs": {
            "x": {"shape": [5, 2, 4], "grad": True},
            "t": {"shape": [2, 2], "dtype": "int64"},
            "steps": lengths,
            "labels": lengths,
        },
        "net": [
            layer("log_p", "LogSoftmax", "x", dim=2),
            layer("loss", "CTCLoss", ["log_p", "t", "steps", "labels"], blank=3, zero_infinity=True),
        ],
    }
    assert [bounds(config, name) for name in ("t", "steps", "labels")] == [(0, 3), (1, 5), (0, 3)]
    assert (report := gradcheck(config)).ok, report


def test_every_redraw_has_other_inputs() -> None:
    check = NetCheck(Net.from_config(mlp()).config, Effort())
    first, again, other = (check.scene(number)[0]["x"] for number in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.isclose(first, other).any()


# Kinks ----------------------------------------------------------------------------------------------------------------


def test_a_kink_at_the_very_point_is_recognised() -> None:
    x = np.array([0.0, 1.0])
    path = along(x, np.array([1.0, 0.0]))
    found = compare(1.0, lambda: [np.maximum(x, 0)], [np.ones(2)], path, "here")
    assert found.kink
    assert np.array_equal(x, [0, 1])
    smooth = along(x, np.array([0.0, 1.0]))
    assert not compare(5.0, lambda: [x**3 * 100], [np.ones(2)], smooth, "there").kink


def test_kinks_leave_the_verdict_to_the_layer_alone() -> None:
    net = {
        "inputs": {"x": {"shape": [4, 6], "grad": True}},
        "net": [layer("fc", "Linear", out_features=5, bias=False), layer("act", "ReLU")],
    }
    x = np.random.default_rng(0).normal(size=(4, 6))
    x[1] = 0  # in this sample every unit of the net is exactly at its kink
    report = gradcheck(net, inputs={"x": x})
    row = rows(report)["input", "x"]
    assert report.ok, report
    assert row.note == "layers alone, after kinks"
    assert row.kinks > 2 * REDRAWS

    @register
    class WrongBottom(Linear):
        def backward(self, dy: Any) -> Any:
            return -super().backward(dy)

    net["net"][0]["type"] = "WrongBottom"
    assert "failed (fc (WrongBottom))" in gradcheck(net, inputs={"x": x}).summary()


def test_a_layer_of_nothing_but_kinks_ends_and_does_not_pass() -> None:
    class Saw(Layer):
        examples = [Example({}, [Spec((3, 4))])]

        def setup(self, x: Spec) -> Spec:
            return x

        def forward(self, x: Any) -> Any:
            self.save(up=(x * 1.2345e7) % 2 < 1)
            return self.xp.abs((x * 1.2345e7 + 1) % 2 - 1)

        def backward(self, dy: Any) -> Any:
            return self.xp.where(self.saved.up, 1.2345e7, -1.2345e7) * dy

    report = gradcheck(Saw)
    assert not report.ok
    assert "kinks everywhere" in str(report)
    register(Saw)
    assert "failed (act1 (Saw))" in gradcheck(mlp(act1="Saw")).summary()


def test_steps_stay_small_beside_small_parameters() -> None:
    net = mlp(50, (400,))
    net["net"] = [item for item in net["net"] if item["type"] != "BatchNorm"]
    net["net"][0] |= {"weight_filler": {"type": "gaussian", "std": 1e-6}, "bias": False}
    row = rows(gradcheck(net))["fc1", "weight"]
    assert (row.ok, row.kinks, row.note) == (True, 0, "")


def test_what_is_allowed_is_measured_by_the_typical_element() -> None:
    found = Difference(5e-8, 0.0, False, where="direction 1")
    small, large = Row("a", "weight", (2, 2), scale=1.0), Row("a", "weight", (100, 100), scale=1.0)
    for row in (small, large):
        row.add(found, Tolerance())
    assert small.ok
    assert not large.ok


# Layers ---------------------------------------------------------------------------------------------------------------


def test_a_layer_class_is_checked_on_all_its_examples() -> None:
    report = gradcheck(Linear)
    assert report.ok
    assert {row.example for row in report.rows} == {str(i) for i in range(len(Linear.examples))}
    assert not gradcheck(SteepReLU).ok
    assert bool(report) is True
    assert gradcheck(Linear, exhaustive=True).ok


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_both_precisions_of_a_layer(dtype: str) -> None:
    assert gradcheck(BatchNorm, dtype=dtype).ok


@pytest.mark.parametrize(
    ("target", "options", "message"),
    [
        (Linear, {"layer": "fc"}, "are for nets"),
        (LAYERS.get("Accuracy"), {}, "has no backward"),
        (Layer, {}, "no backward"),
        (3, {}, "gradcheck takes"),
        (Linear, {"dtype": "float16"}, "dtype must be one of"),
        (Linear, {"rtol": -1.0}, "rtol must be >= 0"),
        (Linear, {"atol": float("nan")}, "atol must be >= 0"),
        (Linear, {"eps": 0.0}, "eps must be"),
        (Linear, {"samples": -1}, "samples must be >= 0"),
        (Linear, {"seed": -1}, "seed must be >= 0"),
        ("missing.yaml", {}, "does not exist"),
    ],
)
def test_arguments_that_cannot_be(target: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        gradcheck(target, **options)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(("check", "mutant"), MUTANTS, ids=[f"{c}-{m.__name__}" for c, m in MUTANTS])
def test_the_report_names_a_mutant_and_the_check_that_caught_it(check: str, mutant: type[Layer]) -> None:
    report = examine(mutant, Effort(), [check])
    assert not report.ok
    assert mutant.type_name in report.summary()
    assert check == "gradients" or {f.check for f in report.failures} == {check}


@pytest.mark.parametrize("healthy", HEALTHY, ids=lambda cls: cls.__name__)
def test_healthy_layers_have_a_clean_report(healthy: type[Layer]) -> None:
    report = examine(healthy, Effort(), [c for c in ALL if c != "documentation"])
    assert report.ok, report
    assert report.checks > 0


def test_a_layer_that_does_not_run_at_all_is_a_failure_and_not_an_error() -> None:
    class Crashes(Linear):
        def forward(self, x: Any) -> Any:
            raise ZeroDivisionError("on purpose")

    report = examine(Crashes, Effort())
    assert "ZeroDivisionError in forward: on purpose" in str(report)
    assert not report.ok


def test_a_long_report_has_a_line_for_each_layer_and_verbose_one_for_each_gradient() -> None:
    report = gradcheck(Linear) + gradcheck(BatchNorm) + gradcheck(ReLU)
    table = [line.split() for line in str(report).splitlines()]
    assert [line[:2] for line in table[1:4]] == [
        [kind, str(sum(row.owner == kind for row in report.rows))] for kind in ("Linear", "BatchNorm", "ReLU")
    ]
    assert len(report.text(verbose=True).splitlines()) == len(str(report).splitlines()) + len(report.rows) - 3


# The command ----------------------------------------------------------------------------------------------------------


def command(*arguments: str) -> int:
    """Parse and run as the command line does."""
    parser = argparse.ArgumentParser()
    subparsers = parser.add_subparsers()
    test_command.add_parser(subparsers)
    args = parser.parse_args(arguments)
    return args.run(args)


@pytest.fixture
def user_file(tmp_path: Path) -> Any:
    def write(body: str, name: str = "mine.py") -> str:
        head = "from layerforge import Example, Layer, Spec, param, register\n"
        (tmp_path / name).write_text(head + body)
        return str(tmp_path / name)

    return write


CUBE = """
@register
class Cube(Layer):
    backward_reads = ("bottom",)
    factor: float = param(1.0, help="in front of the cube")
    examples = [Example({}, [Spec((3, 4))]), Example({"factor": 2}, [Spec((1,))])]

    def setup(self, x):
        return x

    def forward(self, x):
        self.save(x=x)
        return self.factor * x ** 3

    def backward(self, dy):
        return 3 * self.factor * self.saved.x ** 2 * dy
"""


def test_a_users_file(user_file: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("test", user_file(CUBE)) == 0
    out, err = capsys.readouterr()
    assert "Cube   0        bottom[0]  (3,4)" in out
    assert out.splitlines()[-1].startswith("1 layer, 2 gradients, ")
    assert out.splitlines()[-1].endswith(" checks: all pass")
    assert err == ""


def test_a_users_file_with_a_wrong_gradient(user_file: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("test", user_file(CUBE.replace("return 3 *", "return 2 *"))) == 1
    out = capsys.readouterr().out
    assert "Cube 0: gradient of bottom[0] (3, 4) at [" in out
    assert out.splitlines()[-1].endswith("failed (Cube)")


def test_a_users_file_with_a_broken_promise(user_file: Any, capsys: pytest.CaptureFixture[str]) -> None:
    path = user_file(CUBE.replace('backward_reads = ("bottom",)', "backward_reads = ()"))
    assert command("test", path) == 1
    out = capsys.readouterr().out
    assert "Cube-0: backward_reads: backward reads bottom[0], which backward_reads=() does not name" in out
    assert '= backward_reads = ("bottom",), or save a copy of it' in out
    assert command("test", path, "--only", "gradients") == 0
    assert command("gradcheck", path) == 0


def test_a_users_file_may_be_narrowed_to_a_layer(user_file: Any, capsys: pytest.CaptureFixture[str]) -> None:
    path = user_file(CUBE + CUBE.replace("Cube", "Wrong").replace("return 3 *", "return 2 *"))
    assert command("test", path) == 1
    assert command("test", path, "--layer", "Cube") == 0
    with pytest.raises(ConfigError, match="registers no layer 'Cubes'") as caught:
        command("test", path, "--layer", "Cubes")
    assert "did you mean 'Cube'?" in str(caught.value)


def test_a_layer_without_examples_is_a_warning(user_file: Any, capsys: pytest.CaptureFixture[str]) -> None:
    bare = CUBE.replace("Cube", "Bare").replace("examples = [", "_ = [")
    assert command("test", user_file(CUBE + bare)) == 0
    assert "warning: Bare has no examples, so nothing of it was run" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="Nude has no examples"):
        command("test", user_file(bare.replace("Bare", "Nude"), "other.py"))


def test_files_that_hold_no_layer(user_file: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="registers no layer") as caught:
        command("test", user_file(CUBE.replace("@register", "")))
    assert "put @register above class Cube" in str(caught.value)
    with pytest.raises(ConfigError, match="SyntaxError") as caught:
        command("test", user_file("def f(:\n", "broken.py"))
    assert "broken.py:2:" in str(caught.value)
    with pytest.raises(ConfigError, match="there is no file"):
        command("test", str(tmp_path / "absent.py"))


def test_a_config(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "net.yaml"
    config.write_text(json.dumps(mlp()))
    assert command("test", str(config)) == 0
    assert "fc1 (Linear)     bias" in capsys.readouterr().out
    assert command("test", str(config), "--layer", "fc2", "--samples", "0", "--eps", "1e-6") == 0
    out = capsys.readouterr().out
    assert "fc2 (Linear)" in out
    assert "fc1" not in out
    with pytest.raises(ConfigError, match="of a net the gradients are checked"):
        command("test", str(config), "--only", "views")
    register(SteepReLU)
    config.write_text(json.dumps(mlp(act1="SteepReLU")))
    assert command("gradcheck", str(config)) == 1
    assert "act1 (SteepReLU): gradient of bottom[0]" in capsys.readouterr().out


def test_weights_and_runs_are_for_eval(tmp_path: Path) -> None:
    (tmp_path / "config.resolved.yaml").write_text("net: []\n")
    (tmp_path / "w.h5").write_bytes(b"")
    for target, what in ((tmp_path, "is a run"), (tmp_path / "w.h5", "is a file of weights")):
        with pytest.raises(ConfigError, match=what) as caught:
            command("test", str(target))
        assert "`layerforge test` checks gradients; `layerforge eval` scores a model" in str(caught.value)
        assert caught.value.exit_code == 2
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="is a folder"):
        command("test", str(tmp_path / "empty"))


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        (["Lineer"], "unknown layer type 'Lineer'", "did you mean 'Linear'?"),
        (["InnerProduct"], "unknown layer type", "did you mean Linear (Caffe's InnerProduct)?"),
        (["some/where"], "there is no file some/where", "name a layer type"),
        (["absent.yaml"], "absent.yaml", ""),
        (["Linear", "--only", "gradient"], "there is no check 'gradient'", "did you mean 'gradients'?"),
        (["Linear", "--dtype", "float16"], "dtype must be one of", "did you mean 'float"),
        (["--layer", "fc"], "--layer fc has no meaning", "layerforge test Linear"),
        (["Accuracy", "--only", "gradients"], "nothing to check", "no gradient"),
    ],
)
def test_arguments_that_the_command_refuses(arguments: list[str], message: str, hint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        command("test", *arguments)
    assert message in str(caught.value)
    assert hint in str(caught.value)
    assert caught.value.exit_code == 2


def test_json_is_one_object(user_file: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("test", "Linear", user_file(CUBE.replace("return 3 *", "return float('nan') *")), "--json") == 1
    out = capsys.readouterr().out
    found = json.loads(out)
    assert found["ok"] is False
    assert found["layers"] == ["Linear", "Cube"]
    assert {"gradients", "checks", "failures", "summary", "warnings"} <= set(found)
    broken = next(row for row in found["gradients"] if row["layer"] == "Cube")
    assert (broken["blob"], broken["shape"], broken["ok"], broken["backward"]) == ("bottom[0]", [3, 4], False, None)
    assert "NaN" not in out


def test_only_chooses_checks(capsys: pytest.CaptureFixture[str]) -> None:
    assert command("test", "Linear", "--only", "views", "--only", "documentation") == 0
    cases = len(Linear.examples)
    engine = len(list(engine_cases(Linear)))  # where a fast engine is installed, "views" is checked of its layer, too
    assert capsys.readouterr().out.splitlines()[-1] == f"1 layer, {cases + engine + 1} checks: all pass"


def test_every_registered_layer_passes(capsys: pytest.CaptureFixture[str]) -> None:
    """What the command adds to the contract, which tests/contract/ runs on every layer."""
    own = ("gradients", "bad_examples", "documentation")
    assert command("test", *(word for name in own for word in ("--only", name))) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[-1].startswith(f"{len(LAYERS.names())} layers, ")
    assert all(name in out for name in LAYERS.names())
