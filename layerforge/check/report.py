"""What a check found: rows of gradients, broken promises of the contract, and both as text or JSON."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from .differences import Tolerance
from .gradients import Row

LEGEND = (
    "abs = |a - n| of backward a and centred difference n (float64); rel = abs / (|a| + |n|), the denominator at least"
    " {zero:g} of the largest gradient.",
    "rel (CS231n): < 1e-7 happy, < 1e-4 fine with kinks, > 1e-2 probably wrong. Verdict: abs <= {atol:g} rms(gradient)"
    " + {rtol:g} |n| + rounding.",
)
COLUMNS = ("layer", "gradients", "example", "blob", "shape", "abs", "rel", "decided at", "kinks", "verdict")
NUMBERS = ("gradients", "abs", "rel", "kinks")
FEW = 30  # gradients that fit a screen
FOLLOWING = ("eval_gradients", "jvp", "ties")  # checks that fail where the gradients of an example are wrong
NUMBERED = re.compile(r"\([\d, ]*\)|\d+(\.\d+)?(e[+-]?\d+)?")  # shapes and numbers, in which one cause differs
Grounds = dict[str, dict[str, int]]  # for each backend or engine, by layer: examples
Paint = Callable[[str, str], str]  # (text, "red" | "green" | "bold") -> text


def plain(text: str, colour: str) -> str:
    """No colours."""
    return text


@dataclass(frozen=True)
class Failure:
    """A broken promise of the contract: which layer, which check, and what is wrong in a sentence."""

    layer: str
    check: str
    message: str

    def __str__(self) -> str:
        return f"{self.layer}: {self.check}: {self.message}"


@dataclass(frozen=True)
class Inapplicable:
    """A check that has nothing to prove for an example of a layer, and why."""

    layer: str
    check: str
    reason: str


@dataclass
class Report:
    """The result of gradcheck() and of `layerforge test`. It is true where everything passes.

    rows      a Row for each gradient: of each bottom and parameter of each example, or of each array of a net
    failures  broken promises of the contract
    layers    names of what was checked, in order; metrics: those of them that have no backward
    checks    how many checks of the contract were run
    inapplicable   those that have nothing to prove for an example, which are not among them
    backends  what computed, with its version, and by layer on how many examples of the reference's; of a net none
    engines   the same of engines, whose layers were held against the reference's; of a net the layers that it computes
    limits    what the verdicts on gradients allow
    """

    rows: list[Row] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    layers: list[str] = field(default_factory=list)
    metrics: list[str] = field(default_factory=list)
    checks: int = 0
    limits: Tolerance = field(default_factory=Tolerance)
    backends: Grounds = field(default_factory=dict)
    engines: Grounds = field(default_factory=dict)
    inapplicable: list[Inapplicable] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not self.failures and all(row.ok for row in self.rows)

    def __bool__(self) -> bool:
        return self.ok

    @property
    def is_empty(self) -> bool:
        """Whether nothing was checked, or could have been."""
        return not (self.rows or self.checks or self.failures or self.inapplicable)

    why_empty: ClassVar[str] = "a metric has no gradient, and a layer without examples cannot be run"

    @property
    def worst(self) -> Row | None:
        """The row that is furthest off: a failed one where there is one, then by relative error."""
        return max(self.rows, key=badness, default=None)

    def __add__(self, other: Report) -> Report:
        return Report(
            self.rows + other.rows,
            self.failures + other.failures,
            self.warnings + other.warnings,
            self.layers + other.layers,
            self.metrics + other.metrics,
            self.checks + other.checks,
            other.limits if other.rows else self.limits,
            _both(self.backends, other.backends),
            _both(self.engines, other.engines),
            self.inapplicable + other.inapplicable,
        )

    def __str__(self) -> str:
        return self.text()

    def text(self, *, verbose: bool = False, paint: Paint = plain) -> str:
        """For a reader: a table, what is wrong, and a summary.

        The table has a line for each gradient where they are few, or `verbose`; otherwise one for each layer. What
        follows from another fault, or says the same again, is told of in a line; `verbose` shows all of it.
        """
        groups = {} if verbose or len(self.rows) <= FEW else by_layer(self.rows)
        rows = self.rows if verbose else [row for row in self.rows if not row.cause]
        lines = table([max(g, key=badness) for g in groups.values()] or rows, groups, paint)
        lines += [f"no backward: {', '.join(self.metrics)}"] if self.metrics else []
        lines += [line.format(**vars(self.limits)) for line in LEGEND] if self.rows else []
        lines += self.ground_lines()
        lines += without_object(self.inapplicable, verbose)
        wrong = [row for row in self.rows if not row.ok and not row.cause]
        tell = [explain(row) for row in wrong] + [str(failure) for failure in self.failures]
        lines += [paint(words, "red") for words in (tell if verbose else causes(self.rows, self.failures))]
        return "\n".join([*lines, paint(self.summary(), "green" if self.ok else "red")])

    def ground_lines(self) -> list[str]:
        """A line for the backend, and one for each engine: what was checked on it."""
        lines = [f"backend {name}{counted(layers)}" for name, layers in self.backends.items()]
        return lines + [
            f"engine {name}{counted(layers)}{', against the reference' if any(layers.values()) else ''}"
            for name, layers in self.engines.items()
        ]

    def summary(self) -> str:
        """One line: what was checked, and whether all of it passes."""
        done = [plural(len(self.layers), "layer")]
        done += [plural(len(self.rows), "gradient")] if self.rows or not self.checks else []
        done += [plural(self.checks, "check")] if self.checks else []
        if self.ok and not self.rows and not self.checks and self.inapplicable:
            return f"{done[0]}: nothing to prove"
        if self.ok:
            return f"{', '.join(done)}: all pass"
        wrong = [row.owner for row in self.rows if not row.ok]
        parts = [plural(len(wrong), "gradient")] if wrong else []
        parts += [plural(len(self.failures), "check")] if self.failures else []
        names = [row.owner for row in self.rows if not row.ok and not row.cause]
        names += [failure.layer.partition("-")[0] for failure in self.failures]
        return f"{', '.join(done)}: {' and '.join(parts)} failed ({', '.join(dict.fromkeys(names))})"

    def as_dict(self) -> dict[str, Any]:
        """For machines: everything, in types of JSON."""
        return {
            "ok": self.ok,
            "summary": self.summary(),
            "layers": self.layers,
            "gradients": [row_dict(row) for row in self.rows],
            "checks": self.checks,
            "backends": self.backends,
            "engines": self.engines,
            "inapplicable": [{"layer": i.layer, "check": i.check, "reason": i.reason} for i in self.inapplicable],
            "failures": [{"layer": f.layer, "check": f.check, "message": f.message} for f in self.failures],
            "warnings": self.warnings,
        }


def without_object(inapplicable: Sequence[Inapplicable], verbose: bool) -> list[str]:
    """What was not run, as there is nothing to prove: a line for each check and reason, or one for all of them."""
    counts = Counter((each.check, each.reason) for each in inapplicable)
    if verbose or len(counts) == 1:
        return [f"not applicable: {check} on {plural(n, 'example')}: {why}" for (check, why), n in counts.items()]
    checks = Counter(each.check for each in inapplicable)
    told = ", ".join(f"{check} on {plural(n, 'example')}" for check, n in checks.items())
    return [f"not applicable: {told} (--verbose says why)"] if told else []


def counted(layers: Mapping[str, int]) -> str:
    """How many layers on how many examples, after a colon; nothing where there are none."""
    on = f" on {plural(sum(layers.values()), 'example')}" if any(layers.values()) else ""
    return f": {plural(len(layers), 'layer')}{on}" if layers else ""


def _both(some: Grounds, more: Grounds) -> Grounds:
    """What was checked in either of two reports."""
    return {name: some.get(name, {}) | more.get(name, {}) for name in some | more}


def plural(count: int, noun: str) -> str:
    """A number of things in words."""
    return f"{count} {noun}" + ("" if count == 1 else "s")


def badness(row: Row) -> tuple[bool, bool, float]:
    """Failed rows first, before them those at fault; NaN is worse than any number."""
    return not row.ok, not row.cause, math.inf if math.isnan(row.relative) else row.relative


def by_layer(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """The rows of each layer, in order."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.owner, []).append(row)
    return groups


def table(rows: Sequence[Row], groups: dict[str, list[Row]], paint: Paint) -> list[str]:
    """The rows as aligned lines under a header; `groups` are the rows that each of them stands for, if any."""
    if not rows:
        return []
    cells = [_cells(row, groups.get(row.owner, [row])) for row in rows]
    columns = [name for name in COLUMNS if name != "gradients" or groups]
    return aligned(cells, columns, NUMBERS, [not row.ok for row in rows], paint)


def aligned(
    cells: Sequence[Mapping[str, str]],
    columns: Sequence[str],
    right: Sequence[str],
    failed: Sequence[bool],
    paint: Paint,
) -> list[str]:
    """Lines of texts by column under a header: no column without a text, those in `right` flush right."""
    shown = [name for name in columns if any(c[name] for c in cells)]
    widths = {name: max(len(name), *(len(c[name]) for c in cells)) for name in shown}

    def line(texts: Mapping[str, str]) -> str:
        padded = (texts[n].rjust(widths[n]) if n in right else texts[n].ljust(widths[n]) for n in shown)
        return "  ".join(padded).rstrip()

    body = [paint(line(c), "red") if bad else line(c) for c, bad in zip(cells, failed, strict=True)]
    return [paint(line({name: name for name in shown}), "bold"), *body] if cells else []


def _cells(row: Row, group: Sequence[Row]) -> dict[str, str]:
    """The texts of a line, by column."""
    return {
        "layer": row.owner,
        "gradients": str(len(group)),
        "example": row.example,
        "blob": row.blob,
        "shape": str(row.shape).replace(" ", ""),
        "abs": number(row.absolute),
        "rel": number(row.relative),
        "decided at": row.decided.where if row.decided else "no element",
        "kinks": str(sum(r.kinks for r in group)),
        "verdict": verdict(row, group),
    }


def verdict(row: Row, group: Sequence[Row]) -> str:
    """ok, ok with what is special about it, or FAIL."""
    notes = [row.note] if row.note else []
    notes += [f"because of {row.cause}"] if row.cause else []
    zero = list(dict.fromkeys(r.blob for r in group if r.is_zero and r.decided is not None))
    notes += [("" if len(group) == 1 else f"{', '.join(zero)} ") + "zero"] if zero else []
    return ("ok" if row.ok else "FAIL") + (f" ({'; '.join(notes)})" if notes else "")


def number(value: float) -> str:
    """Two digits; an exact zero as 0."""
    return "0" if value == 0 else f"{value:.1e}"


def explain(row: Row) -> str:
    """A failed row in a sentence, with the likely mistake on a line of its own."""
    example = f" {row.example}" if row.example else ""
    note = f" ({row.note})" if row.note else ""
    found = row.failed
    assert found is not None
    likely = f"\n     = {row.mistake}" if row.mistake else ""
    return f"{row.owner}{example}: gradient of {row.blob} {row.shape}{found.describe()}{note}{likely}"


def causes(rows: Sequence[Row], failures: Sequence[Failure]) -> list[str]:
    """What is wrong, each cause once, and in a line what else shows it or follows from it."""
    wrong: dict[tuple[str, ...], list[Row]] = {}
    for row in (row for row in rows if not row.ok and not row.cause):
        wrong.setdefault((row.owner, row.blob, row.mistake, row.note), []).append(row)
    told = [_with_others(explain(first), [f"example {row.example}" for row in same]) for first, *same in wrong.values()]
    because: dict[str, list[str]] = {}
    for row in (row for row in rows if row.cause):
        because.setdefault(row.cause, []).append(row.owner)
    for cause, owners in because.items():
        told.append(f"because of {cause}: {plural(len(owners), 'gradient')} of {listed(owners)}")
    bad = {f"{row.owner}-{row.example}" for row in rows if not row.ok}
    broken: dict[tuple[str, str], list[Failure]] = {}
    for failure in failures:
        follows = failure.check in FOLLOWING and failure.layer in bad
        words = "" if follows else NUMBERED.sub("#", failure.message)
        broken.setdefault((failure.layer.partition("-")[0], words), []).append(failure)
    for (owner, words), (first, *same) in broken.items():
        if words:
            told.append(_with_others(str(first), [f"{f.check} of {f.layer}" for f in same]))
        else:
            others = listed([f"{f.check} of {f.layer}" for f in (first, *same)])
            told.append(f"because of the gradients of {owner}: {others}")
    return told


def _with_others(words: str, others: Sequence[str]) -> str:
    """What is wrong somewhere, and where it is wrong as well."""
    return f"{words}\n     and so in {plural(len(others), 'more place')}: {listed(others)}" if others else words


def listed(names: Sequence[str], most: int = 4) -> str:
    """Different names in a line, the first few of them."""
    distinct = list(dict.fromkeys(names))
    more = f" and {len(distinct) - most} more" if len(distinct) > most else ""
    return ", ".join(distinct[:most]) + more


def row_dict(row: Row) -> dict[str, Any]:
    """A row in types of JSON; what is not a number is null."""
    found = row.decided
    return {
        "layer": row.owner,
        "example": row.example or None,
        "blob": row.blob,
        "shape": list(row.shape),
        "norm": _finite(row.scale),
        "worst_absolute": _finite(row.absolute),
        "worst_relative": _finite(row.relative),
        "decided_at": found.where if found else None,
        "backward": _finite(found.analytic) if found else None,
        "difference": _finite(found.numeric) if found else None,
        "compared": row.compared,
        "kinks": row.kinks,
        "zero": row.is_zero,
        "ok": row.ok,
        "note": row.note or None,
        "mistake": row.mistake or None,
        "cause": row.cause or None,
    }


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
