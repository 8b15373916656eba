"""Sparse inputs: what a net takes for one, and that it computes with it what it computes with all the zeros."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

import layerforge.plan.planner
from layerforge import Net, Solver
from layerforge.arrays.sparse import CSR
from layerforge.run.derivatives import jacobian
from layerforge.schema.errors import BackendError, ConfigError, LayerError

N, D = 6, 40


def matrix(seed: int = 0, rows: int = N) -> sp.csr_array:
    """A random matrix with an empty row and many empty columns."""
    rng = np.random.default_rng(seed)
    full = rng.normal(size=(rows, D)) * (rng.random((rows, D)) < 0.15)
    full[1] = 0
    return sp.csr_array(full.astype("float32"))


def labels(rows: int = N) -> np.ndarray:
    return np.arange(rows) % 3


def build(sparse: bool = True, **more: Any) -> Net:
    """Two readers of x, so that its gradients are summed up, and a loss."""
    x = {"shape": [N, D], "grad": True, "sparse": "csr" if sparse else None}
    layers = [
        {"name": "a", "type": "Linear", "bottom": "x", "out_features": 5},
        {"name": "b", "type": "Linear", "bottom": "x", "out_features": 5},
        {"name": "sum", "type": "Add", "bottom": ["a", "b"]},
        {"name": "act", "type": "Tanh"},
        {"name": "fc", "type": "Linear", "out_features": 3},
        {"name": "loss", "type": "SoftmaxCrossEntropy", "bottom": ["fc", "t"]},
    ]
    top = {key: more.pop(key) for key in ("engine", "dtype", "train") if key in more}
    inputs = {"x": x, "t": {"shape": [N], "dtype": "int64"}}
    return Net.from_config({"name": "bag", **top, "inputs": inputs, "net": layers}, **more)


@pytest.mark.parametrize("keep", ["all", "none"])
@pytest.mark.parametrize("engine", ["auto", "reference"])
def test_the_results_are_those_of_the_dense_matrix(engine: str, keep: str) -> None:
    net, dense = build(engine=engine, keep=keep), build(False, engine=engine, keep=keep)
    for step in range(3):  # the pattern, and how much is stored, is another in every pass
        x = matrix(step)
        for each, given in ((net, x), (dense, x.toarray())):
            each.zero_grad()
            each.forward(x=given, t=labels())
            each.backward()
        assert net.total_loss() == pytest.approx(dense.total_loss(), rel=1e-6)
        for layer, name in net.parameters.slots:
            ours, theirs = net.params[layer][name].grad, dense.params[layer][name].grad
            np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)
        grad = net.blobs["x"].grad
        assert np.array_equal(grad.indices, x.indices)
        stored = dense.blobs["x"].grad[x.nonzero()]
        np.testing.assert_allclose(grad.data, stored, rtol=1e-4, atol=1e-6)
    assert net.engines["a"] == "reference"


def test_a_gradient_touches_only_the_columns_that_occur() -> None:
    net, x = build(keep="none", engine="reference"), matrix()
    weight = net.params["a"]["weight"]
    weight.grad = np.nan  # what is added to stays NaN, and so does what is not touched
    kept = np.setdiff1d(np.arange(D), x.indices)
    weight.grad[:, x.indices] = 0
    net.forward(x=x, t=labels())
    net.backward()
    assert np.isnan(weight.grad[:, kept]).all()
    assert np.isfinite(weight.grad[:, x.indices]).all()


def everywhere(seed: int, rows: int = N) -> sp.csr_array:
    """A random matrix with a number in every column."""
    full = np.random.default_rng(seed).normal(size=(rows, D)) * (np.random.default_rng(seed).random((rows, D)) < 0.15)
    full[seed % rows] = 1
    return sp.csr_array(full.astype("float32"))


@pytest.mark.parametrize("keep", ["all", "none"])
@pytest.mark.parametrize("engine", ["auto", "reference"])
def test_gradients_that_are_written_are_those_that_are_added_to_zeros(
    engine: str, keep: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the bit: of one step, of micro-batches, of patterns that change, and of a batch without a number."""
    batches = [matrix(0), everywhere(1), matrix(2), sp.csr_array((N, D), dtype="float32"), everywhere(4), matrix(5, 5)]
    found = []
    for writes in (True, False):
        if not writes:
            monkeypatch.setattr(layerforge.plan.planner, "overwriting_layers", lambda steps, shared: frozenset())
        net = build(engine=engine, keep=keep)
        solver, grads = Solver(net, lr=0.1, momentum=0.9), []
        for i, x in enumerate(batches):
            if writes and keep == "none":
                for layer in ("a", "b"):
                    for view in net.params[layer].values():
                        view.grad = np.nan
            if i % 2:
                solver.step(x=x, t=labels(x.shape[0]))
            else:
                for part in (x, matrix(7), x):
                    solver.accumulate(x=part, t=labels(part.shape[0]))
                solver.update()
            grads.append(net.parameters.grad.copy())
        found.append((*grads, net.parameters.data.copy()))
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_weights_of_columns_that_do_not_occur_are_not_read() -> None:
    net, x = build(), matrix()
    net.params["a"]["weight"].data[:, np.setdiff1d(np.arange(D), x.indices)] = np.nan
    net.forward(x=x, t=labels())
    assert np.isfinite(net.total_loss())


def test_another_batch_size_and_micro_batches() -> None:
    whole, parts = build(dtype="float64"), build(dtype="float64")
    x = matrix(rows=9).astype("float64")
    solvers = [Solver(net, lr=0.1) for net in (whole, parts)]
    solvers[0].step(x=x, t=labels(9))
    for rows in (slice(0, 4), slice(4, 9)):
        solvers[1].accumulate(x=x[rows], t=labels(9)[rows])
    solvers[1].update()
    np.testing.assert_allclose(parts.parameters.data, whole.parameters.data, rtol=1e-12, atol=1e-14)


def test_the_callers_matrix_may_change_before_backward() -> None:
    net, again, x = build(), build(), matrix()
    net.forward(x=x, t=labels())
    again.forward(x=x.copy(), t=labels())
    x.data[:] = 7
    x.indices[:] = 0
    for each in (net, again):
        each.backward()
    assert np.array_equal(net.parameters.grad, again.parameters.grad)
    assert np.array_equal(net.blobs["x"].grad.data, again.blobs["x"].grad.data)


def test_columns_out_of_order_and_stored_twice_are_put_right_in_a_copy() -> None:
    data, indices, indptr = np.array([1.0, 2, 4, 8]), np.array([3, 0, 3, 2]), np.array([0, 3, 4])
    x = sp.csr_array((data, indices, indptr), shape=(2, D))
    net = build()
    net.forward(x=x, t=labels(2), outputs="a")
    held = net.blobs["x"].data
    assert held.indices.tolist() == [0, 3, 2]
    assert held.data.tolist() == [2, 5, 8]
    assert x.indices.tolist() == [3, 0, 3, 2]


def test_the_older_csr_matrix_and_other_numbers_are_taken() -> None:
    net, x = build(), matrix()
    want = net.forward(x=x, t=labels())["loss"]
    assert net.forward(x=sp.csr_matrix(x), t=labels())["loss"] == want
    assert net.forward(x=x.astype("float64"), t=labels())["loss"] == want
    counts = sp.csr_array(x.toarray().round().astype("int8"))
    net.forward(x=counts, t=labels())
    assert net.blobs["x"].data.dtype == np.float32


def test_a_copy_of_the_net_and_eval() -> None:
    net, x = build(), matrix()
    other = copy.deepcopy(net)
    assert other.forward(phase="eval", x=x, t=labels())["loss"] == net.forward(phase="eval", x=x, t=labels())["loss"]


def test_a_jacobian_by_the_stored_numbers_and_a_tangent_of_others() -> None:
    net, x = build(dtype="float64"), matrix().astype("float64")
    net.forward(x=x, t=labels())
    found = jacobian(net, "loss", "x")
    net.backward()
    np.testing.assert_allclose(found, net.blobs["x"].grad.data, rtol=1e-12)
    with pytest.raises(ConfigError, match="blob 'x' is sparse: no tangent can be given"):
        net.jvp(x=x)


WRONG = [
    (lambda x: x.toarray(), "input 'x' is sparse and takes a csr_array or csr_matrix, got an array of float32"),
    (lambda x: x.tocsc(), "got one in CSC\n.*\\.tocsr\\(\\)"),
    (lambda x: x.tocoo(), "got one in COO"),
    (lambda x: x[:, :7], "has the shape \\(6, 7\\), expected \\(N, 40\\)"),
    (lambda x: x.astype(complex), "takes numbers, got a matrix of complex64|complex128"),
    (lambda x: [[1]], "got a list"),
    (lambda x: None, "got a NoneType"),
]


@pytest.mark.parametrize(("change", "words"), WRONG)
def test_what_is_no_csr_matrix_of_that_width_is_refused_by_name(change: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        build().forward(x=change(matrix()), t=labels())


def broken(**arrays: Any) -> sp.csr_array:
    """A matrix whose arrays somebody has changed by hand."""
    x = matrix()
    for name, array in arrays.items():
        setattr(x, name, np.asarray(array))
    return x


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (broken(indices=np.full(matrix().nnz, D)), "its columns go from 40 to 40, allowed are 0 to 39"),
        (broken(indices=np.full(matrix().nnz, -1)), "its columns go from -1 to -1"),
        (broken(indptr=[0, 3, 2, 4, 4, 4, matrix().nnz]), "never go down"),
        (broken(indptr=[0, 1, 2]), "indptr has 3 numbers for 6 rows, expected 7"),
        (broken(data=[1.0, 2.0]), "and 2 numbers"),
    ],
)
def test_arrays_that_do_not_fit_together_never_reach_a_product(x: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        build().forward(x=x, t=labels())


def test_a_dense_input_and_a_parameter_take_no_sparse_matrix() -> None:
    net = build(False)
    with pytest.raises(ConfigError, match=r"input 'x' takes an array, got a sparse matrix\n.*toarray"):
        net.forward(x=matrix(), t=labels())
    with pytest.raises(ConfigError, match="takes an array, got a sparse matrix"):
        net.params["fc"]["weight"].data = matrix()


def test_a_sparse_blob_is_no_array() -> None:
    net = build()
    net.forward(x=matrix(), t=labels())
    assert isinstance(net.blobs["x"].data, CSR)
    assert net.blobs["x"].shape == (N, D)
    np.testing.assert_array_equal(net.blobs["x"].data.toarray(), matrix().toarray())
    with pytest.raises(ConfigError, match=r"a sparse matrix of shape \(6, 40\) is no array"):
        np.asarray(net.blobs["x"])


def declared(x: dict[str, Any], kind: str = "ReLU") -> Net:
    return Net.from_config({"inputs": {"x": x}, "net": [{"name": "layer", "type": kind}]})


def test_a_layer_that_takes_no_sparse_bottom_says_who_does() -> None:
    with pytest.raises(LayerError, match=r"layer 'layer' \(ReLU\): bottom\[0\] is sparse.*\n.*Linear, SparseMatmul"):
        declared({"shape": [4, 3], "sparse": "csr"})


@pytest.mark.parametrize(
    ("x", "words"),
    [
        ({"shape": [4], "sparse": "csr"}, "a sparse input has two axes"),
        ({"shape": [4, 3], "sparse": "csr", "dtype": "int64"}, "and real numbers"),
        ({"shape": [4, 3], "sparse": "coo"}, "must be one of csr"),
    ],
)
def test_declarations_that_make_no_sense(x: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        declared(x)


def test_without_scipy_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib

    def missing(name: str) -> Any:
        raise ImportError(f"No module named '{name}'")

    net, x = build(), matrix()
    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(BackendError, match=r"a sparse matrix needs the package 'scipy'.*\n.*layerforge\[sparse\]"):
        net.forward(x=x, t=labels())


def test_sums_over_many_rows_are_as_exact_as_dense_ones() -> None:
    rows = 40_000
    x = sp.csr_array(np.full((rows, 1), 0.1, "float32"))
    net = Net.from_config({
        "inputs": {"x": {"shape": [rows, 1], "sparse": "csr"}},
        "net": [{"name": "fc", "type": "Linear", "out_features": 1}],
    })  # fmt: skip
    net.forward(x=x)
    net.backward(fc=np.full((rows, 1), 0.1, "float32"))
    assert net.params["fc"]["weight"].grad[0, 0] == pytest.approx(rows * np.float64(np.float32(0.1)) ** 2, rel=1e-5)


def test_weights_start_and_are_stored_as_those_of_the_dense_net(tmp_path: Any) -> None:
    net, dense = build(), build(False)
    for layer, name in dense.parameters.slots:
        np.testing.assert_array_equal(net.params[layer][name].data, dense.params[layer][name].data)
    solver = Solver(net, lr=0.1, momentum=0.9)
    for step in range(2):
        solver.step(x=matrix(step), t=labels())
    net.save(tmp_path / "net.h5")
    dense.load(tmp_path / "net.h5")
    again = build()
    again.load(tmp_path / "net.h5")
    for layer, name in dense.parameters.slots:
        for other in (dense, again):
            np.testing.assert_array_equal(other.params[layer][name].data, net.params[layer][name].data)
    resumed = Solver(again, lr=0.1, momentum=0.9)
    resumed.load_state(solver.state(), solver.arrays())
    for each in (solver, resumed):
        each.step(x=matrix(5), t=labels())
    np.testing.assert_array_equal(again.parameters.data, net.parameters.data)


@pytest.mark.parametrize("engine", ["auto", "reference"])
@pytest.mark.parametrize("first", ["sparse", "dense"])
def test_a_weight_that_a_dense_layer_shares(first: str, engine: str) -> None:
    """Whoever owns the weight decides how it is stored; both find their numbers in it."""
    found = []
    for kind in ("csr", None):
        inputs = {"x": {"shape": [N, D], "sparse": kind}, "z": {"shape": [N, D]}, "t": {"shape": [N], "dtype": "int64"}}
        bottoms = ("x", "z") if first == "sparse" else ("z", "x")
        layers: list[dict[str, Any]] = [
            {"name": name, "type": "Linear", "bottom": bottom, "out_features": 3}
            for name, bottom in zip("ab", bottoms, strict=True)
        ]
        layers[1]["share"] = {"weight": "a.weight"}
        layers.append({"name": "sum", "type": "Add", "bottom": ["a", "b"]})
        layers.append({"name": "loss", "type": "SoftmaxCrossEntropy", "bottom": ["sum", "t"]})
        net = Net.from_config({"engine": engine, "inputs": inputs, "net": layers}, keep="none")
        solver, rng = Solver(net, lr=0.5), np.random.default_rng(1)
        for step in range(3):
            x = matrix(step)
            solver.step(x=x if kind else x.toarray(), z=rng.normal(size=(N, D)).astype("f4"), t=labels())
        found.append(net.params["a"]["weight"].data)
    np.testing.assert_allclose(*found, rtol=1e-4, atol=1e-6)
