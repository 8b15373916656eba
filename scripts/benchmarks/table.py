"""A table for the terminal or as markdown, and what its cells hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .figures import Spread, spread

NOTHING = "-"


@dataclass(frozen=True)
class Table:
    """A title, headings, and rows of cells; the first column holds words, the others mostly numbers."""

    title: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    below: str = ""

    def text(self) -> str:
        """For a terminal."""
        from layerforge.cli.net_table import align

        lines = align([self.headings, *self.rows], range(1, len(self.headings)))
        rule = "-" * max(map(len, lines))
        return "\n".join([self.title, "", lines[0], rule, *lines[1:], *([self.below] if self.below else [])])

    def markdown(self) -> str:
        """For a document."""
        rule = ["---", *["---:"] * (len(self.headings) - 1)]
        lines = ["| " + " | ".join(cells) + " |" for cells in (self.headings, rule, *self.rows)]
        return "\n".join([f"### {self.title}", "", *lines, *(["", self.below] if self.below else [])])


# Cells ----------------------------------------------------------------------------------------------------------------


def milliseconds(values: Sequence[float]) -> str:
    """Median, then least and quartiles, of seconds."""
    return with_spread(spread([1e3 * v for v in values]))


def with_spread(s: Spread) -> str:
    """`1.63 [1.58, 1.60-1.70]`."""
    digits = 1 if s.middle >= 100 else 2 if s.middle >= 1 else 3
    return f"{s.middle:.{digits}f} [{s.least:.{digits}f}, {s.low:.{digits}f}-{s.high:.{digits}f}]"


def megabytes(count: float) -> str:
    """Bytes in MB."""
    return f"{count / 1e6:.1f}"
