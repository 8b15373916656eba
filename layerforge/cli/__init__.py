"""The command line: `layerforge COMMAND ...`. Here are the list of commands and the way to one of them.

A command is a module of this package with `add_parser(subparsers)`, which returns its parser, and `run(args) -> int`,
the exit code. Only the module of the command that was asked for is imported, so help is there at once.
"""

from __future__ import annotations

import importlib
import os
import sys
import time
import warnings
from argparse import Namespace
from collections.abc import Sequence

from .._version import __version__
from ..schema.errors import BackendMissing
from .arguments import Parser, UsageError, add_common_options, offer_numpy, parse
from .failures import guarded
from .terminal import note, peak_memory, safe_streams

# Command: (its module, what it does in a few words).
COMMANDS = {
    "train": ("train_command", "train the net of a config and leave a run directory"),
    "test": ("test_command", "prove layers right: gradients and the whole contract"),
    "gradcheck": ("test_command", "the gradients alone: test --only gradients"),
    "find-lr": ("find_lr_command", "look for a learning rate: a range test on a net that is thrown away"),
    "eval": ("eval_command", "score a trained net"),
    "predict": ("predict_command", "apply a trained net to files"),
    "sample": ("sample_command", "let a language model go on writing"),
    "check": ("check_command", "all errors of configs, or the net's table; touches no data"),
    "config": ("config_command", "a config with all defaults, and where each value came from"),
    "layers": ("layers_command", "the catalogue of layers, or all about one: formula, shapes, parameters"),
    "time": ("time_command", "forward and backward milliseconds of each layer"),
    "trace": ("trace_command", "one step, every blob and gradient into a file"),
    "diff": ("diff_command", "the first array that differs between two traces, checkpoints or runs"),
    "replay": ("replay_command", "run the step that diverged again, and name what went wrong first"),
    "verify": ("verify_command", "put promises to the test: resume, and gradients of parts of a batch"),
    "import": ("import_command", "a model of another program as a folder: net, weights, and how exact it is"),
    "export": ("export_command", "a trained net for another program"),
    "doctor": ("doctor_command", "what is there to compute with, and what of it does not work"),
    "data": ("data_command", "data sets: list, info, verify, download"),
}

EXIT_CODES = (
    ("0", "ok"),
    ("1", "the thing checked is not so, or the run failed"),
    ("2", "usage or configuration"),
    ("3", "a data set, checkpoint or other file is missing or damaged"),
    ("4", "training diverged"),
    ("5", "a backend or engine was asked for and cannot be used, or its device fails"),
    ("130, 143", "stopped by SIGINT, by SIGTERM or SIGUSR1; training saves first"),
)

VARIABLES = (
    ("LAYERFORGE_DATA", "folder in which data sets are looked for"),
    ("LAYERFORGE_CACHE", "folder for downloads"),
    ("LAYERFORGE_MIRROR", "address of a copy of the data sets"),
    ("LAYERFORGE_OFFLINE", "1: download nothing"),
    ("LAYERFORGE_DEBUG", "1: as --debug"),
    ("NO_COLOR, FORCE_COLOR", "colours never, or always"),
)

USAGE = "usage: layerforge [--version] [--debug] COMMAND ...\n"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code; nothing is raised. Results go to stdout, all else to stderr."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    with safe_streams():
        return guarded(lambda: dispatch(arguments), wants_debug(arguments))


def wants_debug(arguments: Sequence[str]) -> bool:
    """Whether tracebacks are to be shown."""
    return "--debug" in arguments or os.environ.get("LAYERFORGE_DEBUG", "0") not in ("", "0")


def dispatch(arguments: list[str]) -> int:
    """Find the command among the arguments and run it."""
    at = next((i for i, word in enumerate(arguments) if not word.startswith("-")), len(arguments))
    before = arguments[:at]
    if "--version" in before:
        print(f"layerforge {__version__}")
        return 0
    if at == len(arguments):
        return without_command(before)
    name = arguments[at]
    if name not in COMMANDS:
        raise UsageError(f"unknown command '{name}'", USAGE, name, COMMANDS)
    return run_command(name, before + arguments[at + 1 :])


def without_command(options: list[str]) -> int:
    """`layerforge` alone, or with nothing but options."""
    known = ("-h", "--help", "--version", "--debug")
    for option in options:
        if option not in known:
            raise UsageError(f"unknown option '{option}'", USAGE, option, known)
    asked = "-h" in options or "--help" in options
    print(help_text(), end="", file=sys.stdout if asked else sys.stderr)
    return 0 if asked else 2


def run_command(name: str, arguments: list[str]) -> int:
    """Import the command's module, parse what follows its name, run it."""
    parser, arguments = parser_of(name, arguments)
    add_common_options(parser)
    args: Namespace = parse(parser, arguments)
    args.debug = wants_debug(arguments)
    if args.quiet and not sys.warnoptions:
        warnings.simplefilter("ignore")
    began = time.perf_counter()
    try:
        code: int = args.run(args)
    except BackendMissing as error:
        offer_numpy(error, parser, args)
        raise
    if args.verbose:
        note(f"{time.perf_counter() - began:.2f} s, {peak_memory()}")
    return code


def parser_of(name: str, arguments: list[str]) -> tuple[Parser, list[str]]:
    """The parser of a command, or of the format that a command is asked for, and what it is to parse."""
    module = importlib.import_module(f".{COMMANDS[name][0]}", __name__)
    if hasattr(module, "FORMATS"):
        from . import formats

        chosen = formats.parser_of(name, module.FORMATS, arguments)
        if chosen is not None:
            return chosen
    subparsers = Parser(prog="layerforge", add_help=False).add_subparsers()
    module.add_parser(subparsers)
    return subparsers.choices[name], arguments


def help_text() -> str:
    """What `layerforge --help` prints."""
    options = (
        ("-h, --help", "this text; layerforge COMMAND --help for a command's"),
        ("--version", "the version"),
        ("--debug", "show the traceback of an error"),
    )
    commands = tuple((name, words) for name, (_, words) in COMMANDS.items())
    parts = (("commands", commands), ("options", options), ("exit codes", EXIT_CODES), ("environment", VARIABLES))
    width = max(len(word) for _, rows in parts for word, _ in rows)
    text = USAGE + "\nNeural networks as YAML stacks of layers with hand-written, proven backward passes.\n"
    for title, rows in parts:
        text += f"\n{title}:\n" + "".join(f"  {word:{width}}  {what}\n" for word, what in rows)
    return text
