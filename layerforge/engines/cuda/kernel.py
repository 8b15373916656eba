"""A kernel and its text, made for a namespace when it is first called there."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

KERNELS: dict[str, Callable[..., Any]] = {}  # by the function that each stands in for


def stands_in(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate what stands in for the formula of the same name."""
    KERNELS[function.__name__] = function
    return function


def alike(*arrays: Any) -> bool:
    """Whether arrays hold something, all of them real numbers of one type; None among them are left out."""
    given = [array for array in arrays if array is not None]
    return all(array.size and array.dtype.kind == "f" and array.dtype == given[0].dtype for array in given)


def of_reals(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate what computes with real numbers of one type alone; of others the text knows what becomes of them."""

    @functools.wraps(function)
    def checked(xp: Any, *args: Any, **options: Any) -> Any:
        arrays = [value for value in (*args, *options.values()) if isinstance(value, xp.ndarray)]
        return function(xp, *args, **options) if alike(*arrays) else NotImplemented

    return checked


class Elementwise:
    """One launch that computes every element of its results by itself.

    inputs     parameters as CuPy writes them: "T x, T y, float64 scale"
    outputs    results, in the same form
    operation  the statements for one element, in CUDA C++
    preamble   functions that they use

    A parameter of a letter's type takes arrays, all of that letter the same dtype. Numbers of the host have a type of
    their own, so that none of them decides about the dtype of a result.
    """

    def __init__(self, name: str, inputs: str, outputs: str, operation: str, preamble: str = "") -> None:
        self.name = f"layerforge_{name}"
        self.inputs = inputs
        self.outputs = outputs
        self.operation = operation
        self.preamble = preamble
        self.made: dict[int, Any] = {}

    def __call__(self, xp: Any, *arrays: Any, **options: Any) -> Any:
        kernel = self.made.get(id(xp))
        if kernel is None:
            kernel = self.made[id(xp)] = xp.ElementwiseKernel(
                self.inputs, self.outputs, self.operation, self.name, preamble=self.preamble
            )
        return kernel(*arrays, **options)


class Reduction:
    """One launch that reduces over axes. Sums are made in float64, whatever the type of the arrays.

    inputs   parameters as of `Elementwise`
    output   the one result
    mapped   what of each element is reduced, an expression
    reduced  how two of them, a and b, become one
    after    a statement that makes the result of what is left, a
    start    what the reduction of nothing is
    """

    def __init__(
        self, name: str, inputs: str, output: str, mapped: str, *, reduced: str = "a + b", after: str = "y = a",
        start: str = "0", of: str = "double", preamble: str = "",
    ) -> None:  # fmt: skip
        self.name = f"layerforge_{name}"
        self.texts = inputs, output, mapped, reduced, after, start
        self.of = of
        self.preamble = preamble
        self.made: dict[int, Any] = {}

    def __call__(self, xp: Any, *arrays: Any, axis: Any = None, keepdims: bool = False, out: Any = None) -> Any:
        kernel = self.made.get(id(xp))
        if kernel is None:
            kernel = self.made[id(xp)] = xp.ReductionKernel(
                *self.texts, self.name, reduce_type=self.of, preamble=self.preamble
            )
        return kernel(*arrays, axis=axis, keepdims=keepdims, out=out)
