"""Freezing and the factors on learning rate and decay, changed after a net was built: gradual unfreezing, for example.

    net.layers["fc1"].freeze = True                   # all parameters of a layer
    net.params["fc1"]["bias"].lr_mult = 2             # or one of them

What is frozen gets no gradient, what lies below it neither, if nothing else wants one, and the solver passes it over.
Its place in memory and its history stay; a shared parameter is one parameter. Checkpoints hold the changes.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from ..contract import call
from ..contract.layer import Layer
from ..graph.gradients import find_gradients
from ..graph.multipliers import Multipliers
from ..schema.errors import ConfigError
from ..schema.synonyms import did_you_mean
from .net_parts import NetParts
from .parameters import bind_gradients
from .turns import Turns

FIELDS = {"freeze": "freeze", "lr_mult": "lr", "decay_mult": "decay"}
Key = tuple[str, str]


class Tuning:
    """The multipliers of a net's parameters, as its layers see and change them."""

    def __init__(self, net: NetParts) -> None:
        self._net = weakref.ref(net)  # a net is not to wait for the garbage collector because its layers know it

    @property
    def turns(self) -> Turns:
        """Those of the net."""
        net = self._net()
        return Turns("a net that is no more", lambda: None) if net is None else net.passes.turns

    def of(self, layer: Layer) -> dict[str, Multipliers]:
        """The multipliers of a layer's parameters by name."""
        net = self._there(layer)
        every = _all(net)
        return {name: every[net.graph.shared.get(key, key)] for name, key in _keys(layer)}

    def value(self, layer: Layer, field: str) -> Any:
        """What a key of a layer stands at: one value, or one by parameter where they differ."""
        found = {name: getattr(one, FIELDS[field]) for name, one in self.of(layer).items()}
        return next(iter(found.values()), None) if len(set(found.values())) < 2 else found

    def change(self, layer: Layer, field: str, value: Any, name: str | None = None) -> None:
        """Set a key for one parameter of a layer, or for all; a mapping gives factors by parameter.

        Errors   ConfigError for what is no such value, for parameters that do not exist, for a layer without any, and
                 for an attempt to unfreeze what a factor of 0 freezes
        """
        net, keys = self._there(layer), dict(_keys(layer))
        given = {name: value} if name is not None else _by_name(layer, field, value, keys)
        every, changes = _all(net), {}
        for parameter, each in given.items():
            key = net.graph.shared.get(keys[parameter], keys[parameter])
            who = f"{call.owner(layer)}: {field} of '{parameter}'"
            old = every[key]
            changed: dict[str, Any] = {FIELDS[field]: _checked(who, field, each)}
            new = replace(old, **changed)
            if field == "freeze" and not new.freeze and new.frozen:
                raise ConfigError(f"{who} cannot be false, as its lr_mult is 0", hint="set its lr_mult")
            if new != old:
                changes[key] = new
        if changes:
            with net.passes.turns:
                apply(net, net.parameters.changed | changes)

    def _there(self, layer: Layer) -> NetParts:
        net = self._net()
        if net is None:
            raise ConfigError(f"{call.owner(layer)}: its net is no more")
        return net


def _all(net: NetParts) -> dict[Key, Multipliers]:
    return net.graph.multipliers() | net.parameters.changed


def _keys(layer: Layer) -> Iterable[tuple[str, Key]]:
    return ((name, (layer.name, name)) for name in layer.param_decls)


def _by_name(layer: Layer, field: str, value: Any, names: Iterable[str]) -> Mapping[str, Any]:
    names = list(names)
    if not names:
        raise ConfigError(f"{call.owner(layer)} has no parameters: {field} has no meaning for it")
    if not isinstance(value, Mapping):
        return dict.fromkeys(names, value)
    for name in value:
        if name not in names:
            hint = did_you_mean(name, names) or f"it has: {', '.join(names)}"
            raise ConfigError(f"{call.owner(layer)}: {field} names '{name}', which is no parameter of it", hint=hint)
    return value


def _checked(who: str, field: str, value: Any) -> bool | float:
    if field == "freeze":
        if not isinstance(value, (bool, np.bool_)):
            raise ConfigError(f"{who} must be true or false, got {value!r}")
        return bool(value)
    numeric = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
    if not numeric or not 0 <= value < math.inf:
        raise ConfigError(f"{who} must be a number >= 0, got {value!r}")
    return float(value)


def apply(net: NetParts, changed: Mapping[Key, Multipliers]) -> None:
    """Let these multipliers hold instead of the configuration's, and the configuration's for all others."""
    net.parameters.changed = dict(changed)
    net.parameters.regroup(net.backend.xp, _all(net))
    for layer in net.layers.values():
        bind_gradients(layer, net.parameters, net.backend, net.dtype)
    for phase in net.graph.phases.values():
        find_gradients(net.graph, phase, changed)
    net.passes.replan("what is frozen, or how fast a parameter learns, was changed after the last forward")


def as_plain(changed: Mapping[Key, Multipliers]) -> list[list[Any]]:
    """Changed multipliers as JSON writes them."""
    return [[*key, one.lr, one.decay, one.freeze] for key, one in changed.items()]


def from_plain(net: NetParts, plain: Any, source: str) -> dict[Key, Multipliers]:
    """What `as_plain` wrote; ConfigError where it does not fit the net."""
    found, known = {}, net.parameters.slots
    try:
        for layer, name, lr, decay, freeze in plain:
            found[layer, name] = Multipliers(float(lr), float(decay), bool(freeze))
    except (TypeError, ValueError):
        hint = "take its weights only, and begin anew"
        raise ConfigError(f"{source}: its multipliers are damaged", hint=hint) from None
    for layer, name in found.keys() - known.keys():
        raise ConfigError(f"{source} changes multipliers of '{layer}.{name}', which is no parameter of this net")
    return found
