"""Tokens: a text as numbers, by its characters or its words. Sub-words are in `subwords.py`.

A tokenizer is fitted on the texts of train, is a plain value in checkpoints, and serves whatever comes later.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np

from ..schema.errors import DataError
from ..schema.params import parse_as
from ..schema.texts import first_few

PADDING, UNKNOWN = "[PAD]", "[UNK]"  # the tokens 0 and 1 of vocabularies of words and sub-words
MOST_WORDS = 5_000_000  # different ones that are counted: about a gigabyte
LARGEST = 1_000_000  # vocabulary
WORD = re.compile(r"\w+(?:['’]\w+)*|[^\w\s]")
OPENING, CLOSING = frozenset("([{“‘"), frozenset(".,;:!?)]}”’…%")


class Tokenizer:
    """Base of the tokenizers.

    tokens    the vocabulary in the order of its numbers
    special   the numbers of tokens that are no part of a text: padding, unknown
    unit      what errors and documents call a token
    """

    kind: ClassVar[str]
    unit: ClassVar[str] = "token"
    tokens: tuple[str, ...]
    special: tuple[int, ...] = ()

    @property
    def padding(self) -> int:
        """The token that fills up a short text."""
        return 0

    def encode(self, texts: Sequence[str]) -> list[np.ndarray]:
        """The numbers of the tokens of each text (T,)."""
        raise NotImplementedError(f"{type(self).__name__} has no encode(texts)")

    def decode(self, numbers: Iterable[int]) -> str:
        """The text that tokens spell."""
        raise NotImplementedError(f"{type(self).__name__} has no decode(numbers)")

    def bare(self) -> Self:
        """The same for a text that goes on, as that of a language model: nothing is put around it."""
        return self

    def plain(self) -> dict[str, Any]:
        """Everything as plain values, for a file."""
        return {"kind": self.kind, "tokens": list(self.tokens)}

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> Self:
        """From what `plain` wrote. Errors   KeyError, TypeError or ValueError where it is something else"""
        raise NotImplementedError(f"{cls.__name__} has no parse(values)")


class CharacterTokenizer(Tokenizer):
    """Every character is a token; there is none that is unknown."""

    kind = "characters"
    unit = "character"

    def __init__(self, characters: Sequence[str]) -> None:
        self.tokens = tuple(characters)
        if len(set(self.tokens)) != len(self.tokens) or not all(len(c) == 1 for c in self.tokens):
            raise ValueError("a vocabulary of characters holds each once")
        self._numbers = {character: number for number, character in enumerate(self.tokens)}

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> Self:
        return cls(parse_as(list[str], values["tokens"]))

    def encode(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Errors   DataError that names the characters which training's text has not"""
        for text in texts:
            unknown = list(dict.fromkeys(c for c in text if c not in self._numbers))
            if unknown:
                listed = first_few(map(repr, unknown))
                line = 1 + text.count("\n", 0, text.index(unknown[0]))
                raise DataError(
                    f"characters that the text of training has not: {listed}; the first in line {line}",
                    hint="take them out, or train on a text that has them",
                )
        return [np.array([self._numbers[c] for c in text], np.int64) for text in texts]

    def decode(self, numbers: Iterable[int]) -> str:
        return "".join(self.tokens[number] for number in numbers)


class WordTokenizer(Tokenizer):
    """Words: letters, digits and underscores in a row, with apostrophes inside; any other visible character is a token.

    Texts are first composed (Unicode's NFC), and made lower case where `lowercase` says so. Token 0 is padding, 1 any
    word that the vocabulary lacks.
    """

    kind = "words"
    unit = "word"
    special = (0, 1)

    def __init__(self, words: Sequence[str], lowercase: bool) -> None:
        self.tokens = tuple(words)
        self.lowercase = lowercase
        if self.tokens[:2] != (PADDING, UNKNOWN) or len(set(self.tokens)) != len(self.tokens):
            raise ValueError("a vocabulary of words begins with padding and unknown, and holds each once")
        self._numbers = {word: number for number, word in enumerate(self.tokens)}

    @classmethod
    def fit(cls, texts: Iterable[str], lowercase: bool, max_tokens: int, min_frequency: int) -> Self:
        """The most frequent words of some texts, the first in the alphabet where as many; in this order.

        Errors   DataError where there are more than MOST_WORDS different ones
        """
        counts: Counter[str] = Counter()
        for text in texts:
            counts.update(words_of(text, lowercase))
            if len(counts) > MOST_WORDS:
                raise DataError(
                    f"the texts have more than {MOST_WORDS:,} different words",
                    hint="use sub-words: tokenizer: bpe; or take out what is no word, such as addresses and numbers",
                )
        frequent = [word for word, count in counts.items() if count >= min_frequency]
        frequent.sort(key=lambda word: (-counts[word], word))
        return cls([PADDING, UNKNOWN, *frequent[: max_tokens - 2]], lowercase)

    def plain(self) -> dict[str, Any]:
        return {**super().plain(), "lowercase": self.lowercase}

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> Self:
        return cls(parse_as(list[str], values["tokens"]), parse_as(bool, values["lowercase"]))

    def encode(self, texts: Sequence[str]) -> list[np.ndarray]:
        find = self._numbers.get
        return [np.array([find(word, 1) for word in words_of(text, self.lowercase)], np.int64) for text in texts]

    def decode(self, numbers: Iterable[int]) -> str:
        """The words with spaces between them, but none in front of punctuation."""
        text = ""
        for number in numbers:
            word = self.tokens[number]
            glued = not text or word in CLOSING or text[-1] in OPENING
            text += word if glued else f" {word}"
        return text


def words_of(text: str, lowercase: bool) -> list[str]:
    """The words of a text, as WordTokenizer says."""
    text = unicodedata.normalize("NFC", text)
    return WORD.findall(text.lower() if lowercase else text)
