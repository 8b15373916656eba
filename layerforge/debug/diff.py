"""`layerforge diff`: where two runs, two checkpoints or two traces begin to differ.

Arrays are compared in the order in which they came about: of a trace forward, backward, then the parameters'
gradients. Of runs the metrics and checkpoints step by step. By default every bit counts, save for times. With rtol and
atol an element of B may be off by rtol · (the largest value of the array in B) + atol.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from .. import snapshot
from ..config.yaml_file import parse_yaml
from ..schema.errors import ConfigError, DataError, LayerForgeError
from ..schema.regular_files import regular
from ..schema.texts import from_json
from ..training.resume import flat
from ..training.rundir import RunDir, find_run, metrics_by_step
from .trace import KIND, read_trace
from .verify import TIMES

WEIGHTS = ("params", "state")
MOST_ENVIRONMENT = 1 << 20  # bytes of env.json
# Of the meta data: what says nothing of the arrays, and the configuration, which is taken apart.
SKIPPED = ("kind", "order", "format", "config", "position", "places", "samples", "made_by", "loss")


@dataclass(frozen=True)
class Limits:
    """How far an element may be off; by default not by a bit."""

    rtol: float = 0.0
    atol: float = 0.0

    def __post_init__(self) -> None:
        for name, value in (("rtol", self.rtol), ("atol", self.atol)):
            if not 0 <= value < math.inf:
                raise ConfigError(f"{name} must be a number >= 0, got {value:g}")

    @property
    def exact(self) -> bool:
        return self.rtol == self.atol == 0


EXACT = Limits()


@dataclass(frozen=True)
class Deviation:
    """A place in an array, how far the two are apart there, and what stands there in both."""

    at: tuple[int, ...]
    off: float
    a: float
    b: float


@dataclass(frozen=True)
class Difference:
    """An array, or a figure of the metrics, that differs.

    reason     why the two cannot be compared element by element; "" where they can
    count      how many of the elements differ
    absolute   where |a - b| is largest; relative: where |a - b| / max(|a|, |b|) is
    step       of a run
    """

    name: str
    shape: tuple[int, ...] = ()
    reason: str = ""
    count: int = 0
    absolute: Deviation | None = None
    relative: Deviation | None = None
    step: int | None = None

    @property
    def size(self) -> int:
        return math.prod(self.shape)


@dataclass
class Comparison:
    """What came of comparing A with B. It is true where they are equal.

    kind         "run", "trace", "checkpoint", "weights"
    notes        what A and B are said to be, as lines "key: in A | in B", where that differs; of runs first the machine
    arrays       how many arrays were compared; rows: of metrics; checkpoints: pairs of them
    differences  in order; of runs those of the first step that differs
    """

    a: str
    b: str
    kind: str
    limits: Limits
    notes: list[str] = field(default_factory=list)
    arrays: int = 0
    rows: int = 0
    checkpoints: int = 0
    differences: list[Difference] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not self.differences

    def __bool__(self) -> bool:
        return self.ok

    @property
    def first(self) -> Difference | None:
        return self.differences[0] if self.differences else None

    def as_dict(self) -> dict[str, Any]:
        """For machines: everything, in types of JSON."""
        return {**asdict(self), "limits": asdict(self.limits), "ok": self.ok}


def diff(a: str | Path, b: str | Path, limits: Limits = EXACT) -> Comparison:
    """Compare two runs, or two files of one kind; of a checkpoint and a file of weights the weights.

    Errors   DataError (exit 3) for what cannot be read; ConfigError for two things of different kinds
    """
    runs = find_run(a), find_run(b)
    if runs[0] is not None and runs[1] is not None:
        return _diff_runs(Comparison(str(a), str(b), "run", limits), runs[0], runs[1])
    for path, run, other in ((a, runs[0], b), (b, runs[1], a)):
        if run is not None:
            hint = f"name one of its checkpoints: {run.checkpoints / 'last.h5'}"
            raise ConfigError(f"{path} is a run, {other} is not", hint=hint)
    return _diff_files(Path(a), Path(b), limits)


# One array ------------------------------------------------------------------------------------------------------------


def difference(name: str, a: Any, b: Any, limits: Limits, step: int | None = None) -> Difference | None:
    """How two arrays or figures differ; None where they do not. None for one of them says that it is missing."""
    if a is None or b is None:
        return None if a is b else Difference(name, reason=f"only in {'B' if a is None else 'A'}", step=step)
    a, b = np.asarray(a), np.asarray(b)
    if a.shape != b.shape:
        return Difference(name, a.shape, f"shape {a.shape} in A, {b.shape} in B", step=step)
    numbers = all(x.dtype.kind in "biuf" for x in (a, b))
    if not numbers or (a.dtype.kind == "f") != (b.dtype.kind == "f"):
        same = a.dtype == b.dtype and np.array_equal(a, b)
        return None if same else Difference(name, a.shape, f"{_shown(a)} in A, {_shown(b)} in B", step=step)
    wrong = _wrong(a, b, limits)
    if not wrong.any():
        return None
    x, y = a.astype(np.float64), b.astype(np.float64)
    off, size = _distance(x, y), np.maximum(np.abs(x), np.abs(y))
    with np.errstate(invalid="ignore", divide="ignore"):
        relative = np.where(off == 0, 0.0, np.where(np.isfinite(off), off / size, math.inf))
    furthest, furthest_relative = _place(off, wrong, x, y), _place(relative, wrong, x, y)
    reason = f"{a.dtype} in A, {b.dtype} in B" if a.dtype != b.dtype and limits.exact else ""
    return Difference(name, a.shape, reason, int(wrong.sum()), furthest, furthest_relative, step=step)


def _wrong(a: np.ndarray, b: np.ndarray, limits: Limits) -> np.ndarray:
    """Which elements differ by more than the limits; by a bit, where those are 0."""
    if limits.exact and a.dtype == b.dtype:
        bits = np.dtype(f"u{a.dtype.itemsize}")
        return np.asarray(np.ascontiguousarray(a).view(bits) != np.ascontiguousarray(b).view(bits)).reshape(a.shape)
    if limits.exact:
        return np.ones(a.shape, bool)
    x, y = a.astype(np.float64), b.astype(np.float64)
    largest = np.abs(y[np.isfinite(y)]).max(initial=0.0)
    return _distance(x, y) > limits.rtol * largest + limits.atol


def _distance(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """|x - y|; 0 between two NaN or equal infinities, inf between them and anything else."""
    with np.errstate(invalid="ignore", over="ignore"):
        off = np.abs(x - y)
    same = (x == y) | (np.isnan(x) & np.isnan(y))
    return np.where(same, 0.0, np.where(np.isnan(off), math.inf, off))


def _place(values: np.ndarray, wrong: np.ndarray, a: np.ndarray, b: np.ndarray) -> Deviation:
    """Where a value is largest among the elements that are wrong."""
    at = np.unravel_index(int(np.where(wrong, values, -1.0).argmax()), values.shape)
    return Deviation(tuple(int(i) for i in at), float(values[at]), float(a[at]), float(b[at]))


def _shown(array: np.ndarray) -> str:
    return repr(array.item()) if array.ndim == 0 else str(array.dtype)


# Files ----------------------------------------------------------------------------------------------------------------


@dataclass
class _File:
    """A snapshot as it is compared."""

    path: Path
    kind: str
    arrays: dict[str, np.ndarray]
    meta: dict[str, Any]


def _read(path: Path) -> _File:
    if path.is_dir():
        raise DataError(f"{path} is a folder, not a run", hint="a run's folder holds config.resolved.yaml")
    arrays, meta = snapshot.read_snapshot(path)
    kind = str(meta.get("kind", "snapshot"))
    if kind == KIND:
        arrays = read_trace(arrays, meta, str(path)).arrays
    return _File(path, kind, arrays, meta)


def _diff_files(a: Path, b: Path, limits: Limits) -> Comparison:
    one, two = _read(a), _read(b)
    kind = one.kind
    if one.kind != two.kind:
        if {one.kind, two.kind} != {"checkpoint", "weights"}:
            raise ConfigError(f"{a} is a {one.kind}, {b} is a {two.kind}", hint="compare two files of one kind")
        kind = "weights"
    comparison = Comparison(str(a), str(b), kind, limits, _notes(one.meta, two.meta))
    _compare_arrays(comparison, one, two)
    return comparison


def _compare_arrays(comparison: Comparison, one: _File, two: _File, step: int | None = None) -> None:
    only_weights = one.kind != two.kind
    names = [n for n in in_order([*one.arrays], [*two.arrays]) if not only_weights or n.split("/")[0] in WEIGHTS]
    found = (difference(n, one.arrays.get(n), two.arrays.get(n), comparison.limits, step) for n in names)
    comparison.arrays += len(names)
    comparison.differences += [each for each in found if each is not None]


def in_order(a: list[str], b: list[str]) -> list[str]:
    """The names of both lists, each once: those of A in their order, those of B alone behind what they follow in B."""
    merged, known = list(a), set(a)
    for i, name in enumerate(b):
        if name not in known:
            merged.insert(merged.index(b[i - 1]) + 1 if i else 0, name)
            known.add(name)
    return merged


def _notes(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    """What the meta data of two files say differently, configuration included, as lines "key: in A | in B"."""
    one, two = (dict(_facts(meta)) for meta in (a, b))
    keys = [key for key in dict.fromkeys([*one, *two]) if one.get(key) != two.get(key)]
    return [f"{key}: {one.get(key, 'not there')} | {two.get(key, 'not there')}" for key in keys]


def _facts(meta: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    yield from flat({key: value for key, value in meta.items() if key not in SKIPPED})
    if isinstance(meta.get("config"), str):
        try:
            tree = parse_yaml(meta["config"], "config")
        except LayerForgeError:  # another version's language is no reason not to compare the arrays
            tree = meta["config"]
        yield from flat(tree, "config")


# Runs -----------------------------------------------------------------------------------------------------------------


def _diff_runs(comparison: Comparison, one: RunDir, two: RunDir) -> Comparison:
    """Step by step, to the first that differs: its rows of metrics, then its checkpoint."""
    limits = comparison.limits
    comparison.notes = [*_environment_notes(one, two), *_config_notes(one, two)]
    rows = metrics_by_step(one.path), metrics_by_step(two.path)
    files = _checkpoints(one), _checkpoints(two)
    both = files[0].keys() & files[1].keys()
    for step in sorted({key[0] for key in {**rows[0], **rows[1]}} | both):
        for training in (True, False):
            key = step, training
            if key in rows[0] or key in rows[1]:
                comparison.rows += 1
                comparison.differences += _row_differences(rows[0].get(key), rows[1].get(key), key, limits)
        if step in both:
            comparison.checkpoints += 1
            _compare_arrays(comparison, _read(files[0][step]), _read(files[1][step]), step)
        if comparison.differences:
            _look_ahead(comparison, files, step)
            break
    return comparison


def _look_ahead(comparison: Comparison, files: tuple[dict[int, Path], dict[int, Path]], step: int) -> None:
    """Where only figures differ so far, name the arrays of the next pair of checkpoints that differ."""
    for later in sorted(s for s in files[0].keys() & files[1].keys() if s > step):
        if any(d.size and d.shape for d in comparison.differences):
            return
        comparison.checkpoints += 1
        _compare_arrays(comparison, _read(files[0][later]), _read(files[1][later]), later)


def _row_differences(
    a: Mapping[str, Any] | None, b: Mapping[str, Any] | None, key: tuple[int, bool], limits: Limits
) -> list[Difference]:
    step, training = key
    what = "training" if training else "evaluation"
    if a is None or b is None:
        return [Difference(f"the row of metrics of {what}", reason=f"only in {'B' if a is None else 'A'}", step=step)]
    names = [name for name in dict.fromkeys([*a, *b]) if name not in TIMES]
    found = (difference(name, a.get(name), b.get(name), limits, step) for name in names)
    return [each for each in found if each is not None]


def _checkpoints(run: RunDir) -> dict[int, Path]:
    """The checkpoints of a run by the step after which they were written; `best` is one of the others, or `last`."""
    found = {}
    for path in [*sorted(run.checkpoints.glob("step-*.h5")), run.checkpoints / "last.h5"]:
        if path.is_file():
            step = snapshot.read_snapshot(path)[1].get("iteration")
            if isinstance(step, int):
                found[step] = path
    return found


def _environment_notes(one: RunDir, two: RunDir) -> list[str]:
    """What the runs were done with differently (threads, engine, versions): first, as it may explain the rest."""
    found = []
    for run in (one, two):
        try:
            with open(run.path / "env.json", "rb", opener=regular) as file:
                tree = from_json(file.read(MOST_ENVIRONMENT))
        except (OSError, ValueError, RecursionError):  # of another version, or damaged: no reason not to compare
            return []
        found.append(dict(flat(tree, "env")))
    keys = [key for key in dict.fromkeys([*found[0], *found[1]]) if found[0].get(key) != found[1].get(key)]
    return [f"{key}: {found[0].get(key, 'not there')} | {found[1].get(key, 'not there')}" for key in keys]


def _config_notes(one: RunDir, two: RunDir) -> list[str]:
    texts = [(run.path / "config.resolved.yaml").read_text(encoding="utf-8", errors="replace") for run in (one, two)]
    return _notes({"config": texts[0]}, {"config": texts[1]})
