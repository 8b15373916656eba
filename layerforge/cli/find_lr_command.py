"""`layerforge find-lr CONFIG`: a learning-rate range test, which trains a net for some steps and throws it away."""

from __future__ import annotations

import argparse
import contextlib
import csv
import io
import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from .arguments import add_config_arguments, add_json_option, open_config, output_file, positive
from .output import print_json
from .terminal import note

if TYPE_CHECKING:
    from ..training.lr_range import LrRange

EPILOG = """\
The learning rate grows exponentially from step to step. Suggested is the one at which the smoothed loss falls fastest:
a start for solver.lr. Where the loss is lowest it is too late already. Solver, batches and seed are the config's; its
schedule is left out, and a run's folder, its weights and its files are left alone."""

SHOWN = 20  # rows of the table
COLUMNS = ("step", "lr", "loss", "smoothed")


def number(text: str) -> float:
    """An argument that is a finite number."""
    with contextlib.suppress(ValueError):
        if math.isfinite(float(text)):
            return float(text)
    raise argparse.ArgumentTypeError(f"must be a number, got '{text}'")


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    parser = subparsers.add_parser("find-lr", help="look for a learning rate", description=__doc__, epilog=EPILOG)
    add_config_arguments(parser)
    parser.add_argument("--min-lr", type=number, default=1e-7, metavar="LR", help="the first rate (default 1e-7)")
    parser.add_argument("--max-lr", type=number, default=10.0, metavar="LR", help="the last rate (default 10)")
    parser.add_argument("--steps", type=positive, default=100, metavar="N", help="how many steps (default 100)")
    words = "share that the moving average of the loss keeps in each step (default 0.9)"
    parser.add_argument("--smoothing", type=number, default=0.9, metavar="SHARE", help=words)
    parser.add_argument("-o", "--output", type=output_file, metavar="FILE", help="also write every step as CSV")
    add_json_option(parser)
    parser.set_defaults(run=run)
    return parser


def run(args: argparse.Namespace) -> int:
    from ..training.lr_range import lr_range

    overrides = [*args.assignments, *args.set, "solver.schedule=fixed"]
    config = open_config(args.config, overrides, args.allow_import)
    found = lr_range(config, min_lr=args.min_lr, max_lr=args.max_lr, steps=args.steps, smoothing=args.smoothing)
    if found.notice:
        note(found.notice)
    if args.output:
        write_csv(found, args.output)
    if args.json:
        print_json(asdict(found))
    else:
        print("\n".join(table(found)))
    return 0 if found.suggestion is not None else 1


def write_csv(found: LrRange, path: str) -> None:
    """Every step, with all digits."""
    from ..snapshot import atomic_write

    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(COLUMNS)
    rows.writerows([each.step, repr(each.lr), repr(each.loss), repr(each.smoothed)] for each in found.tried)
    atomic_write(path, text.getvalue().encode())


def table(found: LrRange) -> list[str]:
    """Some of the steps, and what follows from all."""
    from ..run.summary import align

    tried, every = found.tried, max(1, -(-len(found.tried) // SHOWN))
    rows = [COLUMNS]
    for each in tried:
        if each.step % every == 0 or each.lr == found.suggestion:
            mark = "  <- steepest" if each.lr == found.suggestion else ""
            rows.append((str(each.step), f"{each.lr:.3g}", f"{each.loss:.4g}", f"{each.smoothed:.4g}{mark}"))
    lines = align(rows, (0, 1, 2))
    if found.stopped:
        lines.append(f"stopped: {found.stopped}")
    if found.suggestion is None:
        advice = "try other --min-lr and --max-lr, or more --steps"
        return [*lines, f"no suggestion: the loss fell nowhere by more than its noise; {advice}"]
    return [*lines, f"suggestion: solver.lr={found.suggestion:.2g} (the smoothed loss is lowest at {found.lowest:.2g})"]
