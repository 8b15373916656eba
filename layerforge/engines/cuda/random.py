"""Random numbers: Philox4x32-10 in one launch, a thread for each block of four. Its text is arrays/philox.py."""

from __future__ import annotations

import math
from typing import Any

from ...arrays import philox
from .kernel import Elementwise, stands_in

UNIFORM = Elementwise(
    "uniform",
    "uint32 key0, uint32 key1, uint64 first_sample, uint64 iteration, int64 blocks, int64 numbers",
    "raw float32 y",
    f"""
    unsigned int x0 = (unsigned int)(i % blocks), x1 = (unsigned int)(first_sample + i / blocks);
    unsigned int x2 = (unsigned int)iteration, x3 = (unsigned int)(iteration >> 32);
    unsigned int k0 = key0, k1 = key1;
    for (int r = 0; r < {philox.ROUNDS}; ++r) {{
        const unsigned long long p0 = {philox.M0}ull * x0, p1 = {philox.M1}ull * x2;
        x0 = (unsigned int)(p1 >> 32) ^ x1 ^ k0;
        x1 = (unsigned int)p1;
        x2 = (unsigned int)(p0 >> 32) ^ x3 ^ k1;
        x3 = (unsigned int)p0;
        k0 += {philox.WEYL[0]}u;
        k1 += {philox.WEYL[1]}u;
    }}
    const unsigned int words[4] = {{x0, x1, x2, x3}};
    const ptrdiff_t element = 4 * (i % blocks);
    for (int j = 0; j < 4 && element + j < numbers; ++j)
        y[i / blocks * numbers + element + j] = (float)(words[j] >> 8) * (1.0f / 16777216.0f);
    """,
)


@stands_in
def uniform(
    xp: Any, key: tuple[int, int], shape: tuple[int, ...], *, iteration: int = 0, first_sample: int = 0,
    out: Any = None, memory: Any = None,
) -> Any:  # fmt: skip
    """Uniform numbers: the same bits as the text's."""
    out = xp.empty(shape, dtype="float32") if out is None else out
    if out.size:
        samples, blocks = philox.extent(shape)
        numbers = math.prod(shape[1:])
        UNIFORM(xp, *key, first_sample, iteration, blocks, numbers, out, size=samples * blocks)
    return out
