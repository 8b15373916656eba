"""`layerforge export caffe MODEL -o NET.caffemodel`: a net that was imported from Caffe, written back to Caffe's files.

MODEL is the folder of an import, or a run that was trained from its train.yaml. The weights have Caffe's order and
layout: those of the layers of the phase that was imported, of a run those of TRAIN, as Caffe's own snapshots do. The
definition is the one that was imported, in Caffe's present form, with the layers of all phases; the folder of an import
holds it, and for a run --definition names that folder, or a prototxt.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from .arguments import add_json_option, output_path
from .exchange import add_model_arguments, open_net
from .output import print_json

EPILOG = """\
  layerforge export caffe quick -o quick.caffemodel
  layerforge export caffe runs/tuned/latest --definition going_on -o tuned
  layerforge export caffe runs/tuned/latest --definition train_test.prototxt -o tuned.caffemodel.h5"""
BINARY, HDF5 = ".caffemodel", (".caffemodel.h5", ".h5", ".hdf5")
OTHERS = (".prototxt", ".pbtxt", ".onnx", ".safetensors", ".pt", ".pth", ".npz", ".yaml")  # no names of folders
PHASES = ("TRAIN", "TEST")


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    parser = subparsers.add_parser("caffe", description=__doc__, epilog=EPILOG)
    add_model_arguments(parser)
    words = "a .caffemodel or .caffemodel.h5, beside which the .prototxt is written, or a new folder for both"
    parser.add_argument("-o", "--output", type=output_path, required=True, metavar="FILE|DIR", help=words)
    words = "the folder of the import, or the .prototxt (default: MODEL, or the folder of the config)"
    parser.add_argument("--definition", metavar="DIR|FILE", help=words)
    words = "of the layers that are written (default: see above)"
    parser.add_argument("--phase", choices=("train", "test"), help=words)
    add_json_option(parser)
    parser.set_defaults(run=run)
    return parser


def run(args: argparse.Namespace) -> int:
    from .. import snapshot
    from ..interop.caffe import reopening, saving

    definition, weights = files(Path(args.output))
    net, _ = open_net(args)
    source = source_of(args)
    arrays = net.arrays()
    phases = (args.phase.upper(),) if args.phase else () if source == Path(args.target) else PHASES
    model = reopening.fitting(source, arrays, phases)
    with snapshot.writing(weights.parent, "choose another place"):
        weights.parent.mkdir(parents=True, exist_ok=True)
    saving.write(model, arrays, definition, weights)
    if args.json:
        layers = {name: [list(place.shape) for place in places] for name, places in model.blob_maps.items()}
        print_json({"definition": str(definition), "weights": str(weights), "phase": model.phase, "blobs": layers})
    else:
        print(f"{definition}, {weights}: {len(model.blob_maps)} layers with blobs, phase {model.phase}")
    return 0


def files(output: Path) -> tuple[Path, Path]:
    """The definition and the weights that -o names.

    Errors   ConfigError for a folder with something in it, and for the name of another file
    """
    from ..interop.folder import demand_new
    from ..schema.errors import ConfigError

    name = output.name
    for suffix in (BINARY, *HDF5):
        if name.endswith(suffix) and name != suffix:
            return output.with_name(f"{name.removesuffix(suffix)}.prototxt"), output
    if output.suffix in OTHERS or name in (BINARY, *HDF5):
        hint = (
            f"-o {output.with_name((output.stem.strip('.') or 'net') + BINARY)}, beside which the .prototxt is written"
        )
        raise ConfigError(f"{output} ends in {output.suffix or name}: the weights name the files", hint=hint)
    demand_new(output)
    return output / "net.prototxt", output / "net.caffemodel"


def source_of(args: argparse.Namespace) -> Path:
    """Where the definition is. Errors: ConfigError where nothing says so"""
    from ..interop.caffe.reopening import DEFINITION
    from ..schema.errors import ConfigError

    if args.definition is not None:
        return Path(args.definition)
    target = Path(args.target)
    folder = target if target.is_dir() else target.parent
    if (folder / DEFINITION).is_file():
        return target if target.is_dir() else folder
    hint = "--definition names the folder of its import, or the prototxt"
    raise ConfigError(f"{args.target} does not hold the definition of a net of Caffe", hint=hint)
