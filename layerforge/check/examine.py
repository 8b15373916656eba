"""The whole contract of a layer, as a Report: gradients, all checks on all examples, bad examples, documentation.

It is run on a Ground: on a backend, and where an engine computes the layer as well, its contract is run, too.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import nullcontext

import numpy as np

from ..arrays.formula import as_text
from ..contract.layer import Layer
from ..schema.errors import BackendError, LayerForgeError
from ..schema.precisions import FULL
from . import contract
from .engines import refused_examples
from .gradcheck import example_rows
from .gradients import Effort
from .grounds import Ground, ground, title
from .precision import OF_REFERENCE, halved_cases
from .report import Failure, Inapplicable, Report

WITHOUT_ARRAYS = ("bad_examples", "documentation")  # checks that compute nothing
WITH_ARRAYS = (*contract.CHECKS, *contract.DEVICE_CHECKS, *contract.ENGINE_CHECKS, *contract.PRECISION_CHECKS)
ALL = (*dict.fromkeys(WITH_ARRAYS), *WITHOUT_ARRAYS)
ON_NUMPY = "nothing is computed; on numpy it is checked"


def checks_on(where: Ground) -> tuple[str, ...]:
    """The checks that there are on a Ground."""
    if where.precision != FULL:
        return tuple(contract.PRECISION_CHECKS)
    chosen = dict.fromkeys(contract.ENGINE_CHECKS if where.layer_engines else ())
    if where.runs_layers:
        device = {} if where.backend.xp is np else contract.DEVICE_CHECKS
        chosen = dict.fromkeys((*contract.CHECKS, *device, *chosen, *WITHOUT_ARRAYS))
    return tuple(chosen)


def examine(
    cls: type[Layer],
    effort: Effort,
    only: Collection[str] = ALL,
    tick: Callable[[str], None] = lambda what: None,
    where: Ground | None = None,
) -> Report:
    """Run the checks named by `only` on all examples of a layer. `tick` is told what was finished.

    `where` is NumPy, by default, with all engines that can compute there. A layer that cannot even run is a failure of
    the Report, never an error.
    """
    where = where or ground()
    is_metric = not cls.is_differentiable() and where.runs_layers and where.precision == FULL
    report = Report(layers=[cls.type_name], metrics=[cls.type_name] if is_metric else [], limits=effort.limits)
    if not cls.examples:
        remedy = "add `examples = [Example(...)]`"
        report.warnings.append(f"{cls.type_name} has no examples, so nothing of it was run; {remedy}")
    if where.precision != FULL:
        return report + _in_halves(cls, only, tick, where)
    if where.runs_layers:
        with nullcontext() if where.kernel_engine else as_text():
            report += _of_reference(cls, effort, only, tick, where)
    for kind in where.layer_engines:
        report += _of_engine(cls, only, kind, where, tick)
    if not (where.reference or any(report.engines.values())):
        report.layers = []
    return report


def _of_reference(
    cls: type[Layer], effort: Effort, only: Collection[str], tick: Callable[[str], None], where: Ground
) -> Report:
    """The contract of the layer itself, on the backend.

    Where an engine of kernels is asked for by name, of the examples that its kernels compute in.
    """
    report, name = Report(limits=effort.limits, backends={title(where.backend): {}}), cls.type_name
    for number, (example, case) in enumerate(contract.cases(cls, where.backend)):
        if where.kernel_engine:
            why = contract.why_not("kernels_agree", case)
            if why is None:
                _count(report.engines.setdefault(where.kernel_engine, {}), name)
            elif not where.reference:
                report.inapplicable.append(Inapplicable(example, f"engine {where.kernel_engine}", why))
                continue
        _count(report.backends[title(where.backend)], name)
        if "gradients" in only and cls.is_differentiable():
            try:
                report.rows += example_rows(cls, number, effort, where.backend)
            except BackendError:  # no layer is wrong where the machine lacks something
                raise
            except LayerForgeError as error:
                report.failures.append(Failure(example, "gradients", str(error)))
        for check in (c for c in case.checks if c in only and c != "gradients"):
            report += _on_case(example, check, case)
        tick(example)
    if where.backend.xp is not np:
        left_out = [("bad_examples", f"{name}-bad-{i}") for i in range(len(cls.bad_examples))]
        left_out.append(("documentation", name))
        report.inapplicable += [Inapplicable(what, check, ON_NUMPY) for check, what in left_out if check in only]
        return report
    if "bad_examples" in only:
        for i, bad in enumerate(cls.bad_examples):
            report += _one(f"{name}-bad-{i}", "bad_examples", _sentence(contract.check_bad, cls, bad))
    if "documentation" in only:
        report += _one(name, "documentation", _sentence(contract.check_documented, cls))
    return report


def _count(examples: dict[str, int], layer: str) -> None:
    examples[layer] = examples.get(layer, 0) + 1


def _of_engine(
    cls: type[Layer], only: Collection[str], kind: str, where: Ground, tick: Callable[[str], None]
) -> Report:
    """The contract of the engine's layer that stands in for this one, if there is one.

    What the engine leaves to the reference is told of where the engine is asked for by name.
    """
    checks = [check for check in contract.ENGINE_CHECKS if check in only]
    report = Report(backends={} if where.reference else {title(where.backend): {}})
    for name, case in contract.engine_cases(cls, kind, where.backend) if checks else ():
        _count(report.engines.setdefault(kind, {}), cls.type_name)
        for check in checks:
            report += _on_case(name, check, case)
        tick(name)
    if not where.reference:
        left = refused_examples(cls, kind, where.backend)
        report.inapplicable += [Inapplicable(name, f"engine {kind}", why) for name, why in left]
    return report


def _in_halves(cls: type[Layer], only: Collection[str], tick: Callable[[str], None], where: Ground) -> Report:
    """What it computes in a lower precision, on the reference, where that is not left out, and on every engine.

    Examples that stay float32 are told of with the reason.
    """
    report = Report(backends={title(where.backend): {}})
    for kind in (*((None,) if where.reference else ()), *where.layer_engines):
        report.engines |= {} if kind is None else {kind: {}}
        for name, case in halved_cases(cls, kind):
            if isinstance(case, str):
                what = f"precision {where.precision}" if where.reference else f"engine {kind}"
                report.inapplicable.append(Inapplicable(name, what, case))
                continue
            _count(report.backends[title(where.backend)] if kind is None else report.engines[kind], cls.type_name)
            there = [check for check in contract.PRECISION_CHECKS if contract.why_not(check, case) != OF_REFERENCE]
            for check in (check for check in there if check in only):
                report += _on_case(name, check, case)
            tick(name)
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
