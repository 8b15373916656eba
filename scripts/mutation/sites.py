"""Where mutations can be made: the functions of layerforge/layers that only the backward of a layer runs.

They are found by running the examples of every layer and noting which functions are called. A function that forward
runs as well (`windows` of Conv2d) is no part of the derivative; one that backward alone runs (`df` of a table,
`attend_back`) is, wherever it stands.
"""

from __future__ import annotations

import ast
import gc
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import CodeType, FrameType, FunctionType
from typing import Any

import numpy as np

import layerforge.layers
from layerforge.check.contract import cases
from layerforge.contract.layer import Layer
from layerforge.schema.registry import LAYERS

from .operators import Function, Mutation, mutations, replace

FOLDER = Path(layerforge.layers.__file__).parent
NAMESPACES = ("saved", "params")


@dataclass
class Site:
    """A function of the derivative: its code, the layers whose backward alone runs it, the arrays in its scope."""

    code: CodeType
    layers: list[str] = field(default_factory=list)
    arrays: dict[str, set[str]] = field(default_factory=dict)

    @property
    def file(self) -> str:
        return Path(self.code.co_filename).name

    @property
    def name(self) -> str:
        return self.code.co_qualname.replace("<locals>.", "")

    def mutations(self) -> list[Mutation]:
        """What can be changed in it."""
        source, tree = read(self.code.co_filename)
        return list(mutations(node_of(tree, self.code), source, self.arrays))

    def apply(self, mutation: Mutation) -> None:
        """Change the function, in this process and for good. ValueError where Python does not allow that."""
        source, tree = read(self.code.co_filename)
        node, new = mutations(node_of(tree, self.code), source, self.arrays)[mutation]
        original = codes(compile(source, self.code.co_filename, "exec"), self.code)
        changed = codes(compile(replace(tree, node, new), self.code.co_filename, "exec"), self.code)
        code = changed[original.index(self.code)]
        for function in functions_of(self.code):
            function.__code__ = code


def find_sites(names: list[str] | None = None) -> list[Site]:
    """The functions of the derivatives of all layers, or of some."""
    sites: dict[CodeType, Site] = {}
    for name in names or LAYERS.names():
        forward, backward = Trace(), Trace()
        for _, case in cases(LAYERS.get(name)) if LAYERS.get(name).is_differentiable() else ():
            for phase in ("train", "eval"):
                _run(case.probe, phase, forward, backward)
        for code in (code for code in backward.arrays if code not in forward.arrays):
            site = sites.setdefault(code, Site(code))
            site.layers.append(name)
            for array, others in backward.arrays[code].items():
                site.arrays.setdefault(array, set()).update(others)
    persistent = (site for site in sites.values() if functions_of(site.code))
    return sorted(persistent, key=lambda site: (site.file, site.code.co_firstlineno, site.name))


def _run(make: Callable[..., Any], phase: str, forward: Trace, backward: Trace) -> None:
    with forward.on():
        probe = make(phase=phase)
        probe.layer.run.keep = True
        tops = probe.forward()
    cotangents = probe.draw_cotangents(tops)
    with backward.on():
        probe.backward(cotangents)


class Trace:
    """Which functions of the layers were called, and of each the arrays in scope.

    An array comes with those that may be taken for it: others with as many axes that were not the very same memory.
    """

    def __init__(self) -> None:
        self.arrays: dict[CodeType, dict[str, set[str]]] = {}

    @contextmanager
    def on(self) -> Iterator[None]:
        """Watch what is called while this lasts."""
        sys.setprofile(self._note)
        try:
            yield
        finally:
            sys.setprofile(None)

    def _note(self, frame: FrameType, event: str, argument: Any) -> None:
        code = frame.f_code
        if event == "return" and FOLDER in Path(code.co_filename).parents:
            sys.setprofile(None)
            known = self.arrays.setdefault(code, {})
            arrays = _in_scope(frame)
            for name, a in arrays.items():
                known.setdefault(name, set()).update(
                    other for other, b in arrays.items() if a.ndim == b.ndim and not _same_memory(a, b)
                )
            sys.setprofile(self._note)


def _same_memory(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two arrays are one, or copies without a number in them."""
    interfaces = (a.__array_interface__, b.__array_interface__)
    return not a.size or a is b or all(interfaces[0][key] == interfaces[1][key] for key in ("data", "shape", "strides"))


def _in_scope(frame: FrameType) -> dict[str, np.ndarray]:
    """The arrays among the variables, and those that a layer keeps or learns."""
    found = {name: value for name, value in frame.f_locals.items() if isinstance(value, np.ndarray)}
    layer = frame.f_locals.get("self")
    for space in NAMESPACES if isinstance(layer, Layer) else ():
        held = vars(layer.kept) if space == "saved" and layer.kept is not None else {}
        held = dict(getattr(layer, space).items()) if space == "params" else held
        found |= {f"self.{space}.{name}": a for name, a in held.items() if isinstance(a, np.ndarray)}
    return found


# Source and code ------------------------------------------------------------------------------------------------------


@cache
def read(path: str) -> tuple[str, ast.Module]:
    """A file's text and its tree."""
    source = Path(path).read_text()
    return source, ast.parse(source)


def node_of(tree: ast.Module, code: CodeType) -> Function:
    """The function in the tree that a code was compiled from."""
    places = [(line, column) for line, _, column, _ in code.co_positions() if line and column is not None]
    line, column = max(places)
    fitting = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Lambda if code.co_name == "<lambda>" else ast.FunctionDef)
        and min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", ()))]) == code.co_firstlineno
        and (node.lineno, node.col_offset) <= (line, column) <= (node.end_lineno, node.end_col_offset)
    ]
    assert len(fitting) == 1, f"{code.co_qualname} of {code.co_filename} is not one function"
    return fitting[0]


def codes(outer: CodeType, like: CodeType) -> list[CodeType]:
    """The codes within another that have a name and a place."""
    inner = [const for const in outer.co_consts if isinstance(const, CodeType)]
    here = [c for c in inner if (c.co_qualname, c.co_firstlineno) == (like.co_qualname, like.co_firstlineno)]
    return here + [code for const in inner for code in codes(const, like)]


def functions_of(code: CodeType) -> list[FunctionType]:
    """The functions with this code that outlive a call."""
    return [f for f in gc.get_referrers(code) if isinstance(f, FunctionType) and f.__code__ is code]
