"""`layerforge test`: are the layers right? Gradients against finite differences, and the whole layer contract.

    layerforge test                      every registered layer
    layerforge test Linear BatchNorm     these
    layerforge test my_layers.py         those of a file of your own
    layerforge test configs/mlp.yaml     the gradients of a net, at random inputs; no data set is read

    layerforge test --against torch      every layer against what torch computes; also with types, files and configs
    layerforge test --backend strict     every layer on a stand-in for CuPy, without a GPU; in a clone
    layerforge test --backend cupy       every layer on a GPU
    layerforge test --engine onednn      the engine's layers against the reference's
    layerforge test --precision bf16-mixed   every layer in bfloat16 against float64; also with --engine

`layerforge gradcheck` is `layerforge test --only gradients`. Exit code 0 when everything passes, 1 when something does
not, 5 when the backend or the engine cannot be had. `layerforge eval` scores a trained net.
"""

from __future__ import annotations

import argparse
import inspect
import operator
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..arrays import threads
from ..schema.errors import ConfigError
from ..schema.precisions import BF16_MIXED, FULL
from ..schema.registry import LAYERS, engine_names
from ..schema.synonyms import did_you_mean
from .arguments import add_json_option, open_config
from .output import print_json
from .terminal import paint, tell

if TYPE_CHECKING:
    from ..check.agreement import Agreement
    from ..check.report import Report
    from ..contract.layer import Layer

CONFIG_SUFFIXES = (".yaml", ".yml")
WEIGHT_SUFFIXES = (".h5", ".hdf5")
Progress = Callable[[int, int], None]
Job = Callable[[Progress], "Report | Agreement"]


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Add `test` and its other name, `gradcheck`; returns the parser of `test`."""
    parser = subparsers.add_parser("test", help="check layers: gradients and the whole contract", description=__doc__)
    parser.add_argument("--only", action="append", metavar="CHECK", help="only this check; may be repeated")
    alias = subparsers.add_parser("gradcheck", help="test --only gradients", description=__doc__)
    alias.set_defaults(only=["gradients"])
    for each in (parser, alias):
        _add_arguments(each)
    return parser


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("targets", nargs="*", metavar="LAYER|FILE.py|CONFIG", help="what to check; default: all layers")
    parser.add_argument("--layer", metavar="NAME", help="only this layer of a config or file")
    parser.add_argument("--against", choices=("torch",), help="compare with torch instead, where it is installed")
    words = "numpy, cupy, or in a clone strict, a stand-in for CuPy (default numpy; of a config what it says)"
    parser.add_argument("--backend", metavar="B", help=words)
    names = ", ".join(engine_names())
    words = f"reference: the layers' own code alone; {names}: that engine's layers; auto: both (default)"
    parser.add_argument("--engine", metavar="E", help=words)
    words = "float32 (default), or bf16-mixed: what has bfloat16 for it, within what its roundings explain"
    parser.add_argument("--precision", metavar="P", help=words)
    parser.add_argument("--eps", type=float, metavar="H", help="step of the differences (default 1e-5)")
    words = "allowed: atol rms(gradient) + R |difference| (1e-5); against torch: atol + R max |b| (1e-10)"
    parser.add_argument("--rtol", type=float, metavar="R", help=words)
    parser.add_argument("--atol", type=float, metavar="A", help="the other term (1e-7; against torch 1e-12)")
    parser.add_argument("--samples", type=int, metavar="N", help="elements of each array judged alone (4; in nets 2)")
    parser.add_argument("--exhaustive", action="store_true", help="all elements, up to 4096 of each array")
    parser.add_argument("--dtype", metavar="T", help="of the backward under test (default float64; engines: float32)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="another seed draws other numbers (default 0)")
    parser.add_argument("-v", "--verbose", action="store_true", help="a line for each gradient, not for each layer")
    add_json_option(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Check the targets and print the report; 0 where all passes, otherwise 1.

    Errors   ConfigError for names, files and options that do not exist or cannot be; BackendError (exit 5) where the
             backend or the engine that is asked for cannot be had
    """
    from ..check.grounds import ground

    threads.use(1)  # examples are small: several threads would only wait for each other
    only = chosen_checks(args.only)
    args.ground = ground(args.backend or "numpy", args.engine or "auto", args.precision or FULL)
    if args.ground.precision != FULL:
        _refuse_beside_precision(args)
    if args.against:
        _refuse_beside_against(args)
    in_float32 = args.ground.engine and not args.ground.kernel_engine
    args.dtype = args.dtype or ("float32" if in_float32 else "float64")
    if in_float32 and args.dtype != "float32":
        hint = "its layers compute in float32"
        raise ConfigError(f"--dtype {args.dtype} has no meaning with --engine {args.engine}", hint=hint)
    jobs = [job for target in args.targets or [None] for job in resolve(target, args, only)]
    with progress_bar(len(jobs)) as show:
        report = run_all(jobs, show)
    if report.is_empty:
        what = "; ".join(report.warnings) or f"{', '.join(report.layers)}: nothing to check"
        raise ConfigError(what, hint=report.why_empty)
    if args.ground.engine:
        _refuse_without_engine(report, args.ground.engine)
    if args.json:
        print_json(report.as_dict())
    else:
        print(report.text(verbose=args.verbose, paint=lambda text, colour: paint(text, colour, sys.stdout)))
    for warning in () if getattr(args, "quiet", False) else report.warnings:
        tell(f"warning: {warning}")
    return 0 if report.ok else 1


def run_all(jobs: Sequence[Job], show: Callable[[float], None]) -> Report | Agreement:
    """One report of all jobs, of which there is one at least; `show` is told how many of them are done."""
    reports = (job(lambda done, total, i=i: show(i + done / max(total, 1))) for i, job in enumerate(jobs))
    return reduce(operator.add, reports)


def _refuse_without_engine(report: Any, engine: str) -> None:
    """ConfigError where an engine that is asked for by name computed nothing of what was to be checked."""
    if not any(report.engines.values()):
        reasons = dict.fromkeys(each.reason for each in report.inapplicable if each.check == f"engine {engine}")
        raise ConfigError(f"engine '{engine}' computes nothing of what is asked for", hint="; ".join(reasons) or None)


def _refuse_beside_against(args: argparse.Namespace) -> None:
    """ConfigError for options that say how gradients are checked against differences, or what computes in float32."""
    if args.ground.engine and not args.ground.kernel_engine:
        hint = "everything is compared in float64, which engines do not know"
        raise ConfigError(f"--engine {args.engine} has no meaning with --against {args.against}", hint=hint)
    given = {"--only": args.only, "--eps": args.eps, "--samples": args.samples, "--layer": args.layer}
    given |= {"--exhaustive": args.exhaustive or None, "--dtype": args.dtype if args.dtype != "float64" else None}
    for option in (option for option, value in given.items() if value is not None):
        hint = "everything is compared in float64; --rtol, --atol and --seed may be given"
        raise ConfigError(f"{option} has no meaning with --against {args.against}", hint=hint)


def _refuse_beside_precision(args: argparse.Namespace) -> None:
    """ConfigError for options that say how gradients are checked against differences or torch, in float64."""
    for name in ("against", "eps", "rtol", "atol", "samples", "dtype", "exhaustive", "seed"):
        if getattr(args, name):
            hint = "what is allowed follows from the roundings of each layer"
            raise ConfigError(f"--{name} has no meaning with --precision {args.ground.precision}", hint=hint)


def chosen_checks(names: list[str] | None) -> tuple[str, ...]:
    """The checks that --only names; all of them without it."""
    from ..check.examine import ALL

    for name in names or ():
        if name not in ALL:
            hint = did_you_mean(name, ALL) or f"checks: {', '.join(ALL)}"
            raise ConfigError(f"there is no check '{name}'", hint=hint)
    return tuple(names) if names else ALL


# What is checked ------------------------------------------------------------------------------------------------------


def resolve(target: str | None, args: argparse.Namespace, only: tuple[str, ...]) -> Iterator[Job]:
    """What to run for a target: functions that take a Progress and return a Report."""
    if target is None:
        _no_layer_option(args, "without a config or file")
        yield from (_examination(LAYERS.get(name), args, only) for name in LAYERS.names())
        return
    path, suffix = Path(target), Path(target).suffix.lower()
    if suffix == ".py":
        yield from (_examination(cls, args, _without_style(args, only)) for cls in layers_of_file(path, args.layer))
    elif suffix in WEIGHT_SUFFIXES or path.is_dir():
        raise _not_for_eval(target, path)
    elif suffix in CONFIG_SUFFIXES or (path.is_file() and target not in LAYERS):
        yield _net_check(target, args, only)
    else:
        if len(path.parts) > 1:
            raise ConfigError(f"there is no file {target}", hint="name a layer type, a .py file or a config")
        _no_layer_option(args, f"beside the type {target}")
        yield _examination(LAYERS.get(target), args, only)


def _no_layer_option(args: argparse.Namespace, where: str) -> None:
    if args.layer is not None:
        raise ConfigError(f"--layer {args.layer} has no meaning {where}", hint="name types: layerforge test Linear")


def _without_style(args: argparse.Namespace, only: tuple[str, ...]) -> tuple[str, ...]:
    """For users' layers the documentation is checked only when asked for: it is our style, not their contract."""
    return only if args.only else tuple(check for check in only if check != "documentation")


def _not_for_eval(target: str, path: Path) -> ConfigError:
    from ..training.rundir import find_run

    if path.is_dir() and find_run(path) is None:
        return ConfigError(f"{target} is a folder", hint="name a layer type, a .py file or a config")
    what = "a run" if path.is_dir() else "a file of weights"
    usage = f"layerforge eval {target}" if path.is_dir() else f"layerforge eval CONFIG --weights {target}"
    return ConfigError(
        f"{target} is {what}, but `layerforge test` checks gradients; `layerforge eval` scores a model", hint=usage
    )


def layers_of_file(path: Path, chosen: str | None) -> list[type[Layer]]:
    """The layers that a Python file registers, or the chosen one.

    Errors   ConfigError where the file cannot be imported, registers none, or not the chosen one
    """
    from ..contract.layer import Layer
    from ..schema.user_modules import import_file

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".* has no examples")  # the report says so itself
        module = import_file(path)
    own = [cls for cls in map(LAYERS.get, LAYERS.names()) if cls.__module__ == module.__name__]
    if not own:
        classes = [n for n, c in vars(module).items() if inspect.isclass(c) and issubclass(c, Layer) and c is not Layer]
        hint = f"put @register above class {classes[0]}" if classes else "a layer is a subclass of Layer with @register"
        raise ConfigError(f"{path} registers no layer", hint=hint)
    names = [cls.type_name for cls in own]
    if chosen is not None and chosen not in names:
        hint = did_you_mean(chosen, names) or f"it has: {', '.join(names)}"
        raise ConfigError(f"{path} registers no layer '{chosen}'", hint=hint)
    return [cls for cls in own if chosen in (None, cls.type_name)]


def _examination(cls: type[Layer], args: argparse.Namespace, only: tuple[str, ...]) -> Job:
    if args.against:
        return _comparison(cls, args)
    from ..check.examine import checks_on, examine
    from ..check.gradcheck import SAMPLES_LAYER, make_effort

    where, there = args.ground, checks_on(args.ground)
    for name in args.only or ():
        if name not in there:
            hint = _remedy(name) if where.precision == FULL else f"there are: {', '.join(there)}"
            raise ConfigError(f"{cls.type_name}: there is no check '{name}' on {where}", hint=hint)
    if not where.runs_layers and where.precision == FULL:
        _refuse_beside_engine(args)
    samples = SAMPLES_LAYER if args.samples is None else args.samples
    effort = make_effort(args.rtol, args.atol, args.eps, samples, args.exhaustive, args.seed, args.dtype)

    def job(show: Progress) -> Report:
        done: list[str] = []

        def tick(name: str) -> None:
            done.append(name)
            show(len(done), len(cls.examples) * (where.runs_layers + len(where.layer_engines)))

        return examine(cls, effort, only, tick, where)

    return job


def _remedy(check: str) -> str:
    """On what a check is run that another backend, engine or precision does not have."""
    from ..check.contract import DEVICE_CHECKS, ENGINE_CHECKS, PRECISION_CHECKS

    if check in PRECISION_CHECKS:
        return f"it is of layers in {BF16_MIXED}: --precision {BF16_MIXED}"
    if check in DEVICE_CHECKS:
        return "it is of devices: --backend strict, or cupy"
    if check in ENGINE_CHECKS:
        return "it is of engines' layers, and no engine computes there"
    return "it is of the layers' own code: --engine reference; --only agrees holds an engine's layers against that"


def _refuse_beside_engine(args: argparse.Namespace) -> None:
    """ConfigError for options that say how the reference's gradients are checked against differences."""
    given = {name: getattr(args, name) for name in ("eps", "rtol", "atol", "samples")}
    given |= {"exhaustive": args.exhaustive or None, "seed": args.seed or None}
    for option in (option for option, value in given.items() if value is not None):
        hint = "an engine's layers are compared with the reference's, of a config's net the gradients with differences"
        raise ConfigError(f"--{option} has no meaning for layers with --engine {args.engine}", hint=hint)


def _comparison(target: type[Layer] | str, args: argparse.Namespace) -> Job:
    """The comparison of a layer, or of the net of a config, with torch."""
    from ..check.against import against, against_net, torch_reference
    from ..check.agreement import Allowed

    given = {"rtol": args.rtol, "atol": args.atol}
    for name, value in given.items():
        if value is not None and not value >= 0:
            raise ConfigError(f"{name} must be >= 0, got {value}")
    if args.seed < 0:
        raise ConfigError(f"seed must be >= 0, got {args.seed}")
    allowed = Allowed(**{name: value for name, value in given.items() if value is not None})
    reference = torch_reference()
    if isinstance(target, str):
        config = open_config(target, (), allow_import=True)
        chosen = args.ground.backend if args.backend else None
        return lambda show: against_net(config, reference, allowed, args.seed, chosen)
    examples, backend = len(target.examples), args.ground.backend
    return lambda show: against(target, reference, allowed, args.seed, lambda n: show(n, examples), backend)


def _net_check(path: str, args: argparse.Namespace, only: tuple[str, ...]) -> Job:
    from ..check.gradcheck import gradcheck

    if args.against:
        return _comparison(path, args)
    if args.ground.precision != FULL:
        hint = "differences need float64; name types, or none for all of them"
        raise ConfigError(f"{path}: --precision {args.ground.precision} is for layers", hint=hint)
    if "gradients" not in only:
        raise ConfigError(f"{path}: of a net the gradients are checked", hint="the contract is for layers: name types")
    options = {name: getattr(args, name) for name in ("layer", "rtol", "atol", "eps", "samples", "exhaustive")}
    options |= {"seed": args.seed, "dtype": args.dtype, "engine": args.engine}
    backend = args.ground.backend if args.backend else None
    return lambda show: gradcheck(path, backend=backend, progress=show, **options)


# What is shown --------------------------------------------------------------------------------------------------------


@contextmanager
def progress_bar(total: int) -> Iterator[Callable[[float], None]]:
    """A bar on stderr while this lasts, where that is a terminal; yields what to tell the number of jobs done."""
    from tqdm import tqdm

    bar = tqdm(total=total, disable=True if "CI" in os.environ else None, leave=False, dynamic_ncols=True, unit="job")
    with bar:
        yield lambda done: bar.update(round(done, 1) - bar.n)
