"""Arguments: argparse with errors in our form, and what several commands take."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterable, Sequence
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from ..schema.errors import BackendMissing, ConfigError
from ..schema.regular_files import irregular
from ..schema.synonyms import did_you_mean

if TYPE_CHECKING:
    from ..config.document import Config


class UsageError(ConfigError):
    """A command line that cannot be understood. `usage` is printed above the error."""

    def __init__(self, message: str, usage: str, word: str = "", known: Iterable[str] = ()) -> None:
        super().__init__(message, hint=(did_you_mean(word, known) if word else None) or "--help shows what there is")
        self.usage = usage


class Parser(argparse.ArgumentParser):
    """An argument parser that raises UsageError instead of leaving the process."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"formatter_class": argparse.RawDescriptionHelpFormatter, **kwargs})

    def error(self, message: str) -> NoReturn:
        raise UsageError(message, self.format_usage())

    def takes_value(self, option: str) -> bool:
        """Whether the word behind an option belongs to it."""
        action = self._option_string_actions.get(option)
        return action is not None and action.nargs != 0

    def options(self) -> list[str]:
        """All option strings."""
        return list(self._option_string_actions)


def parse(parser: Parser, arguments: Sequence[str]) -> argparse.Namespace:
    """Parse the arguments of a command; KEY=VALUE may stand anywhere between the options.

    Options are written out: an abbreviation would mean something else as soon as there is another option like it.

    Errors   UsageError with the command's usage, and a suggestion for a mistyped option
    """
    for option in (word.partition("=")[0] for word in takewhile(lambda word: word != "--", arguments)):
        if option.startswith("--") and option not in parser.options():  # before argparse misses what is required
            raise UsageError(f"unknown option '{option}'", parser.format_usage(), option, parser.options())
    args, extra = parser.parse_known_intermixed_args(arguments)
    for word in extra:
        kind = "unknown option" if word.startswith("-") else "unexpected argument"
        raise UsageError(f"{kind} '{word}'", parser.format_usage())
    return args


def add_common_options(parser: Parser) -> None:
    """What every command takes; an option that a command has already is left to it."""
    parser.set_defaults(quiet=False, verbose=False)
    for flags, words in (
        (("-q", "--quiet"), "no notes and no warnings on stderr"),
        (("-v", "--verbose"), "also time and memory taken"),
        (("--debug",), "show the traceback of an error (also LAYERFORGE_DEBUG=1)"),
    ):
        with contextlib.suppress(argparse.ArgumentError):
            parser.add_argument(*flags, action="store_true", help=words)


def add_config_arguments(parser: argparse.ArgumentParser, *, many: bool = False) -> None:
    """The config, or several, and its overrides, as every command that takes a config has them."""
    if many:
        parser.add_argument("configs", nargs="+", metavar="CONFIG", help="YAML files or runs; KEY=VALUE overrides")
    else:
        parser.add_argument("config", metavar="CONFIG", help="a YAML file, or the folder of a run")
        words = "overrides, such as solver.lr=0.05"
        parser.add_argument("assignments", nargs="*", default=[], metavar="KEY=VALUE", help=words)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="the same; may be repeated")
    parser.add_argument("--allow-import", action="store_true", help="run the Python files that a run's config imports")


def add_json_option(parser: argparse.ArgumentParser) -> None:
    """--json, for commands whose results are of use to programs."""
    parser.add_argument("--json", action="store_true", help="print JSON on stdout, and nothing else there")


def add_backend_option(parser: argparse.ArgumentParser) -> None:
    """--backend, for commands that compute with a net of a run or file, whichever backend that says."""
    words = "compute on numpy or cupy; by default as its configuration says"
    parser.add_argument("--backend", choices=("numpy", "cupy"), help=words)


def offer_numpy(error: BackendMissing, parser: Parser, args: argparse.Namespace) -> None:
    """Add to the hint of an error how the command that ended with it computes without CuPy."""
    takes_option = "--backend" in parser.options()
    way = "--backend numpy" if takes_option else "backend=numpy" if hasattr(args, "assignments") else ""
    if way:
        error.hint = f"{error.hint}\n     = {way} computes without CuPy"


def output_path(text: str) -> str:
    """An argument that is a file or folder to be written: it has a name."""
    if not text.strip():
        raise argparse.ArgumentTypeError("must be a name, got ''")
    return text


def output_file(text: str) -> str:
    """An argument that is a file to be written: a pipe or device would be replaced by a file."""
    output_path(text)
    kind = irregular(text)
    if kind is not None:
        raise argparse.ArgumentTypeError(f"{text} is {kind}, which a file would replace: write a file, and pass it on")
    return text


def demand_suffix(path: Path, suffix: str) -> None:
    """Refuse a file that is called otherwise. Errors: ConfigError"""
    if path.name == suffix:
        raise ConfigError(f"{path} is a suffix without a name", hint=f"-o {path.with_name(f'net{suffix}')}")
    if path.suffix != suffix:
        raise ConfigError(f"{path} does not end in {suffix}", hint=f"-o {path.with_suffix(suffix)}")


def positive(text: str) -> int:
    """An argument that is an integer of at least 1."""
    with contextlib.suppress(ValueError):
        if int(text) >= 1:
            return int(text)
    raise argparse.ArgumentTypeError(f"must be an integer >= 1, got '{text}'")


def renaming(text: str) -> tuple[str, str]:
    """An argument OLD=NEW."""
    old, found, new = text.partition("=")
    if not (old and found and new):
        raise argparse.ArgumentTypeError(f"must be OLD=NEW, got '{text}'")
    return old, new


def open_config(path: str, overrides: Sequence[str], allow_import: bool) -> Config:
    """The configuration of a file or a run; training/rundir.py says when its `import:` files are run."""
    from ..training.rundir import load_config

    return load_config(path, overrides, allow_import)[0]
