"""Parameters that layers share: whose memory they have, and what may be said of them.

`share: {weight: fc1.weight}` gives a layer the memory of another one's parameter. There is one such array, with one
start value and one way to be trained: those of its owner. A user of it may say the same, and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from ..arrays.spec import Spec
from ..contract import call
from ..contract.fillers import Constant, Filler
from ..contract.layer import Layer
from ..schema.errors import ConfigError, LayerForgeError
from ..schema.locations import place_of
from ..schema.params import show, to_plain
from ..schema.registry import WIRING_KEYS
from ..schema.synonyms import did_you_mean
from .graph import Graph, Node
from .multipliers import Multipliers

Key = tuple[str, str]  # the name of a layer and that of its parameter
FACTORS = {"lr_mult": "lr", "decay_mult": "decay"}  # the keys of a layer, and the fields of Multipliers


def shared_parameters(nodes: Sequence[Node], errors: list[LayerForgeError]) -> dict[Key, Key]:
    """From each parameter that is taken from another layer to the one whose memory it has."""
    named: dict[Key, Key] = {}
    shared: dict[Key, Key] = {}
    by_name = {n.name: n for n in nodes}
    for node in nodes:
        for name, reference in node.wiring.share.items():
            try:
                named[node.name, name] = _owner(node, name, str(reference), by_name)
            except ConfigError as error:
                errors.append(error)
    circles: set[Key] = set()
    for start in named:
        chain = [start]
        while chain[-1] in named and named[chain[-1]] not in chain:
            chain.append(named[chain[-1]])
        if chain[-1] not in named:
            shared[start] = chain[-1]
        elif start not in circles:
            circles |= set(chain)
            node = by_name[start[0]]
            message = f"{call.owner(node.layer)}: '{start[1]}' is shared with itself"
            errors.append(ConfigError(message, place=node.place))
    return shared


def _owner(node: Node, name: str, reference: str, by_name: Mapping[str, Node]) -> Key:
    """What a reference such as "fc1.weight" names; ConfigError where it cannot be the memory of this parameter."""
    who, place = call.owner(node.layer), node.place
    owner_name, _, theirs = reference.rpartition(".")
    owner = by_name.get(owner_name)
    if owner is None:
        hint = did_you_mean(owner_name, by_name) or "write `share: {weight: LAYER.weight}`"
        raise ConfigError(f"{who} shares with '{owner_name}', which is no layer", place=place, hint=hint)
    mine, other = node.layer.param_decls.get(name), owner.layer.param_decls.get(theirs)
    for layer, decl, word in ((node.layer, mine, name), (owner.layer, other, theirs)):
        if decl is None:
            hint = f"it has: {', '.join(layer.param_decls) or 'none'}"
            raise ConfigError(f"{call.owner(layer)} has no parameter '{word}' to share", place=place, hint=hint)
    if mine is not None and other is not None and mine.sparse_grad != other.sparse_grad:
        kinds = [f"{'sparse' if d.sparse_grad else 'dense'} at '{n.name}'" for n, d in ((node, mine), (owner, other))]
        message = f"{who}: the gradient of '{name}', which is shared, is {' and '.join(kinds)}"
        raise ConfigError(message, place=place, hint="rows that only the dense one adds to would not be updated")
    if mine is not None and other is not None and mine.shape != other.shape:
        message = f"{who}: '{name}' has shape {mine.shape}, '{owner_name}.{theirs}' has {other.shape}"
        raise ConfigError(message, place=place, hint="shared parameters must have the same shape")
    return owner_name, theirs


# What is said of a parameter ------------------------------------------------------------------------------------------


def unknown_names(nodes: Iterable[Node]) -> Iterator[ConfigError]:
    """Errors for factors of parameters that do not exist."""
    for node in nodes:
        for key in FACTORS:
            value = getattr(node.wiring, key)
            for name in value if isinstance(value, Mapping) else ():
                if name not in node.layer.param_decls:
                    hint = did_you_mean(name, node.layer.param_decls)
                    message = f"{call.owner(node.layer)}: {key} names '{name}', which is no parameter of it"
                    yield ConfigError(message, place=node.place, hint=hint)


def contradictions(graph: Graph, set_up: Mapping[str, Sequence[Spec]]) -> Iterator[ConfigError]:
    """Errors for what a layer says of a parameter that it takes from another layer, where that one has it otherwise.

    set_up   the Specs of the bottoms of each layer that could be set up
    """
    by_name = {n.name: n for n in graph.nodes}
    for (user, name), key in graph.shared.items():
        node, owner = by_name[user], by_name[key[0]]
        its = owner.multipliers(key[1])
        yield from _frozen_otherwise(node, name, key, its)
        for word, field in FACTORS.items():
            written, real = node.written_factor(word, name), getattr(its, field)
            both_frozen = word == "lr_mult" and written == 0 and its.frozen
            if written is not None and written != real and not both_frozen:
                yield _contradiction(node, name, key, word, f"{real:g}", f"{word}: {{NAME: {show(written)}}}")
        yield from _filled_otherwise(node, name, graph.filler(owner, key[1]), key, set_up.get(user, ()))


def _frozen_otherwise(node: Node, name: str, key: Key, its: Multipliers) -> Iterator[ConfigError]:
    freeze = node.wiring.freeze
    if "freeze" in node.item and freeze != its.frozen:
        others = "lr_mult: {NAME: 0}" if freeze else "lr_mult: {NAME: 1}"
        yield _contradiction(node, name, key, "freeze", show(its.frozen), others)


def _filled_otherwise(node: Node, name: str, its: Filler, key: Key, specs: Sequence[Spec]) -> Iterator[ConfigError]:
    mine = node.layer.param_decls[name].filler
    if mine is None or to_plain(mine) == to_plain(its):
        return
    own = node.layer.param_decls.keys() - node.wiring.share.keys()
    for word in (word for word in node.item if word not in WIRING_KEYS):
        filled = _filled_by(node.layer, word, specs)
        if name in filled and not filled & own:  # what fills others of the layer too cannot be said of them alone
            yield _contradiction(node, name, key, word, show(to_plain(its)))


def _filled_by(layer: Layer, word: str, specs: Sequence[Spec]) -> set[str]:
    """The parameters of a layer whose start values a hyper-parameter makes.

    Asked of the layer itself: with another value there, which fillers does its set-up declare otherwise?
    """
    value = getattr(layer, word)
    if isinstance(value, bool) or not isinstance(value, (Filler, int, float)):
        return set()
    other = Constant(value=0.123456789) if isinstance(value, Filler) else value + 1
    try:
        twin = type(layer).from_config({**{n: getattr(layer, n) for n in layer.fields}, word: other})
        twin.xp, twin.dtype, twin.tops_wanted = layer.xp, layer.dtype, layer.tops_wanted
        call.setup(twin, specs)
    except (LayerForgeError, TypeError):  # it says more than how parameters start
        return set()
    theirs = {name: to_plain(decl.filler) for name, decl in twin.param_decls.items()}
    return {n for n, decl in layer.param_decls.items() if n in theirs and theirs[n] != to_plain(decl.filler)}


def _contradiction(node: Node, name: str, key: Key, word: str, real: str, others: str = "") -> ConfigError:
    """`word` of a layer does not fit a parameter that it shares, which has `real`; `others` says it of the rest."""
    theirs = ".".join(key)
    value = node.item.get(word)
    has_more = others and not isinstance(value, Mapping) and len(node.layer.param_decls) > len(node.wiring.share)
    hint = f"remove it, or set it at '{key[0]}'"
    if has_more:
        own = next(n for n in node.layer.param_decls if n not in node.wiring.share)
        hint += f"; for its own parameters alone: {others.replace('NAME', own)}"
    return ConfigError(
        f"{call.owner(node.layer)}: {word} does not hold for '{name}', which is '{theirs}' and has {real} there",
        place=place_of(node.item, word, of="key") or node.place,
        hint=hint,
    )
