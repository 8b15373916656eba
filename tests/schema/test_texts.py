"""What leaves the process: JSON that every reader takes, and file names whose bytes are no UTF-8."""

from __future__ import annotations

import json
import math
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from layerforge.cli import main
from layerforge.schema.texts import from_json, printable, to_json
from layerforge.snapshot import pack, unpack
from layerforge.training.rundir import read_metrics

CONFIG = """\
name: small
data:
  train: {type: NPZ, path: d.npz, batch_size: 8}
  val: {type: NPZ, path: v.npz, batch_size: 8}
net:
  - {name: log,  type: Log, bottom: x}
  - {name: fc,   type: Linear, out_features: 3}
  - {name: loss, type: SoftmaxCrossEntropy, bottom: [fc, t]}
solver: {lr: 0.1}
train: {max_steps: 4, log_every: 2, eval_every: {steps: 2}}
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.yaml").write_text(CONFIG)
    rng = np.random.default_rng(0)
    x, t = rng.random((24, 5)).astype("f4") + 0.1, rng.integers(0, 3, 24)
    np.savez("d.npz", x=x, t=t)
    x[3, 2] = -1
    np.savez("v.npz", x=x, t=t)  # a logarithm that is no number
    return tmp_path


def strict(text: str) -> Any:
    """Read as other languages do: NaN is no JSON."""

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    text.encode()  # nor are half surrogates UTF-8
    return json.loads(text, parse_constant=refuse)


# JSON -----------------------------------------------------------------------------------------------------------------


def test_numbers_that_json_does_not_have_are_null_and_named_beside() -> None:
    value = {"a": 1.5, "b": math.nan, "c": [1, [math.inf, 2]], "d": {"e": -math.inf, "f": [{"g": math.nan}]}, "h": None}
    text = to_json(value)
    assert strict(text) == {
        "a": 1.5,
        "b": None,
        "c": [1, [None, 2]],
        "d": {"e": None, "f": [{"g": None, "not_finite": {"g": "nan"}}], "not_finite": {"e": "-inf"}},
        "h": None,
        "not_finite": {"b": "nan", "c[1][0]": "inf"},
    }
    assert repr(from_json(text)) == repr(value)
    assert strict(to_json(value, words=True))["c"] == [1, [".inf", 2]]
    assert math.isnan(from_json('{"a": NaN}')["a"]), "as earlier versions wrote it"
    for alone in (math.nan, [1, [-math.inf]]):
        strict(to_json(alone))
        assert repr(from_json(to_json(alone))) == repr(alone)


@pytest.mark.parametrize("text", ['{"not_finite": {"a": "nan"}}', '{"a": [1], "not_finite": {"a[7][0]": "inf"}}'])
def test_a_file_of_somebody_else_may_say_anything(text: str) -> None:
    from_json(text)


def test_attributes_of_snapshots_are_json() -> None:
    content = pack({}, {"loss": math.nan, "position": {"latest": {"val/loss": math.inf}}})
    assert b"NaN" not in content
    assert b"Infinity" not in content
    meta = unpack(content, "x")[1]
    assert math.isnan(meta["loss"])
    assert meta["position"] == {"latest": {"val/loss": math.inf}}


@pytest.mark.filterwarnings("ignore:invalid value")
def test_every_json_of_a_run_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "small.yaml", "--progress=off", "-q", "--json"]) == 0
    run = Path("runs/small/latest")
    said = strict(capsys.readouterr().out)
    summary = strict((run / "summary.json").read_text())
    assert said == summary
    assert summary["final"]["val/loss"] is None
    assert summary["final"]["not_finite"] == {"val/loss": "nan"}
    rows = [strict(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [row["not_finite"] for row in rows if "val/loss" in row] == [{"val/loss": "nan"}] * 2
    assert [row["val/loss"] for row in rows if "val/loss" in row] == [None] * 2
    assert all(math.isnan(row["val/loss"]) for row in read_metrics(run) if "val/loss" in row)
    assert "nan" in (run / "metrics.csv").read_text()
    for name in ("env.json", "command.json"):
        strict((run / name).read_text())
    assert main(["eval", str(run), "--json"]) == 0
    strict(capsys.readouterr().out)


def test_rows_of_both_forms_are_the_same_rows(capsys: pytest.CaptureFixture[str]) -> None:
    """A run of an earlier version wrote NaN: it is compared, and goes on."""
    assert main(["train", "small.yaml", "--progress=off", "-q", "train.max_steps=2"]) == 0
    run = Path("runs/small/latest").resolve()
    rows = (run / "metrics.jsonl").read_text().splitlines()
    assert main(["train", "small.yaml", "--progress=off", "-q", "train.max_steps=2"]) == 0
    old = [json.dumps(from_json(row)) + "\n" for row in rows]
    assert "NaN" in "".join(old)
    (run / "metrics.jsonl").write_text("".join(old))
    assert main(["diff", str(run), "runs/small/latest"]) == 0
    assert main(["diff", str(run), "runs/small/latest", "--json"]) == 0
    more = ["--resume-from", str(run), "--allow-config-change"]
    assert main(["train", "small.yaml", "--progress=off", "-q", *more]) == 0


# File names that are no UTF-8 -----------------------------------------------------------------------------------------


def test_bytes_are_shown_as_escapes() -> None:
    assert printable(os.fsdecode(b"a\xff\xc3\xa9.npz")) == "a\\xffé.npz"
    assert printable("\ud800") == "\\ud800"
    assert strict(to_json({os.fsdecode(b"\xfe"): [os.fsdecode(b"\xff")]})) == {"\\xfe": ["\\xff"]}


linux = pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such file names")


def name(text: bytes) -> str:
    return os.fsdecode(text)


@linux
@pytest.mark.filterwarnings("ignore:invalid value")
def test_every_place_of_a_command_line_takes_such_a_name(capfd: pytest.CaptureFixture[str]) -> None:
    data, config, own = name(b"d\xff.npz"), name(b"c\xfe.yaml"), name(b"own\xfd.py")
    os.rename("d.npz", data)
    os.rename("small.yaml", config)
    Path(own).write_text("x = 1\n")
    key = f"data.train.path={data}"
    folder, label = name(b"runs\xfc"), name(b"n\xfb")
    run = f"{folder}/{label}/latest"
    both = [config, key, "--progress=off", "--output-dir", folder, "--name", label]

    def said(arguments: list[str], code: int = 0) -> Any:
        assert main(arguments) == code
        out, err = capfd.readouterr()
        assert "internal error" not in err
        return strict(out) if "--json" in arguments else out + err

    assert "runs\\xfc" in said(["train", *both])
    assert said(["train", *both, "--json"])["run"].startswith("runs\\xfc/n\\xfb/")
    assert "resumed from runs\\xfc" in said(["train", run, "--resume", "--progress=off"])
    assert Path(f"{run}/STATUS").read_text() == "finished\n"
    for file in ("train.log", "summary.json", "command.json", "metrics.jsonl", "config.resolved.yaml"):
        Path(f"{run}/{file}").read_bytes().decode()
    said(["eval", run])
    assert said(["eval", run, "--json"])["weights"].startswith("runs\\xfc/n\\xfb/")
    table = name(b"p\xfa.csv")
    said(["predict", run, data, "-o", table])
    Path(table).read_bytes().decode()
    assert "gone\\xf9.npz" in said(["predict", run, name(b"gone\xf9.npz")], 3)
    traces = name(b"t\xf8.h5"), name(b"t\xf7.h5")
    said(["trace", run, "-o", traces[0]])
    assert said(["trace", config, key, "-o", traces[1], "--json"])["file"] == "t\\xf7.h5"
    said(["diff", *traces, "--json"])
    for arguments in (["check", config, key], ["config", config, key], ["time", config, key]):
        said(arguments)
        said([*arguments, "--json"])
    said(["train", config, key, f"--init-weights={run}", "--progress=off"])
    assert "own\\xfd.py registers no layer" in said(["test", own], 2)
    assert "missing\\xf6.yaml" in said(["check", name(b"missing\xf6.yaml")], 2)


@linux
@pytest.mark.filterwarnings("ignore:invalid value")
def test_a_working_folder_with_such_a_name(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    here = Path(name(b"work\xff"))
    here.mkdir()
    for file in ("small.yaml", "d.npz", "v.npz"):
        os.rename(file, here / file)
    (here / "own.py").write_text("x = 1\n")
    text = (here / "small.yaml").read_text()
    (here / "small.yaml").write_text("import: [own.py]\n" + text)
    monkeypatch.chdir(here)
    assert main(["train", "small.yaml", "--progress=off", "-q"]) == 0
    assert main(["train", "runs/small/latest", "--resume", "--allow-import", "--progress=off"]) == 0
    assert main(["eval", "runs/small/latest", "--allow-import"]) == 0
    assert "internal error" not in capfd.readouterr().err
