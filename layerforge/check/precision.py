"""Checks of `precision: bf16-mixed`: what a layer computes so is as near to float64 as its roundings allow.

What has no kernels for it, and stays float32, is told of with its reason.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ..contract.layer import Layer
from ..engines.protocol import NO_KERNELS
from ..engines.rounding import ROUNDED
from ..schema import registry
from ..schema.precisions import BF16_MIXED
from .case import Case, demand, precision_check
from .engines import refusal, stand_in_of
from .halving import HalvedProbe
from .harness import Probe, reference_of
from .roundings import allowed, named_results

OF_REFERENCE = "it is the reference"


def halved_cases(cls: type[Layer], kind: str | None = None) -> Iterator[tuple[str, Case | str]]:
    """(id, case) for each example of a layer in bf16-mixed, of an engine's layer where one is named; or why not."""
    theirs = cls if kind is None else stand_in_of(cls, kind)
    for i, example in enumerate(cls.examples):
        name = f"{cls.type_name}-{i}" + (f"-{kind}" if kind else "")
        if cls.type_name not in ROUNDED:
            yield name, NO_KERNELS
        elif theirs is None:
            yield name, "it has no such layer"
        else:
            case = Case(theirs, example, precision=BF16_MIXED)
            yield name, (kind and why_wide(theirs, Probe(cls, example, dtype="float32"))) or case


def why_wide(theirs: Any, probe: Probe) -> str | None:
    """Why an engine does not compute the reference layer of a probe in bfloat16; None where it does."""
    why = refusal(theirs, probe) or registry.engine(theirs.engine).bfloat16_missing()
    return why or theirs.instead_of(probe.layer).refuses_bfloat16(probe.bottom_specs, probe.top_specs)


@precision_check()
def check_as_near_as_its_roundings(case: Case) -> None:
    """Tops, state and all gradients are no further from float64 than roundings.py derives, in both phases."""
    for phase in ("train", "eval"):
        mine: Any = case.probe(phase=phase)
        results, bounds, dys = judged(mine)
        _within(named_results(mine, dys), results, bounds, f"in bf16-mixed ({phase})")


def is_an_engines(case: Case) -> str | None:
    """Condition of the comparison of kernels with what they stand for."""
    return None if reference_of(case.cls) is not case.cls else OF_REFERENCE


@precision_check(is_an_engines)
def check_agrees_with_rounding(case: Case) -> None:
    """Tops, state and all gradients are those of the layer that rounds, up to what either may be off."""
    for phase in ("train", "eval"):
        mine: Any = case.probe(phase=phase)
        _, bounds, dys = judged(mine)
        theirs = HalvedProbe(reference_of(case.cls), case.example, phase=phase)
        wide = [None if dy is None else theirs.device(mine.host(dy)) for dy in dys]
        twice = {name: None if bound is None else 2 * bound for name, bound in bounds.items()}
        _within(named_results(mine, dys), named_results(theirs, wide), twice, f"from the layer that rounds ({phase})")


def judged(mine: HalvedProbe) -> tuple[dict[str, Any], dict[str, Any], list[Any]]:
    """The results in float64, how far those in bf16-mixed may be off, and the upstream gradients."""
    truth = mine.truth()
    dys = mine.draw_cotangents(mine.top_specs)
    exact = [None if dy is None else mine.host(dy).astype("float64") for dy in dys]
    results = named_results(truth, exact)
    bounds = allowed(truth, results, exact, by_kernels=mine.in_halves)
    return results, bounds, dys


def _within(got: Mapping[str, Any], want: Mapping[str, Any], bounds: Mapping[str, Any], where: str) -> None:
    """Fail unless all arrays are within their bounds; what is no real number is to be the same."""
    demand(list(got) == list(want), f"has {list(got)} instead of {list(want)} {where}")
    for name, right in want.items():
        mine = got[name]
        if right is None or mine is None or right.dtype.kind != "f":
            same = (mine is None and right is None) or np.array_equal(mine, right)
            demand(same, f"{name} is another {where}")
            continue
        demand(mine.shape == right.shape, f"{name} has shape {mine.shape}, not {right.shape} {where}")
        with np.errstate(invalid="ignore"):
            off = np.where(mine == right, 0, np.abs(mine.astype("float64") - right))
        if not np.all(off <= bounds[name]):
            share = np.where(np.isnan(off), np.inf, off / bounds[name])
            worst = np.unravel_index(int(share.argmax()), share.shape)
            limit = np.broadcast_to(bounds[name], off.shape)[worst]
            demand(False, f"{name}: off by {off[worst]:.2g} {where}, its roundings explain {limit:.2g}")
