"""What the commands of `import` and `export` have in common: options, and how --check is told."""

from __future__ import annotations

import argparse
import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .arguments import open_config, output_path, positive
from .output import print_json
from .terminal import note

if TYPE_CHECKING:
    from ..inference.trained import Trained
    from ..interop.comparison import Comparison
    from ..interop.fidelity import Report
    from ..interop.images import Stated
    from ..net import Net

MODEL = "a run's folder, a checkpoint, a file of weights, a folder of model.save() or of an import, or a config"
WEIGHTS = "a snapshot, a checkpoint or a run; by default the run's best, and the start values of a config"


def add_folder_option(parser: argparse.ArgumentParser) -> None:
    """-o, the folder of an import."""
    words = "the folder, which must be new or empty"
    parser.add_argument("-o", "--output", type=output_path, required=True, metavar="DIR", help=words)


def add_input_option(parser: argparse.ArgumentParser, example: str) -> None:
    """--input NAME=SHAPE; `example` is one."""
    words = f"the shape of an input, such as {example}; may be repeated"
    parser.add_argument("--input", action="append", default=[], type=shaped, metavar="NAME=SHAPE", help=words)


def add_image_options(parser: argparse.ArgumentParser, order: str, scale: str = "1") -> None:
    """--scale, --mean-value, --mean-file and --color: how images become the input of an imported net.

    order, scale   what holds where they are not given, in words
    """
    words = f"images are scaled by this after the mean is subtracted (default: {scale})"
    parser.add_argument("--scale", type=factor, metavar="X", help=words)
    words = "the mean that is subtracted from images: a number, or one per channel, such as 104,117,123"
    parser.add_argument("--mean-value", type=numbers, default=(), metavar="X,...", help=words)
    parser.add_argument("--mean-file", metavar="FILE", help="a mean image in the place of that: .binaryproto or .npy")
    words = f"the order of the channels of images (default {order})"
    parser.add_argument("--color", choices=("bgr", "rgb", "gray"), help=words)


def stated_of(args: argparse.Namespace) -> Stated:
    """What the options of `add_image_options` state."""
    from ..interop.images import Stated

    return Stated(args.scale, args.mean_value, args.mean_file, args.color)


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """MODEL of an export, and what belongs to it."""
    parser.add_argument("target", metavar="MODEL", help=MODEL)
    parser.add_argument("--weights", metavar="FILE", help=WEIGHTS)
    parser.add_argument("--allow-import", action="store_true", help="run the Python files that the run imports")


def open_net(args: argparse.Namespace) -> tuple[Net, Trained | None]:
    """The net of MODEL, and what it was trained with; a config without --weights has start values, which is told.

    It is on NumPy whichever backend MODEL says: what is written is the same, and needs no GPU.

    Errors   those of open_trained
    """
    from ..inference.trained import YAML, open_trained
    from ..net import Net

    if args.weights is None and Path(args.target).suffix in YAML:
        net = Net(open_config(args.target, (), args.allow_import).on_backend("numpy"), keep="none")
        if not args.quiet:
            note(f"{args.target} is a config: its parameters have their start values; --weights FILE names others")
        return net, None
    trained = open_trained(args.target, (), args.weights, args.allow_import, "numpy")
    return trained.net, trained


def shaped(text: str) -> tuple[str, tuple[int, ...]]:
    """An argument NAME=1,3,224,224."""
    name, found, shape = text.rpartition("=")
    with contextlib.suppress(argparse.ArgumentTypeError):
        if name and found:
            return name, tuple(positive(length.strip()) for length in shape.split(","))
    raise argparse.ArgumentTypeError(f"must be NAME=1,3,224,224, got '{text}'")


def numbers(text: str) -> tuple[float, ...]:
    """An argument of finite numbers."""
    with contextlib.suppress(ValueError):
        found = tuple(float(number) for number in text.split(","))
        if all(abs(number) < float("inf") for number in found):
            return found
    raise argparse.ArgumentTypeError(f"must be numbers such as 104,117,123, got '{text}'")


def factor(text: str) -> float:
    """An argument that is one finite number other than 0."""
    with contextlib.suppress(argparse.ArgumentTypeError):
        found = numbers(text)
        if len(found) == 1 and found[0]:
            return found[0]
    raise argparse.ArgumentTypeError(f"must be a finite number other than 0, such as 0.00390625, got '{text}'")


def tell_import(args: argparse.Namespace, report: Report, folder: Path, compared: Comparison | None) -> int:
    """Say what was written, and what it is worth. Returns   the exit code"""
    files = sorted(path.name for path in folder.iterdir())
    if args.json:
        made = {"folder": str(folder), "files": files, "fidelity": report.plain()}
        print_json(made if compared is None else {**made, "check": compared.plain})
    else:
        print(f"{folder}: {', '.join(files)}")
        print(report.summary())
        for text in () if args.quiet else report.notes:
            note(text)
        tell_comparison(compared)
    return 0 if compared is None or compared.equal else 1


def tell_comparison(compared: Comparison | None) -> None:
    """The result of --check, where it was asked for."""
    for line in [] if compared is None else table(compared):
        print(line)


def table(compared: Comparison) -> list[str]:
    """The result of --check for people."""
    from ..interop.comparison import HEADINGS
    from .net_table import align

    rows: list[Any] = [HEADINGS, *(row.cells for row in compared.rows)]
    measure = "differences are shares of the largest number"
    return ["", *align(rows), f"{compared.result}, compared with {compared.against}; {measure}"]
