"""`layerforge eval` where the training data are gone: words, columns and widths are those of the checkpoint."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from layerforge import DataError, train
from layerforge.cli import main
from layerforge.inference.trained import open_trained
from layerforge.training.console import Console
from layerforge.training.evaluation import score

QUIET = Console(progress="off", quiet=True)


def lines(seed: int, count: int, labels: str = "3,5,9") -> str:
    """Sparse samples of three classes; which features are there tells the class."""
    rng = np.random.default_rng(seed)
    words = labels.split(",")
    chosen = rng.integers(0, len(words), count)
    return "".join(f"{words[k]} {k + 1}:{rng.uniform(1, 2):.3f} {k + 5}:1\n" for k in chosen)


def run_of(folder: Path, source: dict[str, Any], net: list[dict[str, Any]], test: dict[str, Any]) -> str:
    data = {"train": {**source, "batch_size": 16}, "test": {**test, "batch_size": 16}}
    config = {"name": "n", "data": data, "net": net, "solver": {"lr": 0.1}, "train": {"max_steps": 5}}
    return str(train(config, [f"train.output_dir={folder / 'runs'}"], console=QUIET).run)


@pytest.fixture
def sparse(tmp_path: Path) -> str:
    (tmp_path / "train.txt").write_text(lines(0, 60))
    (tmp_path / "test.txt").write_text("".join(line for line in lines(1, 40).splitlines(True) if line[0] != "3"))
    net = [
        {"name": "fc", "type": "Linear", "bottom": "x", "out_features": 3},
        {"name": "loss", "type": "SoftmaxCrossEntropy", "bottom": ["fc", "label"]},
        {"name": "accuracy", "type": "Accuracy", "bottom": ["fc", "label"], "phase": "eval"},
    ]
    source = {"type": "SVMLight", "path": str(tmp_path / "train.txt")}
    return run_of(tmp_path, source, net, {**source, "path": str(tmp_path / "test.txt")})


def test_sparse_lines_have_the_classes_and_the_width_of_training(
    sparse: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    known = json.loads((Path(sparse) / "summary.json").read_text())["test"]
    (tmp_path / "train.txt").unlink()
    checkpoint = str(Path(sparse) / "checkpoints/last.h5")
    for target in (sparse, checkpoint):
        assert main(["eval", target, "--data", "test", "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert found["test/loss"] == pytest.approx(known["test/loss"], rel=1e-6)
    (tmp_path / "new.txt").write_text("9 3:1 7:1\n5 2:1.5 6:1\n")
    for target in (sparse, checkpoint):
        assert main(["eval", target, f"data.test.path={tmp_path / 'new.txt'}", "--data", "test", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["test/loss"] < 1.0
    (tmp_path / "new.txt").write_text("4 3:1 7:1\n")
    assert main(["eval", sparse, f"data.test.path={tmp_path / 'new.txt'}", "--data", "test"]) == 3
    assert "the class '4' is not among" in capsys.readouterr().err
    assert main(["eval", sparse, "--data", "train"]) == 3
    assert "train.txt" in capsys.readouterr().err


def test_a_text_has_the_vocabulary_of_training(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text("hello world, " * 20)
    (tmp_path / "test.txt").write_text("low hell " * 10)
    net = [
        {"name": "vectors", "type": "Embedding", "bottom": "x", "num_embeddings": 9, "embedding_dim": 4},
        {"name": "fc", "type": "Linear", "out_features": 9},
        {"name": "scores", "type": "Transpose", "dim0": 1, "dim1": 2},
        {"name": "loss", "type": "SoftmaxCrossEntropy", "bottom": ["scores", "y"]},
    ]
    source = {"type": "Text", "path": str(tmp_path / "train.txt"), "sequence_length": 8}
    run = run_of(tmp_path, source, net, {**source, "path": str(tmp_path / "test.txt")})
    known = json.loads((Path(run) / "summary.json").read_text())["test"]
    (tmp_path / "train.txt").unlink()
    trained = open_trained(run)
    assert trained.signature.class_names == tuple(sorted(set("hello world, ")))
    assert score(trained.net, trained.open_data("test").epoch(0)).numbers["loss"] == pytest.approx(
        known["test/loss"], rel=1e-5
    )
    (tmp_path / "test.txt").write_text("xylophone hell ")
    with pytest.raises(DataError, match="that the text of data"):
        open_trained(run).open_data("test")


def test_a_table_has_the_columns_and_the_words_of_training(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(2)
    kinds, words = rng.integers(0, 3, 60), ["ant", "bee", "cat"]
    rows = [(k * 4 + rng.normal(0, 0.1), -k, words[k]) for k in kinds]
    (tmp_path / "train.csv").write_text("a,b,kind\n" + "".join(f"{a:.3f},{b},{w}\n" for a, b, w in rows))
    (tmp_path / "test.csv").write_text("kind,b,a\n" + "".join(f"{w},{b},{a:.3f}\n" for a, b, w in rows if w != "ant"))
    net = [
        {"name": "fc", "type": "Linear", "bottom": "x", "out_features": 3},
        {"name": "loss", "type": "SoftmaxCrossEntropy", "bottom": ["fc", "label"]},
    ]
    source = {"type": "CSV", "path": str(tmp_path / "train.csv"), "label": "kind"}
    run = run_of(tmp_path, source, net, {**source, "path": str(tmp_path / "test.csv")})
    known = json.loads((Path(run) / "summary.json").read_text())["test"]
    (tmp_path / "train.csv").unlink()
    capsys.readouterr()
    (tmp_path / "new.csv").write_text((tmp_path / "test.csv").read_text())
    (tmp_path / "test.csv").unlink()
    assert main(["eval", run, f"data.test.path={tmp_path / 'new.csv'}", "--data", "test", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["test/loss"] == pytest.approx(known["test/loss"], rel=1e-6)
    (tmp_path / "new.csv").write_text("a,b,kind\n1,2,dog\n")
    assert main(["eval", run, f"data.test.path={tmp_path / 'new.csv'}", "--data", "test"]) == 3
    assert "'dog'" in capsys.readouterr().err


def test_files_that_only_the_run_imports_need_leave_too(
    sparse: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "more.py").write_text(f"open({str(tmp_path / 'was_run')!r}, 'w').close()\n")
    resolved = Path(sparse) / "config.resolved.yaml"
    resolved.write_text(f"import: [{tmp_path / 'more.py'}]\n" + resolved.read_text())
    assert main(["eval", sparse, "--data", "test"]) == 2
    assert "--allow-import" in capsys.readouterr().err
    assert not (tmp_path / "was_run").exists()
    assert main(["eval", sparse, "--data", "test", "--allow-import"]) == 0
    assert (tmp_path / "was_run").exists()
