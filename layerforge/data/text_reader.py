"""Texts as inputs: whole texts for nets that classify them, and windows of a text for nets that go on writing."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np

from ..arrays.backend import NUMPY
from ..arrays.spec import Spec, parse_specs
from ..schema.errors import DataError
from ..schema.params import parse_as
from .files import file_error
from .kinds import Kind
from .reader import Blobs, Reader, demand_blobs
from .source import check_array
from .subwords import SubwordTokenizer
from .text_files import JSON_LINES, TABLES, Fields, read_one, read_samples, text_files, whole_characters
from .tokens import CharacterTokenizer, Tokenizer, WordTokenizer

TOKENIZERS: dict[str, type[Tokenizer]] = {
    cls.kind: cls for cls in (CharacterTokenizer, WordTokenizer, SubwordTokenizer)
}
NAMES = (".txt", *JSON_LINES, *TABLES)


def tokenizer_of(values: Mapping[str, Any]) -> Tokenizer:
    """The tokenizer that `plain` described. Errors   KeyError, TypeError or ValueError where it is something else"""
    return TOKENIZERS[values["kind"]].parse(values)


@dataclass(frozen=True)
class TextForm:
    """What a text becomes.

    output   indices: x (T,) tokens and mask (T,), 1 where there is one. binary, count, tfidf: x (V,) sparse, what a
             text has of each token of the vocabulary: 1, how often, or that times idf, over the root of the sum of
             squares
    length   T: what is longer is cut, what is shorter gets padding behind it
    cut      which end of a long text is cut: "right" or "left"
    idf      of tfidf: ln((1 + N) / (1 + n)) + 1 for a token that n of the N texts of train have
    """

    output: str
    length: int
    cut: str
    idf: list[float] = field(default_factory=list)

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> Self:
        """From plain values. Errors   KeyError or TypeError where they are something else"""
        return cls(
            str(values["output"]), parse_as(int, values["length"]), str(values["cut"]),
            parse_as(list[float], values["idf"]),
        )  # fmt: skip


class TextReader(Reader):
    """Texts as blobs `x`, and `mask` where x is indices: of files, strings, dicts and frames with a column of them.

        .txt                   one text; a folder: each .txt file in it
        .jsonl, .csv, .tsv     the texts under training's key or column

    A string of Python is a text; a file is a Path.
    """

    kind = "text"
    suffix = ".jsonl"

    def __init__(self, specs: Mapping[str, Spec], tokenizer: Tokenizer, form: TextForm, fields: Fields) -> None:
        super().__init__(specs)
        self.tokenizer = tokenizer
        self.form = form
        self.fields = fields

    def plain(self) -> dict[str, Any]:
        own = {"tokenizer": self.tokenizer.plain(), "form": asdict(self.form), "fields": asdict(self.fields)}
        return {**super().plain(), **own}

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> Self:
        form, fields = TextForm.parse(values["form"]), Fields.parse(values["fields"])
        return cls(parse_specs(values["blobs"]), tokenizer_of(values["tokenizer"]), form, fields)

    def read(self, path: Path, blobs: Sequence[str], seen: Mapping[str, Kind]) -> Blobs:
        self._demand(blobs)
        return self._wanted(self._texts_of(path), blobs)

    def convert(self, value: Any, blobs: Sequence[str], seen: Mapping[str, Kind]) -> tuple[Blobs, bool]:
        self._demand(blobs)
        texts, single = texts_in(value, str(self.fields.text), self._texts_of)
        return self._wanted(texts, blobs), single

    def encode(self, texts: Sequence[str]) -> Blobs:
        """The blobs of some texts, labels aside."""
        found = self.tokenizer.encode(texts)
        if self.form.output != "indices":
            return {"x": self._bags(found)}
        length = self.form.length
        dtype = np.uint16 if len(self.tokenizer.tokens) <= 1 << 16 else np.int32
        x = np.full((len(texts), length), self.tokenizer.padding, dtype)
        mask = np.zeros((len(texts), length), np.uint8)
        for row, numbers in enumerate(found):
            some = numbers[:length] if self.form.cut == "right" else numbers[-length:]
            x[row, : len(some)] = some
            mask[row, : len(some)] = 1
        return {"x": x, "mask": mask}

    def _bags(self, found: Sequence[np.ndarray]) -> Any:
        is_word = np.ones(len(self.tokenizer.tokens), bool)
        is_word[list(self.tokenizer.special)] = False
        data, columns, ends = [], [], [0]
        for numbers in found:
            where, counts = np.unique(numbers[is_word[numbers]], return_counts=True)
            data.append(bag(where, counts, self.form))
            columns.append(where)
            ends.append(ends[-1] + len(where))
        shape = (len(found), len(self.tokenizer.tokens))
        return NUMPY.csr(np.concatenate(data), np.concatenate(columns).astype(np.int32), np.array(ends), shape)

    def _wanted(self, texts: Sequence[str], blobs: Sequence[str]) -> Blobs:
        for number, text in enumerate(texts):
            if not text.strip():
                raise DataError(f"text {number} of {len(texts)} (counted from 0) is empty", hint="take empty texts out")
        found = self.encode(texts)
        return {blob: found[blob] for blob in blobs}

    def _demand(self, blobs: Sequence[str]) -> None:
        demand_blobs(self, blobs)
        if "label" in blobs:
            raise DataError("texts have no 'label' to predict from", hint="ask for what comes before the loss")

    def _texts_of(self, path: Path) -> list[str]:
        if path.is_dir():
            paths = text_files(path)
            if not paths:
                raise file_error(path, "holds no .txt files")
            return [read_one(each).text for each in paths]
        if path.suffix.lower() in (*JSON_LINES, *TABLES):
            return [sample.text for sample in read_samples(str(path), Fields(self.fields.text, None))]
        return [read_one(str(path)).text]


def bag(columns: np.ndarray, counts: np.ndarray, form: TextForm) -> np.ndarray:
    """What a bag of words stores of the tokens that a text has, as `TextForm` says."""
    if form.output == "binary":
        return np.ones(len(counts), np.float32)
    if form.output == "count":
        return counts.astype(np.float32)
    weighted = counts * np.array(form.idf)[columns]
    return (weighted / max(float(np.sqrt(weighted @ weighted)), np.finfo(np.float64).tiny)).astype(np.float32)


class WindowsReader(Reader):
    """Windows of a text: blob `x`, tokens (T,), and `y`, each the token that follows.

    A text of up to T tokens is one window, as long as it is; a longer one is cut into windows of T, and the last of
    them ends where the text does. Arrays of integers are tokens.

    length   T, as training had it
    """

    kind = "text_windows"
    suffix = ".txt"

    def __init__(self, specs: Mapping[str, Spec], tokenizer: Tokenizer, length: int) -> None:
        super().__init__(specs)
        self.tokenizer = tokenizer
        self.length = length

    def plain(self) -> dict[str, Any]:
        return {**super().plain(), "tokenizer": self.tokenizer.plain(), "length": self.length}

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> Self:
        return cls(parse_specs(values["blobs"]), tokenizer_of(values["tokenizer"]), parse_as(int, values["length"]))

    def read(self, path: Path, blobs: Sequence[str], seen: Mapping[str, Kind]) -> Blobs:
        demand_blobs(self, blobs)
        return self._windows([_text_of(path)], blobs)

    def convert(self, value: Any, blobs: Sequence[str], seen: Mapping[str, Kind]) -> tuple[Blobs, bool]:
        demand_blobs(self, blobs)
        if isinstance(value, np.ndarray) and value.dtype.kind in "iu" and value.ndim in (1, 2) and "y" not in blobs:
            check_array("the tokens", self.specs["x"].with_shape(value.shape[-1:]), np.atleast_2d(value))
            return {"x": np.atleast_2d(value)}, value.ndim == 1
        texts, single = texts_in(value, "text", lambda path: [_text_of(path)])
        found = self._windows(texts, blobs)
        return found, single and len(found[blobs[0]]) == 1

    def _windows(self, texts: Sequence[str], blobs: Sequence[str]) -> Blobs:
        more = int("y" in blobs)
        rows: list[np.ndarray] = []
        for numbers in self.tokenizer.encode(texts):
            if len(numbers) <= more:
                hint = "give a longer text"
                raise DataError(f"a text has {len(numbers)} {self.tokenizer.unit}s, too few", hint=hint)
            last = len(numbers) - more - self.length  # where the last window begins
            starts = [*range(0, last, self.length), last] if last > 0 else [0]
            rows += [numbers[start : start + self.length + more] for start in starts]
        lengths = sorted({len(row) - more for row in rows})
        if len(lengths) > 1:
            raise DataError(
                f"texts of different lengths: {lengths[0]} and {lengths[-1]} {self.tokenizer.unit}s",
                hint=f"give one at a time, or texts of at least {self.length} {self.tokenizer.unit}s",
            )
        windows = np.stack(rows)
        return {blob: windows[:, 1:] if blob == "y" else windows[:, : windows.shape[1] - more] for blob in blobs}


def _text_of(path: Path) -> str:
    return read_one(str(path)).text


def texts_in(value: Any, column: str, of_file: Any) -> tuple[list[str], bool]:
    """The texts that an object of Python holds, and whether it is a single one.

    column    where a mapping or a frame has them
    of_file   makes the texts of a Path

    Errors   DataError for an object without texts, and for the name of a file, which as a text would mean nothing
    """
    if isinstance(value, str):
        if value.endswith(NAMES) and os.path.isfile(value):
            raise DataError(f"'{value}' is the name of a file, not a text", hint=f"Path({value!r}) stands for the file")
        return [whole_characters(value)], True
    if isinstance(value, Path):
        return of_file(value), value.suffix.lower() not in (*JSON_LINES, *TABLES) and not value.is_dir()
    if isinstance(value, Mapping) or hasattr(value, "columns"):
        if column not in getattr(value, "columns", value):
            raise DataError(f"there is no column '{column}' of texts", hint=f"training's texts are under '{column}'")
        return texts_in(value[column], column, of_file)
    if isinstance(value, bytes) or not hasattr(value, "__iter__") or getattr(value, "ndim", 1) == 0:
        raise DataError(f"{type(value).__name__} is no text", hint="give a string, a list of strings, or a Path")
    texts = [text for one in value for text in texts_in(one, column, of_file)[0]]
    if not texts:
        raise DataError("there are no texts")
    return texts, False
