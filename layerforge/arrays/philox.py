"""Counter-based random numbers: Philox4x32-10 (Salmon et al., SC'11), the same bits on every backend.

A number is a pure function of (seed, stream, draw, iteration, sample, element). So a dropout mask does not depend on
the order of the layers, on how a batch is split or on the device, and a resumed run needs the iteration number only.

    key (2 x 32 bit)      hash of (seed, stream name, draw number)
    counter (4 x 32 bit)  element block, sample within the global batch, iteration (low, high)
    result (4 x 32 bit)   four consecutive elements of the sample
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .formula import formula

ROUNDS = 10
M0, M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
WEYL = (0x9E3779B9, 0xBB67AE85)  # golden ratio and sqrt(3) - 1, the increments of the key
MASK = 0xFFFFFFFF
LOW, HALF = np.uint64(MASK), np.uint64(32)
PIECE, COLUMNS = 1 << 13, 1 << 9  # blocks drawn at once on the host, whose arrays stay in the caches; of one sample

Words = Sequence[Any]  # x0 to x3: arrays of 32-bit words in uint64, for the products need 64 bits


def stream_key(seed: int, stream: str, draw: int = 0) -> tuple[int, int]:
    """The 64-bit key of a stream of random numbers, as two 32-bit words."""
    digest = hashlib.blake2b(f"{seed}/{stream}/{draw}".encode(), digest_size=8).digest()
    word = int.from_bytes(digest, "little")
    return word & MASK, word >> 32


def one_round(xp: Any, x: Words, key: Sequence[Any], out: Words = (None,) * 4, spare: Words = (None,) * 2) -> Words:
    """One round, with M the multipliers and k the round's key.

        (x0, x1, x2, x3)  ->  (hi(M1 x2) ^ x1 ^ k0,  lo(M1 x2),  hi(M0 x0) ^ x3 ^ k1,  lo(M0 x0))

    The words need not have one shape, only shapes that broadcast: what depends on the sample alone, or on the block
    alone, is so computed once for all.

    out    memory for the result, which may be that of x
    spare  memory for the two products
    """
    (x0, x1, x2, x3), (k0, k1), (o0, o1, o2, o3) = x, key, out
    p0, p1 = xp.multiply(x0, M0, out=spare[0]), xp.multiply(x2, M1, out=spare[1])
    y0 = xp.bitwise_xor(xp.right_shift(p1, HALF, out=o0), x1, out=o0)
    y2 = xp.bitwise_xor(xp.right_shift(p0, HALF, out=o2), x3, out=o2)
    y0, y2 = xp.bitwise_xor(y0, k0, out=o0), xp.bitwise_xor(y2, k1, out=o2)
    return y0, xp.bitwise_and(p1, LOW, out=o1), y2, xp.bitwise_and(p0, LOW, out=o3)


def philox4x32(xp: Any, counter: Words, key: tuple[int, int], memory: Words | None = None) -> Words:
    """The words that ten rounds make of a counter.

    memory   four arrays for them, and two to work in; those of a counter that broadcasts are filled in the second round
    """
    keys = [[np.uint64((k + r * w) & MASK) for k, w in zip(key, WEYL, strict=True)] for r in range(ROUNDS)]
    if memory is None:
        for mine in keys:
            counter = one_round(xp, counter, mine)
        return counter
    out, spare = memory[:4], memory[4:]
    x = one_round(xp, one_round(xp, counter, keys[0]), keys[1], out)
    for mine in keys[2:]:
        x = one_round(xp, x, mine, out, spare)
    return x


def counters(xp: Any, samples: range, blocks: range, iteration: int) -> Words:
    """Of some blocks of some samples: arrays that broadcast."""
    sample, block = (xp.arange(r.start, r.stop, dtype=xp.uint64) for r in (samples, blocks))
    halves = (xp.full((1, 1), half & MASK, dtype=xp.uint64) for half in (iteration, iteration >> 32))
    return block[None], sample[:, None], *halves


def extent(shape: tuple[int, ...]) -> tuple[int, int]:
    """How many samples, and blocks of four numbers for each."""
    return (shape[0], -(-math.prod(shape[1:]) // 4)) if shape else (1, 1)


def workplace(shape: tuple[int, ...]) -> list[tuple[tuple[int, ...], str]]:
    """Shapes and dtypes of the memory that `uniform` works in on the host: for the four words, and for the products."""
    samples, blocks = extent(shape)
    columns = max(1, min(blocks, COLUMNS))
    rows = max(1, min(samples, PIECE // columns))
    return [((4, rows, columns), "uint64"), ((2, rows, columns), "uint64")]


@formula
def uniform(
    xp: Any, key: tuple[int, int], shape: tuple[int, ...], *, iteration: int = 0, first_sample: int = 0,
    out: Any = None, memory: Sequence[Any] | None = None,
) -> Any:  # fmt: skip
    """Uniform numbers in [0, 1), float32 on a grid of 2**-24. The first axis counts samples from `first_sample`.

    out      where to write them, in C order
    memory   arrays as `workplace` says, for who draws again and again
    """
    out = xp.empty(shape, dtype=xp.float32) if out is None else out
    if not out.size:
        return out
    samples, blocks = extent(shape)
    flat, room = out.reshape(samples, -1), None
    if xp is np:  # some samples and blocks at a time, in the same memory
        words, spare = memory or [np.empty(*about) for about in workplace(shape)]
        bits = spare.view("uint32").reshape(*words.shape[1:], 4)  # when the words are done the products are not needed
    else:
        bits = xp.empty((samples, blocks, 4), dtype=xp.uint32)
    rows, columns = bits.shape[:2]
    for i in range(0, samples, rows):
        for j in range(0, blocks, columns):
            n, m = min(rows, samples - i), min(columns, blocks - j)
            first = first_sample + i
            counter = counters(xp, range(first, first + n), range(j, j + m), iteration)
            if xp is np:
                room = *words[:, :n, :m], *spare[:, :n, :m]
            mine = bits[:n, :m]
            for place, word in enumerate(philox4x32(xp, counter, key, room)):
                mine[..., place] = word
            mine >>= xp.uint32(8)
            part = flat[i : i + n, 4 * j : 4 * (j + m)]
            # Below 2**24 signed words are the same numbers, and become float32 faster.
            part[...] = mine.reshape(n, -1)[:, : part.shape[1]].view(xp.int32)
            part *= xp.float32(2.0**-24)
    return out


def host_generator(seed: int, stream: str) -> np.random.Generator:
    """NumPy's generator on a stream of its own, for what is drawn once on the host: start values, shuffles."""
    low, high = stream_key(seed, stream)
    return np.random.Generator(np.random.Philox(key=low | high << 32))
