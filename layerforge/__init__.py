"""LayerForge: neural networks as YAML stacks of layers with hand-written, proven backward passes.

from layerforge import Net, Solver

net = Net.from_yaml("configs/mnist_mlp.yaml")
solver = Solver(net, type="SGD", lr=0.1, momentum=0.9)
loss = solver.step(image=x, label=t)
"""

from __future__ import annotations

import importlib
from typing import Any

from ._version import __version__

# Public names and the modules that hold them. They are imported when first used, so that `import layerforge` costs
# next to nothing and a script pays only for what it touches.
_PUBLIC = {
    "Bad": "contract.layer",
    "Example": "contract.layer",
    "Layer": "contract.layer",
    "Spec": "arrays.spec",
    "param": "schema.params",
    "register": "schema.registry",
    "register_source": "schema.registry",
    "Filler": "contract.fillers",
    "Net": "net",
    "Solver": "solvers.solver",
    "Source": "data.source",
    "gradcheck": "check.gradcheck",
    "jacobian": "run.derivatives",
    "train": "training.loop",
    "hook": "training.hooks",
    "LayerForgeError": "schema.errors",
    "ConfigError": "schema.errors",
    "LayerError": "schema.errors",
    "DataError": "schema.errors",
    "DivergedError": "schema.errors",
    "BackendError": "schema.errors",
}

__all__ = ["__version__", *_PUBLIC]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'layerforge' has no attribute '{name}'")
    value = getattr(importlib.import_module(f".{_PUBLIC[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
