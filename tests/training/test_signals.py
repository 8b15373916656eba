"""Signals: stop after the step and save, save and go on, stop at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from layerforge.snapshot import read_snapshot
from layerforge.training.signals import Asked, listening

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")

CONFIG = """\
name: small
data: {train: {type: Digits, split: "train[:330]", batch_size: 32}}
net:
  - {name: flat, type: Flatten, bottom: image}
  - {name: fc,   type: Linear, out_features: 10}
  - {name: loss, type: SoftmaxCrossEntropy, bottom: [fc, label]}
solver: {lr: 0.05}
train: {epochs: 100000, log_every: 1}
"""


@contextmanager
def training(folder: Path, before: str = "", progress: str = "off", **streams: int) -> Iterator[subprocess.Popen[str]]:
    """A training that would last for hours, after some of its steps."""
    (folder / "small.yaml").write_text(CONFIG)
    script = f"import sys, time; from layerforge.cli import main\n{before}\nsys.exit(main(sys.argv[1:]))"
    arguments = ["train", "small.yaml", f"--progress={progress}", "checkpoint.every={epochs: 10000}"]
    command = [sys.executable, "-c", script, *arguments]
    streams = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE} | streams
    process = subprocess.Popen(command, cwd=folder, text=True, start_new_session=True, **streams)
    try:
        wait_for(lambda: metrics(folder) > 5, process)
        yield process
    finally:
        process.kill()
        process.communicate()


def metrics(folder: Path) -> int:
    path = folder / "runs/small/latest/metrics.jsonl"
    return path.read_text().count("\n") if path.exists() else 0


def wait_for(happened: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while not happened():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def last(folder: Path) -> Path:
    return folder / "runs/small/latest/checkpoints/last.h5"


@pytest.mark.parametrize(("number", "code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGUSR1", 143)])
def test_stopping_saves(tmp_path: Path, number: str, code: int) -> None:
    with training(tmp_path) as process:
        process.send_signal(getattr(signal, number))
        _, said = process.communicate(timeout=60)
    assert process.returncode == code
    assert f"{number}: stopped after step" in said
    assert "Traceback" not in said
    step = read_snapshot(last(tmp_path))[1]["iteration"]
    assert f"stopped after step {step};" in said
    assert (tmp_path / "runs/small/latest/STATUS").read_text() == "interrupted\n"


def test_hanging_up_saves_and_goes_on(tmp_path: Path) -> None:
    with training(tmp_path) as process:
        for _ in range(2):
            last(tmp_path).unlink(missing_ok=True)
            process.send_signal(signal.SIGHUP)
            wait_for(last(tmp_path).exists, process)
            done = metrics(tmp_path)
            wait_for(lambda done=done: metrics(tmp_path) > done + 3, process)
        saved = read_snapshot(last(tmp_path))[1]["iteration"]
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 143
    assert said.count("SIGHUP: checkpoint saved after step") == 2
    assert read_snapshot(last(tmp_path))[1]["iteration"] > saved


TERMINAL = """
import fcntl, termios
fcntl.ioctl(2, termios.TIOCSCTTY, 0)
"""


def test_a_terminal_that_is_closed_does_not_end_a_run(tmp_path: Path) -> None:
    outer, inner = os.openpty()
    try:
        with training(tmp_path, TERMINAL, stdout=inner, stderr=inner, progress="on") as process:
            os.close(inner)
            inner = -1
            assert os.read(outer, 100)
            os.close(outer)
            outer = -1
            wait_for(last(tmp_path).exists, process)
            done = metrics(tmp_path)
            wait_for(lambda: metrics(tmp_path) > done + 20, process)
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=60) == 143
    finally:
        for end in (outer, inner):
            if end >= 0:
                os.close(end)
    log = (tmp_path / "runs/small/latest/train.log").read_text()
    assert "SIGHUP: checkpoint saved" in log
    assert "SIGTERM: stopped" in log


SLEEPS = """
from layerforge.solvers.solver import Solver
update = Solver.update
def slow(self, **options):
    update(self, **options)
    if self.iteration == 10:
        time.sleep(1000)
Solver.update = slow
"""


def test_the_second_one_stops_at_once(tmp_path: Path) -> None:
    with training(tmp_path, SLEEPS) as process:
        wait_for(lambda: metrics(tmp_path) == 9, process)
        process.send_signal(signal.SIGTERM)
        time.sleep(0.1)  # a step that would take a quarter of an hour is not finished
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted" in said
    assert "Traceback" not in said


def test_handlers_are_put_back() -> None:
    before = signal.getsignal(signal.SIGINT)
    with listening() as asked:
        assert signal.getsignal(signal.SIGINT) is not before
        signal.raise_signal(signal.SIGHUP)
        signal.raise_signal(signal.SIGUSR1)
        assert signal.getsignal(signal.SIGINT) is before, "the next one has its usual effect"
    assert (asked.stop, asked.save) == ("SIGUSR1", True)
    assert signal.getsignal(signal.SIGINT) is before


def test_saving_is_asked_for_once() -> None:
    asked = Asked("SIGTERM", True)
    first, second = asked.take(), asked.take()
    assert (first.save, second.save) == (True, False)
    assert first.stop == second.stop == "SIGTERM"
    assert not Asked()


def test_a_run_is_trained_by_one_process_at_a_time(tmp_path: Path) -> None:
    """As after a requeue, while the job from before still runs; the lock ends with its process, however that ends."""
    resume = [sys.executable, "-m", "layerforge", "train", "small.yaml", "--resume", "--progress=off", "--max-steps=1"]
    with training(tmp_path) as process:
        process.send_signal(signal.SIGHUP)
        wait_for(last(tmp_path).exists, process)
        second = subprocess.run([*resume, "--allow-config-change"], cwd=tmp_path, capture_output=True, text=True)
        assert second.returncode == 3
        assert "is being trained by another process" in second.stderr
        process.kill()
        process.wait()
        third = subprocess.run([*resume, "--allow-config-change"], cwd=tmp_path, capture_output=True, text=True)
        assert third.returncode == 0, third.stderr
