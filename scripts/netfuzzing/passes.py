"""What comes out of a trial's net: values, gradients, statistics and parameters, action by action."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from layerforge import Net, Solver
from layerforge.arrays.backend import NUMPY, Backend
from layerforge.run.observer import Observer
from layerforge.schema.errors import LayerForgeError
from layerforge.schema.precisions import BF16_MIXED, FULL, MEDIUM

from .trials import Action, Trial

ROUNDINGS = 1e-6  # relative: some of float32
SIZES = {FULL: ROUNDINGS, BF16_MIXED: 2.0**-8, MEDIUM: 2.0**-8}  # of noise: of bfloat16 the largest rounding


@dataclass(frozen=True)
class Noise:
    """Small changes, drawn by a seed and relative to what is changed.

    stream   whose changes they are: of two layers, what is equal does not stay so
    """

    seed: int
    size: float
    stream: int = 0

    def numbers(self, *of: int) -> np.random.Generator:
        """Random numbers that follow from seed, stream, and what they are for."""
        return np.random.default_rng([self.seed, self.stream, *of])


@dataclass(frozen=True)
class Variant:
    """A net of a trial: who computes, in which type, which blobs are kept ("all", "none" or "watched").

    stepwise   no step is replayed together with others
    """

    name: str
    engine: str
    keep: str
    dtype: str = "float32"
    backend: Backend = NUMPY
    stepwise: bool = False


@dataclass
class Seen:
    """What an action showed: arrays by group (values, gradients, state, parameters) and name.

    scale    the largest number of a group in any blob: what cancels on the way has the roundings of that; of the truth
    error    what was refused, and while doing what: "forward", "backward 1", "step"
    """

    arrays: dict[tuple[str, str], np.ndarray] = field(default_factory=dict)
    scale: dict[str, float] = field(default_factory=dict)
    error: str = ""
    doing: str = ""

    def note(self, group: str, name: str, array: Any) -> None:
        """A copy in float64, on the host."""
        self.arrays[group, name] = np.array(array.get() if hasattr(array, "get") else array, np.float64)


def watch(trial: Trial, variant: Variant, noise: Noise | None = None) -> list[Seen]:
    """Do a trial's actions with one of its nets. It ends at the first error of a forward or a step.

    noise   small changes of inputs, parameters, and whatever layers hand on, for a net on the reference
    """
    config = {**trial.config, "dtype": variant.dtype, "engine": variant.engine}
    if variant.dtype == FULL:
        config["matmul_precision" if trial.precision == MEDIUM else "precision"] = trial.precision
    keep: Any = trial.watched if variant.keep == "watched" else variant.keep
    net = Net.from_config(config, keep=keep, backend=variant.backend)
    start = Net.from_config({**trial.config, "engine": "reference"}).arrays()
    net.load_arrays({path: shaken(in_use(path, array), noise) for path, array in start.items()}, "the start")
    if variant.stepwise:
        net.observe(Observer())
    if noise is not None:
        for number, layer in enumerate(net.layers.values(), 1):  # layers round as they like, each by itself
            shake(layer, replace(noise, stream=number))
    solver, found = Solver(net, type="SGD", lr=0.05, momentum=0.9), []
    for action in trial.actions:
        seen = Seen()
        found.append(seen)
        try:
            with np.errstate(all="ignore"):
                perform(net, solver, trial, action, seen, noise)
        except LayerForgeError as error:
            seen.error = f"{type(error).__name__}: {error}".splitlines()[0]
            if not seen.doing.startswith("backward"):
                break
    return found


def in_use(path: str, array: np.ndarray) -> np.ndarray:
    """Statistics as a net in use has them, which are not 0 and 1; any other array as it is."""
    if not path.startswith("state/") or array.dtype.kind != "f":
        return array
    return array + np.random.default_rng(array.size).uniform(0.5, 1.5, array.shape).astype("float32")


def shaken(array: np.ndarray, noise: Noise | None) -> np.ndarray:
    """An array, or one that is a little different."""
    if noise is None or array.dtype.kind != "f" or not array.size:
        return array
    return array * (1 + noise.size * noise.numbers(array.size).uniform(-1, 1, array.shape))


def shifted(array: np.ndarray, noise: Noise) -> np.ndarray:
    """A gradient that is off by one small number wherever it is not zero.

    So do roundings of a mean that was taken from all of it: where the terms of a parameter's gradient cancel, as those
    of a bias below a BatchNorm do, their roundings do not.
    """
    if array.dtype.kind != "f" or not array.size:
        return array
    shift = noise.numbers(array.size, 1).uniform(-1, 1) * ROUNDINGS * np.abs(array).max()
    return array + shift * (array != 0)


def shake(layer: Any, noise: Noise) -> None:
    """Let a layer round what it returns."""
    perform = layer.perform

    def rounded(doing: str, array: Any) -> Any:
        if array is None:
            return None
        array = shaken(np.asarray(array), noise)
        return shifted(array, noise) if doing == "backward" else array

    def rounding(doing: str, arrays: Any) -> Any:
        found = perform(doing, arrays)
        several = isinstance(found, (tuple, list))
        shaken_all = [rounded(doing, a) for a in (found if several else [found])]
        return tuple(shaken_all) if several else shaken_all[0]

    layer.perform = rounding


def perform(net: Net, solver: Solver, trial: Trial, action: Action, seen: Seen, noise: Noise | None) -> None:
    """One action; what was seen until an error stays."""
    inputs = {
        name: shaken(array, noise) if noise is not None else disguised(array, action.disguise)
        for name, array in data(trial, action).items()
    }
    if action.kind == "step":
        seen.doing = "step"
        seen.note("values", "loss", solver.step(**inputs))
        for path, array in net.arrays().items():
            seen.note("parameters", path, array)
        return
    net.zero_grad()
    seen.doing = "forward"
    for name, array in net.forward(phase=action.phase, backward=bool(action.backwards), **inputs).items():
        seen.note("values", name, array)
    kept = [n for n in trial.watched if n in net.graph.phases[action.phase].current] if net.keep != frozenset() else []
    for name in kept:
        seen.note("values", f"blob {name}", net.blobs[name].data)
    for path, array in net.arrays().items():
        if path.startswith("state/"):
            seen.note("state", path, array)
    for number, start in enumerate(action.backwards):
        seen.doing = f"backward {number}"
        names = [] if start is None else start.split("+")
        cotangents = {name: shaken(cotangent(net, name, action), noise) for name in names}
        for name, array in (cotangents or {"the losses": 1.0}).items():  # what cancels in a backward is as large
            seen.note("gradients", f"of {name} as given, {number}", array)
        net.backward(**cotangents)
        for layer, params in net.params.items():
            for name, view in params.items():
                if not view.frozen:
                    seen.note("gradients", f"{layer}.{name}, {number}", view.grad)
        for name in kept:
            gradient(net, name, seen, number)
        if net.dtype == "float64":
            measure(net, seen)


def gradient(net: Net, name: str, seen: Seen, number: int) -> None:
    """The gradient of a blob, where it has one."""
    try:
        grad = net.blobs[name].grad
    except LayerForgeError:
        return
    seen.note("gradients", f"blob {name}, {number}", grad)


def measure(net: Net, seen: Seen) -> None:
    """The largest gradient of any blob."""
    for name in net.blobs:
        try:
            grad = net.blobs[name].grad
        except LayerForgeError:
            continue
        seen.scale["gradients"] = max(seen.scale.get("gradients", 0.0), float(np.abs(grad).max(initial=0)))


def cotangent(net: Net, name: str, action: Action) -> np.ndarray:
    """Random numbers in the shape of a blob."""
    plan = net.current_plan
    shape = plan.specs[plan.index_of(name)].shape
    return np.random.default_rng([action.data, len(name)]).normal(size=shape).astype("float16").astype("float32")


# Inputs ---------------------------------------------------------------------------------------------------------------


def data(trial: Trial, action: Action) -> dict[str, np.ndarray]:
    """The inputs of an action: numbers that every type of its disguises can hold."""
    rng, whole = np.random.default_rng(action.data), action.disguise in ("int64", "uint8")
    found = {}
    for name, declared in trial.config["inputs"].items():
        shape = (action.batch, *declared["shape"][1:])
        if name in trial.ranges:
            found[name] = rng.integers(0, trial.ranges[name], shape)
        elif whole:
            found[name] = rng.integers(0, 4, shape).astype("float32")
        else:
            found[name] = rng.normal(size=shape).astype("float16").astype("float32")
    return found


def disguised(array: np.ndarray, how: str) -> np.ndarray:
    """The same values, stored otherwise or of another type."""
    if how in ("float64", "float16"):
        return array.astype(how) if array.dtype.kind == "f" else array.astype("int32")
    if how in ("int64", "uint8"):
        return array.astype(how)
    if how == "fortran":
        return np.asfortranarray(array)
    if how == "reversed":
        return array[::-1, ..., ::-1].copy()[::-1, ..., ::-1] if array.ndim > 1 else array[::-1].copy()[::-1]
    if how == "strided":
        wide = np.zeros((*array.shape[:-1], 2 * array.shape[-1]), array.dtype)
        wide[..., ::2] = array
        return wide[..., ::2]
    if how == "transposed":
        return array.swapaxes(0, -1).copy().swapaxes(0, -1)
    if how == "ones":
        strides = [13 * array.itemsize if n == 1 else s for n, s in zip(array.shape, array.strides, strict=True)]
        return np.lib.stride_tricks.as_strided(array, array.shape, strides)
    return array


def largest(arrays: Mapping[tuple[str, str], np.ndarray], group: str) -> float:
    """The largest number of a group."""
    return max((float(np.abs(a).max()) for (g, _), a in arrays.items() if g == group and a.size), default=0.0)
