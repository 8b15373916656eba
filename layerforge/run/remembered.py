"""All that layers remember from pass to pass: for who runs them and must leave no trace."""

from __future__ import annotations

from collections.abc import Iterable

from ..contract.layer import Layer


class Remembered:
    """What some layers remember, as it is now: their running statistics, and what they carry."""

    def __init__(self, layers: Iterable[Layer]) -> None:
        layers = list(layers)
        self.statistics = [(array, array.copy()) for layer in layers for _, array in layer.state.items()]
        self.carried = [(layer.carried, dict(layer.carried)) for layer in layers if layer.carries]

    def put_back(self) -> None:
        """Let them remember that again."""
        for array, values in self.statistics:
            array[...] = values
        for mapping, values in self.carried:
            mapping.clear()
            mapping.update(values)
