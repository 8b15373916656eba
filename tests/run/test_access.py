"""Access to a net by name: what is not there says why, what is assigned takes effect, what is given stays as it was."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from layerforge import Example, Layer, LayerForgeError, Net, Spec, jacobian, register
from layerforge.run.views import BlobError
from layerforge.schema.errors import ConfigError
from layerforge.schema.registry import LAYERS

CONFIG: dict[str, Any] = {
    "seed": 1,
    "inputs": {"x": {"shape": [4, 3], "grad": True}, "t": {"shape": [4], "dtype": "int64"}},
    "net": [
        {"name": "fc", "type": "Linear", "out_features": 5, "bottom": "x"},
        {"name": "bn", "type": "BatchNorm"},
        {"name": "act", "type": "ReLU"},
        {"name": "out", "type": "Linear", "out_features": 5},
        {"name": "loss", "type": "SoftmaxCrossEntropy", "bottom": ["out", "t"]},
        {"name": "accuracy", "type": "Accuracy", "bottom": ["out", "t"], "phase": "eval"},
    ],
}
ENGINES = ["reference", "onednn"]


def built(engine: str = "reference", keep: Any = "all", **more: Any) -> Net:
    return Net.from_config({**CONFIG, "engine": engine, **more}, keep=keep)


@pytest.fixture
def batch() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {"x": rng.normal(size=(4, 3)).astype("f4"), "t": rng.integers(0, 5, 4)}


@pytest.fixture
def dy() -> np.ndarray:
    return np.random.default_rng(1).normal(size=(4, 5)).astype("f4")


# Blobs that a plan does not hold --------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("keep", ["all", "none", ["out"], ["fc"], ["bn", "x"]], ids=str)
@pytest.mark.parametrize("name", ["x", "fc", "bn", "act", "out", "loss"])
def test_a_cotangent_or_tangent_does_what_it_does_on_the_reference_or_is_refused(
    engine: str, keep: Any, name: str, batch: dict[str, np.ndarray]
) -> None:
    want, net = built(), built(engine, keep)
    given = np.random.default_rng(2).normal(size=want.graph.phases["train"].current[name].spec.shape).astype("f4")
    for each in (want, net):
        each.forward(**batch)
    want.backward(**{name: given})
    held = net.current_plan.index_of(name) in net.current_plan.holds
    if not held:
        assert engine == "onednn" and keep not in ("all", [name])
        for call in (net.backward, net.jvp):
            with pytest.raises(BlobError, match=rf"blob '{name}' was not kept.* as one(.|\n)*keep=.*\"{name}\""):
                call(**{name: given})
        assert not net.parameters.grad.any()
        with pytest.raises(BlobError, match="as one"):
            np.asarray(net.blobs[name])
        return
    np.testing.assert_allclose(net.jvp(**{name: given})["loss"], want.jvp(**{name: given})["loss"], rtol=1e-4)
    net.backward(**{name: given})
    largest = np.abs(want.parameters.grad).max()  # below BatchNorm the gradient of fc's bias is nothing but rounding
    np.testing.assert_allclose(net.parameters.grad, want.parameters.grad, rtol=1e-4, atol=2e-6 * largest)


def test_what_of_left_out_and_what_was_not_given_is_named(batch: dict[str, np.ndarray], dy: np.ndarray) -> None:
    net = built()
    net.forward(outputs="act", x=batch["x"])
    for call in (net.backward, net.jvp):
        with pytest.raises(BlobError, match=r"'out' was not computed by the last forward(.|\n)*outputs=\[\"out\"\]"):
            call(out=dy)
        with pytest.raises(BlobError, match=r"input 't' was not given(.|\n)*net.forward\(t=...\)"):
            call(t=batch["t"])
    with pytest.raises(BlobError, match="input 't' was not given"):
        np.asarray(net.blobs["t"])
    net.backward(act=dy)
    with pytest.raises(BlobError, match="'out' was not computed"):
        print(net.blobs["out"].grad)


def test_a_blob_of_another_phase_says_so(batch: dict[str, np.ndarray]) -> None:
    net = built()
    net.forward(**batch)
    with pytest.raises(BlobError, match=r"no blob 'accuracy' in phase train(.|\n)*phase=\"eval\""):
        net.blobs["accuracy"]
    with pytest.raises(ConfigError, match="no blob 'accuracy' in phase train"):
        net.backward(accuracy=1.0)
    assert "accuracy" not in net.blobs
    net.forward(phase="eval", **batch)
    assert net.blobs["accuracy"].data.shape == ()


@pytest.mark.parametrize("keep", ["all", "none"])
def test_a_backward_that_would_reach_nothing_is_an_error(
    keep: str, batch: dict[str, np.ndarray], dy: np.ndarray
) -> None:
    learned = ("Linear", "BatchNorm")
    frozen = [{**layer, "freeze": True} if layer["type"] in learned else layer for layer in CONFIG["net"]]
    inputs = {"x": {"shape": [4, 3]}, "t": CONFIG["inputs"]["t"]}
    net = built(keep=keep, net=frozen, inputs=inputs)
    net.forward(**batch)
    with pytest.raises(BlobError, match="nothing below the losses wants a gradient"):
        net.backward()
    with pytest.raises(BlobError, match="nothing below blob 'out' wants a gradient"):
        net.backward(out=dy)
    with pytest.raises(BlobError, match="nothing below blob 'x' wants a gradient"):
        net.backward(x=batch["x"])


def test_what_is_no_array_of_numbers_is_no_cotangent(batch: dict[str, np.ndarray]) -> None:
    net = built()
    net.forward(**batch)
    for bad in (None, "1", np.complex64(1), object()):
        for call in (net.backward, net.jvp):
            with pytest.raises(ConfigError, match="'loss' takes numbers"):
                call(loss=bad)
    with pytest.raises(ConfigError, match="'t' is an index"):
        net.backward(t=batch["t"])
    assert not net.parameters.grad.any()


def test_after_a_forward_that_failed_there_is_no_backward(batch: dict[str, np.ndarray]) -> None:
    net = built()
    net.forward(**batch)
    with pytest.raises(LayerForgeError, match="label"):
        net.forward(x=batch["x"], t=batch["t"] + 100)
    with pytest.raises(BlobError, match="did not come to its end"):
        net.backward()
    assert not net.parameters.grad.any()
    net.forward(**batch)
    net.backward()


@pytest.mark.parametrize("keep", ["all", "none"])
def test_after_a_forward_that_failed_there_are_no_losses(keep: str, batch: dict[str, np.ndarray]) -> None:
    net = built(keep=keep)
    for phase in ("train", "eval"):
        net.forward(phase=phase, **batch)
        with pytest.raises(LayerForgeError, match="label"):
            net.forward(phase=phase, x=batch["x"], t=batch["t"] + 100)
        for asked in (net.losses, net.total_loss, net.mean_over, net.metric_counts):
            with pytest.raises(BlobError, match="the last forward has no 'loss': it did not come to its end"):
                asked()
    net.forward(**batch)
    assert net.mean_over() == 4
    assert net.total_loss() == net.losses()[0].value > 0


@pytest.mark.parametrize("engine", ENGINES)
def test_a_blob_that_is_kept_is_not_overwritten_through_a_view_of_it(engine: str, batch: dict[str, np.ndarray]) -> None:
    layers = [
        CONFIG["net"][0],
        {"name": "v", "type": "Flatten"},
        {"name": "act", "type": "ReLU", "top": "v"},
        {"name": "loss", "type": "SoftmaxCrossEntropy", "bottom": ["v", "t"]},
    ]
    net = built(engine, keep=["fc"], net=layers)
    net.forward(**batch)
    weight, bias = (net.params["fc"][name].data for name in ("weight", "bias"))
    assert net.blobs["fc"].data.min() < 0
    np.testing.assert_allclose(net.blobs["fc"].data, batch["x"] @ weight.T + bias, rtol=1e-5, atol=1e-6)
    both = built(engine, keep="none", net=layers).forward(outputs=["fc", "v"], **batch)
    assert both["fc"].min() < 0 <= both["v"].min()


# Derivatives ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ENGINES)
def test_jacobian_leaves_all_gradients_as_they_were(engine: str, batch: dict[str, np.ndarray]) -> None:
    net = built(engine)
    net.forward(**batch)
    net.backward()
    names = [name for name in net.blobs if name != "t"]
    before = {name: np.array(net.blobs[name].grad) for name in names}
    parameters = net.parameters.grad.copy()
    for wrt in ("x", "act", "fc.weight"):
        jacobian(net, "out", wrt)
    assert np.array_equal(net.parameters.grad, parameters)
    for name in names:
        assert np.array_equal(net.blobs[name].grad, before[name]), name
    net.backward()
    np.testing.assert_allclose(net.parameters.grad, 2 * parameters, rtol=1e-5, atol=1e-7)


def test_jacobian_of_a_frozen_parameter_is_an_error(batch: dict[str, np.ndarray]) -> None:
    net = built()
    net.params["fc"]["weight"].frozen = True
    net.forward(**batch)
    with pytest.raises(ConfigError, match=r"'fc.weight' is frozen"):
        jacobian(net, "out", "fc.weight")


def test_tangents_of_a_blob_and_of_what_is_below_it_add_up(batch: dict[str, np.ndarray], dy: np.ndarray) -> None:
    net = built()
    net.forward(**batch)
    v = np.random.default_rng(3).normal(size=(4, 3)).astype("f4")
    apart = net.jvp(x=v)["loss"] + net.jvp(bn=dy)["loss"]
    np.testing.assert_allclose(net.jvp(x=v, bn=dy)["loss"], apart, rtol=1e-5)


class Cubes(Layer):
    """Cubes: y = x Σ x² over a sample: a layer that writes down no jvp, and keeps its buffers."""

    backward_reads = ("bottom",)
    examples = [Example({}, [Spec((2, 3))])]

    def setup(self, x: Spec) -> Spec:
        return x

    def forward(self, x: Any) -> Any:
        self.save(x=x)
        return x * (x * x).sum(axis=1, keepdims=True)

    def backward(self, dy: Any) -> Any:
        x, dx = self.saved.x, self.buf("dx", dy.shape)
        dx[...] = dy * (x * x).sum(axis=1, keepdims=True) + 2 * x * (dy * x).sum(axis=1, keepdims=True)
        return dx


@pytest.fixture
def cubes() -> Iterator[None]:
    register(Cubes)
    yield
    LAYERS.remove("Cubes")


@pytest.mark.usefixtures("cubes")
@pytest.mark.parametrize("recompute", [False, True])
def test_jvp_in_planned_memory_spoils_neither_itself_nor_the_backward(
    recompute: bool, batch: dict[str, np.ndarray]
) -> None:
    wide = [{"name": f"l{i}", "type": kind, **keys} for i, (kind, keys) in enumerate([
        ("Linear", {"out_features": 40, "bottom": "x"}), ("BatchNorm", {}), ("Cubes", {}), ("Dropout", {"p": 0.3}),
        ("Linear", {"out_features": 40}), ("Cubes", {}), ("Tanh", {}), ("Linear", {"out_features": 5}),
    ])]  # fmt: skip
    for layer in wide[1:4] if recompute else ():
        layer["recompute"] = True
    layers = [*wide, {"name": "loss", "type": "SoftmaxCrossEntropy", "bottom": ["l7", "t"]}]
    want, net = built(net=layers), built("onednn", "none", net=layers)
    v, found = np.random.default_rng(4).normal(size=(4, 3)).astype("f4"), []
    for each in (want, net):
        each.forward(**batch)
        found.append([each.jvp(x=v)["loss"], each.jvp(x=v)["loss"]])
        each.backward()
    assert net.passes.current.layout is not None
    np.testing.assert_allclose(found[1], found[0], rtol=1e-4)
    np.testing.assert_allclose(net.parameters.grad, want.parameters.grad, rtol=1e-3, atol=1e-5)
    with pytest.raises(BlobError, match="reused"):
        net.jvp(x=v)


# What is given and what comes back ------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("keep", ["all", "none", ["x"]], ids=str)
def test_an_input_that_its_caller_changes_spoils_nothing(engine: str, keep: Any, batch: dict[str, np.ndarray]) -> None:
    want, net = built(), built(engine, keep)
    for step in range(2):
        mine = {"x": batch["x"].copy(), "t": batch["t"].copy()}
        for each, given in ((want, batch), (net, mine)):
            each.zero_grad()
            each.forward(**given)
        mine["x"][...], mine["t"][...] = 1000, 0
        for each in (want, net):
            each.backward()
        np.testing.assert_allclose(net.parameters.grad, want.parameters.grad, rtol=1e-4, atol=1e-6, err_msg=str(step))
        if keep != "none":
            assert np.array_equal(net.blobs["x"].data, batch["x"])
            net.blobs["x"].data[...] = 5
            assert mine["x"].min() == 1000, "nor does the net write into what is its caller's"


def test_views_of_an_input_are_copied_in_their_own_order(batch: dict[str, np.ndarray]) -> None:
    net = built()
    wide = np.zeros((3, 8), "f4")
    wide[:, ::2] = batch["x"].T
    strided = wide[:, ::2].T
    want, got = net.forward(**batch)["loss"], net.forward(x=strided, t=batch["t"])["loss"]
    assert np.isclose(got, want, rtol=1e-6)
    wide[...] = 7
    net.backward()
    got = net.parameters.grad.copy()
    net.zero_grad()
    net.forward(**batch)
    net.backward()
    np.testing.assert_allclose(got, net.parameters.grad, rtol=1e-5, atol=1e-7)


def test_a_forward_without_backward_takes_arrays_as_they_are(batch: dict[str, np.ndarray]) -> None:
    net = built(keep="none")
    net.forward(phase="eval", outputs="out", x=batch["x"])
    assert net.passes.current.values[net.current_plan.index_of("x")] is batch["x"]


def test_a_cotangent_that_its_caller_changes_leaves_gradients_as_they_are(
    batch: dict[str, np.ndarray], dy: np.ndarray
) -> None:
    net, given = built(), dy.copy()
    net.forward(**batch)
    net.backward(out=given)
    given[...] = 0
    assert np.array_equal(net.blobs["out"].grad, dy)


def test_the_seed_of_a_loss_cannot_be_written_to(batch: dict[str, np.ndarray]) -> None:
    net = built()
    net.forward(**batch)
    net.backward()
    with pytest.raises(ValueError, match="read-only"):
        net.blobs["loss"].grad[...] = 0


# Assigning ------------------------------------------------------------------------------------------------------------


def test_assigning_to_parameters_writes_into_the_flat_arrays(batch: dict[str, np.ndarray]) -> None:
    net = built()
    net.forward(**batch)
    net.backward()
    weight = net.params["fc"]["weight"]
    array, grad = weight.data, weight.grad
    weight.data = np.arange(15).reshape(5, 3)
    assert weight.data is array and np.array_equal(array.ravel(), np.arange(15))
    weight.data *= 2
    assert array[4, 2] == 28
    weight.grad = 0
    assert not grad.any() and net.parameters.grad.any()
    weight.grad += 1
    assert (grad == 1).all()
    net.params["fc"]["bias"] = [1, 2, 3, 4, 5]
    assert list(net.params["fc"]["bias"].data) == [1, 2, 3, 4, 5]
    net.state["bn"]["running_mean"] = 3
    assert (net.layers["bn"].state.running_mean == 3).all()
    net.state["bn"]["running_mean"] *= 2
    assert (net.layers["bn"].state.running_mean == 6).all()


def set_data(net: Net, value: Any) -> None:
    net.params["fc"]["weight"].data = value


REFUSED = {
    "shape": (lambda net: set_data(net, np.ones(3)), r"'fc.weight' has shape \(5, 3\), not \(3,\)"),
    "none": (lambda net: set_data(net, None), "takes numbers, got None"),
    "text": (lambda net: set_data(net, "big"), "takes numbers"),
    "blob": (lambda net: setattr(net.blobs["fc"], "data", 0), "blob 'fc' is what the last forward made"),
    "blob grad": (lambda net: setattr(net.blobs["fc"], "grad", 0), r"net.backward\(fc=dy\)"),
    "blobs": (lambda net: net.blobs.__setitem__("fc", 0), "blob 'fc' cannot be replaced"),
    "layer": (lambda net: net.params.__setitem__("fc", {}), "'fc' cannot be replaced"),
    "parameter": (lambda net: net.params["fc"].__setitem__("wieght", 0), "did you mean 'weight'"),
    "state": (lambda net: net.state["bn"].__setitem__("running_mean", [1, 2]), r"has shape \(5,\), not \(2,\)"),
    "frozen": (lambda net: setattr(net.params["fc"]["weight"], "frozen", "yes"), "must be true or false"),
    "lr_mult": (lambda net: setattr(net.layers["fc"], "lr_mult", -1), "must be a number >= 0"),
    "by name": (lambda net: setattr(net.layers["fc"], "lr_mult", {"wieght": 1}), "did you mean 'weight'"),
    "no parameters": (lambda net: setattr(net.layers["act"], "freeze", True), "layer 'act' .* has no parameters"),
    "loss_weight": (lambda net: setattr(net.layers["loss"], "loss_weight", 2), "cannot be changed in a net"),
    "engine": (lambda net: setattr(net.layers["fc"], "engine", "reference"), "cannot be changed in a net"),
    "recompute": (lambda net: setattr(net.layers["fc"], "recompute", True), "cannot be changed in a net"),
    "layers": (lambda net: net.layers.__setitem__("fc", None), "layer 'fc' cannot be replaced"),
    "phase": (lambda net: setattr(net, "phase", "eval"), r"net.forward\(phase=\"eval\""),
    "training": (lambda net: setattr(net, "training", False), "a net has no 'training'"),
    "dtype": (lambda net: setattr(net, "dtype", "float64"), "'dtype' of a net that is built"),
    "keep": (lambda net: setattr(net, "keep", ["fc9"]), "no blob 'fc9'"),
    "layer frozen": (lambda net: setattr(net.layers["fc"], "frozen", True), "layer 'fc' .* 'frozen'.*freeze = True"),
    "layer requires_grad": (lambda net: setattr(net.layers["fc"], "requires_grad", False), "freeze = True"),
    "layer training": (lambda net: setattr(net.layers["bn"], "training", False), r"net.forward\(phase="),
    "layer phase": (lambda net: setattr(net.layers["bn"], "phase", "eval"), r"net.forward\(phase="),
    "layer typo": (lambda net: setattr(net.layers["fc"], "decay_mul", 1), "did you mean 'decay_mult'"),
    "layer weight": (lambda net: setattr(net.layers["fc"], "weight", 1), r"net.params\['fc'\]\['weight'\]"),
    "layer statistics": (lambda net: setattr(net.layers["bn"], "running_mean", 1), r"net.state\['bn'\]"),
    "layer name": (lambda net: setattr(net.layers["fc"], "name", "other"), "layer 'fc' .* no attribute 'name'"),
    "layer params": (lambda net: setattr(net.layers["fc"], "params", {}), "no attribute 'params' to assign"),
    "layer declaration": (lambda net: setattr(net.layers["fc"], "loss", True), "no attribute 'loss'"),
    "parameter freeze": (lambda net: setattr(net.params["fc"]["weight"], "freeze", True), "did you mean 'frozen'"),
    "parameter requires_grad": (lambda net: setattr(net.params["fc"]["weight"], "requires_grad", False), "'frozen'"),
    "parameter shape": (lambda net: setattr(net.params["fc"]["weight"], "shape", (1,)), "cannot be assigned"),
    "layers update": (lambda net: net.layers.update(fc=1), "layers of a net that is built stay"),
    "layers pop": (lambda net: net.layers.pop("fc"), "layers of a net that is built stay"),
    "layers popitem": (lambda net: net.layers.popitem(), "layers of a net that is built stay"),
    "layers clear": (lambda net: net.layers.clear(), "layers of a net that is built stay"),
    "layers setdefault": (lambda net: net.layers.setdefault("q", 1), "layers of a net that is built stay"),
    "layers |=": (lambda net: net.layers.__ior__({"fc": 1}), "layers of a net that is built stay"),
    "copied layers": (lambda net: copy.deepcopy(net.layers), "cannot be copied or pickled without the net.*deepcopy"),
    "copied layer": (lambda net: copy.deepcopy(net.layers["fc"]), "layer 'fc' cannot be copied .* without its net"),
    "shallow layer": (lambda net: copy.copy(net.layers["fc"]), "layer 'fc' cannot be copied .* without its net"),
    "pickled layer": (lambda net: pickle.dumps(net.layers["fc"]), "layer 'fc' cannot be copied or pickled"),
    "copied parameter": (lambda net: copy.deepcopy(net.params["fc"]["weight"]), "'fc.weight' cannot be copied"),
    "copied parameters": (lambda net: copy.deepcopy(net.params["fc"]), "parameters? of 'fc's? cannot be copied"),
    "copied blobs": (lambda net: copy.deepcopy(net.blobs), "blobs cannot be copied"),
    "copied blob": (lambda net: pickle.dumps(net.blobs["fc"]), "'fc' cannot be copied or pickled"),
    "copied state": (lambda net: copy.copy(net.state), "cannot be copied or pickled"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_assigned_is_refused_by_name(name: str, batch: dict[str, np.ndarray]) -> None:
    net = built()
    net.forward(**batch)
    net.backward()
    assign, message = REFUSED[name]
    with pytest.raises(LayerForgeError, match=f"(?s){message}"):
        assign(net)


def test_a_layer_s_own_code_sets_what_it_likes() -> None:
    """In setup, forward and helpers that they call, also when the net is built; whoever uses the layer does not."""

    def remember(layer: Any, x: Any) -> None:
        layer.seen = x.shape

    @register
    class Noting(Layer):
        """Noting: y = x"""

        examples = [Example({}, [Spec((2, 3))])]

        def setup(self, x: Spec) -> Spec:
            self.features = x.shape[-1]
            return x

        def forward(self, x: Any) -> Any:
            self.calls = getattr(self, "calls", 0) + 1
            remember(self, x)
            return x.copy()

        def backward(self, dy: Any) -> Any:
            self.last = dy
            return dy

    try:
        made = {"inputs": {"x": {"shape": [2, 3], "grad": True}}, "net": [{"name": "n", "type": "Noting"}]}
        net = Net.from_config(made)
        for rows in (2, 5):
            net.forward(x=np.ones((rows, 3), "f4"))
            net.backward(n=np.ones((rows, 3), "f4"))
        layer = net.layers["n"]
        assert (layer.calls, layer.seen, layer.features) == (2, (5, 3), 3)
        layer.calls = 0  # it has it
        with pytest.raises(LayerForgeError, match="no attribute 'call' to assign"):
            layer.call = 0
        with pytest.raises(LayerForgeError, match="no attribute 'frozen'"):
            layer.frozen = True
    finally:
        LAYERS.remove("Noting")


def test_a_view_has_no_attribute_that_it_does_not_know(batch: dict[str, np.ndarray]) -> None:
    net = built()
    with pytest.raises(AttributeError):
        net.params["fc"]["weight"].requires_grad = False
    with pytest.raises(AttributeError):
        net.blobs["fc"].diff = 0


def test_views_are_arrays_for_numpy(batch: dict[str, np.ndarray]) -> None:
    net = built()
    net.forward(**batch)
    net.backward()
    for view in (net.blobs["fc"], net.params["fc"]["weight"]):
        assert np.asarray(view) is view.data
        assert np.array_equal(np.array(view, "float64"), view.data)
        assert np.asarray(view, dtype="float64").dtype == np.float64
        assert not np.shares_memory(np.array(view), view.data)
        with pytest.raises(ValueError, match="without a copy"):
            view.__array__(np.float64, copy=False)


def test_what_is_kept_can_be_changed(batch: dict[str, np.ndarray]) -> None:
    net = built("onednn", "none")
    net.forward(**batch)
    net.keep = ["fc"]
    with pytest.raises(BlobError, match="what is kept was changed"):
        net.backward()
    net.forward(**batch)
    net.backward()
    assert net.blobs["fc"].data.shape == net.blobs["fc"].grad.shape == (4, 5)


def test_what_there_is_by_name_is_said_in_the_plural() -> None:
    net = built()
    assert repr(net.params) == "<layers with parameters: fc, bn, out>"
    assert repr(net.params["bn"]) == "<parameters of 'bn': weight, bias>"
    assert repr(net.state) == "<layers with state: bn>"
    with pytest.raises(LayerForgeError, match="the layers with parameters cannot be copied or pickled"):
        copy.deepcopy(net.params)
    alone = Net.from_config({"inputs": {"x": {"shape": [2]}}, "net": [{"name": "y", "type": "Square"}]})
    assert repr(alone.params) == "<layers with parameters: none>"


def test_the_rows_of_a_sparse_gradient_show_which_they_are() -> None:
    words = {"name": "e", "type": "Embedding", "num_embeddings": 4, "embedding_dim": 2, "sparse": True}
    net = Net.from_config({"inputs": {"x": {"shape": [3], "dtype": "int64"}}, "net": [words]})
    net.forward(x=np.array([2, 0, 2]))
    net.backward(e=np.ones((3, 2)))
    assert repr(net.layers["e"].grad_rows.weight) == "<rows [0, 2] of 4>"
