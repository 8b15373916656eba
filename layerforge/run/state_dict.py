"""A net's arrays under the names that torch's state_dict has: fc1.weight, bn1.running_mean, layer1.0.conv1.weight.

A "/" in a layer's name is a "." there, as torch's names of modules in modules have it. What names mean is told by the
net, which knows its layers: nothing is guessed from a name. Where a layer stores otherwise than torch's module does,
torch_layouts.py converts.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .. import snapshot
from ..contract.layer import Layer
from ..schema.errors import ConfigError, DataError
from ..schema.synonyms import did_you_mean
from .net_parts import NetParts
from .partial_load import PYTHON, Words, matching
from .torch_layouts import layout_of

MOST_COMPARED = 10_000  # pairs of names; a suggestion for each of many thousands would take minutes


def dotted(name: str) -> str:
    """A name of ours as one of torch's."""
    return name.replace("/", ".")


@dataclass(frozen=True)
class StateDict:
    """All of a net's arrays by torch's names.

    arrays    copies, on the host; a shared parameter under the name of each layer that has it
    layers    the layer that each name belongs to
    optional  names that others may leave out
    shared    names of one and the same parameter, as groups
    """

    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    layers: dict[str, Layer] = field(default_factory=dict)
    optional: set[str] = field(default_factory=set)
    shared: list[list[str]] = field(default_factory=list)

    @classmethod
    def of(cls, net: NetParts) -> StateDict:
        """That of a net. ConfigError where two arrays of it have one name in torch's way of writing them"""
        found = cls()
        for layer in net.layers.values():
            own = {name: np.array(net.backend.to_host(a)) for name, a in [*layer.params.items(), *layer.state.items()]}
            layout = layout_of(layer)
            for name, array in layout.to_torch(layer, own).items():
                found._add(f"{dotted(layer.name)}.{name}", array, layer, name in layout.optional)
        groups: dict[tuple[str, str], list[str]] = {}
        for user, owner in net.parameters.shared.items():
            groups.setdefault(owner, [_key(net, owner)]).append(_key(net, user))
        found.shared.extend(groups.values())
        return found

    def _add(self, key: str, array: np.ndarray, layer: Layer, optional: bool) -> None:
        if key in self.arrays:
            both = f"'{self.layers[key].name}' and '{layer.name}'"
            hint = "'/' and '.' are one and the same there: rename one of the layers"
            raise ConfigError(f"layers {both} would both have an array '{key}' in a state_dict", hint=hint)
        self.arrays[key], self.layers[key] = array, layer
        if optional:
            self.optional.add(key)


def _key(net: NetParts, parameter: tuple[str, str]) -> str:
    layer, name = parameter
    return f"{dotted(layer)}.{layout_of(net.layers[layer]).names.get(name, name)}"


# What is given --------------------------------------------------------------------------------------------------------


def plain_arrays(mapping: Any, source: str) -> dict[str, np.ndarray]:
    """A mapping of torch's tensors, or of arrays, as NumPy arrays. torch is not imported for it.

    Errors   DataError where something in it is neither
    """
    if not isinstance(mapping, Mapping):
        hint = "give model.state_dict(), or a mapping from names to arrays"
        raise DataError(f"{source} is a {type(mapping).__name__}, not a mapping", hint=hint)
    found = {name: _plain(value) for name, value in mapping.items()}
    wrong = [f"{name!r} is a {type(mapping[name]).__name__}" for name, array in found.items() if array is None]
    wrong += [f"the name {name!r} is a {type(name).__name__}" for name in found if not isinstance(name, str)]
    if wrong:
        raise DataError(f"{source} holds more than tensors: {'; '.join(wrong[:10])}", hint="leave that out")
    return {name: array for name, array in found.items() if array is not None}


def _plain(value: Any) -> np.ndarray | None:
    """A tensor or an array as an array of the host; None for anything else, and for tensors without such a form."""
    try:
        if hasattr(value, "detach"):
            value = value.detach().cpu()
            value = (value.float() if str(value.dtype) == "torch.bfloat16" else value).numpy()
        elif hasattr(value, "__cuda_array_interface__") and hasattr(value, "get"):
            value = value.get()
        elif hasattr(value, "__array__"):
            value = np.asarray(value)
    except (TypeError, RuntimeError):  # a sparse or quantized tensor, or one without memory
        return None
    return value if isinstance(value, np.ndarray) else None


# What a net takes of it -----------------------------------------------------------------------------------------------


def fitting_state(
    net: NetParts,
    theirs: Mapping[str, np.ndarray],
    source: str,
    allow_missing: Iterable[str] = (),
    rename: Mapping[str, str] | None = None,
    words: Words = PYTHON,
) -> tuple[dict[str, np.ndarray], list[str]]:
    """The arrays of a state_dict that a net takes, by the net's paths and in its dtype; in words what does not fit.

    allow_missing  as `partial_load.fitting` has it; "/" and "." are the same
    rename         {name there: name in the net}, all at once: of modules and all that is in them ("encoder": "body"),
                   of arrays ("fc.w": "fc.weight"), or with one `*` in both ("module.*": "*", "*.conv": "*.conv1")

    Errors   DataError naming every missing, unexpected and mis-shaped array of other layers, every array that holds
             anything but real numbers, and numbers that the net's dtype cannot hold; ConfigError for a pattern or name
             that matches nothing, and for two arrays of one name
    """
    mine = StateDict.of(net)
    given = _completed(mine, _renamed(theirs, rename or {}, mine, words), source)
    prefix = _prefix(mine, given, words)
    differences = _differences(mine, given, compare=not prefix)
    layer_of = {key: mine.layers[key].name if key in mine.layers else _module(key) for key in [*mine.arrays, *given]}
    patterns = allow_missing if isinstance(allow_missing, str) else [dotted(pattern) for pattern in allow_missing]
    free = matching(patterns, {dotted(name) for name in layer_of.values()}, words)
    wrong = {key: text for key, text in differences.items() if dotted(layer_of[key]) not in free}
    if wrong:
        allow = words.allowed(dict.fromkeys(layer_of[key] for key in wrong))
        anew = f"to begin anew with what does not fit: {allow}" if allow else ""
        hint = "\n     = ".join(filter(None, ["; ".join(wrong.values()), prefix, anew]))
        raise DataError(f"{source} does not fit this net", hint=hint)
    apart = {layer_of[key] for key in differences}
    taken = {key: given[key] for key in mine.arrays if key in given and layer_of[key] not in apart}
    if not taken and mine.arrays:
        raise DataError(f"{source} has nothing that fits this net", hint="; ".join(differences.values()) or None)
    return _by_path(net, mine, taken, source), list(differences.values())


def _module(key: str) -> str:
    return key.rpartition(".")[0] or key


def _completed(mine: StateDict, given: dict[str, np.ndarray], source: str) -> dict[str, np.ndarray]:
    """With every name of a shared parameter where one of them is given. DataError where they are given differently"""
    for names in mine.shared:
        known = [name for name in names if name in given]
        for name in known[1:]:
            if not np.array_equal(given[known[0]], given[name], equal_nan=given[name].dtype.kind == "f"):
                message = f"{source} has different arrays {known[0]} and {name}, which this net shares"
                raise DataError(message, hint=f"share: in the configuration of '{mine.layers[name].name}'")
        given.update({name: given[known[0]] for name in names if known and name not in given})
    return given


def _differences(mine: StateDict, given: Mapping[str, np.ndarray], compare: bool) -> dict[str, str]:
    """In words, what is wrong with each array that does not fit; with `compare` also what its name may mean."""
    missing = [key for key in mine.arrays if key not in given and key not in mine.optional]
    unexpected = [key for key in given if key not in mine.arrays]
    compare = compare and 0 < len(missing) * len(unexpected) <= MOST_COMPARED
    words = {key: f"missing {key}" for key in missing}
    for key in unexpected:
        near = did_you_mean(key, missing) if compare else None
        words[key] = f"unexpected {key}" + (f" ({near})" if near else "")
    for key, array in mine.arrays.items():
        if key in given and key not in mine.optional:
            if given[key].shape != array.shape:
                words[key] = f"{key} has shape {given[key].shape}, the net's is {array.shape}"
            elif given[key].dtype.kind != "f":
                words[key] = f"{key} holds {given[key].dtype}, not real numbers"
    return words


def _prefix(mine: StateDict, given: Mapping[str, np.ndarray], words: Words) -> str:
    """How one says that all names have something more, or less, in front."""
    missing = [key for key in mine.arrays if key not in given and key not in mine.optional]
    unexpected = [key for key in given if key not in mine.arrays]
    for longer, shorter, old, new in ((unexpected, missing, "{}*", "*"), (missing, unexpected, "*", "{}*")):
        known = set(longer)
        for name in longer if shorter else ():
            prefix = name.removesuffix(shorter[0])
            if name.endswith("." + shorter[0]) and all(prefix + each in known for each in shorter):
                return f"the names differ in front: {words.renamed(old.format(prefix), new.format(prefix))}"
    return ""


def _by_path(net: NetParts, mine: StateDict, taken: Mapping[str, np.ndarray], source: str) -> dict[str, np.ndarray]:
    """What is taken as the layers store it, by the paths of snapshots."""
    by_layer: dict[str, dict[str, np.ndarray]] = {}
    for key, array in taken.items():
        name = mine.layers[key].name
        by_layer.setdefault(name, {})[key.removeprefix(f"{dotted(name)}.")] = array
    found = {}
    for layer_name, theirs in by_layer.items():
        layer = net.layers[layer_name]
        for name, array in layout_of(layer).from_torch(layer, theirs).items():
            kind = "state" if name in layer.state else "params"
            if (layer_name, name) not in net.parameters.shared:
                cast = _cast(f"{dotted(layer_name)}.{name}", array, net.dtype, source)
                found[f"{kind}/{snapshot.escape(layer_name)}/{name}"] = cast
    return found


def _cast(key: str, array: np.ndarray, dtype: str, source: str) -> np.ndarray:
    with np.errstate(over="ignore"):
        cast = array.astype(dtype)
    if np.isinf(cast).any() and not np.array_equal(np.isinf(cast), np.isinf(array)):
        message = f"{source}: {key} has numbers up to {np.abs(array).max():.3g}, which are too large for {dtype}"
        raise DataError(message, hint="dtype: float64 in the configuration")
    return cast


# Names ----------------------------------------------------------------------------------------------------------------


def _renamed(
    theirs: Mapping[str, np.ndarray], rename: Mapping[str, str], mine: StateDict, words: Words
) -> dict[str, np.ndarray]:
    """The arrays under the names that they have in the net."""
    rules = [(old, dotted(new), _rule(old, dotted(new), words)) for old, new in rename.items()]
    names = {key: _name_in_net(key, rules) for key in theirs}
    for old, new, rule in rules:
        if not any(rule(key) is not None for key in theirs):
            hint = did_you_mean(old, _modules(theirs)) or f"it has: {', '.join(list(_modules(theirs))[:30])}"
            raise ConfigError(f"{words.rename}: there is nothing that is called '{old}'", hint=hint)
        known = list(_modules(mine.arrays))
        if "*" not in new and new not in known:
            hint = did_you_mean(new, known) or f"it has: {', '.join(known[:30])}"
            raise ConfigError(f"{words.rename}: the net has nothing that is called '{new}'", hint=hint)
    twice = [name for name, count in Counter(names.values()).items() if count > 1]
    if twice:
        both = " and ".join(f"'{key}'" for key, name in names.items() if name == twice[0])
        raise ConfigError(f"{words.rename}: {both} would both be '{twice[0]}'", hint="rename the other one, too")
    return {names[key]: array for key, array in theirs.items()}


def _rule(old: str, new: str, words: Words) -> Callable[[str], str | None]:
    """What a name becomes by one entry of `rename`; None where it is not meant."""
    if old.count("*") != new.count("*") or old.count("*") > 1:
        raise ConfigError(f"{words.rename}: '{old}' and '{new}' need one * each, or none")
    parts = [re.escape(part) for part in (old, dotted(old))]
    pattern = re.compile(f"(?:{'|'.join(dict.fromkeys(parts))})(?=\\.|\\Z)".replace(r"\*", "(.*)"), re.DOTALL)

    def renamed(key: str) -> str | None:
        found = pattern.match(key)
        if found is None:
            return None
        part = next((group for group in found.groups() if group is not None), "")
        return new.replace("*", part) + key[found.end() :]

    return renamed


def _name_in_net(key: str, rules: Iterable[tuple[str, str, Callable[[str], str | None]]]) -> str:
    """The name by the longest of the rules that mean it: that of an array before those of the modules it is in."""
    found = {old: name for old, _, rule in rules if (name := rule(key)) is not None}
    return found[max(found, key=len)] if found else key


def _modules(names: Iterable[str]) -> Iterator[str]:
    """All names of arrays and of what they are in, each once."""
    known = set()
    for name in names:
        parts = name.split(".")
        for count in range(1, len(parts) + 1):
            module = ".".join(parts[:count])
            if module not in known:
                known.add(module)
                yield module
