"""How a run ends: STATUS, summary.json and the exit code say the same, and are right, whatever happens."""

from __future__ import annotations

import errno
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from layerforge import snapshot, train
from layerforge.cli import main
from layerforge.schema.errors import DataError, LayerForgeError
from layerforge.snapshot import read_snapshot
from layerforge.training import rundir
from layerforge.training.console import Console
from layerforge.training.hooks import Hooks

CONFIG = """\
name: small
data:
  train: {type: Digits, split: "train[:96]", batch_size: 32}
  val: {type: Digits, split: "train[96:128]", batch_size: 32}
net:
  - {name: flat, type: Flatten, bottom: image}
  - {name: fc,   type: Linear, out_features: 10}
  - {name: loss, type: SoftmaxCrossEntropy, bottom: [fc, label]}
solver: {lr: 0.05}
train: {max_steps: 2, log_every: 1}
"""
TRAIN = ["train", "small.yaml", "--progress=off", "-q"]
CODES = {"finished": {0}, "interrupted": {130, 143}, "diverged": {4}, "failed": {1, 2, 3}}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.yaml").write_text(CONFIG)
    return tmp_path


def runs() -> list[Path]:
    return sorted(p for p in Path("runs/small").glob("2*") if p.is_dir())


def status(run: Path) -> str:
    return (run / "STATUS").read_text().strip()


def assert_agreed(run: Path, code: int) -> None:
    """STATUS, summary and exit code of a run are one."""
    assert code in CODES[status(run)]
    summary = json.loads((run / "summary.json").read_text())
    assert (summary["status"], summary["exit_code"]) == (status(run), code)


# Writes that fail -----------------------------------------------------------------------------------------------------


class Faults:
    """Counts what a run writes; the writes for whose number `fails` is true do not happen."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, fails: Callable[[int], bool]) -> None:
        self.fails, self.written = fails, []
        for module, name in ((rundir, "atomic_write"), (snapshot, "atomic_write"), (rundir, "append")):
            monkeypatch.setattr(module, name, self.guarding(getattr(module, name)))

    def guarding(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def write(path: str | Path, content: Any) -> None:
            self.written.append(Path(path).name)
            if self.fails(len(self.written) - 1):
                raise DataError(f"cannot write {path}: {os.strerror(errno.ENOSPC)}")
            real(path, content)

        return write


def test_every_write_of_a_run_fails_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        faults = Faults(patch, lambda number: False)
        assert main(TRAIN) == 0
    written = faults.written
    assert {written[0], *written[-2:]} == {"STATUS", "summary.json"}
    assert {"last.h5", "metrics.jsonl", "config.yaml", "env.json"} <= set(written)
    assert_agreed(runs()[-1], 0)
    for at in range(len(written)):
        known = set(runs())
        with monkeypatch.context() as patch:
            Faults(patch, lambda number, at=at: number == at)
            code = main(TRAIN)
        (run,) = set(runs()) - known
        if at == 0:  # no STATUS from the beginning: there is no run yet
            assert (code, status(run)) == (3, "failed")
        elif at == len(written) - 1:  # written in place of the old one
            assert (code, status(run)) == (0, "finished")
        else:
            assert (at, written[at], code) == (at, written[at], 3)
            assert_agreed(run, 3)


@pytest.mark.parametrize("name", ["config.yaml", "metrics.csv", "last.h5", "summary.json"])
def test_a_disk_that_stays_full_is_no_success(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    faults: Any = None
    faults = Faults(monkeypatch, lambda number: name in faults.written)
    assert main(TRAIN) == 3
    assert status(runs()[-1]) == "failed"


# Other ends -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("problem", "code", "state"),
    [
        (SystemExit(0), 1, "failed"),
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), 1, "failed"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (MemoryError(), 1, "failed"),
        (RuntimeError("no"), 1, "failed"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else None,
)
@pytest.mark.parametrize("event", ["begin", "call"])
def test_whatever_ends_a_run(
    monkeypatch: pytest.MonkeyPatch, problem: BaseException, code: int, state: str | None, event: str
) -> None:
    def ending(self: Hooks, *arguments: Any) -> None:
        raise problem

    monkeypatch.setattr(Hooks, event, ending)
    assert main(TRAIN) == code
    assert json.loads((runs()[-1] / "summary.json").read_text())["exit_code"] == code
    if state is not None:
        assert status(runs()[-1]) == state


def test_a_hook_that_fails_at_the_very_end() -> None:
    class Last:
        def on_train_end(self, run: Any, status: str) -> None:
            raise ValueError("too late")

    with pytest.raises(LayerForgeError, match="too late"):
        train("small.yaml", hooks=[Last()], console=Console(progress="off", quiet=True))
    assert_agreed(runs()[-1], 1)


SIGNALLED = """
import os, signal, sys
from layerforge.cli import main
from layerforge.training import loop
whole = loop.{name}
def signalled(*arguments, **options):
    os.kill(os.getpid(), signal.{signal})
    return whole(*arguments, **options)
loop.{name} = signalled
sys.exit(main({arguments!r}))
"""


@pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")
@pytest.mark.parametrize(("number", "code", "name"), [("SIGTERM", 143, "write_down"), ("SIGINT", 130, "final_test")])
def test_a_signal_outside_of_the_loop(name: str, number: str, code: int) -> None:
    """Before the first step, and when the last one is over."""
    arguments = [*TRAIN, "data.test={type: Digits, split: 'train[:32]'}", "data.val=null"]
    script = SIGNALLED.format(name=name, signal=number, arguments=arguments)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert_agreed(runs()[-1], code)
    assert status(runs()[-1]) == "interrupted"


TWICE = """
import os, signal, sys
from layerforge.cli import main
from layerforge.solvers.solver import Solver
def update(self, **options):
    os.kill(os.getpid(), signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGTERM)
    raise AssertionError("still here")
Solver.update = update
sys.exit(main({arguments!r}))
"""


@pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")
def test_a_second_signal_in_a_step() -> None:
    done = subprocess.run([sys.executable, "-c", TWICE.format(arguments=TRAIN)], capture_output=True, text=True)
    assert done.returncode == 143, done.stderr
    assert_agreed(runs()[-1], 143)


# Closed pipes ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def pipes(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Makes of stdout and stderr, by name, pipes that nobody reads."""
    made = []

    def close(*names: str) -> None:
        for name in names:
            read, write = os.pipe()
            os.close(read)
            made.append(open(write, "w"))  # noqa: SIM115  (closed below)
            monkeypatch.setattr(sys, name, made[-1])

    yield close
    for stream in made:
        stream.close()  # an error where something was left to be written


@pytest.mark.parametrize("closed", [("stdout",), ("stderr",), ("stdout", "stderr")])
@pytest.mark.parametrize("more", [[], ["--json"], ["--progress=on"]])
def test_closed_pipes_do_not_end_a_training(
    pipes: Callable[..., None], capsys: pytest.CaptureFixture[str], closed: tuple[str, ...], more: list[str]
) -> None:
    pipes(*closed)
    assert main(["train", "small.yaml", "--progress=off", *more]) == 0
    assert "Traceback" not in capsys.readouterr().err
    assert_agreed(runs()[-1], 0)
    log = (runs()[-1] / "train.log").read_text()
    assert "val/loss" in log
    assert "done: " in log
    assert read_snapshot(runs()[-1] / "checkpoints/last.h5")[1]["iteration"] == 2


def test_closed_pipes_hide_no_failure(pipes: Callable[..., None]) -> None:
    pipes("stdout", "stderr")
    assert main([*TRAIN, "solver.lr=1e38", "train.max_steps=9"]) == 4
    assert_agreed(runs()[-1], 4)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a device that is always full")
@pytest.mark.parametrize("full", [("stdout",), ("stderr",), ("stdout", "stderr")])
@pytest.mark.parametrize("more", [[], ["--json"], ["--progress=on"]])
def test_a_full_disk_below_a_stream_does_not_end_a_training(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], full: tuple[str, ...], more: list[str]
) -> None:
    for name in full:
        monkeypatch.setattr(sys, name, open("/dev/full", "w"))  # noqa: SIM115
    assert main(["train", "small.yaml", "--progress=off", *more]) == 0
    assert_agreed(runs()[-1], 0)
    log = (runs()[-1] / "train.log").read_text()
    assert "val/loss" in log
    if full == ("stdout",):
        assert "stdout takes no more" in capsys.readouterr().err
    for name in full:
        getattr(sys, name).close()  # an error where something was left to be written


CLOSING = """\
import os, sys
from layerforge import hook

@hook
class Closing:
    def on_step_end(self, run):
        {}
"""


@pytest.mark.skipif(os.name != "posix", reason="numbers of files")
@pytest.mark.parametrize(
    ("act", "more"), [("os.close(1); os.close(2)", ["--json"]), ("sys.stdout.close(); sys.stderr.close()", [])]
)
def test_a_hook_that_closes_the_streams(act: str, more: list[str]) -> None:
    Path("closing.py").write_text(CLOSING.format(act))
    text = CONFIG.replace("max_steps: 2", "max_steps: 1")
    Path("small.yaml").write_text("import: [closing.py]\n" + text)
    program = [sys.executable, "-m", "layerforge", "train", "small.yaml", *more]
    done = subprocess.run(program, capture_output=True)
    assert_agreed(runs()[-1], done.returncode)
    assert (done.returncode, status(runs()[-1])) == (0, "finished")


@pytest.mark.skipif(os.name != "posix", reason="a shell pipes and closes the streams")
def test_closed_pipes_of_a_process() -> None:
    """As a shell makes them; what is left in buffers must not be tried again when the process ends."""
    command = f"{shlex.quote(sys.executable)} -m layerforge"
    script = f"""
        ({command} train small.yaml --progress=off name=a; echo $? > a) 2>&1 | true
        {command} train small.yaml --progress=off name=b >&- 2>&-; echo $? > b
        ({command} layers; echo $? > c) | true
        ({command} check nothing.yaml 2>&1; echo $? > d) | true
        {command} check nothing.yaml 2>&-; echo $? > e
    """
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("", ""), "an error is no result, and a closed pipe no error"
    codes = [int(Path(name).read_text()) for name in "abcde"]
    assert codes == [0, 0, 141, 2, 2]
    for name in "ab":
        assert status(Path(f"runs/{name}/latest")) == "finished"


@pytest.mark.parametrize(
    "arguments", [["--help"], ["layers"], ["check", "small.yaml"], ["config", "small.yaml", "--json"], ["data", "list"]]
)
def test_other_commands_end_quietly_at_a_closed_pipe(
    pipes: Callable[..., None], capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    pipes("stdout")
    assert main(arguments) == 141
    assert capsys.readouterr().err == ""


def test_a_refusal_keeps_its_code_without_a_stderr(pipes: Callable[..., None]) -> None:
    pipes("stderr")
    assert main(["check", "nothing.yaml"]) == 2
    pipes("stdout", "stderr")
    assert main(["check", "nothing.yaml"]) == 2
