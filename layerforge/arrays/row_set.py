"""RowSet: the rows of a matrix that have been written to. Of a gradient that is sparse, all others are 0."""

from __future__ import annotations

from typing import Any


class RowSet:
    """Some of the rows 0 to count - 1.

    marks   a boolean for each row (count,)
    """

    def __init__(self, xp: Any, count: int) -> None:
        self.xp = xp
        self.marks = xp.zeros(count, dtype=bool)

    def __repr__(self) -> str:
        return f"<rows {self.numbers.tolist()} of {len(self.marks)}>"

    def add(self, rows: Any) -> None:
        """Take rows in, by an array of their numbers in any shape."""
        self.marks[rows] = True

    def add_all(self) -> None:
        """Take in all rows."""
        self.marks[...] = True

    def clear(self) -> None:
        """Let go of all rows."""
        self.marks[...] = False

    @property
    def numbers(self) -> Any:
        """The numbers of the rows, going up."""
        return self.xp.flatnonzero(self.marks)
