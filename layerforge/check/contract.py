"""The layer contract: all checks on all examples of a layer.

tests/contract/test_contract.py runs them on every registered layer, `layerforge test` on anybody's;
tests/support/broken_layers.py holds a broken layer for each of them. Engines' layers have a contract of their own:
tests/engines/test_engines.py.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator

from ..arrays.backend import NUMPY, Backend
from ..contract import call
from ..contract.layer import Bad, Layer
from ..schema.errors import BackendError, LayerForgeError

# Each of these adds its checks to the tables.
from . import accuracy, backends, costs, engines, formulas, indices, kernels, memory, merging, phases, precision, values
from .case import CHECKS, DEVICE_CHECKS, ENGINE_CHECKS, PRECISION_CHECKS, Case, CheckFailed, demand
from .engines import engine_cases

__all__ = [
    "CHECKS",
    "DEVICE_CHECKS",
    "ENGINE_CHECKS",
    "PRECISION_CHECKS",
    "Case",
    "CheckFailed",
    "applicable",
    "cases",
    "check_bad",
    "check_documented",
    "engine_cases",
    "run",
    "why_not",
]
CHECK_MODULES = (
    values, formulas, memory, phases, merging, engines, accuracy, backends, kernels, costs, indices, precision,
)  # fmt: skip


def cases(cls: type[Layer], backend: Backend = NUMPY) -> Iterator[tuple[str, Case]]:
    """(id, case) for every example of a layer: Linear-0, Linear-1 ..."""
    for i, example in enumerate(cls.examples):
        yield f"{cls.type_name}-{i}", Case(cls, example, backend)


def run(name: str, case: Case) -> str | None:
    """Run one check: None when it passes, otherwise what is wrong, in a sentence; that it does not apply is wrong.

    Errors   BackendError for what the machine lacks, such as memory of the GPU: no layer is wrong then
    """
    try:
        case.checks[name](case)
    except BackendError:
        raise
    except LayerForgeError as error:
        return str(error)
    except Exception as error:  # a broken layer may raise anything anywhere: that too is a verdict
        return f"{type(error).__name__}: {error}"
    return None


def why_not(name: str, case: Case) -> str | None:
    """Why a check has nothing to prove for a case; None where it applies."""
    return case.checks[name].why_not(case)


def applicable(case: Case) -> list[str]:
    """The checks that have something to prove for a case."""
    return [name for name in case.checks if why_not(name, case) is None]


def check_bad(cls: type[Layer], bad: Bad) -> None:
    """A use that must be refused is refused, and in the words that it should be."""
    what = f"{cls.type_name}({', '.join(f'{k}={v!r}' for k, v in bad.params.items())})"
    try:
        layer = cls.from_config(bad.params)
        if bad.bottoms:
            call.setup(layer, bad.bottoms)
    except LayerForgeError as error:
        demand(bad.message in str(error), f"{what} is refused with {str(error)!r}, which lacks {bad.message!r}")
        return
    raise CheckFailed(f"{what} is accepted; it should say {bad.message!r}")


def check_documented(cls: type[Layer]) -> None:
    """The docstring has a headline and the sections that readers look for."""
    text = inspect.getdoc(cls) or ""
    demand(text.startswith(f"{cls.type_name}: "), f"the docstring must begin with '{cls.type_name}: what it is'")
    wanted = ["Shapes", "Source"] + (["Backward", "Keeps"] if cls.is_differentiable() else [])
    missing = [w for w in wanted if not any(line.startswith(w) for line in text.splitlines())]
    demand(not missing, f"the docstring lacks: {', '.join(missing)}")
    for name, field in cls.fields.items():
        demand(field.help, f"hyper-parameter {name} has no help")
