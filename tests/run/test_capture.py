"""Steps that are joined and repeated give the bits of steps that run one by one, whatever happens in between."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from support.planned_nets import NETS, batch_for, built

from layerforge import Layer, Net, Solver
from layerforge.run.capture import MOST_MISSES
from layerforge.run.observer import Observer
from layerforge.schema.errors import LayerError
from layerforge.schema.registry import LAYERS


class Elsewhere(Layer):
    """Elsewhere: its top is stored somewhere else in every pass, or only when it is told to `move`."""

    move = True
    backward_reads = ("bottom",)

    def setup(self, x: Any) -> Any:
        return x

    def forward(self, x: Any) -> Any:
        if self.move or not hasattr(self, "made"):
            self.made = [*getattr(self, "made", []), np.empty_like(x)]  # held on to, so that no memory is used twice
        np.add(x, 1, out=self.made[-1])
        return self.made[-1]

    def backward(self, dy: Any) -> Any:
        return dy


@pytest.fixture(autouse=True)
def elsewhere() -> Iterator[None]:
    """Known for a while: other tests go through all layers that are."""
    LAYERS.add(Elsewhere)
    yield
    LAYERS.remove("Elsewhere")


def plain(middle: str = "ReLU") -> dict[str, Any]:
    """Two losses above a stack of layers that the engine computes."""
    return {
        "inputs": {"x": {"shape": [6, 8]}, "t": {"shape": [6], "dtype": "int64"}},
        "net": [
            {"name": "fc1", "type": "Linear", "out_features": 7},
            {"name": "bn", "type": "BatchNorm"},
            {"name": "middle", "type": middle},
            {"name": "fc2", "type": "Linear", "out_features": 5},
            {"name": "fc3", "type": "Linear", "out_features": 3},
            {"name": "loss", "type": "SoftmaxCrossEntropy", "bottom": ["fc3", "t"]},
            {"name": "size", "type": "AbsSum", "bottom": "fc2", "loss_weight": 0.01},
        ],
    }


def both(config: dict[str, Any]) -> list[Net]:
    """The same net, whose steps are joined, and one whose layers are called in every pass."""
    nets = built(config), built(config)
    nets[1].observe(Observer())
    return list(nets)


class Asked(Observer):
    """The layers that are called, in order."""

    every_step = False

    def __init__(self) -> None:
        self.names: list[str] = []

    def before_forward(self, number: int, step: Any, bottoms: Any, again: bool) -> None:
        self.names.append(f"{step.node.name} forward")

    def before_backward(self, number: int, step: Any, dtops: Any) -> None:
        self.names.append(f"{step.node.name} backward")


def asked(net: Net) -> list[str]:
    """From now on, the layers of the net that are called, in order."""
    observer = Asked()
    net.observe(observer)
    return observer.names


def same(nets: list[Net]) -> bool:
    """Whether parameters, gradients and statistics are the same bits."""
    flat = ((net.parameters.data, net.parameters.grad) for net in nets)
    statistics = ((a for s in net.state.values() for a in s.values()) for net in nets)
    one, other = ([*a, *b] for a, b in zip(flat, statistics, strict=True))
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


CONFIGS = {**NETS, "plain": plain(), "elsewhere": plain("Elsewhere")}


@pytest.mark.parametrize("name", CONFIGS)
def test_a_training_is_the_same_bit_for_bit(name: str) -> None:
    config = CONFIGS[name]
    nets = both(config)
    solvers = [Solver(net, lr=0.05, momentum=0.9, weight_decay=1e-3) for net in nets]
    for number in range(12):
        losses = [solver.step(**batch_for(config, number)) for solver in solvers]
        assert losses[0] == losses[1]
        assert same(nets)


def test_layers_of_a_stretch_are_not_asked_again() -> None:
    net = built(plain())
    solver = Solver(net, lr=0.05)
    for number in range(4):
        solver.step(**batch_for(plain(), number))
    names = asked(net)
    solver.step(**batch_for(plain(), 5))
    # To what fc3 sends down, that of `size` is added, which is stored elsewhere in every pass.
    assert names == ["size forward", "size backward", "fc3 backward"]


def test_what_lies_elsewhere_in_every_pass_is_asked_in_every_pass() -> None:
    config = plain("Elsewhere")
    net = built(config)
    solver = Solver(net, lr=0.05)
    for number in range(2 * MOST_MISSES):
        solver.step(**batch_for(config, number))
    names = asked(net)
    solver.step(**batch_for(config))
    assert {"middle forward", "fc2 forward", "middle backward", "fc2 backward"} <= set(names)
    assert not {"fc1 forward", "bn forward", "fc3 forward"} & set(names)


def test_what_moves_now_and_then_is_noticed_there_and_above() -> None:
    config = plain("Elsewhere")
    nets = both(config)
    solvers = [Solver(net, lr=0.05, momentum=0.9) for net in nets]
    for number in range(8 * MOST_MISSES):
        for net, solver in zip(nets, solvers, strict=True):
            net.layers["middle"].move = number % 5 == 0  # type: ignore[attr-defined]
            solver.step(**batch_for(config, number))
        assert same(nets)
    assert all(capture.misses <= MOST_MISSES for capture in nets[0].passes.current.captures.values())


def test_backward_may_begin_anywhere_and_from_anything() -> None:
    config = plain()
    nets = both(config)
    rng = np.random.default_rng(0)
    dys: list[dict[str, Any]] = [{"fc2": rng.standard_normal((6, 5), dtype="float32")} for _ in range(2)]
    dys += [{}, {"fc3": rng.standard_normal((6, 3), dtype="float32"), **dys[0]}]
    for number in range(48):
        which = number // 4 % 4 if number < 32 else rng.integers(4)
        for net in nets:
            net.zero_grad()
            net.forward(**batch_for(config, number))
            net.backward(**dys[which])
        assert same(nets)


def test_an_operation_that_was_bound_to_other_arrays_is_bound_anew() -> None:
    config = plain()
    net = built(config)
    for number in range(4):
        net.forward(phase="train", **batch_for(config, number))
    op = net.passes.current.captures["forward"].stretches[0].calls.ops[0]
    op.bind([None if array is None else array.copy("K") for array in op.bound])
    loss = net.forward(**batch_for(config, 5))["loss"]
    assert loss == built(config).forward(**batch_for(config, 5))["loss"]


def test_other_things_may_happen_between_two_steps() -> None:
    config = plain()
    nets = both(config)
    solvers = [Solver(net, lr=0.05, momentum=0.9) for net in nets]
    small = {name: array[:3] for name, array in batch_for(config, 3).items()}
    for number in range(16):
        batch = batch_for(config, number)
        seen = []
        for net, solver in zip(nets, solvers, strict=True):
            solver.step(**(small if number % 5 == 4 else batch))
            if number % 3 == 2:  # another plan, which moves everything if it needs more memory
                large = {name: np.concatenate([array] * number) for name, array in batch.items()}
                seen.append(net.forward(phase="eval", **large)["loss"])
            if number % 4 == 3:
                net.params["fc2"]["weight"].data[0] = 0.5
                net.forward(**batch)
                net.backward(fc2=np.full((6, 5), 0.25, "float32"))  # begins in the middle
                seen.append(net.parameters.grad.copy())
        assert all(np.array_equal(a, b) for a, b in zip(seen[: len(seen) // 2], seen[len(seen) // 2 :], strict=True))
        assert same(nets)


def test_a_stretch_that_fails_names_the_layer() -> None:
    net = built(plain())
    for number in range(4):
        net.forward(phase="train", **batch_for(plain(), number))
    stretch = net.passes.current.captures["forward"].stretches[0]
    failing = lambda: 2  # noqa: E731
    stretch.calls.calls.append(failing)
    stretch.entries[1].scripts[0].calls.calls.append(failing)
    with pytest.raises(LayerError, match=r"layer 'bn' \(BatchNorm\): oneDNN: .*: invalid arguments"):
        net.forward(**batch_for(plain()))


def test_a_wrong_label_is_refused_in_a_stretch_too() -> None:
    config = plain()
    nets = both(config)
    solvers = [Solver(net, lr=0.05, momentum=0.9) for net in nets]
    said = []
    for number in range(8):
        batch = batch_for(config, number)
        for solver in solvers:
            if number == 5:
                wrong = {**batch, "t": np.array([0, 1, 7, -1, 0, 0])}
                with pytest.raises(LayerError, match=r"layer 'loss'.*label 7 at position 2 is out of range") as caught:
                    solver.step(**wrong)
                said.append((caught.value.message.partition(" [")[0], caught.value.exit_code))
            solver.step(**batch)
        assert same(nets)
    assert said[0] == said[1]


# Gradients that begin from zero ---------------------------------------------------------------------------------------


def shared() -> dict[str, Any]:
    """A weight and a bias that two layers learn, and layers with a frozen parameter."""
    config = plain()
    sharing = {"name": "again", "type": "Linear", "out_features": 5, "share": {"weight": "fc2.weight"}}
    config["net"][3:3] = [{"name": "narrow", "type": "Linear", "out_features": 7, "lr_mult": {"bias": 0}}]
    config["net"][4]["out_features"] = 7
    config["net"].insert(5, {**sharing, "out_features": 7})
    return config


def unused() -> dict[str, Any]:
    """The gradient of a branch that comes to nothing: its loss has the weight 0."""
    config = plain()
    config["net"] += [
        {"name": "aside", "type": "Linear", "out_features": 2, "bottom": "fc2"},
        {"name": "looked_at", "type": "AbsSum", "bottom": "aside", "loss_weight": 0.0},
    ]
    return config


FRESH = {**CONFIGS, "shared": shared(), "unused": unused()}


@pytest.mark.parametrize("name", FRESH)
def test_a_step_forgets_what_gradients_held_before(name: str) -> None:
    config = FRESH[name]
    nets = built(config), built(config)
    for number in range(5):
        batch = batch_for(config, number)
        nets[0].parameters.grad[...] = 1e3
        nets[0].forward(**batch)
        nets[0].backward_losses(overwrite_grad=True)
        nets[1].zero_grad()
        nets[1].forward(**batch)
        nets[1].backward()
        got, want = nets[0].parameters.grad, nets[1].parameters.grad
        assert np.abs(got - want).max() <= 1e-6 * np.abs(want).max()  # the padding between parameters too


def test_micro_batches_after_the_first_are_added() -> None:
    config = plain()
    config["net"][-1]["type"] = "Mean"  # beside a mean, a sum would need weights that only the whole step can tell
    net = built(config)
    solver, batch = Solver(net, lr=1e-12), batch_for(config)
    for _ in range(3):
        parts = []
        for part in (slice(0, 3), slice(3, 6)):
            net.zero_grad()
            net.forward(**{name: array[part] for name, array in batch.items()})
            net.backward()
            parts.append(net.parameters.grad.copy())
        for part in (slice(0, 3), slice(3, 6)):
            solver.accumulate(**{name: array[part] for name, array in batch.items()})
        assert np.allclose(net.parameters.grad, parts[0] + parts[1], rtol=1e-5, atol=1e-7)
        solver.update()


# Inputs ---------------------------------------------------------------------------------------------------------------

LAYOUTS = {
    "channels last": lambda x: np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1),
    "backwards": lambda x: x[:, ::-1].copy()[:, ::-1],
    "with gaps": lambda x: np.repeat(x, 2, axis=3)[..., ::2],
    "of float64": lambda x: x.astype("float64"),
    "broadcast": lambda x: np.broadcast_to(x[:1], x.shape),
}


@pytest.mark.parametrize("size", [6, 160])  # small ones are copied by NumPy, large ones on all threads
@pytest.mark.parametrize("layout", LAYOUTS)
def test_inputs_may_lie_anyhow(layout: str, size: int) -> None:
    config = {
        "inputs": {"x": {"shape": [4, 3, size, size]}, "t": {"shape": [4], "dtype": "int64"}},
        "net": [
            {"name": "conv", "type": "Conv2d", "bottom": "x", "out_channels": 4, "kernel_size": 3, "stride": 3},
            {"name": "flat", "type": "Flatten"},
            {"name": "fc", "type": "Linear", "out_features": 3},
            {"name": "loss", "type": "SoftmaxCrossEntropy", "bottom": ["fc", "t"]},
        ],
    }
    net, seen = built(config), []
    given = batch_for(config)
    given["x"] = LAYOUTS[layout](given["x"])
    plain = {**given, "x": np.ascontiguousarray(given["x"], "float32")}
    for batch in (plain, plain, plain, given, plain, given):
        net.zero_grad()
        mine = {name: array.copy("K") for name, array in batch.items()} if batch is plain else batch
        net.forward(**mine)
        if batch is plain:
            mine["x"][...] = np.nan  # what was given is the net's no longer
        net.backward()
        seen.append(net.parameters.grad.copy())
    assert seen[0].any()
    assert all(np.array_equal(grad, seen[0]) for grad in seen)


READERS = {
    "conv": ([3, 3, 8, 9], {"type": "Conv2d", "out_channels": 4, "kernel_size": 3}, "x settled"),
    "lstm": ([3, 5, 4], {"type": "LSTM", "hidden_size": 4}, "x copied"),
}


def ops_of(net: Net, name: str) -> dict[str, Any]:
    """The primitives of a layer in the last forward."""
    return next(step.node.layer.ops for step in net.current_plan.steps if step.node.name == name)


@pytest.mark.parametrize("reader", READERS)
def test_an_input_lies_as_its_reader_wants_it(reader: str) -> None:
    shape, layer, copy = READERS[reader]
    config = {"inputs": {"x": {"shape": shape}}, "net": [{"name": "first", "bottom": "x", **layer}]}
    x = np.random.default_rng(0).standard_normal(shape).astype("float32")
    alone = built(config)
    alone.forward(x=x)
    assert copy not in ops_of(alone, "first")
    both = built({**config, "net": [*config["net"], {"name": "second", "type": "Scale", "bottom": "x"}]})
    first = both.forward(x=x)["first"]
    assert copy in ops_of(both, "first")  # the other reader wants it as it was given
    np.testing.assert_array_equal(alone.forward(x=x)["first"], first)
