"""`layerforge train CONFIG`: train a net and leave a run directory."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from typing import Any

from .arguments import add_config_arguments, add_json_option, positive
from .output import print_json


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    parser = subparsers.add_parser("train", help="train the net of a config", description=__doc__)
    add_config_arguments(parser)
    parser.add_argument("--init-weights", metavar="FILE", help="start from the parameters of a snapshot or checkpoint")
    parser.add_argument("--output-dir", metavar="DIR", help="folder for the folders of runs (train.output_dir)")
    parser.add_argument("--name", help="name of the run (name)")
    parser.add_argument("--seed", type=int, help="start of all random numbers (seed)")
    parser.add_argument("--backend", help="numpy or cupy (backend)")
    parser.add_argument("--max-steps", type=positive, metavar="N", help="stop after N steps (train.max_steps)")
    parser.add_argument("--dry-run", action="store_true", help="check everything, print the table, train nothing")
    parser.add_argument("--progress", choices=("auto", "on", "off"), default="auto", help="the progress bar")
    add_json_option(parser)
    parser.set_defaults(run=run)
    return parser


def overrides_of(args: argparse.Namespace) -> list[str]:
    """All overrides of a command line, those of options with a key of their own last."""
    options = {
        "train.output_dir": getattr(args, "output_dir", None),
        "name": getattr(args, "name", None),
        "seed": getattr(args, "seed", None),
        "backend": getattr(args, "backend", None),
        "train.max_steps": getattr(args, "max_steps", None),
    }
    named = [f"{key}={json.dumps(value)}" for key, value in options.items() if value is not None]
    return [*args.assignments, *args.set, *named]


def run(args: argparse.Namespace) -> int:
    from .. import userfiles
    from ..config.document import Config
    from ..errors import ConfigError
    from ..report import net_table
    from ..training.console import Console
    from ..training.loop import Trainer
    from ..training.rundir import find_run

    if find_run(args.config) is not None:
        raise ConfigError(
            f"{args.config} is a run, not a config",
            hint=f"train its configuration again: layerforge train {args.config}/config.resolved.yaml",
        )
    overrides = overrides_of(args)
    console = Console(progress=args.progress, quiet=args.quiet, results=not args.json)
    config = Config.load(args.config, overrides, userfiles.import_all)
    trainer = Trainer(config, tuple(overrides), backend=None, console=console)
    if args.init_weights:
        trainer.net.load(args.init_weights)
    if not args.quiet:
        console.result(net_table(trainer.net))
    if args.dry_run:
        console.note(f"dry run: {trainer.total} steps would be trained; nothing was written")
        return 0
    result = trainer.run()
    if args.json:
        print_json(asdict(result))
    return result.exit_code
