"""`layerforge export python MODEL -o DIR`: a trained net as one Python file that needs NumPy alone, and its arrays.

MODEL is the folder of a run, a checkpoint, a file of weights, or a folder of model.save() or of an import; or a config,
whose weights --weights names.

DIR gets net.py and weights.npz. The layers in net.py are their own source, of which forward in eval is left; prepare,
scores and predict have the scaling and the class names of training. What was written is compared with the net on random
inputs before it is kept.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from .arguments import add_json_option, output_path
from .output import print_json

EPILOG = """\
  layerforge export python runs/mnist_mlp/latest -o mlp
  cd mlp && python net.py images.npy"""


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = subparsers.add_parser("python", description=__doc__, epilog=EPILOG)
    words = "a run's folder, a checkpoint, a file of weights, a folder of model.save(), or a config"
    parser.add_argument("target", metavar="MODEL", help=words)
    words = "the folder, which must be new or empty"
    parser.add_argument("-o", "--output", type=output_path, required=True, metavar="DIR", help=words)
    parser.add_argument("--weights", metavar="FILE", help="a snapshot or checkpoint; by default the run's best")
    words = "a blob that forward returns, in the place of the scores that the loss reads; may be repeated"
    parser.add_argument("--blob", action="append", default=[], metavar="NAME", help=words)
    parser.add_argument("--allow-import", action="store_true", help="run the Python files that the run imports")
    add_json_option(parser)
    parser.set_defaults(run=run)
    return parser


def run(args: argparse.Namespace) -> int:
    from ..inference.model import Model
    from ..inference.trained import open_trained
    from ..interop.python.model import ARRAYS, FILE, demand_empty, keep, write_model

    folder = Path(args.output)
    demand_empty(folder)
    model = Model(open_trained(args.target, (), args.weights, args.allow_import))
    written = write_model(model, args.blob)
    keep(written, folder)
    sizes = {name: (folder / name).stat().st_size for name in (FILE, ARRAYS)}
    if args.json:
        told = {"folder": str(folder), "weights": str(model.weights), "inputs": written.inputs, "blobs": written.blobs}
        print_json({**told, "files": sizes})
        return 0
    listed = ", ".join(f"{name} ({size / 1024:.0f} KiB)" for name, size in sizes.items())
    print(f"{folder}: {listed}")
    print(f"{', '.join(written.blobs)} of {', '.join(written.inputs) or 'nothing'}, as the net computes them")
    return 0
