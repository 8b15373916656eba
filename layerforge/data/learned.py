"""Learned: what a run found out about its training data, which val and test follow where the data are gone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ..schema.texts import first_few
from .reader import Reader


@dataclass(frozen=True)
class Learned:
    """What a checkpoint says of data.train; for `Source.follow` in the place of its source.

    source       that of data.train as it is configured: nothing of it is read
    class_names  the words of its classes by number
    fitted       how its samples are read: the order of columns, the numbers of words
    """

    source: Any
    class_names: tuple[str, ...]
    fitted: Reader

    def reader(self) -> Reader:
        """As that of a source."""
        return self.fitted


def unknown_class(word: str, classes: Iterable[str]) -> tuple[str, str]:
    """The message and the hint for a class that is not among those of training."""
    return f"the class '{word[:100]}' is not among those of data.train", f"classes of training: {first_few(classes)}"
