"""The text of modules: where a name is made in it, and what a name that comes from elsewhere means."""

from __future__ import annotations

import ast
import importlib
import inspect
import sys
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

from ...schema.user_modules import is_file

THIRD_PARTY = ("site-packages", "dist-packages")


class Unwritable(Exception):
    """What stands against writing a layer down, in words that follow "because"."""


@dataclass(frozen=True)
class Foreign:
    """A name of Python's library or of NumPy: how it is imported."""

    statement: str
    name: str


@dataclass(frozen=True)
class Made:
    """A name that a module's text makes, at the top of it: a function, a class or a constant."""

    text: ModuleText
    name: str
    node: ast.stmt

    @property
    def value(self) -> Any:
        return getattr(self.text.module, self.name)


class ModuleText:
    """A module with its source.

    Errors   Unwritable where there is no source
    """

    def __init__(self, module: ModuleType) -> None:
        self.module = module
        try:
            self.source = inspect.getsource(module)
        except (OSError, TypeError):
            raise Unwritable(f"the source of {module.__name__} cannot be read") from None
        self.tree = ast.parse(self.source)
        self.lines = self.source.splitlines(keepends=True)

    def __hash__(self) -> int:
        return hash(self.module.__name__)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ModuleText) and self.module is other.module

    @cached_property
    def made(self) -> dict[str, ast.stmt]:
        """The statements at the top of the module by the names that they make, the last one of each."""
        found: dict[str, ast.stmt] = {}
        for node in self.tree.body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                found[node.name] = node
            elif isinstance(node, ast.Import | ast.ImportFrom):
                found |= {(a.asname or a.name).split(".")[0]: node for a in node.names}
            elif isinstance(node, ast.Assign | ast.AnnAssign):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                found |= {n.id: node for t in targets for n in ast.walk(t) if isinstance(n, ast.Name)}
        return found

    @cached_property
    def _starts(self) -> list[int]:
        """Where each line begins in the source."""
        starts = [0]
        for line in self.lines:
            starts.append(starts[-1] + len(line))
        return starts

    def at(self, line: int, column: int) -> int:
        """The place in the source of a line from 1 and a column in bytes, as nodes have them."""
        text = self.lines[line - 1]
        return self._starts[line - 1] + (column if text.isascii() else len(text.encode()[:column].decode()))

    def span(self, node: Any) -> tuple[int, int]:
        """Where a node begins and ends in the source."""
        return self.at(node.lineno, node.col_offset), self.at(node.end_lineno, node.end_col_offset)

    @cached_property
    def _functions(self) -> dict[int, list[Any]]:
        """The functions and lambdas by their first line, with that of a decorator."""
        found: dict[int, list[Any]] = {}
        for node in ast.walk(self.tree):
            if isinstance(node, ast.FunctionDef | ast.Lambda):
                first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", ()))])
                found.setdefault(first, []).append(node)
        return found

    def function(self, code: CodeType) -> Any:
        """The function or lambda that some code was compiled from. Errors   Unwritable"""
        candidates = [
            node
            for node in self._functions.get(code.co_firstlineno, ())
            if getattr(node, "name", "<lambda>") == code.co_name
        ]
        if len(candidates) > 1:
            places = [place for place in code.co_positions() if None not in place and place[3]]
            candidates = [n for n in candidates if _holds(n, places)]
        if len(candidates) != 1:
            raise Unwritable(f"the source of its {code.co_name} cannot be found in {self.module.__name__}")
        return candidates[0]


def is_meant(decorator: ast.expr) -> bool:
    """Whether a decorator does something when the program runs on NumPy, but for taking less time."""
    without = ("any_arguments", "override", "formula", "in_blocks")
    return not (isinstance(decorator, ast.Name) and decorator.id in without)


def short_name(module: str) -> str:
    """What a module is called in a few letters: of a user's file its name, wherever it is."""
    file = getattr(sys.modules.get(module), "__file__", None)
    return Path(file).stem if file is not None and is_file(module) else module.rpartition(".")[2]


def _holds(node: Any, places: list[Any]) -> bool:
    """Whether one of these instructions is all of a lambda's body, as the last but its return is."""
    body = node.body
    begin, end = (body.lineno, body.col_offset), (body.end_lineno, body.end_col_offset)
    return any((p[0], p[2]) == begin and (p[1], p[3]) == end for p in places)


@cache
def text_of(module: str) -> ModuleText:
    """The text of a module that is loaded."""
    return ModuleText(sys.modules[module])


def origin(module: str) -> str:
    """Where a module is from: "here" (its source is taken), "foreign" (it is imported), "other" (it must not be)."""
    top = module.partition(".")[0]
    if top == "layerforge" or is_file(module):
        return "here"
    if top == "numpy" or top in sys.stdlib_module_names:
        return "foreign"
    file = getattr(sys.modules.get(module), "__file__", None) or ""
    return "other" if not file or any(word in file for word in THIRD_PARTY) else "here"


def meaning(module: str, name: str) -> Made | Foreign | ModuleType:
    """What a name of a module means: followed through imports to the text that makes it.

    Errors   Unwritable for what comes from other packages, and what no text makes
    """
    text = text_of(module)
    node = text.made.get(name)
    if isinstance(node, ast.Import):
        wanted = next(a for a in node.names if (a.asname or a.name).split(".")[0] == name)
        if origin(wanted.name) == "here":
            return importlib.import_module(wanted.name if wanted.asname else name)
        return _foreign(f"import {wanted.name}" + (f" as {name}" if wanted.asname else ""), wanted.name, name)
    if isinstance(node, ast.ImportFrom):
        wanted = next(a for a in node.names if (a.asname or a.name) == name)
        source = "." * node.level + (node.module or "")
        source = importlib.util.resolve_name(source, text.module.__package__ or "") if node.level else source
        if origin(source) == "here":
            whole = sys.modules.get(f"{source}.{wanted.name}")
            return whole if whole is not None and name_is_module(source, wanted.name) else meaning(source, wanted.name)
        alias = f" as {name}" if wanted.asname else ""
        return _foreign(f"from {source} import {wanted.name}{alias}", source, name)
    if node is not None:
        return Made(text, name, node)
    value = getattr(text.module, name, None)
    home, own = getattr(value, "__module__", None), getattr(value, "__qualname__", "")
    if home is not None and home != module and own.isidentifier() and home in sys.modules:
        return meaning(home, own)
    raise Unwritable(f"no text in {module} makes its name '{name}'")


def name_is_module(package: str, name: str) -> bool:
    """Whether a name of a package is one of its modules."""
    return isinstance(getattr(sys.modules[package], name, None), ModuleType)


def _foreign(statement: str, module: str, name: str) -> Foreign:
    if origin(module) == "other":
        raise Unwritable(f"it needs {module.partition('.')[0]}, and the file is to need NumPy alone")
    return Foreign(statement, name)


def plain_function(member: Any) -> FunctionType | None:
    """The function in what a class has under a name: a method, a property, a static method; None for anything else."""
    for inner in ("fget", "__func__", "func"):
        member = getattr(member, inner, None) or member
    member = inspect.unwrap(member) if callable(member) else member
    return member if isinstance(member, FunctionType) else None
