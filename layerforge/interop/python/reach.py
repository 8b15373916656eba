"""What the forward of layers reaches: from method to helper to constant, until nothing is missing."""

from __future__ import annotations

import ast
import builtins
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import takewhile
from types import FunctionType, ModuleType
from typing import Any

from ...arrays.sparse import CSR
from ...contract.layer import Layer
from ...schema.errors import LayerForgeError
from .folding import opinions
from .items import Item, Written
from .knowledge import Knowledge, Words, is_plain
from .scopes import free_names
from .sources import Foreign, Made, Unwritable, meaning, origin, plain_function, text_of

Meaning = Item | str | ModuleType  # of a name: what stands in the file, a text in its place, a module of ours
Told = tuple[str, Words]  # what a call says: the function's name for the layer, and words by its parameters
Telling = Callable[[FunctionType], Told]
NOTHING: Told = ("", ())
# What the written base of layers has, and what there is in a net alone.
OF_BASE = frozenset(
    ["name", "params", "state", "buf", "constant", "dtype", "carried", "save", "xp", "phase", "random", "draws"]
)
OF_NET = frozenset([
    *("run", "grads", "saved", "kept", "memory", "constants", "needs_grad", "needs_param_grad", "grad_rows"),
    "runs_in_place",
])  # fmt: skip


def tell_nothing(function: FunctionType) -> Told:
    """To whom nothing is told."""
    return NOTHING


class Reach:
    """All that is reached, as items and functions.

    problems   of layers, by name: why they cannot be written
    settings   of layers, by name: the attributes that their code reads and that they are told
    of_base    what is read of the base of all layers
    names      what names outside of functions mean, by the id of the node
    """

    def __init__(self) -> None:
        self.items: dict[Any, Item] = {}
        self.functions: dict[Any, Written] = {}
        self.problems: dict[str, str] = {}
        self.settings: dict[str, set[str]] = {}
        self.of_base: set[str] = set()
        self.names: dict[int, Meaning] = {}
        self._attributes: set[str] = set()  # every attribute that is read of anything
        self._helpers: list[Item] = []
        self._layers: list[tuple[Layer, Any]] = []  # with what tells whether two read the same
        self._visited: dict[Any, str] = {}  # functions for a layer, and what stood against them
        self._read_by: dict[Any, set[str]] = {}  # attributes by the layers that read them
        self._layer: Layer | None = None
        self._reading: set[str] = set()

    # Layers -----------------------------------------------------------------------------------------------------------

    def add(self, layers: Sequence[Layer]) -> None:
        """The layers of a net, and what their forward reaches.

        What one layer knows beforehand, and need not ask, another may not know: then the question is written down, and
        both must be able to answer it. So they are gone through until nothing is new.
        """
        for layer in layers:
            told = {k: v for k, v in vars(layer).items() if k != "name" and is_plain(v)}
            self._layers.append((layer, (type(layer), repr(sorted(told.items())), tuple(layer.param_decls))))
        before = -1
        while before != (before := self._extent()):
            self._visited.clear()
            for layer, key in self._layers:
                self._add(layer, key)

    def _extent(self) -> int:
        """Grows with everything that is reached."""
        heard = sum(len(held) for written in self.functions.values() for held in written.held.values())
        members = sum(len(item.members) + len(item.values) for item in self.items.values())
        return heard + members + len(self.items) + sum(map(len, self._read_by.values())) + len(self.of_base)

    def _add(self, layer: Layer, key: Any) -> None:
        self._layer, self._reading = layer, self._read_by.setdefault(key, set())
        try:
            self.layer_item(type(layer)).is_used = True
            self._of_layer(layer, "forward")
            self.settings[layer.name] = self._reading
        except Unwritable as problem:
            self.problems[layer.name] = str(problem)

    def layer_item(self, cls: type) -> Item:
        """The class of a layer, or one that layers inherit from."""
        if cls not in self.items:
            if origin(cls.__module__) != "here":
                raise Unwritable(f"its class is of {cls.__module__}, which is not written down")
            node = text_of(cls.__module__).made.get(cls.__name__)
            made = None if node is None else Made(text_of(cls.__module__), cls.__name__, node)
            self.items[cls] = Item("layer", cls.__name__, made, cls=cls)
        return self.items[cls]

    def _of_layer(self, layer: Layer, name: str, after: type | None = None) -> None:
        """An attribute of a layer that its code reads; after a class of its, as `super()` asks for it."""
        mro = type(layer).__mro__
        owner: Any = next((c for c in mro[0 if after is None else mro.index(after) + 1 :] if name in vars(c)), None)
        member = None if owner is None else vars(owner)[name]
        function = plain_function(member)
        if name in OF_NET:
            raise Unwritable(f"its forward reads self.{name}, which there is not without the net")
        if name in OF_BASE and owner in (Layer, None):
            self.of_base.add(name)
            if name == "random":
                for each in ("stream_key", "uniform"):
                    self.of_random(each)
        elif owner is not None and function is not None and name not in vars(layer):
            self.layer_item(owner).members[name] = function
            bare = isinstance(member, staticmethod)
            self._visit(function, "" if bare else function.__code__.co_varnames[0], owner)
        elif name in vars(layer) or owner in (Layer, None) or name in type(layer).fields:
            self._reading.add(name)
        else:
            self.layer_item(owner).values[name] = member

    def of_random(self, name: str) -> Item:
        """A function of the random numbers that `Layer.random` gives."""
        found = self._item(meaning("layerforge.arrays.philox", name))
        assert isinstance(found, Item)
        return found

    # Functions --------------------------------------------------------------------------------------------------------

    def _visit(self, function: FunctionType, alias: str = "", owner: type | None = None, told: Words = ()) -> None:
        """A function as it is run for the present layer, which it knows as `alias`; "" for one that does not."""
        key = (function, alias, id(self._reading) if alias else None, told)
        if key in self._visited:
            if self._visited[key]:
                raise Unwritable(self._visited[key])
            return
        self._visited[key] = ""
        try:
            self._follow(self._written(function), alias, owner, told)
        except Unwritable as problem:
            self._visited[key] = str(problem)
            raise

    def _written(self, function: FunctionType) -> Written:
        if function not in self.functions:
            text = text_of(function.__module__)
            self.functions[function] = Written(function, text, text.function(function.__code__))
        return self.functions[function]

    def _follow(self, written: Written, alias: str, owner: type | None, told: Words) -> None:
        who = (alias, id(self._reading) if alias else None, told) if alias or told else None
        knowledge = Knowledge(self._layer if alias else None, written.function.__globals__, told)
        if who not in written.known:
            written.known[who] = opinions(written.node, knowledge)
            written.hear(who)
        view, knowledge = written.view(who), knowledge.inside(written.node)
        for name, call in view.names:
            found = self._resolve(written.function, name.id, partial(_told, call, alias, knowledge))
            if isinstance(found, Item):
                found.taken |= view.own - {name.id}
            if found is not None:
                written.names[id(name)] = found
        for node in view.attributes:
            self._attribute(written.names, node, alias, owner)

    def _resolve(self, function: FunctionType, name: str, telling: Telling) -> Meaning | None:
        """What a name in a function means; None for what is built in. telling: what functions are told."""
        code = function.__code__
        if name in code.co_freevars:
            cells = function.__closure__ or ()
            value = cells[code.co_freevars.index(name)].cell_contents
            return self._closed(function, name, value, telling)
        if name in function.__globals__:
            return self._item(meaning(function.__module__, name), telling)
        if hasattr(builtins, name):
            return None
        raise Unwritable(f"nothing tells what '{name}' is in {function.__qualname__}")

    def _closed(self, function: FunctionType, name: str, value: Any, telling: Telling) -> Meaning | None:
        """What a function took along from the function that made it."""
        inner = plain_function(value)
        if name == "__class__":
            return None
        if inner is None and is_plain(value):
            return repr(value)
        if inner is None:
            raise Unwritable(f"its {function.__name__} holds on to {name}, a {type(value).__name__}")
        if inner not in self.items:
            wanted = name if inner.__name__ == "<lambda>" else inner.__name__
            self.items[inner] = Item("function", wanted, function=inner)
        alias, told = telling(inner)
        self._visit(inner, alias, told=told)
        return self.items[inner]

    def _attribute(self, names: dict[int, Meaning], node: ast.Attribute, alias: str, owner: type | None) -> None:
        """An attribute that is read: of self, of super(), of a module, or of anything."""
        inner, layer = node.value, self._layer
        if alias and layer is not None and isinstance(inner, ast.Name) and inner.id == alias:
            if alias != "self" and node.attr in ("xp", "phase"):
                self.of_base.add(f"{node.attr} of another name")
            self._of_layer(layer, node.attr)
        elif isinstance(inner, ast.Call) and isinstance(inner.func, ast.Name) and inner.func.id == "super":
            if layer is not None and owner is not None:
                self._of_layer(layer, node.attr, after=owner)
        elif isinstance(inner, ast.Name) and isinstance(module := names.get(id(inner)), ModuleType):
            names[id(node)] = self._item(meaning(module.__name__, node.attr))
        elif node.attr not in self._attributes:
            self._attributes.add(node.attr)
            for item in list(self._helpers):
                self._method(item, node.attr)

    # What modules make ------------------------------------------------------------------------------------------------

    def _item(self, found: Made | Foreign | ModuleType, telling: Telling = tell_nothing) -> Item | ModuleType:
        """The item of a name, with what it reaches itself."""
        if isinstance(found, ModuleType):
            return found
        if isinstance(found, Foreign):
            return self.items.setdefault(found.statement, Item("import", found.name, statement=found.statement))
        value = found.value
        if value is CSR:
            raise Unwritable("it computes with sparse arrays")
        if isinstance(value, type) and issubclass(value, LayerForgeError):
            return self.items.setdefault(value, Item("error", found.name, cls=value))
        if isinstance(value, type) and issubclass(value, Layer):
            raise Unwritable(f"its code names the layer {found.name}")
        return self._made(found, value, telling)

    def _made(self, found: Made, value: Any, telling: Telling) -> Item:
        key, node = (id(found.node), found.name), found.node
        function = plain_function(value) if isinstance(node, ast.FunctionDef) else None
        if function is not None:
            item = self.items.setdefault(key, Item("function", found.name, found, function=function))
            alias, told = telling(function)
            self._visit(function, alias, told=told)
            return item
        if key not in self.items:
            kind = "class" if isinstance(node, ast.ClassDef) else "constant"
            self.items[key] = Item(kind, found.name, found, cls=value if kind == "class" else None)
            self._outside(self.items[key])
            if kind == "class":
                self._helper(self.items[key])
            for name in self.items[key].assigned():  # one statement may make several constants
                self._made(Made(found.text, name, node), getattr(found.text.module, name), telling)
        return self.items[key]

    def _outside(self, item: Item) -> None:
        """The names that a constant or the head of a class reads when the file is loaded."""
        assert item.made is not None
        for part in item.outside():
            for name in free_names(part, lambda node: list(ast.iter_child_nodes(node))):
                if hasattr(builtins, name.id) and name.id not in vars(item.made.text.module):
                    continue
                self.names[id(name)] = self._item(meaning(item.made.text.module.__name__, name.id))
            for node in ast.walk(part):
                if isinstance(node, ast.Attribute):
                    self._attribute(self.names, node, "", None)

    def _helper(self, item: Item) -> None:
        """A class that is no layer: methods with names that Python itself calls, and those that somebody reads."""
        self._helpers.append(item)
        for name in item.methods():
            if name in self._attributes or (name.startswith("__") and name.endswith("__")):
                self._method(item, name)

    def _method(self, item: Item, name: str) -> None:
        """A method of a helper class, if it has one of that name in its text."""
        function = plain_function(vars(item.cls).get(name)) if name in item.methods() else None
        if function is not None and name not in item.members:
            item.members[name] = function
            self._visit(function)


def _told(call: Any, alias: str, knowledge: Knowledge, function: FunctionType) -> Told:
    """What a call tells a function: how the function calls what its caller knows by another name ("" where it is not
    handed on), and the words that are known.
    """
    if call is None:
        return NOTHING
    names = function.__code__.co_varnames[: function.__code__.co_argcount]
    in_order = takewhile(lambda given: not isinstance(given, ast.Starred), call.args)
    given = [*zip(names, in_order, strict=False), *((k.arg, k.value) for k in call.keywords if k.arg)]
    known_as = next((name for name, value in given if alias and getattr(value, "id", None) == alias), "")
    values = [(name, knowledge.value(value)[1]) for name, value in given]
    return known_as, tuple((name, word) for name, word in values if isinstance(word, str))


def needed(reach: Reach, item: Item) -> list[Item]:
    """What an item is written with, in the order of its text."""
    found: list[Any] = []
    if item.kind == "layer":
        found += [reach.items[base] for base in item.bases(reach.items)]
    elif item.made is not None and item.kind != "function":
        found += _in_order(reach.names, [n for part in item.outside() for n in ast.walk(part)])
        found += [reach.items[id(item.node), name] for name in item.assigned()]
    functions: list[Any] = [*item.members.values(), *([item.function] if item.function is not None else [])]
    for function in sorted(functions, key=lambda f: f.__code__.co_firstlineno):
        written = reach.functions[function]
        found += _in_order(written.names, written.folded.walk())
    return [each for each in found if isinstance(each, Item)]


def _in_order(names: Mapping[int, Meaning], nodes: list[Any]) -> list[Meaning]:
    told = [n for n in nodes if id(n) in names]
    return [names[id(n)] for n in sorted(told, key=lambda n: (n.lineno, n.col_offset))]
