"""Poolings: layers/poolings/max_pool.py and avg_pool.py, and the sums over neighbours of LocalResponseNorm."""

from __future__ import annotations

import math
from typing import Any

from ...arrays.sliding_windows import Windows
from ...layers.poolings.max_pool import rank_type
from .kernel import Elementwise, alike, stands_in
from .windows import OUTPUT, filled, fits, geometry, over_windows, seeing, seen

ELEMENTS = "const int elements = kernel0 * kernel1 * kernel2;"

MAXIMA = over_windows(
    "maxima", "raw T x, float64 least", "raw T y",  # least: the compiler of a device knows no word for infinity
    "T largest = (T)least;"
    + seen("const T one = x[at]; if (!(largest >= one || largest != largest)) largest = one;")
    + "y[i] = largest;",
)  # fmt: skip
WINNERS = over_windows(
    "winners", "raw T x, raw T y", "raw W winner",
    f"{ELEMENTS} int rank = 0; const T wanted = y[i];"
    + seen("if (!rank && x[at] == wanted) rank = elements - k;")
    + "winner[i] = (W)rank;",
)  # fmt: skip
TO_WINNERS = over_windows(
    "to_winners", "raw T dy, raw W winner", "raw T dx",
    f"{ELEMENTS} T sum = 0;"
    + seeing(f"{OUTPUT} sum += (T)((int)winner[at] == elements - k) * dy[at];")
    + "dx[i] = sum;",
)  # fmt: skip
OF_WINNERS = over_windows(
    "of_winners", "raw T dx, raw W winner", "raw T dy",
    f"{ELEMENTS} T sum = 0; const int won = (int)winner[i];"
    + seen("sum += (T)(won == elements - k) * dx[at];")
    + "dy[i] = sum;",
)  # fmt: skip
PLACES = over_windows(
    "places_of_maxima", "raw T x, raw T y, raw W winner", "raw int64 places",
    f"{ELEMENTS} const int plane = size0 * size1 * size2, won = (int)winner[i];"
    "const bool is_nan = y[i] != y[i]; int place = -1;"
    + seen("if (place < 0 && (won == elements - k || (is_nan && x[at] != x[at]))) place = at % plane;")
    + "places[i] = place < 0 ? 0 : place;",
)  # fmt: skip
WINDOW_SUMS = over_windows(
    "window_sums", "raw T x", "raw T y", f"double sum = 0; {seen('sum += (double)x[at];')} y[i] = (T)sum;"
)
TO_WINDOWS = over_windows(
    "to_windows", "raw T dy", "raw T dx",
    "double sum = 0;" + seeing(f"{OUTPUT} sum += (double)dy[at];") + "dx[i] = (T)sum;",
)  # fmt: skip
SUM_ALONG = Elementwise(
    "sum_along", "raw T a, int64 length, int64 behind, int64 before, int64 after", "raw T total",
    """
    const ptrdiff_t at = i / behind % length;
    const ptrdiff_t first = at < before ? 0 : at - before, last = at + after < length ? at + after : length - 1;
    T sum = 0;
    for (ptrdiff_t j = first; j <= last; ++j) sum += a[i + (j - at) * behind];
    total[i] = sum;
    """,
)  # fmt: skip


def _outputs(xp: Any, like: Any, windows: Windows) -> Any:
    """An array for one number of each window."""
    return xp.empty_like(like, shape=(*like.shape[:2], *windows.counts))


def _inputs(xp: Any, like: Any, windows: Windows) -> Any:
    """An array for one number of each position."""
    return xp.empty_like(like, shape=(*like.shape[:2], *windows.size))


@stands_in
def maxima(xp: Any, x: Any, windows: Windows) -> Any:
    """The largest element of each window."""
    return filled(MAXIMA, xp, windows, x, _outputs(xp, x, windows), -math.inf)


@stands_in
def find_winners(xp: Any, x: Any, y: Any, windows: Windows) -> Any:
    """The rank of the first element of each window that is y."""
    if not alike(x, y) or not fits(windows, x, y):
        return NotImplemented
    winner = xp.empty_like(y, dtype=rank_type(xp, windows))
    return WINNERS(xp, x, y, 1, *geometry(windows), winner, size=y.size)


@stands_in
def to_winners(xp: Any, dy: Any, winner: Any, windows: Windows) -> Any:
    """Every element of dy at the place of its window's winner."""
    return filled(TO_WINNERS, xp, windows, dy, _inputs(xp, dy, windows), winner)


@stands_in
def of_winners(xp: Any, dx: Any, winner: Any, windows: Windows) -> Any:
    """What dx is at the winner of each window."""
    return filled(OF_WINNERS, xp, windows, dx, _outputs(xp, dx, windows), winner)


@stands_in
def places_of_maxima(xp: Any, x: Any, y: Any, winner: Any, windows: Windows) -> Any:
    """Where each window's winner is in its plane; of NaN the first one."""
    if not alike(x, y) or not fits(windows, x, y):
        return NotImplemented
    places = xp.empty(y.shape, dtype="int64")
    return PLACES(xp, x, y, winner, 1, *geometry(windows), places, size=y.size)


@stands_in
def window_sums(xp: Any, x: Any, windows: Windows) -> Any:
    """The sum of each window."""
    return filled(WINDOW_SUMS, xp, windows, x, _outputs(xp, x, windows))


@stands_in
def to_windows(xp: Any, dy: Any, windows: Windows) -> Any:
    """At each position the sum of dy over the windows that it is in."""
    return filled(TO_WINDOWS, xp, windows, dy, _inputs(xp, dy, windows))


@stands_in
def sum_along(xp: Any, a: Any, dim: int, before: int, after: int) -> Any:
    """For each place on axis dim the sum over its neighbours."""
    if not alike(a):
        return NotImplemented
    behind, total = math.prod(a.shape[dim + 1 :]), xp.empty_like(a)
    return SUM_ALONG(xp, a, a.shape[dim], behind, before, after, total, size=a.size)
