"""A GPU without memory, without a library, or with a kernel that went wrong, under train, eval, predict and test.

The stand-in is imported as `cupy`, and lacks what is planted.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import strict_cupy, strict_faults
from support.strict_backend import STRICT

from layerforge import load_model, train
from layerforge.check import contract
from layerforge.cli import main
from layerforge.layers.matrices.linear import Linear
from layerforge.schema.errors import BackendError, DeviceOutOfMemory
from layerforge.snapshot import read_snapshot
from layerforge.training.console import Console
from layerforge.training.loop import Trainer

CONFIG = """\
name: small
backend: cupy
data:
  train: {type: Digits, split: "train[:320]", batch_size: 32}
  val: {type: Digits, split: "train[320:360]", batch_size: 40}
net:
  - {name: flat, type: Flatten, bottom: image}
  - {name: fc1,  type: Linear, out_features: 16}
  - {name: fc2,  type: Linear, out_features: 10}
  - {name: loss, type: SoftmaxCrossEntropy, bottom: [fc2, label]}
solver: {lr: 0.05, momentum: 0.9}
train: {max_steps: 10, log_every: 5}
checkpoint: {every: {steps: 5}}
"""

Plant = Callable[[], AbstractContextManager[None]]
FAULTS: dict[str, tuple[Plant, str]] = {
    "memory": (lambda: strict_faults.memory_limited(2000), "error: the GPU is out of memory: "),
    "cublas": (lambda: strict_faults.library_missing("libcublas.so.12"), "error: CuPy cannot load libcublas.so.12, "),
    "nvrtc": (lambda: strict_faults.library_missing("libnvrtc.so.12"), "error: CuPy cannot load libnvrtc.so.12, "),
    "kernel": (lambda: strict_faults.bad_kernel(after=1), "error: the GPU failed in work that it had"),
}
each_fault = pytest.mark.parametrize("fault", FAULTS)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stand_in_as_cupy: None) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("small.yaml").write_text(CONFIG)
    return tmp_path


@pytest.fixture
def plant(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, int], None]]:
    """Let a fault come up after a step of training."""
    after_step = Trainer._after_step
    with ExitStack() as stack:

        def planted(fault: str, step: int) -> None:
            def after(self: Trainer, asked: Any) -> None:
                after_step(self, asked)
                if self.solver.iteration == step:
                    stack.enter_context(FAULTS[fault][0]())

            monkeypatch.setattr(Trainer, "_after_step", after)

        yield planted


def last(run: str = "latest") -> Path:
    return Path("runs/small", run)


@each_fault
def test_train_keeps_what_was_trained(
    folder: Path, plant: Callable[[str, int], None], fault: str, capsys: pytest.CaptureFixture[str]
) -> None:
    plant(fault, 7)
    assert main(["train", "small.yaml", "--progress", "off"]) == 5
    err = capsys.readouterr().err
    assert f"\n{FAULTS[fault][1]}" in err
    assert json.loads((last() / "summary.json").read_text())["exit_code"] == 5
    assert (last() / "STATUS").read_text().strip() == "failed"
    kept = read_snapshot(last() / "checkpoints" / "last.h5")[1]["iteration"]
    if fault == "kernel":  # nothing comes from that GPU any more
        assert kept == 5
        assert "what was trained since step 5 could not be saved: the GPU failed" in err
    else:
        assert kept == 7
        assert "what was trained is saved: checkpoint after step 7" in err


@each_fault
def test_the_last_checkpoint_is_named(
    folder: Path, plant: Callable[[str, int], None], fault: str, capsys: pytest.CaptureFixture[str]
) -> None:
    plant(fault, 5)
    assert main(["train", "small.yaml", "--progress", "off"]) == 5
    assert "\nthe last checkpoint is of step 5: --resume goes on from it" in capsys.readouterr().err


def test_a_run_goes_on_where_it_was(folder: Path, plant: Callable[[str, int], None]) -> None:
    assert main(["train", "small.yaml", "-q", "train.output_dir=whole"]) == 0
    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        after_step = Trainer._after_step

        def after(self: Trainer, asked: Any) -> None:
            after_step(self, asked)
            if self.solver.iteration == 7:
                stack.enter_context(strict_faults.memory_limited(2000))

        patch.setattr(Trainer, "_after_step", after)
        assert main(["train", "small.yaml", "-q"]) == 5
    assert main(["train", "small.yaml", "--resume", "-q"]) == 0
    whole, resumed = (
        read_snapshot(f"{place}/small/latest/checkpoints/last.h5")[0] for place in ("whole", "runs")
    )
    for name, array in whole.items():
        assert np.array_equal(array, resumed[name]), name


def test_what_training_needs_is_said(
    folder: Path, plant: Callable[[str, int], None], capsys: pytest.CaptureFixture[str]
) -> None:
    plant("memory", 7)
    main(["train", "small.yaml", "--progress", "off"])
    err = capsys.readouterr().err
    assert "needed: parameters 49.8 KiB, gradients 49.8 KiB, histories of the solver 49.8 KiB; in train at batch" in err
    assert "there is: 2.0 KiB, 2.0 KiB of it free, 0 B in CuPy's pool" in err
    assert "train.accumulate_grad_batches" in err


@each_fault
def test_train_in_python(folder: Path, plant: Callable[[str, int], None], fault: str) -> None:
    plant(fault, 7)
    with pytest.raises(DeviceOutOfMemory if fault == "memory" else BackendError) as caught:
        train("small.yaml", console=Console(progress="off", quiet=True))
    assert f"error: {caught.value}".startswith(FAULTS[fault][1])
    assert not str(caught.value).startswith("layer")  # memory says who asked for it, and blames nobody


@each_fault
def test_eval_and_predict(folder: Path, fault: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "small.yaml", "-q"]) == 0
    np.save("x.npy", np.zeros((300, 1, 28, 28), np.uint8))
    capsys.readouterr()
    for command in (["eval", str(last())], ["predict", str(last()), "x.npy", "-o", "y.csv"]):
        with FAULTS[fault][0]():
            assert main(command) == 5
        assert capsys.readouterr().err.startswith(FAULTS[fault][1])
        assert main(command) == 0


@each_fault
def test_a_model_in_python(folder: Path, fault: str) -> None:
    assert main(["train", "small.yaml", "-q"]) == 0
    model, x = load_model(last()), np.zeros((300, 1, 28, 28), np.uint8)
    with FAULTS[fault][0](), pytest.raises(BackendError) as caught:
        model.predict(x)
    assert f"error: {caught.value}".startswith(FAULTS[fault][1])
    assert len(model.predict(x)) == 300


def test_an_evaluation_says_its_phase(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "small.yaml", "-q"]) == 0
    capsys.readouterr()
    with strict_faults.memory_limited(200_000):
        assert main(["eval", str(last())]) == 5
    err = capsys.readouterr().err
    assert "in eval at batch size 40 blobs" in err
    assert "accumulate" not in err


def test_env_json_names_the_device(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUPY_TF32", "1")
    assert main(["train", "small.yaml", "-q"]) == 0
    assert json.loads((last() / "env.json").read_text())["backend"] == (
        "cupy 14.2.0+strict on Strict stand-in (8.0 GiB, compute capability 9.0), driver for CUDA 13.0, CUDA 12.9,"
        " CUPY_TF32=1"
    )


def test_a_check_of_a_layer_has_no_verdict_without_a_library() -> None:
    case = next(case for _, case in contract.cases(Linear, STRICT))
    assert contract.run("deterministic", case) is None
    with strict_faults.library_missing("libcublas.so.12"), pytest.raises(BackendError, match="CuPy cannot load"):
        contract.run("deterministic", case)


def test_outside_of_a_net_it_is_told_too(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def greedy(self: Trainer) -> None:
        with strict_faults.memory_limited(10):
            strict_cupy.zeros(1000)

    monkeypatch.setattr(Trainer, "_log_step", greedy)
    with pytest.raises(DeviceOutOfMemory, match="the GPU is out of memory"):
        train("small.yaml", console=Console(progress="off", quiet=True))
    assert json.loads((last() / "summary.json").read_text())["exit_code"] == 5
