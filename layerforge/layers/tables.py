"""Families of layers: a table with an entry for each operation. What an entry says becomes a registered Layer class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..contract.layer import Layer
from ..schema.registry import register


def add_member(base: type[Layer], name: str, doc: str, *, params: Mapping[str, Any] | None = None, **own: Any) -> Any:
    """Register a subclass of `base` in its module, as if its class body had been written out.

    doc is the docstring; params are hyper-parameters, name: (type, param(...)); own are class attributes and methods.
    """
    params = params or {}
    body = {
        "__module__": base.__module__,
        "__doc__": doc,
        "__annotations__": {key: kind for key, (kind, _) in params.items()},
        **{key: declared for key, (_, declared) in params.items()},
        **own,
    }
    return register(type(name, (base,), body))
