"""`layerforge import onnx M.onnx -o DIR`: a model of ONNX as a folder to predict with and to train.

DIR gets net.yaml, weights.h5, and fidelity.md and fidelity.json: what became of every node, and what things are called.
Nothing is written unless all of the graph is supported. Constants are folded, layers that were written as several
nodes (LayerNorm, GELU, attention and the like) are recognised, and the file is read by a process with limits.

--check compares the imported net with ONNX Runtime on random inputs, for two numbers of samples where the file takes
any: exit code 1 where numbers differ by more than 1e-5 of the largest number of an output, and 1e-6 beside that, and
where nothing was compared.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .arguments import add_json_option
from .exchange import add_folder_option, add_image_options, add_input_option, stated_of, tell_import

if TYPE_CHECKING:
    from ..interop.comparison import Comparison
    from ..interop.onnx.model import Model

EPILOG = """\
  layerforge import onnx resnet18.onnx -o resnet18 --check
  layerforge import onnx encoder.onnx -o encoder --input tokens=1,128
  layerforge predict resnet18 images.npy
  layerforge import onnx resnet18.onnx -o photos --mean-value 123.7,116.3,103.5 --scale 0.0171
  layerforge predict photos photo.jpg"""


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    parser = subparsers.add_parser("onnx", description=__doc__, epilog=EPILOG)
    parser.add_argument("model", metavar="MODEL", help="a .onnx file; data that it keeps outside lie below its folder")
    add_folder_option(parser)
    add_input_option(parser, "image=1,3,224,224, where the file leaves lengths open")
    add_image_options(parser, "rgb, as torch and Keras have them")
    parser.add_argument("--check", action="store_true", help="compare with ONNX Runtime")
    add_json_option(parser)
    parser.set_defaults(run=run)
    return parser


def run(args: argparse.Namespace) -> int:
    from ..interop import images
    from ..interop.folder import demand_new
    from ..interop.onnx import check, model, writing

    folder = Path(args.output)
    demand_new(folder)
    if args.check:
        check.demand_runtime()
    opened = model.load_model(args.model, dict(args.input))
    made = images.of_statement(writing.shapes(opened), stated_of(args), "rgb")
    compared = checked(opened, args.model) if args.check else None
    writing.write_folder(opened, folder, preprocessing=made, compared=compared)
    return tell_import(args, opened.report, folder, compared)


def checked(opened: Model, path: str) -> Comparison:
    """The result of --check. Errors: ConfigError where ONNX Runtime does not take the file"""
    from ..interop.onnx import check
    from ..schema.errors import ConfigError

    try:
        return check.against_runtime(path, check.cases_of_import(opened))
    except check.Refused as error:
        hint = "the model was imported without an error, only this check cannot be had: leave out --check"
        raise ConfigError(error.message, hint=hint) from None
