"""`layerforge eval RUN|CONFIG`: score a trained net on one of its data sets."""

from __future__ import annotations

import argparse
from typing import Any

from .arguments import add_backend_option, add_json_option
from .output import print_json
from .terminal import note


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    parser = subparsers.add_parser("eval", help="score a trained net", description=__doc__)
    parser.add_argument("target", metavar="RUN|CONFIG", help="a run's folder, or a YAML file together with --weights")
    parser.add_argument("assignments", nargs="*", default=[], metavar="KEY=VALUE", help="overrides, as for train")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="the same; may be repeated")
    parser.add_argument("--weights", metavar="FILE", help="a file of weights or a run; by default the run's best")
    parser.add_argument("--data", default="val", choices=("train", "val", "test"), help="which data (default val)")
    parser.add_argument("--allow-import", action="store_true", help="run the Python files that the run imports")
    add_backend_option(parser)
    add_json_option(parser)
    parser.set_defaults(run=run)
    return parser


def run(args: argparse.Namespace) -> int:
    from ..inference.trained import open_trained
    from ..training.console import show_metric
    from ..training.evaluation import score_all
    from .score_tables import lines

    overrides = [*args.assignments, *args.set]
    trained = open_trained(args.target, overrides, args.weights, args.allow_import, args.backend)
    loader = trained.open_data(args.data)
    scores = score_all(trained.net, loader)
    for text in loader.feed.source.notes():
        note(text)
    if args.json:
        values = {f"{args.data}/{name}": value for name, value in scores.values.items()}
        print_json({"weights": str(trained.weights), **values, **scores.named_tables(args.data)})
        return 0
    words = "  ".join(f"{args.data}/{name} {show_metric(name, value)}" for name, value in scores.numbers.items())
    print(f"{words}  ({trained.weights}, {loader.samples} samples)")
    for line in lines(scores, args.data):
        print(line)
    return 0
