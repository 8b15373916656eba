"""`bf16-mixed` and `16-mixed` on a device: what layers compute by rounding, and the scale of the losses."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import strict_cupy
from support.resuming import QUIET
from support.strict_backend import STRICT
from support.tools import demand_compiler

from layerforge import Net, Solver, train
from layerforge.arrays import bfloat16, float16
from layerforge.arrays.formula import as_text
from layerforge.check.harness import Probe
from layerforge.cli.net_table import describe
from layerforge.engines.rounding import NEAREST, ROUNDED, rounding
from layerforge.plan.precision import STAYS_WIDE
from layerforge.schema.errors import ConfigError, DataError, DivergedError
from layerforge.schema.registry import LAYERS
from layerforge.solvers import loss_scale
from layerforge.solvers.solver import Solver as AnySolver

ROUNDINGS = {"MultiheadAttention": 16, "RNN": 6}  # one behind the other, as many as are felt; of other layers fewer
EPSILONS = {"bf16-mixed": bfloat16.EPSILON, "16-mixed": float16.EPSILON}


@pytest.fixture(autouse=True)
def kernels() -> None:
    demand_compiler()


# Rounding -------------------------------------------------------------------------------------------------------------


def awkward() -> np.ndarray:
    """Random bits, among them many that float16 is near; ties of both formats; limits, zeros, infinities and NaN."""
    rng = np.random.default_rng(1)
    some = rng.integers(0, 2**32, size=100_000, dtype=np.uint32)
    near = rng.integers(0x33000000, 0x47900000, size=100_000, dtype=np.uint32)
    ties = near & 0xFFFFF000, (near & 0xFFFF0000) | 0x8000, near | 0x80000000
    few = [0, 1, 0x33000000, 0x33000001, 0x477FEFFF, 0x477FF000, 0x7F7FFFFF, 0x7F800000, 0x7F800001, 0x7FFFFFFF]
    limits = np.array(few, np.uint32)
    return np.concatenate([some, near, *ties, limits, limits | 0x80000000]).view("float32")


@pytest.mark.parametrize("function", [bfloat16.rounded, float16.rounded_to_float16])
def test_a_kernel_rounds_bit_by_bit_as_the_text_in_one_launch(function: Callable[[Any, Any], Any]) -> None:
    numbers = awkward()
    with np.errstate(over="ignore"):
        want = function(np, numbers)
    with strict_cupy.counting() as counts:
        got = function(strict_cupy, strict_cupy.asarray(numbers))
    assert counts["launches"] == 1
    known = ~np.isnan(want)
    np.testing.assert_array_equal(got.get().view("uint32")[known], want.view("uint32")[known])
    assert np.isnan(got.get()[~known]).all()
    with as_text(), np.errstate(over="ignore"):
        np.testing.assert_array_equal(function(strict_cupy, strict_cupy.asarray(numbers)).get(), want)


def test_float16_is_rounded_to_as_it_says() -> None:
    numbers = np.array([1 + float16.EPSILON, 65504.0, 65520.0, 2.0**-24, 2.0**-26], "float32")
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(
            float16.rounded_to_float16(np, numbers), [1, float16.LARGEST, np.inf, float16.SMALLEST, 0]
        )


# Layers and nets ------------------------------------------------------------------------------------------------------


def probes(kind: str, precision: str) -> Iterator[tuple[Probe, Probe]]:
    """A layer that rounds and the float32 one, of each example, with the same numbers, which 2 bytes hold."""
    cls = LAYERS.get(kind)
    for example in cls.examples:
        if any(spec.sparse for spec in example.bottoms):
            continue
        mine, plain = (Probe(cls, example, dtype="float32", backend=STRICT) for _ in range(2))
        mine.layer = rounding(mine.layer, precision)
        for probe in (mine, plain):
            probe.bottoms = [NEAREST[precision](strict_cupy, b) if b.dtype.kind == "f" else b for b in probe.bottoms]
        yield mine, plain


@pytest.mark.parametrize("precision", EPSILONS)
@pytest.mark.parametrize("kind", sorted(ROUNDED))
def test_a_layer_is_as_near_to_float32_as_the_format(kind: str, precision: str) -> None:
    for mine, plain in probes(kind, precision):
        tops, want = mine.forward(), plain.forward()
        dys = [None if dy is None else NEAREST[precision](strict_cupy, dy) for dy in mine.draw_cotangents(tops)]
        pairs = list(zip(map(mine.host, tops), map(plain.host, want), strict=True))
        for got, _ in pairs:
            if got.dtype.kind == "f":
                np.testing.assert_array_equal(got, NEAREST[precision](np, got))
        got, exact = mine.gradients(dys), plain.gradients(dys)
        pairs += [(got[name], exact[name]) for name in exact if exact[name] is not None]
        for array, right in pairs:
            assert array.dtype == right.dtype
            if right.dtype.kind == "f" and right.size:
                bound = ROUNDINGS.get(kind, 2) * EPSILONS[precision] * max(1, abs(right).max())
                assert abs(array - right).max() <= bound


NET: dict[str, Any] = {
    "inputs": {"x": {"shape": [6, 5]}, "t": {"shape": [6], "dtype": "int64"}},
    "net": [
        {"type": "Linear", "name": "fc1", "out_features": 8},
        {"type": "BatchNorm", "name": "bn"},
        {"type": "ReLU", "name": "act"},
        {"type": "Linear", "name": "fc2", "out_features": 3},
        {"type": "SoftmaxCrossEntropy", "name": "loss", "bottom": ["fc2", "t"]},
    ],
}


def solver_of(precision: str, **options: Any) -> AnySolver:
    net = Net.from_config({**NET, "precision": precision}, backend=STRICT)
    return Solver(net, **{"type": "Adam", "lr": 0.02, **options})


def batches(count: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(5)
    centres = 2 * rng.normal(size=(3, 5))
    labels = [rng.integers(0, 3, 6) for _ in range(count)]
    return [{"x": (centres[t] + rng.normal(size=(6, 5))).astype("float32"), "t": t} for t in labels]


def weights(solver: AnySolver) -> np.ndarray:
    return solver.net.parameters.data.get()


@pytest.mark.parametrize("precision", EPSILONS)
def test_a_net_says_what_computes_in_what(precision: str) -> None:
    net = Net.from_config({**NET, "precision": precision}, backend=STRICT)
    chosen = {layer["name"]: (layer["precision"], layer["wide"]) for layer in describe(net)["layers"]}
    assert chosen["fc1"] == chosen["bn"] == chosen["act"] == (precision, None)
    assert chosen["loss"] == ("float32", STAYS_WIDE)
    own = [layer | ({"precision": "float32"} if layer["name"] == "fc1" else {}) for layer in NET["net"]]
    net = Net.from_config({**NET, "precision": precision, "net": own}, backend=STRICT)
    assert [layer["precision"] for layer in describe(net)["layers"]][:2] == ["float32", precision]


@pytest.mark.parametrize("precision", EPSILONS)
def test_the_same_seed_gives_the_same_bits_and_not_those_of_float32(precision: str) -> None:
    first, second, plain = solver_of(precision), solver_of(precision), solver_of("float32")
    for batch in batches(4):
        losses = [each.step(**batch) for each in (first, second, plain)]
        assert losses[0] == losses[1] != losses[2]
        assert losses[0] == pytest.approx(losses[2], rel=0.05)
    np.testing.assert_array_equal(weights(first), weights(second))


def test_arrays_of_parameters_stay_float32() -> None:
    solver = solver_of("16-mixed")
    solver.step(**batches(1)[0])
    flat = solver.net.parameters
    assert {array.dtype for array in (flat.data, flat.grad, *solver.history)} == {np.dtype("float32")}
    data = weights(solver)
    assert (data != float16.rounded_to_float16(np, data)).any()


# The scale of the losses ----------------------------------------------------------------------------------------------


def overflowing(solver: AnySolver, batch: dict[str, Any]) -> Any:
    """Make a step whose gradients do not fit float16, with a scale that is much too large."""
    solver.loss_scale = 2.0**40
    return solver.step(**batch)


@pytest.mark.parametrize("precision", ["float32", "bf16-mixed"])
def test_no_other_precision_has_a_scale(precision: str) -> None:
    solver = solver_of(precision)
    assert (solver.loss_scale, solver.overflows) == (None, 0)
    solver.step(**batches(1)[0])
    assert "loss_scale" not in solver.state()


def test_a_net_trains_with_the_scale() -> None:
    solver, data = solver_of("16-mixed"), batches(60)
    losses = [solver.step(**batch) for batch in data]
    assert solver.loss_scale == 2.0**16
    assert solver.updates == 60
    assert np.mean(losses[-10:]) < 0.5 * np.mean(losses[:10])


@pytest.mark.parametrize("order", ["average_first", "caffe"])
def test_norm_clip_and_update_see_gradients_without_the_scale(order: str) -> None:
    options = {"type": "SGD", "lr": 0.5, "clip_grad_norm": 0.2, "clip_order": order, "weight_decay": 0.1}
    made = []
    for scale in (1.0, 2.0**10):
        solver = solver_of("16-mixed", **options)
        solver.loss_scale = scale
        for batch in batches(3):
            solver.step(**batch)
        made.append(solver)
    assert made[0].grad_norm == pytest.approx(made[1].grad_norm, rel=1e-2)
    assert made[0].grad_norm > 0.2
    assert made[0].average == 2.0**10 * made[1].average
    np.testing.assert_allclose(weights(made[0]), weights(made[1]), rtol=1e-2, atol=1e-3)


def test_small_gradients_arrive_that_float16_would_lose() -> None:
    norms = []
    for scale in (1.0, 2.0**16):
        net = [layer | ({"loss_weight": 1e-7} if layer["name"] == "loss" else {}) for layer in NET["net"]]
        solver = Solver(Net.from_config({**NET, "net": net, "precision": "16-mixed"}, backend=STRICT), lr=0.1)
        solver.loss_scale = scale
        solver.step(**batches(1)[0])
        norms.append(solver.grad_norm)
    plain = Solver(Net.from_config({**NET, "net": net}, backend=STRICT), lr=0.1)
    plain.step(**batches(1)[0])
    assert norms[1] == pytest.approx(plain.grad_norm, rel=0.01)
    assert abs(norms[0] - plain.grad_norm) > 0.1 * plain.grad_norm


def test_an_overflow_halves_the_scale_and_skips_the_step() -> None:
    solver, (first, second, third) = solver_of("16-mixed"), batches(3)
    solver.step(**first)
    before, history = weights(solver), [array.get() for array in solver.history]
    state = {key: array.get() for key, array in solver.net.snapshot_state().items()}
    loss = overflowing(solver, second)
    assert np.isfinite(loss)
    assert (solver.loss_scale, solver.overflows, solver.nonfinite) == (2.0**39, 1, 0)
    assert (solver.iteration, solver.updates) == (2, 1)
    assert not np.isfinite(solver.grad_norm)
    np.testing.assert_array_equal(weights(solver), before)
    for array, old in zip(solver.history, history, strict=True):
        np.testing.assert_array_equal(array.get(), old)
    for key, array in solver.net.snapshot_state().items():
        np.testing.assert_array_equal(array.get(), state[key])
    solver.loss_scale = 2.0**16
    solver.step(**third)
    assert (solver.updates, "overflows 1" in str(solver)) == (2, True)
    assert (weights(solver) != before).any()


def test_an_overflow_is_skipped_even_where_nothing_is_checked() -> None:
    solver = solver_of("16-mixed")
    before = weights(solver)
    solver.loss_scale = 2.0**40
    solver.accumulate(**batches(1)[0])
    solver.update(check=False)
    np.testing.assert_array_equal(weights(solver), before)
    assert solver.overflows == 1


def test_many_good_steps_double_the_scale() -> None:
    solver, batch = solver_of("16-mixed"), batches(1)[0]
    solver._loss_scale.good = loss_scale.GROWS_AFTER - 2
    solver.step(**batch)
    assert solver.loss_scale == 2.0**16
    solver.step(**batch)
    assert solver.loss_scale == 2.0**17
    overflowing(solver, batch)
    assert solver._loss_scale.good == 0


def test_a_gradient_that_no_scale_makes_finite_is_a_divergence() -> None:
    solver, batch = solver_of("16-mixed"), batches(1)[0]
    solver.loss_scale = 2.0
    with pytest.raises(DivergedError, match="training diverged at iteration 1"):
        for _ in range(2):
            solver.accumulate(**batch)
            solver.net.parameters.grad[0] = np.inf
            solver.update()
    assert (solver.loss_scale, solver.overflows, solver.nonfinite) == (1.0, 1, 0)


def test_a_loss_that_is_not_finite_is_a_divergence_at_once() -> None:
    solver, batch = solver_of("16-mixed"), batches(1)[0]
    with pytest.raises(DivergedError, match="loss nan"):
        solver.step(x=np.full_like(batch["x"], np.nan), t=batch["t"])
    assert (solver.loss_scale, solver.overflows) == (2.0**16, 0)


def test_micro_batches_are_those_of_a_whole_batch() -> None:
    config = {**NET, "net": [NET["net"][0], {**NET["net"][-1], "bottom": ["fc1", "t"]}], "precision": "16-mixed"}
    whole, parts = (Solver(Net.from_config(config, backend=STRICT), lr=0.1, clip_grad_norm=0.1) for _ in range(2))
    batch = batches(1)[0]
    whole.step(**batch)
    for piece in (slice(0, 2), slice(2, 6)):
        parts.accumulate(**{name: array[piece] for name, array in batch.items()})
    parts.update()
    assert parts.grad_norm == pytest.approx(whole.grad_norm, rel=2e-3)
    assert parts.loss == pytest.approx(whole.loss, rel=1e-6)
    np.testing.assert_allclose(weights(parts), weights(whole), rtol=1e-3, atol=1e-5)
    parts.loss_scale = 2.0**40
    before = weights(parts)
    for piece in (slice(0, 2), slice(2, 6)):
        parts.accumulate(**{name: array[piece] for name, array in batch.items()})
    parts.update()
    np.testing.assert_array_equal(weights(parts), before)
    assert (parts.overflows, parts.loss_scale, parts.net.first_sample) == (1, 2.0**39, 0)


def test_a_scale_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigError, match="no layer computes in float16"):
        solver_of("bf16-mixed").loss_scale = 8.0
    for value in (0.5, np.inf, np.nan):
        with pytest.raises(ConfigError, match="is no scale of losses"):
            solver_of("16-mixed").loss_scale = value


def test_a_step_waits_and_launches_no_more_for_the_scale() -> None:
    costs = []
    for scaled in (True, False):
        solver = solver_of("16-mixed")
        if not scaled:
            solver._loss_scale = None
        first, second = batches(2)
        solver.step(**first)
        with strict_cupy.counting() as counts:
            solver.step(**second)
        costs.append(counts)
    assert costs[0] == costs[1]
    assert costs[0]["waits"] == 1


def test_a_state_goes_on_bit_by_bit_and_a_copy_too() -> None:
    data = batches(6)
    whole = solver_of("16-mixed")
    for number, batch in enumerate(data[:3]):
        overflowing(whole, batch) if number == 1 else whole.step(**batch)
    resumed, copied = solver_of("16-mixed"), copy.deepcopy(whole)
    resumed.net.load_state_dict(whole.net.state_dict())
    resumed.load_state(json.loads(json.dumps(whole.state())), whole.arrays())
    for batch in data[3:]:
        assert whole.step(**batch) == resumed.step(**batch) == copied.step(**batch)
    assert resumed.state() == whole.state() == copied.state()
    np.testing.assert_array_equal(weights(resumed), weights(whole))
    np.testing.assert_array_equal(weights(copied), weights(whole))


@pytest.mark.parametrize("flaw", [{"value": 0.5}, {"value": "big"}, {"good": -1}, {"more": 1}])
def test_a_state_that_is_none_changes_nothing(flaw: dict[str, Any]) -> None:
    solver = solver_of("16-mixed")
    solver.step(**batches(1)[0])
    state, arrays, before = solver.state(), solver.arrays(), solver.state()
    with pytest.raises(DataError, match="the file holds no scale of losses"):
        solver.load_state({**state, "iteration": 7, "loss_scale": {**state["loss_scale"], **flaw}}, arrays, "the file")
    assert solver.state() == before


def test_a_state_of_float32_begins_with_the_first_scale_and_the_reverse() -> None:
    plain, scaled = solver_of("float32"), solver_of("16-mixed")
    scaled._loss_scale.fall()
    state, arrays = scaled.state(), scaled.arrays()
    scaled.load_state(plain.state(), plain.arrays())
    assert (scaled.loss_scale, scaled.overflows) == (2.0**16, 0)
    plain.load_state(state, arrays)
    assert plain.loss_scale is None


# Runs -----------------------------------------------------------------------------------------------------------------


RUN: dict[str, Any] = {
    "seed": 1,
    "precision": "16-mixed",
    "data": {"train": {"type": "Digits", "split": "train[:60]", "batch_size": 6}},
    "net": [
        {"name": "flat", "type": "Flatten", "bottom": "image"},
        {"name": "fc", "type": "Linear", "out_features": 10},
        {"name": "loss", "type": "SoftmaxCrossEntropy", "bottom": ["fc", "label"]},
    ],
    "solver": {"type": "SGD", "lr": 0.05, "momentum": 0.9},
    "train": {"max_steps": 8, "log_every": 1},
}


class Overflows:
    """A hook that plants an overflow in the third step, and notes the weights after every step."""

    def __init__(self) -> None:
        self.seen: list[tuple[float, int, np.ndarray]] = []

    def on_step_end(self, run: Any) -> None:
        solver = run.solver
        self.seen.append((solver.loss_scale, solver.overflows, weights(solver)))
        if solver.iteration == 2:
            solver.loss_scale = 2.0**40


def trained(**options: Any) -> tuple[Any, Overflows]:
    hook = Overflows()
    steps = options.pop("steps", 8)
    return train(RUN, [f"train.max_steps={steps}"], backend=STRICT, console=QUIET, hooks=[hook], **options), hook


def test_a_run_goes_on_after_an_overflow_and_logs_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result, hook = trained()
    np.testing.assert_array_equal(hook.seen[2][2], hook.seen[1][2])
    assert hook.seen[2][:2] == (2.0**39, 1)
    assert (result.status, result.nonfinite) == ("finished", 0)
    columns, *rows = [line.split(",") for line in (Path(result.run) / "metrics.csv").read_text().splitlines()]
    logged = [dict(zip(columns, row, strict=True)) for row in rows]
    assert [int(row["overflows"]) for row in logged][:2] == [0, 0]
    assert float(logged[0]["loss_scale"]) == 2.0**16
    assert "gradient overflowed in float16: skipped, loss scale" in (Path(result.run) / "train.log").read_text()


def test_a_run_is_resumed_bit_by_bit_with_its_scale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    _, whole = trained()
    part, first = trained(steps=4)
    _, rest = trained(resume_from=part.run, allow_config_change=True)
    assert len(first.seen) + len(rest.seen) == len(whole.seen)
    for mine, theirs in zip([*first.seen, *rest.seen], whole.seen, strict=True):
        assert mine[:2] == theirs[:2]
        np.testing.assert_array_equal(mine[2], theirs[2])
