"""SVMLight: a text file of sparse samples, one per line, as svmlight and libsvm read it."""

from __future__ import annotations

import math
import re
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from ..arrays.backend import NUMPY
from ..arrays.sparse import CSR
from ..arrays.spec import Spec, index, parse_specs
from ..config.scalars import shorten
from ..schema.errors import DataError
from ..schema.locations import Place
from ..schema.params import FilePath, param, parse_as
from ..schema.registry import register_source
from .array_reader import ArrayReader
from .files import file_error, reading, size_of
from .kinds import Kind
from .learned import Learned, unknown_class
from .reader import Blobs, Reader, demand_blobs
from .source import Source
from .sparse_npz import csr_input

LABEL, PAIR = r"[^\s:#]+", r"[0-9]{1,18}:[^\s:#]+"
LINE = re.compile(rf"[ \t]*(?P<label>{LABEL})(?:[ \t]+qid:[0-9]+)?(?P<pairs>(?:[ \t]+{PAIR})*)[ \t]*(?:#.*)?")
WIDEST = 2**31 - 1  # columns that an int32 can number


@dataclass(frozen=True)
class Lines:
    """What the lines of a file say: the samples, each with its line, and the words in front of them.

    first   the number of the first feature in the file, 0 or 1
    """

    x: CSR
    words: list[str]
    lines: list[int]
    first: int


@dataclass(frozen=True)
class Samples:
    """A file as blobs. `classes` are the words of the labels in the order of their numbers, () for real ones."""

    lines: Lines
    label: np.ndarray
    classes: tuple[str, ...]


class LinesReader(Reader):
    """Lines of such a file, whose labels are passed over; of a .npz file the CSR matrix in it.

    first   the number of the first feature
    """

    kind = "svmlight"

    def __init__(self, specs: Mapping[str, Spec], first: int) -> None:
        super().__init__(specs)
        self.first = first

    def plain(self) -> dict[str, Any]:
        return {**super().plain(), "first": self.first}

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> Self:
        specs, first = parse_specs(values["blobs"]), parse_as(int, values["first"])
        if not specs["x"].sparse or first not in (0, 1):
            raise ValueError(first)
        return cls(specs, first)

    def read(self, path: Path, blobs: Sequence[str], seen: Mapping[str, Kind]) -> Blobs:
        demand_blobs(self, blobs)
        width = self.specs["x"].shape[0]
        if path.suffix.lower() == ".npz":
            return {"x": csr_input(path, "x", width)}
        return {"x": read_lines(str(path), width, self.first).x}

    def convert(self, value: Any, blobs: Sequence[str], seen: Mapping[str, Kind]) -> tuple[Blobs, bool]:
        if isinstance(value, (str, Path)):
            return self.read(Path(value), blobs, seen), False
        return ArrayReader(self.specs).convert(value, blobs, seen)


@register_source
class SVMLight(Source):
    """Sparse samples of a text file: blobs `x` (D,), sparse, and `label`. A line is `label feature:value ... # remark`.

    The features of a line go up, and those that it does not name are 0. `qid:` is passed over. Labels that are all
    whole numbers are classes, numbered in their order (-1 and 1 are 0 and 1); others are targets (real). D and the
    numbers of the classes are train's, in val, test and in what is predicted, too.
    """

    path: FilePath = param(help="the text file")
    features: int | None = param(None, help="how many, D; null: as many as train's file names", ge=1, le=WIDEST)
    first_feature: int | None = param(
        None, help="number of the first feature; null: 0 where train's file names one of that number, else 1",
        choices=(0, 1, None),
    )  # fmt: skip
    label_role: str | None = param(None, help="null: by the numbers", choices=("index", "real", None))

    _known: Samples | None = None

    @property
    def class_names(self) -> tuple[str, ...]:
        return self._samples().classes

    def specs(self) -> dict[str, Spec]:
        found = self._samples()
        label = index((), len(found.classes)) if found.classes else Spec(())
        return {"x": Spec((found.lines.x.shape[1],), sparse="csr"), "label": label}

    def count(self, part: str) -> int:
        return len(self._samples().label)

    def read(self, part: str, progress: bool | None = None) -> dict[str, Any]:
        found = self._samples()
        return {"x": found.lines.x, "label": found.label}

    def labels(self) -> dict[str, np.ndarray]:
        return {"label": self.load()["label"]} if self.class_names else {}

    def normalised(self) -> list[tuple[str, ...]]:
        """The features; a real label is a target and stays as it is."""
        return [("x",)]

    def follow(self, leader: Any) -> None:
        super().follow(leader)
        self._known = None

    def reader(self) -> Reader:
        return LinesReader(self.specs(), self._samples().lines.first)

    def _samples(self) -> Samples:
        if self._known is None:
            leader = self.leader
            names = [name for name in self.fields if name != "split"]
            if isinstance(leader, SVMLight) and all(getattr(self, name) == getattr(leader, name) for name in names):
                self._known = leader._samples()
            else:
                self._known = self._read(leader)
        return self._known

    def _read(self, leader: Source | Learned | None) -> Samples:
        train = None if leader is None else leader.reader()
        known = None if leader is None else leader.class_names
        assert train is None or isinstance(train, LinesReader)
        first = self.first_feature if self.first_feature is not None or train is None else train.first
        width = self.features if self.features is not None or train is None else train.specs["x"].shape[0]
        found = read_lines(self.path, width, first)
        numbers = np.array([label_of(self.path, *each) for each in zip(found.lines, found.words, strict=True)])
        whole = bool((numbers == np.floor(numbers)).all())
        role = self.label_role or ("index" if whole else "real")
        if role == "real" if known is None else not known:
            return Samples(found, numbers, ())
        if not whole:
            at = int(np.argmax(numbers != np.floor(numbers)))
            message = f"label '{shorten(found.words[at])}' is no class: classes are whole numbers"
            raise DataError(message, place=Place(self.path, found.lines[at], 1), hint="label_role: real")
        classes = np.unique(numbers) if known is None else np.array([float(word) for word in known])
        places = np.minimum(np.searchsorted(classes, numbers), len(classes) - 1)
        unknown = classes[places] != numbers
        if unknown.any():
            at = int(np.argmax(unknown))
            message, hint = unknown_class(found.words[at], known or ())
            raise DataError(message, place=Place(self.path, found.lines[at], 1), hint=hint)
        return Samples(found, places.astype(np.int64), tuple(f"{number:.17g}" for number in classes))


def label_of(path: str, line: int, word: str) -> float:
    """The number in front of a line; DataError where it is none."""
    number = number_of(word)
    if math.isfinite(number):
        return number
    hint = "several labels of one sample, as 2,7, are not read" if "," in word else "a line begins with a number"
    raise DataError(f"label '{shorten(word)}' is not a finite number", place=Place(path, line, 1), hint=hint)


OUT_OF_RANGE = "data.train says how many features there are and which number the first one has, for all other files too"


def number_of(text: str) -> float:
    """A number as text files have them; NaN for anything else, such as 1_000, which is one of Python's only."""
    try:
        return math.nan if "_" in text else float(text)
    except ValueError:
        return math.nan


def read_lines(path: str, width: int | None, first: int | None) -> Lines:
    """The samples of a file.

    width   how many features there are; None: as many as the file names
    first   the number of the first one; None: 0 where the file names one of that number, otherwise 1

    Errors   DataError with the line for what is no sample: a pair that is none, a feature that is out of range, out of
             order or named twice, a value that is not finite
    """
    size_of(path)
    numbers, features, ends = array("d"), array("q"), array("q", [0])
    words: list[str] = []
    lines: list[int] = []
    try:
        with reading(path), open(path, encoding="utf-8", errors="strict", newline="\n") as file:
            for line, text in enumerate(file, 1):
                text = text.rstrip("\r\n")
                if not text.strip() or text.lstrip().startswith("#"):
                    continue
                word, pairs = _parsed(path, line, text)
                features.extend([int(feature) for feature, _ in pairs])
                numbers.extend([number_of(value) for _, value in pairs])
                ends.append(len(features))
                words.append(word)
                lines.append(line)
    except UnicodeDecodeError as problem:
        raise file_error(path, f"is not a UTF-8 text ({problem.reason} at byte {problem.start})") from None
    if not lines:
        raise file_error(path, "holds no samples")
    data, indices, indptr = np.array(numbers), np.array(features, np.int64), np.array(ends, np.int64)
    if first is None:
        first = 0 if len(indices) and int(indices.min()) == 0 else 1
    _check(path, lines, data, indices - first, indptr, width, first)
    columns = width if width is not None else max(1, int(indices.max(initial=first)) - first + 1)
    x = NUMPY.csr(data, (indices - first).astype(np.int32), indptr, (len(lines), columns))
    return Lines(x, words, lines, first)


def _parsed(path: str, line: int, text: str) -> tuple[str, list[list[str]]]:
    """The label of a line and its pairs of texts."""
    match = LINE.fullmatch(text)
    if match is not None:
        return match["label"], [pair.split(":") for pair in match["pairs"].split()]
    for word in text.split("#")[0].split()[1:]:
        if not re.fullmatch(f"{PAIR}|qid:[0-9]+", word):
            place = Place(path, line, text.find(word) + 1, text, len(word))
            raise DataError(f"'{shorten(word)}' is no pair such as 12:0.5", place=place, hint="feature:value")
    raise DataError("is no sample: label feature:value ...", place=Place(path, line, 1))


def _check(
    path: str, lines: list[int], data: Any, columns: Any, indptr: Any, width: int | None, first: int
) -> None:
    """DataError with the line of the first number that is not finite, out of range or out of order."""
    most = WIDEST if width is None else width
    falls = np.zeros(len(columns), bool)
    falls[1:] = columns[1:] <= columns[:-1]
    begins = indptr[:-1]
    falls[begins[begins < len(falls)]] = False
    for bad, words in (
        (~np.isfinite(data), "the value of feature {feature} is not a finite number"),
        ((columns < 0) | (columns >= most), f"feature {{feature}} is out of range: {first} to {most - 1 + first}"),
        (falls, "feature {feature} is named twice, or behind a larger one"),
    ):
        if bad.any():
            at = int(np.argmax(bad))
            line = lines[int(np.searchsorted(indptr, at, side="right")) - 1]
            hint = OUT_OF_RANGE if "range" in words else None
            message = words.format(feature=int(columns[at]) + first)
            raise DataError(message, place=Place(path, line, 1), hint=hint)
