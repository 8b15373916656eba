"""How images become the input of an imported net: what is known, what is not, and what both configurations say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.tools import demand

import layerforge
from layerforge.cli import main
from layerforge.config.yaml_file import parse_yaml
from layerforge.data.lmdb_writing import write_lmdb, write_mean_image
from layerforge.interop import caffe
from layerforge.schema.errors import ConfigError

INPUT = 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 3 dim: 8 dim: 10 } } }\n'
NET = """layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc"
  inner_product_param { num_output: 3 weight_filler { type: "xavier" } } }
"""
DATA = """layer {{ name: "data" type: "Data" top: "data" top: "label" include {{ phase: {phase} }}
  transform_param {{ {transform} }} data_param {{ source: "{source}" batch_size: 4 backend: LMDB }} }}
"""
LOSS = 'layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" }\n'
IMAGES = np.random.default_rng(0).integers(0, 256, (12, 3, 8, 10), dtype=np.uint8)


def imported(*arguments: object) -> int:
    return main(["import", "caffe", *map(str, arguments)])


def predicted(*arguments: object) -> int:
    return main(["predict", *map(str, arguments)])


def deployed(place: Path) -> tuple[Path, Path]:
    """A definition without data, and weights."""
    net, weights = place / "net.prototxt", place / "w.caffemodel"
    net.write_text(INPUT + NET)
    caffe.save_model(caffe.load_model(net).net(), place / "w.prototxt", weights)
    return net, weights


def trained(place: Path, transform: str) -> tuple[Path, Path]:
    """A definition with two databases of images 3 x 8 x 10, and weights."""
    demand("lmdb")
    net, weights = place / "net.prototxt", place / "w.caffemodel"
    for name in ("train", "test"):
        write_lmdb(place / name, IMAGES, np.arange(12) % 3)
    write_mean_image(place / "mean.binaryproto", IMAGES.mean(axis=0))
    phases = {"TRAIN": "train", "TEST": "test"}
    data = "".join(DATA.format(phase=p, transform=transform, source=source) for p, source in phases.items())
    net.write_text(data + NET + LOSS)
    caffe.save_model(caffe.load_model(net).net(), place / "w.prototxt", weights)
    return net, weights


def image(place: Path, suffix: str = ".png") -> Path:
    demand("PIL")
    from PIL import Image

    path = place / f"one{suffix}"
    Image.fromarray(IMAGES[0].transpose(1, 2, 0)).save(path)
    return path


def section(place: Path) -> dict[str, Any]:
    return dict(parse_yaml((place / "out" / "train.yaml").read_text(), "train.yaml"))["data"]


# What is not known ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_an_image_is_refused_where_its_preprocessing_is_not_known(
    tmp_path: Path, suffix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert imported(*deployed(tmp_path), "-o", tmp_path / "out") == 0
    assert "prepared arrays" in (tmp_path / "out" / "fidelity.md").read_text()
    assert predicted(tmp_path / "out", image(tmp_path, suffix)) == 2
    error = capsys.readouterr().err
    assert f"one{suffix}" in error
    for option in ("--scale", "--mean-value", "--mean-file", "--color"):
        assert option in error


def test_arrays_go_on_as_they_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net, weights = deployed(tmp_path)
    assert imported(net, weights, "-o", tmp_path / "out") == 0
    x = np.random.default_rng(1).standard_normal((5, 3, 8, 10)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    np.savez(tmp_path / "x.npz", data=x)
    model = layerforge.load_model(tmp_path / "out")
    expected = caffe.load_model(net, weights).net().forward(phase="eval", data=x)["fc"].data
    np.testing.assert_allclose(model.scores(x), expected, rtol=1e-5, atol=1e-5)
    for name in ("x.npy", "x.npz"):
        assert predicted(tmp_path / "out", tmp_path / name, "-o", tmp_path / "p.npz") == 0
        with np.load(tmp_path / "p.npz") as file:
            np.testing.assert_allclose(file["values"], expected, rtol=1e-5, atol=1e-5)


def test_bytes_are_refused_where_no_scaling_is_known(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert imported(*deployed(tmp_path), "-o", tmp_path / "out") == 0
    np.save(tmp_path / "x.npy", IMAGES)
    assert predicted(tmp_path / "out", tmp_path / "x.npy") == 2
    assert "input 'data' is given as uint8" in capsys.readouterr().err


def test_images_in_python_are_refused_too_and_by_a_copy_of_the_model(tmp_path: Path) -> None:
    demand("PIL")
    from PIL import Image

    assert imported(*deployed(tmp_path), "-o", tmp_path / "out") == 0
    path = image(tmp_path)
    model = layerforge.load_model(tmp_path / "out")
    model.save(tmp_path / "copy")
    pixels = Image.fromarray(IMAGES[0].transpose(1, 2, 0))
    for one in (model, layerforge.load_model(tmp_path / "copy")):
        for value in (path, [str(path)], pixels, [pixels]):
            with pytest.raises(ConfigError, match="how images become"):
                one.predict(value)


def test_a_missing_mean_image_is_said_and_images_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    net, weights = trained(tmp_path, "mean_file: 'mean.binaryproto'")
    (tmp_path / "mean.binaryproto").unlink()
    assert imported(net, weights, "-o", tmp_path / "out") == 0
    error = capsys.readouterr().err
    assert "note" in error
    assert "mean.binaryproto" in error
    assert predicted(tmp_path / "out", image(tmp_path)) == 2
    assert "--mean-file" in capsys.readouterr().err


def test_data_that_are_not_here_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import shutil

    net, weights = trained(tmp_path, "scale: 0.5")
    shutil.rmtree(tmp_path / "train")
    more = ["--input", "data=4,3,8,10"]
    assert imported(net, weights, "-o", tmp_path / "out", *more) == 0
    error = capsys.readouterr().err
    assert error.count("its data are not here") == 1
    assert str(tmp_path / "train") in error


# What is stated -------------------------------------------------------------------------------------------------------


def batch(place: Path) -> np.ndarray:
    """The first images of val as the net of train.yaml sees them."""
    from layerforge.config.document import Config
    from layerforge.data.opening import open_data

    data = Config.load(place / "out" / "train.yaml").data
    found = open_data(data, seed=0, dtype="float32").loaders["val"].batch(0, 0).blobs["data"]
    return np.asarray(found)


@pytest.mark.parametrize(
    ("transform", "options", "expected"),
    [
        ("mean_file: 'mean.binaryproto'", ["--color", "rgb"], IMAGES - IMAGES.mean(axis=0)),
        ("mean_file: 'mean.binaryproto'", ["--mean-value", "1,2,4"], IMAGES - np.reshape([1, 2, 4], (3, 1, 1))),
        ("mean_value: 8", ["--scale", "0.5", "--color", "rgb"], (IMAGES - 8.0) * 0.5),
        ("scale: 0.5", ["--mean-value", "8"], (IMAGES - 8.0) * 0.5),
        ("mean_value: 8 scale: 0.25", ["--mean-file", "mean.binaryproto"], (IMAGES - IMAGES.mean(axis=0)) * 0.25),
    ],
)
def test_what_is_stated_holds_for_training_too(
    tmp_path: Path, transform: str, options: list[str], expected: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of one image what `predict` shows net.yaml, and what val shows the net of train.yaml."""
    net, weights = trained(tmp_path, transform)
    monkeypatch.chdir(tmp_path)
    assert imported(net, weights, "-o", tmp_path / "out", *options) == 0
    np.testing.assert_allclose(batch(tmp_path)[0], expected[0], rtol=1e-5, atol=1e-4)
    color = "rgb" if "rgb" in options else "bgr"
    for part in ("train", "val"):
        assert section(tmp_path)[part].get("color", "bgr") == color
    pixels = IMAGES[0] if color == "rgb" else IMAGES[0, ::-1]  # the file is read as red, green and blue
    model = layerforge.load_model(tmp_path / "out")
    np.testing.assert_allclose(
        model.blobs(pixels.transpose(1, 2, 0), ["data"])["data"], expected[0], rtol=1e-5, atol=1e-4
    )


def test_a_net_that_was_trained_on_sees_colours_in_the_order_that_was_stated(tmp_path: Path) -> None:
    demand("PIL")
    net, weights = trained(tmp_path, "mean_file: 'mean.binaryproto'")
    assert imported(net, weights, "-o", tmp_path / "out", "--color", "rgb") == 0
    start = ["--init-weights", str(tmp_path / "out" / "weights.h5"), "--output-dir", str(tmp_path / "runs"), "-q"]
    settings = ["solver.lr=1e-12", "train.max_steps=1", "--name", "on"]
    assert main(["train", str(tmp_path / "out" / "train.yaml"), *settings, *start]) == 0
    path = image(tmp_path)
    scores = [layerforge.load_model(tmp_path / name).scores(path) for name in ("out", "runs/on")]
    np.testing.assert_allclose(scores[1], scores[0], rtol=1e-4, atol=1e-4)


def test_lists_of_images_get_the_order_too(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("one.png 0\n")
    image(tmp_path)
    text = """layer { name: "data" type: "ImageData" top: "data" top: "label"
      image_data_param { source: "list.txt" root_folder: "./" batch_size: 1 new_height: 8 new_width: 10 } }\n"""
    (tmp_path / "net.prototxt").write_text(text + NET + LOSS)
    assert imported(tmp_path / "net.prototxt", "-o", tmp_path / "out", "--color", "rgb") == 0
    np.testing.assert_array_equal(batch(tmp_path)[0], IMAGES[0])


def test_the_account_lists_what_holds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net, weights = trained(tmp_path, "mean_file: 'mean.binaryproto' scale: 0.5")
    stated = ["--mean-value", "104,117,123", "--scale", "0.0078125", "--color", "rgb"]
    assert imported(net, weights, "-o", tmp_path / "out", *stated) == 0
    page = (tmp_path / "out" / "fidelity.md").read_text().partition("## Preprocessing")[2]
    assert "mean value: 104, 117, 123" in page
    assert "scale: 0.0078125" in page
    assert "channels: rgb" in page
    assert "mean.binaryproto" not in page
    notes = (tmp_path / "out" / "fidelity.md").read_text()
    assert "prepared as the import says with --mean-value, --color, --scale" in notes
    capsys.readouterr()
    assert main(["predict", str(tmp_path / "out"), "--describe"]) == 0
    told = capsys.readouterr().out
    assert "images of 8 x 10, channels rgb" in told
    assert "minus 104.0, 117.0, 123.0" in told
    assert "times 0.0078125" in told


def test_a_mean_image_is_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net, weights = trained(tmp_path, "mean_file: 'mean.binaryproto'")
    assert imported(net, weights, "-o", tmp_path / "out") == 0
    page = (tmp_path / "out" / "fidelity.md").read_text().partition("## Preprocessing")[2]
    assert f"mean file: {tmp_path / 'mean.binaryproto'}" in page
    assert "channels: bgr" in page
    capsys.readouterr()
    assert main(["predict", str(tmp_path / "out"), "--describe", "--json"]) == 0
    prepared = json.loads(capsys.readouterr().out)["inputs"]["data"]["images"]
    assert prepared == {"size": [8, 10], "channels": "bgr", "mean": "an image of 3 x 8 x 10", "scale": 1.0}


@pytest.mark.parametrize("scale", ["nan", "inf", "-inf", "0", "x", "1,2"])
def test_a_scale_that_is_no_number_is_refused(tmp_path: Path, scale: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert imported(*deployed(tmp_path), "-o", tmp_path / "out", f"--scale={scale}") == 2
    assert "--scale" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
