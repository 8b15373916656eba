"""The whole contract of a layer, as a Report: gradients, all checks on all examples, bad examples, documentation.

Where a fast engine computes the layer as well, its contract is run, too.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from ..contract.layer import Layer
from ..schema.errors import BackendError, LayerForgeError
from . import contract
from .gradcheck import example_rows
from .gradients import Effort
from .report import Failure, Inapplicable, Report

ALL = (*dict.fromkeys((*contract.CHECKS, *contract.ENGINE_CHECKS)), "bad_examples", "documentation")


def examine(
    cls: type[Layer], effort: Effort, only: Collection[str] = ALL, tick: Callable[[str], None] = lambda what: None
) -> Report:
    """Run the checks named by `only` on all examples of a layer. `tick` is told what was finished.

    A layer that cannot even run is a failure of the Report, never an error.
    """
    metrics = [] if cls.is_differentiable() else [cls.type_name]
    report = Report(layers=[cls.type_name], metrics=metrics, limits=effort.limits)
    if not cls.examples:
        remedy = "add `examples = [Example(...)]`"
        report.warnings.append(f"{cls.type_name} has no examples, so nothing of it was run; {remedy}")
    for number, (name, case) in enumerate(contract.cases(cls)):
        if "gradients" in only and cls.is_differentiable():
            try:
                report.rows += example_rows(cls, number, effort)
            except LayerForgeError as error:
                report.failures.append(Failure(name, "gradients", str(error)))
        for check in (c for c in contract.CHECKS if c in only and c != "gradients"):
            report += _on_case(name, check, case)
        tick(name)
    report += _of_engine(cls, only)
    if "bad_examples" in only:
        for i, bad in enumerate(cls.bad_examples):
            report += _one(f"{cls.type_name}-bad-{i}", "bad_examples", _sentence(contract.check_bad, cls, bad))
    if "documentation" in only:
        report += _one(cls.type_name, "documentation", _sentence(contract.check_documented, cls))
    return report


def _of_engine(cls: type[Layer], only: Collection[str]) -> Report:
    """The contract of the engine's layer that stands in for this one, if there is one."""
    report, checks = Report(), [check for check in contract.ENGINE_CHECKS if check in only]
    for name, case in contract.engine_cases(cls) if checks else ():
        report.engine[cls.type_name] = report.engine.get(cls.type_name, 0) + 1
        for check in checks:
            report += _on_case(name, check, case)
    return report


def _on_case(layer: str, check: str, case: contract.Case) -> Report:
    reason = contract.why_not(check, case)
    if reason is not None:
        return Report(inapplicable=[Inapplicable(layer, check, reason)])
    return _one(layer, check, contract.run(check, case))


def _one(layer: str, check: str, sentence: str | None) -> Report:
    return Report(checks=1, failures=[Failure(layer, check, sentence)] if sentence else [])


def _sentence(check: Callable[..., None], *args: object) -> str | None:
    """What a check has to say against something; None where it passes. Errors: BackendError, as `contract.run`"""
    try:
        check(*args)
    except BackendError:
        raise
    except LayerForgeError as error:
        return str(error)
    except Exception as error:  # a user's setup may raise anything instead of a LayerError
        return f"{type(error).__name__}: {error}"
    return None
