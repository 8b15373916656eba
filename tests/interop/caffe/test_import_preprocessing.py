"""How images become the input of an imported net: what is known, what is not, and what both configurations say."""

from __future__ import annotations

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
