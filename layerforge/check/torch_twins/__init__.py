"""What torch computes instead of each layer: TWINS of all modules here, by layer type.

Hyper-parameters that a case leaves out have torch's defaults, except for `dim`, which torch wants written. A twin
returns the layer's top, or a tuple of its tops. `call` is what a twin is given, `net` puts twins together, and
`reference` answers the questions of `layerforge test --against torch`.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from typing import Any

from .call import Call

TOOLS = ("call", "net", "reference")
TWINS: dict[str, Callable[[Call], Any]] = {}
for _module in pkgutil.iter_modules(__path__):
    if _module.name not in TOOLS:
        TWINS |= importlib.import_module(f"{__name__}.{_module.name}").TWINS

__all__ = ["TWINS", "Call"]
