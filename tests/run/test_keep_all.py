"""A net that keeps all blobs: passes are planned and repeated, and nothing is overwritten that somebody can look at."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from support.planned_nets import NETS, batch_for, built, forks, residual

from layerforge import Net, Solver
from layerforge.run import passes
from layerforge.run.observer import Observer
from layerforge.run.views import BlobError
from layerforge.schema.errors import OutOfMemory


def with_input_gradient(config: dict[str, Any]) -> dict[str, Any]:
    inputs = config["inputs"]
    return {**config, "inputs": {**inputs, "x": {**inputs["x"], "grad": True}}}


CONFIGS = {name: with_input_gradient(config) for name, config in NETS.items()}


def all_of(net: Net) -> dict[str, np.ndarray]:
    """Copies of all that can be read: blobs, their gradients, those of parameters, statistics."""
    found = {"parameters": net.parameters.grad.copy()}
    for name, blob in net.blobs.items():
        found[name] = np.array(blob.data)
        with suppress(BlobError):
            found[f"d {name}"] = np.array(blob.grad)
    return found | {f"{n}.{k}": a.copy() for n, arrays in net.state.items() for k, a in arrays.items()}


def same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)


def unplanned(config: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Net]:
    """A net whose layers make their own memory, of which nothing is shared and nothing repeated."""
    net = built(config, keep="all")
    planned = net.passes._planned

    def without(*arguments: Any) -> Any:
        with monkeypatch.context() as patched:
            patched.setattr(passes, "dry_run", lambda *_: None)
            return planned(*arguments)

    monkeypatch.setattr(net.passes, "_planned", without)
    return net


@pytest.mark.parametrize("name", CONFIGS)
def test_blobs_and_gradients_are_those_of_layers_with_memory_of_their_own(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = CONFIGS[name]
    apart, stepwise, net = unplanned(config, monkeypatch), built(config, keep="all"), built(config, keep="all")
    stepwise.observe(Observer())
    solvers = [Solver(each, lr=0.05, momentum=0.9) for each in (apart, stepwise, net)]
    for number in range(8):
        losses = [solver.step(**batch_for(config, number)) for solver in solvers]
        assert losses[0] == losses[1] == losses[2]
        want = all_of(apart)
        assert same(all_of(stepwise), want)
        assert same(all_of(net), want)
        assert "d x" in want
    assert apart.passes.current.layout is None
    assert net.passes.current.layout is not None
    repeated = any(capture.stretches for capture in net.passes.current.captures.values())
    assert repeated == (name != "recomputed"), "what is recomputed is not captured"


@pytest.mark.parametrize("name", CONFIGS)
def test_several_backwards_after_one_forward_in_any_order(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    config = CONFIGS[name]
    nets = unplanned(config, monkeypatch), built(config, keep="all")
    scores = "fc2" if name == "forks" else "fc"
    middle = "m" if name == "forks" else "stem"
    rng = np.random.default_rng(0)
    for number in range(5):
        batch, found = batch_for(config, number), []
        shapes = nets[0].graph.phases["train"].current
        dys = {blob: rng.standard_normal(shapes[blob].spec.shape, dtype="float32") for blob in (scores, middle)}
        for net in nets:
            net.zero_grad()
            net.forward(**batch)
            seen = []
            for begin in ({}, {scores: dys[scores]}, {middle: dys[middle]}, dys, {}):
                net.backward(begin or None)
                seen.append(all_of(net))
            net.backward({middle: dys[middle]}, accumulate=True)
            seen += [all_of(net), net.jvp({"x": batch["x"]})]
            net.backward()
            net.backward_losses(overwrite_grad=True)
            seen.append(all_of(net))
            found.append(seen)
        for want, got in zip(*found, strict=True):
            assert same(got, want)
        first, last = ({k: v for k, v in seen[at].items() if k[:2] == "d "} for at in (0, 4))
        assert same(first, last)


def test_arrays_that_somebody_holds_outlast_passes_of_other_plans() -> None:
    """As for a gradient that is compared with differences of forwards, which need no backward."""
    config = CONFIGS["residual"]
    act = {"name": "act", "type": "Tanh", "bottom": "fc", "engine": "reference"}  # which all plans have as it is
    layers = [*config["net"][:-1], act, {**config["net"][-1], "bottom": ["act", "t"]}]
    net = built({**config, "net": layers}, keep="all")

    def run(number: int, samples: int, phase: str, backward: bool) -> None:
        net.forward(phase=phase, backward=backward, **{k: v[:samples] for k, v in batch_for(config, number).items()})
        if backward:
            net.backward()

    plans = [(4, "train", True), (4, "eval", False), (3, "train", True), (4, "eval", True)]
    for number, mine in enumerate(plans + plans + plans):
        run(number, *mine)
        blobs = [net.blobs[name] for name in ("x", "s.1.c1", "s.1.r2", "fc", "act")]
        held = [blob.data for blob in blobs] + [blob.grad for blob in blobs if mine[2]]
        copies = [array.copy() for array in held]
        for other in plans:
            if other != mine:
                run(number + 1, *other)
        assert all(np.array_equal(array, copy) for array, copy in zip(held, copies, strict=True))


def test_gradients_that_somebody_holds_outlast_forwards_of_the_same_plan() -> None:
    config = CONFIGS["forks"]
    net = built(config, keep="all")
    for number in range(3):
        net.forward(**batch_for(config, number))
        net.backward()
    held = {name: net.blobs[name].grad for name in ("x", "fc1", "a", "m", "fc2")}
    copies = {name: array.copy() for name, array in held.items()}
    for number in range(3, 6):
        net.forward(**batch_for(config, number))
    assert same(held, copies)


@pytest.mark.parametrize("name", CONFIGS)
def test_every_blob_and_gradient_has_memory_of_its_own(name: str) -> None:
    net = built(CONFIGS[name], keep="all")
    net.forward(**batch_for(CONFIGS[name]))
    net.backward()
    executor = net.passes.current
    looked_at = [array for array in (*executor.values, *executor.grads) if array is not None]
    places = [(b.offset, b.offset + b.nbytes) for b in executor.layout.buffers if b.nbytes]
    start = executor.memory.__array_interface__["data"][0]
    planned = 0
    for array in looked_at:
        first, last = (address - start for address in np.lib.array_utils.byte_bounds(array))
        if 0 <= first < executor.layout.size:
            planned += 1
            assert sum(begin < last and first < end for begin, end in places) == 1
    assert planned > len(executor.plan.steps)


def test_other_passes_in_between_leave_what_is_repeated() -> None:
    config = CONFIGS["residual"]
    net = built(config, keep="all")
    solver = Solver(net, lr=0.05)
    for number in range(4):
        solver.step(**batch_for(config, number))
        net.forward(phase="eval", **batch_for(config, number))
    forward = next(each for each in net.passes.executors.values() if each.plan.phase == "train").captures["forward"]
    assert forward.stretches
    assert not forward.misses


def test_a_step_takes_no_more_memory_than_layers_with_their_own() -> None:
    net = built(residual(repeat=4), keep="all")
    net.forward(**batch_for(residual()))
    layout = net.passes.current.layout
    assert layout.size <= layout.unshared
    assert layout.size < sum(b.nbytes for b in layout.buffers) + 64 * len(layout.buffers)
    recomputed = built(residual(recompute=True, repeat=4), keep="all")
    recomputed.forward(**batch_for(residual()))
    assert recomputed.passes.current.layout.size <= layout.size


@pytest.mark.parametrize("size", [8, 160])  # small ones are copied by NumPy, large ones on all threads
def test_an_input_may_be_made_of_the_blob_that_it_becomes(size: int) -> None:
    shape = [4, 3, size, size]
    config = {
        "inputs": {"x": {"shape": shape}},
        "net": [{"name": "conv", "type": "Conv2d", "bottom": "x", "out_channels": 4, "kernel_size": 3, "stride": 3}],
    }
    net, x = built(config, keep="all"), np.random.default_rng(0).standard_normal(shape).astype("float32")
    for turned in (lambda a: a, lambda a: a.transpose(0, 1, 3, 2), lambda a: a[::-1], lambda a: a[:, :, ::-1]):
        net.forward(x=x)
        got = net.forward(x=turned(net.blobs["x"].data))["conv"]
        assert np.array_equal(net.blobs["x"].data, turned(x))
        assert np.array_equal(got, net.forward(x=np.ascontiguousarray(turned(x)))["conv"])


def test_a_pass_that_found_no_memory_gives_its_own_back() -> None:
    config = forks()
    net = built(config, keep="all")
    net.forward(**batch_for(config))
    net.backward()
    before = net.passes.last
    layer: Any = next(step.node.layer for step in before.plan.steps if step.node.name == "fc2")
    layer.scripts, layer.forward = {}, lambda x: np.empty((1 << 62,), "u1")  # no machine has that
    large = {name: np.concatenate([array] * 3) for name, array in batch_for(config).items()}
    with pytest.raises(OutOfMemory):
        net.forward(**batch_for(config))
    assert before not in net.passes.executors.values()
    with pytest.raises(BlobError, match="did not come to its end"):
        net.backward()
    want = built(config)
    for each in (net, want):
        each.zero_grad()
        each.forward(**large)
        each.backward()
    assert np.array_equal(net.parameters.grad, want.parameters.grad)
