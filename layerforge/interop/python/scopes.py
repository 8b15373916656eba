"""Which names of a piece of source are its own, and which it takes from the module around it."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
Alive = Callable[[ast.AST], list[ast.AST]]  # the parts of a node that are written down


def bound(function: ast.AST, alive: Alive) -> set[str]:
    """The names that belong to a function: arguments, and what it assigns; not those of functions inside of it."""
    names: set[str] = set()
    waiting = alive(function)
    while waiting:
        node = waiting.pop()
        names |= _made(node)
        if isinstance(node, COMPREHENSIONS):  # its own are others, but for those after a walrus
            waiting += [n for n in ast.walk(node) if isinstance(n, ast.NamedExpr)]
            waiting.append(node.generators[0].iter)
        elif not isinstance(node, (*FUNCTIONS, ast.ClassDef)):
            waiting += alive(node)
    return names


def _made(node: ast.AST) -> set[str]:
    """The names that a node by itself binds."""
    if isinstance(node, ast.arg):
        return {node.arg}
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store | ast.Del):
        return {node.id}
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return {node.name}
    if isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and node.name:
        return {node.name}
    if isinstance(node, ast.Import | ast.ImportFrom):
        return {(a.asname or a.name).split(".")[0] for a in node.names}
    return set()


def free_names(node: ast.AST, alive: Alive, known: frozenset[str] = frozenset()) -> Iterator[ast.Name]:
    """The names that are read in a node and belong to none of its functions: of the module, or built in."""
    if isinstance(node, ast.Name):
        if isinstance(node.ctx, ast.Load) and node.id not in known:
            yield node
    elif isinstance(node, COMPREHENSIONS):
        targets = {n.id for g in node.generators for n in ast.walk(g.target) if isinstance(n, ast.Name)}
        first = node.generators[0]
        yield from free_names(first.iter, alive, known)
        inside = known | targets
        for generator in node.generators:
            for test in [*generator.ifs, *([] if generator is first else [generator.iter])]:
                yield from free_names(test, alive, inside)
        made: list[ast.AST] = [node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]
        for expression in made:
            yield from free_names(expression, alive, inside)
    else:
        inside = known | bound(node, alive) if isinstance(node, FUNCTIONS) else known
        for part in alive(node):
            yield from free_names(part, alive, inside)
