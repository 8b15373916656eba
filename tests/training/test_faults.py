"""Whatever fails while a file is written: afterwards there is a checkpoint that loads, and no litter."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.faulty_os import NEW, OLD, FaultyOs
from support.tools import demand_that

from layerforge import snapshot, train
from layerforge.cli import main
from layerforge.schema.errors import DataError
from layerforge.snapshot import LITTER, atomic_write, read_snapshot, remove_litter
from layerforge.solvers.solver import Solver
from layerforge.training.checkpoints import Checkpoints
from layerforge.training.console import Console

TESTS = Path(__file__).parents[1]  # where child processes find `support`
STEPS_OF_A_WRITE = {"open", "write", "fsync", "close", "read", "replace"}
CONFIG = """\
name: small
data: {train: {type: Digits, split: "train[:320]", batch_size: 32}}
net:
  - {name: flat, type: Flatten, bottom: image}
  - {name: fc1,  type: Linear, out_features: 16}
  - {name: drop, type: Dropout, p: 0.2}
  - {name: fc2,  type: Linear, out_features: 10}
  - {name: loss, type: SoftmaxCrossEntropy, bottom: [fc2, label]}
solver: {lr: 0.05, momentum: 0.9}
train: {max_steps: 20, log_every: 4}
checkpoint: {every: {steps: 5}}
"""


def fails(name: str) -> None:
    raise OSError(errno.EIO, "Input/output error")


def interrupts(name: str) -> None:
    raise KeyboardInterrupt


def calls_of(monkeypatch: pytest.MonkeyPatch, work: Callable[[], Any]) -> list[str]:
    """The names of the calls of os that a piece of work makes."""
    with monkeypatch.context() as patch:
        patch.setattr(snapshot, "os", recorder := FaultyOs())
        work()
    return recorder.calls


def with_fault(monkeypatch: pytest.MonkeyPatch, at: int, act: Callable[[str], Any], work: Callable[[], Any]) -> Any:
    """What a piece of work raises when its call number `at` fails; None where it can do without."""
    with monkeypatch.context() as patch:
        patch.setattr(snapshot, "os", FaultyOs(at, act))
        try:
            work()
        except BaseException as error:
            return error
    return None


@pytest.mark.parametrize("act", [fails, interrupts])
def test_every_call_of_a_write_fails_in_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, act: Callable[[str], Any]
) -> None:
    path = tmp_path / "last.h5"
    calls = calls_of(monkeypatch, lambda: atomic_write(path, OLD))
    assert set(calls) >= STEPS_OF_A_WRITE
    for at, name in enumerate(calls):
        path.write_bytes(OLD)
        error = with_fault(monkeypatch, at, act, lambda: atomic_write(path, NEW))
        if act is interrupts:
            assert isinstance(error, KeyboardInterrupt), name
        elif name != "posix_fadvise":
            assert isinstance(error, DataError), name
            assert error.exit_code == 3
        renamed = "replace" in calls[:at] or error is None
        assert path.read_bytes() == (NEW if renamed else OLD), name
        read_snapshot(path)
        assert [p.name for p in tmp_path.iterdir()] == ["last.h5"], name


def test_every_call_of_a_checkpoint_fails_in_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(content: bytes, step: int) -> None:
        Checkpoints(tmp_path, 2).write(content, step, best=True, numbered=True)

    calls = calls_of(monkeypatch, lambda: write(OLD, 1))
    assert calls.count("replace") == 3
    for at in range(len(calls)):
        for file in tmp_path.iterdir():
            file.unlink()
        write(OLD, 1)
        error = with_fault(monkeypatch, at, fails, lambda: write(NEW, 2))
        for file in tmp_path.iterdir():
            read_snapshot(file)
        names = {p.name for p in tmp_path.iterdir()}
        assert names >= {"last.h5", "best.h5", "step-00000001.h5"}
        assert not any(LITTER.fullmatch(name) for name in names)
        if error is not None and (tmp_path / "last.h5").read_bytes() == OLD:
            assert "--resume" in str(error)


KILLER = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from support.faulty_os import NEW, OLD, FaultyOs
from layerforge import snapshot
path, at = Path({path!r}), -1
while True:
    at += 1
    path.write_bytes(OLD)
    child = os.fork()
    if not child:
        snapshot.os = FaultyOs(at, lambda name: os.kill(os.getpid(), signal.SIGKILL))
        snapshot.atomic_write(path, NEW)
        os._exit(0)
    if os.waitpid(child, 0)[1] == 0:
        break
    assert path.read_bytes() in (OLD, NEW), at
    snapshot.read_snapshot(path)
    snapshot.remove_litter(path.parent)
    assert [p.name for p in path.parent.iterdir()] == [path.name], at
print(at)
"""


def test_killed_at_every_call_of_a_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    script = KILLER.format(tests=str(TESTS), path=str(folder / "last.h5"))
    child = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert child.returncode == 0, child.stderr
    assert int(child.stdout) == len(calls_of(monkeypatch, lambda: atomic_write(tmp_path / "x.h5", NEW)))


def test_a_write_that_takes_only_a_part_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow(FaultyOs):
        def write(self, descriptor: int, data: memoryview) -> int:
            return os.write(descriptor, data[:777])

    monkeypatch.setattr(snapshot, "os", Slow())
    atomic_write(tmp_path / "last.h5", NEW)
    assert (tmp_path / "last.h5").read_bytes() == NEW


@pytest.mark.parametrize("lie", [lambda data: data[:-1], lambda data: bytes(len(data)), lambda data: b""])
def test_a_disk_that_lies_is_found_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lie: Callable[[bytes], bytes]
) -> None:
    class Liar(FaultyOs):
        def write(self, descriptor: int, data: memoryview) -> int:
            os.write(descriptor, lie(bytes(data)))
            return len(data)

    atomic_write(tmp_path / "last.h5", OLD)
    monkeypatch.setattr(snapshot, "os", Liar())
    with pytest.raises(DataError, match="read back differs from what was written"):
        atomic_write(tmp_path / "last.h5", NEW)
    assert (tmp_path / "last.h5").read_bytes() == OLD


def test_only_litter_of_ours_is_removed(tmp_path: Path) -> None:
    for name in (".last.h5.0123abcd.tmp", ".hidden.tmp", "last.h5.tmp", "last.h5"):
        (tmp_path / name).write_bytes(b"x")
    remove_litter(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == [".hidden.tmp", "last.h5", "last.h5.tmp"]


# A run whose disk goes wrong ------------------------------------------------------------------------------------------


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration in a working folder of its own."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "small.yaml"
    path.write_text(CONFIG)
    return path


def begun(config: Path) -> Path:
    """A run that was stopped after ten steps."""
    result = train(config, ["train.max_steps=10"], console=Console(progress="off", quiet=True))
    return Path(result.run)


def python(code: str, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [*options.pop("before", ()), sys.executable, "-c", code, *arguments]
    return subprocess.run(command, stderr=subprocess.PIPE, text=True, **{"stdout": subprocess.PIPE, **options})


def assert_kept(run: Path, step: int = 10) -> None:
    """The run's last checkpoint is whole and is the one of that step, and nothing half-written lies about."""
    assert read_snapshot(run / "checkpoints" / "last.h5")[1]["iteration"] == step
    assert not [p for p in run.rglob("*") if LITTER.fullmatch(p.name)]


def assert_said(child: subprocess.CompletedProcess[str], *words: str) -> None:
    assert child.returncode == 3, child.stderr
    assert "Traceback" not in child.stderr
    for word in words:
        assert word in child.stderr


RESUME = """
import sys
from layerforge.cli import main
{before}
sys.exit(main(["train", sys.argv[1], "--resume", "--allow-config-change", "--progress=off", "train.max_steps=20"]))
"""
LIMIT = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))"


def test_files_that_may_not_grow(small: Path) -> None:
    """The kernel refuses to write on in the middle of a checkpoint."""
    run, whole = begun(small), Path(train(small, ["name=whole"], console=Console(progress="off", quiet=True)).run)
    child = python(RESUME.format(before=LIMIT), str(run))
    assert_said(child, "last.h5: File too large", "ulimit -f", "goes on with: layerforge train")
    assert_kept(run)
    assert (run / "STATUS").read_text() == "failed\n"
    assert python(RESUME.format(before=""), str(run)).returncode == 0
    one, two = (read_snapshot(r / "checkpoints/last.h5")[0] for r in (whole, run))
    assert all(np.array_equal(one[k], two[k]) for k in one)


COUNTED = """
class Disk(FaultyOs):
    left = int(sys.argv[2])
    def write(self, descriptor, data):
        if not Disk.left:
            raise OSError(28, "No space left on device")
        done = os.write(descriptor, data[:Disk.left])
        Disk.left -= done
        return done
snapshot.os = Disk()
"""
FILL = """
import json, os, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from support.faulty_os import FaultyOs
from layerforge import snapshot
from layerforge.snapshot import LITTER
from layerforge.cli import main
{disk}
code = main(["train", "small.yaml", "--progress=off", "checkpoint.every={{steps: 1}}", "checkpoint.keep_last=100",
             "--output-dir", sys.argv[1]])
files = list(Path(sys.argv[1]).rglob("checkpoints/*"))
iterations = {{f.name: snapshot.read_snapshot(f)[1]["iteration"] for f in files}}
print(json.dumps([code, iterations, any(LITTER.fullmatch(f.name) for f in files)]))
"""


def can_mount(folder: str) -> bool:
    """Whether a small file system can be mounted here, in a namespace of its own."""
    with suppress(OSError):
        return not subprocess.run([*small_disk(folder), "true"], capture_output=True).returncode
    return False


def small_disk(folder: str) -> list[str]:
    """A command that runs what follows with a disk of 700 KB in place of a folder."""
    return ["unshare", "-rm", "sh", "-c", f'mount -t tmpfs -o size=700k none {folder} && exec "$@"', "sh"]


@pytest.mark.parametrize("disk", ["counted", "mounted"])
def test_a_disk_that_fills_up(small: Path, tmp_path: Path, disk: str) -> None:
    folder = tmp_path / "disk"
    folder.mkdir()
    script = FILL.format(tests=str(TESTS), disk=COUNTED if disk == "counted" else "")
    if disk == "mounted":
        demand_that(can_mount(str(folder)), "unshare, and the right to mount in a namespace of users")
    before = small_disk(str(folder)) if disk == "mounted" else []
    child = python(script, str(folder), "700000", before=before)
    assert child.returncode == 0, child.stderr
    code, iterations, litter = json.loads(child.stdout.splitlines()[-1])
    assert code == 3
    assert "No space left on device" in child.stderr
    assert "free some space" in child.stderr
    assert "Traceback" not in child.stderr
    assert not litter
    assert 1 <= iterations["last.h5"] < 20
    newest = max(i for name, i in iterations.items() if name.startswith("step"))
    assert iterations["last.h5"] in (newest, newest - 1)


UNPRIVILEGED = """
import os
main(["train", "small.yaml", "--max-steps=1", "--progress=off", "-q"])  # loads all modules, while they can be read
if os.geteuid() == 0:  # root may write anywhere
    os.seteuid(65534)
"""


def test_a_folder_that_must_not_be_written_to(small: Path) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.chmod(folder, 0o755)
        shutil.copytree(begun(small), folder / "run")
        for path in [folder / "run", folder / "run" / "checkpoints"]:
            os.chmod(path, 0o555)
        child = python(RESUME.format(before=UNPRIVILEGED), str(folder / "run"))
        for path in [folder / "run", folder / "run" / "checkpoints"]:
            os.chmod(path, 0o755)
        assert_said(child, "Permission denied", "must not be written to")
        assert_kept(folder / "run")


@pytest.mark.parametrize("gone", ["", "checkpoints"])
def test_a_folder_that_vanishes(
    small: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], gone: str
) -> None:
    update = Solver.update

    def vanishing(self: Solver, **options: Any) -> None:
        if self.iteration == 7:
            shutil.rmtree(Path("runs/small/latest").resolve() / gone)
        update(self, **options)

    monkeypatch.setattr(Solver, "update", vanishing)
    assert main(["train", "small.yaml", "--progress=off"]) == 3
    said = capsys.readouterr().err
    assert "the folder is not there, or not any more" in said
    assert "Traceback" not in said
    assert not Path("runs/small/latest").resolve().joinpath(gone).exists(), "a folder that was removed stays removed"


@pytest.fixture
def full() -> Iterator[Any]:
    """The device on which there is never any space."""
    with open("/dev/full", "w") as device:
        yield device


def test_a_log_without_space(small: Path) -> None:
    run = begun(small)
    (run / "train.log").unlink()
    (run / "train.log").symlink_to("/dev/full")
    child = python(RESUME.format(before=""), str(run))
    assert_said(child, "train.log: No space left on device")
    assert_kept(run)


def test_results_without_space(small: Path, full: Any) -> None:
    run = begun(small)
    child = python(RESUME.format(before=""), str(run), stdout=full)
    assert child.returncode == 0, "the run goes on, as after a closed pipe"
    assert "stdout takes no more: No space left on device" in child.stderr
    assert "Traceback" not in child.stderr
    assert read_snapshot(run / "checkpoints" / "last.h5")[1]["iteration"] == 20
