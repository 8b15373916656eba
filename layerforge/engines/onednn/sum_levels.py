"""How many rows are added up by products with ones: in levels, so that no sum is long and every thread adds.

One product of a row of ones with all rows is a single running sum in float32, which loses digits with each term, and
oneDNN leaves it to one thread. Instead the rows are cut into pieces of a few rows, whose sums are the rows of the next
level. Rows of few elements are read side by side, as one wide row.
"""

from __future__ import annotations

from dataclasses import dataclass

TERMS = 64  # of a sum, at most: in float32 it loses no more than 6e-7
WIDTH = 512  # elements side by side up to which rows are joined: a product with narrow rows is slow
LEAST = 8  # terms below which a level is not worth its call


@dataclass(frozen=True)
class Level:
    """`pieces` products of `terms` ones with rows of `width` elements."""

    pieces: int
    terms: int
    width: int


def levels(rows: int, columns: int) -> list[Level]:
    """Those that add up so many rows of so many columns; the last is one product. [] where rows cannot be cut so."""
    found = []
    while rows > TERMS:
        joined = 1
        while 2 * joined * columns <= WIDTH and rows % (2 * joined) == 0 and rows // (2 * joined) >= LEAST:
            joined *= 2
        wide = rows // joined
        terms = max(n for n in range(1, TERMS + 1) if wide % n == 0)
        if terms < LEAST:
            return []
        found.append(Level(wide // terms, terms, joined * columns))
        rows = wide // terms * joined
    return [*found, Level(1, rows, columns)]
