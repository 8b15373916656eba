"""Models as ONNX files, both ways.

    from layerforge.interop import onnx
    onnx.save_model(net, "net.onnx")
    model = onnx.load_model("net.onnx")
    net = model.net(keep="all")
"""

from __future__ import annotations

from typing import Any

PUBLIC = {
    **{"load_model": "model", "Model": "model", "save_model": "saving", "write_folder": "writing"},
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name not in PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"{__name__}.{PUBLIC[name]}"), name)
