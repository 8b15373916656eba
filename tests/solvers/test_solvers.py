"""The solver on a hand-written quadratic: update rules, decay, clipping, accumulation, divergence, state."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from support.quadratic import RNG, QuadraticNet, batch

from layerforge.arrays.backend import NUMPY, Backend
from layerforge.config.sections import SolverSection
from layerforge.graph.multipliers import Multipliers
from layerforge.run.parameters import l2_norm
from layerforge.schema.errors import ConfigError, DataError, DivergedError
from layerforge.schema.registry import SOLVERS
from layerforge.solvers.solver import Solver


def with_gradient(net: QuadraticNet, values: Any) -> QuadraticNet:
    """The net with its flat gradient set by hand, as somebody who edits gradients would."""
    net.parameters.grad[...] = net.backend.from_host(values, net.dtype)
    return net


def wide_net(dtype: str, width: int = 50_001) -> tuple[QuadraticNet, np.ndarray]:
    """A net whose update takes several blocks of which the last is ragged, and a gradient for it."""
    net = QuadraticNet(width, dtype)
    return net, RNG.normal(size=net.parameters.grad.shape).astype(dtype)


# Update rules -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_sgd_in_blocks_is_the_formula_bit_for_bit(dtype: str) -> None:
    net, g = wide_net(dtype)
    solver = Solver(net, lr=0.1, momentum=0.9, weight_decay=5e-4)
    w, v = net.data(), np.zeros_like(g)
    decay = np.zeros_like(g)
    for group in net.parameters.groups:
        decay[group.start : group.stop] = 5e-4 * group.decay_mult
    assert set(decay) == {decay.dtype.type(0), decay.dtype.type(5e-4)}
    for _ in range(3):
        with_gradient(net, g)
        solver.update()
        v = 0.9 * v + 0.1 * (g + decay * w)
        w = w - v
        assert np.array_equal(net.data(), w)
        assert np.array_equal(solver.history[0], v)
        assert np.array_equal(net.grad(), g), "an update leaves the gradients as they are"


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_nesterov_is_caffes_formula(dtype: str) -> None:
    net, g = wide_net(dtype)
    solver = Solver(net, type="Nesterov", lr=0.1, momentum=0.8)
    start, w, h = net.data(), net.data().astype("float64"), np.zeros(g.shape)
    for _ in range(3):
        with_gradient(net, g)
        solver.update()
        old, h = h, 0.8 * h + 0.1 * g.astype("float64")
        w -= (1 + 0.8) * h - 0.8 * old
    np.testing.assert_allclose(net.data(), w, rtol=0, atol=8 * np.finfo(dtype).eps * abs(w).max())
    assert not np.array_equal(net.data(), start)


def test_without_momentum_a_step_is_lr_times_the_gradient() -> None:
    net = with_gradient(QuadraticNet(), 2.0)
    before = net.data()
    Solver(net, lr=0.25).update()
    assert np.array_equal(net.data(), before - 0.5)


def test_a_change_of_lr_leaves_past_steps_as_long_as_they_were() -> None:
    """Caffe: v = 0.5, then 0.5 * 0.5 + 0.1 = 0.35. torch: buf = 1, then 0.5 + 1 = 1.5, times the new lr = 0.15."""
    net = QuadraticNet()
    solver = Solver(net, lr=0.5, momentum=0.5, schedule={"type": "step", "step_size": 1, "gamma": 0.2})
    before = net.data()
    for _ in range(2):
        with_gradient(net, 1.0)
        solver.update()
    assert before - net.data() == pytest.approx(np.full(before.shape, 0.5 + 0.35))


def test_at_constant_lr_caffes_form_makes_torchs_steps() -> None:
    net, buf = QuadraticNet(), np.zeros(3)
    solver = Solver(net, lr=0.05, momentum=0.9)
    w = np.array(net.layers["a"].params.weight)
    for _ in range(5):
        solver.step(**batch(4))
        buf = 0.9 * buf + net.layers["a"].grads.weight
        w = w - 0.05 * buf
    assert net.layers["a"].params.weight == pytest.approx(w, rel=1e-12)


def after_updates(kind: str, *gradients: float, w: float = 0.5, **options: Any) -> float:
    """One weight, from w, after updates with these gradients."""
    net = QuadraticNet(1)
    net.layers["a"].params.weight[...] = w
    solver = Solver(net, type=kind, **options)
    for g in gradients:
        with_gradient(net, g)
        solver.update()
    return float(net.layers["a"].params.weight[0])


def test_adagrad_is_caffes_formula() -> None:
    """h = 9, then 25: steps of 3 / (3 + 1) and 4 / (5 + 1)."""
    assert after_updates("AdaGrad", 3.0, 4.0, lr=0.1, eps=1.0) == pytest.approx(0.5 - 0.1 * (3 / 4 + 4 / 6))


def test_rmsprop_is_caffes_formula() -> None:
    """h = 0.25 · 16 = 4, then 0.75 · 4 + 0.25 · 4 = 4."""
    found = after_updates("RMSProp", 4.0, 2.0, lr=0.1, rms_decay=0.75, eps=1.0)
    assert found == pytest.approx(0.5 - 0.1 * (4 / 3 + 2 / 3))


def test_adadelta_is_caffes_formula() -> None:
    """h = 8, u = 4 √(1/9), k = ½ u²; then h = 4 + 2 = 6, u' = 2 √((k + 1) / 7)."""
    first = 4 / 3
    second = 2 * math.sqrt((first**2 / 2 + 1) / 7)
    found = after_updates("AdaDelta", 4.0, 2.0, lr=0.1, momentum=0.5, eps=1.0)
    assert found == pytest.approx(0.5 - 0.1 * (first + second))


ADAM = {"lr": 0.1, "momentum": 0.5, "momentum2": 0.75, "eps": 1.0}


def test_adam_is_caffes_formula() -> None:
    """m = 2, v = 4; then m = 2, v = 3 + 1 = 4. eps is added to the root of the uncorrected v."""
    first, second = math.sqrt(1 / 4) / (1 / 2) * 2 / (2 + 1), math.sqrt(7 / 16) / (3 / 4) * 2 / (2 + 1)
    assert after_updates("Adam", 4.0, 2.0, **ADAM) == pytest.approx(0.5 - 0.1 * (first + second))


def test_adamw_is_torchs_formula() -> None:
    """eps is added to the root of the corrected v: √(4 / ¼) = 4, then √(4 / (7/16))."""
    first, second = 2 / (1 / 2) / (4 + 1), 2 / (3 / 4) / (math.sqrt(64 / 7) + 1)
    assert after_updates("AdamW", 4.0, 2.0, **ADAM) == pytest.approx(0.5 - 0.1 * (first + second))


def test_the_first_step_of_adam_is_lr_long() -> None:
    for kind in ("Adam", "AdamW"):
        assert after_updates(kind, 1e-3, lr=0.1, eps=1e-12) == pytest.approx(0.4)
        assert after_updates(kind, -1e3, lr=0.1) == pytest.approx(0.6)


def test_adam_divides_the_decay_by_the_root_and_adamw_does_not() -> None:
    options = {"w": 2.0, "lr": 0.1, "weight_decay": 0.5, "eps": 1e-12}
    assert after_updates("Adam", 0.0, **options) == pytest.approx(2 - 0.1)
    assert after_updates("AdamW", 0.0, **options) == pytest.approx(2 - 0.1 * 0.5 * 2)
    assert after_updates("AdamW", 0.0, regularization="L1", **options) == pytest.approx(2 - 0.1 * 0.5)


def test_a_step_of_lars_is_a_part_of_the_weights_length() -> None:
    options = {"w": -2.0, "lr": 0.5, "momentum": 0.0, "trust_coefficient": 0.1}
    assert after_updates("LARS", 1e-3, **options) == pytest.approx(-2 - 0.5 * 0.1 * 2)
    assert after_updates("LARS", 1e3, **options) == pytest.approx(-2 - 0.5 * 0.1 * 2)


def test_lars_adds_the_length_of_the_decay_to_that_of_the_gradient() -> None:
    """r = 0.1 · 2 / (3 + 0.5 · 2), the gradient with decay 3 + 0.5 · 2; then momentum repeats half of the step."""
    options = {"w": 2.0, "lr": 0.5, "weight_decay": 0.5, "trust_coefficient": 0.1}
    step = 0.5 * (0.1 * 2 / 4) * 4
    assert after_updates("LARS", 3.0, momentum=0.0, **options) == pytest.approx(2 - step)
    l1 = 0.5 * (0.1 * 2 / 3.5) * 3.5
    assert after_updates("LARS", 3.0, momentum=0.0, regularization="L1", **options) == pytest.approx(2 - l1)
    second = 0.5 * step + 0.5 * (0.1 * (2 - step) / (3 + 0.5 * (2 - step))) * (3 + 0.5 * (2 - step))
    assert after_updates("LARS", 3.0, 3.0, momentum=0.5, **options) == pytest.approx(2 - step - second)


def test_lars_takes_the_steps_of_sgd_where_a_length_is_zero_or_nothing_decays() -> None:
    options = {"lr": 0.5, "momentum": 0.0, "trust_coefficient": 0.1}
    assert after_updates("LARS", 3.0, w=0.0, **options) == pytest.approx(-1.5)
    assert after_updates("LARS", 0.0, w=2.0, weight_decay=0.1, **options) == pytest.approx(2 - 0.5 * 0.2)
    net = with_gradient(QuadraticNet(), 3.0)
    before = net.layers["a"].params.bias.copy()
    Solver(net, type="LARS", **options).update()
    assert net.layers["a"].params.bias == pytest.approx(before - 1.5), "the layer declares decay_mult 0 for its bias"


def test_lars_measures_every_parameter_by_itself() -> None:
    """Also one that takes several blocks."""
    net, g = wide_net("float64")
    weights = {name: layer.params.weight for name, layer in net.layers.items()}
    weights["b"][...] *= 100
    before = {name: w.copy() for name, w in weights.items()}
    with_gradient(net, g)
    Solver(net, type="LARS", lr=1.0, momentum=0.0, trust_coefficient=0.01).update()
    for name, w in weights.items():
        assert np.linalg.norm(w - before[name]) == pytest.approx(0.01 * np.linalg.norm(before[name]))


def test_the_number_of_the_update_survives_a_restart() -> None:
    whole, first, second = (QuadraticNet() for _ in range(3))
    solvers = [Solver(net, type="Adam", lr=0.1) for net in (whole, first)]
    steps = [batch(4) for _ in range(5)]
    for data in steps[:3]:
        for solver in solvers:
            solver.step(**data)
    second.parameters.data[...] = first.parameters.data
    solvers[1], saved = Solver(second, type="Adam", lr=0.1), solvers[1]
    solvers[1].load_state(saved.state(), saved.arrays())
    for data in steps[3:]:
        for solver in solvers:
            solver.step(**data)
    assert np.array_equal(whole.data(), second.data())


@pytest.mark.parametrize("kind", SOLVERS.names())
def test_rules_keep_float32(kind: str) -> None:
    net = QuadraticNet(5, "float32")
    solver = Solver(net, type=kind, lr=0.1, weight_decay=0.1)
    solver.step(**batch(4, 5))
    assert net.parameters.data.dtype == np.float32
    assert {h.dtype for h in solver.history} == {np.dtype(np.float32)}
    assert np.isfinite(net.data()).all()


# Rules whose steps do not shrink with the gradient need a schedule that shrinks them.
SHRINKING = {"schedule": {"type": "exp", "gamma": 0.985}}
TO_THE_MINIMUM = {
    "SGD": {"lr": 0.02, "momentum": 0.9},
    "Nesterov": {"lr": 0.02, "momentum": 0.9},
    "AdaGrad": {"lr": 0.5},
    "RMSProp": {"lr": 0.1, **SHRINKING},
    "AdaDelta": {"lr": 3.0, "eps": 1e-3, **SHRINKING},
    "Adam": {"lr": 0.1},
    "AdamW": {"lr": 0.1},
    "LARS": {"lr": 0.05, "trust_coefficient": 0.5, **SHRINKING},
}


@pytest.mark.parametrize("kind", SOLVERS.names())
def test_training_reaches_the_minimum(kind: str) -> None:
    data = batch(8)
    data["t"] = 3 * data["x"] + 1
    solver = Solver(QuadraticNet(), type=kind, **TO_THE_MINIMUM[kind])
    losses = [solver.step(**data) for _ in range(400)]
    assert losses[-1] < 1e-4 * losses[0]


@pytest.mark.parametrize("kind", SOLVERS.names())
def test_a_device_backend_makes_the_same_steps(kind: str, device_backend: Backend) -> None:
    nets = [QuadraticNet(5, backend=NUMPY), QuadraticNet(5, backend=device_backend)]
    clip = {"clip_grad_norm": 0.5, "clip_grad_value": 0.2}
    solvers = [Solver(n, type=kind, lr=0.1, weight_decay=0.1, regularization="L1", **clip) for n in nets]
    for _ in range(3):
        data = batch(4, 5)
        losses = [solver.step(**data) for solver in solvers]
        assert losses[0] == pytest.approx(losses[1], rel=1e-12)
    assert nets[0].data() == pytest.approx(nets[1].data(), rel=1e-12)
    assert solvers[0].grad_norm == pytest.approx(solvers[1].grad_norm, rel=1e-12)
    assert solvers[0].arrays().keys() == solvers[1].arrays().keys()
    solvers[0].load_state(solvers[1].state(), solvers[1].arrays())
    solvers[1].load_state(solvers[0].state(), solvers[0].arrays())


# Multipliers, decay, frozen parameters ----------------------------------------------------------------------------


def test_multipliers_scale_lr_and_decay() -> None:
    factors = {("a", "weight"): Multipliers(lr=2.0, decay=3.0), ("b", "weight"): Multipliers(lr=0.5, decay=0.0)}
    net = with_gradient(QuadraticNet(multipliers=factors), 1.0)
    a, b = net.layers["a"].params, net.layers["b"].params
    a.weight[...], b.weight[...], b.bias[...] = 10.0, 10.0, 10.0
    Solver(net, lr=0.1, weight_decay=0.01).update()
    assert a.weight == pytest.approx(np.full(3, 10 - 0.2 * (1 + 0.03 * 10)))
    assert b.weight == pytest.approx(np.full(3, 10 - 0.05 * 1))
    assert b.bias == pytest.approx(np.full(3, 10 - 0.1 * 1)), "the layer declares decay_mult 0 for its bias"


def test_l1_pulls_towards_zero_by_a_constant() -> None:
    net = with_gradient(QuadraticNet(), 0.0)
    weight = net.layers["a"].params.weight
    weight[...] = [5.0, -0.5, 0.0]
    Solver(net, lr=0.1, weight_decay=0.2, regularization="L1").update()
    assert weight == pytest.approx(np.array([4.98, -0.48, 0.0]))


def test_decay_is_coupled_so_momentum_remembers_it() -> None:
    net = with_gradient(QuadraticNet(), 0.0)
    weight = net.layers["a"].params.weight
    weight[...] = 1.0
    solver = Solver(net, lr=0.1, momentum=0.5, weight_decay=1.0)
    solver.update()
    solver.update()
    assert weight == pytest.approx(np.full(3, 0.9 - (0.05 + 0.09)))


@pytest.mark.parametrize("how", [Multipliers(freeze=True), Multipliers(lr=0.0)])
def test_frozen_parameters_are_not_touched(how: Multipliers) -> None:
    net = QuadraticNet(multipliers={("a", "weight"): how})
    frozen = net.layers["a"].params.weight.copy()
    others = net.data()
    solver = Solver(net, lr=0.1, momentum=0.9, weight_decay=0.1)
    for _ in range(2):
        solver.step(**batch(4))
    assert np.array_equal(net.layers["a"].params.weight, frozen)
    assert not np.array_equal(net.data(), others)
    assert not any("a/weight" in path for path in solver.arrays())


def test_padding_between_parameters_stays_zero() -> None:
    net = QuadraticNet(3, "float32")
    solver = Solver(net, lr=0.1, momentum=0.9, weight_decay=0.1, clip_grad_value=0.3)
    solver.step(**batch(4))
    slots = sorted((s.offset, s.offset + s.size) for s in net.parameters.slots.values())
    mask = np.ones(net.parameters.data.shape, bool)
    for start, stop in slots:
        mask[start:stop] = False
    assert mask.any()
    assert not net.parameters.data[mask].any()


# The norm and clipping --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 100, 4096, 4097, 300_001])
def test_norm_of_any_length(size: int) -> None:
    g = RNG.normal(size=size).astype("float32")
    assert l2_norm(np, g) == pytest.approx(math.sqrt(sum(float(v) ** 2 for v in g)), rel=1e-6)
    assert l2_norm(np, g.astype("float64")) == pytest.approx(np.linalg.norm(g.astype("float64")), rel=1e-13)


@pytest.mark.parametrize("scale", [1e-30, 1e-22, 1e18, 1e37])
def test_norm_where_float32_squares_leave_the_range(scale: float) -> None:
    g = (RNG.uniform(0.5, 1, size=10_000) * scale).astype("float32")
    assert l2_norm(np, g) == pytest.approx(np.linalg.norm(g.astype("float64")), rel=1e-6)


def test_norm_of_nothing_is_zero() -> None:
    assert l2_norm(np, np.zeros(0, "float32")) == 0.0


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("where", [0, 5000, 9999])
def test_one_bad_number_shows_in_the_norm(value: float, where: int) -> None:
    g = np.ones(10_000, "float32")
    g[where] = value
    assert not math.isfinite(l2_norm(np, g))


def test_clipping_by_norm_is_over_all_parameters_together() -> None:
    net = QuadraticNet()
    net.layers["a"].grads.weight += [3.0, 0.0, 0.0]
    net.layers["b"].grads.bias += [0.0, -4.0, 0.0]
    a, b = net.layers["a"].params.weight.copy(), net.layers["b"].params.bias.copy()
    solver = Solver(net, lr=1.0, clip_grad_norm=1.0)
    solver.update()
    assert solver.grad_norm == pytest.approx(5.0)
    assert a - net.layers["a"].params.weight == pytest.approx(np.array([0.6, 0.0, 0.0]))
    assert b - net.layers["b"].params.bias == pytest.approx(np.array([0.0, -0.8, 0.0]))


def test_a_gradient_within_the_limits_is_not_changed() -> None:
    plain, clipped = QuadraticNet(), QuadraticNet()
    data = batch(4)
    Solver(plain, lr=0.1).step(**data)
    Solver(clipped, lr=0.1, clip_grad_norm=1e6, clip_grad_value=1e6).step(**data)
    assert np.array_equal(plain.data(), clipped.data())


def test_clipping_by_value_after_the_norm_and_before_decay() -> None:
    net = QuadraticNet()
    net.layers["a"].grads.weight += [30.0, -40.0, 0.0]
    weight = net.layers["a"].params.weight
    weight[...] = 1.0
    # The norm 50 is clipped to 5: 3, -4, 0; the values to 3.5: 3, -3.5, 0; decay adds 2 w.
    Solver(net, lr=0.1, clip_grad_norm=5.0, clip_grad_value=3.5, weight_decay=2.0).update()
    assert weight == pytest.approx(1 - 0.1 * np.array([3.0 + 2, -3.5 + 2, 2.0]))
    assert net.layers["a"].grads.weight == pytest.approx(np.array([30.0, -40.0, 0.0])), "gradients stay as they were"


def clipped_step(order: str, limit: str, times_mean: float) -> tuple[np.ndarray, np.ndarray, float]:
    """What two equal micro-batches change with lr 1, the mean of their gradients, and the limit.

    The limit is `times_mean` times the norm of that mean, or times its largest number.
    """
    data, net = batch(6), QuadraticNet()
    net.forward(phase="train", copy=False, **data)
    net.backward_losses()
    mean = net.grad()
    bound = times_mean * float(np.linalg.norm(mean) if limit == "clip_grad_norm" else abs(mean).max())
    solver = Solver(net, lr=1.0, clip_order=order, **{limit: bound})
    before = net.data()
    for part in (slice(0, 3), slice(3, 6)):
        solver.accumulate(**{k: v[part] for k, v in data.items()})
    solver.update()
    assert solver.grad_norm == pytest.approx(np.linalg.norm(mean)), "the metric does not depend on the order"
    return before - net.data(), mean, bound


@pytest.mark.parametrize("times_mean", [0.5, 1.5, 2.5])
def test_clip_order_average_first_holds_the_limit_against_the_mean(times_mean: float) -> None:
    step, mean, limit = clipped_step("average_first", "clip_grad_norm", times_mean)
    assert step == pytest.approx(mean * min(1, times_mean))
    step, mean, limit = clipped_step("average_first", "clip_grad_value", times_mean)
    assert step == pytest.approx(np.clip(mean, -limit, limit), abs=1e-15)


@pytest.mark.parametrize("times_mean", [0.5, 1.5, 2.5])
def test_clip_order_caffe_holds_the_limit_against_the_sum(times_mean: float) -> None:
    step, mean, limit = clipped_step("caffe", "clip_grad_norm", times_mean)
    assert step == pytest.approx(2 * mean * min(1, times_mean / 2) / 2)
    step, mean, limit = clipped_step("caffe", "clip_grad_value", times_mean)
    assert step == pytest.approx(np.clip(2 * mean, -limit, limit) / 2, abs=1e-15)


def test_clip_orders_agree_on_a_single_batch() -> None:
    data, nets = batch(4), [QuadraticNet(), QuadraticNet()]
    for net, order in zip(nets, ("average_first", "caffe"), strict=True):
        Solver(net, lr=0.1, clip_grad_norm=0.1, clip_grad_value=0.05, clip_order=order).step(**data)
    assert np.array_equal(nets[0].data(), nets[1].data())


# Accumulation -----------------------------------------------------------------------------------------------------


def test_a_mapping_makes_the_solver_that_its_keywords_make() -> None:
    options = {"type": "Adam", "lr": 0.1, "schedule": {"type": "step", "step_size": 3}}
    nets, data = [QuadraticNet(), QuadraticNet()], batch(4)
    Solver(nets[0], **options).step(**data)
    Solver.from_config(nets[1], options).step(**data)
    assert np.array_equal(nets[0].data(), nets[1].data())
    with pytest.raises(ConfigError, match="unknown key 'speed'"):
        Solver.from_config(QuadraticNet(), {"lr": 0.1, "speed": 3})


@pytest.mark.parametrize("begun", [False, True])
def test_micro_batches_that_are_equals_give_the_mean_of_their_gradients(begun: bool) -> None:
    data = batch(12)
    data["t"][3] = data["t"][4] = np.nan  # two samples are ignored, so counts differ
    parts = [{key: value[piece] for key, value in data.items()} for piece in (slice(0, 5), slice(5, 12))]
    gradients, losses = [], []
    for part in parts:
        net = QuadraticNet()
        losses.append(Solver(net, lr=0.1).accumulate(**part))
        gradients.append(net.grad())
    net = QuadraticNet()
    solver, before = Solver(net, lr=1.0, micro_batches="mean", clip_order="caffe", clip_grad_norm=1e9), net.data()
    if begun:
        solver.begin_step(parts)
    for part in parts:
        solver.accumulate(**part)
    solver.update()
    assert solver.loss == pytest.approx(np.mean(losses))
    assert before - net.data() == pytest.approx(np.mean(gradients, axis=0))
    whole = QuadraticNet()
    Solver(whole, lr=1.0).step(**data)
    assert net.data() != pytest.approx(whole.data(), rel=1e-3)


@pytest.mark.parametrize("sizes", [[12], [4, 4, 4], [5, 4, 3], [1, 11], [1] * 12], ids=str)
def test_micro_batches_make_the_step_of_the_whole_batch(sizes: list[int]) -> None:
    whole, parts = QuadraticNet(), QuadraticNet()
    data = batch(12)
    data["t"][3] = data["t"][4] = np.nan  # two samples are ignored, so counts and sizes differ
    options = {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01, "clip_grad_norm": 0.5}
    one, many = Solver(whole, **options), Solver(parts, **options)
    for _ in range(2):
        loss, start = one.step(**data), 0
        for size in sizes:
            many.accumulate(**{k: v[start : start + size] for k, v in data.items()})
            start += size
        many.update()
        assert many.loss == pytest.approx(loss, rel=1e-13)
        assert many.grad_norm == pytest.approx(one.grad_norm, rel=1e-13)
    assert np.linalg.norm(parts.data() - whole.data()) <= 1e-14 * np.linalg.norm(whole.data())
    assert many.iteration == one.iteration == 2


def test_a_single_batch_is_the_plain_gradient() -> None:
    stepped, plain = QuadraticNet(), QuadraticNet()
    data = batch(7)
    Solver(stepped, lr=0.1).step(**data)
    plain.forward(phase="train", copy=False, **data)
    plain.backward_losses()
    assert np.array_equal(stepped.grad(), plain.grad())
    solver = Solver(plain, lr=0.1)
    solver.update()
    assert solver.loss is None
    assert np.array_equal(stepped.data(), plain.data())


def test_losses_that_are_sums_are_added_and_not_averaged() -> None:
    whole, parts = QuadraticNet(mean=False), QuadraticNet(mean=False)
    data = batch(5)
    loss = Solver(whole, lr=0.01).step(**data)
    solver = Solver(parts, lr=0.01)
    for part in (slice(0, 2), slice(2, 5)):
        solver.accumulate(**{k: v[part] for k, v in data.items()})
    solver.update()
    assert parts.data() == pytest.approx(whole.data(), rel=1e-13)
    assert solver.loss == pytest.approx(loss)


def test_a_batch_without_a_single_valid_sample_changes_nothing() -> None:
    net, data = QuadraticNet(), batch(3)
    data["t"][:] = np.nan
    before = net.data()
    assert Solver(net, lr=0.1, clip_grad_norm=1.0).step(**data) == 0.0
    assert np.array_equal(net.data(), before)


def test_random_numbers_are_keyed_by_update_and_sample() -> None:
    net = QuadraticNet()
    net.first_sample = 100  # this process's share of a larger batch begins here
    solver = Solver(net, lr=0.1)
    for _ in range(2):
        net.iteration = 999  # whoever moved it, a step is keyed by the solver's count
        for size in (3, 2):
            solver.accumulate(**batch(size))
        solver.update()
    solver.step(**batch(4))
    assert net.seen_keys == [(0, 100), (0, 103), (1, 100), (1, 103), (2, 100)]
    assert (net.first_sample, net.iteration, solver.iteration) == (100, 3, 3)


def test_gradients_can_be_edited_before_the_update() -> None:
    net = QuadraticNet()
    solver = Solver(net, lr=0.1)
    before = net.layers["a"].params.weight.copy()
    solver.accumulate(**batch(4))
    net.layers["a"].grads.weight[...] = [0.0, 1.0, 0.0]
    solver.update()
    assert before - net.layers["a"].params.weight == pytest.approx(np.array([0.0, 0.1, 0.0]))


def test_step_begins_from_zero_whatever_was_there() -> None:
    one, two, data = QuadraticNet(), QuadraticNet(), batch(4)
    Solver(one, lr=0.1).step(**data)
    solver = Solver(two, lr=0.1)
    solver.accumulate(**batch(4))  # given up by the step below, with what it did to the statistics
    solver.step(**data)
    assert np.array_equal(one.data(), two.data())
    assert one.seen() == two.seen() == 4


# Divergence and other failures ------------------------------------------------------------------------------------


def everything(net: QuadraticNet, solver: Solver) -> list[Any]:
    """All that a step may change, as bytes."""
    history = [net.backend.to_host(h).tobytes() for h in solver.history]
    return [net.data().tobytes(), *history, net.seen(), net.first_sample, net.iteration, solver.iteration, solver.lr]


@pytest.mark.parametrize("bad", [math.nan, math.inf], ids=str)
@pytest.mark.parametrize("parts", [1, 2])
def test_divergence_leaves_weights_and_state_bit_identical(bad: float, parts: int) -> None:
    net, data = QuadraticNet(), batch(4)
    solver = Solver(net, lr=0.1, momentum=0.9, weight_decay=0.1)
    solver.step(**data)
    before, poisoned = everything(net, solver), {**data, "x": np.full((4, 3), bad)}
    named = r"diverged at iteration 1: loss (nan|inf), gradient norm (nan|inf);"
    with np.errstate(invalid="ignore"), pytest.raises(DivergedError, match=named) as caught:
        if parts == 1:
            solver.step(**poisoned)
        else:
            solver.accumulate(**data)
            solver.accumulate(**poisoned)
            solver.update()
    assert caught.value.exit_code == 4
    assert "solver.lr" in (caught.value.hint or "")
    assert everything(net, solver) == before
    solver.step(**data)
    assert np.isfinite(net.data()).all()
    assert net.seen() == 8


def test_a_gradient_that_is_not_finite_is_found_where_the_loss_is() -> None:
    net = QuadraticNet()
    solver = Solver(net, lr=0.1)
    solver.accumulate(**batch(4))
    net.layers["b"].grads.bias[1] = np.inf
    before = net.data()
    with pytest.raises(DivergedError, match=r"loss \d\S*, gradient norm inf"):
        solver.update()
    assert np.array_equal(net.data(), before)
    assert net.seen() == 0
    net.parameters.grad[0] = np.nan
    with pytest.raises(DivergedError, match="iteration 0: gradient norm nan"):
        solver.update()


@pytest.mark.parametrize("failure", [ConfigError("bad label"), KeyboardInterrupt()], ids=lambda e: type(e).__name__)
def test_a_step_that_fails_half_way_is_undone(failure: BaseException) -> None:
    net, data = QuadraticNet(), batch(4)
    solver = Solver(net, lr=0.1)
    before, net.fail_in_backward = everything(net, solver), failure
    with pytest.raises(type(failure)):
        solver.step(**data)
    assert everything(net, solver) == before


def test_a_schedule_that_cannot_answer_stops_before_the_update() -> None:
    net = QuadraticNet()
    solver, before = Solver(net, lr=0.1, schedule="poly"), net.data()
    with pytest.raises(ConfigError, match="needs the length of the run"):
        solver.step(**batch(4))
    assert np.array_equal(net.data(), before)
    assert net.seen() == 0
    solver.total_iterations = 10
    solver.step(**batch(4))
    assert solver.lr == pytest.approx(0.09)


def test_weights_that_overflow_are_named_by_the_next_step() -> None:
    net = QuadraticNet(dtype="float32")
    solver = Solver(net, lr=1e300)
    solver.step(**batch(4))  # warnings are errors in these tests: NumPy's must not be what the user reads
    with np.errstate(all="ignore"), pytest.raises(DivergedError, match="iteration 1"):
        solver.step(**batch(4))


@pytest.mark.parametrize("apart", [False, True], ids=["step", "accumulate, measure, update"])
@pytest.mark.parametrize(("size", "lr"), [(1e30, 0.1), (1e3, 1e37)], ids=["in forward", "in the update"])
def test_numpy_says_nothing_of_what_overflows_in_a_step(size: float, lr: float, apart: bool) -> None:
    """Warnings are errors in these tests: the loss, the gradient or the next step tells of it."""
    net = QuadraticNet(dtype="float32")
    solver, data = Solver(net, lr=lr), {name: size * array for name, array in batch(4).items()}

    def step() -> None:
        if not apart:
            solver.step(**data)
            return
        solver.accumulate(**data)
        solver.measure()
        solver.update()

    if size > 1e20:
        with pytest.raises(DivergedError):
            step()
    else:
        step()
        assert not np.isfinite(net.data()).all()


# Configuration and state ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lr": 0.1, "momentun": 0.9}, r"unknown key 'momentun' in solver \(SGD\)"),
        ({"lr": 0.1, "momentum": 1.0}, "momentum must be < 1"),
        ({"lr": 0.1, "type": "Sgd"}, "unknown solver type 'Sgd'"),
        ({"momentum": 0.9}, "lr is required"),
        ({"lr": 0}, "lr must be > 0"),
        ({"lr": 0.1, "regularization": "L3"}, "regularization must be one of L2, L1"),
        ({"lr": 0.1, "clip_grad_norm": 0}, "clip_grad_norm must be > 0"),
        ({"lr": 0.1, "schedule": {"type": "step"}}, "step_size is required"),
    ],
    ids=str,
)
def test_bad_keywords(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        Solver(QuadraticNet(), **options)
    assert caught.value.exit_code == 2


def test_a_mistyped_keyword_is_answered_with_the_right_one() -> None:
    with pytest.raises(ConfigError) as caught:
        Solver(QuadraticNet(), lr=0.1, momentun=0.9)
    assert caught.value.hint == "did you mean 'momentum'?"


def test_numpy_numbers_are_numbers() -> None:
    net = QuadraticNet(dtype="float32")
    solver = Solver(net, lr=np.float64(0.1), momentum=np.float32(0.5))
    solver.step(**batch(2))
    assert solver.lr == 0.1
    assert net.parameters.data.dtype == solver.history[0].dtype == np.float32


def test_from_config_is_the_constructor() -> None:
    section = SolverSection.from_config({"type": "Nesterov", "lr": 0.1, "weight_decay": 0.1, "momentum": 0.5})
    nets, data = [QuadraticNet(), QuadraticNet()], batch(4)
    solvers = [
        Solver.from_config(nets[0], section),
        Solver(nets[1], type="Nesterov", lr=0.1, weight_decay=0.1, momentum=0.5),
    ]
    for solver in solvers:
        solver.step(**data)
    assert np.array_equal(nets[0].data(), nets[1].data())


def test_two_solvers_of_one_section_do_not_share_a_plateau() -> None:
    section = SolverSection.from_config({"lr": 0.1, "schedule": {"type": "plateau", "patience": 0}})
    one, two = (Solver.from_config(QuadraticNet(), section) for _ in range(2))
    one.schedule.observe(1.0)
    one.schedule.observe(1.0)
    assert one.lr == pytest.approx(0.01)
    assert two.lr == 0.1


def test_lr_follows_schedule_iteration_and_epoch() -> None:
    net = QuadraticNet()
    solver = Solver(net, lr=0.8, schedule={"type": "step", "step_size": 2, "gamma": 0.5})
    found = []
    for _ in range(4):
        found.append(solver.lr)
        solver.step(**batch(2))
    assert found == [0.8, 0.8, 0.4, 0.4]
    solver = Solver(net, lr=0.8, schedule={"type": "exp", "gamma": 0.5, "unit": "epoch"})
    solver.epoch = 3
    assert solver.lr == pytest.approx(0.1)


def test_a_solver_goes_on_from_its_state_bit_for_bit() -> None:
    options = {"lr": 0.1, "momentum": 0.9, "schedule": {"type": "plateau", "patience": 0, "factor": 0.5}}
    data = [batch(4) for _ in range(6)]
    whole = QuadraticNet()
    solver = Solver(whole, **options)
    for part in data[:3]:
        solver.step(**part)
        solver.schedule.observe(1.0)
    state, arrays, weights = solver.state(), solver.arrays(), whole.data()
    for part in data[3:]:
        solver.step(**part)
    resumed = QuadraticNet()
    resumed.parameters.data[...] = weights
    again = Solver(resumed, **options)
    again.load_state(state, {**arrays, "params/a/weight": np.zeros(1)})
    assert (again.iteration, resumed.iteration, again.lr) == (3, 3, 0.025)
    for part in data[3:]:
        again.step(**part)
    assert np.array_equal(resumed.data(), whole.data())
    assert again.state() == solver.state()


def test_history_is_saved_by_name_so_the_layout_may_change() -> None:
    one = QuadraticNet()
    solver = Solver(one, lr=0.1, momentum=0.9)
    solver.step(**batch(4))
    moved = QuadraticNet(multipliers={("b", "weight"): Multipliers(lr=0.5), ("a", "bias"): Multipliers(lr=3.0)})
    other = Solver(moved, lr=0.1, momentum=0.9)
    other.load_state(solver.state(), solver.arrays())
    assert one.parameters.slots.keys() == moved.parameters.slots.keys()
    assert list(one.parameters.slots) != list(moved.parameters.slots)
    for key, slot in one.parameters.slots.items():
        assert np.array_equal(slot.view(solver.history[0]), moved.parameters.slots[key].view(other.history[0]))


def test_a_state_that_does_not_fit_is_refused_whole() -> None:
    solver = Solver(QuadraticNet(), lr=0.1, momentum=0.9)
    solver.step(**batch(4))
    state, arrays = solver.state(), solver.arrays()
    fresh = Solver(QuadraticNet(), lr=0.1, momentum=0.9)
    wrong_shape = {**arrays, "history/0/a/weight": np.zeros(4)}
    missing = {k: v for k, v in arrays.items() if k != "history/0/b/bias"}
    refused = [
        (DataError, "type Nesterov, this one is SGD", {**state, "type": "Nesterov"}, arrays),
        (DataError, "no state of a solver", {"kind": "weights"}, arrays),
        (DataError, r"history/0/a/weight has shape \(4,\), not \(3,\)", state, wrong_shape),
        (DataError, "missing history/0/b/bias", state, missing),
        (DataError, "unexpected history/1/a/weight", state, {**arrays, "history/1/a/weight": np.zeros(3)}),
        (ConfigError, "schedule fixed needs nothing", {**state, "schedule": {"scale": 1.0}}, arrays),
    ]
    for error, message, bad_state, bad_arrays in refused:
        with pytest.raises(error, match=message) as caught:
            fresh.load_state(bad_state, bad_arrays, "last.h5")
        assert "last.h5" in str(caught.value) or error is ConfigError
    assert fresh.iteration == 0
    assert not fresh.history[0].any()
