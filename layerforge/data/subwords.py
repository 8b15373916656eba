"""Sub-words: parts of words that are frequent in train's texts, by the package `tokenizers` (extra `text`)."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np

from ..schema.errors import ConfigError, DataError
from ..schema.optional import require
from .files import file_error, reading, size_of
from .tokens import PADDING, UNKNOWN, Tokenizer

KINDS = ("bpe", "wordpiece")
PADDINGS = (PADDING, "<pad>", "<PAD>")  # as tokenizers of others call it
LARGEST_FILE = 1 << 28  # bytes of a tokenizer.json
CHUNK = 1000  # texts at a time
INNER = "##"  # in front of what goes on inside of a word
LONGEST_WORD = 100  # characters; a longer one is unknown


class SubwordTokenizer(Tokenizer):
    """A tokenizer of the package `tokenizers`, which a JSON text describes whole; that travels in checkpoints.

    whole   whether a text gets the tokens that the tokenizer puts around it, as [CLS] and [SEP]
    """

    kind = "subwords"
    unit = "token"

    def __init__(self, text: str, whole: bool = True) -> None:
        package = _package()
        try:
            made = package.Tokenizer.from_str(text)
            made.no_padding()
            made.no_truncation()
            if _padding(made) is None:
                made.add_special_tokens([PADDING])
            size = made.get_vocab_size(with_added_tokens=True)
            tokens = [made.id_to_token(number) for number in range(size)]
        except Exception as problem:  # the package raises no other
            raise ValueError(f"is no tokenizer ({problem})") from None
        if None in tokens:
            raise ValueError("is a tokenizer with gaps in the numbers of its tokens")
        self.tokens = tuple(tokens)
        self.whole = whole
        self.special = tuple(number for number, token in made.get_added_tokens_decoder().items() if token.special)
        self._made = made
        self._padding = _padding(made)

    @property
    def padding(self) -> int:
        return self._padding

    @classmethod
    def fit(cls, texts: Iterable[str], kind: str, lowercase: bool, max_tokens: int, min_frequency: int) -> Self:
        """Train one: of bytes that are merged (`bpe`), where no text has an unknown part, or of WordPiece."""
        _package()
        kept = list(texts)
        common = {"vocab_size": max_tokens, "min_frequency": min_frequency, "show_progress": False}
        return cls((_bpe if kind == "bpe" else _wordpiece)(kept, lowercase, common).to_str())

    @classmethod
    def load(cls, path: str) -> Self:
        """That of a tokenizer.json. Errors   DataError for a file that is none"""
        if size_of(path) > LARGEST_FILE:
            raise file_error(path, f"is larger than {LARGEST_FILE >> 20} MiB: no tokenizer is")
        _package()
        with reading(path):
            data = Path(path).read_bytes()
        try:
            return cls(data.decode("utf-8"))
        except ValueError as problem:
            hint = "give a tokenizer.json, as tokenizers.Tokenizer.save writes it"
            raise file_error(path, f"is no tokenizer: {problem}", hint) from None

    def plain(self) -> dict[str, Any]:
        return {"kind": self.kind, "json": self._made.to_str(), "whole": self.whole}

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> Self:
        return cls(str(values["json"]), bool(values["whole"]))

    def bare(self) -> Self:
        return type(self)(self._made.to_str(), whole=False)

    def encode(self, texts: Sequence[str]) -> list[np.ndarray]:
        return [np.array(found.ids, np.int64) for found in self._encoded(texts)]

    def _encoded(self, texts: Sequence[str]) -> Iterator[Any]:
        for start in range(0, len(texts), CHUNK):
            some = list(texts[start : start + CHUNK])
            try:
                yield from self._made.encode_batch(some, add_special_tokens=self.whole)
            except Exception as problem:
                raise DataError(f"the tokenizer cannot read a text ({problem})") from None

    def decode(self, numbers: Iterable[int]) -> str:
        return self._made.decode(list(numbers), skip_special_tokens=True)


def _package() -> Any:
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")  # said, or it warns when a process forks
    return require("tokenizers", extra="text", why="a tokenizer of sub-words")


def _padding(made: Any) -> Any:
    """The number of the token that fills up a text; None where there is none."""
    found = [made.token_to_id(token) for token in PADDINGS]
    return next((number for number in found if number is not None), None)


def _normalizer(lowercase: bool) -> Any:
    from tokenizers import normalizers

    return normalizers.Sequence([normalizers.NFC(), *([normalizers.Lowercase()] if lowercase else [])])


def _bpe(texts: Sequence[str], lowercase: bool, common: Mapping[str, Any]) -> Any:
    from tokenizers import Tokenizer as Made
    from tokenizers import decoders, models, pre_tokenizers, trainers

    made = Made(models.BPE())
    made.normalizer = _normalizer(lowercase)
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    special = [PADDING, UNKNOWN]
    made.train_from_iterator(texts, trainers.BpeTrainer(initial_alphabet=alphabet, special_tokens=special, **common))
    return made


def _wordpiece(texts: Sequence[str], lowercase: bool, common: Mapping[str, Any]) -> Any:
    from tokenizers import Tokenizer as Made
    from tokenizers import decoders, models, pre_tokenizers, trainers

    made = Made(models.WordPiece(unk_token=UNKNOWN))
    made.normalizer = _normalizer(lowercase)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    # The trainer numbers these as it meets them, in the order of a hash table: they are given to it beforehand.
    special = [PADDING, UNKNOWN, *(INNER + character for character in _inner_characters(made, texts))]
    made.train_from_iterator(texts, trainers.WordPieceTrainer(special_tokens=special, **common))
    words = made.get_vocab()
    whole = Made(models.WordPiece(words, unk_token=UNKNOWN, max_input_chars_per_word=LONGEST_WORD))
    whole.normalizer, whole.pre_tokenizer, whole.decoder = made.normalizer, made.pre_tokenizer, decoders.WordPiece()
    whole.add_special_tokens([PADDING, UNKNOWN])
    return whole


def _inner_characters(made: Any, texts: Iterable[str]) -> list[str]:
    """The characters of all words but their first ones."""
    inner: set[str] = set()
    for text in texts:
        for word, _ in made.pre_tokenizer.pre_tokenize_str(made.normalizer.normalize_str(text)):
            inner.update(word[1:])
    return sorted(inner)


def demand_size(kind: str, max_tokens: int) -> None:
    """ConfigError where a vocabulary is too small for its alphabet."""
    if kind == "bpe" and max_tokens < 258:
        raise ConfigError(f"max_tokens {max_tokens} is too small: bpe has a token for each of 256 bytes, and 2 more")
