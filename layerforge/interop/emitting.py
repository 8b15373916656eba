"""Layers of a configuration, made one after the other while a foreign model is translated, and legal names for them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..arrays.spec import Spec
from ..contract.layer import Layer
from ..graph.trial import set_up
from ..schema.locations import Place
from ..schema.registry import LAYERS
from ..snapshot import escape

ILLEGAL = re.compile(r"[^A-Za-z0-9_./-]")


def path_of(namespace: str, layer: str, name: str) -> str:
    """What an array of a layer is called in `net.arrays()`; there a / in the layer's name is not one."""
    return f"{namespace}/{escape(layer)}/{name}"


def legal_name(name: str) -> str:
    """A name that a layer may have: letters, digits, _ . / and -, no digit in front."""
    made = ILLEGAL.sub("_", name) or "_"
    return made if made[0].isalpha() or made[0] == "_" else f"_{made}"


def free_name(name: str, used: set[str], counts: dict[str, int]) -> str:
    """A legal name that is not used yet, which is used then.

    counts   how often each name was wanted, so that a free one is found at once
    """
    legal = made = legal_name(name)
    while made in used:
        counts[legal] = number = counts.get(legal, 1) + 1
        made = f"{legal}_{number}"
    used.add(made)
    return made


@dataclass
class Made:
    """A layer that was emitted: its mapping as in net.yaml, itself, set up, and the names of its tops."""

    item: dict[str, Any]
    layer: Layer
    tops: list[str]

    @property
    def name(self) -> str:
        return str(self.item["name"])


def make(
    name: str,
    kind: str,
    options: Mapping[str, Any],
    bottoms: Sequence[tuple[str, Spec]],
    tops: Sequence[str],
    *,
    owner: str,
    place: Place | None = None,
) -> tuple[Made, tuple[Spec, ...]]:
    """A layer that reads these blobs, set up, and the Specs of its tops; what its options say by default is left out.

    owner   how errors call it

    Errors   those of `set_up`
    """
    usual = {key: declared.default for key, declared in LAYERS.get(kind).fields.items()}
    options = {key: value for key, value in options.items() if key not in usual or value != usual[key]}
    item: dict[str, Any] = {"name": name, "type": kind}
    if bottoms:
        item["bottom"] = bottoms[0][0] if len(bottoms) == 1 else [blob for blob, _ in bottoms]
    if list(tops) not in ([name], []):
        item["top"] = tops[0] if len(tops) == 1 else list(tops)
    specs_read = [spec for _, spec in bottoms]
    layer, specs = set_up(name, kind, options, specs_read, tops=len(tops), owner=owner, place=place)
    return Made({**item, **options}, layer, list(tops)), specs
