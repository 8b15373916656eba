"""What a golden case is, and the values that it begins from.

scripts/make_golden.py runs the cases in torch and writes tests/golden/<family>.npz; tests/layers/test_golden.py runs
them here and compares. Only results are in the files: inputs, parameters and upstream gradients are drawn again from
SEED. The cases are the layers' own examples (golden_examples.py), what examples cannot say (golden_corners.py), and
whole nets (golden_nets.py).
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from layerforge.arrays.backend import NUMPY
from layerforge.arrays.sparse import CSR
from layerforge.arrays.spec import Spec

FOLDER = Path(__file__).parents[1] / "golden"
TORCH = "2.13"
SEED = 20_130

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Case:
    """A small net that is run forward and backward once.

    layers   as under `net:` in a configuration
    params   shapes of the learned parameters, by "layer.name"; `state` the same for running statistics
    outputs  blobs that are compared; where differentiable, each gets a random upstream gradient
    fixed    inputs of real numbers that have no gradient
    """

    name: str
    layers: Sequence[Mapping[str, Any]]
    inputs: Mapping[str, Spec]
    params: Shapes = field(default_factory=dict)
    state: Shapes = field(default_factory=dict)
    outputs: tuple[str, ...] = ("y",)
    phase: str = "train"
    differentiable: bool = True
    fixed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Training:
    """Steps of a solver on the net of a case, each on a batch of its own. The losses and what is learned are compared.

    solver   as under `solver:` in a configuration
    """

    name: str
    case: Case
    solver: Mapping[str, Any]
    steps: int = 5


@dataclass(frozen=True)
class Rates:
    """The learning rates of a schedule: before every one of `steps` updates, or before and after every metric."""

    name: str
    lr: float
    schedule: Mapping[str, Any]
    steps: int = 20
    metrics: Sequence[float] = ()


# Values ---------------------------------------------------------------------------------------------------------------


class Promised(np.random.RandomState):
    """The one generator whose numbers NumPy promises never to change, with the method that draws of layers call."""

    def integers(self, low: int, high: int | None = None, size: Any = None) -> Any:
        """Whole numbers from low to high - 1, or below low."""
        return self.randint(low, high, size, dtype=np.int64)


def draw_sparse(stream: str, spec: Spec) -> CSR:
    """About half of the values of a stream, as a CSR; none in row 1 and column 0 where there are several."""
    full = np.array(draw(stream, spec.dense), "float64").reshape(spec.shape)
    full *= draw(f"{stream}/pattern", Spec(spec.shape, low=0.0, high=1.0)) < 0.5
    full[1:2] = 0.0
    full[:, : min(1, max(0, spec.shape[1] - 1))] = 0.0
    rows, columns = np.nonzero(full)
    indptr = np.searchsorted(rows, np.arange(spec.shape[0] + 1))
    return NUMPY.csr(full[rows, columns], columns.astype("int32"), indptr.astype("int32"), spec.shape)


def draw(stream: str, spec: Spec) -> Any:
    """The values of a stream: the Spec's own draw, or uniform within its bounds, reals without any in [-2, 2).

    All 53 bits of a number are random, so that a product is rounded and a detour through float32 shows.
    """
    if spec.sparse:
        return draw_sparse(stream, spec)
    rng = Promised([SEED, zlib.crc32(stream.encode())])
    if spec.draw is not None:
        return np.asarray(spec.draw(rng, spec.shape)).astype("float64" if spec.is_real else "int64")
    if not spec.is_real:
        return rng.randint(int(spec.low or 0), int(spec.high or 2), spec.shape, dtype=np.int64)
    low, high = spec.low, spec.high
    if low is None and high is None:
        low, high = -2.0, 2.0
    elif low is None or high is None:
        low, high = (high - 1.0, high) if low is None else (low, low + 1.0)
    return np.asarray(low + (high - low) * rng.random_sample(spec.shape))


def draw_inputs(case: Case, step: int = 0) -> dict[str, np.ndarray]:
    """The inputs of a case; a training has others in every step."""
    return {name: draw(f"{case.name}/{name}/{step}", spec) for name, spec in case.inputs.items()}


def draw_params(case: Case) -> dict[str, np.ndarray]:
    """The parameters of a case."""
    return {name: draw(f"{case.name}/{name}", Spec(s, low=-1.0, high=1.0)) for name, s in case.params.items()}


def draw_state(case: Case) -> dict[str, np.ndarray]:
    """The running statistics of a case: positive, as variances are."""
    return {name: draw(f"{case.name}/{name}", Spec(s, low=0.5, high=1.5)) for name, s in case.state.items()}


def draw_cotangent(case: Case, output: str, shape: tuple[int, ...]) -> np.ndarray:
    """The upstream gradient of an output."""
    return draw(f"{case.name}/{output}.grad", Spec(shape))


def fingerprint(item: Case | Training | Rates) -> int:
    """A number that changes with a case and with what it begins from: a file with another one is out of date."""
    if isinstance(item, Training):
        return digest([item.solver, item.steps, fingerprint(item.case)])
    if isinstance(item, Rates):
        return digest([item.lr, item.schedule, item.steps, item.metrics])
    code = digest([item.layers, item.phase, item.outputs, item.differentiable, item.fixed])
    for arrays in (draw_inputs(item), draw_params(item), draw_state(item)):
        for name, array in arrays.items():
            parts = (array.data, array.indices, array.indptr) if isinstance(array, CSR) else (array,)
            code = zlib.crc32(f"{name} {array.shape}".encode() + b"".join(part.tobytes() for part in parts), code)
    return code


def digest(data: Any) -> int:
    """A checksum of plain data."""
    return zlib.crc32(json.dumps(data, sort_keys=True).encode())
