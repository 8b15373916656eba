"""`layerforge verify resume CONFIG`: kill a training again and again, resume it, and compare it bit by bit with one
that ran through. Use overrides to make it short: train.max_steps=300 'checkpoint.every={steps: 10}'."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import Any

from .arguments import add_config_arguments, add_json_option, positive
from .output import print_json
from .terminal import note


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    parser = subparsers.add_parser("verify", help="put promises to the test", description=__doc__)
    parser.add_argument("what", choices=("resume",), help="resume: killed and resumed is uninterrupted, bit for bit")
    add_config_arguments(parser)
    parser.add_argument("--kills", type=positive, default=20, metavar="N", help="how often to kill (default 20)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="another seed kills at other moments")
    add_json_option(parser)
    parser.set_defaults(run=run)
    return parser


def run(args: argparse.Namespace) -> int:
    from ..training.verify import verify_resume

    verdict = verify_resume(args.config, [*args.assignments, *args.set], args.kills, args.seed, note)
    if args.json:
        print_json({**asdict(verdict), "ok": verdict.ok})
        return 0 if verdict.ok else 1
    for line in verdict.differences[:20]:
        print(line)
    word = "the same bits" if verdict.ok else f"{len(verdict.differences)} differences"
    print(
        f"{verdict.kills} kills, {verdict.writing} of them in the middle of writing a checkpoint: "
        f"{verdict.arrays} arrays and {verdict.rows} rows of metrics compared, {word}"
    )
    return 0 if verdict.ok else 1
