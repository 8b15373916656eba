"""`layerforge check CONFIG...`: all errors of configs, or the tables of their nets.

Nothing is fetched or trained; of data files that are here, labels and sizes are looked at.
"""

from __future__ import annotations

import argparse
import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from ..schema.errors import ConfigError, LayerForgeError, flatten
from .arguments import add_config_arguments, add_json_option, open_config
from .failures import tell_refusal
from .output import print_json
from .terminal import note, tell

if TYPE_CHECKING:
    from ..net import Net

EPILOG = """\
Prints a table with each layer's type, bottoms, top shape, parameters, millions of floating-point operations of one
forward, the memory that it keeps for backward, who computes it and in what. With --json the same for programs: of the
net `precision` (asked, mixed, why), of each layer `precision` and `wide`, why that is not the one asked for. Exits with
2 where a config has errors."""


@dataclass
class Finding:
    """What is to be said about one file: its errors, or its net."""

    path: str
    error: LayerForgeError | None = None
    net: dict[str, Any] | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def errors(self) -> list[LayerForgeError]:
        """The single errors."""
        return [] if self.error is None else flatten(self.error)

    @property
    def exit_code(self) -> int:
        """0 where there is no error."""
        return 0 if self.error is None else self.error.exit_code


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    parser = subparsers.add_parser(
        "check", help="find all errors of configs, or print their nets' tables", description=__doc__, epilog=EPILOG
    )
    add_config_arguments(parser, many=True)
    add_json_option(parser)
    parser.set_defaults(run=run)
    return parser


def run(args: argparse.Namespace) -> int:
    paths = [text for text in args.configs if "=" not in text or os.path.exists(text)]
    overrides = [text for text in args.configs if text not in paths] + args.set
    if not paths:
        raise ConfigError("which config?", hint="layerforge check CONFIG [KEY=VALUE ...]")
    findings: list[Finding] = []
    with all_is_kept():
        for path in paths:
            if findings:
                gc.collect()  # the net before
            findings.append(examine(path, overrides, args.allow_import))
            if not args.json:
                show(findings[-1], args)
    if args.json:
        print_json({"ok": all(f.error is None for f in findings), "files": [as_json(f) for f in findings]})
    elif len(findings) > 1:
        wrong = sum(f.error is not None for f in findings)
        tell(f"{len(findings)} files checked, {wrong or 'none'} with errors")
    codes = [f.exit_code for f in findings]
    return 2 if 2 in codes else max(codes)


@contextmanager
def all_is_kept() -> Iterator[None]:
    """Look for no garbage while this lasts: what is built lives on, and to find that takes a third of the time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.freeze()  # and back: all of it is old at once, or the next collections would go through it again
            gc.enable()
            gc.unfreeze()


def examine(path: str, overrides: list[str], allow_import: bool = False) -> Finding:
    """Read a file and build its net, for both phases and all data sections, on NumPy whatever backend it names."""
    from ..arrays.backend import NUMPY
    from ..config.yaml_dump import dump_yaml
    from ..net import Net
    from ..solvers.rows import refuse_rows
    from ..training.batches import check_batches, known_counts
    from .net_table import describe

    try:
        config = open_config(path, overrides, allow_import)
        named = replace(NUMPY, name=config.top.backend)  # NumPy in its place: the table says who computes there
        net = Net(config, keep="none", backend=named)
        dump_yaml(config.resolved())  # a run begins with that; the path of a folder may be what YAML cannot hold
        check_sections(net)
        if config.solver is not None:
            refuse_rows(net, config.solver)
        if config.data is not None:
            check_batches(net, config.data, known_counts(config.data), most_batches(config))
        return Finding(path, net=describe(net), notes=remarks(net))
    except LayerForgeError as error:
        return Finding(path, error)


def most_batches(config: Any) -> int | None:
    """How many batches of train a run of this config uses at most; None where it goes through all of them."""
    section = config.train
    limits = [n for n in (section.overfit_batches, (section.max_steps or 0) * section.accumulate_grad_batches) if n]
    return min(limits, default=None)


def check_sections(net: Net) -> None:
    """LayerForgeError where the net does not take the batches of val or test: their shapes may be others."""
    from ..plan.planner import make_plan

    data = net.config.data
    for section in ("val", "test") if data is not None else ():
        if section not in data.feeds():
            continue
        specs = {name: spec.with_dtype(net.dtype) for name, spec in data.specs(section).items()}
        try:
            make_plan(net.graph.phases["eval"], specs, None, frozenset())
        except LayerForgeError as error:
            message = f"the net does not take the data of data.{section}: {error.message}"
            raise ConfigError(message, place=error.place, hint=error.hint) from error


def remarks(net: Net) -> list[str]:
    """What is right but may not be meant."""
    from ..arrays.backend import get_backend

    notes = []
    if net.config.solver is None:
        notes.append("there is no solver section; `layerforge train` needs at least solver.lr")
    if not any(any(node.loss_weights) for node in net.graph.nodes if node.runs_in("train")):
        notes.append("no layer is a loss in train, so there is nothing to minimise")
    notes += division(net)
    notes += gaps(net)
    try:
        get_backend(net.config.top.backend)
    except LayerForgeError as error:
        notes.append(f"{error.message}; checked on numpy")
    return notes


def gaps(net: Net) -> list[str]:
    """Classes that train has and val or test has not, or the other way round, as far as labels are in files here."""
    from ..data.opening import class_gaps
    from ..graph.class_counts import compare_class_counts
    from ..graph.uses import uses_of

    data = net.config.data
    if data is None:
        return []
    labels = {section: feed.source.labels() for section, feed in data.feeds().items()}
    counts = compare_class_counts(net.graph, data.train.source.class_names)
    return [*data.train.source.notes(), *counts, *class_gaps(data, labels, uses_of(net.graph))]


def division(net: Net) -> list[str]:
    """How many samples `data.split` gives to each section, where their files are here."""
    data = net.config.data
    if data is None or data.split is None or data.train.source.with_share(None).count_samples() is None:
        return []
    sizes: dict[str, int | None] = {}
    for name in data.split.sections:
        source = data.feed(name).source
        sizes[name] = source.count_samples()
        if sizes[name] is None and source.share is not None:  # it depends on the groups, which are in the file
            sizes[name] = len(source.share.positions)
    return [f"data.split: {', '.join(f'{name} {size}' for name, size in sizes.items())} samples"]


def show(finding: Finding, args: argparse.Namespace) -> None:
    """A finding for people: errors to stderr, the table to stdout."""
    from .net_table import table_of

    if finding.error is not None:
        tell_refusal(finding.error, args.debug)
    elif not args.quiet:
        print(f"{finding.path}: no errors\n\n{table_of(finding.net or {})}\n")
        for text in finding.notes:
            note(f"{finding.path}: {text}")


def as_json(finding: Finding) -> dict[str, Any]:
    """A finding for programs."""
    return {
        "file": finding.path,
        "ok": finding.error is None,
        "errors": [
            {
                "message": error.message,
                "file": error.place.file if error.place else None,
                "line": error.place.line if error.place else None,
                "column": error.place.column if error.place else None,
                "hint": error.hint,
                "exit_code": error.exit_code,
            }
            for error in finding.errors
        ],
        "notes": finding.notes,
        "net": finding.net,
    }
