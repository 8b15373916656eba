"""Nets that compute in bfloat16 are written as those in float32, and compared as such with what was written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.tools import demand

from layerforge import Net
from layerforge.cli import main
from layerforge.interop.python import write_model
from layerforge.interop.twin import full_twin

BY_NET: dict[str, Any] = {"precision": "bf16-mixed"}


def net_of(top: dict[str, Any], layer: dict[str, Any]) -> Net:
    layers = [
        {"name": "fc1", "type": "Linear", "bottom": "x", "out_features": 32, **layer},
        {"name": "act", "type": "Tanh", **layer},
        {"name": "fc2", "type": "Linear", "out_features": 5, **layer},
    ]
    return Net.from_config({"engine": "reference", **top, "inputs": {"x": {"shape": [4, 24]}}, "net": layers})


@pytest.mark.parametrize(("top", "layer"), [(BY_NET, {}), ({}, BY_NET)], ids=["of the net", "of its layers"])
def test_a_written_net_is_compared_with_float32(top: dict[str, Any], layer: dict[str, Any]) -> None:
    net, full = net_of(top, layer), net_of({}, {})
    x = np.random.default_rng(5).standard_normal((4, 24)).astype("float32")
    rounded, exact = (n.forward(phase="eval", outputs=["fc2"], x=x)["fc2"] for n in (net, full))
    assert not np.array_equal(rounded, exact)
    np.testing.assert_array_equal(full_twin(net).forward(phase="eval", outputs=["fc2"], x=x)["fc2"], exact)
    assert not write_model(net).unchecked
    again = net.forward(phase="eval", outputs=["fc2"], x=x)["fc2"]
    np.testing.assert_array_equal(again, rounded)  # the net itself goes on in its precision


def test_onnx_runtime_is_compared_with_float32(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    demand("onnx")
    demand("onnxruntime")
    config = tmp_path / "net.yaml"
    config.write_text(
        "precision: bf16-mixed\ninputs: {x: {shape: [4, 24]}}\nnet:\n"
        "  - {name: fc1, type: Linear, bottom: x, out_features: 32}\n"
        "  - {name: act, type: Tanh}\n"
        "  - {name: fc2, type: Linear, out_features: 5}\n"
    )
    assert main(["export", "onnx", str(config), "-o", str(tmp_path / "net.onnx"), "--check"]) == 0, capsys.readouterr()
