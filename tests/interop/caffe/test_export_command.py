"""`layerforge export caffe`: what was imported, and trained on, goes back into Caffe's files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from layerforge.cli import main
from layerforge.interop import caffe
from layerforge.interop.caffe import loading
from layerforge.interop.caffe.blobs import array

NET = """name: "small"
layer { name: "in" type: "Input" top: "data" input_param { shape { dim: 4 dim: 3 dim: 6 dim: 6 } } }
layer { name: "conv 1" type: "Convolution" bottom: "data" top: "conv 1"
  convolution_param { num_output: 4 kernel_size: 3 weight_filler { type: "xavier" } } }
layer { name: "bn" type: "BatchNorm" bottom: "conv 1" top: "conv 1" }
layer { name: "relu" type: "ReLU" bottom: "conv 1" top: "conv 1" }
layer { name: "fc" type: "InnerProduct" bottom: "conv 1" top: "fc"
  inner_product_param { num_output: 5 weight_filler { type: "xavier" } } }
layer { name: "prob" type: "Softmax" bottom: "fc" top: "prob" include { phase: TEST } }
layer { name: "aux" type: "InnerProduct" bottom: "fc" top: "aux" include { phase: TRAIN }
  inner_product_param { num_output: 2 weight_filler { type: "xavier" } } }
"""
DATA = """layer { name: "d" type: "HDF5Data" top: "data" top: "label"
  hdf5_data_param { source: "list.txt" batch_size: 4 } }
layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc"
  inner_product_param { num_output: 2 weight_filler { type: "xavier" } } }
layer { name: "aux" type: "InnerProduct" bottom: "data" top: "aux" include { phase: TRAIN }
  inner_product_param { num_output: 2 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" }
layer { name: "aux_loss" type: "SoftmaxWithLoss" bottom: "aux" bottom: "label" top: "aux_loss"
  include { phase: TRAIN } }
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def folder(here: Path) -> Path:
    """The folder of an import whose weights are random."""
    Path("net.prototxt").write_text(NET)
    net = caffe.load_model("net.prototxt", phase="test").net()
    rng = np.random.default_rng(1)
    drawn = {name: np.abs(rng.normal(size=a.shape)).astype(a.dtype) for name, a in net.arrays().items()}
    net.load_arrays(drawn, "random numbers")
    caffe.save_model(net, "w.prototxt", "w.caffemodel")
    assert main(["import", "caffe", "net.prototxt", "w.caffemodel", "-o", "in", "-q"]) == 0
    return Path("in")


def blobs(path: str | Path) -> dict[str, list[np.ndarray]]:
    layers = loading.load_weights(path).get("layer")
    return {layer.get("name"): [array(b) for b in layer.get("blobs")] for layer in layers if layer.get("blobs")}


def same(one: str | Path, other: str | Path) -> bool:
    a, b = blobs(one), blobs(other)
    return a.keys() == b.keys() and all(np.array_equal(x, y) for k in a for x, y in zip(a[k], b[k], strict=True))


def test_a_folder_goes_back_as_it_came(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "caffe", "in", "-o", "back"]) == 0
    assert same("back/net.caffemodel", "w.caffemodel")
    assert Path("back/net.prototxt").read_text() == Path("w.prototxt").read_text()
    capsys.readouterr()
    assert main(["export", "caffe", "in", "-o", "again.caffemodel.h5", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["phase"] == "TEST"
    assert told["blobs"]["conv 1"] == [[4, 3, 3, 3], [4]]
    assert same("again.caffemodel.h5", "w.caffemodel")
    assert Path("again.prototxt").is_file()
    assert main(["export", "caffe", "in", "-o", "back"]) == 2
    assert "is not empty" in capsys.readouterr().err


def test_weights_of_another_file_are_written(folder: Path) -> None:
    from layerforge.net import Net

    net = Net.from_yaml("in/net.yaml")
    net.load("in/weights.h5")
    net.params["fc"]["bias"].data = np.arange(5)
    net.save("tuned.h5")
    assert (
        main(["export", "caffe", "in/net.yaml", "--weights", "tuned.h5", "-o", "tuned.caffemodel", "--phase", "test"])
        == 0
    )
    assert np.array_equal(blobs("tuned.caffemodel")["fc"][1], np.arange(5))
    assert np.array_equal(blobs("tuned.caffemodel")["fc"][0], blobs("w.caffemodel")["fc"][0])


def test_a_run_is_written_with_the_layers_of_train(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import h5py

    rng = np.random.default_rng(2)
    with h5py.File("a.h5", "w") as file:
        file["data"], file["label"] = (
            rng.normal(size=(12, 3)).astype(np.float32),
            (np.arange(12) % 2).astype(np.float32),
        )
    Path("list.txt").write_text("a.h5\n")
    Path("net.prototxt").write_text(DATA)
    Path("solver.prototxt").write_text('net: "net.prototxt" base_lr: 0.1 lr_policy: "fixed" max_iter: 5\n')
    assert main(["import", "caffe", "net.prototxt", "--solver", "solver.prototxt", "-o", "in", "-q"]) == 0
    assert main(["train", "in/train.yaml", "-q", "--progress=off", "--name", "r"]) == 0
    Path("a.h5").rename("elsewhere.h5")  # shapes are in the folder
    capsys.readouterr()
    assert main(["export", "caffe", "runs/r/latest", "-o", "r.caffemodel"]) == 2
    assert "--definition names the folder of its import" in capsys.readouterr().err
    assert main(["export", "caffe", "runs/r/latest", "--definition", "in", "-o", "r.caffemodel"]) == 0
    assert blobs("r.caffemodel").keys() == {"fc", "aux"}
    assert (
        main(["export", "caffe", "runs/r/latest", "--definition", "in", "--phase", "test", "-o", "t.caffemodel"]) == 0
    )
    assert blobs("t.caffemodel").keys() == {"fc"}
    model = caffe.load_model("r.prototxt", "r.caffemodel", phase="train", inputs={"data": [4, 3], "label": [4]})
    from layerforge.snapshot import read_snapshot

    arrays, _ = read_snapshot(Path("runs/r/latest/checkpoints/last.h5"))
    assert np.array_equal(model.arrays["params/fc/weight"], arrays["params/fc/weight"])


def test_what_is_no_net_of_caffe(here: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("net.yaml").write_text(
        "inputs: {x: {shape: [4, 3]}}\nnet: [{name: fc, type: Linear, bottom: x, out_features: 2}]\n"
    )
    assert main(["export", "caffe", "net.yaml", "-o", "a.caffemodel"]) == 2
    assert "does not hold the definition of a net of Caffe" in capsys.readouterr().err
    assert main(["export", "caffe", "net.yaml", "--definition", "in", "-o", "a.caffemodel"]) == 2
    told = capsys.readouterr().err
    assert "the net is not that of in: in phase TRAIN it has blob 0 of layer 'conv 1', blob 1" in told
    (here / "in/definition.prototxt").unlink()
    assert main(["export", "caffe", "in", "--definition", "in", "-o", "a.caffemodel"]) == 3
    assert "holds no definition.prototxt" in capsys.readouterr().err
    assert not Path("a.caffemodel").exists()


def test_what_only_an_import_can_be_told_is_hinted_at_as_that(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("train.prototxt").write_text(
        'layer { name: "d" type: "Data" top: "data" top: "label" data_param { source: "nowhere" batch_size: 2 } }\n'
        'layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc" inner_product_param { num_output: 2 } }\n'
    )
    assert main(["export", "caffe", "in", "--definition", "train.prototxt", "-o", "a.caffemodel"]) == 2
    error = capsys.readouterr().err
    assert "import it first, with --input or --data-root: layerforge import caffe train.prototxt" in error
    assert "= say it" not in error


def test_other_classes_are_told_to_be_changed_in_the_definition(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from layerforge import Net

    text = (folder / "net.yaml").read_text().replace("out_features: 5", "out_features: 3")
    Path("three.yaml").write_text(text)
    Net.from_yaml("three.yaml").save("three.h5")
    three = ["export", "caffe", "three.yaml", "--weights", "three.h5", "-o", "three.caffemodel"]
    assert main([*three, "--definition", "in"]) == 2
    assert "change num_output in the copy's definition.prototxt" in capsys.readouterr().err
    changed = (folder / "definition.prototxt").read_text().replace("num_output: 5", "num_output: 3")
    (folder / "definition.prototxt").write_text(changed)
    assert main([*three, "--definition", "in", "--phase", "test"]) == 0
    assert blobs("three.caffemodel")["fc"][0].shape[0] == 3
