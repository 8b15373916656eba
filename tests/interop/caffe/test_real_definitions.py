"""Definitions of nets as people publish them: imported, or refused with all that is wrong, and OpenCV's numbers.

They are in the folder that LAYERFORGE_CAFFE names; nothing of it is part of the project.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.caffe_cases import folder
from support.caffe_forks import opencv, random_blobs

from layerforge.interop import caffe
from layerforge.interop.caffe import Model
from layerforge.interop.fidelity import UNSUPPORTED
from layerforge.schema.errors import ConfigError, exit_code, flatten

IMAGENET = {"data": (2, 3, 227, 227), "label": (2,)}
CIFAR = {"data": (2, 3, 32, 32), "label": (2,)}
IMAGES = {"Data1": (2, 3, 32, 32), "Data2": (2,)}
# What is imported in which phases, with the shapes of what data layers give.
IMPORTED: dict[str, tuple[str, dict[str, Any]]] = {
    "DenseNet-Caffe__DenseNet_121": ("test train", {}),
    "DenseNet-Caffe__DenseNet_161": ("test", {}),
    "ENet__enet_deploy_final": ("test train", {}),
    "MobileNet-Caffe__mobilenet_deploy": ("test train", {}),
    "MobileNet-Caffe__mobilenet_v2_deploy": ("test train", {}),
    "MobileNet-SSD__deploy": ("test train", {}),
    "MobileNet-SSD__train": ("train", {"data": (2, 3, 300, 300), "label": (1, 1, 5, 8)}),
    "ResNet-on-Cifar10__res110_cifar_train_test": ("test train", IMAGES),
    "ResNet-on-Cifar10__res20_cifar_train_test": ("test train", IMAGES),
    "SENet__SE-BN-Inception": ("test train", {}),
    "SENet__SE-ResNeXt-101": ("test", {}),
    "SENet__SE-ResNeXt-50": ("test train", {}),
    "ShuffleNet__shufflenet_1x_g3_deploy": ("test train", {}),
    "ShuffleNet__shufflenet_v2_1x_deploy": ("test train", {}),
    "SqueezeNet__deploy": ("test train", {}),
    "SqueezeNet__train_val": ("test train", IMAGENET),
    "SqueezeNext__train_val": ("test train", IMAGENET),
    "VanillaCNN__vanilla_deploy": ("test train", {}),
    "caffe-lstm__cifar10_full": ("test train", {}),
    "caffe-lstm__cifar10_quick": ("test train", {}),
    "caffe-lstm__deep_lstm_long": ("test", {}),
    "caffe-lstm__deep_lstm_short": ("test", {}),
    "caffe-lstm__mnist_autoencoder": ("train", {"data": (2, 1, 28, 28)}),
    "caffe-lstm__mnist_siamese_train_test": ("test train", {"pair_data": (2, 2, 28, 28), "sim": (2,)}),
    "caffe-lstm__train_val": ("test train", IMAGENET),
    "caffe__cifar10_full": ("test train", {}),
    "caffe__cifar10_full_sigmoid_train_test": ("test train", CIFAR),
    "caffe__cifar10_full_sigmoid_train_test_bn": ("test train", CIFAR),
    "caffe__cifar10_full_train_test": ("test train", CIFAR),
    "caffe__cifar10_quick": ("test train", {}),
    "caffe__imagenet_val": ("test train", IMAGENET),
    "caffe__nonlinear_auto_test": ("test train", {"data": (2, 2), "label": (2,)}),
    "caffe__pascal_finetune_trainval_test": ("test train", IMAGENET),
    "waifu2x-caffe__noise0_model": ("test train", {}),
    "waifu2x-caffe__noise0_scale2.0x_model": ("test train", {}),
    "waifu2x-caffe__noise1_model": ("test", {}),
}
SPATIAL = "Python layer spatial_dropout.SpatialDropoutLayer"
SSD = {"data": (2, 3, 300, 300), "label": (1, 1, 5, 8)}
TEMPLATE = "is a whole number, not cls"
# What is refused: the phase, the shapes, and how often an error says what.
REFUSED: dict[str, tuple[str, dict[str, Any], dict[str, int]]] = {
    "ENet__enet_deploy": ("test", {}, {SPATIAL: 27}),
    "ENet__enet_train_encoder": ("train", {"data": (2, 3, 512, 1024), "label": (2, 64, 128)}, {SPATIAL: 22}),
    "ENet__enet_train_encoder_decoder": ("train", {"data": (2, 3, 512, 1024), "label": (2, 512, 1024)}, {SPATIAL: 27}),
    "MobileNet-SSD__MobileNetSSD_deploy_template": ("test", {}, {TEMPLATE: 8, "num_output must be": 6}),
    "MobileNet-SSD__MobileNetSSD_test": ("test", SSD, {"type DetectionEvaluate is not supported": 1}),
    "MobileNet-SSD__MobileNetSSD_test_template": ("test", SSD, {TEMPLATE: 9, "type DetectionEvaluate": 1}),
    "MobileNet-SSD__MobileNetSSD_train_template": ("train", SSD, {TEMPLATE: 7}),
    "VanillaCNN__vanilla_train": (
        "train", {"X": (2, 3, 40, 40), "landmarks": (2, 10)}, {"Python layer python.NormlizedMSE": 1}
    ),
    "caffe-lstm__linreg": ("train", {}, {"Python layer pyloss.EuclideanLossLayer": 1}),
}  # fmt: skip


def definition(name: str) -> Path:
    return folder() / "prototxt" / f"{name}.prototxt"


def test_all_are_known() -> None:
    assert {path.stem for path in (folder() / "prototxt").iterdir()} == IMPORTED.keys() | REFUSED.keys()


@pytest.mark.parametrize(("name", "phase"), [(n, p) for n, (phases, _) in IMPORTED.items() for p in phases.split()])
def test_definition_is_imported(name: str, phase: str) -> None:
    model = caffe.load_model(definition(name), phase=phase, inputs=IMPORTED[name][1])
    assert len(model.report.entries) == len(model.definition.get("layer"))
    assert all(entry.verdict != UNSUPPORTED for entry in model.report.entries)


@pytest.mark.parametrize("name", REFUSED)
def test_definition_is_refused_with_all_that_is_wrong(name: str) -> None:
    phase, inputs, expected = REFUSED[name]
    with pytest.raises(ConfigError) as caught:
        caffe.load_model(definition(name), phase=phase, inputs=inputs)
    errors, lines = flatten(caught.value), definition(name).read_text().splitlines()
    assert exit_code(caught.value) == 2
    told = Counter(next((words for words in expected if words in error.message), error.message) for error in errors)
    for words, count in expected.items():
        assert told[words] == count, told
    for error in errors:
        assert error.place is not None
        assert lines[error.place.line - 1].strip() == error.place.text.strip()


def with_blobs(name: str, **options: Any) -> Model:
    model = caffe.load_model(definition(name), **options)
    random_blobs(model)
    return model


def both(model: Model, path: Path, blob: str, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """A blob of random inputs: here, and by OpenCV from what is written back."""
    rng, net = np.random.default_rng(seed), model.net()
    given = {n: rng.normal(size=s["shape"]).astype(np.float32) for n, s in model.config["inputs"].items()}
    net.forward(phase="eval", **given)
    return np.asarray(model.blob(net, blob).data), opencv(model, net, path, **given)


@pytest.mark.parametrize(
    ("name", "size", "blob"),
    [
        ("MobileNet-Caffe__mobilenet_deploy", {"data": (2, 3, 64, 64)}, "prob"),
        ("MobileNet-Caffe__mobilenet_v2_deploy", {"data": (2, 3, 64, 64)}, "prob"),
        ("SqueezeNet__deploy", {"data": (2, 3, 67, 67)}, "prob"),
        ("ShuffleNet__shufflenet_1x_g3_deploy", {}, "fc1000"),
        ("ShuffleNet__shufflenet_v2_1x_deploy", {}, "fc1000"),
    ],
)
def test_opencv_reads_what_is_written_with_the_same_numbers(
    name: str, size: dict[str, Any], blob: str, tmp_path: Path
) -> None:
    found, theirs = both(with_blobs(name, inputs=size), tmp_path, blob)
    assert abs(found.ravel() - theirs.ravel()).max() <= 1e-5 * abs(theirs).max()


def test_objects_of_mobilenet_ssd_are_opencvs(tmp_path: Path) -> None:
    """OpenCV has the rows of a sample by their scores, Caffe by classes."""
    model = with_blobs("MobileNet-SSD__deploy")
    for layer in (name for name in model.blob_maps if name.endswith("_mbox_conf")):
        model.set_blobs(layer, [8 * blob for blob in model.get_blobs(layer)])  # so that it is sure of something
    found, theirs = both(model, tmp_path, "detection_out")
    rows, wanted = found[0, 0], theirs.reshape(-1, 7)
    rows, wanted = rows[rows[:, 1] >= 0], wanted[wanted[:, 2] > 0]
    assert len(rows) == len(wanted) > 3
    rows, wanted = (a[np.lexsort((a[:, 1], -a[:, 2]))] for a in (rows, wanted))
    assert abs(rows - wanted).max() <= 1e-5 * abs(wanted).max()


def test_objects_of_mobilenet_ssd_are_learned() -> None:
    """The net for training has a loss, and a gradient for every weight."""
    model = with_blobs("MobileNet-SSD__train", phase="train", inputs={"data": (1, 3, 128, 128), "label": (1, 1, 1, 8)})
    net = model.net(keep="none")
    objects = np.array([0, 7, 0, 0.2, 0.3, 0.7, 0.8, 0], dtype=np.float32).reshape(1, 1, 1, 8)
    image = np.random.default_rng(0).normal(size=(1, 3, 128, 128)).astype(np.float32)
    loss = net.forward(phase="train", data=image, label=objects)["mbox_loss"]
    net.backward()
    assert np.isfinite(loss)
    assert loss > 0
    assert all(np.isfinite(model.param(net, "conv0", 0).grad).ravel())
    assert np.asarray(model.param(net, "conv0", 0).grad).any()


def test_enet_is_the_same_net_with_scale_in_the_place_of_bn(tmp_path: Path) -> None:
    """OpenCV does not read ENet's BN; in mode INFERENCE it is BVLC's Scale, with the same two blobs of other shapes."""
    size = {"data": (1, 3, 64, 128)}
    model = with_blobs("ENet__enet_deploy_final", inputs=size)
    text, file = definition("ENet__enet_deploy_final").read_text().replace('"BN"', '"Scale"'), tmp_path / "net.prototxt"
    of_scale = "scale_param { bias_term: true }"
    file.write_text(re.sub(r"bn_param \{.*?bn_mode: INFERENCE\s*\}", of_scale, text, flags=re.DOTALL))
    other = caffe.load_model(file, inputs=size)
    for name in model.blob_maps:
        shapes = [place.shape for place in other.blobs_of(name)]
        other.set_blobs(name, [b.reshape(s) for b, s in zip(model.get_blobs(name), shapes, strict=True)])
    x = np.random.default_rng(2).normal(size=size["data"]).astype(np.float32)
    tops = []
    for one in (model, other):
        net = one.net()
        net.forward(phase="eval", data=x)
        tops.append(np.asarray(one.blob(net, "deconv6_0_0").data))
    assert tops[0].shape == (1, 19, 64, 128)
    assert tops[0].any()
    assert np.array_equal(tops[0], tops[1])
