"""An imported model as a folder, which the rest of LayerForge opens."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from support.caffe_cases import arrays, folder

import layerforge
from layerforge.interop import caffe
from layerforge.net import Net

DEFINITION = """
name: "small"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 3 } } }
layer { name: "1x1" type: "InnerProduct" bottom: "data" top: "1x1"
        inner_product_param { num_output: 4 weight_filler { type: "xavier" std: 0.1 } } }
layer { name: "relu" type: "ReLU" bottom: "1x1" top: "1x1" relu_param { engine: CAFFE } }
layer { name: "prob" type: "Softmax" bottom: "1x1" top: "prob" }
"""


def test_the_folder_predicts_what_the_model_does(tmp_path: Path) -> None:
    where = folder() / "models" / "lenet"
    model = caffe.load_model(where / "lenet.prototxt", where / "lenet_iter_10000.b.caffemodel")
    made = caffe.write_folder(model, tmp_path / "lenet")
    data = arrays("models/lenet_b.npz")
    opened = layerforge.load_model(made)
    found = opened.blobs(data["rand/input/data"], ["prob"])["prob"]
    np.testing.assert_allclose(found, data["rand/out/prob"], rtol=1e-5, atol=1e-6)


def test_what_is_in_it(tmp_path: Path) -> None:
    definition = tmp_path / "net.prototxt"
    definition.write_text(DEFINITION)
    model = caffe.load_model(definition)
    made = caffe.write_folder(model, tmp_path / "out")
    files = sorted(file.name for file in made.iterdir())
    assert files == ["definition.prototxt", "fidelity.json", "fidelity.md", "net.yaml"]
    text = (made / "net.yaml").read_text()
    assert "# layer 1x1 of Caffe is _1x1" in text
    assert Net.from_yaml(made / "net.yaml").layers.keys() == {"_1x1", "relu", "prob"}
    told = json.loads((made / "fidelity.json").read_text())
    assert [(e["name"], e["type"], e["verdict"]) for e in told["layers"]] == [
        ("data", "Input", "exact"),
        ("1x1", "InnerProduct", "exact"),
        ("relu", "ReLU", "exact"),
        ("prob", "Softmax", "exact"),
    ]
    assert told["names"]["layers"] == {"1x1": "_1x1"}
    ignored = {entry["field"]: entry["place"] for entry in told["ignored"]}
    assert ignored["layer 1x1: std"].endswith("net.prototxt:5:76")
    assert "layer relu: engine" in ignored
    assert "4 exact" in (made / "fidelity.md").read_text()


def test_with_weights_it_holds_them(tmp_path: Path) -> None:
    definition = tmp_path / "net.prototxt"
    definition.write_text(DEFINITION)
    model = caffe.load_model(definition)
    weight = np.arange(12, dtype=np.float32).reshape(4, 3)
    model.set_blobs("1x1", [weight, np.zeros(4)])
    made = caffe.write_folder(model, tmp_path / "out")
    net = Net.from_yaml(made / "net.yaml")
    net.load(made / "weights.h5")
    np.testing.assert_array_equal(net.params["_1x1"]["weight"].data, weight)
