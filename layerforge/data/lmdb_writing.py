"""Writing what Caffe reads: databases of samples, and mean images. The package lmdb writes the first."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..schema.errors import ConfigError
from ..schema.optional import require
from .datum import blob_bytes, datum_bytes, encoded_datum_bytes
from .files import file_error, reading
from .lmdb_records import DATA_FILE

PAGE = 4096


def write_lmdb(path: str | Path, samples: Any, labels: Any = None) -> None:
    """Write a database of Datum, whose keys are 00000000, 00000001 and so on.

        write_lmdb("train_lmdb", images, labels)

    path      of its folder, which must not hold a database yet
    samples   (N, C, H, W): bytes become pixels as they are, other numbers float_data (float32); or a sequence of bytes,
              each the content of an image file, which stay encoded
    labels    whole numbers (N,) below 2³¹ in size; None: 0 for all

    Errors   ConfigError without the package lmdb, and for samples or labels of another form; DataError where the
             database cannot be written
    """
    lmdb = require("lmdb", extra="lmdb", why="writing an LMDB")
    numbers = _labels(labels, len(samples))
    records = _records(samples, numbers)
    if os.path.exists(os.path.join(path, DATA_FILE)):
        raise file_error(path, "holds a database already", "remove it, or name another folder")
    with reading(path):
        os.makedirs(path, exist_ok=True)
    # A record takes whole pages where it is large; the rest is for the tree above the records.
    size = sum(-(-(len(record) + 64) // PAGE) * PAGE for record in _records(samples, numbers)) * 5 // 4 + (1 << 20)
    try:
        with lmdb.open(str(path), map_size=size) as environment:
            keyed = ((b"%08d" % number, record) for number, record in enumerate(records))
            with environment.begin(write=True) as transaction:
                transaction.cursor().putmulti(keyed, overwrite=False, append=True)
    except lmdb.Error as problem:
        raise file_error(path, f"cannot be written ({problem})") from None


def _labels(labels: Any, count: int) -> list[int]:
    array = np.zeros(count, np.int64) if labels is None else np.asarray(labels)
    whole = array.shape == (count,) and array.dtype.kind in "biu"
    if not whole or (count and max(-int(array.min()), int(array.max())) >= 1 << 31):
        raise ConfigError(f"labels must be {count} whole numbers, got {array.dtype} {array.shape}")
    return array.tolist()


def _records(samples: Any, labels: Sequence[int]) -> Iterator[bytes]:
    """The samples as Datum, one after the other."""
    if isinstance(samples, np.ndarray):
        if samples.ndim != 4 or samples.dtype.kind not in "biuf":
            hint = "axes are samples, channels, height, width"
            raise ConfigError(f"samples must be numbers (N, C, H, W), got {samples.dtype} {samples.shape}", hint=hint)
        return (datum_bytes(sample, label) for sample, label in zip(samples, labels, strict=True))
    if not all(isinstance(sample, bytes) for sample in samples):
        raise ConfigError("samples must be an array (N, C, H, W), or the bytes of image files")
    return (encoded_datum_bytes(sample, label) for sample, label in zip(samples, labels, strict=True))


def write_mean_image(path: str | Path, mean: Any) -> None:
    """Write a mean image (C, H, W) as Caffe's .binaryproto, as `images.mean(axis=0)` gives it: float32.

    Errors   ConfigError for another form; DataError where the file cannot be written
    """
    array = np.asarray(mean)
    if array.ndim != 3 or array.dtype.kind not in "biuf":
        raise ConfigError(f"a mean image is numbers (C, H, W), got {array.dtype} {array.shape}")
    with reading(path):
        Path(path).write_bytes(blob_bytes(array))
