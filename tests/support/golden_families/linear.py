"""Golden cases of Linear."""

from __future__ import annotations

from .builders import learned

CASES = [
    learned("Linear-plain", {"out_features": 4}, (3, 5), weight=(4, 5), bias=(4,)),
    learned("Linear-no-bias", {"out_features": 2, "bias": False}, (3, 5), weight=(2, 5)),
    learned("Linear-more-axes", {"out_features": 3}, (2, 3, 4, 5), weight=(3, 5), bias=(3,)),
    learned("Linear-vector", {"out_features": 3}, (4,), weight=(3, 4), bias=(3,)),
    learned("Linear-one", {"out_features": 1}, (1, 1), weight=(1, 1), bias=(1,)),
    learned("Linear-large", {"out_features": 7}, (16, 65), weight=(7, 65), bias=(7,)),
]
