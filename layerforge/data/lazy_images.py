"""LazyImages: files of images that are decoded when a batch wants them."""

from __future__ import annotations

import hashlib
import io
import os
import secrets
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ..arrays.host_memory import memory_of_this_machine
from ..arrays.threads import cores
from ..schema.errors import ConfigError, DataError
from .fetch import cache_root
from .files import reading
from .image_form import ImageForm, pillow, read_image
from .lazy import Lazy, Rows

VERSION = 1  # of what is kept on the disk: another one where decoding or scaling changes
DIGEST = 16  # bytes before what is kept on the disk
FEW = 16  # images that tell the range of all of them


class Change(Protocol):
    """A random change of the images of a batch.

    size   height and width of what it makes
    whole  whether it wants an image as it was decoded; otherwise one of the samples' form
    """

    size: tuple[int, int]
    whole: bool

    def __call__(self, position: int, image: Any) -> Any:
        """The image at a position of the batch, changed."""


class LazyImages(Lazy):
    """The images of files as bytes (N, C, h, w).

    files    their paths
    numbers  what errors call each of them: its position in the source
    cache    "memory" or "disk" keeps what was decoded, as far as it is the same in every epoch; None: nothing

    Errors   ConfigError for images that would not fit into the computer's memory with cache "memory"
    """

    def __init__(
        self, files: Sequence[str], numbers: Sequence[int] | np.ndarray, form: ImageForm, cache: str | None
    ) -> None:
        super().__init__((len(files), *form.shape), np.uint8)
        self.files = files
        self.positions = numbers
        self.form = form
        self.cache = cache
        self._kept: dict[tuple[str, bool], np.ndarray] = {}
        self._few: np.ndarray | None = None
        if cache == "memory" and np.prod(self.shape, dtype=float) > memory_of_this_machine():
            gigabytes = np.prod(self.shape, dtype=float) / 1e9
            raise ConfigError(f"cache: memory would take {gigabytes:.0f} GB", hint="use cache: disk, or none")

    def take(self, rows: Rows) -> LazyImages:
        numbers = self.numbers(rows)
        files, positions = [self.files[n] for n in numbers], [self.positions[n] for n in numbers]
        part = LazyImages(files, positions, self.form, self.cache)
        part._kept = self._kept
        return part

    def some(self, most: int = FEW) -> np.ndarray:
        if self._few is None:
            self._few = super().some(min(most, FEW))
        return self._few

    def read(self, rows: np.ndarray, change: Change | None = None) -> np.ndarray:
        """The images of these numbers (len(rows), C, h, w), each changed where that is asked for."""
        size = self.form.size if change is None else change.size
        out = np.empty((len(rows), self.shape[1], *size), np.uint8)
        for position, row in enumerate(rows):
            if change is None:
                out[position] = self.form.channels(self._pixels(int(row), False))
            else:
                out[position] = self.form.array(change(position, self._image(int(row), change.whole)))
        return out

    def readable(self) -> tuple[np.ndarray, list[DataError]]:
        """The numbers of the files that can be decoded, and what is wrong with the others. Reads all of them."""

        def error_of(row: int) -> DataError | None:
            try:
                self._pixels(row, False)
            except DataError as error:
                return error
            return None

        with ThreadPoolExecutor(cores()) as pool:
            found = list(pool.map(error_of, range(len(self))))
        good = np.array([row for row, error in enumerate(found) if error is None], np.int64)
        return good, [error for error in found if error is not None]

    def _image(self, row: int, whole: bool) -> Any:
        """A file's image: as it was decoded, or in the form of the samples."""
        if self.cache is None:
            return self._decode(row, whole)
        return pillow().fromarray(self._pixels(row, whole))

    def _pixels(self, row: int, whole: bool) -> np.ndarray:
        """A file's pixels (h, w) or (h, w, 3): as they were decoded, or in the form of the samples."""
        if self.cache is None:
            return np.asarray(self._decode(row, whole))
        if self.cache == "disk":
            return self._on_disk(row, whole)
        key = self.files[row], whole
        if key not in self._kept:
            self._kept[key] = np.asarray(self._decode(row, whole))
        return self._kept[key]

    def _decode(self, row: int, whole: bool) -> Any:
        what = f"(sample {self.positions[row]}) "
        return read_image(self.files[row], self.form.mode, what, None if whole else self.form)

    def _on_disk(self, row: int, whole: bool) -> np.ndarray:
        """What an earlier run or epoch decoded, as long as the file has not changed."""
        file = self.files[row]
        try:
            status = os.stat(file)
        except OSError:
            return np.asarray(self._decode(row, whole))  # raises the error
        form = self.form.mode if whole else self.form.plain
        text = f"{VERSION}/{os.path.abspath(file)}/{status.st_size}/{status.st_mtime_ns}/{form}"
        name = hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
        kept = cache_root() / "images" / name[:2] / f"{name}.npy"
        pixels = _kept_in(kept)
        if pixels is None:
            pixels = np.asarray(self._decode(row, whole))
            _keep(kept, pixels)
        return pixels


def _kept_in(path: Path) -> np.ndarray | None:
    """What `_keep` wrote; None where it is not there or not whole."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    if hashlib.blake2b(content[DIGEST:], digest_size=DIGEST).digest() != content[:DIGEST]:
        return None
    return np.load(io.BytesIO(content[DIGEST:]), allow_pickle=False)


def _keep(path: Path, pixels: np.ndarray) -> None:
    """Write pixels behind their digest. It does not wait for the disk: what a power failure spoils is decoded again."""
    np.save(buffer := io.BytesIO(), pixels)
    content = buffer.getvalue()
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    with reading(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(hashlib.blake2b(content, digest_size=DIGEST).digest() + content)
        os.replace(temporary, path)
