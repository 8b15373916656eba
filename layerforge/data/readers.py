"""The kinds of readers that a checkpoint may hold, by the word that it writes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..schema.errors import DataError
from .array_reader import ArrayReader
from .image_reader import ImageReader
from .pairs import PairReader
from .reader import Reader
from .svmlight import LinesReader
from .table_reader import TableReader
from .text_reader import TextReader, WindowsReader

READERS = (ArrayReader, ImageReader, LinesReader, PairReader, TableReader, TextReader, WindowsReader)
KINDS: dict[str, type[Reader]] = {cls.kind: cls for cls in READERS}


def reader_of(values: Mapping[str, Any], source: str) -> Reader:
    """The reader that `plain` described. `source` is what errors call the file that holds it.

    Errors   DataError where it describes none
    """
    try:
        reader = KINDS[values["kind"]].parse(values)
        if any(spec.sparse and spec.ndim != 1 for spec in reader.specs.values()):
            raise ValueError("a sparse sample has one axis")
    except (KeyError, TypeError, ValueError):
        raise DataError(f"{source} does not say how inputs are read", hint="take another checkpoint") from None
    return reader
