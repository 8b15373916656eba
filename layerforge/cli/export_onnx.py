"""`layerforge export onnx MODEL -o M.onnx`: a net as it computes in eval, as an ONNX file (opset 17, IR 8).

Inputs, blobs, layers and parameters keep their names, the number of samples is any, and BatchNorm stays what it is
unless --fold-batch-norm is given. What has no counterpart in ONNX is one error that names all such layers.

--check lets onnx.checker look at the file and compares ONNX Runtime with the net on random inputs, for two numbers of
samples; exit code 1, and no file, where numbers differ by more than 1e-5 of the largest number of an output, and 1e-6
beside that.
--with-transform puts the preprocessing of training in front: the file takes raw samples then, and has the names of
classes in its metadata.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .arguments import add_json_option, demand_suffix, output_file
from .exchange import add_model_arguments, open_net, tell_comparison
from .output import print_json
from .terminal import note

if TYPE_CHECKING:
    from ..inference.trained import Trained
    from ..interop.comparison import Comparison
    from ..interop.onnx.check import Case
    from ..interop.onnx.graph import ValueInfo
    from ..interop.onnx.saving import Exported
    from ..net import Net

EPILOG = """\
  layerforge export onnx runs/mnist_lenet/latest -o lenet.onnx --check
  layerforge export onnx runs/pets/latest -o pets.onnx --with-transform
  layerforge export onnx configs/mnist_lenet.yaml --weights lenet.h5 -o lenet.onnx --blob fc1 --blob fc2"""


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    parser = subparsers.add_parser("onnx", description=__doc__, epilog=EPILOG)
    add_model_arguments(parser)
    words = "the .onnx file to write"
    parser.add_argument("-o", "--output", type=output_file, required=True, metavar="FILE", help=words)
    words = "a blob to give; may be repeated (default: what the net gives without its targets)"
    parser.add_argument("--blob", action="append", metavar="NAME", help=words)
    words = "the preprocessing of training in front of the net"
    parser.add_argument("--with-transform", action="store_true", help=words)
    words = "multiply each BatchNorm into the Linear or convolution below it"
    parser.add_argument("--fold-batch-norm", action="store_true", help=words)
    words = "give probabilities in the place of scores that are logits"
    parser.add_argument("--probabilities", action="store_true", help=words)
    parser.add_argument("--check", action="store_true", help="compare with ONNX Runtime")
    add_json_option(parser)
    parser.set_defaults(run=run)
    return parser


def run(args: argparse.Namespace) -> int:
    from ..interop.onnx import check, saving, scores, transform
    from ..interop.onnx.netgraph import distinct
    from ..interop.predicted import predicted
    from ..schema.errors import ConfigError

    path = Path(args.output)
    demand_suffix(path, ".onnx")
    if args.check:
        check.demand_runtime()
    net, trained = open_net(args)
    outputs = distinct(args.blob or predicted(net))
    options: dict[str, Any] = {"outputs": outputs, "fold_batch_norm": args.fold_batch_norm}
    if not args.with_transform:
        exported = saving.net_graph(net, **options)
    elif trained is not None:
        exported = transform.trained_graph(trained, **options)
    else:
        hint = "name a run, or add --weights FILE"
        raise ConfigError("--with-transform needs what training saw, which a config does not hold", hint=hint)
    if args.probabilities:
        scores.to_probabilities(exported.graph)
    content, compared = saving.content(exported), None
    if args.check:
        raw = trained if args.with_transform else None
        compared = check.of_bytes(content, path, cases(args, net, raw, exported, outputs))
    if compared is None or compared.equal:
        saving.write(content, path)
    return tell(args, path, exported, compared)


def cases(
    args: argparse.Namespace, net: Net, trained: Trained | None, exported: Exported, outputs: Sequence[str]
) -> list[Case]:
    """What --check compares; `trained` where the file takes raw samples."""
    from ..interop.onnx import check, scores, transform

    if trained is None:
        made = check.cases_of_export(net, exported, outputs)
    else:
        made = transform.raw_cases(trained, exported, outputs)
    if not args.probabilities:
        return made
    name = scores.output_of(exported.graph)
    return [replace(case, made=scores.probable(net, name, case.made)) for case in made]


def tell(args: argparse.Namespace, path: Path, exported: Exported, compared: Comparison | None) -> int:
    """Say what was written. Returns   the exit code"""
    graph = exported.graph
    if args.json:
        infos = {"inputs": graph.inputs, "outputs": graph.outputs}
        made: dict[str, Any] = {"file": str(path), "opset": graph.opset}
        for key, values in infos.items():
            made[key] = [{"name": v.name, "dtype": v.dtype, "shape": list(v.shape or ())} for v in values]
        made |= {"nodes": len(graph.nodes), "notes": list(exported.notes)}
        made["written"] = compared is None or compared.equal
        print_json(made if compared is None else {**made, "check": compared.plain})
    else:
        numbers = sum(array.size for array in graph.initializers.values())
        print(f"{path}: {len(graph.nodes)} nodes, {numbers} parameters and statistics, opset {graph.opset}")
        for word, values in (("takes", graph.inputs), ("gives", graph.outputs)):
            print(f"{word} {', '.join(described(value) for value in values) or 'nothing'}")
        for text in () if args.quiet else exported.notes:
            note(text)
        tell_comparison(compared)
        if compared is not None and not compared.equal:
            print(f"{path} is not written")
    return 0 if compared is None or compared.equal else 1


def described(info: ValueInfo) -> str:
    """An input or output in words."""
    return f"{info.name} {info.dtype} ({', '.join(map(str, info.shape or ()))})"
