"""From what is reached to the text of a file: in which order, under which names."""

from __future__ import annotations

import ast
import builtins
import inspect
import keyword
import re
from collections.abc import Iterable, Sequence
from typing import Any

from ...contract.layer import Layer
from .base import ARRAYS, ERROR, layer_base
from .editing import Editor
from .items import Item
from .knowledge import is_plain
from .reach import Reach, needed
from .rendering import STEP, WIDTH, Renderer, formula_of, shortened
from .sources import Unwritable, short_name

TAKEN = frozenset([
    *("np", "Net", "Layer", "Arrays", "HERE", "CLASSES", "Path", "sys", "net", "self"),
    *("numbers", "encoded", "scaled", "cropped", "loaded", "main"),  # use_functions.py
])  # fmt: skip
RESERVED = TAKEN | frozenset(dir(builtins)) | frozenset(keyword.kwlist)


class Writer:
    """Writes what layers reach."""

    def __init__(self, reach: Reach, dtype: str, seed: int) -> None:
        self.reach = reach
        self.dtype = dtype
        self.seed = seed
        self.order = _ordered(reach)
        self._names = _named(self.order)

    def called(self, item: Item) -> str:
        """The name that an item has in the file."""
        return "Layer" if item.cls is Layer else self._names[item]

    def imports(self) -> list[str]:
        """The statements that import from Python's library and NumPy."""
        return [item.statement for item in self.order if item.kind == "import"]

    def base(self) -> list[list[str]]:
        """What all layers share: errors, and the base of layers."""
        errors = [ERROR.format(name=self.called(item)).split("\n") for item in self.order if item.kind == "error"]
        random: dict[str, object] = {"seed": self.seed}
        if "random" in self.reach.of_base:
            random |= {name: self.called(self.reach.of_random(name)) for name in ("stream_key", "uniform")}
        base = layer_base(self.dtype, self.reach.of_base, random)
        item = self.reach.items.get(Layer)
        if item is not None:
            base += [line for name in _by_place(item.members) for line in ["", *self._method(item, name)]]
        return [*errors, ARRAYS.split("\n"), base]

    def parts(self) -> list[list[str]]:
        """Helpers and layers, each after what it needs: constants, functions and classes as lines."""
        found: list[list[str]] = []
        constants: list[Item] = []
        assigned: set[int] = set()  # statements: one may make several constants
        for item in self.order:
            if item.kind == "constant":
                constants += [] if id(item.node) in assigned else [item]
                assigned.add(id(item.node))
            elif item.kind in ("function", "class", "layer") and item.cls is not Layer:
                if constants:
                    found.append([line for each in constants for line in self._constant(each)])
                    constants = []
                found.append({"function": self._function, "class": self._helper, "layer": self._layer}[item.kind](item))
        return found

    # Items ------------------------------------------------------------------------------------------------------------

    def _outside(self, item: Item) -> Editor:
        assert item.made is not None
        return Editor(item.made.text, self.reach.names, self.called)

    def _renderer(self, function: Any) -> Renderer:
        written = self.reach.functions[function]
        return Renderer(written, Editor(written.text, written.names, self.called, written.folded))

    def _constant(self, item: Item) -> list[str]:
        assert item.made is not None
        editor, node = self._outside(item), item.made.node
        text = editor.between(*editor.text.span(node), self._renamed(editor, node))
        line = editor.text.lines[(node.end_lineno or 1) - 1].rstrip("\n")[node.end_col_offset or 0 :]
        behind = line if line.lstrip().startswith("#") and "type:" not in line else ""
        return [*comments_above(editor, node), *(text + behind).split("\n")]

    def _renamed(self, editor: Editor, node: Any) -> list[tuple[int, int, str]]:
        """The changes in the assignment of a constant, or of several."""
        edits = editor.edits(node.value) if node.value is not None else []
        if isinstance(node, ast.AnnAssign):
            edits.append((editor.text.span(node.target)[1], editor.text.span(node.annotation)[1], ""))
        targets = [node.target] if isinstance(node, ast.AnnAssign) else node.targets
        for name in (n for target in targets for n in ast.walk(target) if isinstance(n, ast.Name)):
            edits.append((*editor.text.span(name), self.called(self.reach.items[id(node), name.id])))
        return edits

    def _function(self, item: Item) -> list[str]:
        return self._renderer(item.function).function(self.called(item), comments=True)

    def _method(self, item: Item, name: str) -> list[str]:
        lines = self._renderer(item.members[name]).function(name, STEP)
        member = inspect.getattr_static(item.cls, name)
        for kind in (staticmethod, property):  # of a table's entry, without the word above its text
            if isinstance(member, kind) and not lines[0].strip().startswith("@"):
                lines.insert(0, f"{STEP}@{kind.__name__}")
        return lines

    def _helper(self, item: Item) -> list[str]:
        """A class that is no layer."""
        assert item.made is not None
        node: Any = item.made.node
        editor = self._outside(item)
        lines = [f"@{editor.written(d)}" for d in node.decorator_list]
        bases = ", ".join(editor.written(part) for part in [*node.bases, *node.keywords])
        lines.append(f"class {self.called(item)}({bases}):" if bases else f"class {self.called(item)}:")
        said = ast.get_docstring(node, clean=False)
        body: list[str] = [] if said is None else [*shortened(said, STEP), ""]
        for each in item.fields():
            end = editor.text.lines[each.end_lineno - 1].rstrip("\n")[each.end_col_offset :]
            body += [STEP + line.removeprefix(STEP) for line in (self._field(editor, each) + end).split("\n")]
        for name in _by_place(item.members):
            body += ([""] if body and body[-1] else []) + self._method(item, name)
        return [*lines, *(body if any(body) else [f"{STEP}pass"])]

    def _field(self, editor: Editor, node: Any) -> str:
        """A field of a helper class. Its type stays where Python's own words say it: it makes a dataclass a field."""
        if not isinstance(node, ast.AnnAssign):
            return editor.written(node)
        kind = ast.unparse(node.annotation)
        names = {n.id for n in ast.walk(node.annotation) if isinstance(n, ast.Name)}
        value = "" if node.value is None else f" = {editor.written(node.value)}"
        return f"{ast.unparse(node.target)}: {kind if names <= set(dir(builtins)) else 'object'}{value}"

    def _layer(self, item: Item) -> list[str]:
        """The class of a layer, or one that layers share."""
        assert item.cls is not None
        bases = ", ".join(self.called(self.reach.items[base]) for base in item.bases(self.reach.items)) or "Layer"
        lines = [f"class {self.called(item)}({bases}):"]
        said = vars(item.cls).get("__doc__")
        body = shortened(formula_of(said), STEP) if said else []
        values = [self._value(item, name) for name in item.values]
        body += ([""] if body and values else []) + values
        for name in _by_place(item.members):
            body += ([""] if body else []) + self._method(item, name)
        return [*lines, *(without_slope(body) if "negative_slope" in getattr(item.cls, "fields", {}) else body or [f"{STEP}pass"])]

    def _value(self, item: Item, name: str) -> str:
        """A class attribute of a layer."""
        value = item.values[name]
        if not is_plain(value):
            raise Unwritable(f"{item.wanted}.{name} is of type {type(value).__name__}, which cannot be written down")
        return f"{STEP}{name} = {literal(value)}"


SLOPELESS = [
    (", leaky where negative_slope is not 0", ""),
    ("otherwise negative_slope x", "otherwise 0"),
    ("x above zero and a x below: max(x, a x) for slopes a from 0 to 1, min(x, a x) for larger ones.", "max(x, 0)."),
]


def without_slope(lines: Sequence[str]) -> list[str]:
    """The class of a rectifier: where the slope is 0, and none of its code reads it, its words do not speak of it."""
    text = "\n".join(lines)
    if "self.negative_slope" in text or "negative_slope = " in text:
        return list(lines)
    for words, instead in SLOPELESS:
        text = text.replace(words, instead)
    return re.sub(r"\n +[^\n]*negative_slope[^\n]*\n", "", text).split("\n")


def comments_above(editor: Editor, node: ast.stmt) -> list[str]:
    """The comments directly above a statement at the top of a module."""
    lines: list[str] = []
    for number in range(node.lineno - 1, 0, -1):
        line = editor.text.lines[number - 1].rstrip("\n")
        if not line.startswith("#") or "----" in line:
            break
        lines.insert(0, line)
    return lines


def literal(value: Any) -> str:
    """A plain value as Python writes it; infinities and NaN by their names."""
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return f'float("{value}")'
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"' if value.isprintable() else repr(value)
    if isinstance(value, list):
        return f"[{', '.join(map(literal, value))}]"
    if isinstance(value, tuple):
        return f"({', '.join(map(literal, value))}{',' if len(value) == 1 else ''})"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{literal(k)}: {literal(v)}' for k, v in value.items())}}}"
    return repr(value)


def filled(head: str, parts: Iterable[str], tail: str = ")", indent: str = "") -> list[str]:
    """head + parts, separated by commas, + tail: in one line, in three, or with a line for each, as formatters do."""
    parts = list(parts)
    line, row = indent + head + ", ".join(parts) + tail, indent + STEP + ", ".join(parts)
    if len(line) <= WIDTH:
        return [line]
    rows = [row] if len(row) <= WIDTH else [f"{indent}{STEP}{part}," for part in parts]
    return [indent + head, *rows, indent + tail]


def _by_place(members: dict[str, Any]) -> list[str]:
    """The names of methods in the order of their source, module after module as they came; forward first."""
    modules = list(dict.fromkeys(function.__module__ for function in members.values()))

    def place(name: str) -> tuple[bool, int, int]:
        function = members[name]
        return name != "forward", modules.index(function.__module__), function.__code__.co_firstlineno

    return sorted(members, key=place)


def _ordered(reach: Reach) -> list[Item]:
    """All items, each after those that it needs."""
    merge_single_bases(reach)
    found: dict[Item, None] = {}
    begun: set[Item] = set()

    def visit(item: Item) -> None:
        if item in begun:
            return
        begun.add(item)
        for each in needed(reach, item):
            visit(each)
        found[item] = None

    first = [i for i in reach.items.values() if i.cls is Layer]
    first += [reach.of_random(name) for name in ("stream_key", "uniform")] if "random" in reach.of_base else []
    for item in first:
        visit(item)
    for item in list(reach.items.values()):
        if item.kind == "layer" and item.is_used:
            visit(item)
    return list(found)


def merge_single_bases(reach: Reach) -> None:
    """A class that is there for one other alone is written as part of it, as one reads it."""
    changed = True
    while changed:
        changed = False
        layers = {cls: item for cls, item in reach.items.items() if item.kind == "layer" and cls is not Layer}
        for cls, item in layers.items():
            below = [each for each in layers.values() if cls in each.bases(reach.items)]
            if item.is_used or len(below) != 1:
                continue
            heir = below[0]
            own = {*heir.members, *heir.values}
            if own & {*item.members, *item.values} or _asked_of_super(reach, heir) & {*item.members}:
                continue  # it asks for what it overrides
            heir.members = {**heir.members, **item.members}
            heir.values = {**item.values, **heir.values}
            del reach.items[cls]
            changed = True
            break


def _asked_of_super(reach: Reach, item: Item) -> set[str]:
    """The methods that a class asks of those that it inherits from."""
    nodes = [n for function in item.members.values() for n in reach.functions[function].folded.walk()]
    calls: list[Any] = [n for n in nodes if isinstance(n, ast.Attribute) and isinstance(n.value, ast.Call)]
    return {n.attr for n in calls if isinstance(n.value.func, ast.Name) and n.value.func.id == "super"}


def _named(order: list[Item]) -> dict[Item, str]:
    """A name for each item: its own, if nobody else has that."""
    names: dict[Item, str] = {item: item.wanted for item in order if item.kind == "import"}
    used = set(names.values()) | RESERVED - {"np"}
    for item in order:
        if item in names:
            continue
        module = item.function.__module__ if item.function is not None else getattr(item.cls, "__module__", "")
        module = item.made.text.module.__name__ if item.made is not None else module
        wanted = [item.wanted, f"{item.wanted}_of_{short_name(module)}"]
        wanted += [f"{item.wanted}_{n}" for n in range(2, 1000)]
        names[item] = next(name for name in wanted if name not in used and name not in item.taken)
        used.add(names[item])
    return names
