"""A piece of source with changes in it: names that it has in the written file, and what eval settles."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from typing import Any

from .folding import Folded, is_call_of_self, replaced
from .items import Item
from .sources import ModuleText, Unwritable

Edit = tuple[int, int, str]  # from here to there in the source: this instead
LOOSE = (ast.BoolOp, ast.IfExp, ast.Lambda, ast.NamedExpr)


class Editor:
    """Writes nodes of one module.

    names    what names mean, by the id of a node
    called   the names that items have in the file
    folded   the function that the nodes are of; None outside of functions
    """

    def __init__(
        self, text: ModuleText, names: Mapping[int, Any], called: Callable[[Item], str], folded: Folded | None = None
    ) -> None:
        self.text = text
        self.names = names
        self.called = called
        self.folded = folded

    def written(self, node: Any) -> str:
        """The text of a node."""
        return self.between(*self.text.span(node), self.edits(node))

    def between(self, start: int, end: int, edits: list[Edit]) -> str:
        """The source from one place to another, changed."""
        source, parts, at = self.text.source, [], start
        for begin, stop, text in sorted(edits):
            parts += [source[at:begin], text]
            at = stop
        return "".join([*parts, source[at:end]])

    def edits(self, node: Any) -> list[Edit]:
        """The changes in a node."""
        if self.folded is not None:
            known = self._settled(node)
            if known is not None:
                return known
        meaning = self.names.get(id(node))
        if meaning is not None and isinstance(node, ast.Name | ast.Attribute):
            return self._named(node, meaning)
        found: list[Edit] = []
        if isinstance(node, ast.arguments):
            found += self._without_annotations(node)
        if isinstance(node, ast.AnnAssign):
            found.append((self.text.span(node.target)[1], self.text.span(node.annotation)[1], ""))
        for part in self.folded.alive(node) if self.folded is not None else ast.iter_child_nodes(node):
            found += self.edits(part)
        return found

    def _settled(self, node: Any) -> list[Edit] | None:
        """The changes in what eval decides; None for any other node."""
        assert self.folded is not None
        span = self.text.span
        instead = replaced(node)
        if instead is not None:
            return [(*span(node), instead)]
        if isinstance(node, ast.IfExp) and id(node) in self.folded.decided:
            (chosen,) = self.folded.alive(node)
            (start, end), (first, last) = self._with_brackets(node, chosen), span(chosen)
            return [(start, first, ""), *self.edits(chosen), (last, end, "")]
        if isinstance(node, ast.BoolOp) and len(kept := self.folded.operands(node)) < len(node.values):
            word = " and " if isinstance(node.op, ast.And) else " or "
            values = [node.values[i] for i in kept]
            loose = LOOSE if len(values) > 1 else ()
            texts = [f"({self.written(v)})" if isinstance(v, loose) else self.written(v) for v in values]
            return [(*span(node), word.join(texts))]
        if is_call_of_self(node, "buf"):
            return self._without_life(node)
        return None

    def _with_brackets(self, node: ast.IfExp, chosen: ast.AST) -> tuple[int, int]:
        """Where a choice begins and ends, with brackets around it that its result does not need."""
        (start, end), source = self.text.span(node), self.text.source
        bare = source[start - 1 : start] == "(" and source[end : end + 1] == ")"
        called = source[start - 2 : start - 1].isidentifier() or source[start - 2 : start - 1] in (")", "]")
        simple = isinstance(chosen, ast.Name | ast.Attribute | ast.Call | ast.Subscript | ast.Constant)
        return (start - 1, end + 1) if bare and simple and not called else (start, end)

    def _without_life(self, call: ast.Call) -> list[Edit]:
        """Memory that is made anew has no life to tell of."""
        found: list[Edit] = []
        before = self.text.span(call.args[-1])[1]
        for keyword in call.keywords:
            if keyword.arg == "life":
                found.append((before, self.text.span(keyword)[1], ""))
            else:
                found += self.edits(keyword)
            before = self.text.span(keyword)[1]
        return found + [edit for argument in call.args for edit in self.edits(argument)]

    def _named(self, node: Any, meaning: Any) -> list[Edit]:
        if not isinstance(meaning, Item | str):
            return []
        start, end = self.text.span(node)
        own = node.id if isinstance(node, ast.Name) else ast.unparse(node)
        if self.text.source[start:end] != own:
            raise Unwritable(f"'{own}' cannot be found in line {node.lineno} of {self.text.module.__name__}")
        name = meaning if isinstance(meaning, str) else self.called(meaning)
        return [] if name == own else [(start, end, name)]

    def _without_annotations(self, arguments: ast.arguments) -> list[Edit]:
        """Types are for checkers: the file says in its docstrings what things are."""
        found: list[Edit] = []
        positional = [*arguments.posonlyargs, *arguments.args]
        missing: list[Any] = [None] * (len(positional) - len(arguments.defaults))
        pairs = [*zip(positional, [*missing, *arguments.defaults], strict=True)]
        pairs += [*zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)]
        pairs += [(a, None) for a in (arguments.vararg, arguments.kwarg) if a is not None]
        for argument, default in pairs:
            if argument.annotation is None:
                continue
            start = self.text.at(argument.lineno, argument.col_offset) + len(argument.arg)
            end = self.text.span(argument)[1]
            found.append((start, end, "") if default is None else (start, self.text.span(default)[0], "="))
        return found
