"""A written net against the one that it was written from, on random inputs, before anything is kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ...arrays.spec import Spec
from ...check.draws import input_specs, with_batch
from ...check.harness import SEED, draw
from ...net import Net
from ...plan.plan import REFERENCE
from ...schema.errors import ConfigError, LayerForgeError
from ..twin import full_twin

SAMPLES = (1, 2)  # how many are tried, beside as many as the configuration declares where it takes no other
EXACT, BY_ENGINE = 1e-6, 1e-5  # of the largest number of an output


def demand_same(
    net: Net, source: str, arrays: Mapping[str, np.ndarray], inputs: Sequence[str], blobs: Sequence[str]
) -> str:
    """Run both on random inputs. Nothing of the net's last pass is touched.

    Returns  why nothing could be compared, "" where something was: a layer may take no random inputs

    Errors   ConfigError where they differ by more than 1e-6 of a blob's largest number (1e-5 where an engine computes
             for the net), or the written one fails where the net does not
    """
    twin, space = twin_of(net), run_alone(source)
    specs = {name: spec for name, spec in input_specs(net.graph).items() if name in inputs}
    problems = [_compare(twin, space["Net"](dict(arrays)), specs, blobs, n) for n in SAMPLES]
    if None in problems:
        return ""
    problem = _compare(twin, space["Net"](dict(arrays)), specs, blobs, None)
    return "" if problem is None else problem.message


def twin_of(net: Net) -> Net:
    """A net with the same numbers in full precision, at its first iteration."""
    twin = full_twin(net)
    twin.iteration = twin.first_sample = 0
    return twin


def run_alone(source: str) -> dict[str, Any]:
    """What there is in a written file."""
    space: dict[str, Any] = {"__name__": "net", "__file__": "net.py"}
    exec(compile(source, "net.py", "exec", dont_inherit=True), space)
    return space


def tolerance_of(net: Net) -> float:
    """How far apart numbers may be, of the largest of an output."""
    return EXACT if set(net.engines.values()) <= {REFERENCE} else BY_ENGINE


def _compare(
    net: Net, written: Any, specs: Mapping[str, Spec], blobs: Sequence[str], samples: int | None
) -> LayerForgeError | None:
    """Run both on so many samples. Returns why the net takes none of them, None where both were compared."""
    rng = np.random.default_rng([SEED, 2])
    wanted = dict(specs) if samples is None else with_batch(dict(specs), samples)
    given = {name: net.backend.to_host(draw(spec, rng)) for name, spec in wanted.items()}
    try:
        net.reset_carried("eval")
        ours = net.forward(phase="eval", outputs=tuple(blobs), **given)
    except LayerForgeError as problem:  # not what these layers take, or not so many samples
        return problem
    try:
        with np.errstate(all="ignore"):
            theirs = written.forward(*(given[name] for name in specs))
    except Exception as problem:
        raise unlike(f"it fails where the net does not: {type(problem).__name__}: {problem}") from problem
    tolerance = tolerance_of(net)
    for blob, other in zip(blobs, theirs if len(blobs) > 1 else (theirs,), strict=True):
        demand_equal(blob, np.asarray(net.backend.to_host(ours[blob])), np.asarray(other), tolerance)
    return None


def demand_equal(blob: str, ours: np.ndarray, theirs: np.ndarray, tolerance: float) -> None:
    """ConfigError where a blob is not the same."""
    if ours.shape != theirs.shape or ours.dtype != theirs.dtype:
        had, has = (f"{a.dtype} {a.shape}" for a in (ours, theirs))
        raise unlike(f"blob '{blob}' comes as {has}, and is {had}")
    if not ours.size or np.array_equal(ours, theirs, equal_nan=ours.dtype.kind == "f"):
        return
    one, other = ours.astype(np.float64), theirs.astype(np.float64)
    finite = np.isfinite(one)
    same_kind = np.array_equal(one[~finite], other[~finite], equal_nan=True)
    size = float(np.abs(one[finite]).max(initial=0.0))
    error = float(np.abs(one - other)[finite].max(initial=0.0))
    if not same_kind or not error <= tolerance * max(1.0, size):
        raise unlike(f"blob '{blob}' differs by {error:.2g}, its largest number is {size:.2g}")


def unlike(what: str) -> ConfigError:
    """The error for a file that says something else than the net."""
    hint = "does a layer of your own depend on the size of the batch at set-up, or on calls before? Otherwise report it"
    return ConfigError(f"the written file does not compute what the net does: {what}", hint=hint)
