"""`--check` of an importer or exporter: numbers of a net beside those of another program or a file.

Compared is the largest difference with the largest number of a blob: at most 1e-5 of it for what the net gives, and at
most 1e-4 for what it computes on the way, where rounding in many layers may add up and cancel out again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

OUTPUT, INNER = 1e-5, 1e-4  # of the largest number
HEADINGS = ("layer", "largest difference", "")  # of a table of rows
NOT_FINITE = "no number is finite"  # on both sides, which shows nothing


@dataclass(frozen=True)
class Row:
    """One blob that was compared.

    tag      of the inputs, "" where there is none
    name     the foreign layer, or the blob
    largest  the largest difference, in shares of the largest number; nan where there is nothing to compare
    room     what it may be
    told     why there is nothing to compare, or what is wrong beside numbers
    """

    tag: str
    name: str
    largest: float
    room: float
    told: str = ""

    @property
    def verdict(self) -> str:
        """equal, differs, or why it was not compared."""
        if np.isnan(self.largest):
            return self.told
        if self.told == NOT_FINITE:
            return NOT_FINITE
        return "equal" if self.largest <= self.room else f"differs{self.told and f': {self.told}'}"

    @property
    def wrong(self) -> bool:
        """Whether it differs."""
        return not np.isnan(self.largest) and not self.largest <= self.room

    @property
    def cells(self) -> tuple[str, str, str]:
        """A line of a table for people: what was compared, the largest difference, the verdict."""
        number = "" if np.isnan(self.largest) else f"{self.largest:.1e}"
        return f"{self.tag}/{self.name}" if self.tag else self.name, number, self.verdict

    @property
    def plain(self) -> dict[str, Any]:
        """As data."""
        number = None if np.isnan(self.largest) else float(self.largest)
        tag = {"tag": self.tag} if self.tag else {}
        return {**tag, "layer": self.name, "difference": number, "tolerance": self.room, "verdict": self.verdict}


@dataclass(frozen=True)
class Comparison:
    """What was compared with, and the result for each layer."""

    against: str
    rows: list[Row]
    notes: tuple[str, ...] = ()

    @property
    def equal(self) -> bool:
        """Whether nothing differs, and something was compared."""
        return self.compared > 0 and not any(row.wrong for row in self.rows)

    @property
    def compared(self) -> int:
        """How many rows compare numbers."""
        return sum(not np.isnan(row.largest) for row in self.rows)

    @property
    def result(self) -> str:
        """The result in a few words."""
        wrong = sum(row.wrong for row in self.rows)
        if not self.compared:
            return "nothing was compared"
        return f"{wrong} of {self.compared} differ" if wrong else f"all {self.compared} are equal"

    @property
    def plain(self) -> dict[str, Any]:
        """As data."""
        rows = [row.plain for row in self.rows]
        return {"against": self.against, "equal": self.equal, "layers": rows, "notes": list(self.notes)}


def row(tag: str, name: str, found: Any, expected: np.ndarray, room: float, beside: float = 0.0) -> Row:
    """Compare two arrays: the same numbers in the same order, whatever axes of length 1 the shapes have.

    room     what the largest difference may be, in shares of the largest number
    beside   what it may be beside that
    """
    found = np.asarray(found)
    if found.size != expected.size or _long(found.shape) != _long(expected.shape):
        return Row(tag, name, np.inf, room, f"its shape is {found.shape}, expected {expected.shape}")
    f, e = found.reshape(-1).astype(np.float64), expected.reshape(-1).astype(np.float64)
    finite = np.isfinite(e)
    if e.size and not finite.any() and not np.isfinite(f).any():
        return Row(tag, name, np.inf, room, NOT_FINITE)
    if not np.array_equal(f[~finite], e[~finite], equal_nan=True):
        return Row(tag, name, np.inf, room, "other numbers that are not finite")
    if not finite.any():
        return Row(tag, name, 0.0, room)
    largest, difference = np.abs(e[finite]).max(), np.abs(f[finite] - e[finite]).max()
    share = difference if not largest else difference / largest
    room += float(beside / (largest or 1.0))
    return Row(tag, name, float("inf") if np.isnan(share) else float(share), room)


def _long(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(length for length in shape if length != 1)
