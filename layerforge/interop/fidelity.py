"""What an import tells of a foreign model: how exact each layer is, what was ignored, and what things are called.

    report = Report("Caffe", "net.prototxt")
    report.entries      one Entry for each foreign layer
    report.plain()      everything as data, for fidelity.json
    report.markdown()   the same for people, for fidelity.md
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from ..schema.locations import Place

EXACT, NOTED, UNSUPPORTED = "exact", "exact, with a note", "unsupported"


@dataclass
class Entry:
    """One foreign layer: its name and type, the layers that it became (name, type), and what is to be known of it."""

    name: str
    type: str
    place: Place | None = None
    becomes: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def verdict(self) -> str:
        """exact; exact, with a note; or unsupported."""
        return UNSUPPORTED if self.problems else NOTED if self.notes else EXACT

    def plain(self) -> dict[str, Any]:
        """As data."""
        return {
            "name": self.name,
            "type": self.type,
            "verdict": self.verdict,
            "becomes": [{"name": name, "type": kind} for name, kind in self.becomes],
            "notes": [*self.problems, *self.notes],
            **({"place": str(self.place)} if self.place else {}),
        }


@dataclass
class Report:
    """The fidelity of an imported model.

    format, source   what kind of model it was, and its file
    unit             what its parts are called there: layer, node
    entries          these parts in their order
    ignored          (path of a field, where it is written, why): what was read and changes nothing
    blobs, layers    the names of blobs and parts that are not the same here: foreign name to ours
    preprocessing    what the model's data layers do with samples, as far as it is known
    notes            what concerns the whole model, such as weights that it has no layer for
    """

    format: str
    source: str
    entries: list[Entry] = field(default_factory=list)
    ignored: list[tuple[str, str, str]] = field(default_factory=list)
    blobs: dict[str, str] = field(default_factory=dict)
    layers: dict[str, str] = field(default_factory=dict)
    preprocessing: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    unit: str = "layer"

    def entry(self, name: str) -> Entry:
        """The layer of that name. Errors: KeyError."""
        for entry in self.entries:
            if entry.name == name:
                return entry
        raise KeyError(name)

    @property
    def exact(self) -> bool:
        """Whether every layer is exact, perhaps with a note."""
        return all(entry.verdict != UNSUPPORTED for entry in self.entries)

    def plain(self) -> dict[str, Any]:
        """As data: mappings, lists and texts, as JSON has them."""
        return {
            "format": self.format,
            "source": self.source,
            "layers": [entry.plain() for entry in self.entries],
            "ignored": [{"field": path, "place": place, "why": why} for path, place, why in self.ignored],
            "names": {"layers": self.layers, "blobs": self.blobs},
            "preprocessing": self.preprocessing,
            "notes": self.notes,
        }

    def markdown(self) -> str:
        """As a page: a table of the layers, and lists of the rest."""
        lines = [f"# {on_a_line(self.source)}: how exact the import is", "", self.summary(), ""]
        lines += [f"| {self.unit} | type | here | |", "|---|---|---|---|"]
        for entry in self.entries:
            here = ", ".join(f"{kind} `{name}`" for name, kind in entry.becomes)
            told = "; ".join([entry.verdict, *entry.problems, *entry.notes])
            lines.append(f"| `{_cell(entry.name)}` | {_cell(entry.type)} | {_cell(here)} | {_cell(told)} |")
        lines += _listed("Notes", self.notes)
        lines += _listed("Ignored fields", (f"`{path}` ({place}): {why}" for path, place, why in self.ignored))
        for what, names in ((self.unit.capitalize(), self.layers), ("Blob", self.blobs)):
            lines += _listed(f"{what}s with other names", (f"`{on_a_line(a)}` is `{b}`" for a, b in names.items()))
        lines += _listed("Preprocessing", (f"{key}: {value}" for key, value in self.preprocessing.items()))
        return "\n".join(lines) + "\n"

    def summary(self) -> str:
        """One sentence: how many parts are of which kind."""
        counts = dict.fromkeys((EXACT, NOTED, UNSUPPORTED), 0)
        for entry in self.entries:
            counts[entry.verdict] += 1
        told = ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count)
        return f"{len(self.entries)} {self.unit}s of {self.format}: {told or 'none'}."


def _cell(text: str) -> str:
    """A text in a table's cell."""
    return on_a_line(text).replace("|", "\\|")


def on_a_line(text: str) -> str:
    """A text that stays on its line."""
    return text if text.isprintable() else repr(text)


def _listed(title: str, items: Iterable[str]) -> list[str]:
    """A heading and a list, or nothing where there are no items."""
    lines = [f"- {on_a_line(item)}" for item in items]
    return ["", f"## {title}", "", *lines] if lines else []
