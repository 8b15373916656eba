"""Formulas: on a device their kernel, everywhere else their text."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
from support import strict_cupy
from support.strict_kernels import ElementwiseKernel, ReductionKernel
from support.tools import demand_compiler

from layerforge.arrays.formula import FORMULAS, as_text, namespace_of
from layerforge.arrays.functional import sum_of
from layerforge.arrays.philox import stream_key, uniform
from layerforge.engines import cuda
from layerforge.schema import registry


@pytest.fixture
def kernels() -> None:
    demand_compiler()


kernels_run = pytest.mark.usefixtures("kernels")


def test_every_kernel_stands_in_for_a_function_that_is_there() -> None:
    registry.LAYERS.names()  # imports them all, and their formulas
    importlib.import_module("layerforge.net")  # and those of what is around them
    assert cuda.kernels()
    for name in cuda.kernels():
        assert name in FORMULAS, f"no function is called {name}"


@kernels_run
def test_a_kernel_is_one_launch_and_its_text_is_more() -> None:
    x = strict_cupy.asarray(np.random.default_rng(0).normal(size=(3, 4, 5)).astype("float32"))
    with strict_cupy.counting() as by_kernel:
        got = sum_of(x, (0, 2))
    with as_text(), strict_cupy.counting() as by_text:
        want = sum_of(x, (0, 2))
    assert by_kernel["launches"] == 1 < by_text["launches"]
    np.testing.assert_allclose(got.get(), want.get(), rtol=1e-6)


def test_what_is_no_device_array_has_no_kernels() -> None:
    for value in (np, np.zeros(3), np.float32(1), 1.0, None):
        assert namespace_of(value) is None


@kernels_run
@pytest.mark.parametrize("iteration", [0, 7, 2**32 + 5])
@pytest.mark.parametrize("first_sample", [0, 1000])
@pytest.mark.parametrize("shape", [(3, 5), (64, 1024), (2, 3, 7, 7), (), (0, 4), (5,)])
def test_random_numbers_are_the_same_bits(shape: tuple[int, ...], first_sample: int, iteration: int) -> None:
    key = stream_key(iteration + 1, "dropout", 2)
    with strict_cupy.counting() as counts:
        got = uniform(strict_cupy, key, shape, iteration=iteration, first_sample=first_sample)
    want = uniform(np, key, shape, iteration=iteration, first_sample=first_sample)
    assert np.array_equal(got.get(), want)
    assert counts["launches"] <= 1


# The stand-in for the kernels -----------------------------------------------------------------------------------------


@kernels_run
def test_a_race_of_threads_is_seen() -> None:
    race = ElementwiseKernel("raw T x", "raw T y", "y[i / 2] = x[i]", "race")
    x = strict_cupy.asarray(np.arange(8.0))
    with pytest.raises(ValueError, match="order of the threads"):
        race(x, strict_cupy.zeros(4), size=8)


@kernels_run
def test_parameters_are_checked() -> None:
    add = ElementwiseKernel("T x, T y", "T z", "z = x + y", "add")
    x = strict_cupy.zeros((2, 3), dtype="float32")
    with pytest.raises(TypeError, match="mismatched"):
        add(x, strict_cupy.zeros(3))
    with pytest.raises(TypeError, match="Unsupported type"):
        add(x, np.zeros(3, "float32"))
    with pytest.raises(ValueError, match="broadcast"):
        add(x, strict_cupy.zeros(2, dtype="float32"))
    with pytest.raises(RuntimeError, match="does not compile"):
        ElementwiseKernel("T x", "T y", "y = nothing(x)", "wrong")(x)


@kernels_run
@pytest.mark.parametrize("text", ["y = -(T)INFINITY", "y = NAN * x", "y = numeric_limits<T>::max()", "y = x * M_PI"])
def test_words_of_the_host_are_refused(text: str) -> None:
    with pytest.raises(RuntimeError, match="does not compile"):
        ElementwiseKernel("T x", "T y", text, "of_the_host")(strict_cupy.zeros(3))


@kernels_run
def test_whether_a_number_is_finite_is_asked_of_no_integer() -> None:
    """The host's compiler takes integers there, that of a device does not know which function is meant."""
    finite = ElementwiseKernel("T x", "bool y", "y = isfinite(x)", "finite")
    assert finite(strict_cupy.asarray(np.array([1.0, np.inf, np.nan]))).get().tolist() == [True, False, False]
    with pytest.raises(RuntimeError, match="does not compile"):
        finite(strict_cupy.zeros(3, dtype="int64"))


@kernels_run
def test_reductions_are_written_as_cupy_takes_them() -> None:
    x = strict_cupy.asarray(np.array([3.0, -5.0, 2.0]))
    largest = ReductionKernel("T value", "T y", "fmax(value, T(0))", "a > b ? a : b", "y = a", "0")
    assert float(largest(x)) == 3
    with pytest.raises(ValueError, match="'x' is a part of another word"):  # CUB's name would be put into it
        ReductionKernel("T x", "T y", "fmax(x, T(0))", "a > b ? a : b", "y = a", "0")
    with pytest.raises(ValueError, match="'y' is a part of another word"):
        ReductionKernel("T x", "T y", "x", "a + b", "y = a * my_factor", "0")
    with pytest.raises(RuntimeError, match="does not compile"):  # an expression, of which CuPy makes a macro
        ReductionKernel("T x", "T y", "x", "a + b", "y = a; y = 2 * y", "0")(x)


@kernels_run
def test_results_go_into_views() -> None:
    """The two halves of one array, of which a kernel reads strided memory."""
    split = ElementwiseKernel("T x, float64 by", "T low, T high", "low = x; high = x * (T)by", "split")
    memory = strict_cupy.zeros((3, 8), dtype="float32")
    x = strict_cupy.asarray(np.arange(12, dtype="float32").reshape(4, 3)).T
    split(x, 2.0, memory[:, :4], memory[:, 4:])
    want = np.arange(12, dtype="float32").reshape(4, 3).T
    assert np.array_equal(memory.get(), np.concatenate([want, 2 * want], axis=1))
