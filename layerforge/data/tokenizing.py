"""Tokenizers that are fitted to the texts of a source, as its keys say."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ..schema.errors import ConfigError
from .subwords import KINDS, SubwordTokenizer, demand_size
from .tokens import WordTokenizer


def demand_sensible(source: Any, default: str) -> None:
    """ConfigError where the keys of a source contradict each other. `default` is its tokenizer where none is named."""
    if source.tokenizer_file is None:
        demand_size(source.tokenizer, source.max_tokens)
    elif source.tokenizer != default:
        hint = "the file says what its tokens are: remove tokenizer"
        raise ConfigError("tokenizer_file beside tokenizer", hint=hint)


def demand_alike(source: Any, leader: Any, names: Iterable[str]) -> None:
    """ConfigError where a source of val or test wants other texts than data.train's; what it leaves out is train's."""
    for name in names:
        mine, theirs = getattr(source, name), getattr(leader, name)
        if mine not in (theirs, source.fields[name].default):
            message = f"{type(source).__name__}: {name} is that of data.train, {theirs}"
            raise ConfigError(message, place=source.place, hint=f"remove {name} here")


def fitted(source: Any, texts: Sequence[str]) -> WordTokenizer | SubwordTokenizer:
    """The tokenizer that the keys of a source ask for: from its file, or made from the texts."""
    if source.tokenizer_file is not None:
        return SubwordTokenizer.load(source.tokenizer_file)
    if source.tokenizer in KINDS:
        bounds = source.max_tokens, source.min_frequency
        return SubwordTokenizer.fit(texts, source.tokenizer, source.lowercase, *bounds)
    return WordTokenizer.fit(texts, source.lowercase, source.max_tokens, source.min_frequency)
