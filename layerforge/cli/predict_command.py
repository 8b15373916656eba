"""`layerforge predict MODEL INPUT...`: what a trained net says of new samples, with the preprocessing of its training.

INPUT is a file as training read it (CSV, Parquet, images, texts, NPY, NPZ, HDF5, IDX, svmlight), JSON lines, or - for
standard input.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

from .arguments import add_backend_option, add_json_option, output_file, positive
from .output import print_json


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    parser = subparsers.add_parser("predict", help="apply a trained net to files", description=__doc__)
    words = "a run's folder, a checkpoint, a file of weights, or a folder of model.save()"
    parser.add_argument("target", metavar="MODEL", help=words)
    parser.add_argument("inputs", nargs="*", metavar="INPUT", help="files, or - for standard input")
    words = ".csv, .npz or .jsonl; by default CSV on stdout"
    parser.add_argument("-o", "--output", type=output_file, metavar="FILE", help=words)
    parser.add_argument("--blob", help="the blob to write; by default the scores that the loss reads")
    words = "the net's input that the files are for (default: all that the blob needs)"
    parser.add_argument("--input", metavar="NAME", help=words)
    parser.add_argument("--weights", metavar="FILE", help="a file of weights or a run; by default the run's best")
    parser.add_argument("--batch-size", type=positive, default=500, metavar="N", help="samples at a time (default 500)")
    parser.add_argument("--describe", action="store_true", help="say what the net takes and gives, and predict nothing")
    parser.add_argument("--allow-import", action="store_true", help="run the Python files that the run imports")
    add_backend_option(parser)
    add_json_option(parser)
    parser.set_defaults(run=run)
    return parser


def run(args: argparse.Namespace) -> int:
    from ..inference.describing import described, description
    from ..inference.model import Model
    from ..inference.prediction import predict, rows, writable, write
    from ..inference.trained import open_trained
    from ..schema.errors import ConfigError

    if args.describe == bool(args.inputs):
        if args.describe:
            raise ConfigError("--describe takes no inputs", hint="layerforge predict RUN --describe")
        hint = "layerforge predict RUN FILE..., or - for standard input"
        raise ConfigError("predict needs at least one INPUT", hint=hint)
    writable(args.output)
    model = Model(open_trained(args.target, (), args.weights, args.allow_import, args.backend))
    if args.describe:
        if args.json:
            print_json(description(model))
        else:
            print(described(model))
        return 0
    stdin: Any = getattr(sys.stdin, "buffer", sys.stdin)
    table = predict(
        model, args.inputs, blob=args.blob, name=args.input, batch_size=args.batch_size, stdin=stdin
    )  # fmt: skip
    if args.output or not args.json:
        write(table, args.output)
    if args.json:
        known = {"weights": str(model.weights), "blob": table.blob, "classes": list(table.names)}
        print_json({**known, "predictions": list(rows(table))})
    return 0
