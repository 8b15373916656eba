"""Whole nets for the exporter's tests: weights that give distinct scores, and how far ONNX Runtime is from the net."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from layerforge import Net
from layerforge.arrays.spec import Spec
from layerforge.check.draws import with_batch
from layerforge.check.harness import draw
from layerforge.interop.onnx.netgraph import graph_of_net

from .onnx_nets import ATOL, RTOL, session

DISTINCT = 100  # how many times the tolerance samples differ by, at least


@dataclass
class Verdict:
    """One output: how far ONNX Runtime is from the net over the net's largest number, and how samples differ."""

    name: str
    error: float
    spread: float
    largest: float

    @property
    def told(self) -> str:
        """What is wrong, in words."""
        room = RTOL * self.largest + ATOL
        if not self.error <= room:
            return f"{self.name} differs by {self.error:.2e}, the largest is {self.largest:.2e}"
        if not self.spread >= DISTINCT * room:
            return f"{self.name}: samples differ by no more than {self.spread:.2e}, the largest is {self.largest:.2e}"
        return ""


def seed_weights(net: Net, seed: int = 0) -> None:
    """Weights of variance 2 over how many numbers are summed, factors and what is added to them about 1.

    A deep net whose ReLUs let half of the numbers pass at random makes two roundings as different as two samples; above
    1 they let most of them pass, as in a trained one.
    """
    rng = np.random.default_rng([seed, 17])
    arrays = net.arrays()
    factors = {path for path, array in arrays.items() if path.endswith("weight") and array.ndim == 1}
    for path, array in arrays.items():
        if path.startswith("state") or array.dtype.kind != "f":
            continue
        if array.ndim > 1 and array[0].size > 1:
            drawn = rng.normal(0, (2 / array[0].size) ** 0.5, array.shape)
        elif path.endswith("weight"):
            drawn = rng.uniform(0.7, 1.3, array.shape)
        elif path.removesuffix("bias") + "weight" in factors:
            drawn = rng.normal(1, 0.3, array.shape)
        else:
            drawn = rng.normal(0, 0.1, array.shape)
        arrays[path] = drawn.astype(array.dtype)
    net.load_arrays(arrays, "seeded")


def settle(net: Net, specs: Mapping[str, Spec], samples: int, batches: int = 1) -> None:
    """Statistics of BatchNorm from some batches."""
    for number in range(batches):
        net.forward(phase="train", backward=False, **given(specs, samples, 100 + number))


def given(specs: Mapping[str, Spec], samples: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Inputs: images are coarse patterns, so that no two are alike after many poolings."""
    rng = np.random.default_rng([seed, samples])
    made = {}
    for name, spec in with_batch(dict(specs), samples).items():
        made[name] = draw(spec, rng)
        if spec.ndim == 1:  # labels, which Caffe has as real numbers
            made[name] = rng.integers(0, 2, spec.shape).astype(spec.dtype)
        if spec.is_real and spec.ndim == 4:
            n, channels, height, width = spec.shape
            coarse = rng.normal(size=(n, channels, 4, 4)) * rng.uniform(0.3, 2, (n, 1, 1, 1))
            fine = np.kron(coarse, np.ones((1, 1, -(-height // 4), -(-width // 4))))[:, :, :height, :width]
            made[name] = (fine + 0.3 * rng.normal(size=spec.shape)).astype(spec.dtype)
    return made


def judged(
    net: Net, batches: Sequence[Mapping[str, np.ndarray]], outputs: Sequence[str] | None = None
) -> list[Verdict]:
    """Each output of a net for each of some batches."""
    graph, _ = graph_of_net(net, outputs)
    run, verdicts = session(graph), []
    names = [info.name for info in graph.outputs]
    wanted = [name.removesuffix("/output") for name in names]
    for inputs in batches:
        ours = net.forward(phase="eval", outputs=wanted, **inputs)
        feeds = {info.name: np.asarray(inputs[info.name], dtype=np.dtype(info.dtype)) for info in graph.inputs}
        for name, blob, theirs in zip(names, wanted, run.run(names, feeds), strict=True):
            verdicts.append(verdict(name, ours[blob], theirs))
    return verdicts


def verdict(name: str, ours: Any, theirs: Any) -> Verdict:
    """How far two arrays are from each other, and the samples, which the first axis counts, among themselves."""
    a, b = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    assert a.shape == b.shape, f"{name}: shape {b.shape}, ours is {a.shape}"
    assert np.isfinite(a).all()
    spread = np.ptp(a, axis=0).max() if a.ndim and len(a) > 1 else np.ptp(a)
    return Verdict(name, float(np.abs(a - b).max()), float(spread), float(np.abs(a).max()))
