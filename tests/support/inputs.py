"""The raw samples of a file, as `layerforge predict` reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from layerforge.arrays.spec import Spec
from layerforge.data.array_reader import ArrayReader
from layerforge.data.kinds import Kind
from layerforge.data.reader import Reader


def read_inputs(
    path: str | Path, spec: Spec, blob: str = "image", reader: Reader | None = None, seen: Kind | None = None
) -> Any:
    """Raw samples of one blob, by the reader of its source or as arrays of a Spec. Errors   those of `Reader.read`"""
    reader = reader or ArrayReader({blob: spec})
    return reader.read(Path(path), [blob], {} if seen is None else {blob: seen})[blob]
