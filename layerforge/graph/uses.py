"""What a net does with each of its inputs: learn from it, or compare with it.

A transform is for inputs. What only losses and metrics read, beside what the net computed, is a target: it stays in the
units of the data.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any
from weakref import WeakSet

from ..schema.user_modules import level_of_user
from .graph import Graph, PhaseGraph, Step

INPUT, UNCLEAR, TARGET = "input", "unclear", "target"
STRENGTH = (TARGET, UNCLEAR, INPUT)  # of several uses the last one counts


def uses_of(graph: Graph) -> dict[str, str]:
    """ "input", "target" or "unclear" for every input of a net.

    A target reaches nothing but losses and metrics: directly, or through layers without parameters. It is unclear what
    another layer combines with something learned, as in a loss made of several layers. An input is everything else.
    """
    found: dict[str, list[str]] = {name: [] for name in graph.inputs}
    for phase in graph.phases.values():
        learned = _learned(phase)
        for blob in phase.blobs:
            if blob.producer is None and blob.name in found:
                found[blob.name] += _uses(phase, blob.index, learned)
    return {name: max(uses, key=STRENGTH.index, default=INPUT) for name, uses in found.items()}


def _learned(phase: PhaseGraph) -> set[int]:
    """The blobs that depend on parameters."""
    learned: set[int] = set()
    for step in phase.steps:
        if step.node.layer.param_decls or learned & set(step.bottoms):
            learned |= set(step.tops)
    return learned


def _uses(phase: PhaseGraph, blob: int, learned: set[int]) -> list[str]:
    """How a blob is used, by everything that is made of it without parameters."""
    uses, made = [], {blob}
    for step in phase.steps:
        mine = made & set(step.bottoms)
        if not mine:
            continue
        beside = learned & (set(step.bottoms) - made)
        if step.node.layer.param_decls:
            uses.append(INPUT)
        elif step.node.layer.loss or (beside and _ends(phase, step)):
            first = step.bottoms[0] in mine
            uses.append(INPUT if first and not beside else TARGET)
        elif beside:
            uses.append(UNCLEAR)
        else:
            made |= set(step.tops)
    return uses or [INPUT]


def _ends(phase: PhaseGraph, step: Step) -> bool:
    """Whether nothing reads what a step makes, as with metrics."""
    return not any(phase.blobs[top].readers for top in step.tops)


# Raw samples ----------------------------------------------------------------------------------------------------------

_told: WeakSet[Any] = WeakSet()  # the nets whose user has been told


def warn_of_raw(net: Any, name: str, array: Any) -> None:
    """Warn, once per net, that integers given in Python for a real input did not go through the data's transform."""
    data, dtype = net.config.data, str(array.dtype) if hasattr(array, "dtype") else "integers"
    if data is None or net in _told or uses_of(net.graph).get(name) == TARGET:
        return
    source, transform = data.train.source, data.transform
    if not any(name in group for group in source.normalised()):
        return
    values = {key: getattr(transform, key) for key in ("scale", "mean", "std") if getattr(transform, key) is not None}
    own = values if transform.blobs is None or name in transform.blobs else {}
    if dtype == "uint8" and "scale" not in own:
        own = {"scale": "1/255", **own}
    if own and own != {"scale": 1.0}:
        _told.add(net)
        warnings.warn(_words(name, dtype, own), stacklevel=level_of_user())


def _words(name: str, dtype: str, values: Mapping[str, Any]) -> str:
    listed = ", ".join(f"{key}: {value}" for key, value in values.items())
    return (
        f"net.forward({name}=...) got {dtype}, which the net takes as it is: the transform of its data section "
        f"({{{listed}}}) is not applied. Use `layerforge predict RUN FILE`, or "
        f"layerforge.data.open_data(net.config.data).transform('{name}', array)"
    )
