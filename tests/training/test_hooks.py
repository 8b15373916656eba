"""Hooks: users' own code in a run, from an imported file and from Python."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from layerforge import hook, train
from layerforge.arrays.bfloat16 import rounded
from layerforge.schema.errors import ConfigError, LayerForgeError
from layerforge.snapshot import read_snapshot
from layerforge.solvers.solver import Solver
from layerforge.training.console import Console
from layerforge.training.hooks import EVENTS, PRIORITIES, Running

CONFIG = """\
name: small
data:
  train: {type: Digits, split: "train[:128]", batch_size: 32}
  val:   {type: Digits, split: "train[1000:1050]", batch_size: 50}
net:
  - {name: flat, type: Flatten, bottom: image}
  - {name: fc,   type: Linear, out_features: 10}
  - {name: loss, type: SoftmaxCrossEntropy, bottom: [fc, label]}
solver: {lr: 0.05}
train: {epochs: 3, log_every: 2}
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.yaml").write_text(CONFIG)
    return tmp_path


def run(*overrides: str, **options: Any) -> Any:
    return train("small.yaml", overrides, console=Console(progress="off", quiet=True), **options)


def rows_of(result: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (Path(result.run) / "metrics.jsonl").read_text().splitlines()]


class Noting:
    """Notes all events."""

    def __init__(self) -> None:
        self.events: list[Any] = []

    def on_train_begin(self, run: Any) -> None:
        self.events.append(("begin", run.step, run.total))

    def on_step_end(self, run: Any) -> None:
        self.events.append(("step", run.step))

    def on_eval_end(self, run: Any, metrics: Any) -> None:
        self.events.append(("eval", run.step, sorted(metrics)))

    def on_checkpoint(self, run: Any, path: Path) -> None:
        assert path.is_file()
        self.events.append(("checkpoint", run.step, path.name))

    def on_train_end(self, run: Any, status: str) -> None:
        self.events.append(("end", run.step, status))


def test_the_events_in_their_order() -> None:
    noting = Noting()
    run("train.epochs=2", "checkpoint.monitor=val/loss", hooks=[noting])
    assert noting.events[0] == ("begin", 0, 8)
    assert [e for e in noting.events if e[0] == "step"] == [("step", n) for n in range(1, 9)]
    assert noting.events[5:7] == [("eval", 4, ["val/loss"]), ("checkpoint", 4, "best.h5")]
    assert noting.events[-1] == ("end", 8, "finished")
    assert [e[0] for e in noting.events].count("end") == 1


@pytest.mark.parametrize(("error", "status"), [(ConfigError("x"), "failed"), (KeyboardInterrupt(), "interrupted")])
def test_the_end_comes_whatever_ends_the_run(
    monkeypatch: pytest.MonkeyPatch, error: BaseException, status: str
) -> None:
    def failing(self: Solver, **options: Any) -> None:
        raise error

    monkeypatch.setattr(Solver, "update", failing)
    noting = Noting()
    with pytest.raises(type(error)):
        run(hooks=[noting])
    assert noting.events[-1] == ("end", 0, status)


def test_priorities() -> None:
    calls: list[str] = []

    def make(name: str, **options: Any) -> Any:
        class Each:
            def on_train_begin(self, run: Any) -> None:
                calls.append(name)

        return hook(Each, **options)() if options else Each()

    hooks = [
        make("a"),
        make("z", priority="last"),
        make("b"),
        make("f", priority="first"),
        make("c", priority="normal"),
    ]
    run("train.max_steps=1", hooks=hooks)
    assert calls == ["f", "a", "b", "c", "z"]


def test_a_hook_can_read_and_change_the_net() -> None:
    class Freezing:
        def on_step_end(self, run: Any) -> None:
            assert run.net.params["fc"]["weight"].grad.any()
            assert (run.loss > 0, run.epoch, run.folder.is_dir()) == (True, run.step / 4, True)
            run.net.params["fc"]["bias"].data[...] = 7

    result = run(hooks=[Freezing()])
    arrays, _ = read_snapshot(Path(result.run) / "checkpoints/last.h5")
    assert (arrays["params/fc/bias"] == 7).all()


def test_a_hook_can_stop_the_run() -> None:
    class Stopping:
        def on_step_end(self, run: Any) -> None:
            if run.step == 5:
                run.stop("enough")

    result = run("train.log_every=100", hooks=[Stopping()])
    assert (result.status, result.exit_code, result.steps, result.reason) == ("finished", 0, 5, "enough")
    assert [row["step"] for row in rows_of(result)] == [4, 5, 5], "the last step is evaluated and logged"
    again = run("train.log_every=100", resume_from=result.run)
    assert (again.steps, again.reason) == (5, "enough")


def test_a_hook_can_log_into_columns_of_its_own() -> None:
    class Logging:
        columns = ("weight/largest",)

        def on_step_end(self, run: Any) -> None:
            if run.step > 2:
                run.log(**{"weight/largest": run.net.params["fc"]["weight"].data.max()})

    result = run("train.max_steps=6", hooks=[Logging()])
    trained = [row for row in rows_of(result) if "lr" in row]
    assert ["weight/largest" in row for row in trained] == [False, True, True]
    header, *lines = (Path(result.run) / "metrics.csv").read_text().splitlines()
    column = header.split(",").index("weight/largest")
    assert [bool(line.split(",")[column]) for line in lines] == [False, True, False, True, False]


class Counting:
    """Keeps a count in checkpoints, and logs what it was at step 7."""

    columns = ("count",)

    def __init__(self) -> None:
        self.count = 0

    def on_step_end(self, run: Any) -> None:
        self.count += 1
        if run.step == 7:
            run.log(count=self.count)

    def state(self) -> dict[str, int]:
        return {"count": self.count}

    def load_state(self, state: dict[str, int]) -> None:
        self.count = state["count"]


class Killed(BaseException):
    """Stands for kill -9."""


def test_the_state_of_hooks_is_resumed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed after step 7 was made and logged by the hook, and before its row of metrics: the checkpoint has both."""
    more = ("checkpoint.every={steps: 1}",)
    whole = run("name=whole", *more, hooks=[Counting()])
    update = Solver.update

    def dying(self: Solver, **options: Any) -> None:
        if self.iteration == 7:
            raise Killed
        update(self, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Solver, "update", dying)
        with pytest.raises(Killed):
            run(*more, hooks=[Counting()])
    counting = Counting()
    resumed = run(*more, resume_from="runs/small/latest", hooks=[counting])
    assert counting.count == 12
    values = [[row.get("count") for row in rows_of(r) if "lr" in row] for r in (whole, resumed)]
    assert values == [[None, None, None, 7.0, None, None]] * 2


# Imported -----------------------------------------------------------------------------------------------------------

MINE = """\
from layerforge import hook


@hook(priority="last")
class Last:
    def on_train_begin(self, run):
        print("last begins")


@hook
class Printer:
    columns = ("half",)

    def on_step_end(self, run):
        run.log(half=run.loss / 2)

    def on_train_begin(self, run):
        run.note(f"printer begins in {run.config.name}")


class NotAHook:
    def on_step_end(self, run):
        raise RuntimeError("not decorated")
"""


def call(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "layerforge", *words], capture_output=True, text=True, check=False)


def with_file(text: str) -> None:
    Path("my_hooks.py").write_text(text)
    Path("small.yaml").write_text("import: [my_hooks.py]\n" + CONFIG)


def test_decorated_classes_of_an_imported_file_are_active() -> None:
    with_file(MINE)
    done = call("train", "small.yaml", "train.max_steps=2", "--progress", "off")
    assert done.returncode == 0, done.stderr
    assert "printer begins in small" in done.stderr
    assert "last begins" in done.stdout
    row = json.loads(Path("runs/small/latest/metrics.jsonl").read_text().splitlines()[0])
    assert row["half"] > 0


def test_another_runs_hooks_are_not_active() -> None:
    """An import stays loaded for the life of the process; its hooks belong to the configurations that name it."""
    with_file(MINE)
    run("train.max_steps=1")
    Path("small.yaml").write_text(CONFIG)
    assert not [row for row in rows_of(run("train.max_steps=2")) if "half" in row]


def test_a_runs_hooks_need_permission() -> None:
    with_file(MINE)
    call("train", "small.yaml", "train.max_steps=1", "-q")
    refused = call("train", "runs/small/latest", "--resume")
    assert refused.returncode == 2
    assert "--allow-import" in refused.stderr
    assert "last begins" not in refused.stdout


def test_an_error_of_a_hook_names_the_users_line() -> None:
    with_file("from layerforge import hook\n@hook\nclass Bad:\n    def on_step_end(self, run):\n        1 / 0\n")
    done = call("train", "small.yaml", "-q")
    assert done.returncode == 1
    assert "my_hooks.py:5" in done.stderr
    assert "hook Bad.on_step_end: ZeroDivisionError" in done.stderr
    assert "Traceback" not in done.stderr
    assert Path("runs/small/latest/STATUS").read_text() == "failed\n"


def test_an_error_at_the_end_is_no_success() -> None:
    class Bad:
        def on_train_end(self, run: Any, status: str) -> None:
            raise RuntimeError("no")

    with pytest.raises(LayerForgeError, match=r"hook Bad.on_train_end: RuntimeError: no"):
        run("train.max_steps=1", hooks=[Bad()])
    assert Path("runs/small/latest/STATUS").read_text() == "failed\n"


# Misuse -------------------------------------------------------------------------------------------------------------


def test_misuse_is_told() -> None:
    with pytest.raises(ConfigError, match="there is no priority 'fist'") as caught:
        hook(priority="fist")
    assert "did you mean 'first'" in str(caught.value)

    class Wrong:
        def on_stepend(self, run: Any) -> None:
            pass

    with pytest.raises(ConfigError, match="no event 'on_stepend'") as caught:
        hook(Wrong)
    assert "on_step_end" in str(caught.value)
    with pytest.raises(ConfigError, match="has no event"):
        hook(type("Empty", (), {}))
    with pytest.raises(ConfigError, match="Noting is a class"):
        run(hooks=[Noting])

    class Half(Noting):
        def state(self) -> int:
            return 1

    with pytest.raises(ConfigError, match="state and load_state go together"):
        run(hooks=[Half()])

    class Unknown:
        def on_step_end(self, run: Any) -> None:
            run.log(speed=1.0)

    with pytest.raises(ConfigError, match="no hook declares the column 'speed'"):
        run(hooks=[Unknown()])

    class Unsaveable(Noting):
        def state(self) -> Any:
            return object()

        def load_state(self, state: Any) -> None:
            pass

    with pytest.raises(ConfigError, match="hook Unsaveable: its state cannot be kept"):
        run(hooks=[Unsaveable()])


def test_a_column_that_exists_already_is_refused() -> None:
    class Doubled:
        columns = ("val/loss",)

        def on_step_end(self, run: Any) -> None:
            pass

    with pytest.raises(ConfigError, match="a column 'val/loss' already"):
        run(hooks=[Doubled()])


# The guide ----------------------------------------------------------------------------------------------------------

DOCS = Path(__file__).parents[2] / "docs"


def test_the_documented_example_runs() -> None:
    Path("docs").symlink_to(DOCS)
    command = re.search(r"```sh\n(layerforge train .*?)\n```", (DOCS / "hooks.md").read_text()).group(1)
    done = call(*command.split()[1:], "--progress", "off")
    assert done.returncode == 0, done.stderr
    summary = json.loads(Path("runs/hooks/latest/summary.json").read_text())
    assert summary["reason"].startswith("the smoothed loss is 0.1")
    assert summary["steps"] < 600
    assert f"finished after {summary['steps']} steps" in done.stderr
    rows = [json.loads(line) for line in Path("runs/hooks/latest/metrics.jsonl").read_text().splitlines()]
    assert all(row["loss/smoothed"] > 0 for row in rows if "lr" in row)


def test_the_guide_names_every_event_priority_and_word() -> None:
    text = (DOCS / "hooks.md").read_text()
    for signature in EVENTS.values():
        assert f"`{signature}`" in text
    assert all(f'"{priority}"' in text for priority in PRIORITIES)
    assert all(f"run.{name}" in text for name in vars(Running) if not name.startswith("_"))
    code = re.findall(r"```python\n(.*?)```", text, re.S)
    Path("my_hooks.py").write_text(code[0] + "\n" + code[1])
    Path("small.yaml").write_text(re.search(r"```yaml\n(.*?)```", text, re.S).group(1) + CONFIG)
    assert call("train", "small.yaml", "train.max_steps=2", "-q").returncode == 0
    assert "loss/smoothed" in Path("runs/small/latest/metrics.csv").read_text()
    _, meta = read_snapshot(Path("runs/small/latest/checkpoints/last.h5"))
    assert meta["position"]["hooks"]["Smoothed"]["mean"] > 0


# Mixed precision ------------------------------------------------------------------------------------------------------


class Reading:
    """Keeps blobs and reads them, with their gradients and those of parameters."""

    def __init__(self) -> None:
        self.seen: list[dict[str, np.ndarray]] = []

    def on_train_begin(self, run: Any) -> None:
        run.net.keep = ["hidden"]

    def on_step_end(self, run: Any) -> None:
        blob, weight = run.net.blobs["hidden"], run.net.params["fc"]["weight"]
        self.precision = run.net.current_plan.choices["hidden"].precision
        self.seen.append({"data": blob.data.copy(), "grad": blob.grad.copy(), "weight": weight.grad.copy()})


@pytest.mark.parametrize("engine", ["auto", "reference"])
def test_hooks_and_metrics_of_layers_read_float32_in_mixed_precision(folder: Path, engine: str) -> None:
    hidden = "  - {name: hidden, type: Linear, out_features: 16}\n"
    (folder / "small.yaml").write_text(CONFIG.replace("  - {name: fc,", f"{hidden}  - {{name: fc,"))
    hook, named = Reading(), (f"engine={engine}", "train.log_layers=true", "train.log_every=1")
    result = run("precision=bf16-mixed", *named, hooks=[hook])
    for arrays in hook.seen:
        assert {array.dtype for array in arrays.values()} == {np.dtype("float32")}
    first = hook.seen[0]
    assert first["weight"].any()
    if hook.precision == "bf16-mixed":
        assert all((rounded(np, first[name]) == first[name]).all() for name in ("data", "grad"))
    rows, plain = (rows_of(each)[0] for each in (result, run(*named)))
    for name in ("grad_norm/hidden", "grad_norm/fc", "update_ratio/fc"):
        assert rows[name] == pytest.approx(plain[name], rel=2**-6), name
