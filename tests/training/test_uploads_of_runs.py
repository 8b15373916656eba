"""Runs on a device: uploaded ahead, batches give the same bits as uploaded when they are needed."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from support import strict_cupy, strict_streams
from support.resuming import QUIET
from support.strict_backend import STRICT
from support.strict_streams import Stream

from layerforge import train
from layerforge.arrays import uploading
from layerforge.data.loader import Loader
from layerforge.schema.errors import DataError, DivergedError
from layerforge.solvers.solver import Solver
from layerforge.training.capsule import read_capsule
from layerforge.training.lr_range import lr_range

SCORES = [
    {"name": "loss", "type": "SoftmaxCrossEntropy", "bottom": ["fc", "label"]},
    {"name": "accuracy", "type": "Accuracy", "bottom": ["fc", "label"], "phase": "eval"},
]
IMAGES: dict[str, Any] = {
    "seed": 1,
    "data": {
        "train": {"type": "Digits", "split": "train[:40]", "batch_size": 6},
        "val": {"type": "Digits", "split": "train[50:67]", "batch_size": 5},
        "test": {"type": "Digits", "split": "test[:7]", "batch_size": 4},
    },
    "net": [
        {"name": "flat", "type": "Flatten", "bottom": "image"},
        {"name": "fc", "type": "Linear", "out_features": 10},
        *SCORES,
    ],
    "solver": {"type": "SGD", "lr": 0.05},
    "train": {"epochs": 2, "log_every": 2},
}


class WhenNeeded:
    """In place of `Uploads`: nothing is uploaded ahead."""

    def __init__(self, xp: Any) -> None:
        pass

    def begin(self, blobs: Mapping[str, Any]) -> Mapping[str, Any]:
        return blobs

    def close(self) -> None:
        pass


class Noting:
    """A hook that notes the weights after every step."""

    def __init__(self) -> None:
        self.weights: list[dict[str, np.ndarray]] = []

    def on_step_end(self, run: Any) -> None:
        self.weights.append(run.net.arrays())


@pytest.fixture(autouse=True)
def nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    yield
    gc.collect()
    strict_streams.settled()
    assert not [thread for thread in threading.enumerate() if thread.name == "layerforge-uploads"]


def run(config: Mapping[str, Any], *overrides: str, **options: Any) -> tuple[list[Any], dict[str, int], Any]:
    """The weights after each step, what the whole run cost, and what came of it."""
    noting = Noting()
    with strict_cupy.counting() as counts:
        result = train(config, overrides, backend=STRICT, console=QUIET, hooks=[noting], **options)
    return noting.weights, counts, result


def same(one: list[dict[str, np.ndarray]], other: list[dict[str, np.ndarray]]) -> None:
    assert len(one) == len(other) > 1
    for a, b in zip(one, other, strict=True):
        for name in a:
            np.testing.assert_array_equal(a[name], b[name], strict=True)


def sparse(folder: Path) -> dict[str, Any]:
    matrix = sp.random_array((40, 30), density=0.2, rng=np.random.default_rng(0), format="csr")
    arrays = {"data": matrix.data, "indices": matrix.indices, "indptr": matrix.indptr, "shape": matrix.shape}
    np.savez(folder / "a.npz", **arrays, format=b"csr", label=np.arange(40) % 3)
    data = {"type": "SparseNPZ", "path": str(folder / "a.npz"), "batch_size": 6}
    net = [{"name": "fc", "type": "Linear", "out_features": 3, "bottom": "x"}, *SCORES]
    return {
        **IMAGES,
        "data": {"train": {**data, "split": "all[:31]"}, "val": {**data, "split": "all[31:]"}},
        "net": net,
    }


def words(folder: Path) -> dict[str, Any]:
    (folder / "a.txt").write_text("the cat sat on the mat. " * 8)
    data = {"type": "Text", "path": str(folder / "a.txt"), "sequence_length": 6, "batch_size": 4, "streams": True}
    net = [
        {"name": "embed", "type": "Embedding", "bottom": "x", "num_embeddings": 32, "embedding_dim": 5},
        {"name": "lstm", "type": "LSTM", "hidden_size": 4, "stateful": True},
        {"name": "fc", "type": "Linear", "out_features": 32},
        {"name": "scores", "type": "Transpose", "dim0": 1, "dim1": 2},
        {"name": "loss", "type": "SoftmaxCrossEntropy", "bottom": ["scores", "y"]},
    ]
    return {
        **IMAGES,
        "data": {"train": {**data, "split": "all[:80%]"}, "val": {**data, "split": "all[80%:]"}},
        "net": net,
    }


RUNS: dict[str, tuple[Any, tuple[str, ...]]] = {
    "images": (lambda folder: IMAGES, ()),
    "moved images": (lambda folder: IMAGES, ("data.train.augment={shift: 2}", "data.train.workers=3")),
    "float64": (lambda folder: IMAGES, ("dtype=float64",)),
    "a sparse input": (sparse, ()),
    "a stateful net": (words, ()),
    "the same few batches": (lambda folder: IMAGES, ("train.overfit_batches=2",)),
}


@pytest.mark.parametrize(("make", "overrides"), RUNS.values(), ids=RUNS)
def test_a_run_has_the_same_bits_and_costs_the_same(
    make: Any, overrides: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make(tmp_path)
    ahead, cost, result = run(config, *overrides)
    monkeypatch.setattr(uploading, "Uploads", WhenNeeded)
    needed, before, other = run(config, *overrides)
    same(ahead, needed)
    assert (result.final, result.test, result.best) == (other.final, other.test, other.best)
    assert cost == before


@pytest.mark.parametrize(("parts", "weights"), [(2, "one_batch"), (3, "mean"), (7, "one_batch")])
def test_a_step_of_several_batches_has_the_same_bits(parts: int, weights: str, monkeypatch: pytest.MonkeyPatch) -> None:
    overrides = f"train.accumulate_grad_batches={parts}", f"solver.micro_batches={weights}"
    ahead, cost, _ = run(IMAGES, *overrides)
    monkeypatch.setattr(uploading, "Uploads", WhenNeeded)
    needed, before, _ = run(IMAGES, *overrides)
    same(ahead, needed)
    assert cost["uploads"] == before["uploads"]


def test_a_step_uploads_each_input_once() -> None:
    _, cost, _ = run(IMAGES, "train.epochs=3")
    _, less, _ = run(IMAGES, "train.epochs=1")
    batches = 7 + 4  # of train and val in an epoch, with those that are left over
    assert cost["uploads"] - less["uploads"] == 2 * 2 * batches


class Counting:
    """A hook that notes what was counted until the end of each step."""

    def __init__(self) -> None:
        self.counts: list[dict[str, int]] = []

    def on_step_end(self, run: Any) -> None:
        self.counts.append(strict_cupy.counts.copy())


def test_every_step_waits_once_and_costs_what_the_one_before_did() -> None:
    counting = Counting()
    data = {"train": {"type": "Digits", "split": "train[:120]", "batch_size": 6}}
    train(
        {**IMAGES, "data": data},
        ["train.epochs=1", "train.log_every=99"],
        backend=STRICT,
        console=QUIET,
        hooks=[counting],
    )
    steps = zip(counting.counts[2:-1], counting.counts[3:-1], strict=False)
    costs = [{name: after[name] - before[name] for name in after} for before, after in steps]
    assert len(costs) == 16
    assert {cost["waits"] for cost in costs} == {1}
    for what in ("launches", "views"):
        assert len({cost[what] for cost in costs}) == 1
    # The thread may be ahead of a step, or behind; it never makes more than the inputs.
    for what in ("uploads", "allocations"):
        assert max(cost[what] for cost in costs) - min(cost[what] for cost in costs) <= 2 * 2 * uploading.AHEAD


def test_a_step_of_several_batches_waits_once_for_each() -> None:
    counting = Counting()
    options = ["train.accumulate_grad_batches=2", "train.log_every=99", "train.epochs=1", "solver.micro_batches=mean"]
    data = {"train": IMAGES["data"]["train"]}
    train({**IMAGES, "data": data}, options, backend=STRICT, console=QUIET, hooks=[counting])
    first, second, third, *_ = (counts["waits"] for counts in counting.counts)
    assert second - first == third - second == 2


def test_a_run_goes_on_where_it_stopped() -> None:
    whole, _, _ = run(IMAGES)
    first, _, stopped = run(IMAGES, "train.max_steps=4")
    rest, _, _ = run(IMAGES, resume_from=stopped.run, allow_config_change=True)
    same(whole, first + rest)


def test_the_range_test_takes_uploads(monkeypatch: pytest.MonkeyPatch) -> None:
    ahead = lr_range(IMAGES, steps=12, backend=STRICT)
    monkeypatch.setattr(uploading, "Uploads", WhenNeeded)
    assert lr_range(IMAGES, steps=12, backend=STRICT) == ahead


def test_a_run_that_does_not_wait_for_its_batches_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    wait_event = Stream.wait_event
    monkeypatch.setattr(Stream, "wait_event", lambda self, event: self == Stream.null or wait_event(self, event))
    with pytest.raises(Exception, match=r"an array is (used before the stream|dropped while another stream)"):
        run(IMAGES)
    strict_streams.forget()


# Ends -----------------------------------------------------------------------------------------------------------------


class Interrupting:
    def on_step_end(self, run: Any) -> None:
        if run.step == 3:
            raise KeyboardInterrupt


def test_an_interrupt_leaves_nothing_behind() -> None:
    with pytest.raises(KeyboardInterrupt):
        train(IMAGES, backend=STRICT, console=QUIET, hooks=[Interrupting()])


def test_an_error_of_the_loader_is_raised_and_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = Loader.batch

    def failing(self: Loader, epoch: int, number: int, order: Any = None) -> Any:
        if number == 5:
            raise DataError("sample 31 cannot be read")
        return batch(self, epoch, number, order)

    monkeypatch.setattr(Loader, "batch", failing)
    noting = Noting()
    with pytest.raises(DataError, match="sample 31 cannot be read"):
        train(IMAGES, backend=STRICT, console=QUIET, hooks=[noting])
    assert len(noting.weights) == 5


def test_a_capsule_holds_the_batches_of_the_step(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for _ in range(2):
        with pytest.raises(DivergedError):
            run(IMAGES, "solver.lr=1e38", "train.accumulate_grad_batches=2", "name=capsules")
        found.append(read_capsule("runs/capsules/latest").batches)
        monkeypatch.setattr(uploading, "Uploads", WhenNeeded)
    ahead, needed = found
    assert len(ahead) == 2
    for one, other in zip(ahead, needed, strict=True):
        for name in one:
            np.testing.assert_array_equal(one[name], other[name], strict=True)


def test_a_step_that_ends_in_its_midst_lets_go_of_its_other_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the second step the first of three batches is refused, and those after it are never taken."""
    accumulate = Solver.accumulate

    def refusing() -> Any:
        calls = iter(range(99))

        def refuses(self: Solver, **batch: Any) -> float:
            loss = accumulate(self, **batch)
            if next(calls) == 3:
                raise DivergedError("not finite")
            return loss

        return refuses

    found = []
    for _ in range(2):
        monkeypatch.setattr(Solver, "accumulate", refusing())
        found.append(run(IMAGES, "train.accumulate_grad_batches=3", "train.on_nonfinite=skip")[0])
        monkeypatch.setattr(uploading, "Uploads", WhenNeeded)
    same(*found)
