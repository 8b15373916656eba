"""What the layers of matrices compute, by values that were worked out by hand."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from support import strict_cupy
from support.alone import Alone
from support.strict_backend import STRICT

from layerforge import Net, Solver
from layerforge.arrays.backend import NUMPY, Backend
from layerforge.schema.errors import DivergedError, LayerError, LayerForgeError

# Matmul ---------------------------------------------------------------------------------------------------------------


def test_matmul_of_vectors_is_a_number_and_each_gets_the_other() -> None:
    layer = Alone("Matmul", [1.0, 2.0, 3.0], [4.0, 5.0, 6.0])
    assert layer.top() == 32
    got = layer.vjp(10.0)
    assert_array_equal(got["bottom[0]"], [40, 50, 60])
    assert_array_equal(got["bottom[1]"], [10, 20, 30])


def test_matmul_of_a_matrix_and_a_vector() -> None:
    layer = Alone("Matmul", [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], [10.0, 1.0])
    assert_array_equal(layer.top(), [12, 34, 56])
    got = layer.vjp([1.0, 0.0, 2.0])
    assert_array_equal(got["bottom[0]"], [[10, 1], [0, 0], [20, 2]])
    assert_array_equal(got["bottom[1]"], [11, 14])


def test_matmul_of_a_vector_and_a_matrix() -> None:
    layer = Alone("Matmul", [10.0, 1.0], [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    assert_array_equal(layer.top(), [14, 25, 36])
    got = layer.vjp([1.0, 0.0, 2.0])
    assert_array_equal(got["bottom[0]"], [7, 16])
    assert_array_equal(got["bottom[1]"], [[10, 0, 20], [1, 0, 2]])


def test_matmul_of_matrices_is_not_symmetric() -> None:
    a, b = [[1.0, 2.0], [3.0, 4.0]], [[0.0, 1.0], [1.0, 0.0]]
    layer = Alone("Matmul", a, b)
    assert_array_equal(layer.top(), [[2, 1], [4, 3]])
    got = layer.vjp([[1.0, 0.0], [0.0, 5.0]])
    assert_array_equal(got["bottom[0]"], [[0, 1], [5, 0]])
    assert_array_equal(got["bottom[1]"], [[1, 15], [2, 20]])


def test_matmul_adds_up_the_gradients_of_a_matrix_that_serves_a_whole_batch() -> None:
    layer = Alone("Matmul", [[[1.0, 2.0]], [[3.0, 4.0]]], [[1.0], [1.0]])
    assert_array_equal(layer.top(), [[[3]], [[7]]])
    assert_array_equal(layer.vjp([[[1.0]], [[10.0]]])["bottom[1]"], [[31], [42]])


# Bilinear -------------------------------------------------------------------------------------------------------------


def test_bilinear_by_hand() -> None:
    layer = Alone("Bilinear", [[1.0, 2.0]], [[3.0, 5.0, 7.0]], out_features=1)
    layer.layer.params.weight[...] = [[[1, 0, 0], [0, 1, 2]]]
    layer.layer.params.bias[...] = [100]
    assert_array_equal(layer.top(), [[3 + 2 * (5 + 14) + 100]])
    got = layer.vjp([[2.0]])
    assert_array_equal(got["bottom[0]"], [[6, 38]])
    assert_array_equal(got["bottom[1]"], [[2, 4, 8]])
    assert_array_equal(got["weight"], [[[6, 10, 14], [12, 20, 28]]])
    assert_array_equal(got["bias"], [2])


# Inverse, Solve, LogDet -----------------------------------------------------------------------------------------------


def test_inverse_by_hand() -> None:
    layer = Alone("Inverse", [[2.0, 1.0], [0.0, 4.0]])
    assert_allclose(layer.top(), [[0.5, -0.125], [0, 0.25]])
    # Only y₀₀ = 1/x₀₀ - ... is asked for: -yᵀ e₀e₀ᵀ yᵀ has the first column of yᵀ times the first row of yᵀ.
    assert_allclose(layer.vjp([[1.0, 0.0], [0.0, 0.0]])["bottom[0]"], [[-0.25, 0], [0.0625, 0]])


def test_solve_by_hand() -> None:
    layer = Alone("Solve", [[2.0, 0.0], [0.0, 4.0]], [6.0, 8.0])
    assert_allclose(layer.top(), [3, 2])
    got = layer.vjp([1.0, 0.0])
    assert_allclose(got["bottom[1]"], [0.5, 0])
    assert_allclose(got["bottom[0]"], [[-1.5, -1], [0, 0]])


def test_solve_takes_a_vector_for_each_matrix() -> None:
    a = np.stack([np.eye(2), 2 * np.eye(2)])
    assert_allclose(Alone("Solve", a, [[1.0, 2.0], [3.0, 4.0]]).top(), [[1, 2], [1.5, 2]])
    assert_allclose(Alone("Solve", a, [[[1.0], [2.0]], [[3.0], [4.0]]]).top(), [[[1], [2]], [[1.5], [2]]])


@pytest.mark.parametrize("name", ["Inverse", "Solve"])
def test_a_singular_matrix_is_refused_in_words(name: str) -> None:
    singular = np.array([[1.0, 2.0], [2.0, 4.0]])
    bottoms = [singular, np.ones(2)][: 2 if name == "Solve" else 1]
    with pytest.raises(LayerError, match=f"'{name}'.*a matrix is singular") as caught:
        Alone(name, *bottoms).forward()
    assert "multiple of the identity" in str(caught.value)


def test_logdet_where_the_determinant_itself_underflows() -> None:
    layer = Alone("LogDet", 1e-3 * np.eye(100), dtype="float32")
    assert_allclose(layer.top(), 100 * math.log(1e-3), rtol=1e-6)
    assert_allclose(layer.vjp(2.0)["bottom[0]"], 2e3 * np.eye(100), rtol=1e-6)


def test_logdet_of_a_negative_determinant_is_nan_and_of_zero_minus_infinity() -> None:
    swapped = [[0.0, 1.0], [1.0, 0.0]]
    assert_array_equal(Alone("LogDet", [swapped, np.eye(2), np.zeros((2, 2))]).top(), [np.nan, 0, -np.inf])


# Diagonal, Trace ------------------------------------------------------------------------------------------------------


def test_diagonals_of_a_matrix() -> None:
    x = np.arange(6.0).reshape(2, 3)
    assert_array_equal(Alone("Diagonal", x).top(), [0, 4])
    assert_array_equal(Alone("Diagonal", x, offset=1).top(), [1, 5])
    assert_array_equal(Alone("Diagonal", x, offset=-1).top(), [3])
    assert_array_equal(Alone("Diagonal", x, offset=1).vjp([7.0, 8.0])["bottom[0]"], [[0, 7, 0], [0, 0, 8]])


def test_diagonal_can_be_overwritten() -> None:
    """NumPy's own view of a diagonal is read-only, and an in-place layer above could not write into it."""
    Alone("Diagonal", np.eye(2)).forward()[0][...] = 3


def test_trace_and_its_gradient() -> None:
    layer = Alone("Trace", np.arange(8.0).reshape(2, 2, 2))
    assert_array_equal(layer.top(), [3, 11])
    assert_array_equal(layer.vjp([2.0, 5.0])["bottom[0]"], [2 * np.eye(2), 5 * np.eye(2)])


# Einsum ---------------------------------------------------------------------------------------------------------------


def test_einsum_sums_what_is_missing_behind_the_arrow() -> None:
    a, b = [[1.0, 2.0], [3.0, 4.0]], [5.0, 6.0]
    assert_array_equal(Alone("Einsum", a, b, equation="ij,j->i").top(), [17, 39])
    assert_array_equal(Alone("Einsum", a, b, equation="ij,j->").top(), 56)
    assert_array_equal(Alone("Einsum", a, b, equation="ij,k->k").top(), [50, 60])


def test_einsum_spreads_the_gradient_over_a_letter_that_was_only_summed() -> None:
    got = Alone("Einsum", [[1.0, 2.0], [3.0, 4.0]], [5.0, 6.0], equation="ij,k->k").vjp([1.0, 10.0])
    assert_array_equal(got["bottom[0]"], np.full((2, 2), 65))
    assert_array_equal(got["bottom[1]"], [10, 100])


def test_einsum_agrees_with_numpy_on_many_equations() -> None:
    rng = np.random.default_rng(0)
    sizes = dict(zip("abcde", (2, 3, 4, 1, 5), strict=True))
    for _ in range(100):
        words = ["".join(rng.permutation(list("abcde"))[: rng.integers(0, 5)]) for _ in range(2)]
        both = sorted(set(words[0] + words[1]))
        top = "".join(rng.permutation(both)[: rng.integers(0, len(both) + 1)]) if both else ""
        arrays = [rng.normal(size=[sizes[k] for k in word]) for word in words]
        equation = f"{words[0]},{words[1]}->{top}"
        want = np.einsum(equation, *arrays)
        assert_allclose(Alone("Einsum", *arrays, equation=equation).top(), want, atol=1e-12, err_msg=equation)


def test_einsum_says_where_its_equation_is_wrong() -> None:
    with pytest.raises(LayerForgeError, match="Einsum: equation names i twice in 'ii'"):
        Alone("Einsum", np.eye(2), np.eye(2), equation="ii,ij->j")


# Det, SVDVals, Cholesky -----------------------------------------------------------------------------------------------


def test_det_of_two_by_two_has_the_cofactors_as_its_gradient_singular_or_not() -> None:
    for x in ([[1.0, 2.0], [3.0, 4.0]], [[1.0, 2.0], [2.0, 4.0]], [[0.0, 0.0], [0.0, 5.0]], [[0.0, 0.0], [0.0, 0.0]]):
        (a, b), (c, d) = x
        layer = Alone("Det", x)
        assert_allclose(layer.top(), a * d - b * c, atol=1e-15)
        assert_allclose(layer.vjp(3.0)["bottom[0]"], [[3 * d, -3 * c], [-3 * b, 3 * a]], atol=1e-14)


def test_det_of_a_matrix_that_lacks_two_ranks_moves_in_no_direction() -> None:
    assert_allclose(Alone("Det", np.outer([1.0, 2.0, 3.0], [4.0, 5.0, 6.0])).vjp(1.0)["bottom[0]"], 0, atol=1e-13)


def test_the_gradient_of_det_keeps_its_digits_next_to_a_singular_matrix() -> None:
    """det x times the inverse has lost all of them there."""
    x = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0 + 1e-15]])
    cofactors = [[-3, 6, -3], [6, -12, 6], [-3, 6, -3]]
    assert_allclose(Alone("Det", x).vjp(1.0)["bottom[0]"], cofactors, rtol=1e-12)


def test_singular_values_by_hand() -> None:
    layer = Alone("SVDVals", [[0.0, -3.0], [5.0, 0.0], [0.0, 0.0]])
    assert_allclose(layer.top(), [5, 3])
    assert_allclose(layer.vjp([1.0, 10.0])["bottom[0]"], [[0, -10], [1, 0], [0, 0]], atol=1e-14)


@pytest.mark.parametrize("dy", [lambda y: np.ones_like(y), lambda y: 2 * y, lambda y: np.prod(y) / y])
def test_what_treats_equal_singular_values_alike_has_its_gradient(dy: Any) -> None:
    """The nuclear norm, the sum of squares and |det| of a multiple of a rotation: u vᵀ, 2x and |det x| x⁻ᵀ."""
    q = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    layer = Alone("SVDVals", 2 * q)
    y = layer.top()
    assert_allclose(y, [2, 2, 2])
    assert_allclose(layer.vjp(dy(y))["bottom[0]"], q * dy(np.array([2.0, 2.0, 2.0]))[0], atol=1e-14)


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_a_matrix_that_is_not_finite_has_no_singular_values(wrong: float, capfd: pytest.CaptureFixture[str]) -> None:
    layer = Alone("SVDVals", [[1.0, wrong], [0.0, 1.0]])
    with pytest.raises(LayerError, match=r"'SVDVals'.*a matrix holds NaN or infinity"):
        layer.vjp([1.0, 1.0])
    assert capfd.readouterr() == ("", ""), "LAPACK said something of its own"


@pytest.mark.parametrize("name", ["Det", "SVDVals"])
def test_no_singular_values_are_searched_for_where_a_number_is_not_finite(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """LAPACK may never come to an end there."""
    search = np.linalg.svd

    def finite_only(x: Any, **how: Any) -> Any:
        assert np.isfinite(x).all()
        return search(x, **how)

    monkeypatch.setattr(np.linalg, "svd", finite_only)
    for wrong in (np.nan, np.inf, -np.inf):
        layer = Alone(name, [[[1.0, wrong], [0.0, 1.0]]])
        try:
            assert np.isnan(layer.vjp(np.ones_like(layer.top()))["bottom[0]"]).all()
        except LayerError:
            assert name == "SVDVals"


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", ["Det", "LogDet", "Inverse", "Solve"])
@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_a_matrix_that_is_not_finite_makes_what_is_made_of_it_nan_and_no_more(name: str, wrong: float) -> None:
    good, right_side = np.array([[2.0, 1.0], [1.0, 3.0]]), [[[1.0], [2.0]]] * 2
    more = [right_side] if name == "Solve" else []
    layer = Alone(name, [[[1.0, wrong], [0.0, 1.0]], good], *more)
    y = layer.top()
    assert np.isnan(y[0]).all()
    assert_allclose(y[1], Alone(name, [good], *(m[:1] for m in more)).top()[0])
    dx = layer.vjp(np.ones_like(y))["bottom[0]"]
    assert np.isnan(dx[0]).all()
    assert np.isfinite(dx[1]).all()
    moved = layer.layer.jvp(np.ones((2, 2, 2)), *(np.zeros((2, 2, 1)) for _ in more))
    assert np.isnan(moved[0]).all()
    assert np.isfinite(moved[1]).all()


def test_cholesky_by_hand() -> None:
    """x = [[4, 2], [2, 5]] is L Lᵀ with L = [[2, 0], [1, 2]]; L₀₀ = √x₀₀ moves by 1/4 of ẋ₀₀."""
    x = [[4.0, 2.0], [2.0, 5.0]]
    lower, upper = Alone("Cholesky", x), Alone("Cholesky", x, upper=True)
    assert_allclose(lower.top(), [[2, 0], [1, 2]])
    assert_allclose(upper.top(), [[2, 1], [0, 2]])
    assert_allclose(lower.vjp([[1.0, 0.0], [0.0, 0.0]])["bottom[0]"], [[0.25, 0], [0, 0]], atol=1e-15)
    # L₁₀ = x₁₀ / √x₀₀: 1/2 of ẋ₁₀, which the two elements that are equal share, and -L₁₀/(2 x₀₀) of ẋ₀₀.
    assert_allclose(lower.vjp([[0.0, 0.0], [1.0, 0.0]])["bottom[0]"], [[-0.125, 0.25], [0.25, 0]], atol=1e-15)
    assert_allclose(upper.vjp([[0.0, 1.0], [0.0, 0.0]])["bottom[0]"], [[-0.125, 0.25], [0.25, 0]], atol=1e-15)


def test_cholesky_takes_the_symmetric_part_and_no_gradient_from_the_empty_triangle() -> None:
    lopsided = Alone("Cholesky", [[4.0, 4.0], [0.0, 5.0]])
    assert_allclose(lopsided.top(), [[2, 0], [1, 2]])
    assert_array_equal(lopsided.vjp([[0.0, 7.0], [0.0, 0.0]])["bottom[0]"], np.zeros((2, 2)))


@pytest.mark.parametrize("x", [[[1.0, 2.0], [2.0, 1.0]], [[1.0, 1.0], [1.0, 1.0]], [[np.nan, 0.0], [0.0, 1.0]]])
def test_a_matrix_that_is_not_positive_definite_is_refused_in_words(x: list[list[float]]) -> None:
    with pytest.raises(LayerError, match=r"'Cholesky'.*a matrix is not positive definite") as caught:
        Alone("Cholesky", [np.eye(2), x]).forward()
    assert "multiple of the identity" in str(caught.value)


def test_a_factor_of_cholesky_that_a_device_left_unfinished_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """CuPy raises nothing for a matrix that is not positive definite, and leaves what it had got to."""
    monkeypatch.setattr(np.linalg, "cholesky", lambda x: np.tril(x))
    with pytest.raises(LayerError, match="not positive definite"):
        Alone("Cholesky", [[1.0, 2.0], [2.0, -3.0]]).forward()


# On a device, whose library refuses nothing ---------------------------------------------------------------------------

SINGULAR = np.array([[1.0, 2.0], [2.0, 4.0]])
REGULAR = np.array([[2.0, 1.0], [1.0, 3.0]])
REFUSING = {
    "Inverse": (SINGULAR, r"'y' \(Inverse\): a matrix is singular \(at position 1, 0\)"),
    "Solve": (SINGULAR, r"'y' \(Solve\): a matrix is singular \(at position 1, 0\)"),
    "LogDet": (SINGULAR, r"'y' \(LogDet\): a matrix is singular \(at position 1, 0\)"),
    "Cholesky": (-REGULAR, r"'y' \(Cholesky\): a matrix is not positive definite \(at position 1, 0\)"),
    "SVDVals": (np.nan * REGULAR, r"'y' \(SVDVals\): a matrix holds NaN or infinity.* \(at position 1, 0\)"),
}


BACKENDS = pytest.mark.parametrize("backend", [NUMPY, STRICT], ids=lambda backend: backend.name)


def net_of(name: str, backend: Backend) -> Net:
    """A net of a layer of matrices (3, 1, 2, 2), which pass a Linear as they are; the sum of its top is the loss."""
    inputs = {"x": {"shape": [3, 1, 2, 2]}} | ({"b": {"shape": [3, 1, 2, 1]}} if name == "Solve" else {})
    layers = [
        {"name": "same", "type": "Linear", "out_features": 2, "bias": False, "bottom": "x"},
        {"name": "y", "type": name, "bottom": ["same", *list(inputs)[1:]]},
        {"name": "loss", "type": "Sum", "bottom": "y", "loss_weight": 1.0},
    ]
    net = Net.from_config({"seed": 1, "inputs": inputs, "net": layers}, keep="none", backend=backend)
    net.params["same"]["weight"].data = np.eye(2)
    return net


def batch_with(wrong: np.ndarray, name: str) -> dict[str, np.ndarray]:
    """Three matrices, of which the second one is wrong; its right side, where there is one, would do."""
    x = np.stack([REGULAR, wrong, 2 * REGULAR])[:, None]
    return {"x": x} | ({"b": np.array([[[[1.0], [2.0]]]] * 3)} if name == "Solve" else {})


@BACKENDS
@pytest.mark.parametrize(
    ("name", "act"),
    # The logarithm of 0 is -inf: only its gradient is refused.
    [(name, act) for name in REFUSING for act in ("step", "eval") if (name, act) != ("LogDet", "eval")],
)
def test_the_matrix_that_cannot_be_is_named(name: str, act: str, backend: Backend) -> None:
    net, (wrong, told) = net_of(name, backend), REFUSING[name]
    solver, before = Solver(net, lr=0.1), net.arrays()
    with pytest.raises((LayerError, DivergedError)) as caught:
        if act == "step":
            solver.step(**batch_with(wrong, name))
        else:
            net.forward(phase="eval", **batch_with(wrong, name))
    # On the host backward of LogDet is refused when the loss is known to be -inf.
    error = caught.value.__cause__ if isinstance(caught.value, DivergedError) else caught.value
    assert isinstance(error, LayerError)
    assert re.search(told, str(error))
    assert all(np.array_equal(array, before[path]) for path, array in net.arrays().items())
    assert np.isfinite(solver.step(**batch_with(3 * REGULAR, name)))


@BACKENDS
@pytest.mark.parametrize("name", ["Inverse", "Solve", "LogDet", "Det"])
def test_a_matrix_that_is_not_finite_is_not_called_singular(name: str, backend: Backend) -> None:
    net = net_of(name, backend)
    y = np.asarray(net.backend.to_host(net.forward(phase="eval", outputs="y", **batch_with(REGULAR, name))["y"])).copy()
    with pytest.raises(DivergedError):
        Solver(net, lr=0.1).step(**batch_with(np.nan * REGULAR, name))
    broken = net.forward(phase="eval", outputs="y", **batch_with(np.inf * REGULAR, name))["y"]
    broken = np.asarray(net.backend.to_host(broken))
    assert np.isnan(broken[1]).all()
    assert_allclose(broken[[0, 2]], y[[0, 2]], rtol=1e-6)


@pytest.mark.parametrize("name", [*REFUSING, "Det"])
def test_layers_of_matrices_add_no_wait_to_a_step(name: str) -> None:
    solver = Solver(net_of(name, STRICT), lr=1e-3)
    solver.step(**batch_with(3 * REGULAR, name))
    with strict_cupy.counting() as counts:
        solver.step(**batch_with(3 * REGULAR, name))
    assert counts["waits"] == 1
