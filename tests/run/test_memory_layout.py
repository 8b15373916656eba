"""One piece of memory for a pass: nothing is overwritten too early, and nothing is made anew."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.planned_nets import NETS, batch_for, built, forks, residual

from layerforge import Net, Solver
from layerforge.run.executor import Executor
from layerforge.run.memory_layout import ALIGNMENT, Buffer
from layerforge.run.observer import Observer
from layerforge.run.packing import place
from layerforge.run.views import BlobError


def run(net: Net, config: dict[str, Any], passes: int = 3) -> tuple[np.ndarray, dict[str, Any]]:
    """The gradients of the last of several passes, and the statistics after it."""
    for number in range(passes):
        net.zero_grad()
        net.iteration = number
        net.forward(**batch_for(config, number))
        net.backward()
    statistics = {f"{n}.{k}": a.copy() for n, arrays in net.state.items() for k, a in arrays.items()}
    return net.parameters.grad.copy(), statistics


@pytest.mark.parametrize("name", NETS)
def test_sharing_memory_changes_no_bit(name: str) -> None:
    config = NETS[name]
    apart, together = built(config, keep="all"), built(config)
    want, got = run(apart, config), run(together, config)
    layout = together.passes.current.layout
    assert layout.size < 0.75 * layout.unshared
    assert np.array_equal(got[0], want[0])
    assert got[0].any()
    assert all(np.array_equal(got[1][key], want[1][key]) for key in want[1])


class Poison(Observer):
    """Before every step, all memory that nobody needs at that moment is filled with NaN."""

    def __init__(self, executor: Executor) -> None:
        self.executor = executor

    def poison(self, now: float) -> None:
        layout = self.executor.layout
        alive = [b for b in layout.buffers if b.first <= now <= b.last]
        memory = self.executor.memory[: layout.size]
        dead = np.ones(len(memory), bool)
        for buffer in alive:
            dead[buffer.offset : buffer.offset + buffer.size] = False
        memory[dead] = 255  # a NaN wherever a float is stored

    def before_forward(self, number: int, step: Any, bottoms: Any, again: bool) -> None:
        if not again:
            self.poison(number)

    def before_backward(self, number: int, step: Any, dtops: Any) -> None:
        self.poison(2 * len(self.executor.plan.steps) - 1 - number)


@pytest.mark.parametrize("name", NETS)
def test_what_is_planned_as_dead_is_never_read(name: str) -> None:
    config = NETS[name]
    want = run(built(config, keep="all"), config)
    net = built(config)
    run(net, config, 1)
    net.observe(Poison(net.passes.current))
    got = run(net, config)
    assert np.array_equal(got[0], want[0])


def buffer(name: int, count: int, first: float, last: float) -> Buffer:
    return Buffer("layer", name, (count,), np.dtype("float32"), (4,), first, last)


@given(st.lists(st.tuples(st.integers(1, 40), st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=25))
def test_buffers_that_meet_lie_apart(sizes: list[tuple[int, int, int]]) -> None:
    buffers = [
        buffer(i, n * 16, min(a, b), max(a, b)) for i, (n, a, b) in enumerate(sizes)
    ]
    whole = place(buffers)
    for one, other in ((one, other) for one in buffers for other in buffers if one is not other and one.meets(other)):
        assert one.offset + one.size <= other.offset or other.offset + other.size <= one.offset
    assert all(b.offset % ALIGNMENT == 0 and b.offset + b.size <= whole for b in buffers)
    assert whole <= sum(b.size for b in buffers)
    busiest = max(sum(b.size for b in buffers if b.first <= now <= b.last) for now in range(10))
    assert whole >= busiest


def test_buffers_that_never_meet_share_a_place() -> None:
    buffers = [buffer(i, 100, i, i) for i in range(5)]
    assert place(buffers) == buffers[0].size


def steps_of(config: dict[str, Any]) -> Iterator[None]:
    net = built(config)
    solver = Solver(net, "SGD", lr=0.01, momentum=0.9, weight_decay=5e-4)
    batch = batch_for(config)
    while True:
        solver.step(**batch)
        yield


WIDE = {
    "inputs": {"x": {"shape": [32, 100]}, "t": {"shape": [32], "dtype": "int64"}},
    "net": [
        {"name": "fc1", "type": "Linear", "out_features": 300},
        {"name": "bn", "type": "BatchNorm"},
        {"name": "relu", "type": "ReLU"},
        {"name": "drop", "type": "Dropout"},
        {"name": "fc2", "type": "Linear", "out_features": 300},
        {"name": "gelu", "type": "GELU"},
        {"name": "fc3", "type": "Linear", "out_features": 5},
        {"name": "loss", "type": "SoftmaxCrossEntropy", "bottom": ["fc3", "t"]},
    ],
}


def test_a_step_of_engine_layers_allocates_no_array() -> None:
    steps = steps_of(WIDE)
    for _ in range(5):
        next(steps)
    gc.collect()
    tracemalloc.start()
    try:
        next(steps)  # what tracing itself makes anew
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        next(steps)
        peak = tracemalloc.get_traced_memory()[1] - before
        for _ in range(500):
            next(steps)
        gc.collect()
        growth = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert peak < 32 * 1024, "the smallest activation has 38,400 bytes"
    assert growth < 4 * 1024


def test_a_second_backward_is_refused_where_memory_was_reused_and_fine_where_it_was_not() -> None:
    config = residual()
    net = built(config)
    net.forward(**batch_for(config))
    net.backward()
    with pytest.raises(BlobError, match="was reused by its backward"):
        net.backward()
    net = built(config, keep="all")
    net.forward(**batch_for(config))
    net.backward()
    once = net.parameters.grad.copy()
    net.backward()
    assert np.allclose(net.parameters.grad, 2 * once, rtol=1e-5)


def test_recomputing_takes_less_memory_and_gives_the_same_bits() -> None:
    plain, frugal = built(residual(repeat=6)), built(residual(recompute=True, repeat=6))
    want, got = run(plain, residual()), run(frugal, residual())
    assert np.array_equal(got[0], want[0])
    assert all(np.array_equal(got[1][key], want[1][key]) for key in want[1])
    assert frugal.passes.current.layout.size < 0.65 * plain.passes.current.layout.size


@pytest.mark.parametrize("engine", ["reference", "onednn"])
def test_recomputed_layers_keep_nothing_meanwhile(engine: str) -> None:
    net = Net.from_config({**residual(recompute=True), "engine": engine}, keep="none")
    net.forward(**batch_for(residual()))
    kept = {step.node.name: step.node.layer.kept for step in net.current_plan.steps}
    assert all(kept[name] is None for name in kept if name.startswith("s."))
    assert kept["fc"] is not None


def test_batches_of_other_sizes_share_the_memory() -> None:
    config = residual()
    net, apart = built(config), built(config, keep="all")
    big, small = batch_for(config, 1), {k: v[:3] for k, v in batch_for(config, 2).items()}
    for each in (net, apart):
        for batch in (big, small, big, small):
            each.zero_grad()
            each.forward(**batch)
            each.backward()
    assert np.array_equal(net.parameters.grad, apart.parameters.grad)
    evaluated = [each.forward(phase="eval", **big)["loss"] for each in (net, apart)]
    assert evaluated[0] == evaluated[1]


@pytest.mark.parametrize("recompute", [False, True])
def test_what_forward_reads_once_more_is_not_overwritten(recompute: bool) -> None:
    config = {
        "inputs": {"x": {"shape": [6, 7]}, "t": {"shape": [6], "dtype": "int64"}},
        "engine": "reference",
        "net": [
            {"name": "fc1", "type": "Linear", "out_features": 5},
            {"name": "act", "type": "Tanh", "recompute": recompute},
            {"name": "fc2", "type": "Linear", "out_features": 3},
            {"name": "loss", "type": "SoftmaxCrossEntropy", "bottom": ["fc2", "t"]},
        ],
    }
    want, net = run(Net.from_config(config, keep="all"), config), Net.from_config(config, keep="none")
    assert np.array_equal(run(net, config)[0], want[0])
    in_place = {step.node.name for step in net.current_plan.steps if step.in_place}
    assert in_place == (set() if recompute else {"act"}), "its bottom is needed for nothing but its own forward"


def test_recompute_of_single_layers_and_its_bad_uses() -> None:
    config = forks()
    config["net"][4]["recompute"] = config["net"][5]["recompute"] = True
    want, got = run(built(forks(), keep="all"), forks()), run(built(config), config)
    assert np.array_equal(got[0], want[0])
    with pytest.raises(Exception, match="recompute"):
        Net.from_config({**config, "net": [{**config["net"][0], "recompute": "yes"}]})


@pytest.mark.parametrize("engine", ["reference", "onednn"])
def test_a_backward_from_fewer_blobs_than_the_plan_expects(engine: str) -> None:
    """Where a sum of gradients has a single part, it goes through memory that nobody else has by then."""
    layers = [
        {"name": "bn", "type": "BatchNorm", "bottom": "x", "recompute": True},
        {"name": "sum", "type": "Add", "bottom": ["bn", "x"]},
        {"name": "product", "type": "Mul", "bottom": ["sum", "x"]},
        {"name": "pair", "type": "Stack", "bottom": ["bn", "product"], "dim": 1},
        {"name": "pool", "type": "AvgPool2d", "bottom": "sum", "kernel_size": 1},
        {"name": "fc", "type": "Linear", "out_features": 4},
    ]
    rng = np.random.default_rng(0)
    x, gradients = rng.normal(size=(5, 1, 5, 6)).astype("f4"), {}
    for keep in ("all", "none"):
        config = {"engine": engine, "inputs": {"x": {"shape": [5, 1, 5, 6], "grad": True}}, "net": layers}
        net = Net.from_config(config, keep=keep)
        for top in ("fc", "pair", "fc"):
            net.zero_grad()
            scores = net.forward(phase="eval", backward=True, x=x)
            net.backward(**{top: np.random.default_rng(1).normal(size=scores[top].shape)})
            gradients.setdefault(top, []).append(net.params["bn"]["weight"].grad.copy())
    for top, found in gradients.items():
        np.testing.assert_allclose(found, found[:1] * len(found), rtol=1e-4, err_msg=top)


@pytest.mark.parametrize("shape", [[3, 6], [64, 32]])
@pytest.mark.parametrize("ends", [["l4", "l5"], ["l3", "l4"], ["l2", "l4", "l5"], ["l0", "l5"]], ids="+".join)
def test_a_backward_from_more_blobs_than_the_plan_expects(ends: list[str], shape: list[int]) -> None:
    """A sum at a fork is then begun earlier than in the dry run, when others still use the memory planned for it."""
    config = {
        "seed": 1,
        "inputs": {"x": {"shape": shape, "grad": True}, "u": {"shape": shape}},
        "net": [
            {"name": "l0", "type": "Scale", "bottom": "x"},
            {"name": "l1", "type": "SELU", "bottom": "l0"},
            {"name": "l2", "type": "HardSigmoid", "bottom": "l1"},
            {"name": "l3", "type": "Add", "bottom": ["l0", "l2"]},
            {"name": "l4", "type": "Sub", "bottom": ["x", "l0"]},
            {"name": "l5", "type": "HuberLoss", "bottom": ["l3", "u"]},
        ],
    }
    rng = np.random.default_rng(0)
    batch = {name: rng.normal(size=shape).astype("float32") for name in ("x", "u")}
    given = {end: rng.normal(size=() if end == "l5" else shape).astype("float32") for end in ends}
    found = []
    for keep in ("all", "none" if ends == ["l4", "l5"] else ends):
        net = Net.from_config(config, keep=keep)
        for cotangents in ({}, given, {}, given):  # what is repeated between the losses' own passes, too
            net.zero_grad()
            net.forward(**batch)
            net.backward(cotangents) if cotangents else net.backward()
        found.append((net.parameters.grad.copy(), np.array(net.blobs["x"].grad)))
    for want, got in zip(*found, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
