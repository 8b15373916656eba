"""What stands in a written file: imports, errors, constants, functions and classes."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import FunctionType
from typing import Any

from .folding import FUNCTIONS, Folded
from .scopes import bound, free_names
from .sources import Made, ModuleText


@dataclass(eq=False)
class Item:
    """Something that stands at the top of a written file.

    kind       "import", "error", "constant", "function", "class" (a helper) or "layer"
    wanted     the name that it has where it is made
    made       where; None for what is imported, and for functions without a name
    statement  of an import
    function   of a function
    cls        of a class
    members    of a class: its methods that are reached, by name
    values     of a layer: class attributes that are read, by name
    is_used    of a layer's class: the net has such a layer
    taken      names that it must not have: functions that read it have them for something else
    """

    kind: str
    wanted: str
    made: Made | None = None
    statement: str = ""
    function: FunctionType | None = None
    cls: type | None = None
    members: dict[str, FunctionType] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)
    is_used: bool = False
    taken: set[str] = field(default_factory=set)

    @property
    def node(self) -> Any:
        """The statement that makes it."""
        assert self.made is not None
        return self.made.node

    def outside(self) -> list[ast.AST]:
        """What is computed when the file is loaded: of a constant its value, of a class its head and its fields."""
        node = self.node
        if not isinstance(node, ast.ClassDef):
            return [node.value] if node.value is not None else []
        values = [n.value for n in self.fields() if n.value is not None]
        return [*node.bases, *(k.value for k in node.keywords), *node.decorator_list, *values]

    def assigned(self) -> list[str]:
        """The names that the statement of a constant assigns."""
        if self.kind != "constant":
            return []
        targets = [self.node.target] if isinstance(self.node, ast.AnnAssign) else self.node.targets
        return [n.id for target in targets for n in ast.walk(target) if isinstance(n, ast.Name)]

    def fields(self) -> list[Any]:
        """The assignments in the body of a class."""
        return [n for n in self.node.body if isinstance(n, ast.Assign | ast.AnnAssign)]

    def methods(self) -> list[str]:
        """The names of the methods in the body of a class."""
        return [n.name for n in self.node.body if isinstance(n, ast.FunctionDef)]

    def bases(self, items: Mapping[Any, Item]) -> list[type]:
        """The classes that a layer's class is written with: the nearest above it that have something to say."""
        assert self.cls is not None
        found: list[type] = []
        for base in self.cls.__bases__:
            found += [base] if base in items else _above(base, items)
        unique = list(dict.fromkeys(found))
        return [c for c in unique if not any(issubclass(o, c) and o is not c for o in unique)]


def _above(cls: type, items: Mapping[Any, Item]) -> list[type]:
    above: list[type] = []
    for base in cls.__bases__:
        above += [base] if base in items else _above(base, items)
    return above


@dataclass(frozen=True)
class View:
    """What of a function a layer comes by.

    names       the names that it takes from around it, with the call that each is called by; None: none
    attributes  the attributes that it reads
    own         the names that are its own
    """

    names: list[tuple[ast.Name, ast.Call | None]]
    attributes: list[ast.Attribute]
    own: set[str]

    @classmethod
    def of(cls, folded: Folded) -> View:
        nodes = folded.walk()
        calls = {id(n.func): n for n in nodes if isinstance(n, ast.Call)}
        names = [(name, calls.get(id(name))) for name in free_names(folded.function, folded.alive)]
        read = [n for n in nodes if isinstance(n, ast.Attribute) and isinstance(n.ctx, ast.Load)]
        own = [bound(n, folded.alive) for n in nodes if isinstance(n, FUNCTIONS)]
        return cls(names, read, set().union(*own))


@dataclass
class Written:
    """A function as it is written: once, for all layers that reach it.

    known   what each of them knows of its tests
    held    the same of those tests that it comes by; None of a test: nothing
    names   what its names mean, by the id of a node
    """

    function: FunctionType
    text: ModuleText
    node: Any
    known: dict[Any, dict[int, bool]] = field(default_factory=dict)
    held: dict[Any, dict[int, bool | None]] = field(default_factory=dict)
    names: dict[int, Any] = field(default_factory=dict)
    _views: dict[Any, View] = field(default_factory=dict)

    def hear(self, who: Any) -> None:
        """What is known of those tests that a layer comes by, also inside of tests that it need not ask."""
        known = self.known[who]
        nodes = Folded(self.node, known, known.keys()).walk()
        tests = [id(n) for n in nodes if isinstance(n, ast.If | ast.IfExp)]
        tests += [id(n) for n in ast.walk(self.node) if isinstance(n, ast.Assign)]  # where known, they may be gone
        tests += [id(part) for n in nodes if isinstance(n, ast.BoolOp) for part in n.values]
        self.held[who] = {test: known.get(test) for test in tests}

    def agreed(self) -> dict[int, bool]:
        """The tests on which all layers agree."""
        agreed: dict[int, bool] = {}
        for test in set().union(*self.held.values()):
            found = {held[test] for held in self.held.values() if test in held}
            if len(found) == 1 and (only := found.pop()) is not None:
                agreed[test] = only
        return agreed

    def view(self, who: Any) -> View:
        """What a layer comes by, and the tests that are written down as others decide them otherwise."""
        known = self.known[who]
        key = (frozenset(known.items()), frozenset(known.keys() - self.agreed().keys()))
        if key not in self._views:
            self._views[key] = View.of(Folded(self.node, known, key[1]))
        return self._views[key]

    @cached_property
    def folded(self) -> Folded:
        """With those tests decided, when all layers were heard."""
        return Folded(self.node, self.agreed())
