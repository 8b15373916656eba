"""What comes after training: `layerforge eval` and `layerforge predict` on a run."""

from __future__ import annotations

import csv
import json
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest

from layerforge import Net, train
from layerforge.cli import main
from layerforge.data.digits import Digits
from layerforge.schema.registry import LAYERS
from layerforge.training.console import Console

CONFIG = """\
name: small
data:
  transform: {mean: pixel}
  train: {type: Digits, split: "train[:600]", batch_size: 32}
  val:   {type: Digits, split: "train[1000:1130]", batch_size: 50}
  test:  {type: Digits, split: "test[:70]", batch_size: 50}
net:
  - {name: flat, type: Flatten, bottom: image}
  - {name: fc1,  type: Linear, out_features: 32}
  - {name: bn1,  type: BatchNorm}
  - {name: act1, type: ReLU}
  - {name: fc2,  type: Linear, out_features: 10}
  - {name: loss, type: SoftmaxCrossEntropy, bottom: [fc2, label]}
  - {name: accuracy, type: Accuracy, bottom: [fc2, label], phase: eval}
  - {name: taken,    type: ConfusionMatrix, num_classes: 10, bottom: [fc2, label], phase: eval}
solver: {lr: 0.05, momentum: 0.9}
train: {epochs: 3}
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One trained run for all tests."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "small.yaml").write_text(CONFIG)
    overrides = [f"train.output_dir={folder / 'runs'}"]
    return Path(train(folder / "small.yaml", overrides, console=Console(progress="off", quiet=True)).run)


def output(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    assert main(list(arguments)) == code
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    return said.out if code == 0 else said.err


def samples(count: int) -> dict[str, np.ndarray]:
    return Digits(split=f"test[:{count}]").load()


def expected(run: Path, images: np.ndarray) -> np.ndarray:
    """The scores by hand: the transform of the training set, then the net."""
    net = Net.from_yaml(run / "config.resolved.yaml")
    net.load(run / "checkpoints" / "best.h5")
    mean = Digits(split="train[:600]").load()["image"].astype(np.float64).mean(axis=0) / 255
    return net.forward(phase="eval", outputs="fc2", image=(images / 255 - mean))["fc2"]


def test_eval_gives_the_figures_of_the_run(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    summary = json.loads((run / "summary.json").read_text())
    for section, known in (("test", summary["test"]), ("val", summary["best"])):
        values = json.loads(output(capsys, "eval", str(run), "--data", section, "--json"))
        assert values[f"{section}/loss"] == pytest.approx(known[f"{section}/loss"], rel=1e-6)
        assert values[f"{section}/accuracy"] == pytest.approx(known[f"{section}/accuracy"])
    assert "val/accuracy" in output(capsys, "eval", str(run.parent / "latest"))


def test_eval_of_a_config_with_weights(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config, weights = run / "config.resolved.yaml", run / "checkpoints" / "last.h5"
    values = json.loads(output(capsys, "eval", str(config), "--weights", str(weights), "--json"))
    assert set(values) == {"weights", "val/loss", "val/accuracy", "classes", "val/taken"}


def test_eval_adds_up_tables_of_counts_over_all_batches(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """130 samples in batches of 50, 50 and 30."""
    values = json.loads(output(capsys, "eval", str(run), "--json"))
    table, loaded = np.array(values["val/taken"]), Digits(split="train[1000:1130]").load()
    wanted = np.zeros((10, 10))
    np.add.at(wanted, (loaded["label"], expected(run, loaded["image"]).argmax(axis=1)), 1)
    np.testing.assert_array_equal(table, wanted)
    assert table.trace() / 130 == pytest.approx(values["val/accuracy"])
    shown = output(capsys, "eval", str(run)).partition("val/taken\n")[2].splitlines()
    assert shown[0].split() == ["label", "\\", "prediction", *"0123456789"]
    rows = [[float(n) for n in line.split()] for line in shown[1:11]]
    np.testing.assert_array_equal(rows, np.column_stack([np.arange(10), wanted]))


def test_tables_of_counts_are_no_columns_of_the_metrics(run: Path) -> None:
    assert "val/accuracy" in (run / "metrics.csv").read_text()
    assert "taken" not in (run / "metrics.csv").read_text()


def test_the_summary_has_the_tables_with_the_names_of_the_classes(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tables = json.loads((run / "summary.json").read_text())["tables"]
    assert tables["classes"] == list("0123456789")
    evaluated = json.loads(output(capsys, "eval", str(run), "--data", "test", "--json"))
    assert tables["test/taken"] == evaluated["test/taken"]
    last = str(run / "checkpoints" / "last.h5")
    evaluated = json.loads(output(capsys, "eval", str(run), "--weights", last, "--json"))
    assert tables["val/taken"] == evaluated["val/taken"]


def test_predict_from_npz_to_csv(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = samples(7)
    np.savez(tmp_path / "in.npz", image=data["image"])
    rows = list(csv.DictReader(output(capsys, "predict", str(run), str(tmp_path / "in.npz")).splitlines()))
    scores = expected(run, data["image"])
    assert [int(r["prediction"]) for r in rows] == scores.argmax(axis=1).tolist()
    probabilities = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    got = np.array([[float(r[f"p{k}"]) for k in range(10)] for r in rows])
    np.testing.assert_allclose(got, probabilities, rtol=1e-4, atol=1e-6)
    assert [int(r["index"]) for r in rows] == list(range(7))


def test_predict_to_npz_in_small_batches(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = samples(7)
    np.savez(tmp_path / "in.npz", image=data["image"])
    out = tmp_path / "out.npz"
    output(capsys, "predict", str(run), str(tmp_path / "in.npz"), "-o", str(out), "--batch-size", "3")
    with np.load(out) as arrays:
        np.testing.assert_allclose(arrays["values"], expected(run, data["image"]), rtol=1e-4, atol=1e-5)
        assert arrays["prediction"].tolist() == arrays["values"].argmax(axis=1).tolist()


def idx_bytes(images: np.ndarray) -> bytes:
    return struct.pack(">BBBBIII", 0, 0, 8, 3, *images.shape) + images.tobytes()


def png_bytes(image: np.ndarray) -> bytes:
    """An 8-bit grey PNG."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    height, width = image.shape
    raw = b"".join(b"\0" + row.tobytes() for row in image)
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")


def test_predict_from_every_kind_of_file(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = samples(3)["image"]
    np.savez(tmp_path / "in.npz", image=images)
    (tmp_path / "in-idx3-ubyte").write_bytes(idx_bytes(images[:, 0]))
    (tmp_path / "in.csv").write_text("\n".join(",".join(map(str, i.ravel())) for i in images) + "\n")
    for k in range(3):
        (tmp_path / f"{k}.png").write_bytes(png_bytes(images[k, 0]))
    answers = []
    for names in (["in.npz"], ["in-idx3-ubyte"], ["in.csv"], ["0.png", "1.png", "2.png"]):
        text = output(capsys, "predict", str(run), *(str(tmp_path / n) for n in names))
        answers.append([[row["prediction"], row["p0"]] for row in csv.DictReader(text.splitlines())])
    numbers = np.array(answers, dtype=float)
    np.testing.assert_allclose(numbers, np.broadcast_to(numbers[:1], numbers.shape), rtol=1e-4)


def test_predict_writes_any_blob(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez(tmp_path / "in.npz", image=samples(2)["image"])
    text = output(capsys, "predict", str(run), str(tmp_path / "in.npz"), "--blob", "fc1")
    assert text.splitlines()[0] == "file,index," + ",".join(f"v{k}" for k in range(32))


@pytest.mark.parametrize("engine", ["auto", "reference"])
def test_blobs_of_mixed_precision_have_the_bits_that_they_have_in_a_whole_forward(
    engine: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "small.yaml").write_text(CONFIG)
    images, named = samples(50)["image"], ("precision=bf16-mixed", f"engine={engine}", "train.max_steps=9")
    np.savez(tmp_path / "in.npz", image=images)
    run = train(tmp_path / "small.yaml", [*named, f"train.output_dir={tmp_path}"], console=Console(quiet=True)).run
    found = {}
    for blob in ("flat", "fc1", "bn1", "act1", "fc2"):
        words = (str(tmp_path / "in.npz"), "--blob", blob, "-o", str(tmp_path / "out.npz"))
        output(capsys, "predict", str(run), *words)
        found[blob] = np.load(tmp_path / "out.npz")["values"]
    net = Net.from_yaml(Path(run) / "config.resolved.yaml")
    net.load(Path(run) / "checkpoints" / "best.h5")
    net.forward(phase="eval", image=found["flat"].reshape(images.shape), label=np.zeros(50, int))
    for blob, values in found.items():
        assert values.any() and (values == net.blobs[blob].data).all(), blob


@pytest.mark.parametrize(
    ("arguments", "code", "part"),
    [
        (["nothing.npz"], 3, "nothing.npz"),
        (["in.npz", "--blob", "fc9"], 2, "no blob 'fc9'"),
        (["in.npz", "--input", "imaeg"], 2, "no input 'imaeg'"),
        (["in.npz", "-o", "out.txt"], 2, "ends in .csv or .npz"),
        (["in.npz", "--batch-size", "0"], 2, "must be an integer >= 1"),
        (["wide.npz"], 3, "(1, 28, 28)"),
        (["in.png"], 3, "in.png"),
    ],
)
def test_predict_refuses(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    arguments: list[str], code: int, part: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    np.savez("in.npz", image=samples(2)["image"])
    np.savez("wide.npz", image=np.zeros((2, 5, 5), np.uint8))
    Path("in.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    assert part in output(capsys, "predict", str(run), *arguments, code=code)
    assert not Path("out.txt").exists()


def test_a_runs_imports_need_permission(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = Path(__file__).parents[2] / "docs" / "examples"
    config = tmp_path / "snake.yaml"
    text = (source / "snake.yaml").read_text().replace("[snake.py]", f"[{source / 'snake.py'}]")
    config.write_text(text)
    assert main(["train", str(config), "--output-dir", str(tmp_path / "runs"), "--max-steps", "2", "-q"]) == 0
    capsys.readouterr()
    run = str(tmp_path / "runs" / "snake" / "latest")
    assert "--allow-import" in output(capsys, "eval", run, code=2)
    assert "val/accuracy" in output(capsys, "eval", run, "--allow-import")
    forget("Snake", "layerforge_user_snake")


def forget(layer: str, module: str) -> None:
    """Undo an import of a user's file, for the other tests of this process."""
    LAYERS.remove(layer)
    for name in [n for n in sys.modules if n.startswith(module)]:
        del sys.modules[name]
