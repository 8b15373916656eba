"""`--set KEY=VALUE`: values from the command line, laid over what the files say.

--set solver.lr=0.05  --set 'solver.schedule={type: step, step_size: 5}'  --set net.fc1.out_features=512
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..schema.errors import ConfigError, LayerForgeError, flatten
from ..schema.locations import Place, PlacedDict, PlacedList
from ..schema.params import show
from ..schema.registry import RESERVED
from ..schema.synonyms import did_you_mean
from ..schema.texts import BYTE
from .address import entry, names_in
from .scalars import quoted_scalar
from .yaml_events import UNPRINTABLE
from .yaml_file import MAX_DEPTH, parse_value

SOURCE = "--set"  # the "file" of the places of these values


def apply_overrides(tree: PlacedDict, overrides: Iterable[str]) -> list[LayerForgeError]:
    """Write each KEY=VALUE into `tree`, in order; the errors of those that cannot be written."""
    errors: list[LayerForgeError] = []
    for text in overrides:
        try:
            key, value, key_place, value_place = parse_override(text)
            _Setter(tree, key, value, key_place, value_place).run()
        except ConfigError as error:
            errors += flatten(error)
    return errors


def parse_override(text: str) -> tuple[list[str], Any, Place, Place]:
    """KEY=VALUE taken apart: the parts of the address, the value, and the places of both.

    Errors   ConfigError without a '=', for an empty key or part of a key, and for a value that is not YAML
    """
    key, equals, value = text.partition("=")
    shown = "" if "\n" in text or "\r" in text else UNPRINTABLE.sub("\ufffd", text)
    key_place = Place(SOURCE, 0, 1, shown, max(1, len(key)))
    example = "for example solver.lr=0.05"
    if not equals:
        raise ConfigError(f"'{text}' is not KEY=VALUE", place=key_place, hint=example)
    parts = key.strip().split(".")
    if len(parts) > MAX_DEPTH:
        raise ConfigError(f"the key has more than {MAX_DEPTH} parts", place=key_place, hint=example)
    if not all(parts) or any(part != part.strip() for part in parts):
        what = f"'{key.strip()}' is not a key: names joined by dots" if key.strip() else "there is no key before '='"
        raise ConfigError(what, place=key_place, hint=example)
    value_place = Place(SOURCE, 0, len(key) + 2, shown, max(1, len(value)))
    if BYTE.search(value) and not value.lstrip().startswith(("[", "{", '"', "'")):  # a file name that is no UTF-8
        value = quoted_scalar(value)
    return parts, parse_value(value, value_place), key_place, value_place


class _Setter:
    """One override on its way down the tree."""

    def __init__(self, tree: PlacedDict, parts: list[str], value: Any, key_place: Place, value_place: Place) -> None:
        self.tree, self.parts, self.value = tree, parts, value
        self.key_place, self.value_place = key_place, value_place

    def run(self) -> None:
        if self.parts[0] == "extends":
            raise self._error("extends cannot be set on the command line", "give the other file instead")
        container: Any = self.tree
        done = 0
        while True:
            found = entry(container, self.parts[done:])
            if found is None and isinstance(container, PlacedList):
                raise self._unknown(container, done)
            key, count = found or (self.parts[done], 1)
            done += count
            if done == len(self.parts):
                self._write(container, key)
                return
            container = self._step_down(container, key, done)

    def _step_down(self, container: Any, key: Any, done: int) -> Any:
        """The mapping or list under `key`, made where there is none yet (or null)."""
        inner = container[key] if not isinstance(container, dict) or key in container else None
        if inner is None:
            inner = PlacedDict(place=self.key_place)
            self._store(container, key, inner)
        if not isinstance(inner, (PlacedDict, PlacedList)):
            here = ".".join(self.parts[:done])
            raise self._error(f"'{here}' is {show(inner)}, which has no keys below it", f"set '{here}' as a whole")
        if isinstance(container, PlacedList) and "block" in inner and self.parts[done] not in RESERVED:
            here, body = ".".join(self.parts[:done]), f"blocks.{inner['block']}.net"
            raise self._error(
                f"'{here}' is a block, and the layers inside a block cannot be set one by one",
                f"set an argument: {here}.with.NAME=VALUE, or a layer of every copy: {body}.LAYER.KEY=VALUE",
            )
        return inner

    def _write(self, container: Any, key: Any) -> None:
        if isinstance(container, PlacedList) and isinstance(container[key], PlacedDict):
            here = ".".join(self.parts)
            raise self._error(f"'{here}' is a whole layer or block", f"set one of its keys: {here}.KEY=VALUE")
        if isinstance(self.value, (PlacedDict, PlacedList)):
            self.value.place = self.key_place
        self._store(container, key, self.value)

    def _store(self, container: Any, key: Any, value: Any) -> None:
        container[key] = value
        container.value_places[key] = self.value_place
        if isinstance(container, PlacedDict):
            container.key_places[key] = self.key_place

    def _unknown(self, container: PlacedList, done: int) -> ConfigError:
        rest, here = ".".join(self.parts[done:]), ".".join(self.parts[:done])
        known = names_in(container)
        # The key of the layer follows its name, and a misspelt name may have dots: compare all beginnings.
        heads = [".".join(self.parts[done:end]) for end in range(len(self.parts), done, -1)]
        hint = next((h for h in (did_you_mean(head, known) for head in heads) if h), None)
        noun = "layer" if here == "net" or here.endswith(".net") else "entry"
        word = self.parts[done] if len(heads) <= 2 else rest
        return self._error(
            f"'{here}' has no {noun} '{word}'", hint or f"there: {', '.join(known[:20])}" if known else "it is empty"
        )

    def _error(self, message: str, hint: str) -> ConfigError:
        return ConfigError(message, place=self.key_place, hint=hint)
