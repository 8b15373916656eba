"""Mutate the backward methods of the layers: does `layerforge test` see every mistake?

    python scripts/mutate.py                          # 200 mutants, drawn over all layers
    python scripts/mutate.py --mutants 500 --seed 1
    python scripts/mutate.py --mutants 0              # all that there are
    python scripts/mutate.py --layer Conv2d --layer GRU --file correlation.py
    python scripts/mutate.py --list                   # what can be mutated, without trying it

A mutant is one small mistake in the code that only backward runs (the methods, their helpers, the formulas of tables):
a sign, an axis, a transpose, a dropped term or sum, the wrong array; scripts/mutation/operators.py has the list. Each
is tried in a process of its own with what `layerforge test` runs on the layers that it touches, without the checks of
engines, which hold the reference against an independent implementation. A mutant that raises does not count. One that
gives the same gradient is equivalent: it is listed with the reason in scripts/mutation/equivalent.json.

Exit code 1 where a mutant survives that is not listed, or one is caught that is.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")  # examples are small: several threads would only wait for each other
SCRIPTS = Path(__file__).parent
sys.path[:0] = [str(SCRIPTS), str(SCRIPTS.parent)]

from mutation.operators import OPERATORS  # noqa: E402
from mutation.sites import Site, find_sites  # noqa: E402
from mutation.trials import Mutant, Outcome, trials  # noqa: E402

EQUIVALENT = SCRIPTS / "mutation" / "equivalent.json"
Key = tuple[str, str, str, str, str]


@dataclass
class Report:
    """What came of the mutants; those that raised do not count."""

    caught: list[Outcome] = field(default_factory=list)
    equivalent: list[Outcome] = field(default_factory=list)
    survived: list[Outcome] = field(default_factory=list)
    mislisted: list[Outcome] = field(default_factory=list)  # caught although listed as equivalent
    raised: int = 0

    @property
    def count(self) -> int:
        return len(self.caught) + len(self.equivalent) + len(self.survived) + len(self.mislisted)

    @property
    def ok(self) -> bool:
        return not self.survived and not self.mislisted

    def add(self, outcome: Outcome, listed: dict[Key, str]) -> None:
        """Take an outcome into account."""
        known = outcome.mutant.key in listed
        if outcome.verdict == "raised":
            self.raised += 1
        elif outcome.verdict == "caught":
            (self.mislisted if known else self.caught).append(outcome)
        else:
            (self.equivalent if known else self.survived).append(outcome)

    def text(self) -> str:
        """For a reader: what survived, and a table by operator."""
        lines = [shown("SURVIVED", outcome) for outcome in self.survived]
        lines += [shown("CAUGHT, BUT LISTED AS EQUIVALENT", outcome) for outcome in self.mislisted]
        lines.append(f"{'operator':10} {'mutants':>8} {'caught':>8} {'equivalent':>11} {'survived':>9}")
        groups = {"caught": self.caught + self.mislisted, "same": self.equivalent, "survived": self.survived}
        counts = {name: Counter(o.mutant.mutation.operator for o in group) for name, group in groups.items()}
        for name in OPERATORS:
            caught, same, survived = (counts[kind][name] for kind in groups)
            lines.append(f"{name:10} {caught + same + survived:>8} {caught:>8} {same:>11} {survived:>9}")
        by = Counter(outcome.words.split(": ")[1] for outcome in self.caught)
        lines.append("caught by " + ", ".join(f"{check} {n}" for check, n in by.most_common()))
        lines.append(
            f"{self.count} mutants: {len(self.caught)} caught, {len(self.equivalent)} equivalent,"
            f" {len(self.survived)} survived, {len(self.mislisted)} listed wrongly; {self.raised} more raised"
        )
        return "\n".join(lines)

    def as_dict(self) -> dict[str, Any]:
        """For machines."""
        lists = {name: getattr(self, name) for name in ("caught", "equivalent", "survived", "mislisted")}
        return {name: [as_dict(o) for o in group] for name, group in lists.items()} | {"raised": self.raised}


def as_dict(outcome: Outcome) -> dict[str, Any]:
    """An outcome, in types of JSON."""
    names = ("file", "function", "operator", "line", "change")
    return dict(zip(names, outcome.mutant.key, strict=True)) | {"layer": outcome.mutant.layer, "words": outcome.words}


def shown(verdict: str, outcome: Outcome) -> str:
    """An outcome in two lines."""
    file, function, operator, text, change = outcome.mutant.key
    words = f"\n     = {outcome.words}" if outcome.words else ""
    place = f"{file}:{outcome.mutant.mutation.line} {function} ({outcome.mutant.layer})"
    return f"{verdict} {operator} {place}: {change}\n     | {text}{words}"


def listed_equivalents() -> dict[Key, str]:
    """The mutants that change nothing, with the reason."""
    names = ("file", "function", "operator", "line", "change")
    return {tuple(entry[name] for name in names): entry["reason"] for entry in json.loads(EQUIVALENT.read_text())}


def draw(sites: list[Site], seed: int) -> list[Mutant]:
    """All mutants in a random order: a layer is drawn, then an operator, then a mutation that was not drawn before."""
    rng = random.Random(seed)
    pools: dict[str, dict[str, list[tuple[Site, Any]]]] = {}
    for site in sites:
        for mutation in site.mutations():
            for layer in site.layers:
                pools.setdefault(layer, {}).setdefault(mutation.operator, []).append((site, mutation))
    for by_operator in pools.values():
        for pool in by_operator.values():
            rng.shuffle(pool)
    order, drawn = [], set()
    while pools:
        layer = rng.choice(sorted(pools))
        operator = rng.choice(sorted(pools[layer]))
        site, mutation = pools[layer][operator].pop()
        if not pools[layer][operator]:
            del pools[layer][operator]
        if not pools[layer]:
            del pools[layer]
        if (site.code, mutation) not in drawn:
            drawn.add((site.code, mutation))
            order.append(Mutant(site, mutation, layer))
    return order


def campaign(order: list[Mutant], wanted: int, jobs: int, quiet: bool) -> Report:
    """Try mutants in their order until as many as are wanted counted."""
    report, listed, at = Report(), listed_equivalents(), 0
    while report.count < wanted and at < len(order):
        batch = order[at : at + wanted - report.count]
        at += len(batch)
        for outcome in trials(batch, jobs):
            report.add(outcome, listed)
            if sys.stderr.isatty() and not quiet:
                print(f"\r{report.count} of {wanted}", end="", file=sys.stderr, flush=True)
    return report


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mutants", type=int, default=200, metavar="N", help="that count; 0: all that there are")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--layer", action="append", metavar="TYPE", help="only of this layer; may be repeated")
    parser.add_argument("--file", action="append", metavar="NAME", help="only in this file of layerforge/layers")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, metavar="N", help="at the same time")
    parser.add_argument("--list", action="store_true", help="print all mutants instead of trying them")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress")
    args = parser.parse_args()
    sites = [site for site in find_sites(args.layer) if args.file is None or site.file in args.file]
    order = draw(sites, args.seed)
    if args.list:
        for mutant in order:
            print(*mutant.key, sep="\t")
        return 0
    report = campaign(order, args.mutants or len(order), args.jobs, args.quiet)
    print(json.dumps(report.as_dict()) if args.json else report.text())
    return 0 if report.ok else 1


if __name__ == "__main__":
    sys.exit(main())
