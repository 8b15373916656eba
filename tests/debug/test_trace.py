"""`layerforge trace` and `layerforge diff`: one step in a file, and the first array that differs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from layerforge import Net, Solver, train
from layerforge.check import against as comparing
from layerforge.cli import main
from layerforge.debug.diff import Limits, diff, difference, in_order
from layerforge.schema.errors import ConfigError, DataError
from layerforge.snapshot import read_snapshot, write_snapshot
from layerforge.training.console import Console

CONFIG = """\
name: small
engine: reference
data:
  train: {type: Digits, split: "train[:64]", batch_size: 16, shuffle: true}
  val:   {type: Digits, split: "train[64:96]", batch_size: 16}
net:
  - {name: flat, type: Flatten, bottom: image}
  - {name: a/1,  type: Linear, out_features: 8}
  - {name: bn,   type: BatchNorm}
  - {name: act,  type: ReLU, top: bn}
  - {name: drop, type: Dropout, p: 0.3}
  - {name: fc,   type: Linear, out_features: 10, bottom: drop}
  - {name: loss, type: SoftmaxCrossEntropy, bottom: [fc, label]}
solver: {lr: 0.05, momentum: 0.9}
train: {epochs: 3, log_every: 2, eval_every: {steps: 4}}
checkpoint: {every: {steps: 3}, keep_last: 9}
"""
ORDER = [
    "parameters/a%2F1/weight/data",
    "parameters/a%2F1/bias/data",
    "parameters/bn/weight/data",
    "parameters/bn/bias/data",
    "parameters/fc/weight/data",
    "parameters/fc/bias/data",
    "blobs/image/data",
    "blobs/label/data",
    "blobs/flat/data",
    "blobs/a%2F1/data",
    "blobs/bn/data",
    "blobs/drop/data",
    "blobs/fc/data",
    "blobs/loss/data",
    "statistics/bn/running_mean",
    "statistics/bn/running_var",
    "blobs/loss/grad",
    "blobs/fc/grad",
    "blobs/drop/grad",
    "blobs/bn/grad",
    "blobs/a%2F1/grad",
    "parameters/a%2F1/weight/grad",
    "parameters/a%2F1/bias/grad",
    "parameters/bn/weight/grad",
    "parameters/bn/bias/grad",
    "parameters/fc/weight/grad",
    "parameters/fc/bias/grad",
]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.yaml").write_text(CONFIG)
    return tmp_path


def traced(name: str, *words: str) -> str:
    """The path of a trace that the command wrote."""
    assert main(["trace", "small.yaml", *words, "-o", name]) == 0
    return name


def output(capsys: pytest.CaptureFixture[str], *arguments: str, code: int) -> str:
    capsys.readouterr()
    assert main(arguments) == code
    return capsys.readouterr().out


# Traces ---------------------------------------------------------------------------------------------------------------


def test_a_trace_holds_every_array_of_the_step_in_the_order_of_execution() -> None:
    arrays, meta = read_snapshot(traced("a.h5"))
    assert meta["order"] == ORDER
    assert set(arrays) == set(ORDER)
    assert arrays["blobs/image/data"].shape == (16, 1, 28, 28)
    assert arrays["parameters/a%2F1/weight/grad"].shape == (8, 784)


def test_a_trace_says_what_it_is() -> None:
    meta = read_snapshot(traced("a.h5", "--dtype", "float64", "seed=3"))[1]
    assert (meta["kind"], meta["made_by"], meta["name"], meta["seed"]) == ("trace", "layerforge", "small", 3)
    assert (meta["dtype"], meta["backend"], meta["weights"]) == ("float64", "numpy", "start values")
    assert "fc" in meta["engine"]["reference"]
    assert (meta["batch"]["epoch"], meta["batch"]["batch"], len(meta["samples"])) == (0, 0, 16)
    assert "seed: 3" in meta["config"]
    assert meta["environment"]["packages"]["numpy"] == np.__version__


def test_a_trace_says_in_which_precision(capsys: pytest.CaptureFixture[str]) -> None:
    words = "engine=reference", "precision=bf16-mixed"
    meta = read_snapshot(traced("a.h5", *words))[1]
    assert meta["precision"] == {"asked": "bf16-mixed", "mixed": ["bf16-mixed"], "why": None}
    assert meta["environment"]["precision"]["layers"]["bf16-mixed"] > 0
    assert ", float32, bf16-mixed on numpy, " in capsys.readouterr().out


def test_a_trace_is_the_first_step_of_training() -> None:
    """Weights after one step of plain SGD are the traced ones minus lr times the traced gradients."""
    arrays, meta = read_snapshot(traced("a.h5", "--dtype", "float64"))
    train(
        "small.yaml",
        ["train.epochs=null", "train.max_steps=1", "solver.momentum=0", "dtype=float64"],
        console=Console(progress="off", quiet=True),
    )
    after, _ = read_snapshot(next(Path("runs").glob("small/*/checkpoints/last.h5")))
    for name in ("weight", "bias"):
        moved = arrays[f"parameters/fc/{name}/data"] - 0.05 * arrays[f"parameters/fc/{name}/grad"]
        np.testing.assert_allclose(after[f"params/fc/{name}"], moved, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(after["state/bn/running_mean"], arrays["statistics/bn/running_mean"], rtol=1e-12)
    assert meta["loss"] == pytest.approx(float(arrays["blobs/loss/data"]))


def test_a_trace_from_weights_begins_with_them() -> None:
    net = Net.from_yaml("small.yaml")
    net.params["fc"]["bias"].data[...] = 7
    net.save("weights.h5")
    arrays, meta = read_snapshot(traced("a.h5", "--weights", "weights.h5"))
    assert (arrays["parameters/fc/bias/data"] == 7).all()
    assert meta["weights"] == "weights.h5"


def test_a_net_without_data_and_loss_is_traced_on_random_numbers() -> None:
    text = "inputs: {x: {shape: [6, 3], grad: true}}\nnet: [{name: y, type: Sigmoid}]\n"
    Path("small.yaml").write_text(text)
    arrays, meta = read_snapshot(traced("a.h5"))
    assert meta["order"] == ["blobs/x/data", "blobs/y/data", "blobs/y/grad", "blobs/x/grad"]
    assert meta["loss"] is None
    y, dy = arrays["blobs/y/data"], arrays["blobs/y/grad"]
    assert y.shape == (6, 3)
    assert np.unique(dy).size == dy.size
    np.testing.assert_allclose(arrays["blobs/x/grad"], dy * y * (1 - y), rtol=1e-5)


def test_shared_parameters_stand_under_their_owner() -> None:
    a = "{name: a, type: Linear, out_features: 3}"
    b = "{name: b, type: Linear, out_features: 3, share: {weight: a.weight}}"
    Path("small.yaml").write_text(f"inputs: {{x: {{shape: [2, 3]}}}}\nnet: [{a}, {b}]\n")
    assert [p for p in read_snapshot(traced("a.h5"))[1]["order"] if "weight" in p] == [
        "parameters/a/weight/data",
        "parameters/a/weight/grad",
    ]


def test_a_trace_of_another_implementation_holds_what_that_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    class Other:
        name = "other 1.0"

        def knows(self, type_name: str) -> bool:
            return True

        def step(self, net: Any, state: Any, inputs: Any, phase: str, ours: Any) -> dict[str, np.ndarray]:
            assert (state["bn.running_mean"] == 0).all(), "statistics from before the step"
            return {path: array + 1 if path == "blobs/fc/data" else array for path, array in ours.arrays.items()}

    monkeypatch.setattr(comparing, "torch_reference", Other)
    found = diff(traced("a.h5"), traced("b.h5", "--against", "torch"))
    assert found.first is not None
    assert [d.name for d in found.differences] == ["blobs/fc/data"]
    assert "backend: numpy | other 1.0" in found.notes


def test_a_layer_that_the_other_lacks_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Narrow:
        name = "narrow 1.0"

        def knows(self, type_name: str) -> bool:
            return type_name != "BatchNorm"

    monkeypatch.setattr(comparing, "torch_reference", Narrow)
    assert main(["trace", "small.yaml", "-o", "a.h5", "--against", "torch"]) == 2
    assert "narrow 1.0 has nothing like 'bn' (BatchNorm)" in capsys.readouterr().err
    assert not Path("a.h5").exists()


def test_the_command_tells_what_it_wrote(capsys: pytest.CaptureFixture[str]) -> None:
    assert "a.h5: 27 arrays" in output(capsys, "trace", "small.yaml", "-o", "a.h5", code=0)
    told = json.loads(output(capsys, "trace", "small.yaml", "-o", "a.h5", "--json", code=0))
    assert told["arrays"] == ORDER


# Differences ----------------------------------------------------------------------------------------------------------


def test_the_same_step_twice_is_the_same_bits(capsys: pytest.CaptureFixture[str]) -> None:
    assert "27 arrays: the same bits" in output(capsys, "diff", traced("a.h5"), traced("b.h5"), code=0)


def test_another_seed_differs_first_in_the_weights() -> None:
    found = diff(traced("a.h5"), traced("b.h5", "seed=1"))
    assert not found.ok
    assert found.first is not None
    assert found.first.name == "parameters/a%2F1/weight/data"
    assert "seed: 0 | 1" in found.notes


def changed(name: str, path: str, index: tuple[int, ...], by: float) -> str:
    """A copy of a.h5 with one number changed."""
    arrays, meta = read_snapshot("a.h5")
    arrays[path] = arrays[path].copy()
    arrays[path][index] += by
    write_snapshot(name, arrays, meta)
    return name


@pytest.mark.parametrize("path", [p for p in ORDER if "label" not in p])
def test_one_number_is_found_wherever_it_is(path: str) -> None:
    traced("a.h5")
    shape = read_snapshot("a.h5")[0][path].shape
    index = tuple(length // 2 for length in shape)
    first = diff("a.h5", changed("b.h5", path, index, 0.25)).first
    assert first is not None
    assert (first.name, first.count) == (path, 1)
    assert first.absolute is not None
    assert first.absolute.at == index
    assert first.absolute.off == pytest.approx(0.25, rel=1e-6)


def test_the_first_in_order_of_execution_is_named_and_the_others_listed(capsys: pytest.CaptureFixture[str]) -> None:
    traced("a.h5")
    arrays, meta = read_snapshot("a.h5")
    for path in ("parameters/fc/bias/grad", "blobs/fc/grad", "blobs/drop/data"):
        arrays[path] = 2 * arrays[path]
    write_snapshot("b.h5", arrays, meta)
    out = output(capsys, "diff", "a.h5", "b.h5", code=1)
    assert "first: blobs/drop/data (16, 8)" in out
    assert out.index("blobs/drop/data") < out.index("blobs/fc/grad") < out.index("parameters/fc/bias/grad")
    assert out.splitlines()[-1] == "27 arrays: 3 differ, the first is blobs/drop/data"


def test_limits_let_rounding_pass(capsys: pytest.CaptureFixture[str]) -> None:
    single, double = traced("a.h5"), traced("b.h5", "--dtype", "float64")
    assert output(capsys, "diff", single, double, code=1)
    out = output(capsys, "diff", single, double, "--rtol", "1e-4", "--atol", "1e-6", code=0)
    assert "equal to 0.0001 max |b| + 1e-06" in out
    assert "dtype: float32 | float64" in out


def test_exactly_means_bits() -> None:
    a = np.array([0.0, np.nan, 1.0], np.float32)
    assert difference("x", a, a.copy(), Limits()) is None
    zero = difference("x", a, np.array([-0.0, np.nan, 1.0], np.float32), Limits())
    assert zero is not None
    assert zero.count == 1
    assert difference("x", a, a.astype(np.float64), Limits()) is not None
    assert difference("x", a, a.astype(np.float64), Limits(rtol=1e-6)) is None


def test_the_largest_differences_and_their_places() -> None:
    a, b = np.array([[1.0, 100.0, 0.5]]), np.array([[1.5, 101.0, 0.5]])
    found = difference("x", a, b, Limits())
    assert found is not None
    assert found.count == 2
    assert found.absolute is not None
    assert (found.absolute.at, found.absolute.off, found.absolute.a, found.absolute.b) == ((0, 1), 1.0, 100.0, 101.0)
    assert found.relative is not None
    assert (found.relative.at, found.relative.off) == ((0, 0), pytest.approx(0.5 / 1.5))


def test_the_limit_is_a_share_of_the_largest_number() -> None:
    a, b = np.array([1.0, 100.0]), np.array([1.05, 100.0])
    assert difference("x", a, b, Limits(rtol=1e-3)) is None
    assert difference("x", a, b, Limits(rtol=1e-4)) is not None
    assert difference("x", a, b, Limits(atol=0.06)) is None


@pytest.mark.parametrize(
    ("a", "b", "words"),
    [
        (np.zeros(2), np.zeros((2, 1)), "shape (2,) in A, (2, 1) in B"),
        (None, np.zeros(2), "only in B"),
        (np.zeros(2), None, "only in A"),
        (np.zeros(2), np.zeros(2, np.int64), "float64 in A, int64 in B"),
        ("x", "y", "'x' in A, 'y' in B"),
    ],
)
def test_what_cannot_be_compared_differs(a: Any, b: Any, words: str) -> None:
    found = difference("x", a, b, Limits(rtol=1.0))
    assert found is not None
    assert found.reason == words


def test_nan_differs_from_every_number() -> None:
    found = difference("x", np.array([1.0, np.nan]), np.array([1.0, 2.0]), Limits(rtol=1.0))
    assert found is not None
    assert found.absolute is not None
    assert (found.absolute.at, found.absolute.off) == ((1,), np.inf)


def test_names_of_both_keep_their_order() -> None:
    assert in_order(["a", "b", "d"], ["a", "c", "d", "e"]) == ["a", "c", "b", "d", "e"]
    assert in_order([], ["x", "y"]) == ["x", "y"]
    assert in_order(["b"], ["a", "b"]) == ["a", "b"]


# Checkpoints and runs -------------------------------------------------------------------------------------------------


def run_of(name: str, *overrides: str) -> str:
    options: Sequence[str] = (f"name={name}", *overrides)
    return train("small.yaml", options, console=Console(progress="off", quiet=True)).run


def test_runs_that_are_the_same_are_equal_but_for_times(capsys: pytest.CaptureFixture[str]) -> None:
    out = output(capsys, "diff", run_of("one"), run_of("two"), code=0)
    assert "9 rows of metrics, 4 checkpoints" in out
    assert "the same bits" in out
    assert "config.name: one | two" in out


def test_the_first_step_and_array_of_runs_that_part() -> None:
    """The learning rate falls at step 5 in one of them: rows up to 4 and the checkpoint of 3 are the same."""
    usual, other = run_of("one"), run_of("two", "solver.schedule={type: multistep, milestones: [4]}")
    found = diff(usual, other)
    assert found.first is not None
    assert (found.first.step, found.first.name) == (6, "train/loss")
    arrays = [d for d in found.differences if d.shape]
    assert arrays[0].step == 6
    assert arrays[0].name.startswith("params/")


def test_a_run_that_ended_earlier_differs() -> None:
    found = diff(run_of("one"), run_of("two", "train.max_steps=8"))
    assert found.first is not None
    assert found.first.step == 10
    assert found.first.reason == "only in A"


def test_checkpoints_differ_in_parameters_history_and_are_compared_with_weights_alone() -> None:
    run = Path(run_of("one")) / "checkpoints"
    found = diff(run / "step-00000003.h5", run / "step-00000006.h5")
    assert {d.name.split("/")[0] for d in found.differences} == {"params", "state", "history"}
    assert "iteration: 3 | 6" in found.notes
    net = Net.from_yaml("small.yaml")
    net.load(run / "step-00000003.h5")
    net.save("weights.h5")
    assert diff(run / "step-00000003.h5", "weights.h5").ok
    Solver(net, lr=0.1).step(**{n: np.zeros(s.shape, s.dtype) for n, s in net.graph.inputs.items()})
    net.save("weights.h5")
    assert not diff(run / "step-00000003.h5", "weights.h5").ok


def test_things_of_different_kinds_are_refused() -> None:
    run, trace = run_of("one", "train.max_steps=2"), traced("a.h5")
    with pytest.raises(ConfigError, match=r"is a run, a\.h5 is not"):
        diff(run, trace)
    with pytest.raises(ConfigError, match="is a trace"):
        diff(trace, Path(run) / "checkpoints" / "last.h5")


def test_what_cannot_be_read_exits_with_3(capsys: pytest.CaptureFixture[str]) -> None:
    good = traced("a.h5")
    content = Path(good).read_bytes()
    Path("cut.h5").write_bytes(content[:-9])
    Path("folder").mkdir()
    for bad in ("missing.h5", "cut.h5", "folder"):
        assert output(capsys, "diff", good, bad, code=3) == ""
    arrays, meta = read_snapshot(good)
    write_snapshot("odd.h5", arrays, {**meta, "order": meta["order"][1:]})
    with pytest.raises(DataError, match="whose list of arrays is wrong"):
        diff(good, "odd.h5")


@pytest.mark.parametrize("value", ["-1", "nan", "inf"])
def test_limits_that_cannot_be(value: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diff", "a", "b", f"--rtol={value}"]) == 2
    assert "rtol must be a number >= 0" in capsys.readouterr().err


def test_diff_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    told = json.loads(output(capsys, "diff", traced("a.h5"), traced("b.h5", "seed=1"), "--json", code=1))
    assert (told["ok"], told["kind"]) == (False, "trace")
    assert told["differences"][0]["name"] == "parameters/a%2F1/weight/data"
    assert told["differences"][0]["absolute"]["off"] > 0
