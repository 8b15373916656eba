"""Texts with labels, as folders and as lines of a file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from ..arrays.spec import Spec, index
from ..config.scalars import shorten
from ..schema.errors import DataError
from ..schema.params import FilePath, param
from ..schema.registry import register_source
from .first_line import INTEGER
from .learned import Learned, unknown_class
from .rows import is_number
from .source import Source
from .subwords import KINDS as SUBWORDS
from .text_files import FORMATS, Fields, Sample, read_folder, read_samples
from .text_reader import TextForm, TextReader
from .tokenizing import demand_alike, demand_sensible, fitted
from .tokens import LARGEST, Tokenizer

OUTPUTS = ("indices", "binary", "count", "tfidf")
PARTS = ("train", "val", "test")


class Texts(Source):
    """Base of the sources of texts with labels: what a text becomes. All of it is train's in val and test."""

    tokenizer: str = param(
        "words", help="words, or sub-words (extra `text`): bpe, wordpiece", choices=("words", *SUBWORDS)
    )
    tokenizer_file: FilePath | None = param(None, help="a tokenizer.json in place of one made from train's texts")
    lowercase: bool = param(True, help="make texts lower case; a tokenizer_file has its own rule")
    max_tokens: int = param(20_000, help="size of the vocabulary with padding and unknown", ge=3, le=LARGEST)
    min_frequency: int = param(1, help="rarer words, or pairs of sub-words, do not count", ge=1)
    sequence_length: int = param(
        256, help="tokens T of a sample: longer texts are cut, shorter ones padded", ge=1, le=1 << 20
    )
    truncation_side: str = param("right", help="which end of a long text is cut", choices=("right", "left"))
    output: str = param(
        "indices", help="x: tokens in their order, or a sparse bag of them: binary, count or tfidf", choices=OUTPUTS
    )
    label_role: str | None = param(
        None, help="null: classes (index), unless a label is a fraction (real)", choices=("index", "real", None)
    )

    _reader: TextReader | None = None
    _kept: list[Sample] | None = None

    def samples(self) -> list[Sample]:
        """All texts of the part, with their labels as they are written."""
        raise NotImplementedError(f"{type(self).__name__} has no samples()")

    @property
    def fields_of_file(self) -> Fields:
        """Where files of training's kind have their texts."""
        return Fields("text", "label")

    def validate(self) -> None:
        demand_sensible(self, "words")

    def follow(self, leader: Source | Learned) -> None:
        """Errors   ConfigError where texts are to become something else than those of train"""
        other = leader.source if isinstance(leader, Learned) else leader
        self.leader = leader if isinstance(other, Texts) and leader is not self else None
        self._reader = None
        vars(self).pop("class_names", None)
        if isinstance(self.leader, Texts):
            demand_alike(self, self.leader, [name for name in Texts.fields if name != "split"])

    # What is found out of train's texts -------------------------------------------------------------------------------

    def _names(self) -> tuple[str, ...]:
        return self._found_classes() if self.leader is None else self.leader.class_names

    class_names: Any = cached_property(_names)

    def reader(self) -> TextReader:
        known = None if self.leader is None else self.leader.reader()
        if isinstance(known, TextReader):
            return known
        if self._reader is None:
            self._reader = self._fit()
        return self._reader

    def _fit(self) -> TextReader:
        texts = [sample.text for sample in self._chosen()]
        tokenizer = fitted(self, texts)
        size = len(tokenizer.tokens)
        label = self._label_spec()
        form = TextForm(self.output, self.sequence_length, self.truncation_side, self._idf(tokenizer, texts))
        if self.output == "indices":
            window = (self.sequence_length,)
            specs = {"x": index(window, size), "mask": index(window, 2), **label}
        else:
            specs = {"x": Spec((size,), sparse="csr"), **label}
        return TextReader(specs, tokenizer, form, self.fields_of_file)

    def _idf(self, tokenizer: Tokenizer, texts: Sequence[str]) -> list[float]:
        if self.output != "tfidf":
            return []
        having = np.zeros(len(tokenizer.tokens), np.int64)
        for numbers in tokenizer.encode(texts):
            having[np.unique(numbers)] += 1
        return (np.log((1 + len(texts)) / (1 + having)) + 1).tolist()

    # Labels -----------------------------------------------------------------------------------------------------------

    def _label_spec(self) -> dict[str, Spec]:
        if self.fields_of_file.label is None:
            return {}
        return {"label": index((), len(self.class_names)) if self.class_names else Spec(())}

    def _found_classes(self) -> tuple[str, ...]:
        """The labels of train in alphabetical order, whole numbers in theirs; () where they are no classes."""
        words = {sample.label for sample in self._chosen() if sample.label is not None}
        numbers = bool(words) and all(map(is_number, words))
        whole = all(map(INTEGER.fullmatch, words))
        if self.label_role == "real" or (self.label_role is None and numbers and not whole):
            return ()
        return tuple(sorted(sorted(words), key=int) if whole else sorted(words))  # 01 and 1: always in one order

    def _labels(self, samples: Sequence[Sample]) -> np.ndarray:
        classes = self.class_names
        numbers = {name: number for number, name in enumerate(classes)}
        found: list[float] = []
        for sample in samples:
            word = sample.label or ""
            if classes and word in numbers:
                found.append(numbers[word])
            elif classes:
                message, hint = unknown_class(word, map(shorten, classes))
                raise DataError(message, place=sample.place, hint=hint)
            elif is_number(word):
                found.append(float(word))
            else:
                hint = "label_role: index, where labels are classes"
                raise DataError(f"label '{shorten(word)}' is not a finite number", place=sample.place, hint=hint)
        return np.array(found, np.int64 if classes else np.float64)

    # Samples ----------------------------------------------------------------------------------------------------------

    def _part(self) -> list[Sample]:
        if self._kept is None:
            self._kept = self.samples()
        return self._kept

    def _chosen(self) -> list[Sample]:
        """The texts of the split."""
        found = self._part()
        return [found[row] for row in self.rows(len(found))]

    def specs(self) -> dict[str, Spec]:
        return dict(self.reader().specs)

    def count(self, part: str) -> int:
        return len(self._part())

    def load(self, progress: bool | None = None) -> dict[str, Any]:
        samples = self._chosen()
        blobs = self.reader().encode([sample.text for sample in samples])
        if "label" in self.reader().specs:
            blobs["label"] = self._labels(samples)
        self._kept = None  # of long texts the memory
        return blobs

    def labels(self) -> dict[str, np.ndarray]:
        return {"label": self._labels(self._chosen())} if self.class_names else {}

    def normalised(self) -> list[tuple[str, ...]]:
        """A bag of words; a real label is a target and stays as it is."""
        return [("x",)] if self.output != "indices" else []


@register_source
class TextFolder(Texts):
    """A folder of .txt files: blobs `x`, `mask` and `label`; a subfolder for each class, whose name is the class.

    The classes may lie in subfolders train, val and test, which are then its parts. Files are in UTF-8, and may lie
    deeper in their class; all are taken in alphabetical order. What a text becomes, and the numbers of tokens and
    classes, are train's in val, test and what is predicted.
    """

    path: FilePath = param(help="the folder")
    classes: list[str] | None = param(None, help="the subfolders that are classes; null: all")

    def _parts(self) -> tuple[str, ...]:
        """Those that are there, and train, whose texts may be gone when a trained net is scored."""
        if not os.path.isdir(self.path):
            return ("all", *PARTS)
        there = {entry.name for entry in os.scandir(self.path) if entry.is_dir() and not entry.name.startswith(".")}
        return ("train", *(p for p in PARTS[1:] if p in there)) if there and there <= set(PARTS) else ("all",)

    parts: ClassVar[Any] = property(_parts)

    def samples(self) -> list[Sample]:
        return read_folder(self.path if self.part == "all" else os.path.join(self.path, self.part), self.classes)


@register_source
class TextLines(Texts):
    """A file of texts: blobs `x`, `mask` and `label`. JSON Lines ({"text": ..., "label": ...}), or a CSV or TSV table.

    In JSON the keys `text` and `label` are looked up, in a table the columns of these names, or by their numbers from 0
    where it has no header. What a text becomes, and the numbers of tokens and classes, are train's in val, test and
    what is predicted.
    """

    path: FilePath = param(help="the .jsonl, .csv or .tsv file, in UTF-8")
    text: str | int = param("text", help="the key, or the column, of the texts")
    label: str | int | None = param("label", help="the key, or the column, of the labels; null: none")
    format: str | None = param(None, help="how the file is written; null: by its name", choices=(*FORMATS, None))

    @property
    def fields_of_file(self) -> Fields:
        return Fields(self.text, self.label, self.format)

    def samples(self) -> list[Sample]:
        return read_samples(self.path, self.fields_of_file)
