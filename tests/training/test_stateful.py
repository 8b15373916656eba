"""Layers that go on from batch to batch: in training, through evaluations and checkpoints, on streams of a text."""

from __future__ import annotations

import copy
import itertools
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from support.resuming import QUIET, whole_and_resumed

from layerforge import Net, Solver, load_model, train
from layerforge.config.data_section import DataSection
from layerforge.config.document import Config
from layerforge.data.opening import open_data
from layerforge.debug.verify_batch import verify_batch
from layerforge.run import carried
from layerforge.schema.errors import ConfigError, DataError, DivergedError, LayerError
from layerforge.training.evaluation import evaluate

VERSE = "the cat sat on the mat, the rat sat on the cat. "


def config(tmp_path: Path, text: str = VERSE * 12, feed: Any = None, **changes: Any) -> dict[str, Any]:
    """A small model of characters whose LSTM goes on from window to window."""
    (tmp_path / "text.txt").write_text(text)
    data = {"type": "Text", "path": str(tmp_path / "text.txt"), "sequence_length": 6, "batch_size": 4, "streams": True}
    return {
        "name": "stateful",
        "seed": 3,
        "data": {"train": {**data, "split": "all[:80%]", **(feed or {})}, "val": {**data, "split": "all[80%:]"}},
        "net": [
            {"name": "embed", "type": "Embedding", "bottom": "x", "num_embeddings": 32, "embedding_dim": 5},
            {"name": "lstm", "type": "LSTM", "hidden_size": 7, "num_layers": 2, "stateful": True},
            {"name": "fc", "type": "Linear", "out_features": 32},
            {"name": "scores", "type": "Transpose", "dim0": 1, "dim1": 2},
            {"name": "loss", "type": "SoftmaxCrossEntropy", "bottom": ["scores", "y"]},
        ],
        "solver": {"type": "Adam", "lr": 0.02},
        "train": {"epochs": 3, "output_dir": str(tmp_path / "runs"), "eval_every": {"epochs": 9}, "log_every": 99},
        **changes,
    }


def lstm(**keys: Any) -> dict[str, Any]:
    """A net with a layer that goes on, and a loss."""
    return {
        "seed": 1,
        "inputs": {"x": {"shape": [2, 3, 4], "grad": True}, "t": {"shape": [2, 3, 5]}},
        "net": [
            {"name": "low", "type": "Linear", "out_features": 4, "bottom": "x"},
            {"name": "lstm", "type": "LSTM", "hidden_size": 5, "stateful": True, **keys},
            {"name": "loss", "type": "MSELoss", "bottom": ["lstm", "t"]},
        ],
        "solver": {"type": "SGD", "lr": 0.1},
    }


def batch(seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {"x": rng.normal(size=(2, 3, 4)).astype("float32"), "t": rng.normal(size=(2, 3, 5)).astype("float32")}


# Training -------------------------------------------------------------------------------------------------------------


def test_a_run_that_was_stopped_within_an_epoch_goes_on_bit_for_bit(tmp_path: Path) -> None:
    assert whole_and_resumed(config(tmp_path, VERSE * 6), steps=8, stop=5)


def test_evaluations_leave_what_training_goes_on_from(tmp_path: Path) -> None:
    once, evaluated = ["train.epochs=1"], ["train.epochs=1", "train.eval_every={steps: 4}"]
    runs = [train(config(tmp_path), overrides, console=QUIET).run for overrides in (once, evaluated)]
    seldom, often = (load_model(f"{run}/checkpoints/last.h5").net.arrays() for run in runs)
    for name, array in often.items():
        assert_array_equal(array, seldom[name], err_msg=name)


def test_each_epoch_begins_from_zero_unless_a_bottom_tells_where_sequences_begin(tmp_path: Path) -> None:
    """An epoch of a single batch is that batch anew, or the second of two."""
    first = batch(0)
    np.savez(tmp_path / "a.npz", cont=np.ones((2, 3), "float32"), **first)
    source = {"type": "NPZ", "path": str(tmp_path / "a.npz"), "batch_size": 2, "shuffle": False}
    found = {}
    for told in (False, True):
        base = lstm(**({"bottom": ["low", "cont"], "second_bottom": "cont"} if told else {}))
        del base["inputs"]
        settings = {"epochs": 2, "output_dir": str(tmp_path / "runs"), "log_every": 1}
        run = train({**base, "name": "epochs", "data": {"train": source}, "train": settings}, console=QUIET).run
        found[told] = load_model(f"{run}/checkpoints/last.h5").net.arrays()
    net = Net.from_config({k: v for k, v in lstm().items() if k != "solver"})
    solver = Solver(net, lr=0.1)
    for reset in (True, False):
        again = copy.deepcopy(solver)
        for _ in range(2):
            if reset:
                again.net.reset_carried("train")
            again.step(**first)
        for name, array in again.net.arrays().items():
            assert_allclose(found[not reset][name], array, rtol=1e-6, atol=1e-7, err_msg=f"{name} {reset}")


def test_a_stateful_model_learns_a_text_and_predicts_from_zero(tmp_path: Path) -> None:
    run = train(config(tmp_path), ["train.epochs=9"], console=QUIET)
    assert run.final["val/loss"] < 2.3 < np.log(32)
    model = load_model(run.run)
    assert_array_equal(model.scores(["the ca"]), model.scores(["the ca"]))


def test_each_evaluation_begins_from_zero_and_goes_on_from_batch_to_batch() -> None:
    net = Net.from_config(lstm())
    batches = [SimpleNamespace(blobs=batch(number)) for number in (0, 1)]
    first = evaluate(net, batches)
    assert evaluate(net, batches) == first != evaluate(net, batches[::-1])


def test_a_batch_may_be_cut_as_each_part_begins_from_zero(tmp_path: Path) -> None:
    verdict = verify_batch(Config.from_dict(config(tmp_path), (), lambda files: None))
    assert verdict.ok
    assert "lstm.weight_hh_l1" in [cut.name for cut in verdict.gradients]


# Streams --------------------------------------------------------------------------------------------------------------


def test_row_i_of_a_batch_goes_on_in_row_i_of_the_next(tmp_path: Path) -> None:
    section = DataSection.from_config(config(tmp_path, feed={"split": "all"})["data"])
    loader = open_data(section).loaders["train"]
    batches = [b.blobs for b in loader.epoch(0)]
    windows = (len(VERSE) * 12 - 1) // 6
    assert len(batches) == len(loader) == windows // 4
    for before, after in itertools.pairwise(batches):
        assert_array_equal(before["y"][:, -1], after["x"][:, 0])
    assert_array_equal(batches[-1]["y"][:-1, -1], batches[0]["x"][1:, 0])  # one stream ends where the next begins


REFUSED = [
    ({"streams": False}, "data.train is shuffled", "data.train.streams: true"),
    ({"streams": False, "shuffle": False}, "follow one another within a batch", "data.train.streams: true"),
    ({"stride": 3}, "windows of data.train overlap", "remove stride"),
    ({"shuffle": True}, "streams keep the samples in their order", "remove shuffle"),
    ({"batch_size": 400}, "drop_last leaves no batch", "batch_size smaller"),
]


@pytest.mark.parametrize(("feed", "message", "hint"), REFUSED, ids=[m for _, m, _ in REFUSED])
def test_samples_that_do_not_go_on_are_refused_before_the_first_step(
    tmp_path: Path, feed: dict[str, Any], message: str, hint: str
) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        train(config(tmp_path, feed=feed), console=QUIET)
    assert hint in str(caught.value)
    assert not (tmp_path / "runs").exists()


def test_a_ragged_batch_is_refused_before_the_first_step(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.zeros((5, 3, 4), "float32"), t=np.zeros((5, 3, 5), "float32"))
    source = {"type": "NPZ", "path": str(tmp_path / "a.npz"), "batch_size": 2, "shuffle": False}
    base = {key: value for key, value in lstm().items() if key != "inputs"}
    with pytest.raises(ConfigError, match=r"last batch of data.train has 1 samples, not 2") as caught:
        train({**base, "name": "ragged", "data": {"train": source}, "train": {"epochs": 1}}, console=QUIET)
    assert "drop_last: true" in str(caught.value)


# Nets -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_each_phase_goes_on_from_its_own_batch(kind: str) -> None:
    net = Net.from_config(lstm(type=kind))
    first = net.forward(phase="train", **batch(0))["loss"]
    evaluated = [float(net.forward(phase="eval", **batch(0))["loss"]) for _ in range(2)]
    assert evaluated[0] == first != evaluated[1]
    held = net.forward(phase="train", **batch(1))["loss"]
    other = Net.from_config(lstm(type=kind))
    other.forward(phase="train", **batch(0))
    assert other.forward(phase="train", **batch(1))["loss"] == held
    net.reset_carried("eval")
    assert net.forward(phase="eval", **batch(0))["loss"] == first
    with pytest.raises(ConfigError, match="phase must be one of"):
        net.reset_carried("test")


def test_the_gradient_stops_at_the_beginning_of_a_batch() -> None:
    """It is that of the same batch from the same states as constants."""
    net = Net.from_config(lstm())
    net.forward(phase="train", **batch(0))
    states = net.layers["lstm"].carried["train"]
    given = lstm(stateful=False, initial_states=True, bottom=["low", "h", "c"])
    given["inputs"] |= {name: {"shape": [2, 1, 5]} for name in "hc"}
    other = Net.from_config(given)
    other.load_arrays(net.arrays(), "the net")
    for each, more in ((net, {}), (other, dict(zip("hc", states, strict=True)))):
        each.forward(phase="train", **batch(1), **more)
        each.backward()
    assert_array_equal(net.parameters.grad, other.parameters.grad)
    assert_array_equal(net.blobs["x"].grad, other.blobs["x"].grad)


def test_a_batch_of_another_size_is_refused() -> None:
    net = Net.from_config(lstm())
    net.forward(phase="eval", **batch(0))
    half = {name: array[:1] for name, array in batch(0).items()}
    with pytest.raises(LayerError, match="goes on from a batch of 2 samples, row by row, and this one has 1") as caught:
        net.forward(phase="eval", **half)
    assert "net.reset_carried()" in str(caught.value)
    net.reset_carried()
    net.forward(phase="eval", **half)


@pytest.mark.parametrize(
    ("arrays", "told"),
    [
        ({"0": np.zeros((2, 9, 9)), "1": np.zeros((2, 1, 5))}, r"carried/lstm/0 has shape \(2, 9, 9\).*\(N, 1, 5\)"),
        ({"0": np.zeros((2, 1, 5)), "1": np.zeros((3, 1, 5))}, r"carried/lstm/1, of .* and shape \(3, 1, 5\)"),
        ({"0": np.zeros((2, 1, 5), int), "1": np.zeros((2, 1, 5))}, "carried/lstm/0, of dtype int64"),
        ({"0": np.zeros((2, 1, 5))}, "has 1 arrays of 'lstm' to go on from, it carries 2"),
        ({"0": np.zeros((2, 1, 5)), "2": np.zeros((2, 1, 5))}, "but no carried/lstm/1"),
        ({"0": np.zeros(()), "1": np.zeros(())}, r"carried/lstm/0 has shape \(\)"),
    ],
)
def test_what_no_layer_can_go_on_from_is_refused(arrays: dict[str, np.ndarray], told: str) -> None:
    net = Net.from_config(lstm())
    with pytest.raises(DataError, match=f"last.lfz.*{told}"):
        carried.load(net, {f"carried/lstm/{number}": array for number, array in arrays.items()}, "last.lfz")


@pytest.mark.parametrize("engine", ["reference", "auto"])
@pytest.mark.parametrize("keep", ["all", "none"])
def test_what_runs_twice_goes_on_once(engine: str, keep: str) -> None:
    """A dry run, a forward that is recomputed, a copy, and derivatives leave what the next batch goes on from."""
    wanted, net = (Net.from_config({**lstm(recompute=r), "engine": engine}, keep=k)
                   for r, k in ((False, "all"), (True, keep)))  # fmt: skip
    for number in range(3):
        for each in (wanted, net):
            each.zero_grad()
            each.forward(phase="train", **batch(number))
            each.backward()
        assert_allclose(net.parameters.grad, wanted.parameters.grad, rtol=1e-6, atol=1e-7)
        twin = copy.deepcopy(net)
        for a, b in zip(net.layers["lstm"].carried["train"], twin.layers["lstm"].carried["train"], strict=True):
            assert_array_equal(a, b)
    held = net.layers["lstm"].carried["train"]
    net.forward(phase="train", **batch(3))
    after = net.layers["lstm"].carried["train"]
    net.hvp({"lstm.weight_hh_l0": np.ones((20, 5), "float32")})
    assert all(a is not b for a, b in zip(held, after, strict=True))
    for a, b in zip(after, net.layers["lstm"].carried["train"], strict=True):
        assert_array_equal(a, b)


def test_a_refused_step_goes_on_from_before_it() -> None:
    net = Net.from_config({k: v for k, v in lstm().items() if k != "solver"})
    solver = Solver(net, lr=0.1)
    solver.step(**batch(0))
    held = [state.copy() for state in net.layers["lstm"].carried["train"]]
    bad = batch(1)
    bad["t"][0, 0, 0] = np.nan
    with pytest.raises(DivergedError):
        solver.step(**bad)
    solver.skip()
    for state, before in zip(net.layers["lstm"].carried["train"], held, strict=True):
        assert_array_equal(state, before)
