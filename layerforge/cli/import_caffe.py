"""`layerforge import caffe NET.prototxt [WEIGHTS] -o DIR`: a foreign model as a folder to predict with and to train.

DIR gets net.yaml, weights.h5, train.yaml where the definition says what to learn from, state.h5 of a --state, and
fidelity.md and fidelity.json: what became of every layer and field, and what things are called. Nothing is written
unless all of the net is supported. A .caffemodel alone is enough where the definition is inside.

--check compares the imported net, layer by layer, with OpenCV 4.10 on random inputs, or with the arrays of --reference:
input/<blob> and out/<blob or layer>, or several cases as <tag>/input/<blob> and <tag>/out/<blob or layer>. Exit code 1
where numbers differ, by more than 1e-5 of the largest number of an output, or 1e-4 of one on the way, and where nothing
was compared.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .arguments import add_json_option
from .exchange import add_folder_option, add_image_options, add_input_option, stated_of, tell_import

if TYPE_CHECKING:
    from ..interop.caffe.model import Model
    from ..interop.caffe.solver import SolverDefinition

EPILOG = """\
  layerforge import caffe deploy.prototxt net.caffemodel -o net --mean-value 104,117,123
  layerforge predict net photo.jpg
  layerforge import caffe train_val.prototxt net.caffemodel --solver solver.prototxt --data-root ~/caffe -o net
  layerforge train net/train.yaml --init-weights net/weights.h5"""


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    parser = subparsers.add_parser("caffe", description=__doc__, epilog=EPILOG)
    parser.add_argument("definition", metavar="NET", help="a .prototxt, or a .caffemodel with the definition inside")
    words = "a .caffemodel or .caffemodel.h5 (default: those that the solver names)"
    parser.add_argument("weights", nargs="?", metavar="WEIGHTS", help=words)
    add_folder_option(parser)
    parser.add_argument("--solver", metavar="FILE", help="a solver.prototxt, for train.yaml")
    words = "a .solverstate or .solverstate.h5 to go on from: state.h5; needs --solver"
    parser.add_argument("--state", metavar="FILE", help=words)
    words = "of net.yaml (default test); train.yaml has both"
    parser.add_argument("--phase", choices=("train", "test"), help=words)
    words = "a stage that rules of layers ask for; may be repeated"
    parser.add_argument("--stage", action="append", default=[], metavar="NAME", help=words)
    words = "the level that rules of layers ask for (default 0; train.yaml: that of the solver, or of the net)"
    parser.add_argument("--level", type=int, metavar="N", help=words)
    add_input_option(parser, "data=1,3,224,224")
    words = "a folder that files which the definition names may be in, beside its own"
    parser.add_argument("--data-root", metavar="DIR", help=words)
    words = "a Python file that registers layers for those of type Python; may be repeated"
    parser.add_argument("--import", action="append", default=[], dest="imports", metavar="FILE.py", help=words)
    add_image_options(parser, "bgr, as Caffe's tools have them", scale="as the data layers say, or 1")
    words = "compare with OpenCV, or with --reference"
    parser.add_argument("--check", action="store_true", help=words)
    parser.add_argument("--reference", metavar="FILE", help="inputs and what they give, as .npz; with --check")
    add_json_option(parser)
    parser.set_defaults(run=run)
    return parser


def run(args: argparse.Namespace) -> int:
    from ..interop.caffe import against, opencv, preprocessing, training, writing
    from ..interop.caffe.model import load_model
    from ..interop.caffe.reading import SUFFIXES
    from ..interop.caffe.rules import State
    from ..schema.errors import ConfigError
    from ..schema.user_modules import import_all

    folder = Path(args.output)
    _demand(args, folder)
    import_all(args.imports)
    inputs = dict(args.input)
    solver = _solver(args)
    weights = args.weights or _weights_of_state(args)
    named = _weights_of_solver(args, solver)
    own = weights is not None or Path(args.definition).suffix in SUFFIXES
    model = load_model(args.definition, weights if own else named, phase=args.phase, **_wanted(args))
    if own and named:
        names = ", ".join(map(str, named))
        model.report.notes.append(f"solver: its weights {names} are left aside, as others were given")
    _demand_inputs(model, inputs)
    stated = stated_of(args)
    images = preprocessing.preprocessing_of(model, stated)
    asked = State(args.level, tuple(args.stage))
    learning = training.training_of(model, asked=asked, inputs=inputs, solver=solver, stated=stated)
    more = {} if args.state is None else {"state.h5": _state(args, model, solver, weights)}
    if args.state is not None and learning is None:
        hint = "--state needs the definition that Caffe trained with"
        raise ConfigError("the definition has nothing to train on", hint=hint)
    compared = None
    if args.reference:
        compared = against.against_reference(model, args.reference)
    elif args.check:
        compared = opencv.against_opencv(model)
    parts = {"training": learning, "preprocessing": images, "compared": compared, "imports": args.imports}
    writing.write_folder(model, folder, more, **parts)
    return tell_import(args, model.report, folder, compared)


def _demand(args: argparse.Namespace, folder: Path) -> None:
    """Refuse what cannot be done before anything is read."""
    from ..interop.caffe.opencv import demand_opencv
    from ..interop.folder import demand_new
    from ..schema.errors import ConfigError

    demand_new(folder)
    if args.reference and not args.check:
        raise ConfigError("--reference is what --check compares with", hint="add --check")
    if args.state and not args.solver:
        raise ConfigError("--state is the state of a solver", hint="add --solver solver.prototxt")
    if args.check and not args.reference:
        demand_opencv()


def _demand_inputs(model: Model, inputs: dict[str, Any]) -> None:
    """Refuse shapes of inputs that the net does not have."""
    from ..interop.caffe.twin import foreign_inputs
    from ..schema.errors import ConfigError

    known = foreign_inputs(model)
    for name in inputs:
        if name not in known:
            hint = f"inputs: {', '.join(known) or 'none'}"
            raise ConfigError(f"--input {name}: the net has no such input", hint=hint)


def _wanted(args: argparse.Namespace) -> dict[str, Any]:
    """Which of a definition's layers and files are meant."""
    named = {"inputs": dict(args.input), "data_root": args.data_root}
    return {"level": args.level or 0, "stages": args.stage, **named}


def _weights_of_state(args: argparse.Namespace) -> Path | None:
    """The weights that belong to --state; None without one."""
    from ..interop.caffe.state import read_state, weights_beside

    return None if args.state is None else weights_beside(read_state(args.state))


def _weights_of_solver(args: argparse.Namespace, solver: SolverDefinition | None) -> list[Path]:
    """The files of weights that a solver starts from, below the folders of the definition and of the solver."""
    from ..interop.caffe.paths import below

    if solver is None:
        return []
    roots = [Path(args.definition).parent, Path(args.solver).parent]
    roots += [] if args.data_root is None else [Path(args.data_root)]
    return [below(name, roots, solver.run.place) for name in solver.run.weights]


def _state(args: argparse.Namespace, model: Model, solver: SolverDefinition, weights: str | Path | None) -> bytes:
    """The content of state.h5."""
    from ..interop.caffe.model import load_model
    from ..interop.caffe.rules import State, state_of
    from ..interop.caffe.training import state_file

    _compare_iterations(model, args.state, weights)
    state = state_of(model.whole, solver.run.train_state, State(args.level, tuple(args.stage)))
    wanted = _wanted(args) | {"level": state.level, "stages": state.stages}
    return state_file(load_model(args.definition, phase="train", **wanted), solver, args.state, weights)


def _compare_iterations(model: Model, state: str, weights: str | Path | None) -> None:
    """Note where weights are called as those of another iteration than a state is of."""
    from ..interop.caffe.state import read_state

    found, iteration = re.search(r"_iter_(\d+)", Path(weights or "").name), read_state(state).iteration
    if found and int(found[1]) != iteration:
        model.report.notes.append(f"{state} is of iteration {iteration}, its weights {weights} are called otherwise")


def _solver(args: argparse.Namespace) -> Any:
    """The sections of a solver.prototxt; None without one."""
    from ..interop.caffe.solver import read_solver

    return None if args.solver is None else read_solver(args.solver)
