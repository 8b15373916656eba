"""Windows as columns of a matrix and back, im2col and col2im: one launch each for all elements of a kernel."""

from __future__ import annotations

import math
from typing import Any

from ...arrays.sliding_windows import Block, Windows
from .kernel import stands_in
from .windows import filled, over_windows, seeing

UNFOLD = over_windows(
    "unfold", "raw T x, int32 first, int32 rows", "raw T columns",
    """
    int rest = (int)i;
    const int b = rest % behind; rest /= behind;
    const int o2 = rest % count2; rest /= count2;
    const int o1 = rest % count1; rest /= count1;
    const int o0 = first + rest % rows; rest /= rows;
    const int k2 = rest % kernel2; rest /= kernel2;
    const int k1 = rest % kernel1; rest /= kernel1;
    const int k0 = rest % kernel0, c = rest / kernel0;
    const int i0 = o0 * stride0 + k0 * dilation0 - padding0;
    const int i1 = o1 * stride1 + k1 * dilation1 - padding1;
    const int i2 = o2 * stride2 + k2 * dilation2 - padding2;
    const bool inside = i0 >= 0 && i0 < size0 && i1 >= 0 && i1 < size1 && i2 >= 0 && i2 < size2;
    columns[i] = inside ? x[(((c * size0 + i0) * size1 + i1) * size2 + i2) * behind + b] : (T)0;
    """,
)  # fmt: skip
FOLD = over_windows(
    "fold", "raw T columns, int32 first, int32 rows", "raw T x",
    "T sum = x[i]; const int elements = kernel0 * kernel1 * kernel2;"
    + seeing(
        """
        if (o0 < first || o0 >= first + rows) continue;
        const int row = (c * elements + k) * rows + o0 - first;
        sum += columns[((row * count1 + o1) * count2 + o2) * behind + b];
        """
    )
    + "x[i] = sum;",
)  # fmt: skip


@stands_in
def unfold(xp: Any, x: Any, windows: Windows, block: Block = (), out: Any = None) -> Any:
    """The windows in some rows as columns."""
    if len(block) > 1:
        return NotImplemented
    rows, behind = windows.whole(block)[0], x.shape[-1]
    shape = x.shape[0] * windows.elements, len(rows) * math.prod(windows.counts[1:]) * behind
    columns = xp.empty(shape, dtype=x.dtype) if out is None else out
    return filled(UNFOLD, xp, windows, x, columns, rows.start, len(rows), behind=behind)


@stands_in
def fold(xp: Any, columns: Any, x: Any, windows: Windows, block: Block = ()) -> Any:
    """Add every element of the columns to the place in x that it would be read from."""
    if len(block) > 1:
        return NotImplemented
    rows = windows.whole(block)[0]
    done = filled(FOLD, xp, windows, columns, x, rows.start, len(rows), behind=x.shape[-1])
    return NotImplemented if done is NotImplemented else None
