"""A net as one Python file that needs NumPy alone, generated from its layers' own source.

from layerforge.interop import python

python.save_model(load_model("runs/mnist_mlp/latest"), "mlp")
"""

from __future__ import annotations

from typing import Any

PUBLIC = {"save_model": "model", "write_model": "model"}

__all__ = ["save_model", "write_model"]


def __getattr__(name: str) -> Any:
    if name not in PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f".{PUBLIC[name]}", __name__), name)
