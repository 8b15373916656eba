"""How torch's module stores what one of our layers has learned: the layers of which the two differ, in one table.

Everything else has torch's names and shapes as it is: Linear, Bilinear, the convolutions and transposed convolutions,
LayerNorm, RMSNorm, GroupNorm, InstanceNorm, Embedding, PReLU, and the recurrent layers with both biases. A layer that
torch lacks (Scale, Bias, Parameter, PositionalEmbedding) keeps its own names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from ..contract.layer import Layer
from ..schema.errors import DataError

Arrays: TypeAlias = dict[str, np.ndarray]
COUNT = "num_batches_tracked"  # of torch's batch normalisations: an integer, which LayerForge does not count


@dataclass(frozen=True)
class Layout:
    """The two ways between a layer's arrays (parameters and statistics by name) and those of torch's module.

    names     {ours: torch's} where only the name differs
    written   torch's arrays from ours (under torch's names already)
    read      ours from torch's, likewise; it is given all that `written` makes, but for what is `optional`
    optional  torch's arrays that a file may lack
    """

    names: Mapping[str, str]
    written: Callable[[Layer, Arrays], Arrays] = lambda layer, arrays: arrays
    read: Callable[[Layer, Arrays], Arrays] = lambda layer, arrays: arrays
    optional: tuple[str, ...] = ()

    def to_torch(self, layer: Layer, own: Mapping[str, np.ndarray]) -> Arrays:
        """What torch's module has, from the layer's arrays by their names."""
        return self.written(layer, {self.names.get(name, name): array for name, array in own.items()})

    def from_torch(self, layer: Layer, theirs: Mapping[str, np.ndarray]) -> Arrays:
        """The layer's arrays by their names, from what torch's module has; what was computed is in float64.

        Errors   DataError where this layer cannot compute what that module computes
        """
        ours = {name: mine for mine, name in self.names.items()}
        return {ours.get(name, name): array for name, array in self.read(layer, dict(theirs)).items()}


# Batch normalisation --------------------------------------------------------------------------------------------------


def _statistics_written(layer: Any, arrays: Arrays) -> Arrays:
    """Means in the place of sums with bias_correction, and the count of batches: known where all weigh the same."""
    if not layer.track_running_stats:
        return arrays
    found, count = dict(arrays), 0.0
    if layer.bias_correction:
        weight = float(found.pop("correction")[0])
        for name in ("running_mean", "running_var"):
            found[name] = found[name] / weight if weight else np.zeros_like(found[name])
        count = weight if not layer.momentum else 0.0
    return {**found, COUNT: np.asarray(round(count), np.int64)}


def _statistics_read(layer: Any, arrays: Arrays) -> Arrays:
    """Sums in the place of means with bias_correction.

    torch's running means forget at the rate of the momentum, which is what the sums of infinitely many batches do: the
    weights 1 + decay + decay² + ... = 1 / momentum. With momentum 0 they are plain means of so many batches.
    """
    told = arrays.pop(COUNT, np.asarray(0))
    if not layer.bias_correction:
        return arrays
    count = int(told) if told.ndim == 0 and told.dtype.kind in "iu" else 0
    weight = 1 / layer.momentum if layer.momentum else max(1, count)
    for name in ("running_mean", "running_var"):
        arrays[name] = arrays[name].astype(np.float64) * weight
    return {**arrays, "correction": np.asarray([weight], np.float64)}


# Recurrent layers -----------------------------------------------------------------------------------------------------


def _biases_written(layer: Any, arrays: Arrays) -> Arrays:
    """Both biases of torch's, the second 0 in a layer without one."""
    if not layer.bias or layer.recurrent_bias:
        return arrays
    return arrays | {_second(name): np.zeros_like(b) for name, b in arrays.items() if name.startswith("bias_ih")}


def _biases_read(layer: Any, arrays: Arrays) -> Arrays:
    """One bias of torch's two, in a layer that has only one: they are summed wherever their gates are."""
    if not layer.bias or layer.recurrent_bias:
        return arrays
    found = {name: array for name, array in arrays.items() if not name.startswith("bias_hh")}
    for name in [name for name in found if name.startswith("bias_ih")]:
        second = arrays[_second(name)]
        if not layer.gates_add and second[-layer.hidden_size :].any():
            raise DataError(
                f"layer '{layer.name}' has one bias, and {_second(name)} is not 0 where the reset gate multiplies it",
                hint=f"recurrent_bias: true in '{layer.name}'",
            )
        found[name] = found[name].astype(np.float64) + second
    return found


def _second(name: str) -> str:
    return name.replace("bias_ih", "bias_hh")


SAME = Layout({})
RECURRENT = Layout({}, _biases_written, _biases_read)
LAYOUTS = {
    "BatchNorm": Layout({}, _statistics_written, _statistics_read, (COUNT,)),
    "MultiheadAttention": Layout({"out_proj_weight": "out_proj.weight", "out_proj_bias": "out_proj.bias"}),
    "RNN": RECURRENT,
    "LSTM": RECURRENT,
    "GRU": RECURRENT,
}


def layout_of(layer: Layer) -> Layout:
    """The layout of a layer's type, or of the nearest type that it was derived from."""
    names = (cls.__name__ for cls in type(layer).__mro__)
    return next((LAYOUTS[name] for name in names if name in LAYOUTS), SAME)
