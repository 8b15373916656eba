"""jvp, jacobian and hvp of a whole net with recurrent layers, shared weights, Dropout, BatchNorm and two losses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from layerforge import Net
from layerforge.run.parameters import Slot

RNG = np.random.default_rng
KINDS, PHASES = ["RNN", "GRU", "LSTM"], ["train", "eval"]
LOSSES = {"fit": 0.7, "follow": 2.5}
INPUTS = {
    "x": {"shape": [5, 4, 2], "grad": True},
    "mask": {"shape": [5, 4], "dtype": "int64"},
    "t": {"shape": [5], "dtype": "int64"},
    "u": {"shape": [5, 4, 2]},
}


def layers(kind: str) -> list[dict[str, Any]]:
    shared = {name: f"second.{name}" for name in ("weight_ih_l0", "weight_hh_l0")}
    return [
        {"name": "embed", "type": "Linear", "bottom": "x", "out_features": 4},
        {"name": "drop", "type": "Dropout", "p": 0.3},
        {"name": "first", "type": kind, "bottom": ["drop", "mask"], "hidden_size": 3, "num_layers": 2,
         "bidirectional": True},
        {"name": "second", "type": kind, "bottom": ["first", "mask"], "hidden_size": 6, "second_bottom": "cont"},
        {"name": "third", "type": kind, "bottom": "second", "top": ["third", "last"], "hidden_size": 6,
         "share": shared},
        {"name": "flat", "type": "Flatten", "bottom": "last"},
        {"name": "bn", "type": "BatchNorm"},
        {"name": "fc", "type": "Linear", "out_features": 3},
        {"name": "fit", "type": "SoftmaxCrossEntropy", "bottom": ["fc", "t"], "loss_weight": LOSSES["fit"]},
        {"name": "steps", "type": "Linear", "bottom": "third", "out_features": 2},
        {"name": "follow", "type": "MSELoss", "bottom": ["steps", "u"], "loss_weight": LOSSES["follow"]},
    ]  # fmt: skip


def of(slot: Slot, more: int) -> np.random.Generator:
    """Random numbers of a parameter."""
    return RNG([more, *f"{slot.layer}.{slot.name}".encode()])


def learned(net: Net) -> dict[str, Slot]:
    return {f"{slot.layer}.{slot.name}": slot for slot in net.parameters.slots.values()}


class Case:
    """A net, its batch, and a forward of a phase that can be repeated at other parameters."""

    def __init__(self, kind: str, phase: str, **more: Any) -> None:
        keep = more.pop("keep", "all")
        top = {"dtype": "float64", "seed": 3, "inputs": INPUTS, "net": layers(kind), **more}
        self.net, self.phase, rng = Net.from_config(top, keep=keep), phase, RNG(2)
        for slot in learned(self.net).values():
            slot.view(self.net.parameters.data)[...] = 0.5 * of(slot, 1).normal(size=slot.shape)
        self.batch = {
            "x": rng.normal(size=(5, 4, 2)), "mask": rng.integers(0, 2, (5, 4)),
            "t": rng.integers(0, 3, 5), "u": rng.normal(size=(5, 4, 2)),
        }  # fmt: skip
        self.net.iteration = 3
        self.net.forward(**self.batch)  # which moves the running statistics
        self.state, self.start = self.net.snapshot_state(), self.net.parameters.data.copy()
        self.v = {name: of(slot, 7).normal(size=slot.shape) for name, slot in learned(self.net).items()}
        self.v["x"] = RNG(9).normal(size=(5, 4, 2))
        self.forward()

    def forward(self, h: float = 0.0) -> dict[str, Any]:
        """At h · v from the start."""
        net, v = self.net, self.v
        net.restore_state(self.state)
        net.parameters.data[...] = self.start
        for name, slot in learned(net).items():
            slot.view(net.parameters.data)[...] += h * v[name]
        return net.forward(**{**self.batch, "x": self.batch["x"] + h * v["x"]}, phase=self.phase, backward=True)

    def gradient(self, h: float = 0.0) -> dict[str, np.ndarray]:
        self.forward(h)
        self.net.zero_grad()
        self.net.backward()
        found = {name: slot.view(self.net.parameters.grad).copy() for name, slot in learned(self.net).items()}
        return found | {"x": self.net.blobs["x"].grad.copy()}


def inner(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> float:
    return sum(float((a[name] * b[name]).sum()) for name in a)


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("kind", KINDS)
def test_the_tangents_of_the_losses_are_differences_and_the_gradient_along_v(kind: str, phase: str) -> None:
    case = Case(kind, phase)
    moved = case.net.jvp(case.v)
    plus, minus = case.forward(1e-5), case.forward(-1e-5)
    for loss in LOSSES:
        assert moved[loss] == pytest.approx((plus[loss] - minus[loss]) / 2e-5, rel=1e-6)
    weighted = sum(weight * float(moved[loss]) for loss, weight in LOSSES.items())
    assert weighted == pytest.approx(inner(case.gradient(), case.v), rel=1e-10)


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("kind", KINDS)
def test_a_jacobian_by_a_parameter_times_v_is_the_tangent_along_it(kind: str, phase: str) -> None:
    """Of outputs and of blobs within, by what is shared under either of its names."""
    case = Case(kind, phase)
    for name in ("first.weight_hh_l1_reverse", "second.weight_hh_l0", "embed.bias", "bn.weight"):
        v = case.v[name]
        for output in ("fit", "fc"):
            times_v = np.tensordot(case.net.jacobian(output, name), v, v.ndim)
            case.net.forward(**case.batch, phase=phase, backward=True, outputs=output)
            np.testing.assert_allclose(times_v, case.net.jvp({name: v})[output], rtol=1e-9, atol=1e-12, err_msg=name)
            case.forward()
    by_owner, by_user = (case.net.jacobian("fc", f"{layer}.weight_ih_l0") for layer in ("second", "third"))
    np.testing.assert_array_equal(by_owner, by_user)


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("kind", KINDS)
def test_the_product_with_the_hessian_is_the_difference_of_gradients(kind: str, phase: str) -> None:
    """With the weights of the losses, the masks of the last forward and, in eval, its running statistics."""
    case = Case(kind, phase)
    product, error = case.net.hvp(case.v)
    far, near = (
        {name: (plus[name] - minus[name]) / (2 * h) for name in plus}
        for h, plus, minus in ((h, case.gradient(h), case.gradient(-h)) for h in (2e-4, 1e-4))
    )
    want = {name: (4 * near[name] - far[name]) / 3 for name in near}
    assert product.keys() == want.keys()
    off = {name: product[name] - want[name] for name in want}
    assert inner(off, off) < 1e-18 * inner(want, want)
    assert error < 1e-5


@pytest.mark.parametrize("kind", KINDS)
def test_a_hessian_of_a_recurrent_net_is_symmetric(kind: str) -> None:
    case = Case(kind, "train")
    u = {name: RNG(11).normal(size=array.shape) for name, array in case.v.items()}
    one, other = inner(case.net.hvp(case.v)[0], u), inner(case.net.hvp(u)[0], case.v)
    assert one == pytest.approx(other, rel=1e-7)


@pytest.mark.parametrize("keep", ["none", ["fc"]], ids=str)
@pytest.mark.parametrize("phase", PHASES)
def test_a_jacobian_where_backward_uses_the_memory_of_the_forward(phase: str, keep: Any) -> None:
    """The forward is run again for each row, with the same masks; and everything is left as it was."""
    want = Case("GRU", phase)
    case = Case("GRU", phase, keep=keep, dtype="float32", engine="auto")
    assert case.net.passes.last.layout is not None
    output = "fit" if keep == "none" else "fc"
    state, tangent = case.net.snapshot_state(), case.net.jvp({"embed.bias": case.v["embed.bias"]})
    for name in ("x", "embed.weight", "third.bias_hh_l0"):
        got = case.net.jacobian(output, name)
        np.testing.assert_allclose(got, want.net.jacobian(output, name), rtol=1e-3, atol=1e-4, err_msg=name)
    for key, array in case.net.snapshot_state().items():
        np.testing.assert_array_equal(array, state[key])
    again = case.net.jvp({"embed.bias": case.v["embed.bias"]})
    for name, array in tangent.items():
        np.testing.assert_array_equal(again[name], array)
    case.net.zero_grad()
    case.net.backward()
    gradient = want.gradient()
    for name, slot in learned(case.net).items():
        np.testing.assert_allclose(slot.view(case.net.parameters.grad), gradient[name], rtol=1e-3, atol=1e-4)
