"""Frame: a table that a script has in memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from ..schema.params import param, to_plain
from ..schema.registry import register_source
from .frame_sheet import is_table, sheet_of
from .sheet import Sheet
from .tables import Table


class FrameRule:
    """The rule for a table of Python, which is kept as it is."""

    description = "a frame of pandas or polars, a table of Arrow, a dict of columns or a list of dicts, given in Python"

    @staticmethod
    def parse(value: Any) -> Any:
        if not is_table(value):
            raise TypeError
        return value


@register_source
class Frame(Table):
    """A table given in Python, as in `Feed(source=Frame(frame=df, label="kind"), batch_size=32)`; as CSV in all else.

    It is a frame of pandas or polars, a table of Arrow, a dict of columns or a list of dicts. None and NaN are missing.
    """

    frame: Annotated[Any, FrameRule] = param(help="the table")

    def open_sheet(self, named: Sequence[str | int | None]) -> Sheet:
        return sheet_of(self.frame, "the frame")[0]

    def _is_same_table(self, other: Table) -> bool:
        return isinstance(other, Frame) and self.frame is other.frame and super()._is_same_table(other)

    @property
    def config(self) -> dict[str, Any]:
        """The frame appears by its columns only: a file cannot hold it."""
        own = {name: to_plain(getattr(self, name)) for name in self.fields if name != "frame"}
        return {**own, "frame": f"{type(self.frame).__name__} of the columns {', '.join(self._names)}"}

    @property
    def _names(self) -> list[str]:
        return sheet_of(self.frame, "the frame")[0].layout.names
