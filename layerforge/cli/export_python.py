"""`layerforge export python MODEL -o DIR`: a trained net as one Python file that needs NumPy alone, and its arrays.

DIR gets net.py and weights.npz. The layers in net.py are their own source, of which forward in eval is left; prepare,
scores and predict have the scaling and the class names of training. What was written is compared with the net on random
inputs before it is kept; a net that takes none is warned of.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from .arguments import add_json_option, output_path
from .exchange import add_model_arguments, open_net
from .output import print_json

EPILOG = """\
  layerforge export python runs/mnist_mlp/latest -o mlp
  cd mlp && python net.py images.npy"""


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = subparsers.add_parser("python", description=__doc__, epilog=EPILOG)
    add_model_arguments(parser)
    words = "the folder, which must be new or empty"
    parser.add_argument("-o", "--output", type=output_path, required=True, metavar="DIR", help=words)
    words = "a blob that forward returns, in the place of all that the net predicts; may be repeated"
    parser.add_argument("--blob", action="append", default=[], metavar="NAME", help=words)
    add_json_option(parser)
    parser.set_defaults(run=run)
    return parser


def run(args: argparse.Namespace) -> int:
    from ..inference.model import Model
    from ..interop.folder import demand_new
    from ..interop.python.model import ARRAYS, FILE, keep, write_model

    folder = Path(args.output)
    demand_new(folder)
    net, trained = open_net(args)
    written = write_model(net if trained is None else Model(trained), args.blob)
    keep(written, folder)
    sizes = {name: (folder / name).stat().st_size for name in (FILE, ARRAYS)}
    if args.json:
        weights = None if trained is None else str(trained.weights)
        told: dict[str, Any] = {"folder": str(folder), "weights": weights, "inputs": written.inputs}
        told |= {"blobs": written.blobs, "apart": written.apart, "why_prepared": written.why_prepared}
        print_json({**told, "checked": not written.unchecked, "files": sizes})
        return 0
    listed = ", ".join(f"{name} ({size / 1024:.0f} KiB)" for name, size in sizes.items())
    print(f"{folder}: {listed}")
    print(f"It computes {', '.join(written.blobs)} from {', '.join(written.inputs) or 'nothing'}.")
    if written.apart:
        print(f"Left out is what it computes from other inputs: {', '.join(written.apart)}. --blob names others.")
    if written.why_prepared:
        print(f"It takes inputs as training made them, no raw samples: {written.why_prepared}.")
    print(f"How it is called is said at the top of {folder / FILE}.")
    return 0
