"""Whole nets compute the same in ONNX Runtime: those that ship, Caffe's recorded ones, real models, published ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.caffe_cases import arrays, folder, index, named
from support.onnx_whole import given, judged, seed_weights, settle
from support.tools import demand

from layerforge import Net
from layerforge.interop import caffe
from layerforge.interop.onnx.netgraph import graph_of_net

CONFIGS = sorted((Path(__file__).parents[3] / "configs").glob("*.yaml"))
RECORDED = [net for net in index()["nets"] if net["id"] != "share_permissive"]
MODELS = {
    "lenet": ("lenet/lenet.prototxt", "lenet/lenet_iter_10000.b.caffemodel"),
    "cifar10_quick": (
        "cifar10_quick/cifar10_quick.prototxt",
        "cifar10_quick/b.cifar10_quick_iter_4000.caffemodel",
    ),
    "mtcnn": ("mtcnn/det1.prototxt", "mtcnn/det1.caffemodel"),
    "ultraface": ("ultraface/slim-320.prototxt", "ultraface/slim-320.caffemodel"),
}
# Definitions as people publish them: the size of their images, and how many of these at a time.
PUBLISHED: dict[str, tuple[dict[str, Any], tuple[int, ...]]] = {
    "SqueezeNet__deploy": ({"data": (2, 3, 67, 67)}, (2, 3)),
    "MobileNet-Caffe__mobilenet_deploy": ({"data": (2, 3, 64, 64)}, (2, 3)),
    "MobileNet-Caffe__mobilenet_v2_deploy": ({"data": (2, 3, 64, 64)}, (2, 3)),
    "DenseNet-Caffe__DenseNet_121": ({"data": (2, 3, 64, 64)}, (2, 3)),
    "SENet__SE-ResNeXt-50": ({"data": (2, 3, 197, 197)}, (2,)),  # no smaller ones: 7 x 7 positions are averaged
    "ResNet-on-Cifar10__res20_cifar_train_test": ({"Data1": (2, 3, 32, 32), "Data2": (2,)}, (2, 3)),
}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_net_that_ships(path: Path) -> None:
    demand("onnxruntime")
    net = Net.from_yaml(path)
    if net.config.data is None:  # a formula of two numbers
        batches = [{"x": np.float32(3), "y": np.float32(2)}]
        assert [one.error for one in judged(net, batches)] == [0]
        return
    specs = net.config.data.specs("train")
    seed_weights(net)
    settle(net, specs, 8, batches=3)
    assert [one.told for one in judged(net, [given(specs, 2), given(specs, 3)]) if one.told] == []


@pytest.mark.parametrize("case", RECORDED, ids=named(RECORDED))
def test_a_net_of_caffe(case: dict[str, Any], tmp_path: Path) -> None:
    demand("onnxruntime")
    (tmp_path / "net.prototxt").write_text(case["net"])
    weights = folder() / "files" / "nets" / f"{case['id']}.caffemodel"
    model = caffe.load_model(tmp_path / "net.prototxt", weights, phase=case["phase"].lower())
    data = arrays("nets.npz")
    inputs = {name: data[f"{case['id']}/input/{name}"] for name in case["inputs"]}
    net = model.net(keep="none")
    shorter = {name: array[:-1] for name, array in inputs.items()}
    found = judged(net, [inputs, shorter])
    assert [one.told for one in found if one.told] == []


@pytest.mark.parametrize("name", MODELS)
def test_a_real_model(name: str) -> None:
    demand("onnxruntime")
    definition, weights = (folder() / "models" / one for one in MODELS[name])
    inputs = {"data": (2, 3, 40, 56)} if name == "mtcnn" else {}
    net = caffe.load_model(definition, weights, inputs=inputs).net(keep="none")
    specs = dict(net.graph.inputs)
    assert [one.told for one in judged(net, [given(specs, 2), given(specs, 3)]) if one.told] == []


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_definition(name: str) -> None:
    demand("onnxruntime")
    inputs, sizes = PUBLISHED[name]
    net = caffe.load_model(folder() / "prototxt" / f"{name}.prototxt", inputs=inputs).net(keep="none")
    specs = dict(net.graph.inputs)
    seed_weights(net)
    settle(net, specs, len(sizes))
    assert [one.told for one in judged(net, [given(specs, n) for n in sizes]) if one.told] == []


def test_objects_that_mobilenet_ssd_finds() -> None:
    demand("onnxruntime")
    net = caffe.load_model(folder() / "prototxt" / "MobileNet-SSD__deploy.prototxt").net(keep="none")
    specs = dict(net.graph.inputs)
    seed_weights(net)
    net.load_arrays({path: 0.1 * a if "_mbox_loc" in path else a for path, a in net.arrays().items()}, "small offsets")
    settle(net, specs, 2)
    batches = [given(specs, n) for n in (1, 2)]
    assert [one.told for one in judged(net, batches) if one.told] == []
    for batch in batches:
        rows = net.forward(phase="eval", **batch)["detection_out"][0, 0]
        found = rows[rows[:, 1] >= 0]
        assert set(found[:, 0]) == set(range(len(batch["data"])))
        assert len(np.unique(found[:, 1])) > 2
        assert np.ptp(found[:, 2]) > 0.01
    graph, _ = graph_of_net(net)
    assert {"NonMaxSuppression", "TopK", "NonZero"} <= {node.op for node in graph.nodes}
