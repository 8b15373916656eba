"""What the kernels of a device are called with in tests, and their texts, too."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

# A call is the arguments behind the namespace, with NumPy arrays; an array is turned into the namespace's own.
Call = tuple[tuple[Any, ...], dict[str, Any]]
CALLS: dict[str, Callable[[np.random.Generator, str], Iterator[Call]]] = {}


def calls(*names: str) -> Callable[[Any], Any]:
    """Decorate what makes the calls of kernels."""

    def add(make: Any) -> Any:
        CALLS.update(dict.fromkeys(names, make))
        return make

    return add


def hard(dtype: str) -> np.ndarray:
    """Zeros of both signs, the smallest and largest numbers, infinities and NaN, among ordinary ones."""
    about = np.finfo(dtype)
    few = [0.0, -0.0, 1.0, -1.0, 0.5, -3.0, 20.0, -20.0, 90.0, -90.0, 120.5, -1e4, 1e4, 1e-8, -1e-8]
    return np.array([*few, about.tiny, -about.tiny, about.max, about.min, math.inf, -math.inf, math.nan], dtype)


@calls("sum_of", "mean_of")
def of_sums(rng: np.random.Generator, dtype: str) -> Iterator[Call]:
    """Along one axis, several and all, kept or not, in views with gaps; nothing to sum up."""
    x = rng.normal(size=(3, 4, 5)).astype(dtype)
    for axis in (0, 1, -1, (0, 2), (1, 2), None):
        for keepdims in (False, True):
            yield (x, axis, keepdims), {}
            yield (x.transpose(2, 0, 1)[::2], axis, keepdims), {}
    yield (np.full(2**12 + 1, 0.1, dtype), 0), {}
    yield (np.zeros((3, 0), dtype), 0), {}
    yield (hard(dtype), None), {}


@calls("sum_of_squares")
def of_squares(rng: np.random.Generator, dtype: str) -> Iterator[Call]:
    """Of few numbers and of many."""
    for count in (1, 5000):
        yield (rng.normal(size=count).astype(dtype),), {}


@calls("sum_of_products")
def of_products(rng: np.random.Generator, dtype: str) -> Iterator[Call]:
    """Over some axes, also of views with gaps."""
    x, y = rng.normal(size=(2, 3, 4, 5)).astype(dtype)
    for over in ((0, 2), (1,), (0, 1, 2)):
        yield (x, y, over), {}
        yield (x[:, ::2], y[:, ::2], over), {}


@calls("sum_along")
def of_neighbours(rng: np.random.Generator, dtype: str) -> Iterator[Call]:
    """Windows at the ends, and larger than the axis."""
    x = rng.normal(size=(2, 5, 4, 3)).astype(dtype)
    for more in ((1, 2, 2), (1, 2, 1), (2, 9, 0), (3, 0, 1)):
        yield (x, *more), {}
        yield (x.swapaxes(1, 3), *more), {}


@calls("sigmoid", "softplus", "mish")
def of_numbers(rng: np.random.Generator, dtype: str) -> Iterator[Call]:
    """Ordinary and hard numbers, a single one, none."""
    for x in (rng.normal(size=(3, 4)).astype(dtype), hard(dtype), np.array(0.3, dtype), np.zeros((0, 2), dtype)):
        yield (x,), {}


@calls("gelu")
def of_gelu(rng: np.random.Generator, dtype: str) -> Iterator[Call]:
    """Both ways to compute it."""
    for approximate in ("none", "tanh"):
        for args, options in of_numbers(rng, dtype):
            yield (*args, approximate), options


@calls("silu")
def of_silu(rng: np.random.Generator, dtype: str) -> Iterator[Call]:
    """Slopes of either sign."""
    for beta in (1.0, -1.7, 0.0):
        for args, options in of_numbers(rng, dtype):
            yield (*args, beta), options


@calls("gelu_back", "silu_back", "mish_back", "rectify_back")
def of_slopes(rng: np.random.Generator, dtype: str) -> Iterator[Call]:
    """With random gradients: see `MORE` for what else each takes."""
    for (x,), options in of_numbers(rng, dtype):
        yield (np.asarray(rng.normal(size=x.shape), dtype), x), options


@calls("softmax", "log_softmax")
def of_scores(rng: np.random.Generator, dtype: str) -> Iterator[Call]:
    """Along each axis; scores far apart; one class; a row with NaN, and one with infinities."""
    x = rng.normal(size=(3, 4, 5)).astype(dtype)
    for dim in (0, 1, 2, -1):
        yield (x, dim), {}
        yield (1e4 * x.transpose(1, 0, 2), dim), {}
    yield (np.array([[0.0, -1e3, 1.0], [math.nan, 0.0, 1.0], [-math.inf, 0.0, 2.0]], dtype), 1), {}
    yield (np.ones((3, 1), dtype), 1), {}


@calls("cross_entropy", "cross_entropy_slope")
def of_targets(rng: np.random.Generator, dtype: str) -> Iterator[Call]:
    """One class, and probabilities; a class that is out of the question."""
    x = rng.normal(size=(3, 4, 2)).astype(dtype)
    log_p = x - np.log(np.exp(x).sum(axis=1, keepdims=True))
    yield (log_p, np.eye(4, dtype=dtype)[rng.integers(0, 4, size=(3, 2))].transpose(0, 2, 1)), {}
    yield (log_p, rng.random(size=log_p.shape).astype(dtype)), {}
    yield (np.array([[0.0, -math.inf]], dtype), np.array([[1.0, 0.0]], dtype)), {}


@calls("softmax_back")
def of_attention(rng: np.random.Generator, dtype: str) -> Iterator[Call]:
    """Weights of some heads."""
    weights, dweights = (rng.random(size=(2, 3, 4, 5)).astype(dtype) for _ in range(2))
    yield (weights, dweights, 0.3), {}
    yield (weights.swapaxes(1, 2), dweights.swapaxes(1, 2), 1.0), {}


def of_cells(parts: int, before: int) -> Callable[[np.random.Generator, str], Iterator[Call]]:
    """A step of N = 3 samples with H = 4: parts of a_x and a_h, then the states before."""

    def make(rng: np.random.Generator, dtype: str) -> Iterator[Call]:
        for scale in (1.0, 200.0):
            sums = [(scale * rng.normal(size=(3, 4 * parts))).astype(dtype) for _ in range(2)]
            yield (*sums, *[rng.normal(size=(3, 4)).astype(dtype) for _ in range(before)]), {}

    return make


def of_cells_back(arrays: int) -> Callable[[np.random.Generator, str], Iterator[Call]]:
    """The gradients of the states, and what was kept: as many arrays (N, H), of which one is a view with gaps."""

    def make(rng: np.random.Generator, dtype: str) -> Iterator[Call]:
        first = rng.normal(size=(4, 3)).astype(dtype).T
        yield (first, *[rng.random(size=(3, 4)).astype(dtype) for _ in range(arrays - 1)]), {}

    return make


CALLS["lstm_step"], CALLS["lstm_step_back"] = of_cells(4, 1), of_cells_back(8)
CALLS["gru_step"], CALLS["gru_step_back"] = of_cells(3, 1), of_cells_back(6)

MORE: dict[str, tuple[tuple[Any, ...], ...]] = {  # what else some take, each in turn
    "gelu_back": (("none",), ("tanh",)),
    "silu_back": ((1.0,), (-1.7,)),
    "rectify_back": ((0.0,), (0.1,), (-0.5,), (2.5,)),
}


def calls_of(name: str, dtype: str) -> Iterator[Call]:
    """The calls of a kernel."""
    for args, options in CALLS[name](np.random.default_rng(5), dtype):
        for more in MORE.get(name, ((),)):
            yield (*args, *more), options


@calls("placed_sums")
def of_places(rng: np.random.Generator, dtype: str) -> Iterator[Call]:
    """Many numbers for few places; some for none; sizes far apart."""
    values = (rng.normal(size=60) * 10.0 ** rng.integers(-9, 9, 60)).astype(dtype)
    yield (values, rng.integers(0, 7, 60), 9, 60), {}
    yield (values[::3], rng.integers(0, 900, 20), 900, 20), {}


@calls("scatter_add_there")
def of_scatter(rng: np.random.Generator, dtype: str) -> Iterator[Call]:
    """Into an array with few places, and with many."""
    values = rng.normal(size=(4, 6, 3)).astype(dtype)
    for size in (5, 300):
        out = rng.normal(size=(4, size, 3)).astype(dtype)
        for shape in ((4, 6, 3), (1, 6, 1)):
            yield (out, rng.integers(0, size, shape), 1, values), {}
