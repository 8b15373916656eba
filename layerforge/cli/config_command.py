"""`layerforge config FILE`: a config with all defaults filled in, and comments that say where each value came from."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ..config.yaml_dump import dump_yaml
from ..schema.errors import LayerForgeError, flatten, raise_all
from ..schema.locations import Place, PlacedDict, part, place_of
from .arguments import add_config_arguments, add_json_option, open_config
from .output import print_json, yaml_line

if TYPE_CHECKING:
    from ..config.document import Config

EPILOG = """\
The output is a config itself: running it gives the same net and the same run. Paths in it are absolute."""

DASH = "-"
COLUMN = 60  # the comments stand in one column up to here; behind a longer line they follow it
WIDTH = 100


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    parser = subparsers.add_parser(
        "config", help="print a config with all defaults", description=__doc__, epilog=EPILOG
    )
    add_config_arguments(parser)
    add_json_option(parser)
    parser.set_defaults(run=run)
    return parser


def run(args: argparse.Namespace) -> int:
    from ..config.resolved import described

    config = open_config(args.config, [*args.assignments, *args.set], args.allow_import)
    tree = resolved_with_layers(config)
    if args.json:
        print_json({"config": tree, "origins": {key: origin for key, _, origin in described(tree)}})
    else:
        print("\n".join(commented(tree)))
    return 0


# Defaults of layers ---------------------------------------------------------------------------------------------------


def resolved_with_layers(config: Config) -> PlacedDict:
    """The resolved tree of a config with the hyper-parameters of its layers filled in too, also inside blocks.

    Errors   all errors of the config and of its layers' hyper-parameters at once; wiring and shapes are not looked at
    """
    from ..graph.blocks import Expansion

    errors: list[LayerForgeError] = list(config.errors)
    expansion = Expansion(config.blocks, None, errors)
    expansion.expand(config.net)
    for layer in expansion.layers:
        errors += layer_errors(layer)
    raise_all(errors)
    tree, words = config.resolved(), words_on_null_fillers(config)
    pairs = [(tree["net"], config.net)]
    pairs += [(body["net"], config.blocks[name]["net"]) for name, body in tree.get("blocks", {}).items()]
    for net, given in pairs:
        net[:] = [with_defaults(item, words.get(place_of(mine))) for item, mine in zip(net, given, strict=True)]
    return tree


def words_on_null_fillers(config: Config) -> dict[Place | None, str]:
    """What the graph makes of fillers that are null, in words, by the places where the layers are written.

    The graph is built without data, and so without shapes; what is wrong with its wiring is not told of here.
    """
    from ..arrays.backend import NUMPY
    from ..graph.builder import Builder
    from ..graph.starting_values import followers, in_words

    builder = Builder({}, set(), config.top.dtype)
    builder.inputs_known = False
    graph = builder.build(config.net, config.blocks, NUMPY.xp)
    found: dict[Place | None, list[Any]] = {}
    following = followers(graph.phases)
    for node in graph.nodes:
        found.setdefault(place_of(node.item), []).append(following.get(node.name))
    return {place: in_words(several) for place, several in found.items()}


def layer_errors(item: Mapping[str, Any]) -> list[LayerForgeError]:
    """What is wrong with the type and the hyper-parameters of a layer."""
    from ..schema.registry import LAYERS, WIRING_KEYS

    try:
        own = part(item, (key for key in item if key not in WIRING_KEYS))
        if "type" in item:
            LAYERS.get(item["type"], place_of(item, "type")).from_config(
                own, f"layer '{item.get('name')}' ({item['type']})"
            )
    except LayerForgeError as error:
        return flatten(error)
    return []


def with_defaults(item: PlacedDict, start: str | None = None) -> PlacedDict:
    """A layer with the hyper-parameters that it leaves to their defaults; uses of blocks stay as they are.

    start  what a filler that is left to the graph means here
    """
    from ..config.resolved import DEFAULT, origin_of
    from ..contract.fillers import ChosenFiller
    from ..schema.params import parse_as, to_plain
    from ..schema.registry import LAYERS

    kind = item.get("type", "${")
    if "${" in kind:  # the type is an argument of the block, or this is a use of one
        return item
    full = part(item, item)
    for name, field in LAYERS.get(kind).fields.items():
        if name not in item and not field.required:
            full[name] = None if field.default is None else to_plain(parse_as(field.type, field.default))
            full.value_places[name] = DEFAULT
        if field.type == ChosenFiller and full[name] is None:
            owner = (item.get("share") or {}).get(name.removesuffix("_filler"))
            words = f"it is {owner}, and starts as that" if owner else start
            if words:
                full.value_places[name] = Place(f"{origin_of(place_of(full, name))}: {words}", 0, 0)
    return full


# YAML with comments ---------------------------------------------------------------------------------------------------


def commented(tree: PlacedDict) -> Iterator[str]:
    """The lines of YAML of a tree, each value's origin behind it as a comment in one column."""
    from ..config.resolved import described

    pairs = list(lines(tree, [origin for _, _, origin in described(tree)]))
    column = max((len(line) for line, _ in pairs if len(line) <= COLUMN), default=0)
    for line, origin in pairs:
        yield f"{line:{column}}  # {origin}" if origin else line


def lines(value: Any, origins: list[str], indent: int = 0, label: str = "") -> Iterator[tuple[str, str]]:
    """(line of YAML, origin or "") of a tree with an origin for each of its leaves, in their order.

    A mapping inside a section stays on one line where all of it is from one place and it fits.
    """
    head, inner = " " * indent + label, indent + 2 if label else indent
    entries, text = entries_of(value), yaml_line(value)
    together = indent > 0 and len(set(origins)) == 1 and isinstance(value, Mapping)
    if text and len(head) + len(text) < WIDTH and (together or not entries):
        yield f"{head} {text}" if label else head + text, origins[0]
        return
    if label:
        yield head, "" if entries else origins[0]
    if not entries:
        yield from ((" " * inner + line, "") for line in dump_yaml(value).splitlines())
    done = 0
    for key, item in entries:
        mine = origins[done : done + count_leaves(item)]
        done += len(mine)
        if key == DASH:
            first, *rest = lines(item, mine, inner + 2)
            yield f"{' ' * inner}- {first[0].lstrip(' ')}", first[1]
            yield from rest
        else:
            yield from lines(item, mine, inner, key)


def entries_of(value: Any) -> list[tuple[str, Any]]:
    """What stands below a mapping or a list of mappings, with its label; nothing below a leaf."""
    if isinstance(value, Mapping):
        return [(f"{dump_yaml(key).strip()}:", item) for key, item in value.items()]
    if isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
        return [(DASH, item) for item in value]
    return []


def count_leaves(value: Any) -> int:
    """How many values an origin is known of: Config.origins counts in the same way."""
    return sum(count_leaves(item) for _, item in entries_of(value)) or 1
