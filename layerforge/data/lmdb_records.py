"""Records of an LMDB that hold Caffe's Datum: read one by one, when a batch wants them."""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Any

import numpy as np

from ..schema.errors import DataError
from .datum import Datum, label_of, parse_datum
from .files import file_error
from .image_form import SKIPPING, ImageForm, decoded, pillow
from .lazy import Lazy, Rows
from .lazy_images import Change, LazyImages
from .lmdb_file import LmdbFile

DATA_FILE = "data.mdb"
DATUM = "Datum"  # in the place of a file, of errors whose place is counted from the begin of a record
WHOLE = 1 << 13  # bytes of a record that is read at once to find its label


class Database:
    """The samples of a database by their numbers, in the order of its keys."""

    def __init__(self, path: str) -> None:
        self.file = LmdbFile(path)
        self.path = path

    def __len__(self) -> int:
        return len(self.file)

    def datum(self, number: int) -> Datum:
        """A sample; DataError with its key where it is none."""
        try:
            return parse_datum(self.file.value(number), DATUM)
        except DataError as error:
            raise self.error(number, error) from None

    @functools.cached_property
    def labels(self) -> np.ndarray:
        """The labels of all samples (N,)."""
        labels = np.array([self._label(number) for number in range(len(self))], np.int64)
        labels.flags.writeable = False
        return labels

    def _label(self, number: int) -> int:
        try:
            size = int(self.file.lengths[number])
            if size <= WHOLE:
                value = self.file.value(number)
                return label_of(lambda at, count: value, size, DATUM)
            start = self.file.start(number)
            return label_of(lambda at, count: self.file.bytes_at(start + at, count), size, DATUM)
        except DataError as error:
            raise self.error(number, error) from None

    def error(self, number: int, error: DataError) -> DataError:
        """An error about a sample, with its place; one of the file itself stays as it is."""
        if error.place is not None and error.place.file != DATUM:
            return error
        start = int(self.file.places[number]) + (error.place.column if error.place is not None else 0)
        return self.file.error(start, f"{self.file.words(number)}: {error.message}", error.hint)


def data_file(path: str) -> str:
    """The file with the records of a database that is named by its folder or by that file.

    Errors   DataError where there is none
    """
    if not os.path.isdir(path):
        return path
    inside = os.path.join(path, DATA_FILE)
    if os.path.exists(inside):
        return inside
    if os.path.exists(os.path.join(path, "CURRENT")):
        hint = "write it again as LMDB, for example by convert_imageset -backend lmdb"
        raise file_error(path, "is a LevelDB, which is not read", hint)
    raise file_error(path, f"is no LMDB: there is no {DATA_FILE} in it", "name the folder of the database")


def database(path: str) -> Database:
    """The database at a path; it stays open as long as it is among those last asked for."""
    file = data_file(path)
    try:
        status = Path(file).stat()
    except OSError:
        return Database(file)  # raises the error
    return _database(file, status.st_mtime_ns, status.st_size)


@functools.lru_cache(maxsize=8)
def _database(path: str, modified: int, size: int) -> Database:
    return Database(path)


class Images(LazyImages):
    """Samples that are images (C, h, w) of bytes: encoded, or raw in the size and with the channels of the form.

    is_free   whether encoded images may have other sizes than the form has
    rows      the numbers of the samples in the database
    """

    def __init__(self, source: Database, form: ImageForm, is_free: bool, rows: np.ndarray) -> None:
        super().__init__([source.path] * len(rows), rows, form, None)
        self.source = source
        self.is_free = is_free
        self.rows = rows

    def take(self, rows: Rows) -> Images:
        return Images(self.source, self.form, self.is_free, self.rows[rows])

    def read(self, rows: np.ndarray, change: Change | None = None) -> np.ndarray:
        if change is not None:
            return super().read(rows, change)
        out = np.empty((len(rows), *self.shape[1:]), np.uint8)
        for position, row in enumerate(rows):
            number = int(self.rows[row])
            datum = self.source.datum(number)
            out[position] = (
                self.form.channels(np.asarray(self._image_of(number, datum, False)))
                if datum.encoded
                else self._raw(number, datum)
            )
        return out

    def _decode(self, row: int, whole: bool) -> Any:
        number = int(self.rows[row])
        datum = self.source.datum(number)
        if datum.encoded:
            return self._image_of(number, datum, whole)
        pixels = self._raw(number, datum)
        if len(pixels) == 1:
            return pillow().fromarray(pixels[0])
        rgb = pixels[::-1] if self.form.color == "bgr" else pixels
        return pillow().fromarray(np.ascontiguousarray(rgb.transpose(1, 2, 0)))

    def _raw(self, number: int, datum: Datum) -> np.ndarray:
        return demand_form(self.source, number, datum, self.form.shape, self.dtype)

    def _image_of(self, number: int, datum: Datum, whole: bool) -> Any:
        """The decoded image of a sample, in the form of the samples unless it is wanted as it is."""
        try:
            image = decoded(bytes(datum.data), self.form.mode)
            if not self.is_free and image.size != self.form.size[::-1]:
                height, width = self.form.size
                message = f"an image of {image.height} x {image.width} pixels, the others have {height} x {width}"
                raise DataError(message, hint="size: [height, width] makes them alike")
            return image if whole else self.form.fitted(image)
        except DataError as error:
            error.hint = (error.hint or "").removesuffix(SKIPPING)
            raise self.source.error(number, error) from None


class Values(Lazy):
    """Samples (C, H, W) that are no images: floats, or bytes with other channels.

    rows   the numbers of the samples in the database
    """

    def __init__(self, source: Database, shape: tuple[int, ...], dtype: np.dtype, rows: np.ndarray) -> None:
        super().__init__((len(rows), *shape), dtype)
        self.source = source
        self.rows = rows

    def take(self, rows: Rows) -> Values:
        return Values(self.source, self.shape[1:], self.dtype, self.rows[rows])

    def read(self, rows: np.ndarray) -> np.ndarray:
        out = np.empty((len(rows), *self.shape[1:]), self.dtype)
        for position, row in enumerate(rows):
            number = int(self.rows[row])
            out[position] = demand_form(self.source, number, self.source.datum(number), self.shape[1:], self.dtype)
            if not np.isfinite(out[position]).all():
                raise self.source.error(number, DataError("a value is not finite", hint="remove NaN and infinity"))
        return out


def demand_form(source: Database, number: int, datum: Datum, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """The values of a sample that is not encoded; DataError where they are not as those of the first one."""
    found = "an encoded image" if datum.encoded else f"{datum.array.dtype} {datum.shape}"
    if datum.encoded or datum.shape != shape or datum.array.dtype != dtype:
        hint = "samples of one blob have one form; write databases for each"
        raise source.error(number, DataError(f"holds {found}, the first one {dtype} {shape}", hint=hint))
    return datum.array
