"""The parameters once more in bfloat16, as products read them.

The flat array of float32 is what learns and what is saved; this one follows it, slice by slice at the same places.
"""

from __future__ import annotations

import numpy as np

from ..arrays.bfloat16 import BFLOAT16
from ..contract.namespaces import Params
from ..engines.protocol import is_engine_layer
from ..plan.plan import Plan
from ..schema import registry
from .parameters import Parameters


class Halves:
    """A flat array of bfloat16 beside that of the parameters. `follow` makes it what the parameters are now."""

    def __init__(self, parameters: Parameters, engine: str) -> None:
        self.parameters = parameters
        self.data = np.zeros(len(parameters.data), BFLOAT16)
        self._copy = registry.engine(engine).carrier()()

    def bind(self, plan: Plan) -> None:
        """Give the layers of a plan that compute in bfloat16 their parameters so."""
        flat = self.parameters
        for step in plan.steps:
            layer = step.node.layer
            if is_engine_layer(layer) and layer.halved:
                layer.operands = Params()
                for name in step.node.layer.params:
                    key = layer.name, name
                    layer.operands.bind(name, flat.slots[flat.shared.get(key, key)].view(self.data))

    def follow(self) -> None:
        """Round all parameters, as a forward begins: whoever has a view of them may have changed them."""
        if len(self.data):
            self._copy(self.parameters.data, self.data)
