"""Commands that come in formats: `layerforge import caffe ...`, `layerforge export onnx ...`.

The command's module has a table FORMATS, from the name of each format to its module and what it is in a few words. The
module of a format has `add_parser(subparsers)` and `run(args)`, as that of a command has, and is alone imported.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

from .arguments import Parser, UsageError

Formats = Mapping[str, tuple[str, str]]


def add_parser(subparsers: Any, command: str, doc: str | None, formats: Formats) -> Parser:
    """The parser of the command itself, for its help."""
    width = max(len(name) for name in formats)
    listed = "\n".join(f"  {name:{width}}  {words}" for name, (_, words) in formats.items())
    epilog = f"formats:\n{listed}\n\nlayerforge {command} FORMAT --help says the rest."
    parser: Parser = subparsers.add_parser(command, usage=_usage(command), description=doc, epilog=epilog)
    parser.add_argument("format", metavar="FORMAT", choices=formats, help=", ".join(formats))
    parser.add_argument("rest", nargs="*", metavar="...", help="as the format has it")
    return parser


def parser_of(command: str, formats: Formats, arguments: Sequence[str]) -> tuple[Parser, list[str]] | None:
    """The parser of the format that is named, and the other arguments; None where there is no word.

    The format is the first word that is one, options may stand before it; the value of an option is none.

    Errors   UsageError for a format that does not exist, and where none is named
    """
    before = ["", *arguments]  # the word before each
    words = [i for i, word in enumerate(arguments) if not word.startswith("-")]
    for at in words:
        name = arguments[at]
        parser = _parser(command, name, formats) if name in formats else None
        if parser is not None and not parser.takes_value(before[at]):
            return parser, [*arguments[:at], *arguments[at + 1 :]]
    if not words:
        return None
    usage = f"usage: {_usage(command)}\n"
    alone = next((arguments[at] for at in words if not before[at].startswith("-")), None)
    if alone is None:
        raise UsageError(f"{command} names no format", usage)
    raise UsageError(f"unknown format '{alone}'", usage, alone, formats)


def _parser(command: str, name: str, formats: Formats) -> Parser:
    """The parser of a format."""
    subparsers = Parser(prog=f"layerforge {command}", add_help=False).add_subparsers()
    importlib.import_module(f".{formats[name][0]}", __package__).add_parser(subparsers)
    parser: Parser = subparsers.choices[name]
    return parser


def _usage(command: str) -> str:
    return f"layerforge {command} FORMAT ..."
