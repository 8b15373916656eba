"""Writing a tree of mappings, lists and scalars as YAML that people like to read and any reader reads back.

Mappings are blocks; short lists of scalars and the mappings inside lists (layers) stay on one line while they fit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..schema.errors import ConfigError
from .scalars import quoted_scalar, shorten

WIDTH = 110
LONGEST_SIMPLE_KEY = 500  # YAML looks for the ':' of an ordinary key within 1024 characters


def dump_yaml(tree: Any) -> str:
    """The YAML text of a tree, ending in a line feed. Reading it back gives an equal tree, floats bit for bit.

    Errors   ConfigError for values that YAML cannot hold (arrays, objects, keys that are not strings)
    """
    if not tree or not isinstance(tree, Mapping):
        return _flow(tree) + "\n"
    return "\n".join(_block(tree, 0)) + "\n"


def _is_flow(value: Any, room: int, in_list: bool = False) -> bool:
    """Whether a value goes on one line of at most `room` characters."""
    if not isinstance(value, (Mapping, list, tuple)) or not value:
        return True
    if isinstance(value, Mapping):
        small = in_list or (len(value) == 1 and not any(isinstance(v, (Mapping, list, tuple)) for v in value.values()))
    else:
        small = in_list or not any(isinstance(v, Mapping) for v in value)
    return small and len(value) <= room and len(_flow(value)) <= room


def _flow(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_key(k, ' ')}: {_flow(v)}" for k, v in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_flow, value)) + "]"
    return quoted_scalar(value)


def _key(key: Any, gap: str) -> str:
    if not isinstance(key, str):
        raise ConfigError(f"the key {shorten(repr(key))} is not a string and cannot be written as YAML")
    text = quoted_scalar(key)
    return f"? {text}{gap}" if len(text) > LONGEST_SIMPLE_KEY else text


def _block(value: Any, indent: int) -> Iterator[str]:
    """The lines of a mapping or list that does not go on one line."""
    pad = " " * indent
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _entry(f"{pad}{_key(key, chr(10) + pad)}:", item, indent, in_list=False)
    else:
        for item in value:
            yield from _entry(f"{pad}-", item, indent, in_list=True)


def _entry(head: str, item: Any, indent: int, in_list: bool) -> Iterator[str]:
    if _is_flow(item, WIDTH - len(head) - 1, in_list):
        yield f"{head} {_flow(item)}"
        return
    inner = _block(item, indent + 2)
    if in_list:  # "- name: fc1": the first line of the item begins beside the dash
        yield f"{head} {next(inner).lstrip(' ')}"
    else:
        yield head
    yield from inner
