"""What is known of expressions before anything is computed: in eval, of a layer that is set up."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable
from functools import cache
from typing import Any

from ...arrays.awaited import PRESENT
from ...arrays.sparse import CSR
from ...contract.layer import Layer
from .sources import Unwritable, plain_function, text_of

NP_NAMES = ("np", "xp")
TYPES: dict[str, type] = {"int": int, "float": float, "bool": bool, "str": str, "list": list, "tuple": tuple}
COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Is: operator.is_,
    ast.IsNot: operator.is_not,
    ast.In: lambda a, b: a in b,
    ast.NotIn: lambda a, b: a not in b,
}
# What a layer has besides what it is told and what set-up found out: it changes from pass to pass.
CHANGING = frozenset([
    *("params", "grads", "state", "saved", "carried", "run", "memory", "kept", "draws", "xp", "script", "place"),
    *("constants", "needs_grad", "needs_param_grad", "grad_rows", "runs_in_place", "overwrites_grad"),
    *("freeze", "lr_mult", "decay_mult", "loss_weight", "recompute", "engine"),
])  # fmt: skip
UNKNOWN = (False, None)
Words = tuple[tuple[str, str], ...]


def is_plain(value: Any) -> bool:
    """Whether a value can be written down as it is."""
    if isinstance(value, (list, tuple)):
        return type(value) in (list, tuple) and all(map(is_plain, value))
    if isinstance(value, dict):
        return type(value) is dict and all(is_plain(part) for pair in value.items() for part in pair)
    return value is None or type(value) in (bool, int, float, str)


class Knowledge:
    """What is known of the expressions of a function.

    layer   the layer that is `self`; None in a function that has none
    module  the names around the function
    told    words that the function is called with, by the names of its parameters
    """

    def __init__(self, layer: Layer | None, module: dict[str, Any], told: Words = ()) -> None:
        self.layer = layer
        self.module = module
        self.told = dict(told)
        self.local: dict[str, tuple[bool, Any]] = {}

    def inside(self, function: ast.AST) -> Knowledge:
        """With the names that the function assigns once, to a value that is known."""
        own = Knowledge(self.layer, self.module, tuple(self.told.items()))
        if isinstance(function, ast.Lambda):
            return own
        assigned = [n for n in ast.walk(function) if isinstance(n, ast.Name | ast.arg)]
        counts: dict[str, int] = {}
        for node in assigned:
            if isinstance(node, ast.arg) or isinstance(node.ctx, ast.Store):
                name = node.arg if isinstance(node, ast.arg) else node.id
                counts[name] = counts.get(name, 0) + 1
        own.local = dict.fromkeys(counts, UNKNOWN)
        own.local |= {name: (True, word) for name, word in self.told.items() if counts.get(name) == 1}
        for node in getattr(function, "body", ()):
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                name = node.targets[0].id
                if len(node.targets) == 1 and counts[name] == 1:
                    own.local[name] = own.value(node.value)
        return own

    def value(self, node: ast.expr) -> tuple[bool, Any]:
        """Whether the value of an expression is known, and the value."""
        found = self._value(node)
        return found if found[0] and is_plain(found[1]) else UNKNOWN

    def _value(self, node: ast.expr) -> tuple[bool, Any]:
        if isinstance(node, ast.Constant):
            return True, node.value
        if isinstance(node, ast.Name):
            return self.local.get(node.id, UNKNOWN)
        if isinstance(node, ast.Attribute):
            return self._attribute(node)
        if isinstance(node, ast.Compare):
            return self._compared(node)
        if isinstance(node, ast.BoolOp):
            return self._joined(node)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            known, value = self.value(node.operand)
            return known, not value
        if isinstance(node, ast.Call):
            return self._called(node)
        if isinstance(node, ast.Tuple):
            parts = [self.value(part) for part in node.elts]
            return all(known for known, _ in parts), tuple(value for _, value in parts)
        return UNKNOWN

    def _attribute(self, node: ast.Attribute) -> tuple[bool, Any]:
        inner = node.value
        if isinstance(inner, ast.Attribute) and is_self(inner.value) and (inner.attr, node.attr) == ("run", "keep"):
            return True, False
        if isinstance(inner, ast.Name) and self.module.get(inner.id) is PRESENT and node.attr == "awaited":
            return True, None  # NumPy's numbers are there at once
        if not is_self(inner):
            return UNKNOWN
        if node.attr == "phase":
            return True, "eval"
        layer = self.layer
        if layer is None or node.attr in CHANGING or node.attr in moved_by_forward(_class_of(layer)):
            return UNKNOWN
        try:
            return True, getattr(layer, node.attr)
        except Exception:  # a property that needs a pass
            return UNKNOWN

    def _compared(self, node: ast.Compare) -> tuple[bool, Any]:
        if len(node.ops) != 1:
            return UNKNOWN
        sides = (node.left, node.comparators[0])
        if isinstance(node.ops[0], ast.Is | ast.IsNot) and all(getattr(side, "id", "") in NP_NAMES for side in sides):
            return True, isinstance(node.ops[0], ast.Is)  # the file computes with NumPy
        known, left = self.value(node.left)
        right = self._names(node.comparators[0]) or self.value(node.comparators[0])
        if not known or not right[0]:
            return UNKNOWN
        try:
            return True, bool(COMPARE[type(node.ops[0])](left, right[1]))
        except TypeError:
            return UNKNOWN

    def _names(self, node: ast.expr) -> tuple[bool, Any] | None:
        """The names of the layer's parameters or statistics, where the node is these."""
        if self.layer is None or not isinstance(node, ast.Attribute) or not is_self(node.value):
            return None
        held = {"params": [*self.layer.param_decls], "state": [*self.layer.state_decls]}.get(node.attr)
        return None if held is None else (True, held)

    def _joined(self, node: ast.BoolOp) -> tuple[bool, Any]:
        settles = isinstance(node.op, ast.Or)
        parts = [self.value(part) for part in node.values]
        if any(known and bool(value) is settles for known, value in parts):
            return True, settles
        return all(known for known, _ in parts), not settles

    def _called(self, node: ast.Call) -> tuple[bool, Any]:
        if isinstance(node.func, ast.Name) and node.func.id == "isinstance" and len(node.args) == 2:
            return self._instance(*node.args)
        if node.keywords or not isinstance(node.func, ast.Attribute) or not is_self(node.func.value):
            return UNKNOWN
        arguments = [self.value(argument) for argument in node.args]
        method = node.func.attr
        if (
            self.layer is None
            or not all(known for known, _ in arguments)
            or not asks_only(_class_of(self.layer), method)
        ):
            return UNKNOWN
        try:
            found = getattr(self.layer, method)(*(value for _, value in arguments))
        except Exception:  # it computes with arrays
            return UNKNOWN
        return (True, found) if found is None or isinstance(found, (bool, int, str)) else UNKNOWN

    def _instance(self, value: ast.expr, kind: ast.expr) -> tuple[bool, Any]:
        if isinstance(kind, ast.Name) and self.module.get(kind.id) is CSR:
            return True, False
        known, found = self.value(value)
        names = kind.elts if isinstance(kind, ast.Tuple) else [kind]
        types = tuple(TYPES[n.id] for n in names if isinstance(n, ast.Name) and n.id in TYPES)
        return (True, isinstance(found, types)) if known and len(types) == len(names) else UNKNOWN


def _class_of(layer: Layer) -> Any:
    """Its class, as what can be a key: checkers of types do not believe that of a Layer's."""
    return type(layer)


def is_self(node: Any) -> bool:
    """Whether a node is the name self."""
    return isinstance(node, ast.Name) and node.id == "self"


SETTING_UP = ("setup", "validate", "check_phase", "backward", "jvp", "jvp_params", "__init__", "__new__")


@cache
def moved_by_forward(layer: Any) -> frozenset[str]:
    """Attributes that a layer's methods assign outside of set-up: what they are when a net is built says nothing."""
    found: set[str] = set()
    for owner in layer.__mro__[: layer.__mro__.index(Layer)]:
        for name, member in vars(owner).items():
            node = None if name in SETTING_UP else _node(member)
            if node is not None:
                found |= {n.attr for n in _stores(node) if isinstance(n, ast.Attribute) and is_self(n.value)}
    return frozenset(found)


@cache
def asks_only(layer: Any, method: str) -> bool:
    """Whether a method of a layer's own computes an answer and changes nothing: it may be asked before any pass."""
    owner = next((each for each in layer.__mro__ if method in vars(each)), Layer)
    node = None if owner in (Layer, object) else _node(vars(owner)[method])
    if node is None or _stores(node):
        return False
    return all(_is_said(n) for n in ast.walk(node) if isinstance(n, ast.Expr))


def _node(member: Any) -> Any:
    """The source of a method; None where it has none."""
    function = plain_function(member)
    try:
        return None if function is None else text_of(function.__module__).function(function.__code__)
    except (Unwritable, KeyError):
        return None


def _stores(node: ast.AST) -> list[ast.AST]:
    """What is assigned in a function beside its own names: attributes and items."""
    places = (n for n in ast.walk(node) if isinstance(n, ast.Attribute | ast.Subscript))
    return [n for n in places if not isinstance(n.ctx, ast.Load)]


def _is_said(statement: ast.Expr) -> bool:
    """Whether a statement is a docstring."""
    return isinstance(statement.value, ast.Constant)
