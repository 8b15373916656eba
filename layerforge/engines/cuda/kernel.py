"""A kernel and its text, made for a namespace when it is first called there."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ClassVar

KERNELS: dict[str, Callable[..., Any]] = {}  # by the function that each stands in for


def stands_in(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate what stands in for the formula of the same name."""
    KERNELS[function.__name__] = function
    return function


def given(*arrays: Any) -> tuple[Any, ...]:
    """Those of the arrays that there are, as arguments of a kernel: memory for a result may be left out."""
    return tuple(array for array in arrays if array is not None)


def alike(*arrays: Any) -> bool:
    """Whether arrays hold something, all of them real numbers of one type; None among them are left out."""
    there = given(*arrays)
    return all(array.size and array.dtype.kind == "f" and array.dtype == there[0].dtype for array in there)


def of_reals(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate what computes with real numbers of one type alone; of others the text knows what becomes of them."""

    @functools.wraps(function)
    def checked(xp: Any, *args: Any, **options: Any) -> Any:
        arrays = [value for value in (*args, *options.values()) if isinstance(value, xp.ndarray)]
        return function(xp, *args, **options) if alike(*arrays) else NotImplemented

    return checked


class Kernel:
    """A text of the device's language, made into a kernel by a namespace when it is first called there."""

    maker: ClassVar[str]  # the class of the namespace that makes it

    def __init__(self, name: str, *texts: str, **options: str) -> None:
        self.name = f"layerforge_{name}"
        self.texts = texts
        self.options = options
        self.made: dict[Any, Any] = {}  # by that class

    def __call__(self, xp: Any, *arrays: Any, **options: Any) -> Any:
        make = getattr(xp, self.maker)
        kernel = self.made.get(make)
        if kernel is None:
            kernel = self.made[make] = make(*self.texts, name=self.name, **self.options)
        return kernel(*arrays, **options)


class Elementwise(Kernel):
    """One launch that computes every element of its results by itself.

    inputs     parameters as CuPy writes them: "T x, T y, float64 scale"
    outputs    results, in the same form
    operation  the statements for one element, in CUDA C++
    preamble   functions that they use

    A parameter of a letter's type takes arrays, all of that letter the same dtype. Numbers of the host have a type of
    their own, so that none of them decides about the dtype of a result.
    """

    maker = "ElementwiseKernel"

    def __init__(self, name: str, inputs: str, outputs: str, operation: str, preamble: str = "") -> None:
        super().__init__(name, inputs, outputs, operation, preamble=preamble)


class Reduction(Kernel):
    """One launch that adds up over axes (`axis`, `keepdims`), in float64 whatever the type of the arrays.

    inputs   parameters as of `Elementwise`
    output   the one result
    mapped   what is added up: an expression of each element
    after    an assignment that makes the result, y, of the sum, a
    """

    maker = "ReductionKernel"

    def __init__(self, name: str, inputs: str, output: str, mapped: str, *, after: str = "y = a") -> None:
        super().__init__(name, inputs, output, mapped, "a + b", after, "0", reduce_type="double")
