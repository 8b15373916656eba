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
    """The parser of the format that is the first word, and the other arguments; None where there is no word.

    Errors   UsageError for a format that does not exist
    """
    at = next((i for i, word in enumerate(arguments) if not word.startswith("-")), len(arguments))
    if at == len(arguments):
        return None
    name, others = arguments[at], [*arguments[:at], *arguments[at + 1 :]]
    if name not in formats:
        raise UsageError(f"unknown format '{name}'", f"usage: {_usage(command)}\n", name, formats)
    subparsers = Parser(prog=f"layerforge {command}", add_help=False).add_subparsers()
    importlib.import_module(f".{formats[name][0]}", __package__).add_parser(subparsers)
    return subparsers.choices[name], others


def _usage(command: str) -> str:
    return f"layerforge {command} FORMAT ..."
