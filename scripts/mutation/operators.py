"""The operators: the small mistakes that people make in derivatives, each as a change of one expression of a function.

    sign        + for -, += for -=, `add` for `subtract`; a minus lost; a result or an array that is made negated
    axis        an axis, or a position in a shape, one lower or higher; the parts of an index in reversed order
    transpose   .T, swapaxes, transpose, moveaxis, flip or [::-1] left out; an operand of @ transposed; both swapped
    dropped     a term or a factor left out; a sum, mean or unbroadcast; one side of where; a += or a call
    array       another array in scope with as many axes
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass

OPERATORS = ("sign", "axis", "transpose", "dropped", "array")
Function = ast.FunctionDef | ast.Lambda
Arrays = Mapping[str, Collection[str]]  # expressions that are arrays: those that another, as large, can stand in for
Changed = tuple[str, ast.AST, ast.AST]  # operator, the node, what takes its place

OPPOSITE = {ast.Add: ast.Sub, ast.Sub: ast.Add}
OPPOSITE_CALL = {"add": "subtract", "subtract": "add"}
MADE = ("zeros", "zeros_like", "empty", "empty_like")
SUMS = {"sum", "mean", "unbroadcast"}
REARRANGEMENTS = {"swapaxes", "transpose", "moveaxis", "flip"}
WITH_AXES = {"sum", "mean", "max", "min", "cumsum", "prod", "flip", "swapaxes", "moveaxis", "expand_dims", "squeeze"}


@dataclass(frozen=True)
class Mutation:
    """One change: the operator, the source line where it is made, and the expression before and after."""

    operator: str
    line: int
    text: str  # of the line, without indentation
    before: str
    after: str
    place: int = 0  # which of the same changes of that line, from the left


def mutations(function: Function, source: str, arrays: Arrays) -> dict[Mutation, tuple[ast.AST, ast.AST]]:
    """All mutations of a function's body, in the order of the source, with the node and what takes its place."""
    lines, found = source.splitlines(), {}
    outlines = {id(node) for outer in _body(function) for node in _outline(outer)}
    changes = [change for node in _body(function) for make in MAKERS for change in make(node, arrays)]
    changes += _negated_results(function, arrays)
    for operator, node, new in sorted(changes, key=lambda change: (change[1].lineno, change[1].col_offset, change[0])):
        words = (operator, node.lineno, lines[node.lineno - 1].strip(), ast.unparse(node), ast.unparse(new))
        if words[-2] != words[-1] and not (operator == "array" and id(node) in outlines):
            place = sum((m.operator, m.line, m.text, m.before, m.after) == words for m in found)
            found[Mutation(*words, place)] = (node, new)
    return found


def replace(tree: ast.AST, node: ast.AST, new: ast.AST) -> ast.AST:
    """The tree with one node, changed in place."""

    class Replace(ast.NodeTransformer):
        def visit(self, visited: ast.AST) -> ast.AST:
            return ast.copy_location(new, node) if visited is node else self.generic_visit(visited)

    return ast.fix_missing_locations(Replace().visit(tree))


def _outline(node: ast.AST) -> Iterator[ast.AST]:
    """The arrays in an expression of which only shape and dtype are read: as good as any other that has these."""
    match node:
        case ast.Attribute(array, "shape" | "ndim" | "dtype" | "size"):
            yield array
        case ast.Call(function, [array, *_]) if ast.unparse(function).rpartition(".")[2] in (*MADE, "len"):
            yield array


def _body(function: Function) -> Iterator[ast.AST]:
    """Every node of the body."""
    for part in function.body if isinstance(function.body, list) else [function.body]:
        yield from ast.walk(part)


# The operators --------------------------------------------------------------------------------------------------------


def _sign(node: ast.AST, arrays: Arrays) -> Iterator[Changed]:
    match node:
        case ast.BinOp(left, ast.Add() | ast.Sub() as op, right):
            yield "sign", node, ast.BinOp(left, OPPOSITE[type(op)](), right)
        case ast.AugAssign(target, ast.Add() | ast.Sub() as op, value):
            yield "sign", node, ast.AugAssign(target, OPPOSITE[type(op)](), value)
        case ast.UnaryOp(ast.USub(), operand) if not isinstance(operand, ast.Constant):
            yield "sign", node, operand
        case ast.Call(ast.Attribute(owner, name), arguments, keywords) if name in OPPOSITE_CALL:
            yield "sign", node, ast.Call(ast.Attribute(owner, OPPOSITE_CALL[name], ast.Load()), arguments, keywords)


def _negated_results(function: Function, arrays: Arrays) -> Iterator[Changed]:
    """A result, or the value of an array that is made, with a minus."""
    if isinstance(function, ast.Lambda):
        yield "sign", function.body, _minus(function.body)
    for node in _body(function):
        match node:
            case ast.Return(ast.Tuple(parts)):
                for part in (p for p in parts if not isinstance(p, ast.Constant | ast.Starred)):
                    yield "sign", part, _minus(part)
            case ast.Return(ast.expr() as value) if not _has_no_sign(value):
                yield "sign", value, _minus(value)
            case ast.Assign([ast.Name(name)], value) if name in arrays and not _has_no_sign(value):
                yield "sign", value, _minus(value)


def _minus(value: ast.expr) -> ast.expr:
    return value.operand if isinstance(value, ast.UnaryOp) else ast.UnaryOp(ast.USub(), value)


def _has_no_sign(value: ast.expr) -> bool:
    """Whether something is zero, or an array that is still to be filled."""
    if isinstance(value, ast.Constant):
        return True
    return isinstance(value, ast.Call) and ast.unparse(value.func).rpartition(".")[2] in MADE


def _axis(node: ast.AST, arrays: Arrays) -> Iterator[Changed]:
    match node:
        case ast.keyword("axis", value):
            yield from (("axis", value, new) for new in _shifted(value))
        case ast.Call(ast.Attribute(_, name), arguments) if name in WITH_AXES:
            for value in (a for a in arguments if _integer(a) is not None):
                yield from (("axis", value, new) for new in _shifted(value))
        case ast.Subscript(ast.Attribute(_, "shape"), index) if _integer(index) is not None:
            yield from (("axis", index, new) for new in _shifted(index))
        case ast.Subscript(_, ast.Tuple(parts) as index) if len(parts) > 1:
            yield "axis", index, ast.Tuple(parts[::-1], ast.Load())


def _integer(value: ast.expr) -> int | None:
    """The number of an integer, also a negative one."""
    match value:
        case ast.Constant(int() as number) if not isinstance(number, bool):
            return number
        case ast.UnaryOp(ast.USub(), ast.Constant(int() as number)):
            return -number
    return None


def _shifted(value: ast.expr) -> Iterator[ast.expr]:
    """Axes one higher and one lower; of several the first."""
    number = _integer(value)
    if number is not None:
        yield from (ast.parse(str(number + by), mode="eval").body for by in (1, -1))
    elif isinstance(value, ast.Tuple) and value.elts:
        yield from (ast.Tuple([first, *value.elts[1:]], ast.Load()) for first in _shifted(value.elts[0]))
    elif isinstance(value, ast.Name | ast.Attribute):
        yield from (ast.BinOp(value, op, ast.Constant(1)) for op in (ast.Add(), ast.Sub()))


def _transpose(node: ast.AST, arrays: Arrays) -> Iterator[Changed]:
    match node:
        case ast.Attribute(owner, "T"):
            yield "transpose", node, owner
        case ast.Call(ast.Attribute(owner, name), arguments) if name in REARRANGEMENTS:
            yield "transpose", node, arguments[0] if _is_namespace(owner) else owner
        case ast.Subscript(owner, index) if "::-1" in ast.unparse(index):
            yield "transpose", node, owner
        case ast.BinOp(left, ast.MatMult() as op, right):
            yield "transpose", node, ast.BinOp(_turned(left), op, right)
            yield "transpose", node, ast.BinOp(left, op, _turned(right))
            yield "transpose", node, ast.BinOp(right, op, left)


def _turned(value: ast.expr) -> ast.expr:
    minus = [ast.parse(text, mode="eval").body for text in ("-1", "-2")]
    return ast.Call(ast.Attribute(value, "swapaxes", ast.Load()), minus, [])


def _is_namespace(owner: ast.expr) -> bool:
    """Whether something is xp, or self.xp."""
    return ast.unparse(owner) in ("xp", "self.xp", "np")


def _dropped(node: ast.AST, arrays: Arrays) -> Iterator[Changed]:
    match node:
        case ast.BinOp(left, ast.Add() | ast.Mult() | ast.BitAnd(), right):
            yield "dropped", node, left
            yield "dropped", node, right
        case ast.BinOp(left, ast.Sub(), right):
            yield "dropped", node, left
            yield "dropped", node, ast.UnaryOp(ast.USub(), right)
        case ast.BinOp(left, ast.Div() | ast.Pow()):
            yield "dropped", node, left
        case ast.AugAssign() | ast.Expr(ast.Call()):
            yield "dropped", node, ast.Pass()
        case ast.Call(ast.Attribute(owner, name), arguments) if name in SUMS:
            yield "dropped", node, arguments[0] if _is_namespace(owner) and arguments else owner
        case ast.Call(ast.Name(name), [first, *_]) if name in SUMS:
            yield "dropped", node, first
        case ast.Call(ast.Attribute(owner, "where"), [_, one, other]) if _is_namespace(owner):
            yield "dropped", node, one
            yield "dropped", node, other


def _array(node: ast.AST, arrays: Arrays) -> Iterator[Changed]:
    if not isinstance(node, ast.Name | ast.Attribute) or not isinstance(node.ctx, ast.Load):
        return
    for other in sorted(arrays.get(ast.unparse(node), ())):
        yield "array", node, ast.parse(other, mode="eval").body


MAKERS: tuple[Callable[[ast.AST, Arrays], Iterator[Changed]], ...] = (_sign, _axis, _transpose, _dropped, _array)
