"""Fillers: the start values of parameters.

fan_in is the number of inputs of one output (count / shape[0]), fan_out the number of outputs of one input
(count / shape[1]); `mode` chooses n: fan_in, fan_out or their average. Start values are drawn on the host from a
stream keyed by (seed, layer, parameter), so they depend neither on the backend nor on the order of the layers.

A hyper-parameter of the type `ChosenFiller` may be null: then graph/starting_values.py chooses by what follows.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, TypeAlias

import numpy as np

from ..schema.errors import ConfigError
from ..schema.params import Declared, family_value, param
from ..schema.registry import FILLERS

MODES = ("fan_in", "fan_out", "average")


class Filler(Declared):
    """Base of the fillers, and the annotation of a hyper-parameter that takes one: a name or {type: name, ...}."""

    description = "a filler"

    @staticmethod
    def parse(value: Any) -> Filler:
        return value if isinstance(value, Filler) else family_value(FILLERS, value, "filler")

    def fill(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        """Start values (float64, on the host) of the given shape."""
        raise NotImplementedError


class FillerOrNull:
    """The rule for a filler that may be left to the graph."""

    description = "a filler or null"

    @staticmethod
    def parse(value: Any) -> Filler | None:
        return None if value is None else Filler.parse(value)


# The filler of a weight whose null leaves the choice to the graph. A layer hands it to `add_param` as it is.
ChosenFiller: TypeAlias = Annotated[Filler | None, FillerOrNull()]


def fan(shape: tuple[int, ...], mode: str) -> float:
    """n of the formulas below; at least 1."""
    count = math.prod(shape)
    fan_in = count / shape[0] if shape and shape[0] else 1.0
    fan_out = count / shape[1] if len(shape) > 1 and shape[1] else float(count)
    return max(1.0, {"fan_in": fan_in, "fan_out": fan_out, "average": (fan_in + fan_out) / 2}[mode])


@FILLERS.add
class Constant(Filler):
    """Every element the same."""

    type_name = "constant"
    value: float = param(0.0, help="the number that every element is")

    def fill(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        return np.full(shape, self.value)


@FILLERS.add
class Uniform(Filler):
    """U[min, max)."""

    type_name = "uniform"
    min: float = param(0.0, help="lower bound")
    max: float = param(1.0, help="upper bound")

    def validate(self) -> None:
        if self.min > self.max:
            raise ConfigError(f"min {self.min} is above max {self.max}", hint="swap them")

    def fill(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        return rng.uniform(self.min, self.max, shape)


@FILLERS.add
class Gaussian(Filler):
    """N(mean, std²). With `sparse` each element is kept with probability sparse / shape[0] and is otherwise 0.

    So an input has a weight other than 0 for `sparse` of the shape[0] outputs, on average (Martens 2010; Caffe's form).
    """

    type_name = "gaussian"
    mean: float = param(0.0, help="mean")
    std: float = param(1.0, help="standard deviation", ge=0)
    sparse: int | None = param(None, help="outputs that an input has a weight for, on average; null: all", ge=0)

    def fill(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        values = rng.normal(self.mean, self.std, shape)
        if self.sparse is None:
            return values
        outputs = shape[0] if shape else 1
        return np.where(rng.random(shape) * outputs < self.sparse, values, 0.0)


@FILLERS.add
class PositiveUnitball(Filler):
    """U[0, 1), divided by the sum over each row: shape[0] rows of positive numbers that sum up to 1 (Caffe's form)."""

    type_name = "positive_unitball"

    def fill(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        rows = rng.random(shape).reshape(shape[0] if shape else 1, -1)
        return (rows / rows.sum(axis=1, keepdims=True)).reshape(shape)


@FILLERS.add
class Xavier(Filler):
    """U[-s, s] with s = gain · sqrt(3 / n): the variance is gain² / n (Glorot & Bengio 2010; Caffe's form: n = fan_in).

    torch's xavier_uniform_ is mode: average.
    """

    type_name = "xavier"
    mode: str = param("fan_in", help="what n counts", choices=MODES)
    gain: float = param(1.0, help="factor")

    def fill(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        s = abs(self.gain) * math.sqrt(3 / fan(shape, self.mode))
        return rng.uniform(-s, s, shape)


@FILLERS.add
class Msra(Filler):
    """N(0, 2 / ((1 + a²) n)): keeps the variance through (leaky) ReLUs of slope a (He et al. 2015)."""

    type_name = "msra"
    mode: str = param("fan_in", help="what n counts", choices=MODES)
    negative_slope: float = param(0.0, help="slope a of the ReLU that follows")

    def fill(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        return rng.normal(0.0, math.sqrt(2 / ((1 + self.negative_slope**2) * fan(shape, self.mode))), shape)


@FILLERS.add
class Orthogonal(Filler):
    """gain · Q, with Q uniform among the matrices with orthonormal rows or columns (Saxe et al. 2014).

    The matrix is shape[0] by the rest. The signs of R's diagonal make the QR decomposition unique, hence Q uniform.
    """

    type_name = "orthogonal"
    gain: float = param(1.0, help="factor")

    def fill(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        if len(shape) < 2:
            raise ConfigError(f"an orthogonal filler needs at least 2 axes, the parameter has shape {shape}")
        n, m = shape[0], math.prod(shape[1:])
        q, r = np.linalg.qr(rng.normal(size=(max(n, m), min(n, m))))
        q = q * np.sign(np.diag(r))
        return self.gain * (q if n >= m else q.T).reshape(shape)


@FILLERS.add
class Bilinear(Filler):
    """Bilinear interpolation as a square convolution kernel: w(i) = 1 - |i / f - c| per axis.

    f = ceil(K / 2), c = (K - 1) / (2 f). Used for upsampling by a transposed convolution that is not learned.
    """

    type_name = "bilinear"

    def fill(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        if len(shape) != 4 or shape[2] != shape[3]:
            raise ConfigError(f"a bilinear filler needs a square 4-D kernel, the parameter has shape {shape}")
        k = shape[-1]
        f = math.ceil(k / 2)
        w = 1 - abs(np.arange(k) / f - (k - 1) / (2 * f))
        return np.broadcast_to(np.outer(w, w), shape).copy()


def as_filler(value: Any) -> Filler:
    """A filler from what `add_param` accepts: a Filler, a name, a mapping, or a number for a constant."""
    if isinstance(value, (int, float)):
        return Constant(value=float(value))
    try:
        return Filler.parse(value)
    except TypeError:
        raise ConfigError(f"a filler is a name or a mapping with a type, got {value!r}") from None
