"""A layer set up by itself, for who has no net yet and wants to know what its tops would be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..arrays.spec import Spec
from ..contract import call
from ..contract.layer import Layer
from ..schema.locations import Place
from ..schema.registry import LAYERS


def set_up(
    name: str,
    kind: str,
    options: Mapping[str, Any],
    bottoms: Sequence[Spec],
    *,
    tops: int = 1,
    owner: str = "",
    place: Place | None = None,
) -> tuple[Layer, tuple[Spec, ...]]:
    """A layer of that type with these hyper-parameters, set up for bottoms, and the Specs of its tops.

    tops    how many the net would name
    owner   how errors call it

    Errors   ConfigError for the type and the hyper-parameters, LayerError for the bottoms, both with the place
    """
    layer: Layer = LAYERS.get(kind, place).from_config(options, owner or f"layer '{name}' ({kind})", place)
    layer.name, layer.xp, layer.tops_wanted, layer.place = name, np, tops, place
    return layer, call.setup(layer, bottoms)
