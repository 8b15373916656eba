"""Bad input, from the command line: always a message with place and remedy and the right exit code, never a
traceback, never a half-written file."""

from __future__ import annotations

import gzip
import os
import re
import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from layerforge.cli import main
from layerforge.schema.errors import report

GOOD = """\
inputs: {x: {shape: [4, 6]}, t: {shape: [4], dtype: int64}}
net:
  - {name: fc1, type: Linear, out_features: 5, bottom: x}
  - {name: act, type: ReLU}
  - {name: fc2, type: Linear, out_features: 3}
  - {name: loss, type: SoftmaxCrossEntropy, bottom: [fc2, t]}
solver: {lr: 0.1, momentum: 0.9}
"""
TRAINED = """\
data: {train: {type: NPZ, path: data.npz, batch_size: 4}}
net:
  - {name: fc, type: Linear, out_features: 3, bottom: x}
  - {name: loss, type: SoftmaxCrossEntropy, bottom: [fc, t]}
solver: {lr: 0.1}
"""


def refused(
    capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, *parts: str
) -> str:
    """Run a command that must fail with this code and these words; nothing may be left behind."""
    before = set(Path().rglob("*"))
    assert main(arguments) == code
    said = capsys.readouterr()
    assert "Traceback" not in said.err + said.out
    assert "internal error" not in said.err
    assert said.err.count("error: ") >= 1
    for part in parts:
        assert part in said.err, said.err
    left = set(Path().rglob("*")) - before
    assert not [p for p in left if p.suffix == ".tmp" or p.name.endswith(".part")]
    return said.err


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder without data sets and network."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LAYERFORGE_OFFLINE", "1")
    monkeypatch.setenv("LAYERFORGE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("LAYERFORGE_DATA", raising=False)
    return tmp_path


def check(text: str | bytes) -> list[str]:
    path = Path("net.yaml")
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return ["check", "net.yaml"]


ALIASES = "x-a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
    f"x-a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 21)
)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        (GOOD.replace("momentum", "momentun"), ["net.yaml:7:19: unknown key 'momentun'", "did you mean 'momentum'?"]),
        (GOOD.replace("out_features: 5", "out_features: five"), ["net.yaml:3:", "must be an integer >= 1, got 'five'"]),
        (GOOD.replace("[fc2, t]", "[fc4, t]"), ["net.yaml:6:", "bottom 'fc4' is not produced", "did you mean 'fc2'?"]),
        (GOOD.replace("bottom: [fc2, t]", "bottom: [fc2, x]"), ["net.yaml:6:", "layer 'loss' (SoftmaxCrossEntropy)"]),
        (GOOD.replace("- {name: act, type: ReLU}", "- {name: act, type: Add, bottom: [fc1, x]}"), ["do not broadcast"]),
        (GOOD.replace("{lr: 0.1,", "{lr: 0.1, lr: 0.2,"), ["net.yaml:7:", "'lr'"]),
        (GOOD.replace("ReLU", "RelU"), ["net.yaml:4:", "unknown layer type 'RelU'", "did you mean 'ReLU'?"]),
        (
            GOOD.replace("- {name: act, type: ReLU}", "- {name: act, type: ReLU, bottom: x, top: x}"),
            ["net.yaml:4:", "cannot run in place on 'x'"],
        ),
        ("", ["net.yaml", "empty"]),
        (b"\x89PNG\r\n\x1a\n\0\0\0", ["net.yaml"]),
        (ALIASES + GOOD, ["net.yaml:", "alias"]),
        (GOOD + "net: []\n", ["net.yaml:8:1"]),
        ("net: [}", ["net.yaml:1:"]),
    ],
    ids=range(13),
)
def test_configurations(capsys: pytest.CaptureFixture[str], text: str | bytes, parts: list[str]) -> None:
    refused(capsys, check(text), 2, *parts)


def test_paths(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    refused(capsys, ["check", "nothing.yaml"], 2, "nothing.yaml")
    (folder / "folder.yaml").mkdir()
    refused(capsys, ["check", "folder.yaml"], 2, "folder.yaml")
    refused(capsys, ["train", "nothing.yaml"], 2, "nothing.yaml")
    refused(capsys, ["eval", "runs/none/latest"], 3, "runs/none/latest")


def test_all_errors_of_a_file_are_reported_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    text = GOOD.replace("ReLU", "ReLUU").replace("[fc2, t]", "[fc4, t]").replace("0.9", "9x")
    said = refused(capsys, check(text), 2, "'ReLUU'", "'fc4'", "'9x'", "3 errors")
    assert said.index("'ReLUU'") < said.index("'fc4'") < said.index("'9x'")


# Data -----------------------------------------------------------------------------------------------------------------


def train_on(arrays: dict[str, Any]) -> list[str]:
    np.savez("data.npz", **arrays)
    Path("net.yaml").write_text(TRAINED)
    return ["train", "net.yaml", "train.epochs=1", "--progress=off"]


def test_good_data_train(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(train_on({"x": np.ones((8, 2), np.float32), "t": np.arange(8) % 3})) == 0


def test_labels_out_of_range(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = train_on({"x": np.ones((8, 2), np.float32), "t": np.arange(8)})
    refused(capsys, arguments, 3, "net.yaml:4:", "layer 'loss'", "out of range for 3 classes")
    assert Path("runs/net/latest/STATUS").read_text() == "failed\n"


def test_damaged_tables(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = train_on({"x": np.ones((8, 2), np.float32), "t": np.arange(8) % 3})
    good = Path("data.npz").read_bytes()
    for bad in (good[: len(good) // 2], b"", b"not a zip file at all"):
        Path("data.npz").write_bytes(bad)
        refused(capsys, arguments, 3, "data.npz")
    Path("data.npz").unlink()
    refused(capsys, arguments, 3, "data.npz")
    assert not Path("runs").exists()


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def test_a_truncated_idx_file(capsys: pytest.CaptureFixture[str]) -> None:
    mnist = Path("data/mnist")
    mnist.mkdir(parents=True)
    images, labels = np.zeros((60_000, 28, 28), np.uint8), np.zeros(60_000, np.uint8)
    (mnist / "train-labels-idx1-ubyte").write_bytes(idx(labels))
    whole = idx(images)
    text = TRAINED.replace("type: NPZ, path: data.npz", "type: MNIST").replace("bottom: x", "bottom: image")
    text = text.replace("[fc, t]", "[fc, label]").replace("}}", "}, fallback: {type: Digits}}")
    text = text.replace("- {name: fc,", "- {name: flat, type: Flatten, bottom: image}\n  - {name: fc,")
    Path("net.yaml").write_text(text.replace("out_features: 3, bottom: image", "out_features: 10"))
    for name, content in (
        ("train-images-idx3-ubyte", whole[:1_000_000]),
        ("train-images-idx3-ubyte.gz", gzip.compress(whole, 1)[:-20]),
    ):
        (mnist / name).write_bytes(content)
        said = refused(capsys, ["train", "net.yaml", "--progress=off"], 3, name)
        assert "Digits" not in said, "a damaged file is no reason for the fallback"
        (mnist / name).unlink()


# Weights --------------------------------------------------------------------------------------------------------------


def test_weights(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = train_on({"x": np.ones((8, 2), np.float32), "t": np.arange(8) % 3})
    Path("w.h5").write_bytes(b"\x89HDF\r\n\x1a\n")
    refused(capsys, [*arguments, "--init-weights", "w.h5"], 3, "w.h5", "not a LayerForge snapshot")
    refused(capsys, [*arguments, "--init-weights", "none.h5"], 3, "none.h5")
    refused(capsys, ["eval", "net.yaml"], 2, "which weights?")
    refused(capsys, ["train", "net.yaml", "--init-weights", "w.h5", "solver.lr=-1"], 2, "lr must be > 0")


# Backends -------------------------------------------------------------------------------------------------------------


def test_cupy_without_cupy_or_gpu_is_one_clear_error(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "cupy", None)  # as where it is not installed, also where it is
    arguments = train_on({"x": np.ones((8, 2), np.float32), "t": np.arange(8) % 3})
    said = refused(capsys, [*arguments, "--backend", "cupy"], 5, "cupy", "pip install 'layerforge[cuda12]'")
    assert len(said.strip().splitlines()) <= 3
    assert not Path("runs").exists()


# Anything -------------------------------------------------------------------------------------------------------------

KEYS = ("name", "type", "bottom", "top", "phase", "loss_weight", "lr_mult", "freeze", "share", "block", "with", "net")
NAMES = ("inputs", "solver", "blocks", "x", "t", "fc1", "loss", "train", "Linear", "ReLU", "Add", "Slice", "Conv2d")
VALUES = ("0", "-1", "1e9", "1e400", ".nan", "null", "true", "[]", "{}", "''", "${solver.lr}", "${net.fc1.type}", "*a")
WORDS = st.sampled_from([*KEYS, *NAMES, *VALUES])
SPOTS = [m.span() for m in re.finditer(r"[A-Za-z0-9_.]+|[\[\]{},:]", GOOD)]


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.lists(st.tuples(st.sampled_from(SPOTS), WORDS), min_size=1, max_size=3))
def test_mutated_configurations_never_end_in_a_traceback(
    capsys: pytest.CaptureFixture[str], changes: list[tuple[tuple[int, int], str]]
) -> None:
    text = GOOD
    for (start, stop), word in sorted(set(changes), reverse=True):
        text = text[:start] + word + text[stop:]
    code = main(check(text))
    said = capsys.readouterr()
    assert code in (0, 2), said.err
    assert "Traceback" not in said.err
    assert "internal error" not in said.err, text
    if code:
        assert "net.yaml" in said.err


def test_report_counts_errors() -> None:
    from layerforge.schema.errors import ConfigError, ConfigErrors

    text = report(ConfigErrors([ConfigError("one"), ConfigError("two", hint="do this")]), "nothing was run")
    assert text.splitlines() == ["error: one", "error: two", "     = do this", "2 errors; nothing was run."]


# Numbers and files without measure ------------------------------------------------------------------------------------

SOURCE_OF_CLASSES = """\
name: r
engine: reference
data: {train: {type: NPZ, path: d.npz, batch_size: 4}}
net:
  - {name: fc, type: Linear, out_features: 2, bottom: x}
  - {name: loss, type: SoftmaxCrossEntropy, bottom: [fc, t]}
solver: {lr: 0.1}
train: {max_steps: 1}
"""


@pytest.fixture
def trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    np.savez("d.npz", x=np.ones((8, 3), "f4"), t=np.arange(8) % 2)
    np.savez("q.npz", x=np.ones((8, 3), "f4"))
    Path("r.yaml").write_text(SOURCE_OF_CLASSES)
    assert main(["train", "r.yaml", "-q", "--progress=off"]) == 0
    return tmp_path


@pytest.mark.skipif(os.name != "posix", reason="named pipes")
def test_a_pipe_is_not_replaced_by_a_result(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo("p.csv")
    os.mkfifo("t.h5")
    for command in (["predict", "runs/r/latest", "q.npz", "-o", "p.csv"], ["trace", "r.yaml", "-o", "t.h5"]):
        assert main(command) == 2
        assert "is a named pipe, which a file would replace" in capsys.readouterr().err
        assert Path(command[-1]).is_fifo()


def test_predictions_without_a_stdout(
    trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", None)
        assert main(["predict", "runs/r/latest", "q.npz"]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("threads=12345678901234567890", "threads must be <= 4096"),
        ("threads=1234567890", "must be <= 4096"),
        (f"data.train.split=train[:{'9' * 5000}]", "is not understood"),
    ],
)
def test_numbers_without_measure(
    trained: Path, override: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", "r.yaml", override]) == 2
    said = capsys.readouterr().err
    assert words in said
    assert "internal error" not in said
    assert "9" * 200 not in said


def test_samples_without_numbers(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez("d.npz", x=np.ones((8, 0), "f4"), t=np.arange(8) % 2)
    assert main(["train", "r.yaml", "-q"]) in (2, 3)
    assert "internal error" not in capsys.readouterr().err


def test_a_cell_of_thousands_of_digits_is_not_shown_whole(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("d.csv").write_text(f"a,t\n1,0\n{'9' * 5000},1\n1_1,1\n")
    config = SOURCE_OF_CLASSES.replace("type: NPZ, path: d.npz", "type: CSV, path: d.csv, label: t")
    Path("c.yaml").write_text(config.replace("[fc, t]", "[fc, label]"))
    assert main(["check", "c.yaml"]) == 3
    assert "9" * 1000 not in capsys.readouterr().err
    Path("d.csv").write_text("a,t\n1,0\n1_1,1\n")
    assert main(["check", "c.yaml"]) == 3
    assert "'1_1' is not a finite number" in capsys.readouterr().err
