"""`layerforge diff A B`: the first step and the first array that differ.

A and B are two runs, two traces (`layerforge trace`), two checkpoints or files of weights. Traces are compared in the
order of execution: forward, backward, then the gradients of the parameters; runs step by step, metrics and checkpoints.
Times are left out. Exit code 0 where they are equal, 1 where they differ, 3 where one of them cannot be read.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from .arguments import add_json_option
from .output import print_json
from .terminal import paint

if TYPE_CHECKING:
    from ..debug.diff import Comparison, Deviation, Difference

FEW = 12  # arrays and lines about A and B that are listed
COLUMNS = ("array", "shape", "differ", "largest |a - b|", "at", "in A", "in B")


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    parser = subparsers.add_parser("diff", help="the first array that differs", description=__doc__)
    parser.add_argument("a", metavar="A", help="a run's folder, a trace, a checkpoint or a file of weights")
    parser.add_argument("b", metavar="B", help="another of the same kind")
    words = "allowed: R times the largest number of the array in B, + A; by default every bit counts"
    parser.add_argument("--rtol", type=float, default=0.0, metavar="R", help=words)
    parser.add_argument("--atol", type=float, default=0.0, metavar="A", help="the other term")
    parser.add_argument("-v", "--verbose", action="store_true", help="all arrays that differ, not the first dozen")
    add_json_option(parser)
    parser.set_defaults(run=run)
    return parser


def run(args: argparse.Namespace) -> int:
    import sys

    from ..debug.diff import Limits, diff

    result = diff(args.a, args.b, Limits(args.rtol, args.atol))
    if args.json:
        print_json(result.as_dict())
    else:
        *lines, verdict = text(result, None if args.verbose else FEW)
        print("\n".join([*lines, paint(verdict, "green" if result.ok else "red", sys.stdout)]))
    return 0 if result.ok else 1


def text(result: Comparison, most: int | None) -> list[str]:
    """What `diff` prints, at most so many arrays of it; the verdict is the last line."""
    lines = [f"A  {result.a}", f"B  {result.b}"]
    lines += [f"   {note}" for note in shortened(result.notes, most)]
    first = result.first
    if first is not None:
        lines += ["", *explain(first)]
        rest = result.differences[1:]
        lines += ["", *shortened(table(rest), None if most is None else most + 1)] if rest else []
    return [*lines, "", summary(result)]


def shortened(lines: list[str], most: int | None) -> list[str]:
    """The first lines, and how many more there are."""
    rest = len(lines) - (len(lines) if most is None else most)
    return lines if rest <= 0 else [*lines[:most], f"... and {rest} more"]


def summary(result: Comparison) -> str:
    """One line: what was compared, and what came of it."""
    from ..check.report import plural

    parts = [plural(result.rows, "row") + " of metrics"] if result.kind == "run" else []
    parts += [plural(result.checkpoints, "checkpoint")] if result.kind == "run" else []
    done = ", ".join([*parts, plural(result.arrays, "array")])
    limits = result.limits
    equal = "the same bits" if limits.exact else f"equal to {limits.rtol:g} max |b| + {limits.atol:g}"
    if result.ok:
        return f"{done}: {equal}"
    first = result.first
    assert first is not None
    where = f"step {first.step}, {first.name}" if first.step is not None else first.name
    count = len(result.differences)
    return f"{done}: {count} {'differs' if count == 1 else 'differ'}, the first is {where}"


def explain(found: Difference) -> list[str]:
    """A difference in a few lines."""
    step = f"step {found.step}: " if found.step is not None else ""
    head = f"first: {step}{found.name}" + (f" {found.shape}" if found.shape else "")
    if not found.shape and found.absolute is not None and found.relative is not None:
        one, rest = found.absolute, f"apart by {found.absolute.off:.3g}, relatively by {found.relative.off:.3g}"
        return [f"{head}: {one.a:.9g} | {one.b:.9g}, {rest}{f' ({found.reason})' if found.reason else ''}"]
    lines = [f"{head}: {found.reason}" if found.reason else f"{head}: {found.count:,} of {found.size:,} differ"]
    for words, place in (("absolute", found.absolute), ("relative", found.relative)):
        if place is not None:
            numbers = f"{place.a:.9g} | {place.b:.9g}"
            lines.append(f"       largest {words} difference {place.off:.3g}{_at(place)}: {numbers}")
    return lines


def table(rows: list[Difference]) -> list[str]:
    """The other differences, a line for each."""
    from .net_table import align

    cells = [COLUMNS]
    for row in rows:
        name = f"step {row.step}: {row.name}" if row.step is not None else row.name
        place = row.absolute
        numbers = (f"{place.off:.3g}", _at(place)[4:], f"{place.a:.6g}", f"{place.b:.6g}") if place else None
        count = f"{row.count:,}" if place else ""
        shape = str(row.shape).replace(" ", "") if place or row.shape else ""
        cells.append((name, shape, count, *(numbers or (row.reason, "", "", ""))))
    return align(cells, (2, 3, 5, 6))


def _at(place: Deviation) -> str:
    return f" at [{','.join(map(str, place.at))}]" if place.at else ""
