"""What a file of an imported model's weights says of the net: what it takes and gives, and how samples become that."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import replace
from typing import Any

import numpy as np

from ..arrays.spec import Spec
from ..data.array_reader import ArrayReader
from ..data.reader import Reader
from ..data.transform import InputTransform
from ..graph.signature import Signature
from ..net import Net
from ..run.stored_arrays import weights_meta
from ..training.checkpoints import TRANSFORM


def signed(
    net: Net, reader: Reader | None = None, transform: InputTransform | None = None, labels: Container[str] = ()
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The arrays of a net for a file of weights, and what the file says of it.

    reader, transform   how samples become its inputs; without a reader arrays are taken as the net sees them, and
                        images are refused
    labels              inputs that are indices, whatever the net says
    """
    meta, arrays = weights_meta(net), net.arrays()
    raw = {name: spec.with_shape(spec.shape[1:]) for name, spec in net.graph.inputs.items()}
    reader = ArrayReader(raw, images=False) if reader is None else reader
    found = Signature.of(net.graph, (), reader.plain())
    inputs = {name: Spec(spec.shape, role="index") if name in labels else spec for name, spec in found.inputs.items()}
    meta["signature"] = replace(found, inputs=inputs).plain
    transform = _as_given(reader) if transform is None else transform
    meta["kinds"] = {name: kind.plain for name, kind in transform.kinds.items()}
    return arrays | {TRANSFORM + name: array for name, array in transform.state().items()}, meta


def _as_given(reader: Reader) -> InputTransform:
    """That of arrays which are what the net sees."""
    same = np.asarray(1.0), np.asarray(0.0)
    return InputTransform({name: same for name, spec in reader.specs.items() if spec.is_real})
