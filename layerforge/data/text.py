"""Text: the characters of a file, for models that predict the next one."""

from __future__ import annotations

import functools
import string
import sys
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from ..arrays.spec import Spec, index
from ..schema.errors import ConfigError
from ..schema.params import FilePath, param
from ..schema.registry import register_source
from . import fetch
from .files import file_error, reading, size_of
from .source import Source, Split


class Characters(Source):
    """Base of the sources of text: windows of a file, and the same windows one character later."""

    divisible = False  # windows may overlap

    sequence_length: int = param(128, help="characters in a window", ge=1)
    stride: int | None = param(None, help="from one window to the next; null: sequence_length, no overlap", ge=1)

    def file(self, progress: bool | None = None) -> str:
        """The text file."""
        raise NotImplementedError(f"{type(self).__name__} has no file(self, progress)")

    def codes(self, path: str) -> np.ndarray:
        """The text as indices into `class_names`; DataError where it has other characters."""
        raise NotImplementedError(f"{type(self).__name__} has no codes(self, path)")

    def specs(self) -> dict[str, Spec]:
        window = index((self.sequence_length,), len(self.class_names))
        return {"x": window, "y": window}

    def count_samples(self, fetched: bool = False) -> int | None:
        characters = super().count_samples(fetched)
        windows = 0 if characters is None else characters - self.sequence_length
        return 1 + (windows - 1) // (self.stride or self.sequence_length) if windows > 0 else None

    def load(self, progress: bool | None = None) -> dict[str, np.ndarray]:
        path = self.file(progress)
        codes = self.codes(path)
        start, stop = Split.of(self.split).range(len(codes), f"{Path(path).name} (characters)", self.place)
        if stop - start <= self.sequence_length:
            raise ConfigError(
                f"{self.title}: split '{self.split}' has {stop - start} characters, "
                f"a window of sequence_length {self.sequence_length} and the next character need one more",
                place=self.place,
                hint="make sequence_length smaller or the split larger",
            )
        windows = sliding_window_view(codes[start:stop], self.sequence_length + 1)
        windows = windows[:: self.stride or self.sequence_length]
        return {"x": windows[:, :-1], "y": windows[:, 1:]}


@register_source
class Text(Characters):
    """Windows of a text: blobs `x` and `y`, indices (T,) into the vocabulary; y is x one character later.

    The vocabulary is every character of the file, sorted (`class_names`); that of val and test is train's. The split
    counts characters: `all[:90%]` is the first nine tenths of the text, and no window reaches over its end.
    """

    path: FilePath = param(help="the text file, in UTF-8")

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.leader.class_names if self.leader is not None else read_text(self.path)[0]

    def file(self, progress: bool | None = None) -> str:
        return self.path

    def count(self, part: str) -> int:
        """How many characters the text has."""
        return len(read_text(self.path)[1])

    def codes(self, path: str) -> np.ndarray:
        found, codes = read_text(path)
        if found == self.class_names:
            return codes
        numbers = {character: number for number, character in enumerate(self.class_names)}
        unknown = [character for character in found if character not in numbers]
        if unknown:
            text = Path(path).read_text(encoding="utf-8-sig")
            line = 1 + text.count("\n", 0, min(map(text.index, unknown)))
            listed = ", ".join(map(repr, unknown[:10])) + (", ..." if len(unknown) > 10 else "")
            message = f"has characters that the text of data.train has not: {listed}; the first in line {line}"
            raise file_error(path, message, "train on a text that has them, or take them out")
        return np.array([numbers[character] for character in found], _dtype(len(numbers)))[codes]


@register_source
class TinyShakespeare(Characters):
    """Scenes of Shakespeare's plays, 1,115,394 characters of 65 kinds (Karpathy 2015): blobs as those of Text; 1 MB."""

    files = fetch.TINY_SHAKESPEARE
    published: ClassVar[dict[str, int]] = {"all": 1_115_394}  # characters
    class_names = tuple("\n !$&',-.3:;?" + string.ascii_uppercase + string.ascii_lowercase)

    def prepare(self, progress: bool | None = None) -> None:
        self.file(progress)

    def codes(self, path: str) -> np.ndarray:
        found, codes = read_text(path)
        if found != self.class_names:
            message = f"holds {len(found)} different characters; {self.title} has {len(self.class_names)} others"
            raise file_error(path, message, "delete the file if it is another text: it is downloaded again")
        return codes

    def count(self, part: str) -> int | None:
        here = fetch.locate(self.files, self.files.parts[part][0])
        return len(read_text(str(here[0]))[1]) if here else None

    def file(self, progress: bool | None = None) -> str:
        return str(fetch.ensure(self.files, self.part, progress)[0][0])


def read_text(path: str) -> tuple[tuple[str, ...], np.ndarray]:
    """The sorted vocabulary of a UTF-8 file and its text as indices into that."""
    size_of(path)
    with reading(path):
        status = Path(path).stat()
        return _read_text(path, status.st_mtime_ns, status.st_size)


def _dtype(count: int) -> type[np.unsignedinteger]:
    """The narrowest that numbers so many characters."""
    return np.uint8 if count <= 256 else np.uint32


@functools.lru_cache(maxsize=2)  # train and val are two splits of one file
def _read_text(path: str, modified: int, size: int) -> tuple[tuple[str, ...], np.ndarray]:
    data = Path(path).read_bytes()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        line = data.count(b"\n", 0, problem.start) + 1
        message = f"is not UTF-8 text: byte 0x{data[problem.start]:02x} in line {line} ({problem.reason})"
        raise file_error(path, message, "store the file as UTF-8") from None
    points = np.frombuffer(text.replace("\r\n", "\n").encode("utf-32-le"), "<u4")
    there = np.zeros(sys.maxunicode + 1, bool)
    there[points] = True
    characters = np.flatnonzero(there)
    table = np.zeros(len(there), _dtype(len(characters)))
    table[characters] = np.arange(len(characters))
    codes = table[points]
    codes.flags.writeable = False
    return tuple(chr(c) for c in characters), codes
