"""Real trained models give the recorded outputs, and are the same after they were written back and opened again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.caffe_cases import arrays, folder, index, named

from layerforge.interop import caffe
from layerforge.interop.caffe.reading import Weights
from layerforge.net import Net
from layerforge.schema.errors import ConfigError, DataError

MODELS = {
    "lenet_b": ("lenet/lenet.prototxt", "lenet/lenet_iter_10000.b.caffemodel"),
    "cifar10_quick_b_4000": (
        "cifar10_quick/cifar10_quick.prototxt",
        "cifar10_quick/b.cifar10_quick_iter_4000.caffemodel",
    ),
    "mtcnn_det1": ("mtcnn/det1.prototxt", "mtcnn/det1.caffemodel"),
    "ultraface_slim-320": ("ultraface/slim-320.prototxt", "ultraface/slim-320.caffemodel"),
}
NETS = [net for net in index()["nets"] if net["id"] != "share_permissive"]


def opened(name: str) -> Any:
    definition, weights = MODELS[name]
    return caffe.load_model(folder() / "models" / definition, folder() / "models" / weights)


def outputs(model: Any, name: str) -> dict[str, np.ndarray]:
    """What the model makes of the recorded inputs, by the keys of the recorded outputs."""
    data = arrays(f"models/{name}.npz")
    net = model.net(keep="all")
    made = {}
    for tag in {key.split("/")[0] for key in data}:
        given = {key.split("/", 2)[2]: a for key, a in data.items() if key.startswith(f"{tag}/input/")}
        net.forward(phase="eval", **given)
        for key in (key for key in data if key.startswith(f"{tag}/out/")):
            made[key] = model.blob(net, key.split("/", 2)[2]).data
    return made


@pytest.mark.parametrize("name", MODELS)
def test_outputs_are_those_recorded(name: str) -> None:
    made = outputs(opened(name), name)
    assert made
    for key, found in made.items():
        expected = arrays(f"models/{name}.npz")[key]
        assert abs(found.reshape(expected.shape) - expected).max() <= 1e-5 * abs(expected).max(), key


def assert_same(model: Any, again: Any) -> None:
    assert again.config == model.config
    assert again.arrays.keys() == model.arrays.keys()
    for path, array in model.arrays.items():
        assert array.tobytes() == again.arrays[path].tobytes(), path


@pytest.mark.parametrize("suffix", ["caffemodel", "caffemodel.h5"])
@pytest.mark.parametrize("name", MODELS)
def test_written_and_opened_again_it_is_the_same(name: str, suffix: str, tmp_path: Path) -> None:
    model = opened(name)
    definition, weights = tmp_path / "net.prototxt", tmp_path / f"w.{suffix}"
    caffe.save_model(model.net(), definition, weights)
    again = caffe.load_model(definition, weights)
    assert_same(model, again)
    caffe.save_model(again.net(), tmp_path / "second.prototxt", tmp_path / f"second.{suffix}")
    assert (tmp_path / "second.prototxt").read_bytes() == definition.read_bytes()


@pytest.mark.parametrize("net", NETS, ids=named(NETS))
def test_a_net_with_shared_and_named_parameters_too(net: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "net.prototxt").write_text(net["net"])
    weights = folder() / "files" / "nets" / f"{net['id']}.caffemodel"
    model = caffe.load_model(tmp_path / "net.prototxt", weights, phase="train")
    caffe.save_model(model.net(), tmp_path / "out.prototxt", tmp_path / "out.caffemodel")
    assert_same(model, caffe.load_model(tmp_path / "out.prototxt", tmp_path / "out.caffemodel", phase="train"))


def test_the_definition_inside_the_weights_is_enough(tmp_path: Path) -> None:
    model = opened("lenet_b")
    caffe.save_model(model.net(), tmp_path / "net.prototxt", tmp_path / "w.caffemodel")
    again = caffe.load_model(tmp_path / "w.caffemodel")
    assert again.config == model.config
    assert again.arrays.keys() == model.arrays.keys()


def test_a_net_that_is_not_of_caffe_is_not_written(tmp_path: Path) -> None:
    config = {"inputs": {"x": {"shape": [2, 3]}}, "net": [{"name": "fc", "type": "Linear", "out_features": 2}]}
    with pytest.raises(ConfigError, match="imported from Caffe"):
        caffe.save_model(Net.from_config(config), tmp_path / "a.prototxt", tmp_path / "a.caffemodel")


def test_where_a_file_cannot_be_written_the_other_is_not_there(tmp_path: Path) -> None:
    model = opened("lenet_b")
    net = model.net()
    with pytest.raises(DataError):
        caffe.save_model(net, tmp_path / "a.prototxt", tmp_path / "nowhere" / "a.caffemodel")
    assert not list(tmp_path.iterdir())


def test_a_file_that_does_not_fit_is_not_taken() -> None:
    model = opened("lenet_b")
    taken = list(model.taken)
    with pytest.raises(ConfigError, match="other: layer 'conv1' has 2 blob"):
        model.take(Weights("other", {"conv1": [np.zeros(3, np.float32)]}))
    assert model.taken == taken
