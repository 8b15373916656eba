"""Weights that an import is given: none, none that belong to the net, and files with nothing in them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.tools import demand

from layerforge.cli import main
from layerforge.interop import caffe

NET = """layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 3 dim: 8 dim: 10 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 4 kernel_size: 3 } }
layer { name: "bn" type: "BatchNorm" bottom: "conv" top: "conv" }
layer { name: "scale" type: "Scale" bottom: "conv" top: "conv" scale_param { bias_term: true } }
layer { name: "relu" type: "PReLU" bottom: "conv" top: "conv" }
layer { name: "fc" type: "InnerProduct" bottom: "conv" top: "fc" inner_product_param { num_output: 3 } }
"""
RELU = NET.splitlines()[0] + 'layer { name: "relu" type: "ReLU" bottom: "data" top: "relu" }'


def imported(*arguments: object) -> int:
    return main(["import", "caffe", *map(str, arguments)])


def model_of(place: Path, text: str = NET, name: str = "net") -> tuple[Path, Path]:
    """A definition, and weights for it."""
    net, weights = place / f"{name}.prototxt", place / f"{name}.caffemodel"
    net.write_text(text)
    caffe.save_model(caffe.load_model(net).net(), place / "again.prototxt", weights)
    return net, weights


def test_weights_of_another_net_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net, _ = model_of(tmp_path)
    _, other = model_of(tmp_path, NET.replace('name: "', 'name: "other_'), "other")
    assert imported(net, other, "-o", tmp_path / "out") == 2
    error = capsys.readouterr().err
    for word in ("none of its layers is in the definition", str(other), str(net), "other_conv", "conv, bn"):
        assert word in error
    assert not (tmp_path / "out").exists()


def test_weights_of_some_layers_are_taken_with_a_note(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net, _ = model_of(tmp_path)
    _, other = model_of(tmp_path, NET.replace('name: "fc"', 'name: "head"'), "other")
    assert imported(net, other, "-o", tmp_path / "out") == 0
    error = capsys.readouterr().err
    assert "no weights for layer 'fc'" in error
    assert "layer 'head'" in error


def test_weights_without_a_blob_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net, _ = model_of(tmp_path)
    _, bare = model_of(tmp_path, RELU, "bare")
    assert imported(net, bare, "-o", tmp_path / "out") == 2
    assert "holds no weights" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_file_with_nothing_in_it_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net, _ = model_of(tmp_path)
    empty, blank = tmp_path / "empty.caffemodel", tmp_path / "empty.prototxt"
    empty.touch()
    assert imported(net, empty, "-o", tmp_path / "out") == 3
    assert "empty.caffemodel: is empty" in capsys.readouterr().err
    assert imported(empty, "-o", tmp_path / "out") == 3
    assert "is empty" in capsys.readouterr().err
    for text in ("", " \n", "# nothing\n", 'name: "net"\n'):
        blank.write_text(text)
        assert imported(blank, "-o", tmp_path / "out") == 2
        error = capsys.readouterr().err
        assert "empty.prototxt" in error
        assert "no layers" in error
    assert not (tmp_path / "out").exists()


def test_without_weights_it_is_said_that_layers_start_from_fillers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    net, weights = model_of(tmp_path)
    assert imported(net, "-o", tmp_path / "out") == 0
    told = "no weights were given: all layers start from their fillers"
    assert told in capsys.readouterr().err
    assert told in (tmp_path / "out" / "fidelity.md").read_text()
    assert main(["predict", str(tmp_path / "out"), "--describe"]) == 3
    error = capsys.readouterr().err
    assert "the import had no weights" in error
    assert "neither a run" not in error
    assert imported(net, weights, "-o", tmp_path / "second") == 0
    assert "fillers" not in capsys.readouterr().err
    bare = tmp_path / "bare.prototxt"
    bare.write_text(RELU)
    assert imported(bare, "-o", tmp_path / "third") == 0
    assert "fillers" not in capsys.readouterr().err


def test_check_draws_weights_where_none_were_given(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Caffe's fillers are 0 unless a definition says otherwise: nothing but zeros would be compared."""
    demand("cv2")
    from layerforge.interop.caffe.opencv import against_opencv

    net, _ = model_of(tmp_path)
    compared = against_opencv(caffe.load_model(net))
    assert compared.equal
    assert "weights drawn" in compared.against
    assert imported(net, "-o", tmp_path / "out", "--check", "--json") == 0
    check = json.loads(capsys.readouterr().out)["check"]
    assert "weights drawn" in check["against"]
    assert any(0 < row["difference"] < 1e-4 for row in check["layers"])
