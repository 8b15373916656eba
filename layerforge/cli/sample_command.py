"""`layerforge sample RUN --prompt TEXT`: a language model goes on writing. No training data are needed."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from .arguments import add_backend_option, output_file, positive

EPILOG = """\
The text is the same for the same net, prompt and seed. For each token (a character, unless the net was trained on words
or sub-words) a window of the text so far, as long as in training, goes through the net."""


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    parser = subparsers.add_parser(
        "sample", help="let a language model go on writing", description=__doc__, epilog=EPILOG
    )
    parser.add_argument("target", metavar="RUN", help="a run's folder, or a checkpoint")
    parser.add_argument("--prompt", required=True, metavar="TEXT", help="how the text begins")
    parser.add_argument("--length", type=positive, default=500, metavar="N", help="tokens to write (default 500)")
    words = "1 (default): as the net says; below 1 surer; 0: always the most probable"
    parser.add_argument("--temperature", type=float, default=1.0, metavar="T", help=words)
    parser.add_argument("--top-k", type=positive, metavar="K", help="draw from the K best tokens only")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="another seed writes another text (default 0)")
    parser.add_argument("-o", "--output", type=output_file, metavar="FILE", help="a file for the text; else stdout")
    parser.add_argument("--weights", metavar="FILE", help="a file of weights or a run; by default the run's best")
    parser.add_argument("--allow-import", action="store_true", help="run the Python files that the run imports")
    add_backend_option(parser)
    parser.set_defaults(run=run)
    return parser


def run(args: argparse.Namespace) -> int:
    from ..inference.model import Model
    from ..inference.trained import open_trained
    from ..schema.texts import printable, visible
    from ..snapshot import atomic_write

    model = Model(open_trained(args.target, (), args.weights, args.allow_import, args.backend))
    text = model.sample(
        args.prompt, length=args.length, temperature=args.temperature, top_k=args.top_k, seed=args.seed
    )
    if args.output is None:
        print(visible(text) if sys.stdout is not None and sys.stdout.isatty() else printable(text))
    else:
        atomic_write(args.output, printable(text).encode() + b"\n")
    return 0
