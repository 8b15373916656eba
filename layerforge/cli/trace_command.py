"""`layerforge trace CONFIG -o trace.h5`: one step, every blob, every gradient in a file.

Forward and backward of the batch that training would begin with; nothing is updated. Two traces, of other backends,
dtypes, versions or of torch, are compared by `layerforge diff A.h5 B.h5`, which names the first array that differs.
"""

from __future__ import annotations

import argparse
from typing import Any

from ..config.scalars import quoted_scalar
from .arguments import add_backend_option, add_config_arguments, add_json_option, open_config, output_file
from .output import print_json
from .terminal import tell


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    parser = subparsers.add_parser("trace", help="one step, every array into a file", description=__doc__)
    add_config_arguments(parser)
    words = "the file to write, such as trace.h5"
    parser.add_argument("-o", "--output", type=output_file, required=True, metavar="FILE", help=words)
    parser.add_argument("--weights", metavar="FILE", help="a file of weights or a run to take them from")
    parser.add_argument("--dtype", choices=("float32", "float64"), help="of parameters and blobs (dtype)")
    add_backend_option(parser)
    parser.add_argument("--against", choices=("torch",), help="what torch computes of the same net and batch instead")
    add_json_option(parser)
    parser.set_defaults(run=run)
    return parser


def run(args: argparse.Namespace) -> int:
    from ..check.against import torch_reference
    from ..debug.trace import trace

    reference = torch_reference() if args.against else None
    named = [] if args.dtype is None else [f"dtype={quoted_scalar(args.dtype)}"]
    config = open_config(args.config, [*args.assignments, *args.set, *named], args.allow_import)
    config = config if args.backend is None else config.on_backend(args.backend)
    made = trace(config, weights=args.weights, reference=reference)
    made.write(args.output)
    if made.meta["batch"].get("notice") and not args.quiet:
        tell(f"warning: {made.meta['batch']['notice']}")
    if args.json:
        print_json({"file": args.output, **made.meta, "arrays": list(made.arrays)})
        return 0
    from ..plan.precision import in_words

    meta, elements = made.meta, sum(array.size for array in made.arrays.values())
    computed = in_words(meta["dtype"], meta["precision"], meta["backend"])
    loss = "" if meta["loss"] is None else f", loss {meta['loss']:.6g}"
    print(
        f"{args.output}: {len(made.arrays)} arrays, {elements:,} elements of one step of {meta['name']},"
        f" {computed}, batch from {meta['batch']['from']}, {meta['weights']}{loss}"
    )
    return 0
