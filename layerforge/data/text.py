"""Text: the characters, words or sub-words of a file, for models that predict the next one."""

from __future__ import annotations

import functools
import string
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from ..arrays.spec import Spec, index
from ..schema.errors import ConfigError
from ..schema.params import FilePath, param
from ..schema.registry import register_source
from ..schema.texts import first_few
from . import fetch
from .files import file_error, reading, size_of
from .learned import Learned
from .reader import Reader
from .source import Source, Split
from .text_reader import WindowsReader
from .tokenizing import demand_alike, demand_sensible, fitted
from .tokens import LARGEST, CharacterTokenizer, Tokenizer

BLOCK = 1 << 16  # characters that become tokens at once; the block ends with a line where it can
FITTED = ("tokenizer", "tokenizer_file", "lowercase", "max_tokens", "min_frequency")


class Windows(Source):
    """Base of the sources of text: windows of a file, and the same windows one token later."""

    divisible = False  # windows may overlap

    sequence_length: int = param(128, help="tokens in a window: characters, unless tokenizer says otherwise", ge=1)
    stride: int | None = param(None, help="from one window to the next; null: sequence_length, no overlap", ge=1)
    tokenizer: str = param(
        "characters",
        help="what a token is: characters, words, or sub-words (extra `text`): bpe, wordpiece",
        choices=("characters", "words", "bpe", "wordpiece"),
    )
    tokenizer_file: FilePath | None = param(None, help="a tokenizer.json in place of one made from train's text")
    lowercase: bool = param(False, help="of words and sub-words: make the text lower case")
    max_tokens: int = param(20_000, help="size of a vocabulary of words or sub-words", ge=3, le=LARGEST)
    min_frequency: int = param(1, help="of words and sub-words: rarer ones do not count", ge=1)

    _tokenizer: Tokenizer | None = None
    _numbers: np.ndarray | None = None

    def file(self, progress: bool | None = None) -> str:
        """The text file."""
        raise NotImplementedError(f"{type(self).__name__} has no file(self, progress)")

    def characters(self) -> tuple[str, ...]:
        """The vocabulary where every character is a token."""
        raise NotImplementedError(f"{type(self).__name__} has no characters(self)")

    def codes(self, path: str) -> np.ndarray:
        """The text as indices into that vocabulary; DataError where it has other characters."""
        raise NotImplementedError(f"{type(self).__name__} has no codes(self, path)")

    def validate(self) -> None:
        demand_sensible(self, "characters")

    def follow(self, leader: Source | Learned) -> None:
        super().follow(leader)
        self._tokenizer = self._numbers = None
        if isinstance(self.leader, Windows):
            demand_alike(self, self.leader, FITTED)

    def tokens(self) -> Tokenizer:
        """What makes tokens of a text: train's in val and test."""
        known = None if self.leader is None else self.leader.reader()
        if isinstance(known, WindowsReader):
            return known.tokenizer
        if self._tokenizer is None:
            self._tokenizer = self._fit()
        return self._tokenizer

    def _names(self) -> tuple[str, ...]:
        return self.tokens().tokens

    class_names: Any = property(_names)

    @property
    def by_characters(self) -> bool:
        """Whether every character is a token, and the split counts tokens."""
        return self.tokenizer == "characters" and self.tokenizer_file is None

    def _fit(self) -> Tokenizer:
        if self.by_characters:
            return CharacterTokenizer(self.characters())
        found = fitted(self, list(blocks(self._text(self.file()))))
        return found.bare()

    @property
    def consecutive(self) -> bool:
        return self.stride in (None, self.sequence_length)

    def specs(self) -> dict[str, Spec]:
        window = index((self.sequence_length,), len(self.class_names))
        return {"x": window, "y": window}

    def reader(self) -> Reader:
        return WindowsReader(self.specs(), self.tokens(), self.sequence_length)

    def count_samples(self, fetched: bool = False) -> int | None:
        known = super().count_samples(fetched)
        if known is None or (not self.by_characters and self.count(self.part) is None):
            return None
        windows = (known if self.by_characters else len(self._in_split(self.file()))) - self.sequence_length
        return 1 + (windows - 1) // (self.stride or self.sequence_length) if windows > 0 else None

    def load(self, progress: bool | None = None) -> dict[str, np.ndarray]:
        numbers, unit = self._in_split(self.file(progress)), self.tokens().unit
        if len(numbers) <= self.sequence_length:
            raise ConfigError(
                f"{self.title}: split '{self.split}' has {len(numbers)} {unit}s, "
                f"a window of sequence_length {self.sequence_length} and the next {unit} need one more",
                place=self.place,
                hint="make sequence_length smaller or the split larger",
            )
        windows = sliding_window_view(numbers, self.sequence_length + 1)
        windows = windows[:: self.stride or self.sequence_length]
        return {"x": windows[:, :-1], "y": windows[:, 1:]}

    def _range(self, path: str, characters: int) -> tuple[int, int]:
        return Split.of(self.split).range(characters, f"{Path(path).name} (characters)", self.place)

    def _text(self, path: str) -> str:
        """The characters of the split."""
        text = decoded(path)
        return text[slice(*self._range(path, len(text)))]

    def _in_split(self, path: str) -> np.ndarray:
        """The tokens of the split."""
        if self.by_characters:
            codes = self.codes(path)
            return codes[slice(*self._range(path, len(codes)))]
        if self._numbers is None:
            parts = self.tokens().encode(list(blocks(self._text(path))))
            self._numbers = np.concatenate(parts).astype(np.uint32)
        return self._numbers


def blocks(text: str) -> Iterator[str]:
    """The text in parts of about BLOCK characters, which end with a line where lines are shorter than that."""
    start = 0
    while start < len(text):
        end = text.rfind("\n", start, start + BLOCK) + 1 if start + BLOCK < len(text) else len(text)
        end = end if end > start else start + BLOCK
        yield text[start:end]
        start = end


@register_source
class Text(Windows):
    """Windows of a text: blobs `x` and `y`, indices (T,) into the vocabulary; y is x one token later.

    By default a token is a character, and the vocabulary is every character of the file, sorted; words and sub-words
    are those of train's split. The vocabulary (`class_names`) is train's in val and test, and travels with the net. The
    split counts characters: `all[:90%]` is the first nine tenths of the text, and no window reaches over its end.
    """

    path: FilePath = param(help="the text file, in UTF-8")

    def characters(self) -> tuple[str, ...]:
        return read_text(self.path)[0]

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
            listed = first_few(map(repr, unknown))
            message = f"has characters that the text of data.train has not: {listed}; the first in line {line}"
            raise file_error(path, message, "train on a text that has them, or take them out")
        return np.array([numbers[character] for character in found], _dtype(len(numbers)))[codes]


@register_source
class TinyShakespeare(Windows):
    """Scenes of Shakespeare's plays, 1,115,394 characters of 65 kinds (Karpathy 2015): blobs as those of Text; 1 MB."""

    files = fetch.TINY_SHAKESPEARE
    published: ClassVar[dict[str, int]] = {"all": 1_115_394}  # characters
    alphabet: ClassVar[tuple[str, ...]] = tuple("\n !$&',-.3:;?" + string.ascii_uppercase + string.ascii_lowercase)

    def characters(self) -> tuple[str, ...]:
        return self.alphabet

    def prepare(self, progress: bool | None = None) -> None:
        self.file(progress)

    def codes(self, path: str) -> np.ndarray:
        found, codes = read_text(path)
        if found != self.alphabet:
            message = f"holds {len(found)} different characters; {self.title} has {len(self.alphabet)} others"
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


def decoded(path: str) -> str:
    """The text of a UTF-8 file; lines end with a line feed. Errors   DataError that names file and line"""
    size_of(path)
    with reading(path):
        data = Path(path).read_bytes()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as problem:
        line = data.count(b"\n", 0, problem.start) + 1
        message = f"is not UTF-8 text: byte 0x{data[problem.start]:02x} in line {line} ({problem.reason})"
        raise file_error(path, message, "store the file as UTF-8") from None
    return text.replace("\r\n", "\n")


@functools.lru_cache(maxsize=2)  # train and val are two splits of one file
def _read_text(path: str, modified: int, size: int) -> tuple[tuple[str, ...], np.ndarray]:
    points = np.frombuffer(decoded(path).encode("utf-32-le"), "<u4")
    there = np.zeros(sys.maxunicode + 1, bool)
    there[points] = True
    characters = np.flatnonzero(there)
    table = np.zeros(len(there), _dtype(len(characters)))
    table[characters] = np.arange(len(characters))
    codes = table[points]
    codes.flags.writeable = False
    return tuple(chr(c) for c in characters), codes
