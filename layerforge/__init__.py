"""LayerForge: neural networks as YAML stacks of layers with hand-written, proven backward passes.

from layerforge import Net, Solver

net = Net.from_yaml("configs/mnist_mlp.yaml")
solver = Solver(net, type="SGD", lr=0.1, momentum=0.9)
loss = solver.step(image=x, label=t)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from ._version import __version__

# Public names and the modules that hold them. They are imported when first used, so that `import layerforge` costs
# next to nothing and a script pays only for what it touches.
_PUBLIC = {
    "Array": "arrays.backend",
    "Bad": "contract.layer",
    "Example": "contract.layer",
    "Layer": "contract.layer",
    "Spec": "arrays.spec",
    "param": "schema.params",
    "register": "schema.registry",
    "register_schedule": "schema.registry",
    "register_source": "schema.registry",
    "Filler": "contract.fillers",
    "Metric": "contract.metric",
    "Net": "net",
    "Schedule": "solvers.schedules",
    "Solver": "solvers.solver",
    "Source": "data.source",
    "gradcheck": "check.gradcheck",
    "jacobian": "run.derivatives",
    "train": "training.train",
    "cross_validate": "training.folds",
    "load_model": "inference.model",
    "hook": "training.hooks",
    "Running": "training.hooks",
    "LayerForgeError": "schema.errors",
    "ConfigError": "schema.errors",
    "LayerError": "schema.errors",
    "DataError": "schema.errors",
    "DivergedError": "schema.errors",
    "BackendError": "schema.errors",
}

__all__ = ["__version__", *_PUBLIC]

if TYPE_CHECKING:  # the same names, as type checkers and editors read them; a test holds the two together
    from .arrays.backend import Array as Array
    from .arrays.spec import Spec as Spec
    from .check.gradcheck import gradcheck as gradcheck
    from .contract.fillers import Filler as Filler
    from .contract.layer import Bad as Bad
    from .contract.layer import Example as Example
    from .contract.layer import Layer as Layer
    from .contract.metric import Metric as Metric
    from .data.source import Source as Source
    from .inference.model import load_model as load_model
    from .net import Net as Net
    from .run.derivatives import jacobian as jacobian
    from .schema.errors import BackendError as BackendError
    from .schema.errors import ConfigError as ConfigError
    from .schema.errors import DataError as DataError
    from .schema.errors import DivergedError as DivergedError
    from .schema.errors import LayerError as LayerError
    from .schema.errors import LayerForgeError as LayerForgeError
    from .schema.params import param as param
    from .schema.registry import register as register
    from .schema.registry import register_schedule as register_schedule
    from .schema.registry import register_source as register_source
    from .solvers.schedules import Schedule as Schedule
    from .solvers.solver import Solver as Solver
    from .training.folds import cross_validate as cross_validate
    from .training.hooks import Running as Running
    from .training.hooks import hook as hook
    from .training.train import train as train
else:  # where checkers do not look: a name that does not exist is an error to them

    def __getattr__(name: str) -> Any:
        if name not in _PUBLIC:
            raise AttributeError(f"module 'layerforge' has no attribute '{name}'")
        value = getattr(importlib.import_module(f".{_PUBLIC[name]}", __name__), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted(__all__)
