"""Agreement with another implementation: arrays compared one by one, and the result as text or JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .report import FEW, Paint, aligned, number, plain, plural

COLUMNS = ("layer", "runs", "arrays", "example", "phase", "array", "shape", "off", "allowed", "verdict")
NUMBERS = ("runs", "arrays", "off", "allowed")
LEGEND = (
    "off = the largest |a - b| of an array here (a) and of {theirs} (b), in float64;"
    " allowed = {rtol:g} max |b| + {atol:g}."
)
EMPTY_MEAN = "a mean of nothing: 0 here, NaN there"


@dataclass(frozen=True)
class Allowed:
    """How far an array may be off: rtol max |b| + atol."""

    rtol: float = 1e-10
    atol: float = 1e-12

    def of(self, theirs: np.ndarray) -> float:
        """The bound for an array of the other implementation; what is not finite is compared exactly."""
        finite = theirs[np.isfinite(theirs)] if theirs.dtype.kind == "f" else theirs
        return self.rtol * float(np.abs(finite).max(initial=0)) + self.atol


USUAL = Allowed()


@dataclass(frozen=True)
class Compared:
    """An array compared: how far it is off at most, at which place, what stands there and there."""

    owner: str
    example: str
    phase: str
    array: str
    shape: tuple[int, ...]
    off: float = 0.0
    allowed: float = 0.0
    where: tuple[int, ...] = ()
    ours: float = 0.0
    theirs: float = 0.0
    note: str = ""
    wrong: str = ""  # why the two cannot even be compared

    @property
    def ok(self) -> bool:
        return not self.wrong and self.off <= self.allowed

    @property
    def used(self) -> float:
        """The share of the allowed deviation that is used up."""
        return self.off / self.allowed if self.allowed else 0.0 if self.off == 0 else math.inf

    @property
    def run(self) -> tuple[str, str, str]:
        return self.owner, self.example, self.phase

    def explain(self) -> str:
        """A row that fails, in a sentence."""
        head = f"{self.owner}{f' {self.example}' if self.example else ''} {self.phase}: {self.array} {self.shape}"
        if self.wrong:
            return f"{head} {self.wrong}"
        place = f" at {list(self.where)}" if self.where else ""
        return (
            f"{head} is off by {self.off:.3g}{place}: {self.ours:.12g} here, {self.theirs:.12g} there;"
            f" allowed is {self.allowed:.3g}"
        )


def compared(
    run: tuple[str, str, str],
    array: str,
    ours: np.ndarray | None,
    theirs: np.ndarray | None,
    allowed: Allowed,
    note: str = "",
) -> Compared:
    """Compare an array of a run (owner, example, phase). None is an array that one of the two does not have."""
    if ours is None or theirs is None:
        missing = "here" if ours is None else "there"
        return Compared(*run, array, (), wrong=f"is missing {missing}")
    if ours.shape != theirs.shape:
        return Compared(*run, array, ours.shape, wrong=f"has shape {theirs.shape} there")
    if ours.dtype.kind != theirs.dtype.kind:
        return Compared(*run, array, ours.shape, wrong=f"is {ours.dtype} here, {theirs.dtype} there")
    if not theirs.size:
        return Compared(*run, array, ours.shape, note=note)
    with np.errstate(invalid="ignore", over="ignore"):
        distance = np.abs(ours - theirs)
    same = (ours == theirs) | ((ours != ours) & (theirs != theirs))
    distance = np.where(same, 0.0, np.where(np.isfinite(distance), distance, math.inf))
    where = tuple(int(i) for i in np.unravel_index(int(distance.argmax()), distance.shape))
    off, a, b = (float(x[where]) for x in (distance, ours, theirs))
    return Compared(*run, array, ours.shape, off, allowed.of(theirs), where, a, b, note)


@dataclass
class Agreement:
    """The result of `layerforge test --against`. It is true where everything that was compared agrees.

    theirs    what was compared with, such as "torch 2.13.0"
    rows      a Compared for each array of each run; a run is an example in a phase
    unknown   layer types that the other implementation does not have
    refused   runs that it cannot do, and its words
    backends  what computed here, each with its version
    """

    theirs: str
    rows: list[Compared] = field(default_factory=list)
    layers: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    allowed: Allowed = field(default_factory=Allowed)
    backends: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return all(row.ok for row in self.rows)

    def __bool__(self) -> bool:
        return self.ok

    def __add__(self, other: Agreement) -> Agreement:
        return Agreement(
            self.theirs,
            self.rows + other.rows,
            list(dict.fromkeys(self.layers + other.layers)),
            list(dict.fromkeys(self.unknown + other.unknown)),
            self.refused | other.refused,
            self.warnings + other.warnings,
            other.allowed,
            list(dict.fromkeys(self.backends + other.backends)),
        )

    @property
    def is_empty(self) -> bool:
        """Whether nothing was compared."""
        return not self.rows

    @property
    def why_empty(self) -> str:
        """Why nothing was compared."""
        absent = [f"{self.theirs} does not have {', '.join(self.unknown)}"] if self.unknown else []
        return "; ".join([*absent, *(f"{run}: {words}" for run, words in self.refused.items())]) or "no examples"

    @property
    def worst(self) -> Compared | None:
        """The row that is furthest off: one that fails where there is one, then by what it uses of the allowed."""
        return max(self.rows, key=_badness, default=None)

    def text(self, *, verbose: bool = False, paint: Paint = plain) -> str:
        """For a reader: a table with a line for each array where they are few, or `verbose`, else for each layer."""
        groups: dict[str, list[Compared]] = {}
        for row in self.rows:
            groups.setdefault(row.owner, []).append(row)
        each = verbose or len(self.rows) <= FEW
        shown = [[row] for row in self.rows] if each else list(groups.values())
        cells = [_cells(max(group, key=_badness), group, each) for group in shown]
        lines = aligned(cells, COLUMNS, NUMBERS, [not all(row.ok for row in group) for group in shown], paint)
        lines += [LEGEND.format(theirs=self.theirs, **vars(self.allowed))] if self.rows else []
        lines += [f"backend {name}" for name in self.backends]
        lines += [f"not in {self.theirs}: {', '.join(self.unknown)}"] if self.unknown else []
        lines += [f"{self.theirs} refuses {run}: {words}" for run, words in self.refused.items()]
        lines += [paint(row.explain(), "red") for row in self.rows if not row.ok]
        return "\n".join([*lines, paint(self.summary(), "green" if self.ok else "red")])

    def summary(self) -> str:
        """One line: what was compared, and whether all of it agrees."""
        runs = len({row.run for row in self.rows})
        layers = len([name for name in self.layers if name not in self.unknown])
        done = f"{plural(layers, 'layer')}, {plural(runs, 'run')}, {plural(len(self.rows), 'array')}"
        wrong = [row for row in self.rows if not row.ok]
        if wrong:
            names = ", ".join(dict.fromkeys(row.owner for row in wrong))
            return f"{done} against {self.theirs}: {plural(len(wrong), 'array')} differ ({names})"
        worst = self.worst
        most = f"; at most {worst.used:.1e} of the allowed is used ({worst.owner})" if worst and worst.off else ""
        return f"{done} against {self.theirs}: all agree{most}"

    def as_dict(self) -> dict[str, Any]:
        """For machines: everything, in types of JSON."""
        return {
            "ok": self.ok,
            "summary": self.summary(),
            "against": self.theirs,
            "backends": self.backends,
            "layers": self.layers,
            "unknown": self.unknown,
            "refused": self.refused,
            "arrays": [_row_dict(row) for row in self.rows],
            "warnings": self.warnings,
        }


def _badness(row: Compared) -> tuple[bool, float]:
    return not row.ok, math.inf if row.wrong else row.used


def _cells(row: Compared, group: Sequence[Compared], alone: bool) -> Mapping[str, str]:
    """The texts of a line, by column."""
    notes = list(dict.fromkeys(r.note for r in group if r.note))
    verdict = "ok" if all(r.ok for r in group) else "FAIL"
    return {
        "layer": row.owner,
        "runs": "" if alone else str(len({r.run for r in group})),
        "arrays": "" if alone else str(len(group)),
        "example": row.example,
        "phase": row.phase,
        "array": row.array,
        "shape": str(row.shape).replace(" ", ""),
        "off": "" if row.wrong else number(row.off),
        "allowed": "" if row.wrong else number(row.allowed),
        "verdict": verdict + (f" ({'; '.join(notes)})" if notes else ""),
    }


def _row_dict(row: Compared) -> dict[str, Any]:
    keys = ("phase", "array", "off", "allowed", "ours", "theirs")
    named = {key: getattr(row, key) for key in keys}
    return {
        "layer": row.owner,
        "example": row.example or None,
        **{key: None if isinstance(v, float) and not math.isfinite(v) else v for key, v in named.items()},
        "shape": list(row.shape),
        "at": list(row.where),
        "ok": row.ok,
        "note": row.note or None,
        "wrong": row.wrong or None,
    }
