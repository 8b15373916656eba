"""Try random nets: the reference and the engine against the reference in float64, whatever is asked of them.

    python scripts/netfuzz.py                             # 300 nets
    python scripts/netfuzz.py --nets 5000 --seed 1 -q     # findings only
    python scripts/netfuzz.py --seed 1 --only 4711        # one net, by its number

A net is made of layers from a wide part of the catalogue, forks and losses among them, and gets a few passes and steps:
batches of changing size, both phases, inputs of odd strides and types, recomputation, several backwards from losses and
from cotangents of any blob. It is built four times: in float64, on the reference and twice on the engine, with all,
some or no blobs kept; of every fourth all four run in threads at once. Every fourth is asked for bf16-mixed, every
tenth for products in bfloat16.
netfuzzing/judging.py says what may differ.

Of a finding the seed and the number are printed, and the smallest net and actions that still show it.
Exit code 1 where there are findings.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # nets are small: several threads would only wait for each other

SCRIPTS = Path(__file__).parent
sys.path[:0] = [str(SCRIPTS), str(SCRIPTS.parent)]

from netfuzzing.judging import Verdict, judge  # noqa: E402
from netfuzzing.shrinking import shrunk  # noqa: E402
from netfuzzing.trials import Trial, draw  # noqa: E402


def campaign(seed: int, numbers: Iterable[int]) -> Iterator[tuple[int, Trial, Verdict]]:
    """The verdicts on the trials of these numbers."""
    for number in numbers:
        trial = draw(seed, number)
        yield number, trial, judge(trial)


def smallest(trial: Trial) -> tuple[Trial, Verdict]:
    """The smallest trial that still fails, and what is found there."""
    small = shrunk(trial, lambda candidate: bool(judge(candidate).findings))
    verdict = judge(small)
    return (small, verdict) if verdict.findings else (trial, judge(trial))


def show(finding: dict[str, Any]) -> str:
    """A finding for a terminal."""
    trial = finding["trial"]
    lines = [f"FINDING seed {finding['seed']}, net {finding['number']}: {finding['found'][0]}"]
    lines += [f"    also: {what}" for what in finding["found"][1:4]]
    lines += [f"    smallest: {what}" for what in finding["findings"][:2]]
    lines += [f"    inputs: {json.dumps(trial['config']['inputs'])}"]
    lines += [f"    - {json.dumps(layer)}" for layer in trial["config"]["net"]]
    lines += [f"    {json.dumps(action)}" for action in trial["actions"]]
    return "\n".join([*lines, f"    kept: {trial['keeps']}, {trial['watched']}; threads: {trial['threads']}"])


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nets", type=int, default=300, metavar="N")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, metavar="NUMBER", help="the net of that number")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.add_argument("-q", "--quiet", action="store_true", help="findings only")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    findings, totals, began = [], Verdict(), time.monotonic()
    numbers = range(args.nets) if args.only is None else [args.only]
    for number, trial, verdict in campaign(args.seed, numbers):
        totals.undecided += verdict.undecided
        totals.refused += verdict.refused
        totals.compared += verdict.compared
        if verdict.findings:
            small, why = smallest(trial)
            shrunk_to = {"findings": why.findings, "trial": small.as_json()}
            findings.append({"seed": args.seed, "number": number, "found": verdict.findings, **shrunk_to})
            print(show(findings[-1]), file=sys.stderr if args.json else sys.stdout, flush=True)
        elif not (args.quiet or args.json) and number % 100 == 99:
            print(f"{number + 1} nets, {len(findings)} findings", flush=True)
    figures = {k: v for k, v in vars(totals).items() if k != "findings"}
    if args.json:
        report = {"nets": len(numbers), **figures, "seconds": time.monotonic() - began, "findings": findings}
        print(json.dumps(report))
    elif not args.quiet:
        print(
            f"{len(numbers)} nets in {time.monotonic() - began:.0f} s: {totals.compared} arrays compared,"
            f" {totals.undecided} undecided, {totals.refused} backwards refused, {len(findings)} findings"
        )
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
