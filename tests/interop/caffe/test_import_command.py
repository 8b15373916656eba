"""`layerforge import caffe`: what it writes, what it refuses, and its exit codes."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.caffe_cases import arrays, folder
from support.pages import run_apart
from support.tools import demand

from layerforge.cli import main
from layerforge.cli.exchange import table
from layerforge.config.document import Config
from layerforge.config.yaml_file import parse_yaml
from layerforge.data.lmdb_writing import write_lmdb, write_mean_image
from layerforge.interop.caffe import opencv_child
from layerforge.interop.comparison import Comparison, Row
from layerforge.net import Net
from layerforge.schema.registry import LAYERS
from layerforge.snapshot import read_snapshot

DATA = """layer {{ name: "data" type: "Data" top: "data" top: "label" include {{ phase: {phase} }}
  transform_param {{ {transform} }}
  data_param {{ source: "{source}" batch_size: {batch} backend: LMDB }} }}
"""
NET = """layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc"
  inner_product_param { num_output: 3 weight_filler { type: "xavier" } } }
layer { name: "drop" type: "Dropout" bottom: "fc" top: "fc" }
layer { name: "aux" type: "InnerProduct" bottom: "fc" top: "aux" include { phase: TRAIN }
  inner_product_param { num_output: 3 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" }
layer { name: "aux_loss" type: "SoftmaxWithLoss" bottom: "aux" bottom: "label" top: "aux_loss" loss_weight: 0.3
  include { phase: TRAIN } }
layer { name: "accuracy" type: "Accuracy" bottom: "fc" bottom: "label" top: "accuracy" include { phase: TEST } }
"""
SOLVER = 'net: "net.prototxt" base_lr: 0.01 lr_policy: "step" gamma: 0.1 stepsize: 10 max_iter: 12 test_interval: 6\n'


def imported(*arguments: object) -> int:
    return main(["import", "caffe", *map(str, arguments)])


def definition(place: Path, text: str, name: str = "net.prototxt") -> Path:
    path = place / name
    path.write_text(text)
    return path


def with_data(train: str = "", test: str = "", source: str = "train", batch: int = 4) -> str:
    """A net whose phases have the data of two databases, transformed so."""
    first = DATA.format(phase="TRAIN", transform=train, source=source, batch=batch)
    return first + DATA.format(phase="TEST", transform=test, source="test", batch=5) + NET


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with two databases of images 3 x 8 x 10, and a mean image."""
    demand("lmdb")
    images = np.random.default_rng(0).integers(0, 256, (22, 3, 8, 10), dtype=np.uint8)
    write_lmdb(tmp_path / "train", images[:12], np.arange(12) % 3)
    write_lmdb(tmp_path / "test", images[12:], np.arange(10) % 3)
    write_mean_image(tmp_path / "mean.binaryproto", images.mean(axis=0))
    return tmp_path


def tree(place: Path) -> dict[str, Any]:
    return dict(parse_yaml((place / "out" / "train.yaml").read_text(), "train.yaml"))


# What it writes -------------------------------------------------------------------------------------------------------


def test_both_phases_are_one_net_that_trains_and_is_evaluated(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    net, solver = definition(place, with_data()), definition(place, SOLVER, "solver.prototxt")
    assert imported(net, "--solver", solver, "-o", place / "out") == 0
    made = tree(place)
    phases = {layer["name"]: layer.get("phase") for layer in made["net"]}
    assert phases["aux"] == phases["aux_loss"] == "train"
    assert phases["accuracy"] == "eval"
    assert phases["fc"] is phases["drop"] is phases["loss"] is None
    assert made["solver"]["schedule"] == {"type": "step", "gamma": 0.1, "step_size": 10}
    assert made["train"]["max_steps"] == 12
    assert made["data"]["train"]["shuffle"] is False
    assert made["data"]["train"]["path"] == "../train"
    assert made["data"]["transform"] == {"scale": 1, "blobs": ["data"]}
    monkeypatch.chdir(place)
    assert main(["train", "out/train.yaml", "-q"]) == 0
    assert main(["eval", f"runs/{made['name']}", "-q"]) == 0


@pytest.mark.parametrize(
    ("params", "made"),
    [
        ("scale: 0.5 mean_value: 8", lambda x: (x - 8) * 0.5),
        ("scale: 0.25 mean_value: 1 mean_value: 2 mean_value: 4", lambda x: (x - [[[1]], [[2]], [[4]]]) * 0.25),
        ("mean_file: 'mean.binaryproto' crop_size: 6", lambda x: x),
    ],
)
def test_val_sees_what_caffe_makes_of_the_images(place: Path, params: str, made: Any) -> None:
    images = np.random.default_rng(0).integers(0, 256, (22, 3, 8, 10), dtype=np.uint8)
    assert imported(definition(place, with_data(params, params)), "-o", place / "out") == 0
    config = Config.load(place / "out" / "train.yaml")
    from layerforge.data.opening import open_data

    batch = open_data(config.data, seed=0, dtype="float32").loaders["val"].batch(0, 0).blobs["data"]
    raw = images[12:17].astype(np.float64)
    if "mean_file" in params:
        expected = (raw - images.mean(axis=0))[:, :, 1:7, 2:8]
    else:
        expected = made(raw)
    np.testing.assert_allclose(batch, expected, rtol=1e-5, atol=1e-4)


def test_crop_and_mirror_are_random_in_train_alone(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    params = "crop_size: 6 mirror: true"
    assert imported(definition(place, with_data(params, params)), "-o", place / "out", "--json") == 0
    assert tree(place)["data"]["train"]["augment"] == {"random_crop": {"size": [6, 6]}, "flip": "horizontal"}
    assert "augment" not in tree(place)["data"]["val"]
    told = json.loads(capsys.readouterr().out)["fidelity"]["layers"][0]["notes"]
    assert any("mirror" in note for note in told)


def test_where_the_phases_differ_in_their_transform_there_is_no_val(place: Path) -> None:
    assert imported(definition(place, with_data("scale: 0.5", "scale: 1")), "-o", place / "out") == 0
    made = tree(place)
    assert set(made["data"]) == {"transform", "train"}
    assert "accuracy" not in {layer["name"] for layer in made["net"]}
    assert "scale 0.5 and 1.0" in (place / "out" / "fidelity.md").read_text()


def test_a_net_that_is_trained_has_weights_that_the_other_phase_has_not(place: Path, tmp_path: Path) -> None:
    from layerforge.interop import caffe

    net = definition(place, with_data())
    model = caffe.load_model(net, phase="train")
    caffe.save_model(model.net(), place / "w.prototxt", place / "w.caffemodel")
    assert imported(net, place / "w.caffemodel", "-o", place / "out") == 0
    assert (place / "out" / "train_weights.h5").is_file()
    assert "train_weights.h5" in (place / "out" / "train.yaml").read_text().splitlines()[0]
    again = Net.from_yaml(place / "out" / "net.yaml")
    again.load(place / "out" / "weights.h5")
    start = ["--init-weights", str(place / "out" / "train_weights.h5"), "--output-dir", str(place / "runs"), "-q"]
    assert main(["train", str(place / "out" / "train.yaml"), "solver.lr=0.1", "train.max_steps=1", *start]) == 0


@pytest.mark.parametrize(
    ("kind", "param"),
    [
        ("PReLU", "prelu_param { filler { type: 'constant' value: 0.1 } }"),
        ("PReLU", "prelu_param { filler { type: 'uniform' } }"),
        ("InnerProduct", "inner_product_param { num_output: 3 weight_filler { value: 1 } bias_filler { value: 2 } }"),
    ],
)
def test_a_layer_of_both_phases_starts_as_its_owner_says(kind: str, param: str, tmp_path: Path) -> None:
    text = """layer { name: "d" type: "DummyData" top: "x" top: "t" dummy_data_param { shape { dim: 2 dim: 3 } } }
layer { name: "a" type: "ReLU" bottom: "x" top: "a" }\n"""
    for phase, bottom in (("TRAIN", "x"), ("TEST", "a")):
        wired = f'name: "p" type: "{kind}" bottom: "{bottom}" top: "y" include {{ phase: {phase} }}'
        text += f"layer {{ {wired} {param} }}\n"
    text += 'layer { name: "l" type: "EuclideanLoss" bottom: "y" bottom: "t" top: "l" }'
    assert imported(definition(tmp_path, text), "-o", tmp_path / "out") == 0
    made = tree(tmp_path)
    own, other = (item for item in made["net"] if item["type"] not in ("ReLU", "EuclideanLoss"))
    assert other.keys() - own.keys() == {"share", "top"} - own.keys()
    assert not {"init", "weight_filler", "bias_filler"} & other.keys()
    made["inputs"] = {name: {"shape": [2, 3]} for name in ("x", "t")}
    net = Net.from_config({key: made[key] for key in ("inputs", "net")})
    assert net.params["p"]["weight"].data is not None


def test_lists_of_images_and_of_hdf5_are_sources(tmp_path: Path) -> None:
    demand("PIL")
    import h5py
    from PIL import Image

    pixels = np.random.default_rng(1).integers(0, 256, (4, 8, 10, 3), dtype=np.uint8)
    for number, image in enumerate(pixels):
        Image.fromarray(image).save(tmp_path / f"a {number}.png")
    (tmp_path / "list.txt").write_text("".join(f"a {n}.png {n % 3}\n" for n in range(4)))
    text = """layer { name: "data" type: "ImageData" top: "data" top: "label"
      image_data_param { source: "list.txt" root_folder: "./" batch_size: 2 new_height: 8 new_width: 10 } }\n"""
    assert imported(definition(tmp_path, text + NET), "-o", tmp_path / "out") == 0
    from layerforge.data.opening import open_data

    loader = open_data(Config.load(tmp_path / "out" / "train.yaml").data, seed=0, dtype="float32").loaders["train"]
    batch = loader.batch(0, 1)
    np.testing.assert_array_equal(batch.blobs["data"], pixels[2:, :, :, ::-1].transpose(0, 3, 1, 2))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["data"], file["label"] = np.ones((6, 5), np.float32), np.arange(6, dtype=np.float32) % 3
    (tmp_path / "list.txt").write_text("a.h5\n")
    text = """layer { name: "data" type: "HDF5Data" top: "data" top: "label"
      hdf5_data_param { source: "list.txt" batch_size: 3 } }\n"""
    assert imported(definition(tmp_path, text + NET), "-o", tmp_path / "second") == 0
    run = ["solver.lr=0.1", "train.max_steps=2", "--output-dir", str(tmp_path / "runs"), "-q"]
    assert main(["train", str(tmp_path / "second" / "train.yaml"), *run]) == 0


# What it refuses ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (with_data(source="../train"), "the path '../train' leads elsewhere"),
        (with_data(train="mean_file: '/etc/passwd'"), "the path '/etc/passwd' leads elsewhere"),
        (with_data().replace("backend: LMDB", "backend: LEVELDB"), "convert it where Caffe is"),
        (with_data().replace("backend: LMDB", ""), "LevelDB, which is Caffe's default"),
        (with_data(train="mean_value: 1 mean_file: 'mean.binaryproto'"), "mean_file and mean_value are both given"),
        (with_data(batch=0), "batch_size must be above 0"),
        (with_data() + DATA.format(phase="TEST", transform="", source="test", batch=5), "made by a layer above"),
        (
            with_data() + DATA.replace('"data"', '"b"').replace('"label"', '"c"').format(
                phase="TRAIN", transform="", source="test", batch=4
            ),
            "gives data in the same phase",
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_with_data_is_refused(
    place: Path, text: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert imported(definition(place, text), "-o", place / "out") == 2
    error = capsys.readouterr().err
    assert told in error
    assert "net.prototxt:" in error
    assert not (place / "out").exists()


def test_fields_of_data_layers_that_change_nothing_are_listed(place: Path) -> None:
    text = with_data().replace("backend: LMDB", "backend: LMDB prefetch: 7")
    memory = """layer { name: "m" type: "MemoryData" top: "data" top: "label" transform_param { force_color: true }
      memory_data_param { batch_size: 2 channels: 3 height: 4 width: 5 } }\n"""
    for name, content in (("data", text), ("memory", memory + NET)):
        assert imported(definition(place, content), "-o", place / name) == 0
    pages = {name: json.loads((place / name / "fidelity.json").read_text())["ignored"] for name in ("data", "memory")}
    assert [one["field"] for one in pages["data"]] == ["layer data: data_param.prefetch"] * 2  # of TEST and of TRAIN
    assert len({one["place"] for one in pages["data"]}) == 2
    assert [one["field"] for one in pages["memory"]] == ["layer m: transform_param.force_color"]


def test_colours_that_contradict_each_other_are_refused(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = with_data("force_color: true force_gray: true", "force_color: true force_gray: true")
    assert imported(definition(place, text), "-o", place / "out") == 2
    assert "force_color and force_gray are both set" in capsys.readouterr().err


def test_all_that_is_unsupported_is_told_with_its_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = """layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 } } }
layer { name: "a" type: "Nothing" bottom: "x" top: "a" }
layer { name: "b" type: "InnerProduct" bottom: "a" top: "b" inner_product_param { num_output: 2 colour: 3 } }
layer { name: "c" type: "Neither" bottom: "b" top: "c" }
"""
    assert imported(definition(tmp_path, text), "-o", tmp_path / "out") == 2
    error = capsys.readouterr().err
    for line, what in ((2, "Nothing"), (3, "colour"), (4, "Neither")):
        assert any(f"net.prototxt:{line}:" in row and what in row for row in error.splitlines())
    assert not (tmp_path / "out").exists()


def test_a_damaged_file_is_an_exit_code_of_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net = definition(tmp_path, 'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 } } }')
    weights = tmp_path / "w.caffemodel"
    weights.write_bytes(b"\xa2\x06\xff")
    assert imported(net, weights, "-o", tmp_path / "out") == 3
    assert "byte" in capsys.readouterr().err
    broken = definition(tmp_path, "layer { name: ", "broken.prototxt")
    assert imported(broken, "-o", tmp_path / "out") == 3
    assert "broken.prototxt:1:" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net = definition(tmp_path, 'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 } } }')
    assert imported(net, "-o", tmp_path) == 2
    assert "is not empty" in capsys.readouterr().err
    assert imported(net, "-o", tmp_path / "out", "--state", net) == 2
    assert "--solver" in capsys.readouterr().err
    assert imported(net, "-o", tmp_path / "out", "--input", "y=1,2") == 2
    assert "no such input" in capsys.readouterr().err


@pytest.mark.parametrize("phase", ["train", "test"])
def test_real_definitions_are_imported_or_refused_with_everything(
    phase: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = sorted((folder() / "prototxt").iterdir())
    assert len(files) == 45
    for number, file in enumerate(files):
        out = tmp_path / str(number)
        code = imported(file, "--phase", phase, "-o", out)
        error = capsys.readouterr().err
        assert code in (0, 2), f"{file.name}: {error[-500:]}"
        assert out.exists() == (code == 0), file.name
        assert "internal error" not in error, file.name
        if code == 2:
            assert f"{file.name}:" in error


# --check --------------------------------------------------------------------------------------------------------------


def lenet(*more: object) -> tuple[object, ...]:
    models = folder() / "models" / "lenet"
    return models / "lenet.prototxt", models / "lenet_iter_10000.b.caffemodel", "--check", *more


def test_a_reference_with_other_numbers_is_an_exit_code_of_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = dict(arrays("models/lenet_b.npz"))
    reference = folder() / "models" / "lenet_b.npz"
    assert imported(*lenet("--reference", reference, "-o", tmp_path / "a", "--json")) == 0
    assert json.loads(capsys.readouterr().out)["check"]["equal"] is True
    data["rand/out/prob"] = data["rand/out/prob"] + np.float32(3e-5)
    np.savez(tmp_path / "other.npz", **data)
    assert imported(*lenet("--reference", tmp_path / "other.npz", "-o", tmp_path / "b", "--json")) == 1
    [row] = [row for row in json.loads(capsys.readouterr().out)["check"]["layers"] if row["verdict"] != "equal"]
    assert row["layer"] == "prob"
    assert 1e-5 < row["difference"] < 1e-4
    assert "differs" in (tmp_path / "b" / "fidelity.md").read_text()
    np.savez(tmp_path / "nothing.npz", x=np.ones(3))
    assert imported(*lenet("--reference", tmp_path / "nothing.npz", "-o", tmp_path / "c")) == 3
    assert not (tmp_path / "c").exists()


def test_a_reference_may_name_layers_or_blobs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In LeNet ip1 is a layer, and a blob that ReLU overwrites: what pycaffe has under that name is the latter."""
    from layerforge.interop import caffe

    definition, weights, *_ = lenet()
    model = caffe.load_model(str(definition), str(weights))
    net, x = model.net(), arrays("models/lenet_b.npz")["rand/input/data"]
    net.forward(phase="eval", data=x)
    values = {"input/data": x, "out/ip1": np.array(model.blob(net, "ip1").data), "out/prob": net.blobs["prob"].data}
    assert (values["out/ip1"] >= 0).all()
    np.savez(tmp_path / "blobs.npz", **values)
    assert imported(*lenet("--reference", tmp_path / "blobs.npz", "-o", tmp_path / "a")) == 0
    np.savez(tmp_path / "layers.npz", **values | {"out/ip1": net.blobs["ip1.out"].data})
    assert imported(*lenet("--reference", tmp_path / "layers.npz", "-o", tmp_path / "b")) == 0
    np.savez(tmp_path / "other.npz", **values | {"out/ip1": -values["out/ip1"]})
    assert imported(*lenet("--reference", tmp_path / "other.npz", "-o", tmp_path / "c")) == 1
    np.savez(tmp_path / "unknown.npz", **values | {"out/nothing": x})
    assert imported(*lenet("--reference", tmp_path / "unknown.npz", "-o", tmp_path / "d")) == 2


@pytest.mark.parametrize("rows", [[], [Row("", "a", float("nan"), 1e-5, "not compared: it reads labels")]])
def test_what_compares_nothing_is_not_equal(rows: list[Row]) -> None:
    compared = Comparison("OpenCV", rows)
    assert not compared.equal
    assert table(compared)[-1].startswith("nothing was compared")
    assert Comparison("OpenCV", [*rows, Row("", "b", 0.0, 1e-5)]).equal
    assert not Comparison("OpenCV", [*rows, Row("", "b", 0.0, 1e-5), Row("", "c", 1.0, 1e-5)]).equal


def test_opencv_computes_every_layer_alike(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    demand("cv2")
    assert imported(*lenet("-o", tmp_path / "a", "--json")) == 0
    rows = json.loads(capsys.readouterr().out)["check"]["layers"]
    assert [row["layer"] for row in rows] == ["conv1", "pool1", "conv2", "pool2", "ip1", "relu1", "ip2", "prob"]
    assert all(row["verdict"] == "equal" and row["difference"] < 1e-5 for row in rows)


def test_without_opencv_the_line_that_installs_it_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    known = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name == "cv2" else known(name, *more))
    monkeypatch.setitem(sys.modules, "cv2", None)
    assert imported(*lenet("-o", tmp_path / "a")) == 2
    assert "pip install 'layerforge[opencv]'" in capsys.readouterr().err
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(
    ("program", "told"),
    [("import os; os.abort()", "crashed"), ("import sys; sys.exit('error: no such layer')", "no such layer")],
)
def test_a_crash_of_opencv_is_told_and_says_nothing_of_the_net(
    program: str, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    demand("cv2")
    (tmp_path / "opencv_child.py").write_text(program)
    monkeypatch.setattr("layerforge.interop.caffe.opencv.PROGRAM", tmp_path / "opencv_child.py")
    assert imported(*lenet("-o", tmp_path / "a")) == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "a").exists()
    assert Path(opencv_child.__file__).is_file()


# Preprocessing --------------------------------------------------------------------------------------------------------


def test_predictions_from_images_are_those_of_the_evaluation(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    demand("PIL")
    from PIL import Image

    from layerforge.interop import caffe

    params = "scale: 0.01 mean_value: 100 mean_value: 110 mean_value: 120 crop_size: 6"
    net = definition(place, with_data(params, params))
    caffe.save_model(caffe.load_model(net).net(), place / "w.prototxt", place / "w.caffemodel")
    assert imported(net, place / "w.caffemodel", "-o", place / "out") == 0
    images = np.random.default_rng(0).integers(0, 256, (22, 3, 8, 10), dtype=np.uint8)
    Image.fromarray(images[12, ::-1].transpose(1, 2, 0)).save(place / "one.png")  # blue, green, red in the database
    capsys.readouterr()
    files = [str(place / name) for name in ("out", "one.png")]
    assert main(["predict", *files, "--blob", "fc", "-o", str(place / "p.npz")]) == 0
    model = caffe.load_model(net, place / "w.caffemodel")
    runner = model.net()
    means = np.array([100, 110, 120]).reshape(3, 1, 1)
    x = ((images[12:13] - means) * 0.01)[:, :, 1:7, 2:8].astype(np.float32)
    runner.forward(phase="eval", data=x, label=np.zeros(1))
    with np.load(place / "p.npz") as file:
        found = next(file[name] for name in file.files if file[name].shape == (1, 3))
    np.testing.assert_allclose(found, model.blob(runner, "fc").data, rtol=1e-5, atol=1e-6)


# Other ways in --------------------------------------------------------------------------------------------------------


def test_dummy_data_feeds_a_net_that_nothing_else_feeds(tmp_path: Path) -> None:
    text = """layer { name: "d" type: "DummyData" top: "data" top: "label" dummy_data_param {
      shape { dim: 4 dim: 5 } shape { dim: 4 } data_filler { type: "gaussian" std: 2 } data_filler { value: 1 } } }\n"""
    assert imported(definition(tmp_path, text + NET), "-o", tmp_path / "out") == 0
    made = tree(tmp_path)
    blobs = made["data"]["train"]["blobs"]
    assert blobs["data"] == {"shape": [5], "filler": {"type": "gaussian", "mean": 0.0, "std": 2.0}}
    assert blobs["label"] == {"shape": [], "filler": {"type": "constant", "value": 1.0}}
    run = ["solver.lr=0.1", "train.max_steps=2", "--output-dir", str(tmp_path / "runs"), "-q"]
    assert main(["train", str(tmp_path / "out" / "train.yaml"), *run]) == 0


LEVELS = """state { level: 2 }
layer { name: "d" type: "DummyData" top: "x" top: "t" dummy_data_param { shape { dim: 2 dim: 3 } } }
layer { name: "r" type: "ReLU" bottom: "x" top: "y" include { min_level: 1 } }
layer { name: "s" type: "Sigmoid" bottom: "x" top: "y" include { max_level: 0 } }
layer { name: "l" type: "EuclideanLoss" bottom: "y" bottom: "t" top: "l" }"""


@pytest.mark.parametrize(
    ("said", "options", "kind"),
    [("", (), "ReLU"), ("train_state { level: 0 }", (), "Sigmoid"), ("", ("--level", "0"), "Sigmoid")],
)
def test_a_level_of_the_nets_own_state_counts_for_training(
    said: str, options: tuple[str, ...], kind: str, tmp_path: Path
) -> None:
    net, solver = definition(tmp_path, LEVELS), definition(tmp_path, SOLVER + said, "solver.prototxt")
    assert imported(net, "--solver", solver, *options, "-o", tmp_path / "out") == 0
    kinds = [item["type"] for item in tree(tmp_path)["net"] if item.get("phase") != "eval"]
    assert kind in kinds
    assert len({"ReLU", "Sigmoid"} & set(kinds)) == 1
    assert "state.level" in (tmp_path / "out" / "fidelity.md").read_text()


def test_a_phase_of_the_nets_own_state_is_refused_for_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    net = definition(tmp_path, LEVELS.replace("level: 2", "phase: TRAIN"))
    assert imported(net, "-o", tmp_path / "out") == 2
    assert "net.prototxt:1:9" in capsys.readouterr().err


DUMMY = """layer { name: "d" type: "DummyData" top: "data" top: "label" dummy_data_param {
  shape { dim: 4 dim: 5 } shape { dim: 4 } data_filler { type: "gaussian" } data_filler { value: 1 } } }\n"""


def weights_of(place: Path, name: str, value: float) -> Path:
    """A file of weights for the net of DUMMY, all of one value."""
    from layerforge.interop import caffe

    model = caffe.load_model(definition(place, DUMMY + NET))
    model.set_blobs("fc", [np.full((3, 5), value), np.full(3, value)])
    caffe.save_model(model.net(), place / "w.prototxt", place / name)
    return place / name


def started_from(place: Path, folder: str, *options: object) -> float:
    """What the weights of an imported net are."""
    assert imported(place / "net.prototxt", *options, "-o", place / folder) == 0
    return float(read_snapshot(place / folder / "weights.h5")[0]["params/fc/weight"][0, 0])


def test_a_solver_names_weights_to_start_from(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, other = weights_of(tmp_path, "a.caffemodel", 2), weights_of(tmp_path, "b.caffemodel", 3)
    said = SOLVER.replace("net.prototxt", "other/train_val.prototxt")
    solver = definition(tmp_path, said + "weights: 'a.caffemodel'", "solver.prototxt")
    assert started_from(tmp_path, "named", "--solver", solver) == 2
    assert "it is for the net other/train_val.prototxt" in capsys.readouterr().err
    assert started_from(tmp_path, "given", other, "--solver", solver) == 3
    assert f"its weights {first} are left aside" in capsys.readouterr().err
    definition(tmp_path, SOLVER + "weights: 'a.caffemodel, b.caffemodel'", "solver.prototxt")
    assert started_from(tmp_path, "both", "--solver", solver) == 3
    assert "it is for the net" not in capsys.readouterr().err


def test_weights_of_a_solver_that_are_not_there_are_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    net = definition(tmp_path, DUMMY + NET)
    solver = definition(tmp_path, SOLVER + "weights: 'missing.caffemodel'", "solver.prototxt")
    assert imported(net, "--solver", solver, "-o", tmp_path / "out") in (2, 3)
    assert "missing.caffemodel" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_layers_of_type_python_are_those_of_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = """from layerforge import Example, Layer, Spec, register

@register
class TwiceOfImports(Layer):
    \"\"\"TwiceOfImports: y = 2 x.\"\"\"

    examples = [Example({}, [Spec((2, 3))])]

    def setup(self, x):
        return x

    def forward(self, x):
        return 2 * x

    def backward(self, dy):
        return 2 * dy
"""
    (tmp_path / "mine.py").write_text(code)
    text = """layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 } } }
    layer { name: "t" type: "Python" bottom: "x" top: "t" python_param { module: "m" layer: "TwiceOfImports" } }"""
    net = definition(tmp_path, text)
    assert imported(net, "-o", tmp_path / "out") == 2
    assert "TwiceOfImports" in capsys.readouterr().err
    try:
        assert imported(net, "-o", tmp_path / "out", "--import", tmp_path / "mine.py") == 0
        assert "import: [../mine.py]" in (tmp_path / "out" / "net.yaml").read_text()
        run_apart([sys.executable, "-m", "layerforge", "check", "out/net.yaml", "--allow-import"], tmp_path)
    finally:
        LAYERS.remove("TwiceOfImports")


def test_a_snapshot_of_a_training_is_enough(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Caffe's snapshots hold the TRAIN net alone; what its data are must be said."""
    weights = folder() / "models" / "lenet" / "lenet_iter_10000.b.caffemodel"
    assert imported(weights, "-o", tmp_path / "out") == 2
    assert "--input data=" in capsys.readouterr().err
    assert imported(weights, "-o", tmp_path / "out", "--input", "data=2,1,28,28") == 0
    assert "that of TRAIN" in (tmp_path / "out" / "fidelity.md").read_text()
    data = arrays("models/lenet_b.npz")
    np.save(tmp_path / "x.npy", np.clip(data["rand/input/data"] * 256, 0, 255).astype(np.uint8))
    assert main(["predict", str(tmp_path / "out"), str(tmp_path / "x.npy"), "-o", str(tmp_path / "p.npz")]) == 0


def test_weights_in_hdf5_hold_no_definition(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = folder() / "models" / "cifar10_quick" / "b.cifar10_quick_iter_5000.caffemodel.h5"
    assert imported(weights, "-o", tmp_path / "out") == 2
    assert "no definition" in capsys.readouterr().err


def test_spoilt_files_end_in_an_error_of_ours(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Seeded changes of a definition, its weights and its solver: imported, or refused with nothing written."""
    from layerforge.interop import caffe

    net, solver = definition(place, with_data()), definition(place, SOLVER, "solver.prototxt")
    caffe.save_model(caffe.load_model(net).net(), place / "w.prototxt", place / "w.caffemodel")
    files = [net, net, net, solver, place / "w.caffemodel"]
    whole = {file: file.read_bytes() for file in files}
    codes = set()
    for seed in range(150):
        generator = np.random.default_rng(seed)
        file = files[generator.integers(len(files))]
        file.write_bytes(spoilt(whole[file], generator))
        code = imported(net, place / "w.caffemodel", "--solver", solver, "-o", place / f"out{seed}")
        error = capsys.readouterr().err
        assert code in (0, 2, 3), f"{seed}: {error}"
        assert "internal error" not in error, seed
        assert (place / f"out{seed}").exists() == (code == 0), seed
        file.write_bytes(whole[file])
        codes.add(code)
    assert codes == {0, 2, 3}


def spoilt(content: bytes, generator: np.random.Generator) -> bytes:
    """With a few bytes changed, taken out, or there twice."""
    made = bytearray(content)
    for _ in range(generator.integers(1, 4)):
        at, length = int(generator.integers(len(made))), int(generator.choice([1, 4, 40]))
        kind = generator.integers(3)
        if kind == 0:
            made[at] = int(generator.integers(32, 127))
        elif kind == 1:
            del made[at : at + length]
        else:
            made[at:at] = made[at : at + length]
    return bytes(made)


# --check with OpenCV, of nets of one layer or two --------------------------------------------------------------------

INPUT = 'layer { name: "%s" type: "Input" top: "%s" input_param { shape { %s } } }\n'


def an_input(name: str, *shape: int) -> str:
    return INPUT % (name, name, " ".join(f"dim: {length}" for length in shape))


IMAGE = an_input("x", 2, 4, 6, 6)
ALONE = 'layer { name: "y" type: "%s" bottom: "x" top: "y" %s }'


@pytest.mark.parametrize(
    "text",
    [
        IMAGE + ALONE % ("LRN", ""),
        IMAGE + ALONE % ("LRN", "lrn_param { k: 2 alpha: 0.5 local_size: 3 }"),
        IMAGE + ALONE % ("LRN", "lrn_param { norm_region: WITHIN_CHANNEL local_size: 3 }"),
        IMAGE + ALONE % ("Pooling", "pooling_param { global_pooling: true }"),
        IMAGE + ALONE % ("Permute", "permute_param { order: 2 }"),
        IMAGE + ALONE % ("Slice", 'top: "z"'),
        IMAGE
        + an_input("i", 2, 3, 9, 9)
        + 'layer { name: "p" type: "PriorBox" bottom: "x" bottom: "i" top: "p" prior_box_param { min_size: 4 } }',
        an_input("a", 1, 4, 1, 1)
        + an_input("b", 1, 4, 3, 3)
        + an_input("c", 1, 4, 3, 3)
        + 'layer { name: "y" type: "Axpy" bottom: "a" bottom: "b" bottom: "c" top: "y" }',
    ],
)
def test_what_opencv_reads_otherwise_is_compared_as_caffe_means_it(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    demand("cv2")
    assert imported(definition(tmp_path, text), "--check", "-o", tmp_path / "out", "--json") == 0
    assert json.loads(capsys.readouterr().out)["check"]["layers"]


def test_second_tops_are_compared_before_opencv_writes_over_them(tmp_path: Path) -> None:
    demand("cv2")
    text = IMAGE + ALONE % ("Slice", 'top: "z" slice_param { slice_point: 2 }')
    for number in range(3):
        bottom = f"b{number - 1}" if number else "z"
        text += f'\nlayer {{ name: "b{number}" type: "Power" bottom: "{bottom}" top: "b{number}"'
        text += " power_param { scale: 3 shift: 1 } }"
    assert imported(definition(tmp_path, text), "--check", "-o", tmp_path / "out") == 0


LABELLED = (
    an_input("label", 2)
    + IMAGE
    + """layer { name: "fc" type: "InnerProduct" bottom: "x" top: "fc"
  inner_product_param { num_output: 3 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" }
layer { name: "accuracy" type: "Accuracy" bottom: "fc" bottom: "label" top: "accuracy" }
"""
)


def test_losses_and_metrics_are_left_out_of_the_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    demand("cv2")
    assert imported(definition(tmp_path, LABELLED), "--check", "-o", tmp_path / "out", "--json") == 0
    rows = {row["layer"]: row["verdict"] for row in json.loads(capsys.readouterr().out)["check"]["layers"]}
    assert rows == {"fc": "equal", "loss": "not compared: it is a loss", "accuracy": "not compared: it is a metric"}


def test_inputs_that_are_indices_are_whole_and_in_range(tmp_path: Path) -> None:
    from layerforge.interop import caffe
    from layerforge.interop.caffe.twin import drawn

    text = (
        an_input("words", 4, 6)
        + """layer { name: "f" type: "Flatten" bottom: "words" top: "f" }
    layer { name: "e" type: "Embed" bottom: "f" top: "e" embed_param { input_dim: 5 num_output: 2 } }"""
    )
    words = drawn(caffe.load_model(definition(tmp_path, text)), np.random.default_rng(0))["words"]
    assert set(words.ravel()) == {0, 1, 2, 3, 4}


def test_what_opencv_does_not_know_is_told_without_its_insides(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    demand("cv2")
    text = IMAGE + ALONE % ("Threshold", "")
    assert imported(definition(tmp_path, text), "--check", "-o", tmp_path / "out") == 2
    error = capsys.readouterr().err
    assert "it has no layer of type Threshold (layer 'y')" in error
    assert "leave out --check" in error
    assert "/opencv/" not in error
    assert not (tmp_path / "out").exists()


def test_an_opencv_that_cannot_be_imported_is_told_with_the_line_that_helps(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    demand("cv2")
    (tmp_path / "cv2.py").write_text("raise ImportError('libGL.so.1: cannot open shared object file')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert imported(definition(tmp_path, IMAGE + ALONE % ("ReLU", "")), "--check", "-o", tmp_path / "out") == 2
    error = capsys.readouterr().err
    assert "cannot be imported: libGL.so.1" in error
    assert "pip install 'opencv-python-headless" in error
    assert "does not take this net" not in error


def test_a_reference_of_another_shape_names_its_array(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net = definition(tmp_path, IMAGE + ALONE % ("InnerProduct", "inner_product_param { num_output: 2 }"))
    file = tmp_path / "r.npz"
    np.savez(file, **{"a/input/x": np.ones((2, 4, 5, 6), np.float32), "a/out/y": np.ones((2, 2), np.float32)})
    assert imported(net, "--check", "--reference", file, "-o", tmp_path / "out") == 2
    assert f"{file}: a/input/x has the shape (2, 4, 5, 6)" in capsys.readouterr().err


def test_what_is_not_finite_on_both_sides_is_not_equal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net, nan = definition(tmp_path, IMAGE + ALONE % ("TanH", "")), np.full((2, 4, 6, 6), np.nan, np.float32)
    np.savez(tmp_path / "r.npz", **{"input/x": nan, "out/y": nan})
    options = ("--check", "--reference", tmp_path / "r.npz", "-o", tmp_path / "out")
    assert imported(net, *options) == 1
    assert "no number is finite" in capsys.readouterr().out


# What a newcomer gives it ---------------------------------------------------------------------------------------------

UNFED = DATA.format(phase="TEST", transform="", source="db", batch=4) + NET


def test_the_hint_for_shapes_asks_for_what_is_needed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert imported(definition(tmp_path, UNFED), "-o", tmp_path / "out") == 2
    error = capsys.readouterr().err
    assert "--input data=1,3,224,224" in error
    assert "label=1,3" not in error
    assert "--data-root" in error
    text = UNFED.replace('"Data"', '"HDF5Data"').replace("backend: LMDB", "").replace("data_param", "hdf5_data_param")
    text = text.replace("transform_param {  }", "")
    assert imported(definition(tmp_path, text), "-o", tmp_path / "out") == 2
    assert "--input data=1,3,224,224 --input label=1" in capsys.readouterr().err


def test_a_damaged_database_is_the_only_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    demand("lmdb")
    (tmp_path / "db").mkdir()
    (tmp_path / "db" / "data.mdb").write_bytes(b"no database" * 1000)
    assert imported(definition(tmp_path, UNFED), "-o", tmp_path / "out") == 3
    error = capsys.readouterr().err
    assert "data.mdb" in error
    assert "is not known without its data" not in error


def test_weights_that_do_not_fit_are_all_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from layerforge.interop import caffe

    inner = 'layer { name: "%s" type: "InnerProduct" bottom: "x" top: "%s" inner_product_param { num_output: %d } }\n'
    first = IMAGE + inner % ("a", "a", 3) + inner % ("b", "b", 3)
    other = IMAGE + inner % ("a", "a", 4) + inner % ("b", "b", 5)
    caffe.save_model(
        caffe.load_model(definition(tmp_path, first)).net(), tmp_path / "w.prototxt", tmp_path / "w.caffemodel"
    )
    weights = tmp_path / "w.caffemodel"
    assert imported(definition(tmp_path, other), weights, "-o", tmp_path / "out") == 2
    error = capsys.readouterr().err
    assert error.count(str(weights)) == 2
    assert "layer 'a'" in error
    assert "layer 'b'" in error
    assert "give the layer another name in the definition" in error


def test_quiet_is_without_notes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--solver", definition(tmp_path, SOLVER, "solver.prototxt"))
    net = definition(tmp_path, IMAGE + ALONE % ("ReLU", ""))
    assert imported(net, *options, "-o", tmp_path / "a") == 0
    assert "No layer has a loss" in capsys.readouterr().err
    assert imported(net, *options, "-o", tmp_path / "b", "-q") == 0
    assert capsys.readouterr().err == ""


def test_misspelt_types_and_blobs_are_guessed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = IMAGE + ALONE % ("Convolutoin", "") + '\nlayer { name: "z" type: "ReLU" bottom: "X" top: "z" }'
    assert imported(definition(tmp_path, text), "-o", tmp_path / "out") == 2
    error = capsys.readouterr().err
    assert "did you mean 'Convolution'?" in error
    assert "did you mean 'x'?" in error


def test_a_solver_and_a_net_in_each_others_place_are_told_apart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    net, solver = definition(tmp_path, IMAGE + NET), definition(tmp_path, SOLVER, "solver.prototxt")
    assert imported(solver, "-o", tmp_path / "out") == 2
    error = capsys.readouterr().err
    assert "is the definition of a solver, not of a net" in error
    assert error.count("error:") == 1
    assert imported(net, "--solver", net, "-o", tmp_path / "out") == 2
    error = capsys.readouterr().err
    assert "is the definition of a net, not of a solver" in error
    assert error.count("error:") == 1


def test_a_state_of_another_iteration_than_the_weights_is_noted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = folder() / "models" / "cifar10_quick"
    state, net = model / "b.cifar10_quick_iter_4000.solverstate", model / "cifar10_quick_train_test.prototxt"
    rule = 'base_lr: 0.001 momentum: 0.9 weight_decay: 0.004 lr_policy: "fixed" max_iter: 4100'
    solver, weights = definition(tmp_path, rule, "solver.prototxt"), tmp_path / "quick_iter_7.caffemodel"
    weights.write_bytes((model / "b.cifar10_quick_iter_4000.caffemodel").read_bytes())
    options = ("--solver", solver, "--state", state, "--input", "data=2,3,32,32", "-o", tmp_path / "out")
    assert imported(net, weights, *options) == 0, "the command failed"
    assert f"is of iteration 4000, its weights {weights}" in capsys.readouterr().err
