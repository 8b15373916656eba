"""What commands print on stdout: JSON for machines, one-line YAML inside texts for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..schema.texts import to_json


def print_json(value: Any) -> None:
    """A value as JSON on stdout. Numbers that JSON does not have (inf, nan) become the words of YAML."""
    print(to_json(value, indent=2, words=True))


def yaml_line(value: Any) -> str:
    """The YAML of a value where it fits on one line; "" otherwise."""
    from ..config.yaml_dump import dump_yaml

    as_item = isinstance(value, Mapping)  # the items of a list are written on one line, [{...}] or - {...}
    text = dump_yaml([value] if as_item else value).rstrip("\n")
    if as_item:
        text = text[1:-1] if text.startswith("[") else text.removeprefix("- ")
    return "" if "\n" in text else text
