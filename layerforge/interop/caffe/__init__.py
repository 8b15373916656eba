"""Caffe's nets, weights, solvers and their states.

    from layerforge.interop import caffe
    model = caffe.load_model("net.prototxt", "w.caffemodel", phase="test")
    net = model.net(keep="all")
    solver = Solver.from_config(net, caffe.load_solver("solver.prototxt"))
    caffe.load_state(model, solver, "w_iter_100.solverstate")
"""

from __future__ import annotations

from typing import Any

PUBLIC = {
    **{"load_model": "model", "Model": "model", "save_model": "saving", "write_folder": "writing"},
    **{"load_solver": "solver", "read_solver": "solver"},
    **{"load_state": "state", "save_state": "state", "history": "state"},
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name not in PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"{__name__}.{PUBLIC[name]}"), name)
