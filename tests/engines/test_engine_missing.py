"""Without the engine everything is as it was, only slower; and a library that is not what it should be is refused."""

from __future__ import annotations

import ctypes
import ctypes.util
import json
import os
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.scores import scores, scores_elsewhere
from support.tools import demand_engine, demand_that

from layerforge.engines.onednn import library
from layerforge.plan.engines import FAST
from layerforge.schema.errors import BackendError
from layerforge.schema.registry import engine

CONFIG = """
data:
  train: {type: Digits, split: "train[:96]", batch_size: 32}
  val:   {type: Digits, split: "train[1000:1064]", batch_size: 32}
net:
  - {name: conv1, type: Conv2d, bottom: image, out_channels: 4, kernel_size: 5, stride: 2}
  - {name: bn1,   type: BatchNorm}
  - {name: act1,  type: ReLU}
  - {name: pool1, type: MaxPool2d, kernel_size: 2}
  - {name: flat,  type: Flatten}
  - {name: fc1,   type: Linear, out_features: 16}
  - {name: act2,  type: Tanh}
  - {name: fc2,   type: Linear, out_features: 10}
  - {name: loss,  type: SoftmaxCrossEntropy, bottom: [fc2, label]}
solver: {lr: 0.05, momentum: 0.9}
train: {epochs: 1}
"""
GAIN = "with it training steps are several times faster"


def layerforge(folder: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, with these variables in its environment."""
    command = [sys.executable, "-m", "layerforge", *words]
    return subprocess.run(
        command, cwd=folder, env={**os.environ, **variables}, capture_output=True, text=True, timeout=120, check=False
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "small.yaml").write_text(CONFIG)
    return tmp_path


NOWHERE = {"LAYERFORGE_ONEDNN": "/nowhere/libdnnl.so"}


def test_one_line_says_what_is_missing_and_what_it_would_bring(folder: Path) -> None:
    done = layerforge(folder, "check", "small.yaml", **NOWHERE)
    assert done.returncode == 0
    why = f"$LAYERFORGE_ONEDNN names /nowhere/libdnnl.so, which does not exist; {GAIN}: pip install 'layerforge[fast]'"
    assert [text for text in done.stdout.splitlines() if text.startswith(f"engine      reference: {why}")]
    assert done.stdout.count("/nowhere") == 1
    about = json.loads(layerforge(folder, "check", "--json", "small.yaml", **NOWHERE).stdout)
    assert about["files"][0]["net"]["engine"]["why"].startswith(why)


def test_the_same_config_trains_and_the_snapshots_load_either_way(folder: Path) -> None:
    """Scores of either's weights are the same, whoever computes them."""
    for name, variables in (("without", NOWHERE), ("with", {})):
        done = layerforge(folder, "train", "small.yaml", f"train.output_dir={name}", "--quiet", **variables)
        assert done.returncode == 0, done.stderr
    theirs = scores_elsewhere(folder, ("without", "with"), NOWHERE)
    mine = {name: scores(folder / name) for name in ("without", "with")}
    for name, array in mine.items():
        np.testing.assert_allclose(array, theirs[name], atol=1e-4)
    np.testing.assert_allclose(mine["with"], mine["without"], atol=0.05)


def test_an_engine_that_is_asked_for_by_name_and_missing_is_exit_5(folder: Path) -> None:
    for words in (("check",), ("train",)):
        for key in ("engine=onednn", "net.fc1.engine=onednn"):
            done = layerforge(folder, *words, "small.yaml", key, **NOWHERE)
            assert done.returncode == 5
            assert "error: engine 'onednn' is asked for, but $LAYERFORGE_ONEDNN names /nowhere/" in done.stderr
            assert "or set `engine: auto`" in done.stderr


def test_nothing_is_said_where_the_reference_was_asked_for(folder: Path) -> None:
    done = layerforge(folder, "check", "small.yaml", "engine=reference", **NOWHERE)
    assert "engine      reference: asked for" in done.stdout
    assert "nowhere" not in done.stdout + done.stderr


def test_other_numbers_than_float32_are_the_references(folder: Path) -> None:
    done = layerforge(folder, "check", "small.yaml", "dtype=float64")
    assert "engine      reference: the numbers are float64" in done.stdout


def test_env_json_says_who_computed(folder: Path) -> None:
    for name, variables in (("without", NOWHERE), ("with", {})):
        assert layerforge(folder, "train", "small.yaml", f"train.output_dir={name}", "-q", **variables).returncode == 0
    record = {name: json.loads(next((folder / name).rglob("env.json")).read_text()) for name in ("without", "with")}
    assert record["without"]["engine"]["library"] is None
    assert record["without"]["engine"]["why"].startswith("$LAYERFORGE_ONEDNN names /nowhere")
    demand_engine()
    assert record["with"]["engine"]["library"] == engine(FAST).describe()
    assert record["with"]["engine"]["threads"] >= 1


def test_env_json_says_in_which_precision(folder: Path) -> None:
    words = "train", "small.yaml", "precision=bf16-mixed", "-q"
    for name, variables in (("without", NOWHERE), ("with", {}), ("old", {"ONEDNN_MAX_CPU_ISA": "AVX2"})):
        assert layerforge(folder, *words, f"train.output_dir={name}", **variables).returncode == 0
    found = {
        name: json.loads(next((folder / name).rglob("env.json")).read_text())["precision"]
        for name in ("without", "with", "old")
    }
    assert {record["asked"] for record in found.values()} == {"bf16-mixed"}
    assert found["without"]["why"].startswith("$LAYERFORGE_ONEDNN names /nowhere")
    assert found["without"]["mixed"] == [] and found["without"]["layers"] == {"float32": 9}
    demand_engine()
    assert found["old"]["why"] == "the processor has no AVX512-BF16 and no AMX"
    missing = engine(FAST).bfloat16_missing()
    demand_that(missing is None, f"bfloat16: {missing}")
    assert found["with"] == {
        "asked": "bf16-mixed", "mixed": ["bf16-mixed"], "why": None, "layers": {"bf16-mixed": 8, "float32": 1}
    }  # fmt: skip


# Libraries that will not do -------------------------------------------------------------------------------------------


def refusal(monkeypatch: pytest.MonkeyPatch, path: str) -> str:
    """What is said of a library that $LAYERFORGE_ONEDNN names."""
    monkeypatch.setenv("LAYERFORGE_ONEDNN", path)
    with pytest.raises(BackendError) as refused:
        library._load.__wrapped__()
    return refused.value.message


def test_a_library_that_is_not_onednn_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(np._core._multiarray_umath.__file__)
    assert refusal(monkeypatch, path) == f"{path} is not oneDNN: it has no function dnnl_version"


def test_a_file_that_is_no_library_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "libdnnl.so.3"
    path.write_bytes(b"not a library")
    assert refusal(monkeypatch, str(path)).startswith(f"{path} cannot be loaded (")


def test_a_library_that_waits_for_sycl_is_called_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "libdnnl.so.3"
    path.write_bytes(b"its libraries are missing")
    (tmp_path / "libsycl.so.9").touch()
    assert refusal(monkeypatch, str(path)) == f"{path} {library.SYCL}"


@pytest.mark.parametrize(
    ("version", "words"),
    [
        ((2, 7, 5, b"", 2, 0), "is oneDNN 2.7.5; this engine speaks the interface of version 3"),
        ((4, 0, 0, b"", 2, 0), "is oneDNN 4.0.0; this engine speaks the interface of version 3"),
        ((3, 4, 1, b"", 0, 0), "(oneDNN 3.4.1) was built without a CPU engine"),
        ((3, 12, 0, b"", 512, 512), f"(oneDNN 3.12.0) {library.SYCL}"),
    ],
)
def test_another_onednn_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, version: tuple[Any, ...], words: str
) -> None:
    path = tmp_path / "libdnnl.so"
    path.touch()
    record = library.Version(*version)
    fake = types.SimpleNamespace(dnnl_version=lambda: ctypes.pointer(record))
    monkeypatch.setattr(library.ctypes, "CDLL", lambda path: fake)
    assert refusal(monkeypatch, str(path)) == f"{path} {words}"


def test_where_a_library_is_looked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("LAYERFORGE_ONEDNN", raising=False)
    monkeypatch.setattr(ctypes.util, "find_library", lambda name: "libdnnl.so.3" if name == "dnnl" else None)
    prefixes = [tmp_path / name for name in ("venv", "base", "conda")]
    for prefix in prefixes:
        (prefix / "lib").mkdir(parents=True)
        (prefix / "lib" / "libdnnl.so.3").touch()
        (prefix / "lib" / "libdnnl.so.2").touch()
    monkeypatch.setattr(library.sys, "prefix", str(prefixes[0]))
    monkeypatch.setattr(library.sys, "base_prefix", str(prefixes[1]))
    monkeypatch.setenv("CONDA_PREFIX", str(prefixes[2]))
    wanted = [str(prefix / "lib" / "libdnnl.so.3") for prefix in prefixes]
    assert list(library.candidates()) == [*wanted, "libdnnl.so.3"]
    monkeypatch.setenv("LAYERFORGE_ONEDNN", wanted[2])
    assert list(library.candidates()) == [wanted[2]]
