"""`layerforge layers [TYPE]`: the catalogue of layers, or all about one of them.

Also of fillers, solvers, schedules and data sources: by option, or by naming one.
"""

from __future__ import annotations

import argparse
import inspect
from typing import Any

from ..schema.errors import ConfigError, LayerForgeError
from .arguments import add_json_option
from .output import print_json, yaml_line

KINDS = ("layers", "fillers", "solvers", "schedules", "sources")
FLAGS = (
    ("inplace", "can write its top over its bottom"),
    ("top_is_view", "its top shares memory with its bottom"),
    ("grad_aliases", "a gradient that it returns may be the memory of dy"),
    ("loss", "its first top is a loss"),
)


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    parser = subparsers.add_parser("layers", help="list layers, or explain one", description=__doc__)
    parser.add_argument("type", nargs="?", metavar="TYPE", help="a type, such as Linear, msra, SGD, cosine or MNIST")
    which = parser.add_mutually_exclusive_group()
    for kind in KINDS[1:]:
        which.add_argument(f"--{kind}", dest="kind", action="store_const", const=kind, help=f"list {kind}")
    parser.add_argument(
        "--import", dest="imports", action="append", default=[], metavar="FILE", help="a Python file with your own"
    )
    add_json_option(parser)
    parser.set_defaults(run=run, kind="layers")
    return parser


def run(args: argparse.Namespace) -> int:
    from ..schema import user_modules

    user_modules.import_all(args.imports)
    if args.type is None:
        groups = registered(args.kind)
        if args.json:
            print_json([entry(args.kind, cls) for types in groups.values() for cls in types])
        else:
            print("\n".join(catalogue(groups)))
        return 0
    kind, cls = find(args.type)
    if args.json:
        print_json(as_json(kind, cls))
    else:
        print("\n".join(page(kind, cls)))
    return 0


# Finding --------------------------------------------------------------------------------------------------------------


def registry(kind: str) -> Any:
    """The registry of a kind of types."""
    from ..schema import registry

    names = {"sources": "SOURCES", "layers": "LAYERS", "fillers": "FILLERS"}
    return getattr(registry, names.get(kind, kind.upper()))


def registered(kind: str) -> dict[str, list[Any]]:
    """The types of a kind, by name in groups: layers by family, others by module."""
    from ..layers import by_family, module_name

    known = registry(kind)
    types = [known.get(name) for name in known.names()]
    if kind == "layers":
        return by_family(types)
    groups: dict[str, list[Any]] = {}
    for cls in sorted(types, key=lambda cls: cls.__module__):
        groups.setdefault(module_name(cls), []).append(cls)
    return groups


def find(name: str) -> tuple[str, Any]:
    """The kind and the class of a type; ConfigError with a suggestion where there is none of that name."""
    from ..schema.synonyms import LAYER_SYNONYMS, hint_for_type, nearest

    for kind in KINDS:
        if name in registry(kind):
            return kind, registry(kind).get(name)
    known = [word for kind in KINDS for word in registry(kind).names()]
    close = name in LAYER_SYNONYMS or nearest(name, known) is not None
    raise ConfigError(
        f"there is no type '{name}'", hint=hint_for_type(name, known) if close else "`layerforge layers` lists them"
    )


def headline(cls: type) -> str:
    """The first line of its documentation, without the name."""
    first = (inspect.getdoc(cls) or "").split("\n", 1)[0]
    return first.removeprefix(f"{getattr(cls, 'type_name', '')}: ").rstrip(".")


def entry(kind: str, cls: Any) -> dict[str, Any]:
    """What the catalogue says of a type, for programs."""
    from ..layers import family_of

    family = {"family": family_of(cls)} if kind == "layers" else {}
    return {"name": cls.type_name, "kind": kind, **family, "module": cls.__module__, "headline": headline(cls)}


def catalogue(groups: dict[str, list[Any]]) -> list[str]:
    """A line for each type; the name of a group stands before its first."""
    from .net_table import align

    return align(
        [
            (group if i == 0 else "", cls.type_name, headline(cls))
            for group, types in groups.items()
            for i, cls in enumerate(types)
        ]
    )


# One type -------------------------------------------------------------------------------------------------------------


def page(kind: str, cls: Any) -> list[str]:
    """All about one type: its documentation, its hyper-parameters, what it declares, an example."""
    from .net_table import align

    doc = inspect.getdoc(cls) or ""
    out = [*(doc if doc.startswith(cls.type_name) else f"{cls.type_name}: {doc}").splitlines(), ""]
    rows = [(p["name"], p["type"], p["default_text"], p["help"]) for p in parameters(cls)]
    if rows:
        out += ["Hyper-parameters", *(f"  {line}" for line in align(rows)), ""]
    facts = [("Also takes", ", ".join(common_keys(kind)))] if common_keys(kind) else []
    facts += declared(cls) if kind == "layers" else []
    facts.append(("Written in", cls.__module__))
    out += [f"{word:10}  {text}" for word, text in facts]
    return [*out, "", "Example", *(f"  {line}" for line in example(kind, cls))]


def parameters(cls: Any) -> list[dict[str, Any]]:
    """The declared hyper-parameters as plain values."""
    from ..schema.params import to_plain

    return [
        {
            "name": name,
            "type": field.describe(),
            "required": field.required,
            "default": None if field.required else to_plain(field.default),
            "default_text": "required" if field.required else f"default {yaml_line(to_plain(field.default))}",
            "help": field.help,
            "bounds": [list(bound) for bound in field.bounds],
            "choices": None if field.choices is None else list(field.choices),
        }
        for name, field in cls.fields.items()
    ]


def common_keys(kind: str) -> list[str]:
    """The keys that stand beside the hyper-parameters, whatever the type."""
    from ..config.data_section import FEED_KEYS
    from ..config.sections import SolverSection
    from ..graph.graph import Wiring

    keys = {"layers": Wiring.fields, "solvers": SolverSection.fields, "sources": FEED_KEYS}.get(kind, ())
    return [key for key in keys if key not in ("name", "type")]


def declared(cls: Any) -> list[tuple[str, str]]:
    """What a layer promises to the framework."""
    from ..contract.layer import Layer, describe_count

    lines = [("Bottoms", describe_count(cls.bottoms)), ("Tops", describe_count(cls.tops))]
    if cls.is_differentiable():
        lines.append(("Reads", f"{', '.join(cls.backward_reads) or 'nothing'} in backward"))
    else:
        lines.append(("Reads", "no backward: no gradient passes it"))
    flags = [words for name, words in FLAGS if getattr(cls, name)]
    flags += [] if cls.per_sample else ["a sample's top depends on its whole batch, in eval too"]
    along_batch = cls.per_sample_for is not Layer.per_sample_for
    flags += ["with some settings a sample's top depends on its whole batch, in eval too"] if along_batch else []
    return lines + [("Declares", text) for text in flags]


def example(kind: str, cls: Any) -> list[str]:
    """Lines of YAML that use the type."""
    if kind == "layers":
        return layer_example(cls)
    values = {p["name"]: "..." if p["required"] else p["default"] for p in parameters(cls)}
    values = {name: value for name, value in values.items() if value is not None}
    key = {"fillers": "weight_filler", "solvers": "solver", "schedules": "schedule", "sources": "train"}[kind]
    lr = {"lr": 0.1} if kind == "solvers" else {}
    text = yaml_line({"type": cls.type_name, **lr, **values}).replace('"..."', "...")
    return [f"{key}: {text}"]


def layer_example(cls: Any) -> list[str]:
    """The first of a layer's examples, with the shapes that come of it."""
    from ..contract import call
    from ..schema.params import to_plain

    if not cls.examples:
        return ["none"]
    first = cls.examples[0]
    bottoms = [f"x{i + 1}" if spec.is_real else "label" for i, spec in enumerate(first.bottoms)]
    item = {"name": cls.type_name.lower(), "type": cls.type_name}
    item |= {"bottom": bottoms if len(bottoms) > 1 else bottoms[0]} if bottoms else {}
    item |= {"top": [f"y{i + 1}" for i in range(first.tops)]} if first.tops > 1 else {}
    lines = [f"- {yaml_line({**item, **to_plain(first.params)})}"]
    try:
        layer = cls.from_config(first.params)
        layer.tops_wanted = first.tops
        tops = call.setup(layer, list(first.bottoms))
    except LayerForgeError:  # an example of a user's layer may be wrong: `layerforge test` says so
        return lines
    shapes = ", ".join(f"{name} {spec}" for name, spec in zip(bottoms, first.bottoms, strict=True))
    return [*lines, f"  # {shapes or 'nothing'} -> {', '.join(map(str, tops)) or 'nothing'}"]


def as_json(kind: str, cls: Any) -> dict[str, Any]:
    """One type for programs."""
    about = entry(kind, cls) | {
        "doc": inspect.getdoc(cls),
        "parameters": [{k: v for k, v in p.items() if k != "default_text"} for p in parameters(cls)],
        "example": "\n".join(example(kind, cls)),
    }
    if kind != "layers":
        return about
    return about | {
        "bottoms": cls.bottoms,
        "tops": cls.tops,
        "differentiable": cls.is_differentiable(),
        "backward_reads": list(cls.backward_reads),
        "per_sample": cls.per_sample,
        **{name: getattr(cls, name) for name, _ in FLAGS},
    }
