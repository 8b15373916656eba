"""The operating system, of which one call fails, as writers of files see it. Child processes import it too."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np

from layerforge.snapshot import pack

OLD, NEW = (pack({"params/fc/weight": np.full(5000, n, np.float32)}, {"kind": "weights"}) for n in (1, 2))


class FaultyOs:
    """The os module; `act` is called in the place of its call number `at`."""

    def __init__(self, at: int | None = None, act: Callable[[str], Any] = lambda name: None) -> None:
        self.at, self.act, self.calls = at, act, []

    def __getattr__(self, name: str) -> Any:
        real = getattr(os, name)
        if not callable(real):
            return real

        def call(*args: Any, **kwargs: Any) -> Any:
            self.calls.append(name)
            if len(self.calls) - 1 != self.at:
                return real(*args, **kwargs)
            if name == "close":
                real(*args)
            return self.act(name)

        return call
