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
from typing import Any

import numpy as np

ROUNDS = 10
MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
WEYL = (0x9E3779B9, 0xBB67AE85)  # golden ratio and sqrt(3) - 1, the increments of the key
MASK = 0xFFFFFFFF
CHUNK = 1 << 15  # numbers made at once on the host


def stream_key(seed: int, stream: str, draw: int = 0) -> tuple[int, int]:
    """The 64-bit key of a stream of random numbers, as two 32-bit words."""
    digest = hashlib.blake2b(f"{seed}/{stream}/{draw}".encode(), digest_size=8).digest()
    word = int.from_bytes(digest, "little")
    return word & MASK, word >> 32


def philox4x32(xp: Any, counter: list[Any], key: tuple[int, int]) -> list[Any]:
    """Ten rounds over four arrays of 32-bit counters held in uint64 (the products need 64 bits).

    One round, with M the multipliers and k the round's key:
        (x0, x1, x2, x3)  ->  (hi(M1 x2) ^ x1 ^ k0,  lo(M1 x2),  hi(M0 x0) ^ x3 ^ k1,  lo(M0 x0))

    The arrays of the counter need not have one shape, only shapes that broadcast: what depends on the sample alone, or
    on the block alone, is then computed once for all, which is two of the ten rounds and half of the third.
    """
    x0, x1, x2, x3 = counter
    k0, k1 = key
    low, shift = xp.uint64(MASK), xp.uint64(32)
    m0, m1 = (xp.uint64(m) for m in MULTIPLIERS)
    for _ in range(ROUNDS):
        p0, p1 = x0 * m0, x2 * m1
        x0, x2 = p1 >> shift ^ (x1 ^ xp.uint64(k0)), p0 >> shift ^ (x3 ^ xp.uint64(k1))
        x1, x3 = p1 & low, p0 & low
        k0, k1 = (k0 + WEYL[0]) & MASK, (k1 + WEYL[1]) & MASK
    return [x0, x1, x2, x3]


def random_bits(
    xp: Any, key: tuple[int, int], shape: tuple[int, ...], *, iteration: int = 0, first_sample: int = 0
) -> Any:
    """Random 32-bit words of the given shape, uint32, whose first axis counts samples from `first_sample`."""
    samples, elements = (shape[0], math.prod(shape[1:])) if shape else (1, 1)
    blocks = -(-elements // 4)
    counter = [
        xp.arange(blocks, dtype=xp.uint64)[None],
        xp.arange(first_sample, first_sample + samples, dtype=xp.uint64)[:, None],
        xp.full((1, 1), iteration & MASK, dtype=xp.uint64),
        xp.full((1, 1), iteration >> 32 & MASK, dtype=xp.uint64),
    ]
    words = xp.empty((samples, blocks, 4), dtype=xp.uint32)
    for place, word in enumerate(philox4x32(xp, counter, key)):
        words[..., place] = word
    return words.reshape(samples, 4 * blocks)[:, :elements].reshape(shape)


def uniform(xp: Any, key: tuple[int, int], shape: tuple[int, ...], *, iteration: int = 0, first_sample: int = 0) -> Any:
    """Uniform numbers in [0, 1), float32 on a grid of 2**-24."""
    out = xp.empty(shape, dtype=xp.float32)
    samples = shape[0] if shape else 1
    # On the host some samples at a time, so that the dozen arrays of a round stay in the cache.
    at_once = max(1, CHUNK * samples // max(1, out.size)) if xp is np else max(1, samples)
    for start in range(0, samples, at_once):
        part = out[start : start + at_once] if shape else out
        bits = random_bits(xp, key, part.shape, iteration=iteration, first_sample=first_sample + start)
        bits >>= xp.uint32(8)
        part[...] = bits.view(xp.int32)  # below 2**24: the same number, and signed ones become float32 faster
        part *= xp.float32(2.0**-24)
    return out


def host_generator(seed: int, stream: str) -> np.random.Generator:
    """NumPy's generator on a stream of its own, for what is drawn once on the host: start values, shuffles."""
    low, high = stream_key(seed, stream)
    return np.random.Generator(np.random.Philox(key=low | high << 32))
