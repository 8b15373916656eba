"""`layerforge predict RUN INPUT...`: what a trained net says of new inputs (IDX, NPZ, CSV, PNG or svmlight files)."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from .arguments import output_file, positive


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    parser = subparsers.add_parser("predict", help="apply a trained net to files", description=__doc__)
    parser.add_argument("target", metavar="RUN", help="a run's folder")
    parser.add_argument("inputs", nargs="+", metavar="INPUT", help="IDX, NPZ, CSV, PNG or svmlight files")
    words = ".csv or .npz; by default CSV on stdout"
    parser.add_argument("-o", "--output", type=output_file, metavar="FILE", help=words)
    parser.add_argument("--blob", help="the blob to write; by default the scores that the loss reads")
    parser.add_argument("--input", metavar="NAME", help="the net's input that the files are for (default: its first)")
    parser.add_argument("--weights", metavar="FILE", help="a snapshot or checkpoint; by default the run's best")
    parser.add_argument("--batch-size", type=positive, default=500, metavar="N", help="samples at a time (default 500)")
    parser.add_argument("--allow-import", action="store_true", help="run the Python files that the run imports")
    parser.set_defaults(run=run)
    return parser


def run(args: argparse.Namespace) -> int:
    from ..inference.model import Model
    from ..inference.prediction import predict, write_csv, write_npz
    from ..inference.trained import open_trained
    from ..schema.errors import ConfigError

    suffix = Path(args.output).suffix if args.output else ".csv"
    if suffix not in (".csv", ".npz"):
        raise ConfigError(f"cannot write predictions as '{suffix}'", hint="use a name that ends in .csv or .npz")
    model = Model(open_trained(args.target, (), args.weights, args.allow_import))
    table = predict(model, args.inputs, blob=args.blob, name=args.input, batch_size=args.batch_size)
    if suffix == ".npz":
        write_npz(table, args.output)
    else:
        write_csv(table, args.output)
    return 0
