"""The last forward once more: for what needs it at another point, or again after its memory was used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .executor import Executor
from .net_parts import NetParts


class Again:
    """A forward that was kept, to be repeated with its inputs, phase and random numbers, and the statistics of now.

    inputs  copies of its inputs by name
    """

    def __init__(self, net: NetParts, executor: Executor) -> None:
        self.net, self.executor = net, executor
        self.inputs = {name: executor.values[i].copy() for i, name in executor.plan.inputs}
        self.state = net.snapshot_state()

    def forward(self, inputs: Mapping[str, Any] | None = None) -> None:
        """Run it, with other inputs if there are any. Running statistics move as in any forward."""
        given, executor = self.inputs if inputs is None else inputs, self.executor
        self.net.restore_state(self.state)
        executor.begin()
        executor.forward(executor.stage(given, given, True))

    def forward_as_it_was(self) -> None:
        """Run it so that nobody can tell: blobs, what layers kept, and running statistics are what they were."""
        self.forward()
        self.net.restore_state(self.state)
