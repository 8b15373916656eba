"""`layerforge export safetensors MODEL -o w.safetensors`: the weights of a trained net under the names of torch.

Names and layouts are those of torch's state_dict (fc1.weight, bn1.running_mean, layer1.0.conv1.weight):
model.load_state_dict(safetensors.torch.load_file("w.safetensors")). The metadata hold the net's configuration and the
preprocessing of its training, so that `layerforge predict w.safetensors` needs no other file.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from .arguments import add_json_option, output_file
from .output import print_json

EPILOG = """\
  layerforge export safetensors runs/mnist_mlp/latest -o mlp.safetensors
  layerforge export safetensors net.yaml --weights resnet18.pt -o resnet18.safetensors"""


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    words = "weights under the names of torch's state_dict"
    parser = subparsers.add_parser("safetensors", help=words, description=__doc__, epilog=EPILOG)
    words = "a run's folder, a checkpoint, a file of weights, a folder of model.save(), or a config with --weights"
    parser.add_argument("target", metavar="MODEL", help=words)
    words = "the file to write, which ends in .safetensors"
    parser.add_argument("-o", "--output", type=output_file, required=True, metavar="FILE", help=words)
    words = "a file of weights or a run; by default the run's best"
    parser.add_argument("--weights", metavar="FILE", help=words)
    parser.add_argument("--allow-import", action="store_true", help="run the Python files that the run imports")
    add_json_option(parser)
    parser.set_defaults(run=run)
    return parser


def run(args: argparse.Namespace) -> int:
    from ..inference.saving import save_weights
    from ..inference.trained import open_trained
    from ..safetensors_file import SUFFIX
    from ..schema.errors import ConfigError

    path = Path(args.output)
    if path.suffix != SUFFIX:
        raise ConfigError(f"{path} does not end in {SUFFIX}", hint=f"-o {path.with_suffix(SUFFIX)}")
    trained = open_trained(args.target, (), args.weights, args.allow_import)
    save_weights(trained, path)
    arrays = trained.net.state_dict()
    if args.json:
        shapes = {name: list(array.shape) for name, array in arrays.items()}
        print_json({"file": str(path), "weights": str(trained.weights), "arrays": shapes})
    else:
        print(f"{path}: {len(arrays)} arrays of {trained.weights}")
    return 0
