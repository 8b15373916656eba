"""Arrays that a script has: what is refused, and what to do about it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from layerforge import ConfigError
from layerforge.data.arrays import Arrays


@pytest.mark.parametrize(
    ("label", "message", "hint"),
    [
        (np.array(["in", "out"]), "must be an array of numbers", "np.unique(label, return_inverse=True)"),
        (np.array(["in", None], object), "must be an array of numbers", "np.unique(label"),
        ("int64 (2,)", "was in the memory of the program that trained", "data={train: {type: NPZ"),
        (3, "with an axis of samples", ""),
    ],
)
def test_what_is_no_array_of_numbers_is_refused_with_a_remedy(label: Any, message: str, hint: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        Arrays(arrays={"x": np.zeros((2, 3)), "label": label})
    assert hint in (caught.value.hint or "")
