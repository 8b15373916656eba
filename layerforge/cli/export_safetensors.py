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
from .exchange import add_model_arguments, open_net
from .output import print_json

EPILOG = """\
  layerforge export safetensors runs/mnist_mlp/latest -o mlp.safetensors
  layerforge export safetensors net.yaml --weights resnet18.pt -o resnet18.safetensors"""


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    words = "weights under the names of torch's state_dict"
    parser = subparsers.add_parser("safetensors", help=words, description=__doc__, epilog=EPILOG)
    add_model_arguments(parser)
    words = "the file to write, which ends in .safetensors"
    parser.add_argument("-o", "--output", type=output_file, required=True, metavar="FILE", help=words)
    add_json_option(parser)
    parser.set_defaults(run=run)
    return parser


def run(args: argparse.Namespace) -> int:
    from ..inference.saving import save_weights
    from ..safetensors_file import SUFFIX
    from ..schema.errors import ConfigError

    path = Path(args.output)
    if path.suffix != SUFFIX:
        raise ConfigError(f"{path} does not end in {SUFFIX}", hint=f"-o {path.with_suffix(SUFFIX)}")
    net, trained = open_net(args)
    if trained is None:
        net.save(path)
    else:
        save_weights(trained, path)
    arrays, weights = net.state_dict(), None if trained is None else str(trained.weights)
    if args.json:
        shapes = {name: list(array.shape) for name, array in arrays.items()}
        print_json({"file": str(path), "weights": weights, "arrays": shapes})
    else:
        print(f"{path}: {len(arrays)} arrays of {weights or args.target}")
    return 0
