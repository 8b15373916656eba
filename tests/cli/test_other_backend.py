"""A run that was trained on CuPy, used from the command line where there is none: the stand-in is taken away."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import strict_cupy
from support.tools import demand

from layerforge import load_model, train
from layerforge.cli import main
from layerforge.config import Config
from layerforge.config.other_backend import moved
from layerforge.config.yaml_file import parse_yaml
from layerforge.schema.errors import BackendError
from layerforge.snapshot import read_snapshot, write_snapshot
from layerforge.training.console import Console

CONFIG = """\
name: small
backend: cupy
data:
  train: {type: Digits, split: "train[:320]", batch_size: 32}
  val: {type: Digits, split: "train[320:360]", batch_size: 40}
net:
  - {name: flat, type: Flatten, bottom: image}
  - {name: fc1,  type: Linear, out_features: 16}
  - {name: act1, type: ReLU}
  - {name: fc2,  type: Linear, out_features: 10}
  - {name: loss, type: SoftmaxCrossEntropy, bottom: [fc2, label]}
  - {name: accuracy, type: Accuracy, bottom: [fc2, label], phase: eval}
solver: {lr: 0.05, momentum: 0.9}
train: {max_steps: 10, log_every: 5}
"""
VERSE = """\
name: verse
backend: cupy
data:
  train: {type: Text, path: verse.txt, sequence_length: 8, batch_size: 8}
net:
  - {name: embed, type: Embedding, bottom: x, num_embeddings: 14, embedding_dim: 8}
  - {name: fc, type: Linear, out_features: 14}
  - {name: scores, type: Transpose, dim0: 1, dim1: 2}
  - {name: loss, type: SoftmaxCrossEntropy, bottom: [scores, y]}
solver: {type: Adam, lr: 0.05}
train: {max_steps: 10}
"""
RUN = "runs/small/latest"
USING = {
    "predict": ["predict", RUN, "x.npy", "-o", "y.csv"],
    "eval": ["eval", RUN],
    "trace": ["trace", RUN, "-o", "trace.h5"],
}
EXPORTS = {
    "onnx": ["export", "onnx", RUN, "-o", "small.onnx"],
    "safetensors": ["export", "safetensors", RUN, "-o", "small.safetensors"],
    "python": ["export", "python", RUN, "-o", "small"],
}


@pytest.fixture
def trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], stand_in_as_cupy: None
) -> Path:
    """A run on CuPy, and samples."""
    monkeypatch.chdir(tmp_path)
    Path("small.yaml").write_text(CONFIG)
    assert main(["train", "small.yaml", "-q"]) == 0
    np.save("x.npy", np.random.default_rng(3).integers(0, 256, (30, 1, 28, 28)).astype(np.uint8))
    capsys.readouterr()
    return tmp_path


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Take CuPy away."""
    return lambda: monkeypatch.setitem(sys.modules, "cupy", None)


def scores() -> np.ndarray:
    with open("y.csv", newline="") as file:
        return np.array([[float(cell) for cell in row[1:]] for row in list(csv.reader(file))[1:]])


def evaluated(capsys: pytest.CaptureFixture[str], *options: str) -> dict[str, Any]:
    assert main(["eval", RUN, "--json", *options]) == 0
    found = json.loads(capsys.readouterr().out)
    return {name: found[name] for name in ("val/loss", "val/accuracy")}


def put_into_config(run: str, old: str, new: str) -> None:
    """Let the checkpoints of a run say something else, as if it had been trained so."""
    for file in Path(run, "checkpoints").glob("*.h5"):
        arrays, meta = read_snapshot(file)
        assert meta["config"].count(old) == 1
        write_snapshot(file, arrays, {**meta, "config": meta["config"].replace(old, new)})


def test_predictions_are_the_same(trained: Path, without: Callable[[], None]) -> None:
    assert main(USING["predict"]) == 0
    on_device = scores()
    without()
    assert main([*USING["predict"], "--backend", "numpy"]) == 0
    assert on_device.shape[0] == 30
    assert np.allclose(scores(), on_device, rtol=1e-5, atol=1e-6)


def test_scores_are_the_same(trained: Path, without: Callable[[], None], capsys: pytest.CaptureFixture[str]) -> None:
    on_device = evaluated(capsys)
    without()
    found = evaluated(capsys, "--backend", "numpy")
    assert found["val/accuracy"] == on_device["val/accuracy"]
    assert found["val/loss"] == pytest.approx(on_device["val/loss"], rel=1e-5)


@pytest.mark.parametrize("command", USING)
def test_what_helps_is_said(
    command: str, trained: Path, without: Callable[[], None], capsys: pytest.CaptureFixture[str]
) -> None:
    without()
    assert main(USING[command]) == 5
    err = capsys.readouterr().err
    assert "backend 'cupy' needs the package 'cupy'" in err
    assert "\n     = --backend numpy computes without CuPy\n" in err
    assert main([*USING[command], "--backend", "numpy"]) == 0


def test_where_cupy_finds_no_gpu_the_same_is_said(
    trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(strict_cupy.cuda, "is_available", lambda: False)
    assert main(USING["eval"]) == 5
    err = capsys.readouterr().err
    assert "needs an NVIDIA GPU" in err
    assert "= --backend numpy computes without CuPy" in err


def test_a_command_without_the_option_names_the_key(
    trained: Path, without: Callable[[], None], capsys: pytest.CaptureFixture[str]
) -> None:
    without()
    assert main(["time", RUN, "--iterations", "1"]) == 5
    assert "= backend=numpy computes without CuPy" in capsys.readouterr().err
    assert main(["time", RUN, "--iterations", "1", "backend=numpy"]) == 0


@pytest.mark.parametrize("form", EXPORTS)
def test_an_export_needs_no_gpu(form: str, trained: Path, without: Callable[[], None]) -> None:
    if form == "onnx":
        demand("onnx")
    model = load_model(RUN)
    arrays = {name: np.array(value) for name, value in model.net.state_dict().items()}
    without()
    assert main(EXPORTS[form]) == 0
    if form == "safetensors":  # what is written opens here, too, and has the bits of the run
        found = load_model("small.safetensors").net.state_dict()
        assert found.keys() == arrays.keys()
        assert all(np.array_equal(found[name], array) for name, array in arrays.items())


@pytest.mark.filterwarnings("default")
def test_an_export_of_a_config_needs_no_gpu(trained: Path, without: Callable[[], None]) -> None:
    without()
    text = "backend: cupy\nengine: cuda\ninputs: {x: [4, 3]}\nnet:\n  - {name: fc, type: Linear, out_features: 2}\n"
    Path("net.yaml").write_text(text.replace("[4, 3]", "{shape: [4, 3]}"))
    assert main(["export", "safetensors", "net.yaml", "-o", "net.safetensors"]) == 0
    assert Path("net.safetensors").is_file()


@pytest.mark.filterwarnings("default")  # not an error, as the tests' settings have it
@pytest.mark.parametrize(("old", "new"), [("engine: auto", "engine: cuda"), ("name: fc1,", "name: fc1, engine: cuda,")])
def test_kernels_are_auto_on_the_host(
    old: str, new: str, trained: Path, without: Callable[[], None], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(USING["predict"]) == 0
    on_device = scores()
    put_into_config(RUN, old, new)
    without()
    capsys.readouterr()
    assert main([*USING["predict"], "--backend", "numpy"]) == 0
    assert "engine 'cuda' cannot compute on backend numpy: auto takes its place" in capsys.readouterr().err
    assert np.allclose(scores(), on_device, rtol=1e-5, atol=1e-6)


def test_onednn_is_auto_on_a_device(trained: Path) -> None:
    Path("host.yaml").write_text(CONFIG.replace("backend: cupy", "backend: numpy").replace("small", "host"))
    assert main(["train", "host.yaml", "-q"]) == 0
    run, x = "runs/host/latest", np.load("x.npy")
    expected = load_model(run).scores(x)
    put_into_config(run, "engine: auto", "engine: onednn")
    with pytest.warns(UserWarning, match="engine 'onednn' cannot compute on backend cupy"):
        model = load_model(run, backend="cupy")
    assert model.net.backend.name == "cupy"
    assert np.allclose(model.scores(x), expected, rtol=1e-5, atol=1e-6)


def test_what_is_saved_opens_where_it_was_saved(trained: Path, without: Callable[[], None]) -> None:
    without()
    load_model(RUN, backend="numpy").save("folder")
    assert len(load_model("folder").predict(np.load("x.npy"))) == 30


def test_training_does_not_give_way(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "small.yaml", "engine=cuda", "--backend", "numpy", "-q"]) == 5
    assert "engine 'cuda' is asked for, but the backend is numpy" in capsys.readouterr().err
    with pytest.raises(BackendError, match="engine 'cuda' is asked for, but the backend is numpy"):
        train(Config.load("small.yaml", ["engine=cuda"]), backend="numpy", console=Console(progress="off", quiet=True))


def test_what_a_config_says_of_its_own_backend_stays(trained: Path) -> None:
    config = Config.load("small.yaml", ["backend=numpy", "engine=cuda"])
    assert config.on_backend("numpy").top.engine == "cuda"
    assert config.on_backend("cupy").top.engine == "cuda"


def test_a_text_is_gone_on_with(trained: Path, without: Callable[[], None], capsys: pytest.CaptureFixture[str]) -> None:
    Path("verse.txt").write_text("the cat and the dog and the bird. " * 20)
    Path("verse.yaml").write_text(VERSE)
    assert main(["train", "verse.yaml", "-q"]) == 0
    capsys.readouterr()
    words = ["sample", "runs/verse/latest", "--prompt", "the", "--length", "12", "--temperature", "0"]
    assert main(words) == 0
    on_device = capsys.readouterr().out
    without()
    assert main(words) == 5
    assert "= --backend numpy computes without CuPy" in capsys.readouterr().err
    assert main([*words, "--backend", "numpy"]) == 0
    assert capsys.readouterr().out == on_device


@pytest.mark.filterwarnings("default")
def test_a_capsule_is_replayed(trained: Path, without: Callable[[], None], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "small.yaml", "-q", "name=wild", "solver.lr=1e30", "engine=cuda"]) == 4
    capsys.readouterr()
    assert main(["replay", "runs/wild/latest"]) == 0
    on_device = capsys.readouterr().out
    without()
    assert main(["replay", "runs/wild/latest"]) == 5
    assert "= --backend numpy computes without CuPy" in capsys.readouterr().err
    assert main(["replay", "runs/wild/latest", "--backend", "numpy"]) == 0
    found = capsys.readouterr()
    assert found.out.splitlines()[:2] == on_device.splitlines()[:2]
    assert "engine 'cuda' cannot compute on backend numpy" in found.err


def test_layers_in_blocks_move_too() -> None:
    tree = parse_yaml(
        "backend: cupy\nengine: reference\n"
        "blocks: {b: {net: [{name: f, type: Linear, out_features: 2, engine: cuda}]}}\n"
        "net: [{name: g, type: Linear, out_features: 2, engine: cuda}, {name: h, type: ReLU, engine: reference}]\n",
        "net.yaml",
    )
    with pytest.warns(UserWarning, match="auto takes its place"):
        found = moved(tree, "numpy")
    assert (found["backend"], found["engine"]) == ("numpy", "reference")
    assert found["blocks"]["b"]["net"][0]["engine"] == "auto"
    assert [layer["engine"] for layer in found["net"]] == ["auto", "reference"]
    assert tree["net"][0]["engine"] == "cuda"  # the tree that was given stays as it was
    assert moved(tree, "cupy") is tree
