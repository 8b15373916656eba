"""A layer of an engine beside its reference."""

from __future__ import annotations

from typing import Any

import numpy as np

from layerforge.arrays.spec import Spec
from layerforge.check.harness import Probe
from layerforge.contract.layer import Example
from layerforge.schema.registry import LAYERS


def pair(cls: type[Any], params: dict[str, Any], *bottoms: np.ndarray) -> tuple[Probe, Probe]:
    """The reference and the engine's layer on the same bottoms."""
    specs = [Spec(b.shape, str(b.dtype)) for b in bottoms]
    probes = Probe(LAYERS.get(cls.type_name), Example(params, specs), dtype="float32"), Probe(
        cls, Example(params, specs), dtype="float32"
    )
    for probe in probes:
        probe.bottoms = [b.copy() for b in bottoms]
    return probes
