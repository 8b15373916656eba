"""What the checks of the contract share: a case, the list of checks, and the words for a failure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..backend import NUMPY, Backend
from ..errors import LayerForgeError
from ..layer import Example, Layer
from .harness import Probe


class CheckFailed(LayerForgeError):
    """A layer breaks its contract."""


@dataclass(frozen=True)
class Case:
    """A layer class with one of its examples on a backend."""

    cls: type[Layer]
    example: Example
    backend: Backend = NUMPY

    def probe(self, **kwargs: Any) -> Probe:
        return Probe(self.cls, self.example, backend=self.backend, **kwargs)

    @property
    def differentiable(self) -> bool:
        return self.cls.is_differentiable()


CHECKS: dict[str, Callable[[Case], None]] = {}


def check(function: Callable[[Case], None]) -> Callable[[Case], None]:
    """Add a check to the contract, under its name without `check_`."""
    CHECKS[function.__name__.removeprefix("check_")] = function
    return function


def demand(condition: Any, message: str) -> None:
    """Fail the check unless the condition holds."""
    if not condition:
        raise CheckFailed(message)


def close(a: Any, b: Any, tolerance: float = 1e-12) -> bool:
    """Equal up to `tolerance` of the largest value of b; both None is equal; NaN is equal to nothing."""
    if a is None or b is None:
        return a is None and b is None
    if a.shape != b.shape:
        return False
    return bool(np.all(np.abs(a - b) <= tolerance * (np.abs(b).max(initial=0.0) + 1.0)))


def same(a: Any, b: Any) -> bool:
    """Bit for bit; both None is the same."""
    return (a is None and b is None) or (a is not None and b is not None and np.array_equal(a, b))


def compare(got: dict[str, Any], want: dict[str, Any], how: Callable[[Any, Any], bool], message: str) -> None:
    """Every named array of `want` must agree with `got`'s; the message begins with the name that does not."""
    for name, value in want.items():
        demand(how(got[name], value), f"{name}: {message}")


def contiguous_copy(arrays: Any) -> list[Any]:
    """Copies of arrays; None stays None."""
    return [None if a is None else a.copy() for a in arrays]


def outputs(probe: Probe, tops: Any) -> dict[str, Any]:
    """Tops by name, on the host."""
    return {f"top[{i}]": probe.host(t) for i, t in enumerate(tops)}
