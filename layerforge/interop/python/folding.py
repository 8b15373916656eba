"""What is left of a function in eval, for layers that are told certain things.

Tests whose result is known are decided: of `if self.phase == "train": ... else: ...` the second part stays. With them
go what follows a return, what is kept for backward, and values that nothing reads any more.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Set
from typing import Any

from .knowledge import NP_NAMES, Knowledge, is_self
from .scopes import FUNCTIONS
from .sources import is_meant

KEPT_FOR_BACKWARD = "save"
ENDS = (ast.Return, ast.Raise, ast.Continue, ast.Break)
PURE_METHODS = frozenset([
    *("astype", "reshape", "copy", "transpose", "swapaxes", "ravel", "items", "keys", "values"),
    *("sum", "mean", "max", "min", "argmax", "argmin", "any", "all"),
])  # fmt: skip


def opinions(function: ast.AST, knowledge: Knowledge) -> dict[int, bool]:
    """What is known of the tests of a function: by the id of an `if`, or of a part of `and` and `or`.

    Of an assignment there is True where its value is known.
    """
    knowledge = knowledge.inside(function)
    found: dict[int, bool] = {}
    for node in ast.walk(function):
        tests = [node.test] if isinstance(node, ast.If | ast.IfExp) else []
        tests += node.values if isinstance(node, ast.BoolOp) else []
        if isinstance(node, ast.Assign) and knowledge.value(node.value)[0]:
            found[id(node)] = True
        for test in tests:
            known, value = knowledge.value(test)
            if known:
                found[id(node if isinstance(node, ast.If | ast.IfExp) else test)] = bool(value)
    return found


class Folded:
    """A function with its tests decided, as far as they are: which of its nodes are written down.

    decided   the tests, as `opinions` has them
    asked     those of them that are written down all the same, as other layers decide them otherwise
    """

    def __init__(self, function: ast.AST, decided: Mapping[int, bool], asked: Set[int] = frozenset()) -> None:
        self.function = function
        self.decided = decided
        self.asked = asked
        self.gone: set[int] = set()  # statements
        self.untold: set[int] = set()  # assignments whose value nobody reads, while computing it does something
        self._end_blocks(function)
        for node in ast.walk(function):
            if isinstance(node, FUNCTIONS) and not isinstance(node, ast.Lambda):
                self._drop_docstring(node)
            if is_call_of_self(getattr(node, "value", None), KEPT_FOR_BACKWARD) and isinstance(node, ast.Expr):
                self.gone.add(id(node))
        while self._drop_unread():
            pass

    def alive(self, node: Any) -> list[ast.AST]:
        """The parts of a node that are written down."""
        if isinstance(node, ast.If):
            taken = self.decided.get(id(node))
            if taken is None:
                return self._left([node.test, *node.body, *node.orelse])
            chosen = node.body if taken else node.orelse
            return self._left([node.test, *chosen] if id(node) in self.asked else chosen)
        if isinstance(node, ast.IfExp) and id(node) in self.decided:
            value = node.body if self.decided[id(node)] else node.orelse
            return [node.test, value] if id(node) in self.asked else [value]
        if isinstance(node, ast.BoolOp):
            return [node.values[i] for i in self.operands(node)]
        if isinstance(node, ast.arg):
            return []
        if isinstance(node, ast.FunctionDef):
            return self._left([node.args, *filter(is_meant, node.decorator_list), *node.body])
        if isinstance(node, ast.AnnAssign):
            return [n for n in (node.target, node.value) if n is not None]
        if isinstance(node, ast.Assign) and id(node) in self.untold:
            return [node.value]
        if is_call_of_self(node, "buf"):
            return [node.func, *node.args, *(k for k in node.keywords if k.arg != "life")]
        if replaced(node):
            return []
        return self._left(list(ast.iter_child_nodes(node)))

    def operands(self, node: ast.BoolOp) -> list[int]:
        """The operands of `and` or `or` that say something: true ones of `and` do not, nor do false ones of `or`."""
        idle = isinstance(node.op, ast.And)
        last = len(node.values) - 1  # its value is that of all, where nothing before it settles it
        settled = {id(v) for v in node.values if self.decided.get(id(v)) is idle} - self.asked
        return [i for i, value in enumerate(node.values) if i == last or id(value) not in settled]

    def walk(self) -> list[ast.AST]:
        """All nodes that are written down."""
        found, waiting = [], [self.function]
        while waiting:
            node = waiting.pop()
            found.append(node)
            waiting += self.alive(node)
        return found

    def _left(self, nodes: list[Any]) -> list[ast.AST]:
        return [n for n in nodes if id(n) not in self.gone]

    def _end_blocks(self, node: ast.AST) -> None:
        """Take out what follows the end of a block."""
        for block in blocks(node):
            ended = False
            for statement in block:
                if ended:
                    self.gone.add(id(statement))
                self._end_blocks(statement)
                ended = ended or self._ends(statement)

    def _ends(self, statement: ast.stmt) -> bool:
        """Whether nothing after a statement is reached, as its tests are decided."""
        if isinstance(statement, ast.If):
            taken = self.decided.get(id(statement))
            chosen = {None: [], True: statement.body, False: statement.orelse}[taken]
            return any(self._ends(each) for each in chosen)
        return isinstance(statement, ENDS)

    def _drop_docstring(self, node: Any) -> None:
        """The docstring is no statement that computes anything; writers deal with it."""
        if ast.get_docstring(node, clean=False) is not None:
            self.gone.add(id(node.body[0]))

    def _chosen(self, value: ast.expr) -> ast.expr:
        """What a choice that is decided comes to."""
        while isinstance(value, ast.IfExp) and id(value) in self.decided and id(value) not in self.asked:
            value = value.body if self.decided[id(value)] else value.orelse
        return value

    def _drop_unread(self) -> bool:
        """Take out assignments to names that nothing reads; whether there was one."""
        nodes = self.walk()
        read = {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
        read |= {n.target.id for n in nodes if isinstance(n, ast.AugAssign) and isinstance(n.target, ast.Name)}
        changed = False
        for node in nodes:
            if not isinstance(node, ast.Assign) or id(node) in self.untold or len(node.targets) != 1:
                continue
            names = assigned_names(node.targets[0])
            if names and names == {getattr(self._chosen(node.value), "id", None)}:
                self.gone.add(id(node))  # x = x, of a choice
                changed = True
            elif names and not names & read:
                pure = id(node) in self.decided or is_pure(node.value)
                (self.gone if pure else self.untold).add(id(node))
                changed = True
        return changed


def blocks(node: ast.AST) -> list[list[ast.stmt]]:
    """The blocks of statements of a node."""
    found = [getattr(node, word, None) for word in ("body", "orelse", "finalbody")]
    found += [handler.body for handler in getattr(node, "handlers", ())]
    return [block for block in found if isinstance(block, list)]


def assigned_names(target: ast.expr) -> set[str]:
    """The names of a target that is a name or a tuple of names; none where it is anything else."""
    parts = target.elts if isinstance(target, ast.Tuple) else [target]
    return {p.id for p in parts if isinstance(p, ast.Name)} if all(isinstance(p, ast.Name) for p in parts) else set()


def is_call_of_self(node: Any, method: str) -> bool:
    """Whether a node calls a method of self."""
    return isinstance(node, ast.Call) and is_of_self(node.func, method)


def is_of_self(node: Any, name: str = "") -> bool:
    """Whether a node is an attribute of self, with a name where one is given."""
    return isinstance(node, ast.Attribute) and is_self(node.value) and name in ("", node.attr)


def replaced(node: ast.AST) -> str | None:
    """What is written in the place of a node that eval on NumPy settles."""
    if is_of_self(node, "xp"):
        return "np"
    if is_of_self(node, "phase"):
        return '"eval"'
    if isinstance(node, ast.Attribute) and node.attr == "keep" and is_of_self(node.value, "run"):
        return "False"
    return None


def is_pure(value: ast.expr) -> bool:
    """Whether computing a value does nothing beside that."""
    return all(_is_pure_call(node) for node in ast.walk(value) if isinstance(node, ast.Call))


def _is_pure_call(call: ast.Call) -> bool:
    """Whether a call computes a value and does nothing else, as functions of arrays without `out` do."""
    if any(keyword.arg == "out" for keyword in call.keywords):
        return False
    function = call.func
    if isinstance(function, ast.Attribute):
        of_numpy = is_of_self(function.value, "xp") or (
            isinstance(function.value, ast.Name) and function.value.id in NP_NAMES
        )
        return of_numpy or function.attr in PURE_METHODS
    return isinstance(function, ast.Name)
