"""The tables of docs/caffe.md: what becomes of Caffe's types and fields, from conversions and tables of fields."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

from layerforge.interop.caffe import fields, solver, solver_run
from layerforge.interop.caffe.conversion import CONVERSIONS
from layerforge.interop.caffe.feeding import READERS
from layerforge.interop.caffe.translation import FEEDING

PAGE = Path(__file__).parents[2] / "docs" / "caffe.md"
PACKAGE = "layerforge.interop.caffe"
MARKS = re.compile(r"(<!-- (types|data|solvers) -->\n).*?(<!-- end -->)", re.S)
OTHERS = ("WindowData", "AnnotatedData", "VideoData", "DenseImageData")


def filled(text: str) -> str:
    """The page with its tables made anew."""
    tables = {"types": types, "data": data, "solvers": solvers}
    return MARKS.sub(lambda match: match[1] + "\n" + "\n".join(tables[match[2]]()) + "\n\n" + match[3], text)


def types() -> Iterator[str]:
    """A row for each type that a conversion is for; types of one conversion share it."""
    yield "| Caffe | here | fields that are read | refused where set |"
    yield "|---|---|---|---|"
    groups: dict[Callable[..., None], list[str]] = {}
    for kind in sorted(CONVERSIONS, key=str.lower):
        groups.setdefault(CONVERSIONS[kind], []).append(kind)
    for conversion, kinds in groups.items():
        yield row(kinds, conversion, (conversion.__doc__ or "").strip().splitlines()[0])


def data() -> Iterator[str]:
    """The same of the layers that read data."""
    yield "| Caffe | here | fields that are read | refused where set |"
    yield "|---|---|---|---|"
    yield "| Input | an input of the net | shape | |"
    feeds = {"Data": "type: LMDB", "ImageData": "type: ImageList", "HDF5Data": "type: HDF5", "MemoryData": "an input"}
    for kind, (name, read) in READERS.items():
        yield row([kind], read, feeds[kind], (name, *(() if kind == "HDF5Data" else ("transform_param",))))
    others = ", ".join(kind for kind in FEEDING if kind in OTHERS)
    yield f"| {others} | an input, whose shape `--input` says; no source reads their data | | |"


def solvers() -> Iterator[str]:
    """Types and policies of solvers with what their fields are called here, and what is ignored."""
    yield "| Caffe | fields, and what they are here |"
    yield "|---|---|"
    for what, table in (("type", solver.TYPES), ("lr_policy", solver.POLICIES)):
        for name, known in table.items():
            told = ", ".join(old if old == new else f"{old}: {new}" for old, new in known.items())
            yield f"| {what} {name} | {told} |"
    yield f"| ignored | {', '.join(sorted(solver_run.IGNORED))} |"


def row(kinds: list[str], conversion: Callable[..., None], told: str, own: Iterable[str] | None = None) -> str:
    """A row: types, what they become, the fields of their own messages that are read, and those that are refused."""
    words = strings(conversion)
    messages = {name: entry.of for name, entry in fields.MESSAGES["LayerParameter"].items() if entry.kind == "message"}
    read, refused = [], []
    own = own or [name for name in messages if name in words and name.endswith("_param") and name != "transform_param"]
    for name in own:
        for field in fields.MESSAGES[messages[name]]:
            (read if field in words else refused).append(field)
    cells = [", ".join(kinds), told.rstrip("."), ", ".join(dict.fromkeys(read)), ", ".join(dict.fromkeys(refused))]
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def strings(function: Any) -> set[str]:
    """The texts in a function and in what it uses of the package."""
    found: set[str] = set()
    seen: set[int] = set()
    waiting: list[Any] = [function]
    while waiting:
        thing = waiting.pop()
        if id(thing) in seen:
            continue
        seen.add(id(thing))
        if isinstance(thing, str):
            found.add(thing)
        elif isinstance(thing, (tuple, list, set, frozenset)):
            waiting += thing
        elif isinstance(thing, dict):
            waiting += [*thing, *thing.values()]
        elif isinstance(thing, CodeType):
            waiting += thing.co_consts
        elif isinstance(thing, FunctionType) and thing.__module__.startswith(PACKAGE):
            waiting.append(thing.__code__)
            waiting += [value for name in names(thing.__code__) if lasting(value := thing.__globals__.get(name))]
    return found


def names(code: CodeType) -> set[str]:
    """The names of globals that a function uses, those of functions inside of it included."""
    return set(code.co_names).union(*(names(const) for const in code.co_consts if isinstance(const, CodeType)))


def lasting(value: Any) -> bool:
    """Whether a global may hold names of fields: functions of the package, and tables."""
    return isinstance(value, (tuple, dict, FunctionType))
