"""`layerforge data`: which data sets there are and where their files are; all about one; checksums; downloads."""

from __future__ import annotations

import argparse
import inspect
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..schema.errors import ConfigError, DataError, LayerForgeError, flatten, report
from ..schema.texts import visible
from .arguments import add_json_option
from .output import print_json, yaml_line
from .terminal import tell

if TYPE_CHECKING:
    from ..data.fetch import DataSet
    from ..data.source import Source

ACTIONS = ("list", "info", "verify", "download")
EPILOG = """\
  list                       every source, and where its files were found
  info NAME [KEY=VALUE ...]  blobs, sizes and class names of one; KEY=VALUE as in a config, for example path=my.npz
  verify [NAME ...]          checksums and form of the files that are here (by default of all sets); exit 3 if wrong
  download NAME ...          fetch the files that are not here; a file that is here is left alone"""


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    parser = subparsers.add_parser("data", help="list, explain, verify, download", description=__doc__, epilog=EPILOG)
    parser.add_argument("action", metavar="ACTION", help=f"one of {', '.join(ACTIONS)}")
    parser.add_argument("names", nargs="*", metavar="NAME", help="a data source, such as MNIST")
    add_json_option(parser)
    parser.set_defaults(run=run)
    return parser


def run(args: argparse.Namespace) -> int:
    from ..schema.synonyms import did_you_mean

    actions = {"list": run_list, "info": run_info, "verify": run_verify, "download": run_download}
    if args.action not in actions:
        hint = did_you_mean(args.action, ACTIONS) or f"one of {', '.join(ACTIONS)}"
        raise ConfigError(f"data: there is no action '{args.action}'", hint=hint)
    return actions[args.action](args)


# List -----------------------------------------------------------------------------------------------------------------


def run_list(args: argparse.Namespace) -> int:
    """`data list`."""
    from ..schema.registry import SOURCES
    from .layers_command import headline
    from .net_table import align

    if args.names:
        raise ConfigError("data list takes no name", hint=f"data info {args.names[0]}")
    sources = [SOURCES.get(name) for name in SOURCES.names()]
    if args.json:
        print_json([{"name": cls.type_name, "where": where(cls), "files": files_of(cls)} for cls in sources])
    else:
        print("\n".join(align([(cls.type_name, where(cls), headline(cls)) for cls in sources])))
    return 0


def published(cls: type[Source]) -> DataSet | None:
    """The public data set behind a source, where there is one."""
    return getattr(cls, "files", None)


def missing(data_set: DataSet) -> dict[str, int]:
    """The published files that are not here, with their sizes in bytes."""
    from ..data.fetch import locate

    every = [wanted for part in data_set.parts.values() for wanted in part]
    return {w.remote.name: w.remote.size for w in every if not locate(data_set, w)}


def files_of(cls: type[Source]) -> list[str]:
    """The paths of the files of a public data set that are here."""
    from ..data.fetch import present

    data_set = published(cls)
    return [str(path) for path in present(data_set)] if data_set else []


def where(cls: type[Source]) -> str:
    """Where the samples of a source come from, in words."""
    data_set = published(cls)
    if data_set is None:
        if reads_file(cls):
            return "a file of yours"
        return "what you give" if any(field.required for field in cls.fields.values()) else "made here"
    folders = dict.fromkeys(str(Path(path).parent) for path in files_of(cls))
    lacking = missing(data_set)
    size = f"{sum(lacking.values()) / 1e6:.0f} MB to download"
    if folders and lacking:
        return f"in {', '.join(folders)}, incomplete ({size})"
    return f"in {', '.join(folders)}" if folders else f"not here ({size})"


# Info -----------------------------------------------------------------------------------------------------------------


def run_info(args: argparse.Namespace) -> int:
    """`data info NAME [KEY=VALUE ...]`."""
    from ..schema.registry import SOURCES

    names = [text for text in args.names if "=" not in text]
    if len(names) != 1:
        raise ConfigError("data info takes one name", hint="`layerforge data list` shows them")
    source = configured(SOURCES.get(names[0]), [text for text in args.names if "=" in text])
    about = describe(source)
    if args.json:
        print_json(about)
    else:
        print(visible("\n".join(info_lines(about))))
    return 0


def configured(cls: type[Source], assignments: Iterable[str]) -> Source:
    """The source with the hyper-parameters KEY=VALUE."""
    from ..config.overrides import apply_overrides
    from ..schema.errors import raise_all
    from ..schema.locations import PlacedDict

    values = PlacedDict()
    raise_all(apply_overrides(values, assignments))
    return cls.from_config(values)


def describe(source: Source) -> dict[str, Any]:
    """All about a source as plain values. Files that are not here are not fetched: their parts' sizes are None."""
    cls = type(source)
    data_set = published(cls)
    specs = source.specs()
    return {
        "name": cls.type_name,
        "about": inspect.getdoc(cls),
        "where": where(cls),
        "files": files_of(cls),
        "missing": missing(data_set) if data_set else {},
        "blobs": {
            name: {
                **{"shape": list(spec.shape), "role": spec.role, "low": spec.low, "high": spec.high},
                "sparse": spec.sparse,
            }
            for name, spec in specs.items()
        },
        "parts": {part: count(source, part) for part in source.parts},
        "columns": source.fitted(),
        "classes": list(source.class_names),
        "settings": source.config,
    }


def count(source: Source, part: str) -> int | None:
    """How many samples a part has; None where that is not known without its files, or those of another source."""
    from ..data.fetch import locate
    from ..data.source import Source

    cls = type(source)
    data_set = published(cls)
    if data_set is not None and not all(locate(data_set, wanted) for wanted in data_set.parts[part]):
        return None
    made = cls.load is Source.load and published(cls) is None  # what a header promises proves nothing
    known = source.count(part) if made else None
    if known is not None or not (data_set or reads_file(cls)):
        return known
    arrays = source.with_split(part).load(progress=False)
    return len(next(iter(arrays.values())))


def reads_file(cls: type[Source]) -> bool:
    """Whether a source takes the path of a file."""
    from ..schema.params import PATHS

    return any(field.type in PATHS for field in cls.fields.values())


def info_lines(about: Mapping[str, Any]) -> list[str]:
    """What `data info` prints."""
    from .net_table import align

    rows = [("Where", about["where"])]
    rows += [("", path) for path in about["files"]]
    rows += [("Missing", f"{name} ({size / 1e6:.1f} MB)") for name, size in about["missing"].items()]
    rows += [("Part", f"{part}: {describe_count(n)}") for part, n in about["parts"].items()]
    rows += [("Blob", f"{name}: {describe_blob(blob)}") for name, blob in about["blobs"].items()]
    rows += [("Column", text) for text in about["columns"]]
    rows += [("Classes", ", ".join(map(str, about["classes"])))] if about["classes"] else []
    rows += [("Settings", yaml_line(about["settings"]))] if yaml_line(about["settings"]) else []
    return [*about["about"].splitlines(), "", *align(rows)]


def describe_count(number: int | None) -> str:
    """A number of samples in words."""
    return "not known without its data" if number is None else f"{number:,} samples"


def describe_blob(blob: Mapping[str, Any]) -> str:
    """Shape and meaning of one sample's blob."""
    shape = f"({', '.join(map(str, blob['shape']))})"
    if blob["role"] == "real":
        return f"{shape} real" + (f", sparse ({blob['sparse']})" if blob["sparse"] else "")
    high = "..." if blob["high"] is None else int(blob["high"]) - 1
    return f"{shape} index, {int(blob['low'] or 0)} to {high}"


# Verify and download --------------------------------------------------------------------------------------------------


def run_verify(args: argparse.Namespace) -> int:
    """`data verify [NAME ...] [KEY=VALUE ...]`; 3 where anything is wrong."""
    from ..schema.registry import SOURCES

    names = [text for text in args.names if "=" not in text]
    settings = [text for text in args.names if "=" in text]
    every = [SOURCES.get(name) for name in names or SOURCES.names()]
    classes = every if names else [cls for cls in every if published(cls) and files_of(cls)]
    results = [verify(configured(cls, settings if names else ())) for cls in classes]
    if args.json:
        print_json({"ok": all(not r["errors"] for r in results), "sets": [plain_result(r) for r in results]})
        return 3 if any(r["errors"] for r in results) else 0
    for result in results:
        for line in result["lines"]:
            print(visible(f"{result['name']}  {line}"))
        for error in result["errors"]:
            tell(report(error))
    if not results:
        print("no file of a public data set is here; `layerforge data list` shows where they are looked for")
    return 3 if any(r["errors"] for r in results) else 0


def plain_result(result: Mapping[str, Any]) -> dict[str, Any]:
    """A result of `verify` for programs."""
    return {**result, "errors": [{"message": e.message, "hint": e.hint} for e in result["errors"]]}


def verify(source: Source) -> dict[str, Any]:
    """Checksums of the published files of a source, and every part read and checked against its specs."""
    from ..data import fetch

    cls = type(source)
    data_set = published(cls)
    lines: list[str] = []
    errors: list[LayerForgeError] = []
    for path, right in fetch.verify(data_set) if data_set else ():
        lines.append(f"{path}: checksum {'right' if right else 'WRONG'}")
        if not right:
            hint = "delete it, then `layerforge data download`; a file of your own needs another name"
            errors.append(DataError(f"{path} is not the published file", hint=hint))
    for name in files_of(cls):
        if not Path(name).is_file():
            errors.append(DataError(f"{name} is not an ordinary file", hint="put the published file there"))
    for part in source.parts:
        try:
            number = count(source, part)
            lines.append(f"{part}: {describe_count(number)}")
            if number is None and data_set is not None and not files_of(cls):
                hint = f"`layerforge data download {cls.type_name}`"
                errors.append(DataError(f"{cls.type_name} is not here", hint=hint))
                break
        except LayerForgeError as error:
            errors += flatten(error)
    return {"name": cls.type_name, "lines": lines, "errors": errors}


def run_download(args: argparse.Namespace) -> int:
    """`data download NAME ...`."""
    from ..data.fetch import ensure
    from ..schema.registry import SOURCES

    if not args.names:
        raise ConfigError("data download takes one or more names", hint="`layerforge data list` shows them")
    classes = [SOURCES.get(name) for name in args.names]
    data_sets = []
    for cls in classes:
        data_set = published(cls)
        if data_set is None:
            raise ConfigError(f"{cls.type_name} has nothing to download: {where(cls)}", hint="`layerforge data list`")
        data_sets.append(data_set)
    for data_set in data_sets:
        for part in data_set.parts:
            ensure(data_set, part, False if args.quiet or args.json else None)
    if args.json:
        print_json({cls.type_name: files_of(cls) for cls in classes})
    else:
        print("\n".join(f"{cls.type_name}  {path}" for cls in classes for path in files_of(cls)))
    return 0
