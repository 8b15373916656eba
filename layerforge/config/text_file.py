"""Reading the text of a configuration file, with an error that says what is wrong where it is not one."""

from __future__ import annotations

import os
from pathlib import Path

from ..schema.errors import ConfigError
from ..schema.locations import Place
from ..schema.regular_files import irregular, is_open_already
from ..schema.synonyms import did_you_mean

MAX_BYTES = 2 * 2**20
SIGNATURES = (
    (b"\x89HDF", "an HDF5 file"),
    (b"\x1f\x8b", "a gzip file"),
    (b"PK\x03\x04", "a zip or NPZ file"),
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"%PDF", "a PDF document"),
    (b"\x7fELF", "a program"),
    (b"\x93NUMPY", "a NumPy array file"),
)
ENCODINGS = (
    (b"\xff\xfe\x00\x00", "UTF-32"),
    (b"\x00\x00\xfe\xff", "UTF-32"),
    (b"\xff\xfe", "UTF-16"),
    (b"\xfe\xff", "UTF-16"),
)


def read_text(path: str | os.PathLike[str], place: Place | None = None) -> str:
    """The text of a configuration file, exactly as it is stored. `place` is where another file names it, if one does.

    Errors   ConfigError when it does not exist, is a folder, cannot be read, is too large or is not UTF-8 text
    """
    name = os.fspath(path)
    data = _read_bytes(name, place)
    if len(data) > MAX_BYTES:
        raise ConfigError(
            f"config file '{name}' is larger than {MAX_BYTES // 2**20} MiB, so it is hardly a configuration",
            place=place,
            hint="data belongs into files that the data section names",
        )
    for signature, what in SIGNATURES:
        if data.startswith(signature):
            raise ConfigError(f"config file '{name}' is {what}, not YAML text", place=place, hint="give the .yaml file")
    for mark, encoding in ENCODINGS:
        if data.startswith(mark):
            raise ConfigError(f"config file '{name}' is {encoding} text", place=place, hint="save it as UTF-8")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as problem:
        line = data.count(b"\n", 0, problem.start) + 1
        raise ConfigError(
            f"config file '{name}' is not UTF-8 text: byte 0x{data[problem.start]:02x} at offset {problem.start}"
            f" (line {line})",
            place=place,
            hint="save it as UTF-8; if it is not a text file, it is not a configuration",
        ) from None


def _read_bytes(name: str, place: Place | None) -> bytes:
    """At most one byte more than is allowed, so that an endless file ends too."""
    kind = irregular(name)
    if kind is not None and not (place is None and is_open_already(name)):
        hint = "give the path of a .yaml file"
        raise ConfigError(f"config file '{name}' is {kind}, not a regular file", place=place, hint=hint)
    try:
        with open(name, "rb") as file:
            return file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise ConfigError(f"config file '{name}' does not exist", place=place, hint=_neighbours(name)) from None
    except IsADirectoryError:
        raise ConfigError(f"'{name}' is a folder, not a config file", place=place, hint=_inside(name)) from None
    except (OSError, ValueError) as problem:  # ValueError: a path with a NUL in it
        if os.path.isdir(name):
            raise ConfigError(f"'{name}' is a folder, not a config file", place=place, hint=_inside(name)) from None
        reason = getattr(problem, "strerror", None) or str(problem)
        raise ConfigError(
            f"config file '{name}' cannot be read: {reason}", place=place, hint="check the path and its permissions"
        ) from None


def _yaml_files(folder: Path) -> list[str]:
    try:
        return sorted(entry.name for entry in folder.iterdir() if entry.suffix in (".yaml", ".yml"))
    except OSError:
        return []


def _neighbours(name: str) -> str:
    """What to say about a file that is not there: the name that was meant, or what there is."""
    folder = Path(name).parent
    if not folder.is_dir():
        return f"the folder '{folder}' does not exist either"
    files = _yaml_files(folder)
    return did_you_mean(Path(name).name, files) or (
        f"YAML files in '{folder}': {', '.join(files[:8])}" if files else f"there is no YAML file in '{folder}'"
    )


def _inside(name: str) -> str:
    files = _yaml_files(Path(name))
    return f"give a file, for example '{Path(name) / files[0]}'" if files else "give the path of a .yaml file"
