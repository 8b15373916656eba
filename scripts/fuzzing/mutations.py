"""How a good file is spoilt: bytes, numbers, pieces, words. Everything follows from a random.Random."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

LONGEST = 1 << 16  # bytes of most spoilt files
VERY_LONG = 1 << 20  # of one in a thousand, to find what takes a time that grows faster than the file
NUMBERS = (0, 1, 2, 7, 127, 128, 255, 256, 2**15 - 1, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1)


def spoilt(rng: random.Random, seeds: Sequence[bytes], words: Sequence[bytes]) -> bytes:
    """One of the good files, after one to six changes."""
    data = bytearray(rng.choice(seeds))
    for _ in range(rng.choice((1, 1, 1, 2, 2, 3, 4, 6))):
        change = rng.choice(CHANGES)
        change(rng, data, seeds, words)
    return bytes(data[: VERY_LONG if rng.random() < 0.001 else LONGEST])


def _at(rng: random.Random, data: bytearray) -> int:
    """A position; half of them near the beginning, where headers are."""
    size = len(data)
    return rng.randrange(min(size, 64) if rng.random() < 0.5 else size) if size else 0


def _flip(rng: random.Random, data: bytearray, seeds: Sequence[bytes], words: Sequence[bytes]) -> None:
    if data:
        data[_at(rng, data)] ^= 1 << rng.randrange(8)


def _byte(rng: random.Random, data: bytearray, seeds: Sequence[bytes], words: Sequence[bytes]) -> None:
    at = _at(rng, data)
    data[at : at + 1] = bytes([rng.choice((0, 1, 0x7F, 0x80, 0xFE, 0xFF, rng.randrange(256)))])


def _number(rng: random.Random, data: bytearray, seeds: Sequence[bytes], words: Sequence[bytes]) -> None:
    """A number of 2, 4 or 8 bytes in the place of what was there, the file's own size among them."""
    width, number = rng.choice((2, 4, 8)), rng.choice((*NUMBERS, len(data), len(data) + 1, -1))
    at = _at(rng, data)
    order = rng.choice(("little", "big"))
    data[at : at + width] = (number % 256**width).to_bytes(width, order)  # type: ignore[arg-type]


def _cut(rng: random.Random, data: bytearray, seeds: Sequence[bytes], words: Sequence[bytes]) -> None:
    del data[_at(rng, data) :]


def _remove(rng: random.Random, data: bytearray, seeds: Sequence[bytes], words: Sequence[bytes]) -> None:
    at = _at(rng, data)
    del data[at : at + rng.randint(1, 1 + len(data) // 4)]


def _insert(rng: random.Random, data: bytearray, seeds: Sequence[bytes], words: Sequence[bytes]) -> None:
    at = _at(rng, data)
    data[at:at] = rng.randbytes(rng.randint(1, 16))


def _word(rng: random.Random, data: bytearray, seeds: Sequence[bytes], words: Sequence[bytes]) -> None:
    if words:
        at, word = _at(rng, data), rng.choice(words)
        data[at : at + rng.choice((0, len(word)))] = word


def _splice(rng: random.Random, data: bytearray, seeds: Sequence[bytes], words: Sequence[bytes]) -> None:
    other = rng.choice(seeds)
    start = rng.randrange(len(other))
    at = _at(rng, data)
    data[at : at + rng.randint(0, 64)] = other[start : start + rng.randint(1, 256)]


def _swap(rng: random.Random, data: bytearray, seeds: Sequence[bytes], words: Sequence[bytes]) -> None:
    """Move a piece to another place."""
    at = _at(rng, data)
    piece = data[at : at + rng.randint(1, 64)]
    del data[at : at + len(piece)]
    to = _at(rng, data)
    data[to:to] = piece


def _repeat(rng: random.Random, data: bytearray, seeds: Sequence[bytes], words: Sequence[bytes]) -> None:
    at = _at(rng, data)
    piece = bytes(data[at : at + rng.choice((1, 2, 3, 8, 32, 256))])
    if piece:
        limit = VERY_LONG if rng.random() < 0.001 else rng.choice((64, 1024, LONGEST // 4))
        data[at:at] = piece * rng.randint(1, max(1, limit // len(piece)))


Change = Callable[[random.Random, bytearray, Sequence[bytes], Sequence[bytes]], None]
CHANGES: tuple[Change, ...] = (
    _flip, _flip, _byte, _byte, _number, _number, _cut, _remove, _insert, _word, _word, _splice, _swap, _repeat,
)  # fmt: skip
