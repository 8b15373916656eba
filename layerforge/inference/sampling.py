"""Sampling: a language model goes on writing, one token after the other.

    p(t) = softmax(s / temperature)     s: the scores (V,) behind the last token of the window, of the top_k best tokens

The window is the end of what is there, as long as a window of training: recurrent layers begin it with the state 0, as
they did in training. Numbers come from Philox by (seed, position), so the same net and seed write the same text; scores
that differ in their last digits, as those of two engines may, can turn a draw that lies between two tokens.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..arrays.philox import stream_key, uniform
from ..data.reader import Reader
from ..data.text_files import whole_characters
from ..data.text_reader import WindowsReader
from ..schema.errors import ConfigError, DataError, LayerError

STREAM = "sample"  # of random numbers
NOT_A_MODEL = "a language model is trained on the windows of a text: data.train of type Text or TinyShakespeare"
LOGITS = ("logits", "log_probabilities")  # what a softmax over scores divided by the temperature is right for


def continued(
    scores_of: Callable[[np.ndarray], Any],
    kind: str,
    reader: Reader | None,
    prompt: str,
    *,
    length: int,
    temperature: float,
    top_k: int | None,
    seed: int,
) -> str:
    """The prompt and `length` tokens that follow it.

    scores_of   the scores (V, T) of a window of tokens (T,)
    kind        what these are (`Layer.scores` of the loss)
    reader      how training read its text

    Errors   ConfigError for a net that is no language model, and for numbers out of range; DataError for a prompt that
             is empty, or has characters which training's text has not
    """
    _demand_numbers(length, temperature, top_k, seed)
    if not isinstance(reader, WindowsReader) or kind not in LOGITS:
        raise ConfigError("the net is no language model", hint=NOT_A_MODEL)
    tokenizer = reader.tokenizer
    try:
        (found,) = tokenizer.encode([whole_characters(prompt)])
    except DataError as error:
        raise DataError(f"the prompt has {error.message}", hint=error.hint) from None
    if not len(found):
        raise DataError("the prompt is empty", hint=f"give at least one {tokenizer.unit} to go on from")
    numbers = found.tolist()
    barred = np.array(tokenizer.special, np.int64)
    for position in range(length):
        scores = _behind(scores_of, np.array(numbers[-reader.length :]), len(tokenizer.tokens), tokenizer.unit)
        scores[barred] = -np.inf  # padding and unknown words are no text
        numbers.append(draw(scores, temperature, top_k, random_number(seed, position)))
    text, begun = tokenizer.decode(numbers), tokenizer.decode(found)
    # A vocabulary of words may not spell the prompt as it was written.
    return prompt + text[len(begun) :] if text.startswith(begun) else text


def _behind(scores_of: Callable[[np.ndarray], Any], window: np.ndarray, size: int, unit: str) -> np.ndarray:
    """The scores (V,) of what follows a window, in float64."""
    try:
        scores = np.asarray(scores_of(window), np.float64)
    except LayerError as error:
        hint = f"give a prompt of as many {unit}s as a window of training has"
        raise ConfigError(f"the net takes no window of {len(window)} {unit}s: {error.message}", hint=hint) from None
    if scores.ndim != 2 or scores.shape[0] < size or scores.shape[1] != len(window):
        words = f"it gives scores of shape {scores.shape} for {len(window)} of {size} {unit}s"
        raise ConfigError(f"the net is no language model: {words}", hint="its loss reads scores (N, V, T)")
    last = scores[:size, -1].copy()  # where the net has more, no token of training is behind them
    if np.isnan(last).any() or not (last < np.inf).all():
        raise DataError("the net gives scores that are not finite", hint="take an earlier checkpoint")
    return last


def draw(scores: np.ndarray, temperature: float, top_k: int | None, number: float) -> int:
    """A token by its scores (V,) and a uniform number in [0, 1): the first whose cumulated probability is above it.

    At temperature 0 the best one. Of tokens with equal scores the first ones are among the top_k.
    """
    if temperature == 0:
        return int(scores.argmax())
    order = np.argsort(-scores, kind="stable")[:top_k]
    p = np.exp((scores[order] - scores[order[0]]) / temperature)
    cumulated = np.cumsum(p)
    return int(order[min(np.searchsorted(cumulated, number * cumulated[-1], side="right"), np.count_nonzero(p) - 1)])


def random_number(seed: int, position: int) -> float:
    """A number in [0, 1) of 48 bits: two of Philox's."""
    high, low = uniform(np, stream_key(seed, STREAM), (1, 2), iteration=position)[0].astype(np.float64)
    return float(high + low * 2.0**-24)


def _demand_numbers(length: int, temperature: float, top_k: int | None, seed: int) -> None:
    if not (isinstance(length, int) and length >= 0):
        raise ConfigError(f"length must be a whole number >= 0, got {length!r}")
    if not (isinstance(temperature, int | float) and 0 <= temperature < np.inf):
        hint = "1 is the net's own distribution, below 1 is surer, 0 always takes the most probable token"
        raise ConfigError(f"temperature must be a number >= 0, got {temperature!r}", hint=hint)
    if top_k is not None and not (isinstance(top_k, int) and top_k >= 1):
        hint = "leave it out to draw from all tokens"
        raise ConfigError(f"top_k must be a whole number >= 1, got {top_k!r}", hint=hint)
    if not (isinstance(seed, int) and seed >= 0):
        raise ConfigError(f"seed must be a whole number >= 0, got {seed!r}")
