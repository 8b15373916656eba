"""`layerforge train CONFIG`: train a net and leave a run directory."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ..config.scalars import quoted_scalar
from ..schema.errors import ConfigError
from ..schema.texts import to_json
from .arguments import add_config_arguments, add_json_option, positive, renaming
from .terminal import discard, settle_output

if TYPE_CHECKING:
    from ..config.document import Config
    from ..training.console import Console
    from ..training.ending import TrainResult
    from ..training.loop import Trainer


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    parser = subparsers.add_parser("train", help="train the net of a config", description=__doc__)
    add_config_arguments(parser)
    start = parser.add_mutually_exclusive_group()
    start.add_argument("--resume", action="store_true", help="go on with the newest run of that name, or with the RUN")
    start.add_argument("--resume-from", metavar="PATH", help="go on from this run or checkpoint")
    start.add_argument("--init-weights", metavar="FILE", help="a new run from the weights of a file or a run")
    words = "a layer that the weights may lack or not fit, as a name or a pattern; may be repeated"
    parser.add_argument("--allow-missing", metavar="PATTERN", action="append", default=[], help=words)
    words = "cross-validation: a run for each of K parts of the training data (data.split says how they are made)"
    parser.add_argument("--folds", type=positive, metavar="K", help=words)
    words = "what has another name in the net: a layer, an array (fc1.weight), or a/*=b/*; may be repeated"
    parser.add_argument("--rename", metavar="OLD=NEW", type=renaming, action="append", default=[], help=words)
    parser.add_argument("--allow-config-change", action="store_true", help="resume although the config has changed")
    parser.add_argument("--output-dir", metavar="DIR", help="folder for the folders of runs (train.output_dir)")
    parser.add_argument("--name", help="name of the run (name)")
    parser.add_argument("--seed", type=int, help="start of all random numbers (seed)")
    parser.add_argument("--backend", help="numpy or cupy (backend)")
    parser.add_argument("--max-steps", type=positive, metavar="N", help="stop after N steps (train.max_steps)")
    words = "train on the first N batches again and again (train.overfit_batches)"
    parser.add_argument("--overfit-batches", type=positive, metavar="N", help=words)
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
        "train.overfit_batches": getattr(args, "overfit_batches", None),
    }
    named = [f"{key}={quoted_scalar(value)}" for key, value in options.items() if value is not None]
    return [*args.assignments, *args.set, *named]


def run(args: argparse.Namespace) -> int:
    from ..training.resume import newest_run
    from ..training.rundir import load_config

    overrides = overrides_of(args)
    config, run_dir = load_config(args.config, overrides, args.allow_import)
    if run_dir is not None and (args.folds or not args.resume):
        raise ConfigError(
            f"{args.config} is a run: go on with it, or train its configuration anew?",
            hint=f"add --resume, or name {args.config}/config.resolved.yaml",
        )
    console = console_of(args)
    if args.folds:
        return run_folds(args, overrides, console)
    target = None
    if args.resume or args.resume_from:
        config.raise_errors()
        target = args.resume_from or (run_dir.path if run_dir else newest_run(config))
    result = train(config, target, args, overrides, console)
    if result is None:
        return 0
    if args.json:
        console.machine(to_json(asdict(result), indent=2))
    settle_output()  # the code is the run's, as in STATUS and summary.json, whether or not anybody could be told
    return result.exit_code


def console_of(args: argparse.Namespace) -> Console:
    """Where a run says what it does."""
    from ..training.console import Console

    return Console(progress=args.progress, quiet=args.quiet, results=not args.json, lost=discard)


def run_folds(args: argparse.Namespace, overrides: list[str], console: Console) -> int:
    """Train the folds of a cross-validation; the exit code."""
    from ..training.folds import run_folds
    from ..training.rundir import load_config

    if args.resume_from or args.folds < 2:
        message = "--folds goes on with --resume" if args.resume_from else "--folds takes 2 or more"
        raise ConfigError(message, hint="for example --folds 5")
    result = run_folds(
        lambda more: load_config(args.config, [*overrides, *more], args.allow_import)[0],
        args.folds,
        lambda config, target: train(config, target, args, overrides, console),
        resume=args.resume,
        console=console,
    )
    if result is None:
        return 0
    console.result(result.table())
    console.note(f"written: {result.folder}/folds.json")
    if args.json:
        console.machine(to_json(asdict(result), indent=2))
    settle_output()
    return result.exit_code


def train(
    config: Config, target: Any, args: argparse.Namespace, overrides: list[str], console: Console
) -> TrainResult | None:
    """Train, going on from `target` where one is given; None where only what would be trained was asked for."""
    from ..training.loop import Trainer
    from ..training.preparation import prepare
    from ..training.resume import resuming

    with resuming(target) as resume:
        trainer = Trainer(prepare(config, resume=resume), tuple(overrides), console=console)
        if resume is not None:
            trainer.go_on_from(resume, args.allow_config_change)
        return work(trainer, args)


def work(trainer: Trainer, args: argparse.Namespace) -> TrainResult | None:
    """Train, or say what would be trained."""
    from .net_table import net_table

    console = trainer.console
    for given, word in ((args.allow_missing, "--allow-missing"), (args.rename, "--rename")):
        if given and not args.init_weights:
            raise ConfigError(f"{word} belongs to --init-weights", hint="give --init-weights FILE too")
    if args.init_weights:
        trainer.start_from(args.init_weights, args.allow_missing, dict(args.rename))
    if not args.quiet:
        console.result(net_table(trainer.net))
    if args.dry_run:
        console.note(f"dry run: {trainer.total} steps would be trained; nothing was written")
        return None
    return trainer.run()
