"""Forward accumulation takes one pass of every layer: on each engine, whatever the net keeps, whatever is fused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import layerforge.run.derivatives
from layerforge import Example, Layer, Net, Spec
from layerforge.check.harness import Probe
from layerforge.engines.onednn.table import LAYERS as OF_ENGINE
from layerforge.layers import builtin_layers
from layerforge.schema.registry import LAYERS

RNG = np.random.default_rng


@pytest.fixture(autouse=True)
def no_backward(monkeypatch: pytest.MonkeyPatch) -> None:
    """No layer may be of so few outputs that its tangents are derived from its backward."""
    monkeypatch.setattr(layerforge.run.derivatives, "BASIS_LIMIT", -1)


def net_of(probe: Probe, keep: Any, above: dict[str, Any] | None = None, **options: Any) -> Net:
    """A net of the probe's layer on bottoms that are made in the net, and of one above it if there is any."""
    inputs: dict[str, Any] = {}
    layers: list[dict[str, Any]] = []
    bottoms = []
    for i, spec in enumerate(probe.bottom_specs):
        name = f"x{i}"
        inputs[name] = {"shape": list(spec.shape), **({"sparse": "csr"} if spec.sparse else {})}
        inputs[name] |= {} if spec.is_real else {"dtype": str(spec.dtype)}
        if moves(probe, i):
            inputs[name]["grad"] = True
            layers += [{"name": f"{name}_less", "type": "Neg", "bottom": name}, {"name": f"{name}_more", "type": "Neg"}]
            name = f"{name}_more"
        bottoms.append(name)
    wiring = {"bottom": bottoms} if bottoms else {}
    tops = [f"y{i}" for i in range(max(probe.example.tops, 1))]
    layers.append({"name": "one", "type": probe.layer.type_name, **wiring, "top": tops, **probe.example.params})
    layers += [] if above is None else [{"name": "high", **above}, {"name": "z", "type": "Neg"}]
    for layer in layers if options.pop("recompute", False) else ():
        layer["recompute"] = True
    net = Net.from_config({"inputs": inputs, "net": layers, "dtype": "float64", **options}, keep=keep)
    for slot in net.parameters.slots.values():
        rng = RNG([1, *f"{slot.layer}.{slot.name}".encode()])
        slot.view(net.parameters.data)[...] += 0.3 * rng.normal(size=slot.shape)
    return net


def moves(probe: Probe, i: int) -> bool:
    """Whether a bottom can have a tangent."""
    return bool(probe.layer.needs_grad[i]) and not probe.bottom_specs[i].sparse


def tangents(net: Net, probe: Probe) -> dict[str, np.ndarray]:
    """Along all bottoms and parameters."""
    shapes = {f"x{i}": x.shape for i, x in enumerate(probe.bottoms) if moves(probe, i)}
    shapes |= {f"{s.layer}.{s.name}": s.shape for s in net.parameters.slots.values() if not s.frozen}
    return {name: RNG([3, *name.encode()]).normal(size=shape) for name, shape in shapes.items()}


def first(x: Any, samples: int | None) -> Any:
    """Of so many samples; None for all."""
    return x if samples is None else x[:samples]


def forward(net: Net, probe: Probe, samples: int | None = None) -> dict[str, np.ndarray]:
    """A forward of the probe's bottoms, or of the first samples of them."""
    return net.forward(**{f"x{i}": first(x, samples) for i, x in enumerate(probe.bottoms)})


def jvp(net: Net, probe: Probe, samples: int | None = None) -> dict[str, np.ndarray]:
    """Along all that can move."""
    v = tangents(net, probe)
    return net.jvp({name: u if "." in name else first(u, samples) for name, u in v.items()}) if v else {}


def by_differences(net: Net, probe: Probe, h: float = 1e-5) -> dict[str, np.ndarray]:
    """The same, from two forwards."""
    v, data, tops = tangents(net, probe), net.parameters.data.copy(), []
    for factor in (h, -h):
        for slot in net.parameters.slots.values():
            slot.view(net.parameters.data)[...] += factor * v.get(f"{slot.layer}.{slot.name}", 0)
        inputs = {f"x{i}": x + factor * v[f"x{i}"] if f"x{i}" in v else x for i, x in enumerate(probe.bottoms)}
        tops.append(net.forward(**inputs))
        net.parameters.data[...] = data
    return {name: (top - tops[1][name]) / (2 * h) for name, top in tops[0].items()}


def assert_alike(mine: dict[str, np.ndarray], theirs: dict[str, np.ndarray], tolerance: float) -> None:
    assert mine.keys() == theirs.keys()
    for name, want in theirs.items():
        off, size = float(np.linalg.norm(mine[name] - want)), float(np.linalg.norm(want))
        assert off <= tolerance * (1 + size), f"the tangent of {name} is off by {off:.2e} of {size:.2e}"


DIFFERENTIABLE = [cls for cls in builtin_layers() if cls.is_differentiable() and cls.type_name != "Input"]


@pytest.mark.parametrize("cls", DIFFERENTIABLE, ids=lambda cls: cls.type_name)
def test_of_every_layer_whatever_the_net_keeps(cls: type[Layer]) -> None:
    for example in cls.examples[:4]:
        probe, found = Probe(cls, example), []
        for keep in ("all", "none", ["y0"]):
            net = net_of(probe, keep)
            forward(net, probe)
            found.append(jvp(net, probe))
        assert_alike(found[1], found[0], 1e-12)
        assert_alike(found[2], found[0], 1e-12)


CASES = [
    pytest.param(cls, example, id=f"{cls.type_name}-{i}")
    for cls in DIFFERENTIABLE
    if cls.type_name in OF_ENGINE
    for i, example in enumerate(cls.examples[:5])
    if not any(spec.low is not None and abs(spec.low) >= 100 for spec in example.bottoms)
]


@pytest.mark.parametrize(("cls", "example"), CASES)
def test_of_every_layer_of_an_engine(cls: type[Layer], example: Example) -> None:
    probe, single = Probe(cls, example), Probe(cls, example, dtype="float32")
    exact = net_of(probe, "all")
    forward(exact, probe)
    want = jvp(exact, probe)
    for keep in ("all", "none"):
        net = net_of(single, keep, dtype="float32", engine="auto")
        for _ in range(2):
            forward(net, single)
            assert_alike(jvp(net, single), want, 1e-4)


LEARNING: dict[str, tuple[dict[str, Any], tuple[int, ...]]] = {
    "Linear": ({"out_features": 4}, (5, 6)),
    "Linear of sequences": ({"out_features": 4, "bias": False}, (5, 2, 6)),
    "Conv1d": ({"out_channels": 3, "kernel_size": 2}, (5, 2, 6)),
    "Conv2d": ({"out_channels": 4, "kernel_size": 3, "padding": 1, "groups": 2}, (5, 2, 6, 5)),
    "Conv3d": ({"out_channels": 3, "kernel_size": 2, "stride": 2}, (5, 2, 4, 3, 4)),
    "ConvTranspose1d": ({"out_channels": 3, "kernel_size": 3, "stride": 2}, (5, 2, 4)),
    "ConvTranspose2d": ({"out_channels": 4, "kernel_size": 3, "groups": 2}, (5, 4, 3, 4)),
    "ConvTranspose3d": ({"out_channels": 2, "kernel_size": 2, "bias": False}, (5, 3, 2, 3, 2)),
    "BatchNorm": ({}, (5, 3, 4, 3)),
    "BatchNorm of features": ({}, (5, 3)),
}
ABOVE: dict[str, dict[str, Any]] = {
    "ReLU": {"type": "ReLU"},
    "LeakyReLU": {"type": "LeakyReLU", "negative_slope": 0.2},
    "Tanh": {"type": "Tanh"},
    "Sigmoid": {"type": "Sigmoid"},
}
PAIRS = [(b, a) for b in LEARNING for a in ABOVE if not b.startswith("BatchNorm") or a == "ReLU"]


@pytest.mark.parametrize(("below", "above"), PAIRS, ids=[f"{b}-{a}" for b, a in PAIRS])
def test_through_an_activation_that_an_engine_fused(below: str, above: str) -> None:
    """Of two sizes of batch in turn, with the layers recomputed or not, along each parameter and all."""
    params, shape = LEARNING[below]
    kind = LAYERS.get(below.split()[0])
    probes = {dtype: Probe(kind, Example(params, [Spec(shape)]), dtype=dtype) for dtype in ("float64", "float32")}
    exact = net_of(probes["float64"], "all", ABOVE[above])
    wanted = []
    for samples in (5, 3):
        forward(exact, probes["float64"], samples)
        wanted.append((samples, jvp(exact, probes["float64"], samples)))
    forward(exact, probes["float64"])
    v = tangents(exact, probes["float64"])
    parts = [exact.jvp({name: u})["z"] for name, u in v.items()]
    assert_alike({"z": sum(parts)}, wanted[0][1], 1e-12)
    assert_alike(wanted[0][1], by_differences(exact, probes["float64"]), 1e-7)
    for recompute in (False, True):
        net = net_of(probes["float32"], "none", ABOVE[above], dtype="float32", engine="auto", recompute=recompute)
        for samples, want in wanted * 2:
            forward(net, probes["float32"], samples)
            assert net.passes.last is not None
            assert net.passes.last.plan.choices["high"].into == "one"
            for _ in range(2):
                assert_alike(jvp(net, probes["float32"], samples), want, 1e-4)
        forward(net, probes["float32"])
        for part, (name, u) in zip(parts, v.items(), strict=True):
            assert_alike(net.jvp({name: u}), {"z": part}, 1e-4)


def test_a_backward_after_it_is_that_without_it() -> None:
    """Nothing that was kept is lost, and no buffer was written to."""
    probe = Probe(LAYERS.get("Conv2d"), Example(LEARNING["Conv2d"][0], [Spec(LEARNING["Conv2d"][1])]), dtype="float32")
    found = []
    for both in (False, True):
        net = net_of(probe, "none", ABOVE["Tanh"], dtype="float32", engine="auto")
        for _ in range(3):
            top = forward(net, probe)["z"]
            if both:
                jvp(net, probe)
            net.zero_grad()
            net.backward(z=RNG(8).normal(size=top.shape))
        found.append(net.parameters.grad.copy())
    np.testing.assert_array_equal(*found)
