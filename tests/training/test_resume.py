"""Resuming: a run that was killed and resumed is the run that was not, bit for bit."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.killing import killed, run

from layerforge import Net
from layerforge.cli import main
from layerforge.schema.errors import ConfigError, DataError
from layerforge.snapshot import read_snapshot

CONFIG = """\
name: small
data:
  transform: {mean: pixel}
  train: {type: Digits, split: "train[:330]", batch_size: 32, augment: {shift: 2}}
  val:   {type: Digits, split: "train[1000:1130]", batch_size: 50}
net:
  - {name: flat, type: Flatten, bottom: image}
  - {name: fc1,  type: Linear, out_features: 16}
  - {name: bn1,  type: BatchNorm}
  - {name: act1, type: ReLU}
  - {name: drop, type: Dropout, p: 0.2}
  - {name: fc2,  type: Linear, out_features: 10}
  - {name: loss, type: SoftmaxCrossEntropy, bottom: [fc2, label]}
  - {name: accuracy, type: Accuracy, bottom: [fc2, label], phase: eval}
solver: {lr: 0.05, momentum: 0.9, schedule: {type: plateau, patience: 0, factor: 0.5, monitor: val/loss, warmup: 7}}
train: {epochs: 4, log_every: 4, eval_every: {steps: 6}}
checkpoint: {every: {steps: 5}}
"""
STEPS = 44


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.yaml").write_text(CONFIG)
    return tmp_path


def final_state(folder: Path) -> dict[str, np.ndarray]:
    arrays, meta = read_snapshot(folder / "checkpoints" / "last.h5")
    assert meta["iteration"] == STEPS or "max_steps" in meta["config"]
    return arrays


def metrics(folder: Path) -> dict[tuple[int, bool], dict[str, Any]]:
    """The last segment's row for each step, without times."""
    rows = {}
    for line in (folder / "metrics.jsonl").read_text().splitlines():
        row = json.loads(line)
        timeless = {k: v for k, v in row.items() if k not in ("seconds", "time/step_ms", "run_segment")}
        rows[row["step"], "lr" in row] = timeless
    return rows


def assert_same(one: Path, two: Path) -> None:
    a, b = final_state(one), final_state(two)
    assert set(a) == set(b)
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)
    assert metrics(one) == metrics(two)
    best = [read_snapshot(p / "checkpoints" / "best.h5")[0] for p in (one, two)]
    assert all(np.array_equal(best[0][k], best[1][k]) for k in best[0])


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that nobody kills."""
    place = tmp_path_factory.mktemp("whole")
    with contextlib.chdir(place):
        Path("small.yaml").write_text(CONFIG)
        return place / run("name=whole")


@pytest.mark.parametrize("step", [5, 8, 11, 12, 23, 43])
def test_killed_and_resumed_is_uninterrupted(monkeypatch: pytest.MonkeyPatch, whole: Path, step: int) -> None:
    broken = killed(monkeypatch, step)
    assert run(resume_from=broken) == broken
    assert_same(whole, broken)


def test_killed_twice_with_accumulated_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    more = ("train.accumulate_grad_batches=2", "train.max_steps=20")
    whole = run("name=whole", *more)
    broken = killed(monkeypatch, 7, *more)
    killed(monkeypatch, 13, *more, resume_from=broken)
    run(*more, resume_from=broken)
    assert_same(whole, broken)
    segments = {json.loads(r)["run_segment"] for r in (broken / "metrics.jsonl").read_text().splitlines()}
    assert segments == {0, 1, 2}


def test_a_torn_last_line_is_dropped(monkeypatch: pytest.MonkeyPatch, whole: Path) -> None:
    broken = killed(monkeypatch, 23)
    for name in ("metrics.jsonl", "metrics.csv"):
        with (broken / name).open("a") as file:
            file.write('{"run_segment": 0, "st')
    run(resume_from=broken)
    assert_same(whole, broken)
    assert '"st{' not in (broken / "metrics.jsonl").read_text()


def test_kill_nine(folder: Path) -> None:
    whole = run("name=whole", "train.epochs=60")
    command = [sys.executable, "-m", "layerforge", "train", "small.yaml", "train.epochs=60", "-q", "--progress=off"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    log = Path("runs/small/latest/metrics.jsonl")
    deadline = time.monotonic() + 60
    while not (log.exists() and log.read_text().count("\n") > 40):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert Path("runs/small/latest/STATUS").read_text() == "running\n"
    assert main(["train", "small.yaml", "train.epochs=60", "--resume", "-q", "--progress=off"]) == 0
    one, two = (read_snapshot(p / "checkpoints" / "last.h5")[0] for p in (whole, Path("runs/small/latest")))
    assert all(np.array_equal(one[k], two[k]) for k in one)
    assert metrics(whole) == metrics(Path("runs/small/latest"))


def test_the_command_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    broken = killed(monkeypatch, 20)
    assert main(["train", str(broken)]) == 2
    assert "--resume" in capsys.readouterr().err
    assert main(["train", str(broken), "--resume", "-q", "--progress=off"]) == 0
    assert (broken / "STATUS").read_text() == "finished\n"
    assert main(["train", "small.yaml", "name=other", "--resume"]) == 2
    assert "no run of 'other'" in capsys.readouterr().err
    assert main(["train", "small.yaml", "--resume", "--init-weights", "x.h5"]) == 2


def test_a_changed_configuration_is_listed_and_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = killed(monkeypatch, 20)
    with pytest.raises(ConfigError) as caught:
        run("solver.lr=0.01", "net.drop.p=0.5", resume_from=broken)
    text = str(caught.value)
    assert "solver.lr: 0.05 -> 0.01" in text
    assert "net.drop.p: 0.2 -> 0.5" in text
    assert "--allow-config-change" in text
    assert run("solver.lr=0.01", resume_from=broken, allow_config_change=True) == broken


def test_what_is_free_may_change(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = killed(monkeypatch, 20)
    assert run("train.log_every=9", "checkpoint.keep_last=1", resume_from=broken) == broken


def test_what_cannot_be_resumed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    early = killed(monkeypatch, 2)
    with pytest.raises(ConfigError, match="no checkpoint to go on from"):
        run(resume_from=early)
    finished = run()
    net = Net.from_yaml("small.yaml")
    net.save("weights.h5")
    with pytest.raises(ConfigError, match="holds weights only") as caught:
        run(resume_from="weights.h5")
    assert "--init-weights" in str(caught.value)
    (tmp_path / "copy.h5").write_bytes((finished / "checkpoints/last.h5").read_bytes())
    with pytest.raises(ConfigError, match="outside of a run's folder"):
        run(resume_from="copy.h5")
    content = (finished / "checkpoints/last.h5").read_bytes()
    (finished / "checkpoints/last.h5").write_bytes(content[:-100])
    with pytest.raises(DataError, match="damaged"):
        run(resume_from=finished)


def test_init_weights_starts_a_new_run_with_old_weights() -> None:
    first = run("train.max_steps=10")
    arrays, _ = read_snapshot(first / "checkpoints/last.h5")
    still = ("train.max_steps=1", "solver.lr=1e-30", "solver.schedule=fixed")
    second = run(*still, init_weights=first / "checkpoints/last.h5")
    assert second != first
    after, meta = read_snapshot(second / "checkpoints/last.h5")
    assert meta["iteration"] == 1
    np.testing.assert_array_equal(after["params/fc1/weight"], arrays["params/fc1/weight"])
