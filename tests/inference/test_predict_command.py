"""`layerforge predict`: its inputs, standard input among them, and what it writes."""

from __future__ import annotations

import csv
import importlib
import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from support.tools import demand

from layerforge import load_model, train
from layerforge.cli import main
from layerforge.training.console import Console

QUIET = Console(progress="off", quiet=True)
NAMES = ["ant", "bee", "file"]


def run_of(folder: Path, label: str, net: list[dict[str, object]]) -> str:
    rng = np.random.default_rng(0)
    rows = [f"{a:.3f},{b:.3f},{NAMES[k % 3]},{a - b:.3f}" for k, (a, b) in enumerate(rng.normal(size=(30, 2)))]
    (folder / "t.csv").write_text("\n".join(["wide,high,kind,price", *rows]) + "\n")
    source = {"type": "CSV", "path": str(folder / "t.csv"), "label": label, "columns": ["wide", "high"]}
    data = {"train": {**source, "batch_size": 10}}
    config = {"name": "n", "data": data, "net": net, "solver": {"lr": 0.1}, "train": {"max_steps": 3}}
    run = train(config, [f"train.output_dir={folder / 'runs'}"], console=QUIET).run
    (folder / "t.csv").unlink()
    return str(run)


@pytest.fixture(scope="module")
def classes(tmp_path_factory: pytest.TempPathFactory) -> str:
    net = [
        {"name": "fc", "type": "Linear", "bottom": "x", "out_features": 3},
        {"name": "loss", "type": "SoftmaxCrossEntropy", "bottom": ["fc", "label"]},
    ]
    return run_of(tmp_path_factory.mktemp("classes"), "kind", net)


@pytest.fixture(scope="module")
def price(tmp_path_factory: pytest.TempPathFactory) -> str:
    net = [
        {"name": "fc", "type": "Linear", "bottom": "x", "out_features": 1},
        {"name": "y", "type": "Flatten", "start_dim": 0},
        {"name": "loss", "type": "MSELoss", "bottom": ["y", "label"]},
    ]
    return run_of(tmp_path_factory.mktemp("price"), "price", net)


NEW = [(0.5, -1.0), (2.0, 0.25), (-1.5, 0.0)]
CSV = "high,wide\n" + "".join(f"{b},{a}\n" for a, b in NEW)
JSON = "".join(json.dumps({"wide": a, "high": b}) + "\n" for a, b in NEW)


class Bytes(io.StringIO):
    def __init__(self, content: bytes) -> None:
        super().__init__()
        self.buffer = io.BytesIO(content)


def said(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    assert main(["predict", *arguments]) == code
    out = capsys.readouterr()
    return out.err if code else out.out


def test_columns_are_called_as_the_classes(classes: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "new.csv").write_text(CSV)
    rows = list(csv.DictReader(said(capsys, classes, str(tmp_path / "new.csv")).splitlines()))
    model = load_model(classes)
    p, predicted = model.predict_proba(np.array(NEW)), model.predict(np.array(NEW))
    assert list(rows[0]) == ["file", "index", "prediction", "probability", "ant", "bee", "pfile"]
    assert [row["prediction"] for row in rows] == predicted.tolist()
    np.testing.assert_allclose([[float(row[k]) for k in ("ant", "bee", "pfile")] for row in rows], p, rtol=1e-5)


@pytest.mark.parametrize("kind", ["csv", "json", "npz", "npy", "parquet"])
def test_standard_input(
    classes: str, kind: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = io.BytesIO()
    if kind == "npz":
        np.savez(file, x=np.array(NEW))
    elif kind == "npy":
        np.save(file, np.array(NEW))
    elif kind == "parquet":
        demand("pyarrow")
        pyarrow, files = importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
        wide, high = zip(*NEW, strict=True)
        files.write_table(pyarrow.table({"wide": wide, "high": high}), file)
    else:
        file.write({"csv": CSV, "json": JSON}[kind].encode())
    monkeypatch.setattr(sys, "stdin", Bytes(file.getvalue()))
    found = json.loads(said(capsys, classes, "-", "--json"))
    model = load_model(classes)
    assert [row["prediction"] for row in found["predictions"]] == model.predict(np.array(NEW)).tolist()
    assert found["classes"] == ["ant", "bee", "file"] and found["predictions"][0]["file"] == "standard input"
    assert sum(found["predictions"][0]["probabilities"].values()) == pytest.approx(1)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "standard input is empty"),
        ("high,wide\n1,x\n", "standard input:2:3"),
        ("high,deep\n1,2\n", "standard input has other columns than training: without wide"),
        ('{"wide": 1, "high": 2}\n{"wide": \n', "standard input:2:1"),
        ('{"wide": 1}\n', "without high"),
    ],
)
def test_errors_of_standard_input(
    classes: str, content: str, words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", Bytes(content.encode()))
    text = said(capsys, classes, "-", code=3)
    assert words in text and "layerforge-" not in text


def test_values_are_called_as_the_target(price: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "new.csv").write_text(CSV)
    (tmp_path / "new.jsonl").write_text(JSON)
    values = load_model(price).predict(np.array(NEW))
    for name in ("new.csv", "new.jsonl"):
        rows = list(csv.DictReader(said(capsys, price, str(tmp_path / name)).splitlines()))
        assert list(rows[0]) == ["file", "index", "price"]
        np.testing.assert_allclose([float(row["price"]) for row in rows], values, rtol=1e-5)


def test_files_that_are_written_hold_the_same(classes: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "new.csv").write_text(CSV)
    for name in ("out.csv", "out.npz", "out.jsonl"):
        assert said(capsys, classes, str(tmp_path / "new.csv"), "-o", str(tmp_path / name)) == ""
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    with np.load(tmp_path / "out.npz") as arrays:
        assert arrays["class_names"].tolist() == ["ant", "bee", "file"]
        names = arrays["class_names"][arrays["prediction"]].tolist()
        np.testing.assert_allclose(arrays["probabilities"], [list(row["probabilities"].values()) for row in rows])
    assert names == [row["prediction"] for row in rows]
    assert [row["prediction"] for row in csv.DictReader((tmp_path / "out.csv").read_text().splitlines())] == names


def test_any_kind_of_model_is_a_target(classes: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "new.csv").write_text(CSV)
    folder = load_model(classes).save(tmp_path / "model")
    checkpoint = Path(classes) / "checkpoints" / "last.h5"
    targets = (classes, str(folder), str(folder / "weights.h5"), str(checkpoint))
    answers = {said(capsys, target, str(tmp_path / "new.csv")) for target in targets}
    assert len(answers) == 1


def test_a_model_describes_itself(classes: str, price: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = said(capsys, classes, "--describe")
    assert "columns: wide, high" in text and "3 classes: ant, bee, file" in text
    found = json.loads(said(capsys, price, "--describe", "--json"))
    assert found["inputs"]["x"]["columns"] == ["wide", "high"] and found["targets"] == ["price"]
    assert found["scores"] == {"blob": "y", "say": "values"}
    assert "at least one INPUT" in said(capsys, classes, code=2)
    text = said(capsys, classes, "x.csv", "--describe", code=2)
    assert "takes no inputs" in text and "predict RUN --describe" in text
