"""`layerforge layers [TYPE]`: the catalogue of layers, or all about one of them.

Also of fillers, solvers, schedules and data sources: by option, or by naming one.
"""

from __future__ import annotations

import argparse
import inspect
import sys
from pathlib import Path
from typing import Any

from ..errors import ConfigError, LayerForgeError
from .arguments import add_json_option
from .output import print_json, yaml_line

FAMILIES = ("layers", "fillers", "solvers", "schedules", "sources")
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
    for family in FAMILIES[1:]:
        which.add_argument(f"--{family}", dest="family", action="store_const", const=family, help=f"list {family}")
    parser.add_argument(
        "--import", dest="imports", action="append", default=[], metavar="FILE", help="a Python file with your own"
    )
    add_json_option(parser)
    parser.set_defaults(run=run, family="layers")
    return parser


def run(args: argparse.Namespace) -> int:
    from .. import userfiles

    userfiles.import_all(args.imports)
    if args.type is None:
        types = registered(args.family)
        if args.json:
            print_json([{"name": t.type_name, "module": t.__module__, "headline": headline(t)} for t in types])
        else:
            print("\n".join(catalogue(types)))
        return 0
    family, cls = find(args.type)
    if args.json:
        print_json(as_json(family, cls))
    else:
        print("\n".join(page(family, cls)))
    return 0


# Finding --------------------------------------------------------------------------------------------------------------


def registry(family: str) -> Any:
    """The registry of a family."""
    from .. import registry

    names = {"sources": "SOURCES", "layers": "LAYERS", "fillers": "FILLERS"}
    return getattr(registry, names.get(family, family.upper()))


def registered(family: str) -> list[type]:
    """The types of a family, module by module."""
    known = registry(family)
    return sorted((known.get(name) for name in known.names()), key=lambda cls: (cls.__module__, cls.type_name))


def find(name: str) -> tuple[str, Any]:
    """The family and the class of a type; ConfigError with a suggestion where no family has it."""
    from ..words import LAYER_SYNONYMS, hint_for_type, nearest

    for family in FAMILIES:
        if name in registry(family):
            return family, registry(family).get(name)
    known = [word for family in FAMILIES for word in registry(family).names()]
    close = name in LAYER_SYNONYMS or nearest(name, known) is not None
    raise ConfigError(
        f"there is no type '{name}'", hint=hint_for_type(name, known) if close else "`layerforge layers` lists them"
    )


def headline(cls: type) -> str:
    """The first line of its documentation, without the name."""
    first = (inspect.getdoc(cls) or "").split("\n", 1)[0]
    return first.removeprefix(f"{getattr(cls, 'type_name', '')}: ").rstrip(".")


def catalogue(types: list[type]) -> list[str]:
    """A line for each type; what stands in one module stands together."""
    from ..report import align

    homes = [module_name(cls) for cls in types]
    shown = [home if i == 0 or home != homes[i - 1] else "" for i, home in enumerate(homes)]
    return align([(home, getattr(cls, "type_name", ""), headline(cls)) for home, cls in zip(shown, types, strict=True)])


def module_name(cls: type) -> str:
    """The file that a type is written in, without its folder."""
    return Path(getattr(sys.modules.get(cls.__module__), "__file__", None) or cls.__module__).stem


# One type -------------------------------------------------------------------------------------------------------------


def page(family: str, cls: Any) -> list[str]:
    """All about one type: its documentation, its hyper-parameters, what it declares, an example."""
    from ..report import align

    doc = inspect.getdoc(cls) or ""
    out = [*(doc if doc.startswith(cls.type_name) else f"{cls.type_name}: {doc}").splitlines(), ""]
    rows = [(p["name"], p["type"], p["default_text"], p["help"]) for p in parameters(cls)]
    if rows:
        out += ["Hyper-parameters", *(f"  {line}" for line in align(rows)), ""]
    facts = [("Also takes", ", ".join(common_keys(family)))] if common_keys(family) else []
    facts += declared(cls) if family == "layers" else []
    facts.append(("Written in", cls.__module__))
    out += [f"{word:10}  {text}" for word, text in facts]
    return [*out, "", "Example", *(f"  {line}" for line in example(family, cls))]


def parameters(cls: Any) -> list[dict[str, Any]]:
    """The declared hyper-parameters as plain values."""
    from ..params import to_plain

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


def common_keys(family: str) -> list[str]:
    """The keys that stand beside the hyper-parameters, whatever the type."""
    from ..config.sections import SolverSection
    from ..feed import FEED_KEYS
    from ..graph import Wiring

    keys = {"layers": Wiring.fields, "solvers": SolverSection.fields, "sources": FEED_KEYS}.get(family, ())
    return [key for key in keys if key not in ("name", "type")]


def declared(cls: Any) -> list[tuple[str, str]]:
    """What a layer promises to the framework."""
    from ..layer import describe_count

    lines = [("Bottoms", describe_count(cls.bottoms)), ("Tops", describe_count(cls.tops))]
    if cls.is_differentiable():
        lines.append(("Reads", f"{', '.join(cls.backward_reads) or 'nothing'} in backward"))
    else:
        lines.append(("Reads", "no backward: it is a metric"))
    flags = [words for name, words in FLAGS if getattr(cls, name)]
    flags += [] if cls.per_sample else ["a sample's top depends on its whole batch, in eval too"]
    return lines + [("Declares", text) for text in flags]


def example(family: str, cls: Any) -> list[str]:
    """Lines of YAML that use the type."""
    if family == "layers":
        return layer_example(cls)
    values = {p["name"]: "..." if p["required"] else p["default"] for p in parameters(cls)}
    values = {name: value for name, value in values.items() if value is not None}
    key = {"fillers": "weight_filler", "solvers": "solver", "schedules": "schedule", "sources": "train"}[family]
    lr = {"lr": 0.1} if family == "solvers" else {}
    text = yaml_line({"type": cls.type_name, **lr, **values}).replace('"..."', "...")
    return [f"{key}: {text}"]


def layer_example(cls: Any) -> list[str]:
    """The first of a layer's examples, with the shapes that come of it."""
    from .. import runner
    from ..params import to_plain

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
        tops = runner.setup(layer, list(first.bottoms))
    except LayerForgeError:  # an example of a user's layer may be wrong: `layerforge test` says so
        return lines
    shapes = ", ".join(f"{name} {spec}" for name, spec in zip(bottoms, first.bottoms, strict=True))
    return [*lines, f"  # {shapes} -> {', '.join(map(str, tops))}"]


def as_json(family: str, cls: Any) -> dict[str, Any]:
    """One type for programs."""
    about = {
        "name": cls.type_name,
        "family": family,
        "module": cls.__module__,
        "headline": headline(cls),
        "doc": inspect.getdoc(cls),
        "parameters": [{k: v for k, v in p.items() if k != "default_text"} for p in parameters(cls)],
        "example": "\n".join(example(family, cls)),
    }
    if family != "layers":
        return about
    return about | {
        "bottoms": cls.bottoms,
        "tops": cls.tops,
        "differentiable": cls.is_differentiable(),
        "backward_reads": list(cls.backward_reads),
        "per_sample": cls.per_sample,
        **{name: getattr(cls, name) for name, _ in FLAGS},
    }
