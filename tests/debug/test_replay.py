"""Steps that are not finite: what a run does with them, and whether `layerforge replay` names the right layer."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

from layerforge import train
from layerforge.arrays.backend import Backend
from layerforge.cli import main
from layerforge.config.document import Config
from layerforge.debug.replay import Replayed, replay
from layerforge.debug.watch import WatchedNet
from layerforge.schema.errors import ConfigError, DataError, DivergedError, LayerError
from layerforge.schema.texts import from_json
from layerforge.snapshot import read_snapshot, write_snapshot
from layerforge.solvers.solver import Solver
from layerforge.training import divergence
from layerforge.training.capsule import read_capsule
from layerforge.training.console import Console

N = 8  # samples, two batches of 4


@dataclass
class Planted:
    """A net, its data and solver, and what `replay` must say: kind, layer and name of the first array."""

    net: str
    kind: str
    layer: str
    name: str
    x: Callable[[], np.ndarray] = lambda: np.linspace(0.1, 1, N * 4).reshape(N, 4)
    t: Callable[[], np.ndarray] = lambda: np.zeros((N, 4))
    solver: dict[str, Any] = field(default_factory=lambda: {"lr": 0.1})
    dtype: str = "float32"
    epochs: int = 1


def fc(name: str, weight: float = 0.1, out: int = 4, bottom: str = "") -> str:
    """A line with a Linear layer whose weights are all the same."""
    reads = f", bottom: {bottom}" if bottom else ""
    return f"{{name: {name}, type: Linear, out_features: {out}, weight_filler: {same(weight)}{reads}}}\n"


def same(value: float) -> str:
    """The filler of a number."""
    return f"{{type: constant, value: {value}}}"


def layer(name: str, kind: str, more: str = "") -> str:
    return f"{{name: {name}, type: {kind}{', ' + more if more else ''}}}\n"


def mse(bottom: str = "") -> str:
    return f"{{name: loss, type: MSELoss, bottom: [{bottom}, t]}}\n"


def column(value: float) -> Callable[[], np.ndarray]:
    """Ones, with `value` in sample 5."""

    def make() -> np.ndarray:
        x = np.ones((N, 4))
        x[5, 2] = value
        return x

    return make


def constant(value: float, *shape: int) -> Callable[[], np.ndarray]:
    return lambda: np.full((N, *(shape or (4,))), value)


FC = fc("fc", bottom="x")
ZERO = fc("fc", 0.0, bottom="x")
MATRIX = fc("fc", 0.0, bottom="x") + layer("m", "Reshape", "shape: [0, 2, 2]")

PLANTED = {
    "log of 0": Planted(ZERO + layer("log", "Log") + mse("log"), "blob", "log", "log"),
    "log of a negative": Planted(fc("fc", -1, bottom="x") + layer("log", "Log") + mse("log"), "blob", "log", "log"),
    "lr 1e3": Planted(
        FC + layer("sq", "Square") + fc("top") + layer("sq2", "Square") + mse("sq2"),
        "blob", "sq", "sq", solver={"lr": 1e3}, epochs=4,
    ),
    "one over the root of a zero variance": Planted(
        FC + layer("var", "Var", "dim: 1, keepdim: true") + layer("rs", "Rsqrt")
        + "{name: y, type: Mul, bottom: [fc, rs]}\n" + mse("y"),
        "blob", "rs", "rs",
    ),
    "batch norm of a constant batch": Planted(
        FC + layer("bn", "BatchNorm", "eps: 1e-60") + mse("bn"), "blob", "bn", "bn", x=constant(1.0)
    ),
    "division by a zero standard deviation": Planted(
        FC + layer("mean", "Mean", "dim: 1, keepdim: true, bottom: fc") + "{name: c, type: Sub, bottom: [fc, mean]}\n"
        + layer("std", "Std", "dim: 1, keepdim: true, bottom: fc") + "{name: q, type: Div, bottom: [c, std]}\n"
        + mse("q"),
        "blob", "q", "q",
    ),
    "an RNN that explodes forward": Planted(
        layer("rnn", "RNN", f"hidden_size: 4, nonlinearity: relu, weight_filler: {same(2)}, bottom: x") + mse("rnn"),
        "blob", "rnn", "rnn", x=constant(1.0, 60, 2), t=constant(0.0, 60, 4),
    ),
    "an RNN that explodes backward": Planted(
        layer("rnn", "RNN", f"hidden_size: 4, weight_filler: {same(10)}, bias_filler: {same(0)}, bottom: x")
        + mse("rnn"),
        "parameter gradient", "rnn", "rnn.weight_ih_l0", x=constant(0.0, 60, 2), t=constant(1.0, 60, 4),
    ),
    "the gradient of sqrt at 0": Planted(ZERO + layer("root", "Sqrt") + mse("root"), "gradient", "root", "fc",
                                        t=constant(1.0)),
    "0 / 0": Planted(
        ZERO + fc("fd", 0.0, bottom="x") + "{name: q, type: Div, bottom: [fc, fd]}\n" + mse("q"), "blob", "q", "q"
    ),
    "exp overflows": Planted(fc("fc", 100, bottom="x") + layer("e", "Exp") + mse("e"), "blob", "e", "e",
                             x=constant(1.0)),
    "one over the norm of 0": Planted(
        ZERO + layer("n", "Norm", "dim: 1, keepdim: true") + layer("r", "Reciprocal")
        + "{name: y, type: Mul, bottom: [fc, r]}\n" + mse("y"),
        "blob", "r", "r",
    ),
    "softmax of infinity names what is below it": Planted(
        fc("fc", 1e20, bottom="x") + layer("sq", "Square") + layer("p", "Softmax", "dim: 1") + mse("p"),
        "blob", "sq", "sq",
    ),
    "a number too large for float32 in the data": Planted(FC + mse("fc"), "input", "", "x", x=column(1e39)),
    "a root of a negative number": Planted(
        fc("fc", -1, bottom="x") + layer("p", "Pow", "exponent: 0.5") + mse("p"), "blob", "p", "p"
    ),
    "one over 0": Planted(ZERO + layer("r", "Reciprocal") + mse("r"), "blob", "r", "r"),
    "log det of a singular matrix": Planted(
        ZERO + layer("m", "Reshape", "shape: [0, 2, 2]") + layer("d", "LogDet") + layer("s", "Sum", "loss_weight: 1"),
        "blob", "d", "d",
    ),
    "the inverse of almost nothing": Planted(
        fc("fc", 1e-39, out=1, bottom="x") + layer("m", "Reshape", "shape: [0, 1, 1]") + layer("i", "Inverse")
        + layer("s", "SumSquare", "loss_weight: 1"),
        "blob", "i", "i",
    ),
    "a running product overflows": Planted(
        fc("fc", 1e4, bottom="x", out=20) + layer("c", "Cumprod", "dim: 1") + layer("s", "Sum", "loss_weight: 1"),
        "blob", "c", "c", x=constant(1.0),
    ),
    "KL divergence from a logarithm of 0": Planted(
        ZERO + layer("log", "Log") + "{name: loss, type: KLDivLoss, bottom: [log, t]}\n", "blob", "log", "log",
        t=constant(0.25),
    ),
    "KL divergence to a probability of e^100": Planted(
        FC + "{name: loss, type: KLDivLoss, bottom: [fc, t], log_target: true}\n", "blob", "loss", "loss",
        t=constant(100.0),
    ),
    "weights begin too large": Planted(
        "{name: fc, type: Linear, out_features: 4, bottom: x, weight_filler: {type: gaussian, std: 1e38}}\n"
        + fc("top", 10) + mse("top"),
        "blob", "top", "top",
    ),
    "momentum blows up": Planted(
        fc("fc", 1.0, bottom="x") + mse("fc"), "parameter", "fc", "fc.weight",
        solver={"lr": 1e38, "momentum": 0.99}, x=constant(100.0),
    ),
    "only the loss overflows": Planted(fc("fc", 1e20, bottom="x") + mse("fc"), "blob", "loss", "loss"),
    "only the norm overflows": Planted(
        fc("fc", 1.0, bottom="x") + layer("s", "Sum", "loss_weight: 1e200"), "norm", "fc", "norm", dtype="float64"
    ),
    "only the sum of gradients overflows": Planted(
        fc("fc", 1e-30, bottom="x") + layer("a", "Sum", "bottom: fc, loss_weight: 2e38")
        + layer("b", "Sum", "bottom: fc, loss_weight: 2e38"),
        "sum of gradients", "fc", "fc",
    ),
    "an infinity that is swallowed is not blamed": Planted(
        ZERO + layer("log", "Log", "bottom: fc") + layer("low", "Clamp", "min: 0, max: 1")
        + layer("a", "Abs", "bottom: fc") + layer("r", "Reciprocal") + "{name: y, type: Add, bottom: [low, r]}\n"
        + mse("y"),
        "blob", "r", "r",
    ),
}  # fmt: skip


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(planted: Planted, **train_keys: Any) -> Path:
    """The planted configuration and its data, in the working folder."""
    np.savez("data.npz", x=planted.x(), t=planted.t())
    net = "".join(f"  - {line}\n" for line in planted.net.splitlines())
    sections = {
        "solver": planted.solver,
        "train": {"epochs": planted.epochs, **train_keys},
        "data": {"train": {"type": "NPZ", "path": "data.npz", "batch_size": 4, "shuffle": False}},
    }
    lines = "".join(f"{key}: {json.dumps(value)}\n" for key, value in sections.items())
    Path("c.yaml").write_text(f"dtype: {planted.dtype}\n{lines}net:\n{net}")
    return Path("c.yaml")


def run(path: Path, *overrides: str) -> Any:
    return train(path, overrides, console=Console(progress="off", quiet=True))


def diverged(planted: Planted, *overrides: str, **train_keys: Any) -> Replayed:
    """Train until it diverges, and replay the capsule."""
    with pytest.raises(DivergedError, match="layerforge replay"):
        run(write(planted, **train_keys), *overrides)
    return replay("runs/c")


@pytest.mark.parametrize("planted", PLANTED.values(), ids=list(PLANTED))
def test_replay_names_what_went_wrong_first(planted: Planted) -> None:
    done = diverged(planted)
    assert done.cause is not None
    assert (done.cause.kind, done.cause.layer, done.cause.name) == (planted.kind, planted.layer, planted.name)
    assert not done.cause.finite
    assert all(source.finite for source in done.cause.made_of)
    recorded = done.capsule.meta
    np.testing.assert_equal(done.loss, recorded["loss"])
    assert np.isfinite(done.grad_norm) == np.isfinite(recorded["grad_norm"])
    place = done.capsule.place(done.cause.layer)
    assert done.cause.kind == "input" or (place is not None and f"name: {planted.layer}" in place.text)


def test_what_replay_prints(capsys: pytest.CaptureFixture[str]) -> None:
    diverged(PLANTED["log of 0"])
    assert main(["replay", "runs/c"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert "step-00000000.h5: iteration 0, loss inf, gradient norm " in out[0]
    assert out[1] == "forward of layer 'log' (Log) made blob 'log' not finite: 0 NaN and 16 infinite among 16 elements"
    assert out[2].strip().startswith("--> c.yaml:7:")
    rows = [line.split() for line in out if line.startswith(("*", "!"))]
    assert rows == [["*", "fc", "blob", "4x4", "0", "0"], ["!", "log", "blob", "4x4", "-inf", "-inf", "16"]]
    assert any(line.split()[:2] == ["fc.weight", "parameter"] for line in out)


def test_replay_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    done = diverged(PLANTED["a number too large for float32 in the data"])
    assert main(["replay", str(done.capsule.file), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["first"]["name"] == "x"
    assert (said["first"]["layer"], said["first"]["inf"], said["first"]["max"]) == (None, 1, ".inf")
    assert said["samples"] == [1]
    assert "number 5 of data.train" in said["what"]
    assert said["reproduced"] is True


def test_the_momentum_that_blew_up_is_shown() -> None:
    done = diverged(PLANTED["momentum blows up"])
    assert [seen.name for seen in done.history] == ["fc.weight (history 0)"]
    assert done.history[0].inf == 16


def test_the_micro_batch_is_named() -> None:
    planted = Planted(FC + mse("fc"), "input", "", "x", x=column(1e39))
    done = diverged(planted, accumulate_grad_batches=2)
    assert (done.part, done.samples) == (1, [1])
    assert len(done.capsule.batches) == 2


def test_random_numbers_come_again() -> None:
    """The root has no gradient where dropout leaves a zero, which is rare; the loss then depends on where that was."""
    net = FC + layer("drop", "Dropout", "p: 0.01") + layer("root", "Sqrt") + mse("root")
    done = diverged(Planted(net, "gradient", "root", "drop", t=constant(1.0)), epochs=20)
    recorded = done.capsule.meta
    assert recorded["iteration"] > 0
    assert np.isfinite(recorded["loss"])
    assert done.loss == recorded["loss"]
    assert done.cause is not None
    assert (done.cause.layer, done.cause.name) == ("root", "drop")


# What a run does with it --------------------------------------------------------------------------------------------

HEALS = Planted(
    FC + layer("bn", "BatchNorm") + layer("drop", "Dropout", "p: 0.5") + fc("top") + mse("top"),
    "input", "", "x", x=column(1e39), solver={"type": "Adam", "lr": 0.01},
)  # fmt: skip


def state_of(folder: str | Path) -> dict[str, np.ndarray]:
    arrays, _ = read_snapshot(Path(folder) / "checkpoints" / "last.h5")
    return arrays


def test_a_skipped_step_leaves_everything_as_it_was() -> None:
    """Weights, statistics and history are those of a run that never came to the batch."""
    result = run(write(HEALS, on_nonfinite="skip"))
    assert (result.status, result.steps, result.nonfinite) == ("finished", 2, 1)
    skipped = state_of(result.run)
    before = state_of(run(Path("c.yaml"), "train.max_steps=1").run)
    assert set(skipped) == set(before)
    assert all(np.array_equal(skipped[k], before[k]) for k in before)


def test_after_a_skip_training_goes_on_with_the_next_batch() -> None:
    result = run(write(HEALS, on_nonfinite="skip", log_every=1), "train.epochs=3")
    rows = [from_json(line) for line in (Path(result.run) / "metrics.jsonl").read_text().splitlines()]
    assert [row["nonfinite"] for row in rows] == [0, 1, 1, 2, 2, 3]
    assert [bool(np.isfinite(row["train/loss"])) for row in rows] == [True, False] * 3
    assert all(np.isfinite(a).all() for a in state_of(result.run).values())
    summary = json.loads((Path(result.run) / "summary.json").read_text())
    assert (summary["nonfinite"], summary["exit_code"]) == (3, 0)
    assert [p.name for p in (Path(result.run) / "capsules").iterdir()] == ["step-00000001.h5"]
    assert replay(result.run).cause is not None


def test_adam_does_not_count_skipped_steps() -> None:
    """Two updates and a skip between them end where two updates do, when every batch is the same."""
    still = Planted(FC + mse("fc"), "", "", "", x=constant(1.0), solver={"type": "Adam", "lr": 0.01})
    two = state_of(run(write(still)).run)
    poisoned = np.concatenate([np.ones((4, 4)), np.full((4, 4), 1e39), np.ones((4, 4))])
    with_skip = Planted(still.net, "", "", "", x=lambda: poisoned, t=lambda: np.zeros((12, 4)), solver=still.solver)
    three = state_of(run(write(with_skip, on_nonfinite="skip")).run)
    assert all(np.array_equal(two[k], three[k]) for k in two if not k.startswith("transform"))


def test_a_skipped_step_is_said_and_warned_of(capsys: pytest.CaptureFixture[str]) -> None:
    path = write(HEALS, on_nonfinite="skip")
    assert main(["train", str(path), "--progress", "off"]) == 0
    said = capsys.readouterr().err
    assert "iteration 1: loss inf" in said or "iteration 1: loss nan" in said
    assert "capsule: " in said
    assert "1 of 2 steps were skipped" in said


def test_ignore_updates_all_the_same() -> None:
    result = run(write(HEALS, on_nonfinite="ignore"))
    assert (result.status, result.nonfinite) == ("finished", 1)
    assert not all(np.isfinite(a).all() for a in state_of(result.run).values())
    assert not (Path(result.run) / "capsules").exists()


def test_a_label_out_of_range_is_an_error_and_no_divergence() -> None:
    net = FC + "{name: loss, type: SoftmaxCrossEntropy, bottom: [fc, t]}\n"
    with pytest.raises(LayerError, match=r"layer 'loss'.*out of range") as caught:
        run(write(Planted(net, "", "", "", t=lambda: np.full(N, 7, dtype=np.int64))))
    assert caught.value.exit_code == 3
    with pytest.raises(ConfigError, match="has no capsule"):
        replay("runs/c")


def test_a_singular_matrix_is_named_by_the_run_itself() -> None:
    net = ZERO + layer("m", "Reshape", "shape: [0, 2, 2]") + layer("i", "Inverse") + layer("s", "Sum", "loss_weight: 1")
    with pytest.raises(LayerError, match=r"layer 'i' \(Inverse\): a matrix is singular"):
        run(write(Planted(net, "", "", "")))


def test_nan_in_the_data_is_named_before_the_first_step() -> None:
    with pytest.raises(DataError, match="blob 'x': sample 5 is not finite"):
        run(write(Planted(FC + mse("fc"), "", "", "", x=column(np.nan))))


# Capsules -----------------------------------------------------------------------------------------------------------


def test_a_capsule_needs_neither_the_data_nor_the_configuration() -> None:
    done = diverged(PLANTED["log of 0"])
    Path("c.yaml").unlink()
    Path("data.npz").unlink()
    again = replay(done.capsule.file.rename("capsule.h5"))
    assert again.cause is not None
    assert again.cause.name == "log"


USERS_LAYER = """\
from pathlib import Path
from layerforge import Layer, register

Path("ran").touch()

@register
class Broken(Layer):
    def setup(self, x):
        return x
    def forward(self, x):
        return x / (x - x)
    def backward(self, dy):
        return dy
"""


def test_a_capsule_with_imports_runs_nothing_unasked() -> None:
    """In processes of their own, as an imported file is run only once in each."""
    Path("mine.py").write_text(USERS_LAYER)
    path = write(Planted(FC + layer("broken", "Broken") + mse("broken"), "", "", ""))
    path.write_text("import: [mine.py]\n" + path.read_text())
    assert call("train", "c.yaml", "-q").returncode == 4
    Path("ran").unlink()
    refused = call("replay", "runs/c")
    assert refused.returncode == 2
    assert "--allow-import" in refused.stderr
    assert not Path("ran").exists()
    allowed = call("replay", "runs/c", "--allow-import")
    assert allowed.returncode == 0
    assert "layer 'broken' (Broken)" in allowed.stdout


def call(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "layerforge", *words], capture_output=True, text=True, check=False)


def test_a_step_that_is_finite_this_time(capsys: pytest.CaptureFixture[str]) -> None:
    done = diverged(PLANTED["only the loss overflows"])
    capsule = read_capsule(done.capsule.file)
    arrays = {k: v * 1e-20 if k == "params/fc/weight" else v for k, v in capsule.arrays.items()}
    write_snapshot("mended.h5", arrays, capsule.meta)
    assert main(["replay", "mended.h5"]) == 1
    assert "the step is finite" in capsys.readouterr().out


def test_what_is_no_capsule() -> None:
    result = run(write(Planted(FC + mse("fc"), "", "", "")))
    with pytest.raises(ConfigError, match="has no capsule"):
        replay(result.run)
    with pytest.raises(ConfigError, match="is no capsule but"):
        replay(Path(result.run) / "checkpoints" / "last.h5")
    with pytest.raises(DataError, match="cannot read"):
        replay("nowhere.h5")


def test_a_capsule_is_no_checkpoint(capsys: pytest.CaptureFixture[str]) -> None:
    done = diverged(PLANTED["log of 0"])
    assert main(["train", "c.yaml", "--resume-from", str(done.capsule.file)]) == 2
    assert "capsule" in capsys.readouterr().err


def test_a_capsule_that_cannot_be_written_does_not_hide_the_divergence(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: Any) -> None:
        raise DataError("no space left")

    monkeypatch.setattr(divergence, "write_capsule", full)
    with pytest.raises(DivergedError) as caught:
        run(write(PLANTED["log of 0"]))
    assert "solver.lr" in (caught.value.hint or "")


def test_a_fault_of_fused_layers_is_told_from_one_of_the_net(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A net that goes wrong only where it is not watched."""
    accumulate = Solver.accumulate

    def faulty(self: Solver, **batch: Any) -> float:
        loss = accumulate(self, **batch)
        if not isinstance(self.net, WatchedNet):
            self.net.parameters.grad[0] = np.nan
        return loss

    monkeypatch.setattr(Solver, "accumulate", faulty)
    with pytest.raises(DivergedError):
        run(write(Planted(FC + mse("fc"), "", "", "")))
    assert main(["replay", "runs/c"]) == 1
    out = capsys.readouterr().out
    assert "but not as training runs it" in out
    assert "engine: reference" in out


def test_replay_and_averages_on_a_device(device_backend: Backend) -> None:
    planted = PLANTED["log of 0"]
    keys = {"ema_decay": 0.5, "log_layers": True, "log_every": 1, "max_steps": 1}
    with pytest.raises(DivergedError):
        train(write(planted, **keys), console=Console(progress="off", quiet=True), backend=device_backend)
    done = replay("runs/c", backend=device_backend)
    assert done.cause is not None
    assert done.cause.name == "log"
    fine = write(Planted(FC + layer("bn", "BatchNorm") + mse("bn"), "", "", ""), **keys)
    host = train(fine, console=Console(progress="off", quiet=True))
    device = train(fine, console=Console(progress="off", quiet=True), backend=device_backend)
    one, two = state_of(host.run), state_of(device.run)
    assert set(one) == set(two)
    for name in one:
        np.testing.assert_allclose(one[name], two[name], rtol=1e-4, atol=1e-5)


def test_the_documented_replay_is_what_comes_out() -> None:
    """Word for word, except for digits of arrays, which depend on the processor, and for blanks."""
    root = Path(__file__).parents[2]
    Path("docs").symlink_to(root / "docs")
    page = (root / "docs" / "runs.md").read_text()
    command, shown = re.search(r"```sh\n(layerforge replay .*?)\n```\n\n```\n(.*?)```", page, re.S).groups()
    assert call("train", "docs/examples/diverges.yaml", "-q").returncode == 4
    done = call(*command.split()[1:])
    assert done.returncode == 0, done.stderr
    assert masked(done.stdout) == masked(shown)


def masked(text: str) -> list[list[str]]:
    return [re.sub(r"-?\d+\.\d+(e[+-]\d+)?", "#", line).split() for line in text.splitlines()]


def test_a_capsule_of_a_sparse_batch_is_run_again(tmp_path: Path) -> None:
    x = sp.csr_array(np.eye(4, 6) + np.eye(4, 6, 2))
    np.savez(tmp_path / "x.npz", data=x.data, indices=x.indices, indptr=x.indptr, shape=x.shape, label=np.arange(4) % 2)
    config = {
        "name": "bag",
        "data": {"train": {"type": "SparseNPZ", "path": str(tmp_path / "x.npz"), "batch_size": 4, "shuffle": False}},
        "net": [
            {"name": "fc", "type": "Linear", "bottom": "x", "out_features": 3},
            {"name": "exp", "type": "Exp"},
            {"name": "out", "type": "Linear", "out_features": 2},
            {"name": "loss", "type": "SoftmaxCrossEntropy", "bottom": ["out", "label"]},
        ],
        "solver": {"lr": 1e30},
        "train": {"epochs": 3, "output_dir": str(tmp_path / "runs")},
    }
    with pytest.raises(DivergedError):
        train(Config.from_dict(config))
    (capsule,) = (tmp_path / "runs").rglob("capsules/*.h5")
    held = read_capsule(capsule).batches[0]["x"]
    np.testing.assert_array_equal(held.toarray(), x.toarray())
    assert not replay(capsule).seen[0].nan
    assert replay(capsule).cause is not None
