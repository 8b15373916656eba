"""What torch computes instead of each layer: TWINS by layer type, in a module for each family of layers.

Hyper-parameters that a case leaves out have torch's defaults, except for `dim`, which torch wants written. A twin
returns the layer's top, or a tuple of its tops. `call` is what a twin is given, `net` puts twins together, and
`reference` answers the questions of `layerforge test --against torch`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from ...layers import FAMILIES
from .call import Call

TWINS: dict[str, Callable[[Call], Any]] = {}
for _family in FAMILIES:
    TWINS |= importlib.import_module(f"{__name__}.{_family}").TWINS

__all__ = ["TWINS", "Call"]
