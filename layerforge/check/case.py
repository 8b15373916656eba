"""What the checks of the contract share: a case, the list of checks, and the words for a failure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np

from ..arrays.backend import NUMPY, Backend
from ..contract.layer import Example, Layer
from ..layers.plumbing.input import Input
from ..schema.errors import LayerForgeError
from ..schema.precisions import FULL
from .halving import HalvedProbe
from .harness import Probe, reference_of


class CheckFailed(LayerForgeError):
    """A layer breaks its contract."""


@dataclass(frozen=True)
class Case:
    """A layer class with one of its examples on a backend, in a precision. The class may be an engine's."""

    cls: type[Layer]
    example: Example
    backend: Backend = NUMPY
    precision: str = FULL

    def probe(self, **kwargs: Any) -> Probe:
        if self.precision != FULL:
            return HalvedProbe(self.cls, self.example, backend=self.backend, **kwargs)
        return Probe(self.cls, self.example, backend=self.backend, **{"dtype": self.dtypes[-1], **kwargs})

    @cached_property
    def used(self) -> tuple[Probe, tuple[Any, ...]]:
        """A probe after a forward in train, and its tops, for conditions to look at: nobody runs or changes it."""
        probe = self.probe()
        return probe, probe.forward()

    @cached_property
    def reasons(self) -> dict[Condition, str | None]:
        """What conditions said of it: several checks ask the same, twice, and most need a forward for the answer."""
        return {}

    @property
    def differentiable(self) -> bool:
        return self.cls.is_differentiable()

    @property
    def dtypes(self) -> tuple[str, ...]:
        """What it computes in, the most exact one last: engines know only float32."""
        return ("float32", "float64") if reference_of(self.cls) is self.cls else ("float32",)

    @property
    def checks(self) -> dict[str, Check]:
        """The checks of its contract."""
        if self.precision != FULL:
            return PRECISION_CHECKS
        if reference_of(self.cls) is not self.cls:
            return ENGINE_CHECKS
        return CHECKS if self.backend.xp is np else CHECKS | DEVICE_CHECKS

    @property
    def tolerance(self) -> float:
        """What rounding leaves of two ways to compute the same, relative to the largest element."""
        if self.dtypes[-1] == "float64":
            return 1e-12
        probe = self.probe()
        return rounding([probe.host(b) for b in probe.bottoms])

    @property
    def close(self) -> Callable[[Any, Any], bool]:
        """Whether two arrays are equal up to that."""
        return partial(close, tolerance=self.tolerance)


Proof = Callable[[Case], None]  # raises CheckFailed
Condition = Callable[[Case], str | None]  # why there is nothing to prove for a case; None where there is


@dataclass(frozen=True)
class Check:
    """A promise of the contract: how it is proved, and the conditions under which there is something to prove."""

    name: str
    proof: Proof
    conditions: tuple[Condition, ...] = ()

    def why_not(self, case: Case) -> str | None:
        """Why it does not apply to a case; None where it does. A layer that cannot even be asked is to fail it."""
        for condition in self.conditions:
            try:
                if condition not in case.reasons:
                    case.reasons[condition] = condition(case)
            except Exception:  # a broken layer may raise anything anywhere: the proof will meet it, too
                return None
            if case.reasons[condition] is not None:
                return case.reasons[condition]
        return None

    def __call__(self, case: Case) -> None:
        """Prove it, or raise: also where it does not apply, for a check that proves nothing must not pass."""
        reason = self.why_not(case)
        demand(reason is None, f"does not apply: {reason}")
        self.proof(case)


CHECKS: dict[str, Check] = {}  # of layers
ENGINE_CHECKS: dict[str, Check] = {}  # of engines' layers, against the reference
DEVICE_CHECKS: dict[str, Check] = {}  # of layers, where the arrays are not NumPy's
PRECISION_CHECKS: dict[str, Check] = {}  # of layers in bf16-mixed, engines' among them


def check(*conditions: Condition) -> Callable[[Proof], Proof]:
    """Add a check to the contract of all layers, under its name without `check_`."""
    return _adder((CHECKS, ENGINE_CHECKS), conditions)


def layer_check(*conditions: Condition) -> Callable[[Proof], Proof]:
    """Add a check that needs float64: engines are compared with the reference instead."""
    return _adder((CHECKS,), conditions)


def engine_check(*conditions: Condition) -> Callable[[Proof], Proof]:
    """Add a check that only engines' layers need."""
    return _adder((ENGINE_CHECKS,), conditions)


def device_check(*conditions: Condition) -> Callable[[Proof], Proof]:
    """Add a check of what cannot be seen on NumPy."""
    return _adder((DEVICE_CHECKS,), conditions)


def precision_check(*conditions: Condition) -> Callable[[Proof], Proof]:
    """Add a check of what a layer computes in bf16-mixed."""
    return _adder((PRECISION_CHECKS,), conditions)


def _adder(contracts: Sequence[dict[str, Check]], conditions: tuple[Condition, ...]) -> Callable[[Proof], Proof]:
    def add(proof: Proof) -> Proof:
        name = proof.__name__.removeprefix("check_")
        for checks in contracts:
            checks[name] = Check(name, proof, conditions)
        return proof

    return add


def differentiable(case: Case) -> str | None:
    """Condition of checks of backward."""
    return None if case.differentiable else "it has no backward"


def exact(case: Case) -> str | None:
    """Condition of checks by differences."""
    exact = case.used[0].layer.exact_gradient
    return None if exact else "its backward is on purpose not the derivative of its forward"


def computes(case: Case) -> str | None:
    """Condition of checks of forward: the top of an Input is what a caller gives."""
    return "it has no forward" if issubclass(case.cls, Input) else None


def rounding(bottoms: Sequence[Any]) -> float:
    """How far two float32 results may be apart, relative to the largest element of an array: 1e-5 as a rule.

    Where the elements of a bottom are far from zero and near to each other, x - μ has lost as many digits as their mean
    is larger than their spread, since μ itself is rounded to float32. The reference saves those digits by subtracting
    one of the elements before (`centre` in norms/standardize.py); an engine need not, so that much more is allowed.
    The bottoms are host arrays.
    """
    allowed = 1e-5
    for x in (np.asarray(b, "float64") for b in bottoms if b.dtype.kind == "f" and b.size):
        spread = x.std() or 1.0
        allowed = max(allowed, 4 * np.finfo("float32").eps * abs(x.mean()) / spread)
    return float(allowed)


def demand(condition: Any, message: str) -> None:
    """Fail the check unless the condition holds."""
    if not condition:
        raise CheckFailed(message)


def close(a: Any, b: Any, tolerance: float = 1e-12) -> bool:
    """Equal up to `tolerance` of the largest finite value of b, infinities exactly. Both None is equal, NaN never."""
    if a is None or b is None:
        return a is None and b is None
    if a.shape != b.shape:
        return False
    allowed = tolerance * (np.abs(b, where=np.isfinite(b), out=np.zeros(b.shape)).max(initial=0.0) + 1.0)
    with np.errstate(invalid="ignore"):
        return bool(np.all((a == b) | (np.abs(a - b) <= allowed)))


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
