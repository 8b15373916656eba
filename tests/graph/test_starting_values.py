"""Start values by what follows: which filler the graph chooses for a weight whose filler is null, and why."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from layerforge import ConfigError, Layer, LayerError, Net, Solver, register
from layerforge.arrays.spec import Spec
from layerforge.contract.fillers import Filler, Msra, Xavier
from layerforge.contract.layer import Example
from layerforge.graph import starting_values as rules
from layerforge.layers import builtin_layers
from layerforge.schema.params import to_plain
from layerforge.schema.registry import LAYERS

INPUTS = {"x": {"shape": [4, 6]}, "image": {"shape": [4, 3, 8, 8]}, "t": {"shape": [4], "dtype": "int64"}}
PLAIN, HE, SMALL = Xavier(), Msra(), Xavier(gain=0.5)
FC = {"name": "fc", "type": "Linear", "bottom": "x", "out_features": 6}
CONV = {"name": "fc", "type": "Conv2d", "bottom": "image", "out_channels": 4, "kernel_size": 3, "padding": 1}
LOSS = {"name": "loss", "type": "SoftmaxCrossEntropy", "bottom": ["fc", "t"]}


def net_of(*layers: dict[str, Any], **more: Any) -> Net:
    return Net.from_config({"inputs": INPUTS, "net": list(layers), **more})


def chosen(*layers: dict[str, Any], name: str = "fc") -> tuple[Filler, str]:
    """The filler of a layer's weight, and why."""
    value = net_of(*layers).graph.starting_values[name, "weight"]
    return value.filler, value.why


def assert_chosen(layers: list[dict[str, Any]], filler: Filler, why: str, name: str = "fc") -> None:
    found, reason = chosen(*layers, name=name)
    assert (to_plain(found), reason) == (to_plain(filler), why)


def named(kind: str, **keys: Any) -> dict[str, Any]:
    return {"name": kind.lower(), "type": kind, **keys}


# ---- what follows ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", sorted(rules.RECTIFIERS - {"LeakyReLU", "PReLU"}))
def test_he_where_a_rectifier_follows(kind: str) -> None:
    assert_chosen([FC, named(kind)], HE, f"{kind} '{kind.lower()}' follows")


@pytest.mark.parametrize(
    ("layer", "slope"),
    [
        (named("LeakyReLU", negative_slope=0.2), 0.2),
        (named("ReLU", negative_slope=0.3), 0.3),
        (named("PReLU"), 0.25),
        (named("PReLU", init=0.5), 0.5),
    ],
)
def test_the_slope_of_a_leaky_rectifier_counts(layer: dict[str, Any], slope: float) -> None:
    assert_chosen([FC, layer], Msra(negative_slope=slope), f"{layer['type']} '{layer['name']}' follows")


@pytest.mark.parametrize("kind", ["Tanh", "Sigmoid", "SELU", "Softmax", "Sum", "Square"])
def test_variance_1_over_fan_in_where_another_layer_follows(kind: str) -> None:
    assert_chosen([FC, named(kind)], PLAIN, f"{kind} '{kind.lower()}' follows")


def test_variance_1_over_fan_in_where_a_product_or_nothing_follows() -> None:
    second = named("Linear", out_features=3)
    assert_chosen([FC, second], PLAIN, "Linear 'linear' follows")
    assert_chosen([FC, second], PLAIN, "nothing follows", name="linear")


@pytest.mark.parametrize(
    "layers",
    [
        [LOSS],
        [{**LOSS, "type": "HingeLoss"}],
        [{**LOSS, "type": "FocalLoss"}],
        [{**LOSS, "type": "DiceLoss"}],
        [{**LOSS, "type": "DiceLoss", "activation": "sigmoid"}],
        [{**LOSS, "type": "InfogainLoss", "matrix": np.eye(6).tolist()}],
        [{**LOSS, "type": "BCEWithLogitsLoss", "bottom": ["fc", "x"]}],
        [named("LogSoftmax", dim=1), {**LOSS, "type": "NLLLoss", "bottom": ["logsoftmax", "t"]}],
        [named("Softmax", dim=1), {**LOSS, "type": "MultinomialLogisticLoss", "bottom": ["softmax", "t"]}],
        [named("Sigmoid"), {**LOSS, "type": "BCELoss", "bottom": ["sigmoid", "x"]}],
        [named("Sigmoid"), {**LOSS, "type": "DiceLoss", "activation": "none", "bottom": ["sigmoid", "t"]}],
        [named("Softmax", dim=1), {**LOSS, "type": "DiceLoss", "activation": "none", "bottom": ["softmax", "t"]}],
        [named("Dropout"), {**LOSS, "bottom": ["dropout", "t"]}],
    ],
    ids=lambda layers: "-".join(layer["type"] for layer in layers),
)
def test_small_scores_where_a_loss_of_classes_follows(layers: list[dict[str, Any]]) -> None:
    assert_chosen([FC, *layers], SMALL, f"{layers[-1]['type']} 'loss' follows")


@pytest.mark.parametrize(
    ("layers", "why"),
    [
        ([named("MSELoss", bottom=["fc", "x"])], "MSELoss 'mseloss' follows"),
        ([named("Sigmoid"), named("MSELoss", bottom=["sigmoid", "x"])], "Sigmoid 'sigmoid' follows"),
        ([{**LOSS, "type": "DiceLoss", "activation": "none"}], "DiceLoss 'loss' follows"),
        ([named("RMSNorm", normalized_shape=6), {**LOSS, "bottom": ["rmsnorm", "t"]}], "RMSNorm 'rmsnorm' follows"),
    ],
    ids=[
        "of numbers",
        "of numbers behind a sigmoid",
        "of probabilities",
        "behind a normalisation, which would take the factor out",
    ],
)
def test_other_losses_are_as_any_layer(layers: list[dict[str, Any]], why: str) -> None:
    assert_chosen([FC, *layers], PLAIN, why)


# ---- what lies between -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "between",
    [
        [named("BatchNorm")],
        [named("GroupNorm", num_groups=2)],
        [named("MaxPool2d", kernel_size=2)],
        [named("AvgPool2d", kernel_size=2)],
        [named("GlobalAvgPool2d")],
        [named("Dropout2d")],
        [named("Scale")],
        [named("LocalResponseNorm", size=3)],
        [named("Flatten")],
        [named("Add", bottom=["fc", "fc2"])],
        [named("Add", bottom=["fc2", "fc"])],
        [named("Concat", bottom=["fc2", "fc"])],
        [named("BatchNorm"), named("MaxPool2d", kernel_size=2), named("Dropout")],
    ],
    ids=lambda layers: "-".join(layer["type"] for layer in layers),
)
def test_a_rectifier_is_seen_through(between: list[dict[str, Any]]) -> None:
    other = {**CONV, "name": "fc2"}
    assert_chosen([other, CONV, *between, named("ReLU")], HE, "ReLU 'relu' follows")


def test_a_rectifier_in_place_is_seen() -> None:
    assert_chosen([FC, named("ReLU", bottom="fc", top="fc"), LOSS], HE, "ReLU 'relu' follows")


def test_what_only_measures_a_bottom_does_not_pass_it_on() -> None:
    size = {"name": "crop", "type": "Crop", "bottom": ["image", "fc"], "dim": 2}
    assert_chosen([CONV, size, named("ReLU")], PLAIN, "nothing follows")


# ---- forks -------------------------------------------------------------------------------------------------------


def reader(kind: str, **keys: Any) -> dict[str, Any]:
    return named(kind, **{"bottom": "fc", **keys})


@pytest.mark.parametrize("backwards", [False, True])
def test_of_several_readers_the_strongest_decides(backwards: bool) -> None:
    relu, leaky = reader("ReLU"), reader("LeakyReLU", negative_slope=0.5)
    tanh, softmax, steep = reader("Tanh"), LOSS, reader("PReLU", init=2.0)
    for readers, filler, why in [
        ([relu, tanh, softmax], HE, "ReLU 'relu' follows"),
        ([leaky, relu], HE, "ReLU 'relu' follows"),
        ([leaky, tanh], Msra(negative_slope=0.5), "LeakyReLU 'leakyrelu' follows"),
        ([steep, tanh], Msra(negative_slope=2.0), "PReLU 'prelu' follows"),
        ([tanh, softmax], PLAIN, "Tanh 'tanh' follows"),
    ]:
        assert_chosen([FC, *(reversed(readers) if backwards else readers)], filler, why)


def test_of_equals_the_first_in_the_net_is_named() -> None:
    second = reader("GELU")
    assert_chosen([FC, reader("ReLU"), second], HE, "ReLU 'relu' follows")
    assert_chosen([FC, second, reader("ReLU")], HE, "GELU 'gelu' follows")


def test_metrics_and_the_phase_eval_do_not_count() -> None:
    accuracy = reader("Accuracy", bottom=["fc", "t"])
    assert_chosen([FC, LOSS, accuracy, reader("Tanh", phase="eval"), reader("ReLU", phase="eval")], SMALL,
                  "SoftmaxCrossEntropy 'loss' follows")  # fmt: skip


def test_a_layer_that_runs_in_eval_only_goes_by_what_follows_there() -> None:
    assert_chosen([{**FC, "phase": "eval"}, named("ReLU", phase="eval", bottom="fc")], HE, "ReLU 'relu' follows")


def test_a_piece_of_a_blob_that_reaches_a_rectifier_counts() -> None:
    split = named("Slice", dim=1, top=["a", "b"])
    assert_chosen([FC, split, named("Tanh", bottom="a"), named("ReLU", bottom="b")], HE, "ReLU 'relu' follows")


# ---- what is written, and what is shared -------------------------------------------------------------------------


def test_a_filler_that_is_written_stays() -> None:
    net = net_of({**FC, "weight_filler": {"type": "constant", "value": 0.5}}, named("ReLU"))
    assert ("fc", "weight") not in net.graph.starting_values
    assert (np.asarray(net.params["fc"]["weight"]) == 0.5).all()


def test_a_filler_that_is_written_null_is_as_one_left_out() -> None:
    assert_chosen([{**FC, "weight_filler": None}, named("ReLU")], HE, "ReLU 'relu' follows")


def test_the_choice_is_what_writing_it_down_would_do() -> None:
    for keys, last in [({"type": "msra"}, named("ReLU")), ({"type": "xavier", "gain": 0.5}, LOSS)]:
        nets = [net_of(FC, last), net_of({**FC, "weight_filler": keys}, last)]
        numbers = [np.asarray(net.params["fc"]["weight"]) for net in nets]
        np.testing.assert_array_equal(*numbers)


@pytest.mark.parametrize("owner_first", [True, False])
def test_a_shared_parameter_follows_its_owner(owner_first: bool) -> None:
    owner = [FC, named("ReLU", bottom="fc", top="a")]
    user = [{**FC, "name": "user", "share": {"weight": "fc.weight"}}, named("Tanh", bottom="user", top="b")]
    net = net_of(*(owner + user if owner_first else user + owner))
    assert list(net.graph.starting_values) == [("fc", "weight")]
    assert to_plain(net.graph.starting_values["fc", "weight"].filler) == to_plain(HE)


def test_a_shared_parameter_may_be_said_to_start_as_it_does_and_no_other_way() -> None:
    def shared(filler: str) -> Net:
        user = {**FC, "name": "user", "share": {"weight": "fc.weight"}, "weight_filler": filler}
        return net_of(FC, named("ReLU"), user)

    shared("msra")
    with pytest.raises(ConfigError, match=r"weight_filler does not hold for 'weight'.*has .*msra.* there"):
        shared("xavier")


# ---- fan_in ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "fan_in"),
    [
        ({"kernel_size": 3}, 12 * 9),
        ({"kernel_size": 4, "stride": 2}, 12 * 4),
        ({"kernel_size": [4, 3], "stride": [2, 1], "groups": 3}, 4 * 2 * 3),
        ({"kernel_size": 2, "stride": 3}, 12),
    ],
)
def test_a_transposed_convolution_counts_what_one_output_sums_up(keys: dict[str, Any], fan_in: float) -> None:
    net = Net.from_config(
        {
            "dtype": "float64",
            "inputs": {"x": {"shape": [20, 12, 16, 16]}},
            "net": [{"name": "up", "type": "ConvTranspose2d", "bottom": "x", "out_channels": 24, **keys}],
        }
    )
    std = net.graph.starting_values["up", "weight"].filler.std
    assert std == pytest.approx(1 / math.sqrt(fan_in))
    y = net.forward(x=np.random.default_rng(0).normal(size=(20, 12, 16, 16)))["up"][:, :, 4:-4, 4:-4]
    assert np.square(y[y != 0]).mean() == pytest.approx(1, abs=0.1)


@pytest.fixture
def own() -> Iterator[None]:
    """A user's layer that leaves its start values to the net, and an activation of the user's, made from ReLU."""

    @register
    class Own(Layer):
        """Own: y = x W, with W as it pleases the net"""

        examples = [Example({}, [Spec((2, 3))])]

        def setup(self, x: Spec) -> Spec:
            self.add_param("matrix", (x.shape[1], x.shape[1]), None)
            return x

        def forward(self, x: Any) -> Any:
            return x @ self.params.matrix

    class OwnReLU(LAYERS.get("ReLU")):  # type: ignore[misc]
        """OwnReLU: ReLU under another name"""

    register(OwnReLU)
    yield
    LAYERS.remove("Own")
    LAYERS.remove("OwnReLU")


def test_a_layer_of_the_users_may_leave_it_to_the_net(own: None) -> None:
    values = net_of(named("Own", bottom="x"), named("OwnReLU")).graph.starting_values
    assert to_plain(values["own", "matrix"].filler) == to_plain(HE)
    assert values["own", "matrix"].why == "OwnReLU 'ownrelu' follows"


def test_what_has_no_fan_in_needs_a_filler() -> None:
    layer = LAYERS.get("Linear")(out_features=2)
    with pytest.raises(LayerError, match="'bias' has no filler") as error:
        layer.add_param("bias", (3,), None)
    assert "name a filler" in str(error.value)
    layer.add_param("scale", (3,), None, fan_in=3)


# ---- what it is for ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("classes", [2, 10, 1000])
@pytest.mark.parametrize("hidden", ["ReLU", "Tanh"])
def test_the_first_loss_of_a_classifier_is_near_that_of_guessing(classes: int, hidden: str) -> None:
    rng = np.random.default_rng(classes)
    x, t = rng.normal(size=(200, 50)), rng.integers(classes, size=200)
    for seed in range(3):
        net = Net.from_config(
            {
                "seed": seed,
                "inputs": {"x": {"shape": [200, 50]}, "t": {"shape": [200], "dtype": "int64"}},
                "net": [
                    {"name": "fc1", "type": "Linear", "out_features": 100},
                    {"name": "act1", "type": hidden},
                    {"name": "fc2", "type": "Linear", "out_features": 100},
                    {"name": "act2", "type": hidden},
                    {"name": "fc3", "type": "Linear", "out_features": classes},
                    {"name": "loss", "type": "SoftmaxCrossEntropy", "bottom": ["fc3", "t"]},
                ],
            }
        )
        assert float(net.forward(x=x, t=t)["loss"]) == pytest.approx(math.log(classes), rel=0.2)


@pytest.mark.parametrize("hidden", ["ReLU", "Softsign"])
def test_numbers_keep_their_size_through_many_layers(hidden: str) -> None:
    kinds = [{"type": "Linear", "out_features": 300}, *([{"type": "ReLU"}] if hidden == "ReLU" else [])]
    layers = [{"name": f"l{i}", **layer} for i, layer in enumerate(kinds * 20)]
    net = Net.from_config({"inputs": {"x": {"shape": [100, 300]}}, "net": layers})
    x = np.random.default_rng(0).normal(size=(100, 300))
    y = net.forward(x=x)[layers[-1]["name"]]
    assert 0.2 < np.square(y).mean() / np.square(x).mean() < 5


def test_a_deep_net_without_rectifiers_trains_where_he_would_diverge() -> None:
    """Ten linear layers: He's values make its scores 2^5 times as large as the inputs."""
    layers = [{"name": f"fc{i}", "type": "Linear", "out_features": 30} for i in range(10)]
    loss = {"name": "loss", "type": "SoftmaxCrossEntropy", "bottom": ["fc9", "t"]}
    rng = np.random.default_rng(0)
    x, t = rng.normal(size=(64, 30)), rng.integers(30, size=64)
    inputs = {"x": {"shape": [64, 30]}, "t": {"shape": [64], "dtype": "int64"}}
    net = Net.from_config({"inputs": inputs, "net": [*layers, loss]})
    solver = Solver(net, lr=0.05)
    losses = [float(solver.step(x=x, t=t)) for _ in range(100)]
    assert losses[0] == pytest.approx(math.log(30), rel=0.2)
    assert losses[-1] < 0.5 * losses[0]


# ---- the tables of the rules -------------------------------------------------------------------------------------


def test_the_tables_name_layers_that_there_are_and_each_once() -> None:
    tables = [rules.RECTIFIERS, rules.NORMALISATIONS, rules.PASSING, rules.JOINING, rules.CLASSIFYING]
    names = [name for table in (*tables, rules.PROBABILITIES) for name in table]
    assert len(set(names)) == len(names)
    for name in {*names, *(loss for losses in rules.PROBABILITIES.values() for loss in losses)}:
        assert LAYERS.get(name).type_name == name


def test_no_layer_is_taken_for_another_by_its_base_class() -> None:
    """Of the layers that come with the package none is in a table by way of its bases alone."""
    tables = [rules.RECTIFIERS, rules.NORMALISATIONS, rules.PASSING, rules.JOINING, rules.CLASSIFYING]
    for cls in builtin_layers():
        above = {base.__name__ for base in cls.__mro__[1:]}
        assert all(cls.__name__ in table for table in tables if above & table)
