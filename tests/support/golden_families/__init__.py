"""The golden cases: every layer with every branch of its hyper-parameters, and whole nets.

A module is a family: its CASES become one file, tests/golden/<module>.npz, made by scripts/make_golden.py with the
twins of layerforge/check/torch_twins. builders.py is what the families share.
"""

from __future__ import annotations

import importlib
import pkgutil

from support.golden_cases import Case

SHARED = "builders"
FAMILIES: dict[str, list[Case]] = {
    name: importlib.import_module(f"{__name__}.{name}").CASES
    for name in sorted(module.name for module in pkgutil.iter_modules(__path__))
    if name != SHARED
}
