"""The hyper-parameters of layers that are in a net: what is assigned to them is parsed, and plans are made anew."""

from __future__ import annotations

from collections.abc import Iterable
from operator import call as called
from operator import itemgetter
from typing import Any

from ..contract import call
from ..contract.layer import Layer
from ..schema.errors import ConfigError


class Settings:
    """The hyper-parameters of layers as plans were made with them: plans and engines have them built in."""

    def __init__(self, layers: Iterable[Layer]) -> None:
        self._layers = [layer for layer in layers if layer.fields]
        self._looks = [itemgetter(*layer.fields) for layer in self._layers]
        self._values = [vars(layer) for layer in self._layers]
        self._seen = self._now()

    def _now(self) -> list[Any]:
        return list(map(called, self._looks, self._values))  # in every step: no Python for each layer

    def changed(self) -> bool:
        """Whether any is another than at the last look. ConfigError where a layer cannot take what it was given."""
        now = self._now()
        if now == self._seen:
            return False
        for layer, old, new in zip(self._layers, self._seen, now, strict=True):
            if old != new:
                self._parse(layer, old, new)
        self._seen = self._now()
        return True

    @staticmethod
    def _parse(layer: Layer, *seen: Any) -> None:
        """Take over hyper-parameters as a configuration would; those that were parsed before are as they were."""
        old, new = (values if len(layer.fields) > 1 else (values,) for values in seen)
        try:
            for name, before, now in zip(layer.fields, old, new, strict=True):
                if before != now:
                    vars(layer)[name] = layer.fields[name].parse(now)
            layer.validate()
        except ConfigError as error:
            raise ConfigError(f"{call.owner(layer)}: {error.message}", hint=error.hint) from None
