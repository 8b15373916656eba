"""Hessian-vector products against exact Hessians, and what they leave as it was."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from support.tools import demand

from layerforge import Net, Solver
from layerforge.run.views import BlobError
from layerforge.schema.errors import ConfigError

RNG = np.random.default_rng


def made(layers: list[dict[str, Any]], dtype: str = "float64", keep: Any = "all", **top: Any) -> Net:
    inputs = {"x": {"shape": [6, 4], "grad": True}, "t": {"shape": [6], "dtype": "int64"}}
    return Net.from_config({"dtype": dtype, "inputs": inputs, "net": layers, "seed": 3, **top}, keep=keep)


def batch(seed: int = 0) -> dict[str, np.ndarray]:
    return {"x": RNG(seed).normal(size=(6, 4)), "t": RNG(seed + 1).integers(0, 3, 6)}


REGRESSION = [
    {"name": "fc", "type": "Linear", "out_features": 3, "bottom": "x", "bias": False},
    {"name": "loss", "type": "SoftmaxCrossEntropy", "bottom": ["fc", "t"]},
]
DEEP = [
    {"name": "fc1", "type": "Linear", "out_features": 5, "bottom": "x"},
    {"name": "bn", "type": "BatchNorm"},
    {"name": "act", "type": "Tanh"},
    {"name": "drop", "type": "Dropout", "p": 0.4},
    {"name": "fc2", "type": "Linear", "out_features": 3},
    {"name": "loss", "type": "SoftmaxCrossEntropy", "bottom": ["fc2", "t"], "loss_weight": 2},
]


def exact(net: Net, x: np.ndarray) -> np.ndarray:
    """The Hessian of softmax regression by its weight: mean over n of (diag q - q qᵀ) ⊗ x xᵀ."""
    logits = x @ net.params["fc"]["weight"].data.T
    q = np.exp(logits - logits.max(1, keepdims=True))
    q /= q.sum(1, keepdims=True)
    inner = np.einsum("ni,ij->nij", q, np.eye(3)) - np.einsum("ni,nj->nij", q, q)
    return np.einsum("nij,nk,nl->ikjl", inner, x, x) / len(x)


def test_it_is_the_exact_hessian_of_softmax_regression_times_v() -> None:
    net, given = made(REGRESSION), batch()
    net.forward(**given)
    v = RNG(7).normal(size=(3, 4))
    product, error = net.hvp({"fc.weight": v})
    want = np.tensordot(exact(net, given["x"]), v, 2)
    off = np.linalg.norm(product["fc.weight"] - want) / np.linalg.norm(want)
    assert off < 1e-10
    assert off < error < 1e-4


@pytest.mark.parametrize(("samples", "features", "outputs"), [(1, 1, 1), (8, 4, 3), (64, 50, 20)])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_the_error_is_not_less_than_it_is_on_a_quadratic(dtype: str, samples: int, features: int, outputs: int) -> None:
    """|x wᵀ - t|² / 2N has H v = v xᵀ x / N and no third derivative: all that differences are off by is rounding."""
    layers = [
        {"name": "fc", "type": "Linear", "out_features": outputs, "bottom": "x", "bias": False},
        {"name": "loss", "type": "EuclideanLoss", "bottom": ["fc", "t"]},
    ]
    inputs = {"x": {"shape": [samples, features]}, "t": {"shape": [samples, outputs]}}
    net = Net.from_config({"dtype": dtype, "inputs": inputs, "net": layers, "engine": "reference"})
    for seed, far in ((seed, far) for seed in range(10) for far in (0, 100)):  # with gradients much larger than H v
        rng = RNG([seed, far])
        x, v = (rng.normal(size=shape).astype(dtype) for shape in ((samples, features), (outputs, features)))
        net.forward(x=x, t=far + rng.normal(size=(samples, outputs)))
        product, error = net.hvp({"fc.weight": v})
        want = np.float64(v) @ (np.float64(x).T @ np.float64(x)) / samples
        off = np.linalg.norm(product["fc.weight"] - want) / np.linalg.norm(want)
        assert off <= error
        assert samples == 1 or error < 10 * off


def test_where_no_gradient_differs_the_product_is_0_and_exact() -> None:
    net = made([{"name": "fc", "type": "Linear", "out_features": 3, "bottom": "x"},
                {"name": "loss", "type": "Mean", "dim": None, "loss_weight": 1}])  # fmt: skip
    net.forward(x=batch()["x"])
    product, error = net.hvp({"fc.bias": np.ones(3)})
    assert not any(array.any() for array in product.values())
    assert error == 0


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_the_length_of_v_does_not_matter(scale: float) -> None:
    net, given = made(REGRESSION), batch()
    net.forward(**given)
    v = RNG(7).normal(size=(3, 4))
    want = np.tensordot(exact(net, given["x"]), v, 2)
    np.testing.assert_allclose(net.hvp({"fc.weight": scale * v})[0]["fc.weight"], scale * want, rtol=1e-7)


def test_h_is_symmetric_also_between_parameters_and_inputs_and_with_random_masks() -> None:
    """<u, H v> = <v, H u> with batch statistics, Dropout, several layers and an input: four gradients with one mask."""
    net = made(DEEP)
    net.iteration = 5
    net.forward(**batch())
    first = {"fc1.weight": RNG(1).normal(size=(5, 4)), "x": RNG(2).normal(size=(6, 4))}
    second = {"fc2.bias": RNG(3).normal(size=3), "bn.weight": RNG(4).normal(size=5), "x": RNG(5).normal(size=(6, 4))}
    by_first, by_second = net.hvp(first)[0], net.hvp(second)[0]
    one = sum((by_first[name] * array).sum() for name, array in second.items())
    other = sum((by_second[name] * array).sum() for name, array in first.items())
    assert one == pytest.approx(other, rel=1e-7)
    assert abs(one) > 1e-3


def test_a_flat_direction_is_that_of_all_parameters() -> None:
    net = made(DEEP)
    net.forward(**batch())
    names = {f"{s.layer}.{s.name}": s for s in net.parameters.slots.values()}
    flat = RNG(8).normal(size=net.parameters.grad.size)
    product, _ = net.hvp(flat)
    assert product.shape == flat.shape
    by_name, _ = net.hvp({name: slot.view(flat) for name, slot in names.items()})
    for name, slot in names.items():
        np.testing.assert_allclose(slot.view(product), by_name[name], rtol=1e-6, atol=1e-8, err_msg=name)


def test_everything_is_left_as_it_was() -> None:
    net = made(DEEP)
    net.iteration, net.first_sample = 4, 12
    net.forward(**batch())
    net.backward()
    data, grad = net.parameters.data.copy(), net.parameters.grad.copy()
    state = net.snapshot_state()
    values = {name: view.data.copy() for name, view in net.blobs.items()}
    blob_grads = {name: net.blobs[name].grad.copy() for name in ("x", "act", "fc2")}
    net.hvp({"fc1.weight": np.ones((5, 4))})
    np.testing.assert_array_equal(net.parameters.data, data)
    np.testing.assert_array_equal(net.parameters.grad, grad)
    assert (net.iteration, net.first_sample) == (4, 12)
    for key, array in net.snapshot_state().items():
        np.testing.assert_array_equal(array, state[key])
    for name, array in values.items():
        np.testing.assert_array_equal(net.blobs[name].data, array, err_msg=name)
    for name, array in blob_grads.items():
        np.testing.assert_array_equal(net.blobs[name].grad, array, err_msg=name)
    net.zero_grad()
    net.backward()
    np.testing.assert_allclose(net.parameters.grad, grad, rtol=1e-13)


def test_a_failure_leaves_parameters_and_gradients_too() -> None:
    net = made(DEEP)
    net.forward(**batch())
    net.backward()
    data, grad = net.parameters.data.copy(), net.parameters.grad.copy()
    original, calls = type(net.layers["act"]).backward, []

    def broken(self: Any, *arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            raise ValueError("broken")
        return original(self, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(net.layers["act"]), "backward", broken)
        with pytest.raises(Exception, match="broken"):
            net.hvp({"fc1.weight": np.ones((5, 4))})
    np.testing.assert_array_equal(net.parameters.data, data)
    np.testing.assert_array_equal(net.parameters.grad, grad)


def test_the_error_shows_where_differences_are_no_derivative() -> None:
    """A step over kinks of ReLU: the loss has no second derivative there, and the estimate says so."""
    layers = [{**layer, "type": "ReLU"} if layer["name"] == "act" else layer for layer in DEEP]
    net = made(layers)
    net.forward(**batch())
    v = {"fc1.weight": RNG(1).normal(size=(5, 4))}
    assert net.hvp(v, step=1.0)[1] > 1e-2
    assert net.hvp(v, step=1e-4)[1] < 1e-4


def test_shared_parameters_count_once() -> None:
    layers = [
        {"name": "a", "type": "Linear", "out_features": 4, "bottom": "x", "bias": False},
        {"name": "act", "type": "Tanh"},
        {"name": "b", "type": "Linear", "out_features": 4, "bias": False, "share": {"weight": "a.weight"}},
        {"name": "loss", "type": "SoftmaxCrossEntropy", "bottom": ["b", "t"]},
    ]
    net = made(layers)
    net.forward(**batch())
    v = RNG(1).normal(size=(4, 4))
    by_owner, by_user = net.hvp({"a.weight": v})[0], net.hvp({"b.weight": v})[0]
    np.testing.assert_array_equal(by_owner["a.weight"], by_user["a.weight"])
    assert "b.weight" not in by_owner
    with pytest.raises(ConfigError, match=r"'b.weight' shares its numbers with 'a.weight'"):
        net.hvp({"a.weight": v, "b.weight": v})


def test_errors_name_the_place_and_the_remedy() -> None:
    net, v = made(DEEP), np.ones((5, 4))
    with pytest.raises(BlobError, match="needs a forward"):
        net.hvp({"fc1.weight": v})
    net.forward(**batch())
    cases: list[tuple[Any, str]] = [
        ({"fc1.weight": v.T}, r"direction of 'fc1.weight' has shape \(4, 5\), the parameter \(5, 4\)"),
        ({"fc1.wieght": v}, "layer 'fc1' has no parameter 'wieght'"),
        ({"y": v}, "'y' is no parameter and no input of the last forward"),
        ({"t": np.ones(6)}, "input 't' has no gradient"),
        ({"x": v}, r"direction of 'x' has shape \(5, 4\), expected \(6, 4\)"),
        (np.ones(3), r"the direction has shape \(3,\)"),
        ({"fc1.weight": v * np.inf}, "not finite"),
    ]
    for direction, message in cases:
        with pytest.raises(ConfigError, match=message):
            net.hvp(direction)
    with pytest.raises(ConfigError, match="step must be a positive number, got 0"):
        net.hvp({"fc1.weight": v}, step=0)
    net.params["fc1"]["weight"].frozen = True
    net.forward(**batch())
    with pytest.raises(ConfigError, match=r"parameter 'fc1.weight' is frozen"):
        net.hvp({"fc1.weight": v})


def test_a_net_without_losses_has_no_hessian() -> None:
    net = made(REGRESSION[:1])
    net.forward(x=batch()["x"])
    with pytest.raises(ConfigError, match="the net has no loss, so there is no Hessian"):
        net.hvp({"fc.weight": np.ones((3, 4))})
    net = made(REGRESSION)
    net.forward(x=batch()["x"], outputs="fc")
    with pytest.raises(ConfigError, match="the last forward computed no loss"):
        net.hvp({"fc.weight": np.ones((3, 4))})


@pytest.mark.parametrize("keep", ["all", "none"])
def test_in_float32_with_any_engine_and_memory(keep: str) -> None:
    net, given = made(REGRESSION, "float32", keep, engine="auto"), batch()
    net.forward(**given)
    v = RNG(7).normal(size=(3, 4))
    product, error = net.hvp({"fc.weight": v})
    want = np.tensordot(exact(net, given["x"]), v, 2)
    off = np.linalg.norm(product["fc.weight"] - want) / np.linalg.norm(want)
    assert off < 1e-3
    assert error < 1e-2
    net.backward()
    assert np.isfinite(net.parameters.grad).all()


def test_a_hessian_product_keeps_which_rows_of_a_sparse_gradient_are_there() -> None:
    """The product is of another batch than the gradient that the solver is about to use."""
    t, v = np.ones((2, 1)), {"e.weight": np.ones((7, 1))}
    weights = []
    for sparse in (False, True):
        embedding = {"name": "e", "type": "Embedding", "bottom": "i", "num_embeddings": 7, "embedding_dim": 1}
        net = Net.from_config(
            {"dtype": "float64", "inputs": {"i": {"shape": [2], "dtype": "int64"}, "t": {"shape": [2, 1]}}, "seed": 1,
             "net": [{**embedding, "sparse": sparse}, {"name": "l", "type": "MSELoss", "bottom": ["e", "t"]}]}
        )  # fmt: skip
        solver = Solver(net, lr=0.1)
        solver.step(i=[3, 4], t=t)
        net.forward(i=[0, 1], t=t)
        net.hvp(v)
        solver.step(i=[3, 4], t=t)
        net.forward(i=[0, 1], t=t)
        net.hvp(v)
        net.zero_grad()
        assert not net.params["e"]["weight"].grad.any()
        weights.append(net.params["e"]["weight"].data.copy())
    np.testing.assert_array_equal(weights[0], weights[1])


def test_an_input_that_is_sparse_stands_still_and_its_gradients_add_up() -> None:
    demand("scipy")
    import scipy.sparse as sp

    net = Net.from_config({
        "dtype": "float64", "inputs": {"x": {"shape": [3, 6], "sparse": "csr", "grad": True},
                                       "t": {"shape": [3], "dtype": "int64"}},
        "net": [{"name": "fc", "type": "Linear", "out_features": 3, "bottom": "x"},
                {"name": "loss", "type": "SoftmaxCrossEntropy", "bottom": ["fc", "t"]}]})  # fmt: skip
    x = sp.csr_array(np.eye(3, 6) * 2.0)
    net.forward(x=x, t=[0, 1, 2])
    product, error = net.hvp({"fc.weight": np.ones((3, 6))})
    assert np.isfinite(product["fc.weight"]).all() and error < 1e-3
    with pytest.raises(ConfigError, match="'x' is sparse"):
        net.hvp({"x": np.ones((3, 6))})
    net.backward()
    once = net.blobs["x"].grad.data.copy()
    net.backward(accumulate=True)
    np.testing.assert_allclose(net.blobs["x"].grad.data, 2 * once)
