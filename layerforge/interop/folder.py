"""The folder that an imported model becomes: what the importers of all formats write in the same way, and where."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os.path import relpath
from pathlib import Path
from typing import Any

import numpy as np

from .. import snapshot
from ..schema.errors import ConfigError
from ..schema.texts import to_json
from .comparison import HEADINGS, Comparison
from .fidelity import Report, on_a_line

NET, WEIGHTS = "net.yaml", "weights.h5"  # as `layerforge.load_model` expects them in a folder
FIDELITY = "fidelity"


def demand_new(folder: Path) -> None:
    """Refuse a folder with something in it, and what is none. Errors: ConfigError"""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        what = "is not empty" if folder.is_dir() else "is no folder"
        raise ConfigError(f"{folder} {what}", hint="name a new folder, on the command line with -o")


def accounts(report: Report, compared: Comparison | None, more: Mapping[str, Any] | None = None) -> dict[str, bytes]:
    """fidelity.md and fidelity.json; `more` is for fidelity.json."""
    plain = report.plain() | ({} if compared is None else {"check": compared.plain}) | dict(more or {})
    return {
        f"{FIDELITY}.md": (report.markdown() + _checked(compared)).encode("utf-8", errors="replace"),
        f"{FIDELITY}.json": (to_json(plain, indent=1, words=True) + "\n").encode(),
    }


def _checked(compared: Comparison | None) -> str:
    """What --check found, for fidelity.md."""
    if compared is None:
        return ""
    lines = ["", f"## Compared with {compared.against}", "", f"| {' | '.join(HEADINGS)} |", "|---|---|---|"]
    for row in compared.rows:
        name, number, verdict = (on_a_line(text).replace("|", "\\|") for text in row.cells)
        lines.append(f"| `{name}` | {number} | {verdict} |")
    return "\n".join([*lines, "", f"{compared.result[0].upper()}{compared.result[1:]}."]) + "\n"


def imported_files(files: Sequence[str | Path], folder: Path) -> dict[str, list[str]]:
    """The section `import` of a configuration in a folder; nothing where there are no files."""
    return {"import": [relpath(file, folder) for file in files]} if files else {}


def write_files(
    folder: Path,
    texts: Mapping[str, bytes],
    snapshots: Mapping[str, tuple[Mapping[str, np.ndarray], Mapping[str, Any]]],
) -> None:
    """Write files into a folder, which is made where there is none: arrays with what is said of them, and texts.

    Errors   DataError where the folder cannot be written
    """
    with snapshot.writing(folder, "choose another place"):
        folder.mkdir(parents=True, exist_ok=True)
    for name, (arrays, meta) in snapshots.items():
        snapshot.write_snapshot(folder / name, arrays, meta)
    for name, content in texts.items():
        snapshot.atomic_write(folder / name, content)
