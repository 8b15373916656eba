"""The exponential moving average of the weights and running statistics: `train.ema_decay`.

    after update t:   a <- a + rₜ (w - a),   rₜ = (1 - d) / (1 - dᵗ)

The same as Σᵢ dᵗ⁻ⁱ wᵢ / Σᵢ dᵗ⁻ⁱ over the weights w₁ ... wₜ of all updates so far: a mean whose weights sum to one from
the first update on, so that the start values of the parameters have no part in it. Statistics that are integers are
copied.

Evaluations use the average. In a checkpoint it has the places that readers of weights look at (params/, state/); the
weights that training goes on with are under training/.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from .. import snapshot
from ..net import Net
from ..solvers.updater import BLOCK_BYTES, blocks

TRAINING = "training/"


class Average:
    """The average of a net's parameters (in the layout of net.parameters.data) and of its running statistics."""

    def __init__(self, net: Net, decay: float) -> None:
        self.net, self.decay = net, decay
        self.flat = net.parameters.data.copy()
        self.state = self._statistics()
        xp, size = net.backend.xp, self.flat.size
        self._blocks = list(blocks(0, size, BLOCK_BYTES // self.flat.itemsize if xp is np else max(1, size)))

    def update(self, updates: int) -> None:
        """Follow the weights after the solver's update number `updates` (from 1 on)."""
        rate = (1 - self.decay) / (1 - self.decay**updates)
        for block in self._blocks:
            _follow(self.flat[block], self.net.parameters.data[block], rate)
        for (layer, name), mean in self.state.items():
            _follow(mean, self.net.layers[layer].state[name], rate)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """While this lasts the net has the averages; afterwards it has its own values again, bit for bit."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    def _exchange(self) -> None:
        mine, own = self.flat.copy(), self._statistics()
        self.flat[...] = self.net.parameters.data
        self.net.parameters.data[...] = mine
        for (layer, name), array in self.state.items():
            self.net.layers[layer].state[name][...] = array
        self.state = own

    def _statistics(self) -> dict[tuple[str, str], Any]:
        """Copies of the net's running statistics; what layers carry from batch to batch is no statistic."""
        named = ((layer, *item) for layer, arrays in self.net.state.items() for item in arrays.items())
        return {(layer, name): array.copy() for layer, name, array in named}

    def arrays(self) -> dict[str, np.ndarray]:
        """What a checkpoint holds: the averages where weights are looked for, the net's own under training/."""
        to_host = self.net.backend.to_host
        means = {_path("params", *key): to_host(s.view(self.flat)) for key, s in self.net.parameters.slots.items()}
        means |= {_path("state", *key): to_host(array) for key, array in self.state.items()}
        return {**means, **{TRAINING + path: array for path, array in self.net.arrays().items()}}

    def load(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Take the averages of a checkpoint that fits; one without averages lends its weights."""
        from_host = self.net.backend.from_host
        for key, slot in self.net.parameters.slots.items():
            slot.view(self.flat)[...] = from_host(arrays[_path("params", *key)], self.net.dtype)
        for key, array in self.state.items():
            array[...] = from_host(arrays[_path("state", *key)])


def _follow(mean: Any, new: Any, rate: float) -> None:
    if rate == 1 or mean.dtype.kind != "f":
        mean[...] = new
    else:
        mean += rate * (new - mean)


def _path(kind: str, layer: str, name: str) -> str:
    return f"{kind}/{snapshot.escape(layer)}/{name}"


def trained_arrays(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Of a checkpoint's arrays those that training goes on with: under training/ where there are averages."""
    own = {k.removeprefix(TRAINING): v for k, v in arrays.items() if k.startswith(TRAINING)}
    return {**arrays, **own}
