"""Two arrays over the same memory that NumPy cannot tell apart from strangers.

NumPy detects when the input and the output of an operation overlap and quietly makes a copy, so it would hide a layer
that is not safe in place. Other backends do not. Mapping one file twice gives two addresses for one memory, which
defeats the detection: what NumPy then computes is what a backend without it would.
"""

from __future__ import annotations

import mmap
import tempfile

import numpy as np


def twin_arrays(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two arrays with these values that share memory at different addresses: writing one changes the other."""
    size = max(values.nbytes, 1)
    with tempfile.TemporaryFile() as file:
        file.truncate(size)
        maps = [mmap.mmap(file.fileno(), size) for _ in range(2)]
    first, second = (np.frombuffer(m, values.dtype, values.size).reshape(values.shape) for m in maps)
    first[...] = values
    return first, second
