"""The folders of runs: which one is the newest, who may write into one, and which checkpoints stay in it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from layerforge import snapshot, train
from layerforge.cli import main
from layerforge.schema.errors import ConfigError, DataError, DivergedError
from layerforge.training.console import Console
from layerforge.training.resume import open_checkpoint
from layerforge.training.rundir import RunDir, find_run

CONFIG = """\
name: small
data:
  train: {type: Digits, split: "train[:96]", batch_size: 32}
  val: {type: Digits, split: "train[96:160]", batch_size: 32}
  test: {type: Digits, split: "train[160:200]", batch_size: 32}
net:
  - {name: flat, type: Flatten, bottom: image}
  - {name: fc,   type: Linear, out_features: 10}
  - {name: loss, type: SoftmaxCrossEntropy, bottom: [fc, label]}
solver: {lr: 0.05}
train: {max_steps: 8, log_every: 1, eval_every: {steps: 2}}
checkpoint: {every: {steps: 2}, keep_last: 3}
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.yaml").write_text(CONFIG)
    return tmp_path


def run(*overrides: str, **options: Any) -> Path:
    return Path(train("small.yaml", overrides, console=Console(progress="off", quiet=True), **options).run)


def made(name: str) -> Path:
    """The folder of something that looks like a run."""
    path = Path("runs/small") / name
    path.mkdir(parents=True)
    (path / "config.resolved.yaml").write_text("name: small\n")
    return path


def steps(run: Path) -> list[int]:
    return sorted(int(p.stem[5:]) for p in (run / "checkpoints").glob("step-*.h5"))


def iteration(path: Path) -> int:
    return snapshot.read_snapshot(path)[1]["iteration"]


# Two runs in one folder -----------------------------------------------------------------------------------------------


class Hook:
    """Does something after the third step."""

    def __init__(self, act: Any) -> None:
        self.act = act

    def on_step_end(self, run: Any) -> None:
        if run.step == 3:
            self.act()


@pytest.mark.parametrize("target", ["runs/small/latest", "runs/small", "runs/small/latest/checkpoints/last.h5"])
def test_a_new_run_does_not_redirect_a_resumed_one(target: str) -> None:
    first = run("train.max_steps=2")
    other: list[RunDir] = []
    hook = Hook(lambda: other.append(RunDir.create("runs", "small")))
    done = run(resume_from=target, allow_config_change=True, hooks=[hook])
    assert done.resolve() == first.resolve()
    assert iteration(first / "checkpoints/last.h5") == 8
    assert (first / "STATUS").read_text() == "finished\n"
    assert [p.name for p in other[0].path.iterdir() if p.name != "STATUS"] == ["checkpoints"]
    assert not list(other[0].checkpoints.iterdir())


@pytest.mark.parametrize(
    ("change", "told"),
    [({}, "the net has no loss: nothing"), ({"phase": "eval"}, "the net has no loss in phase train: nothing")],
)
def test_a_net_without_a_loss_makes_no_folder(
    change: dict[str, str], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    net: list[dict[str, Any]] = [
        {"name": "flat", "type": "Flatten", "bottom": "image"},
        {"name": "fc", "type": "Linear", "out_features": 10},
    ]
    if change:
        net.append({"name": "loss", "type": "SoftmaxCrossEntropy", "bottom": ["fc", "label"], **change})
    data = {"train": {"type": "Digits", "split": "train[:64]", "batch_size": 32}}
    with pytest.raises(ConfigError, match=told) as caught:
        train({"name": "a", "data": data, "net": net, "solver": {"lr": 0.1}, "train": {"max_steps": 1}})
    assert "`- {type: SoftmaxCrossEntropy, bottom: [" in (caught.value.hint or "")
    assert not Path("runs").exists()


def test_what_is_found_does_not_follow_latest() -> None:
    first = run("train.max_steps=1")
    found = [find_run(path) for path in ("runs/small", "runs/small/latest")]
    run("train.max_steps=1")
    assert {each.path for each in found if each is not None} == {first}
    assert find_run("runs/small").path != first


def test_a_run_is_claimed_before_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    done = run("train.max_steps=2")
    read = snapshot.read_snapshot

    def claiming(path: Path) -> Any:
        with pytest.raises(DataError, match="is being trained by another process"):
            RunDir(done).claim()
        return read(path)

    with monkeypatch.context() as patch:
        patch.setattr(snapshot, "read_snapshot", claiming)
        resume = open_checkpoint(done)
    resume.run.release()
    RunDir(done).claim()


SLOW = """
import sys, time
from pathlib import Path
from layerforge.cli import main
from layerforge.training import loop
check_same = loop.check_same
def slow(*arguments):
    Path("read").touch()
    while not Path("go").exists():
        time.sleep(0.01)
    return check_same(*arguments)
loop.check_same = slow
sys.exit(main(sys.argv[1:]))
"""


def test_a_slow_resume_does_not_rewind_what_another_process_trains() -> None:
    done = run("train.max_steps=2")
    resume = ["train", "small.yaml", "--resume", "--allow-config-change", "--progress=off", "-q"]
    with subprocess.Popen([sys.executable, "-c", SLOW, *resume, "train.max_steps=4"]) as slow:
        deadline = time.monotonic() + 60
        while not Path("read").exists():
            assert slow.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert main(resume) == 3  # it has read the checkpoint: whoever went on from here would be undone
        assert iteration(done / "checkpoints/last.h5") == 2
        Path("go").touch()
        assert slow.wait(timeout=60) == 0
    assert main(resume) == 0
    rows = [json.loads(line) for line in (done / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if "lr" in row] == [1, 2, 3, 4, 5, 6, 7, 8]


def test_a_refused_resume_claims_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    done = run("train.max_steps=2")
    resume = ["train", "small.yaml", "--resume", "--progress=off", "-q"]
    for more, code in ((["solver.lr=0.1"], 2), (["--dry-run", "--allow-config-change"], 0)):
        assert main([*resume, *more]) == code
        RunDir(done).claim()
    (done / "checkpoints/last.h5").write_bytes(b"damaged")
    assert main(resume) == 3
    RunDir(done).claim()


# Which run is the newest ----------------------------------------------------------------------------------------------


def test_a_stale_file_of_a_killed_process_does_not_keep_latest_old() -> None:
    old = run("train.max_steps=1")
    for number in range(3):  # as a process of the same number may have left it
        (Path("runs/small") / f".latest-{os.getpid() + number}").symlink_to(old.name)
    new = run("train.max_steps=1")
    assert find_run("runs/small").path == new
    assert not Path("runs/small/latest.txt").exists()


def test_latest_as_an_ordinary_folder_does_not_hide_newer_runs() -> None:
    made("latest")
    assert find_run("runs/small").path == Path("runs/small/latest"), "better than nothing"
    made("20250101-000000-ffff")
    newer = made("20260101-000000-0000")
    assert find_run("runs/small").path == newer
    newest = run("train.max_steps=1")
    assert find_run("runs/small").path == newest
    assert main(["train", "small.yaml", "--resume", "--allow-config-change", "--progress=off", "-q"]) == 0
    assert iteration(newest / "checkpoints/last.h5") == 8


def test_where_there_are_no_links_the_pointer_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    run("train.max_steps=1")

    def refused(self: Path, target: Any) -> None:
        raise OSError("no symbolic links here")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "symlink_to", refused)
        second = run("train.max_steps=1")
    assert find_run("runs/small").path == second
    third = run("train.max_steps=1")
    assert find_run("runs/small").path == third


def test_of_two_pointers_the_newer_counts() -> None:
    """As a version before this one may have left them."""
    old, new = made("20250101-000000-ffff"), made("20260101-000000-0000")
    for link, file in ((old, new), (new, old)):
        Path("runs/small/latest").unlink(missing_ok=True)
        Path("runs/small/latest").symlink_to(link.name)
        Path("runs/small/latest.txt").write_text(file.name + "\n")
        assert find_run("runs/small").path == new


def test_a_link_that_leads_nowhere_is_no_run() -> None:
    made("20250101-000000-ffff")
    link = Path("runs/small/latest")
    for target in ("gone", "latest"):
        link.unlink(missing_ok=True)
        link.symlink_to(target)
        assert find_run("runs/small") is None
        assert find_run(link) is None


@pytest.mark.parametrize("command", [["train", "--resume"], ["eval"], ["check"]])
def test_a_folder_called_latest_beside_newer_runs_is_not_taken_for_the_newest(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    made("latest")
    newer = made("20260101-000000-0000")
    assert main([command[0], "runs/small/latest", *command[1:]]) == 3
    said = capsys.readouterr().err
    assert "is a folder of its own, no link to the newest run" in said
    assert str(newer) in said


@pytest.mark.parametrize("latest", ["missing", "dangling", "file"])
def test_without_a_latest_the_runs_to_resume_are_listed(latest: str, capsys: pytest.CaptureFixture[str]) -> None:
    known = made("20260101-000000-0000")
    if latest == "dangling":
        Path("runs/small/latest").symlink_to("gone")
    elif latest == "file":
        Path("runs/small/latest").write_text("what is this?")
    assert main(["train", "small.yaml", "--resume", "-q"]) == 2
    said = capsys.readouterr().err
    assert "leads to no run of 'small'" in said
    assert f"--resume-from RUN. There are {known}" in said


# Which checkpoints stay -----------------------------------------------------------------------------------------------


def test_going_on_from_an_older_checkpoint_deletes_no_newer_ones() -> None:
    done = run()
    assert steps(done) == [4, 6, 8]
    again = run("train.max_steps=5", resume_from=done / "checkpoints/step-00000004.h5", allow_config_change=True)
    assert again.resolve() == done.resolve()
    assert steps(done) == [4, 5, 6, 8]
    assert iteration(done / "checkpoints/last.h5") == iteration(done / "checkpoints/step-00000005.h5") == 5
    run(resume_from=done, allow_config_change=True)
    assert steps(done) == [5, 6, 8]


def test_the_best_of_an_abandoned_course_is_set_aside() -> None:
    done = run()
    best = done / "checkpoints/best.h5"
    assert iteration(best) == 8, "the loss falls"
    result = train(
        "small.yaml",
        ["train.max_steps=6"],
        resume_from=done / "checkpoints/step-00000004.h5",
        allow_config_change=True,
        console=Console(progress="off", quiet=True),
    )
    assert iteration(best) == 6
    assert iteration(best.with_name("best-of-step-00000008.h5")) == 8
    rows = [json.loads(line) for line in (done / "metrics.jsonl").read_text().splitlines()]
    assert result.best["val/loss"] == [row["val/loss"] for row in rows if row["step"] == 6 and "val/loss" in row][-1]


# Runs that are not there ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command", [["eval"], ["predict", "x.npz"], ["trace", "-o", "t.h5"], ["check"], ["config"], ["train", "--resume"]]
)
@pytest.mark.parametrize("name", ["runs/other", "runs/other/latest", "runs/small/20200101-000000-0000"])
def test_a_run_that_is_not_there(command: list[str], name: str, capsys: pytest.CaptureFixture[str]) -> None:
    made("20250101-000000-ffff")
    Path("runs/small/latest").symlink_to("20250101-000000-ffff")
    assert main([command[0], name, *command[1:]]) == 3
    said = capsys.readouterr().err
    assert f"there is no run {name}" in said
    assert "config file" not in said
    assert "there: runs/small" in said


def test_what_is_no_run_but_a_config_is_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", "nothing"]) == 3
    assert "there is no run nothing" in capsys.readouterr().err
    assert main(["eval", "nothing.yaml"]) == 2
    assert main(["check", "small"]) == 2
    assert "did you mean 'small.yaml'?" in capsys.readouterr().err


def test_diff_of_runs_says_first_how_they_were_done(capsys: pytest.CaptureFixture[str]) -> None:
    one, two = run("train.max_steps=1"), run("train.max_steps=1", "solver.lr=0.06")
    environment = json.loads((two / "env.json").read_text())
    environment["threads"] = {"OMP_NUM_THREADS": "7"}
    environment["cpu"] = "another one"
    (two / "env.json").write_text(json.dumps(environment))
    capsys.readouterr()
    assert main(["diff", str(one), str(two)]) == 1
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert lines[2].startswith("env.threads.")
    assert f"env.cpu: {json.loads((one / 'env.json').read_text())['cpu']} | another one" in lines
    assert [line for line in lines if line.startswith(("env.", "config."))][-1] == "config.solver.lr: 0.05 | 0.06"
    (two / "env.json").write_text('{"engine": ')
    assert main(["diff", str(one), str(two), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["notes"] == ["config.solver.lr: 0.05 | 0.06"]


# Hooks and their working folder ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("overrides", [(), ("solver.lr=1e38",)])
def test_a_hook_that_changes_the_working_folder_loses_nothing(folder: Path, overrides: tuple[str, ...]) -> None:
    (elsewhere := folder / "elsewhere").mkdir()
    hook = Hook(lambda: os.chdir(elsewhere))
    if overrides:
        with pytest.raises(DivergedError) as caught:
            run(*overrides, hooks=[hook])
        assert "layerforge replay runs/small/" in caught.value.hint
    else:
        assert str(run(hooks=[hook])).startswith("runs/small/"), "it is shown as it was named"
    done = find_run(folder / "runs/small").path
    assert (done / "STATUS").read_text() == ("diverged\n" if overrides else "finished\n")
    assert (done / "summary.json").is_file()
    assert not list(elsewhere.iterdir())
    assert bool(overrides) == (done / "capsules").is_dir()
    assert overrides or iteration(done / "checkpoints/last.h5") == 8


# Files of a run that are none -----------------------------------------------------------------------------------------


@pytest.mark.skipif(os.name != "posix", reason="named pipes")
@pytest.mark.parametrize("name", ["metrics.jsonl", "metrics.csv", "STATUS", "train.log", "config.resolved.yaml"])
def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(name: str) -> None:
    done = run("train.max_steps=2")
    (done / name).unlink()
    os.mkfifo(done / name)
    code = main(["train", "small.yaml", "train.max_steps=4", "--resume", "--allow-config-change", "-q"])
    assert code == 0 if name == "STATUS" else code in (2, 3)
    assert main(["diff", str(done), str(done)]) in (0, 1, 2, 3)


@pytest.mark.skipif(os.name != "posix", reason="named pipes")
@pytest.mark.parametrize("name", ["env.json", "config.resolved.yaml"])
def test_a_pipe_in_a_run_that_is_compared(name: str) -> None:
    done, other = run("train.max_steps=2"), run("train.max_steps=2")
    (done / name).unlink()
    os.mkfifo(done / name)
    assert main(["diff", str(done), str(other)]) in (0, 1, 2, 3)


@pytest.mark.skipif(os.name != "posix", reason="named pipes")
def test_a_pipe_that_is_called_latest_txt(capsys: pytest.CaptureFixture[str]) -> None:
    done = run("train.max_steps=2")
    os.mkfifo("runs/small/latest.txt")
    assert find_run("runs/small").path == done


# What could not be read back ------------------------------------------------------------------------------------------


@pytest.mark.skipif(os.name != "posix", reason="such names")
@pytest.mark.parametrize("character", ["\x1b", "\x7f", "\x85"])
def test_a_path_that_no_configuration_could_hold_is_refused_before_training(
    folder: Path, capsys: pytest.CaptureFixture[str], character: str
) -> None:
    (inside := folder / f"a{character}b").mkdir()
    np.savez(inside / "d.npz", image=np.zeros((4, 3), np.float32), label=np.arange(4))
    data = "  train: {type: NPZ, path: d.npz, batch_size: 2}\n"
    text = CONFIG.replace(CONFIG[CONFIG.index("  train:") : CONFIG.index("net:")], data)
    (inside / "small.yaml").write_text(text)
    assert main(["train", str(inside / "small.yaml"), "-q"]) == 2
    assert f"control character U+{ord(character):04X}" in capsys.readouterr().err
    assert not Path("runs").exists()


def test_a_finished_run_that_is_resumed_says_that_nothing_is_left(capsys: pytest.CaptureFixture[str]) -> None:
    run("train.max_steps=1")
    assert main(["train", "small.yaml", "train.max_steps=1", "--resume", "--progress=off"]) == 0
    assert "nothing is left to do" in capsys.readouterr().err
