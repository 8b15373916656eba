"""An ONNX graph as plain values: what the exporter builds and the importer reads, without the package `onnx`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

OPSET, IR = 17, 8  # what is written
OWN = "layerforge"  # the domain of operators that are layers of ours, which patterns write and no file has

Dims = tuple[int | str | None, ...]  # lengths; a name stands for one that is known at run time, None for any


@dataclass
class Node:
    """An operation: `outputs` = op(`inputs`).

    inputs, outputs   names of values; "" is an optional one that is not there
    attributes        integers, floats, texts, lists of these, arrays (tensors), and graphs
    domain            of the operator; "" is ONNX's own
    note              what a report says of it: which nodes of the file it stands for
    """

    op: str
    inputs: list[str]
    outputs: list[str]
    attributes: dict[str, Any] = field(default_factory=dict)
    name: str = ""
    domain: str = ""
    note: str = ""


@dataclass(frozen=True)
class ValueInfo:
    """What is known of a value: its dtype as NumPy calls it, and its lengths; None where they are not known."""

    name: str
    dtype: str
    shape: Dims | None


@dataclass(frozen=True)
class Learned:
    """What is known of a file's initializers.

    constants  those that nobody learns, and why
    surely     those that are parameters for sure, single numbers included
    notes      what the report tells of it
    """

    constants: dict[str, str] = field(default_factory=dict)
    surely: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()


@dataclass
class OnnxGraph:
    """A model: nodes in an order in which they can be run.

    inputs        what is given to it, without those that have an initializer
    initializers  arrays by the names of their values
    metadata      texts by their keys
    opset         the version of ONNX's own operators
    domains       the versions of other operators, by their domain
    learned       what is known of its initializers; None before somebody asked (parameters.py)
    folded        what values were computed of by the exporter, as it says it, by their names
    producer      who wrote it, in words
    """

    name: str
    nodes: list[Node] = field(default_factory=list)
    inputs: list[ValueInfo] = field(default_factory=list)
    outputs: list[ValueInfo] = field(default_factory=list)
    initializers: dict[str, np.ndarray] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)
    opset: int = OPSET
    producer: str = ""
    domains: dict[str, int] = field(default_factory=dict)
    folded: dict[str, str] = field(default_factory=dict)
    learned: Learned | None = None


def free_name(name: str, taken: set[str]) -> str:
    """A name that is not taken, as close to this one as may be; it is taken then."""
    made, number = name, 1
    while made in taken:
        number += 1
        made = f"{name}_{number}"
    taken.add(made)
    return made
