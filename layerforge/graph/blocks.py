"""Blocks: a piece of a net written once, with variables, and used many times.

    blocks:
      basic:
        args: {c: null, stride: 1}            # null: must be given
        net:
          - {name: conv1, type: Conv2d, out_channels: "${c}", kernel_size: 3, padding: 1, stride: "${stride}"}
          - {name: add, type: Add, bottom: [conv1, input]}       # `input` is the bottom of the block
    net:
      - {name: s1, block: basic, repeat: 3, with: {c: 16}}       # layers s1.0.conv1, s1.0.add, s1.1.conv1 ...

After expansion a net is a plain list of layers; the name of a use stands for the top of its last layer.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ..schema.errors import ConfigError, LayerForgeError
from ..schema.locations import PlacedDict, PlacedList, place_of
from ..schema.params import Declared, param
from ..schema.registry import LAYERS
from ..schema.synonyms import did_you_mean, hint_for_key

VARIABLE = re.compile(r"\$\{([^{}]*)\}")
DEPTH = 20
MOST_LAYERS = 10_000  # after expansion, and as many uses of blocks: ten blocks of ten each are ten thousand million
LONGEST_VALUE = 10_000  # characters of a variable's value; it could double at each level


class Block(Declared):
    """The definition of a block."""

    args: dict = param({}, help="its variables with their default values; null means that it must be given")
    net: list[dict] = param(help="its layers; `input` names the block's bottom")


class Use(Declared):
    """One use of a block in a net."""

    name: str = param(help="prefix of the layers' names")
    block: str = param(help="name of the block")
    repeat: int | None = param(None, help="how many times, one after the other; the names get a number", ge=1)
    bottom: str | None = param(None, help="the block's input; by default the layer above")
    recompute: bool = param(False, help="the block keeps nothing for backward, but runs forward once more then")


class TooManyLayers(ConfigError):
    """The blocks of a net make so many layers that looking for more errors would take too long."""


class Expansion:
    """Turns a net with block uses into plain layers. `aliases` maps the name of a use to the blob it stands for."""

    def __init__(self, blocks: Mapping[str, Any], first_input: str | None, errors: list[LayerForgeError]) -> None:
        self.errors = errors
        self.aliases: dict[str, str | None] = {}
        self.layers: list[PlacedDict] = []
        self.above = first_input
        self.uses = 0  # a repeated one as often as it is
        self.blocks: dict[str, Block] = {}
        for name, body in blocks.items():
            try:
                if not isinstance(body, Mapping):
                    raise ConfigError(f"block '{name}' must be a mapping with net", place=place_of(blocks, name))
                self.blocks[name] = Block.from_config(body, f"block '{name}'")
            except ConfigError as error:
                errors.append(error)

    def expand(self, net: Any, prefix: str = "", depth: int = 0) -> None:
        """Append the layers of a list, with their names under `prefix`. Only TooManyLayers is raised."""
        for i, item in enumerate(net):
            if not isinstance(item, Mapping):
                message = f"net[{i}] must be a mapping with name and type"
                self.errors.append(ConfigError(message, place=place_of(net, i)))
            elif "block" in item:
                try:
                    self._use(item, prefix, depth)
                except TooManyLayers:
                    raise
                except ConfigError as error:
                    self.errors.append(error)
            else:
                self._demand_few(len(self.layers) + 1, place_of(net, i))
                self._layer(item, prefix)

    def _demand_few(self, count: int, place: Any) -> None:
        if count > MOST_LAYERS:
            raise TooManyLayers(f"the net has more than {MOST_LAYERS} layers, or uses of blocks", place=place)

    def _layer(self, item: Mapping[str, Any], prefix: str) -> None:
        layer = copy_placed(item)
        if prefix and isinstance(layer.get("name"), str):
            layer["name"] = prefix + layer["name"]
        self.layers.append(layer)
        if "phase" not in layer and count_of(layer, "tops") != 0:
            tops = layer.get("top", layer.get("name"))
            self.above = tops[0] if isinstance(tops, (list, tuple)) and tops else tops

    def _use(self, item: Mapping[str, Any], prefix: str, depth: int) -> None:
        if depth >= DEPTH:
            raise ConfigError("blocks use each other without end", place=place_of(item, "block"))
        plain = copy_placed(item)
        given = plain.pop("with", {})
        use = Use.from_config(plain, f"use of block '{item['block']}'")
        block = self.blocks.get(use.block)
        if block is None:
            hint = did_you_mean(use.block, self.blocks) or f"known blocks: {', '.join(self.blocks) or 'none'}"
            raise ConfigError(f"there is no block '{use.block}'", place=place_of(item, "block"), hint=hint)
        values = self._values(use, block, given, place_of(item))
        name = prefix + use.name
        if use.bottom is not None:
            self.above = use.bottom
        for k in range(use.repeat or 1):
            self.uses += 1
            self._demand_few(self.uses, place_of(item))
            inner = name if use.repeat is None else f"{name}.{k}"
            body = Scope(inner + ".", self.above, block.net, self.aliases).rename(substitute(block.net, values, name))
            for layer in (layer for layer in body if use.recompute and isinstance(layer, PlacedDict)):
                layer.setdefault("recompute", True)
            self.expand(body, inner + ".", depth + 1)
            self.aliases[inner] = self.above
        self.aliases[name] = self.above

    def _values(self, use: Use, block: Block, given: Any, place: Any) -> dict[str, Any]:
        if not isinstance(given, Mapping):
            raise ConfigError(f"'{use.name}': with must be a mapping of variables", place=place)
        for key in given:
            if key not in block.args:
                hint = hint_for_key(key, block.args)
                message = f"block '{use.block}' has no variable '{key}'"
                raise ConfigError(message, place=place_of(given, key, of="key"), hint=hint)
        values = {**block.args, **given}
        long = [k for k, v in values.items() if _length(v) > LONGEST_VALUE]
        if long:
            raise ConfigError(f"'{use.name}': the value of {', '.join(long)} is too long", place=place)
        missing = [k for k, v in values.items() if v is None and k not in given]
        if missing:
            message = f"'{use.name}' must give block '{use.block}' its variable(s) {', '.join(missing)}"
            raise ConfigError(message, place=place, hint=f"add `with: {{{missing[0]}: ...}}`")
        return values


class Scope:
    """What names mean inside a use of a block: its own layers first, then `input`, then the net outside."""

    def __init__(self, prefix: str, above: Any, net: Any, aliases: Mapping[str, Any]) -> None:
        self.prefix, self.above, self.aliases = prefix, above, aliases
        self.own: set[str] = set()
        for layer in (item for item in net if isinstance(item, Mapping)):
            tops = layer.get("top", layer.get("name"))
            self.own |= {t for t in (tops if isinstance(tops, (list, tuple)) else [tops]) if isinstance(t, str)}
            self.own |= {layer["name"]} if isinstance(layer.get("name"), str) else set()

    def blob(self, name: Any) -> Any:
        if not isinstance(name, str):
            return name
        if name in self.own:
            return self.prefix + name
        return self.above if name == "input" else name

    def rename(self, net: Any) -> Any:
        """The block's list with every reference (bottom, top, share) in the names of the net outside."""
        first = True
        for layer in (item for item in net if isinstance(item, PlacedDict)):
            for key in ("bottom", "top"):
                if key in layer:
                    value = layer[key]
                    layer[key] = [self.blob(v) for v in value] if isinstance(value, list) else self.blob(value)
            if isinstance(layer.get("share"), Mapping):
                layer["share"] = {k: self._shared(v) for k, v in layer["share"].items()}
            if first and "bottom" not in layer and isinstance(self.above, str) and count_of(layer, "bottoms") != 0:
                layer["bottom"] = self.above
            first = False
        return net

    def _shared(self, reference: Any) -> Any:
        owner, _, name = str(reference).rpartition(".")
        return f"{self.prefix}{owner}.{name}" if owner in self.own else reference


def count_of(layer: Mapping[str, Any], which: str) -> int | None:
    """How many bottoms or tops a layer has at least; None where its type is not known."""
    try:
        count = getattr(LAYERS.get(layer.get("type")), which)
    except ConfigError:  # the builder of the net reports it
        return None
    return count if isinstance(count, int) else count[0]


def _length(value: Any) -> int:
    """The characters of a value and of all that is in it; no further than one beyond LONGEST_VALUE."""
    length, inside = 0, [value]
    while inside and length <= LONGEST_VALUE:
        item = inside.pop()
        length += len(item) if isinstance(item, str) else 1
        inside += item.values() if isinstance(item, Mapping) else item if isinstance(item, (list, tuple)) else ()
    return length


def copy_placed(value: Any) -> Any:
    """A deep copy of mappings and lists that keeps their places."""
    if isinstance(value, Mapping):
        copy = PlacedDict({k: copy_placed(v) for k, v in value.items()}, place=place_of(value))
        for key in copy:
            copy.copy_places(value, key)
        return copy
    if isinstance(value, (list, tuple)):
        items = PlacedList([copy_placed(v) for v in value], place=place_of(value))
        items.value_places = dict(getattr(value, "value_places", {}))
        return items
    return value


def substitute(value: Any, values: Mapping[str, Any], user: str) -> Any:
    """A deep copy with ${variable} replaced: a whole value keeps its type, inside a text it becomes text."""
    copy = copy_placed(value)
    _substitute_inside(copy, values, user)
    return copy


def _substitute_inside(container: Any, values: Mapping[str, Any], user: str) -> None:
    keys = list(container) if isinstance(container, dict) else range(len(container))
    for key in keys:
        value = container[key]
        if isinstance(value, (dict, list)):
            _substitute_inside(value, values, user)
        elif isinstance(value, str) and "${" in value:
            container[key] = _filled(value, values, user, place_of(container, key))


def _filled(text: str, values: Mapping[str, Any], user: str, place: Any) -> Any:
    for name in VARIABLE.findall(text):
        if name not in values:
            hint = did_you_mean(name, values) or f"its variables: {', '.join(values) or 'none'}"
            raise ConfigError(f"'{user}': the block has no variable '{name}'", place=place, hint=hint)
    whole = VARIABLE.fullmatch(text)
    if whole:
        return values[whole.group(1)]
    filled = VARIABLE.sub(lambda m: str(values[m.group(1)]), text) if text.count("$") <= LONGEST_VALUE // 100 else ""
    if not filled or len(filled) > LONGEST_VALUE:
        raise ConfigError(f"'{user}': a text with variables becomes too long", place=place)
    return filled
