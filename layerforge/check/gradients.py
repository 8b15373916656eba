"""Gradients of a layer against finite differences: every bottom, every parameter, random upstream gradient."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np

from ..arrays.backend import NUMPY, Backend
from ..arrays.sparse import stored
from ..contract.layer import Example, Layer
from .diagnosis import Evidence, diagnose
from .differences import STEPS, Difference, Tolerance, along, along_element, central_difference, compare
from .harness import SEED, Probe

REDRAWS = 5
DIRECTIONS = 2
RESOLVED = 1e4  # a derivative this many times its rounding is large enough to be divided by


@dataclass(frozen=True)
class Effort:
    """How hard to look, and what to allow.

    tolerance    what counts as equal; None: what rounding in `dtype` allows
    samples      elements of each array that are judged alone, beside the random directions
    exhaustive   all elements instead, up to `most` of each array
    steps        lengths h of the difference's step, tried in order; times the norm of the array where that is below 1
    dtype        of the backward under test; differences are always taken in float64
    most         elements of an array at most
    """

    tolerance: Tolerance | None = None
    samples: int = 4
    exhaustive: bool = False
    steps: Sequence[float] = STEPS
    seed: int = SEED
    dtype: str = "float64"
    most: int = 4096

    @property
    def limits(self) -> Tolerance:
        return self.tolerance or Tolerance.for_dtype(self.dtype)


@dataclass
class Row:
    """The verdict on one array: its worst absolute and relative error and the comparison that decided.

    owner   the layer's type, or its name in a net
    floor   a gradient whose norm is not above it counts as zero: 1e-8 of the largest one around
    note    what else there is to say of the verdict
    cause   the layers of a net that are to blame for a failure, where it is not this one
    suspect the element that made a direction fail
    mistake what is likely wrong with a gradient that failed, where its error has a pattern
    """

    owner: str
    blob: str
    shape: tuple[int, ...]
    example: str = ""
    scale: float = 0.0  # norm of the analytic gradient
    floor: float = 0.0
    worst: Difference | None = None
    failed: Difference | None = None
    relative: float = 0.0  # the worst; comparisons that are mostly rounding are not divided
    compared: int = 0
    kinks: int = 0
    note: str = ""
    cause: str = ""
    suspect: tuple[int, ...] | None = None
    mistake: str = ""

    @property
    def ok(self) -> bool:
        return self.failed is None

    @property
    def is_zero(self) -> bool:
        """Whether the gradient is zero but for rounding, as that of a bias below BatchNorm."""
        return self.ok and self.scale <= self.floor

    @property
    def decided(self) -> Difference | None:
        return self.failed or self.worst

    @property
    def absolute(self) -> float:
        """The worst absolute error; 0 where backward and difference agree that the gradient is zero."""
        return 0.0 if self.is_zero or self.decided is None else self.decided.absolute

    def add(self, difference: Difference, tolerance: Tolerance) -> bool:
        """Take one comparison into account. One that a kink spoils counts only as a kink, unless it agrees anyway.

        A gradient that is not a number is wrong at a kink, too, where any finite one may be right.

        Returns whether it counts.
        """
        typical, zero = self.scale / math.sqrt(math.prod(self.shape)), self.floor if self.scale <= self.floor else 0.0
        agrees = tolerance.allows(difference, typical, zero)
        if difference.kink and not agrees and math.isfinite(difference.analytic):
            self.kinks += 1
            return False
        self.compared += 1
        if self.worst is None or difference.absolute > self.worst.absolute:
            self.worst = difference
        if not agrees and (self.failed is None or difference.weight > self.failed.weight):
            self.failed = difference
        if not agrees or abs(difference.numeric) > RESOLVED * difference.noise:
            self.relative = max(self.relative, 0.0 if self.is_zero else difference.relative(self.floor))
        return True


@dataclass
class Judge:
    """Compares the gradient of one array with differences of Σ <cotangents, evaluate()> and keeps the Row."""

    row: Row
    array: Any  # live: it is changed in place and restored
    gradient: np.ndarray
    evaluate: Callable[[], list[np.ndarray]]
    cotangents: list[np.ndarray]
    to_device: Callable[[np.ndarray], Any]
    rng: np.random.Generator
    effort: Effort = field(default_factory=Effort)
    places: Any = None  # of a sparse matrix: row and column of each number of `array`, which are those that it stores

    def __post_init__(self) -> None:
        """Shorten the steps for an array of small values: they must stay small changes of it."""
        length = float((self.array * self.array).sum()) ** 0.5
        self.steps = tuple(h * min(1.0, length or 1.0) for h in self.effort.steps)

    def direction(self, name: str) -> bool:
        """Judge all elements at once along a random direction of unit norm; False where a kink spoiled it."""
        r = self.rng.normal(size=self.gradient.shape)
        r /= np.linalg.norm(r)
        fine = self.row.ok
        counts = self._judge(float((self.gradient * r).sum()), along(self.array, self.to_device(r)), name)
        if fine and not self.row.ok:
            self._locate(r)
        return counts

    def elements(self, count: int) -> None:
        """Judge elements alone: the one with the largest gradient and a random choice of others."""
        for element in _elements(self.gradient, self.rng, min(count, self.effort.most)):
            self.element(element)

    def element(self, element: tuple[int, ...]) -> None:
        """Judge one element alone."""
        place = element if self.places is None else self.places[element[0]].tolist()
        name = f"[{', '.join(map(str, place))}]"
        self._judge(float(self.gradient[element]), along_element(self.array, element), name)

    def everything(self) -> None:
        """Directions, redrawn at most REDRAWS times where they meet kinks, then elements: all where kinks won."""
        clean = True
        for k in range(DIRECTIONS if self.array.size > 1 else 0):
            clean &= any(self.direction(f"direction {k + 1}") for _ in range(1 + REDRAWS))
        self.elements(self.effort.samples if clean and not self.effort.exhaustive else self.array.size)
        if self.row.kinks and not self.row.compared:
            self.row.failed = Difference(math.nan, math.nan, True, where="kinks everywhere, so nothing is known")

    def _judge(self, analytic: float, path: Callable[[float], None], name: str) -> bool:
        found = compare(analytic, self.evaluate, self.cotangents, path, name, self.steps)
        return self.row.add(found, self.effort.limits)

    def _locate(self, r: np.ndarray) -> None:
        """Halve a direction that failed until one element is left that is to blame, and judge that one."""
        support = np.arange(r.size)
        while support.size > 1:
            halves = np.array_split(support, 2)
            errors = [self._error(r, half) for half in halves]
            support = halves[int(np.argmax(errors))]
        self.row.suspect = tuple(int(i) for i in np.unravel_index(int(support[0]), r.shape))
        self.element(self.row.suspect)

    def _error(self, r: np.ndarray, support: np.ndarray) -> float:
        """How far off the gradient is along the part of a direction that moves only some elements."""
        part: np.ndarray = np.zeros(r.size)
        part[support] = r.flat[support]
        length = norm(part)
        part = (part / length).reshape(r.shape)
        path = along(self.array, self.to_device(part))
        numeric, _ = central_difference(self.evaluate, self.cotangents, path, self.steps[0])
        path(0.0)
        return abs(float((self.gradient * part).sum()) - numeric) * length


def _elements(gradient: np.ndarray, rng: np.random.Generator, count: int) -> Iterator[tuple[int, ...]]:
    """Element positions to try alone: the largest gradient first, then a random choice without repetition."""
    if gradient.size == 0:
        return
    first = int(np.abs(gradient).argmax())
    others = rng.choice(gradient.size, size=min(count, gradient.size), replace=False)
    for flat in dict.fromkeys([first, *map(int, others)]):
        yield tuple(int(i) for i in np.unravel_index(flat, gradient.shape))


def layer_gradients(
    cls: type[Layer], example: Example, *, backend: Backend = NUMPY, phase: str = "train", **effort: Any
) -> list[Row]:
    """A Row for every bottom and parameter of a layer set up for an example. `effort` are the fields of Effort.

    None where its backward is on purpose not the derivative of its forward.
    """
    chosen = Effort(**effort)
    probe = Probe(cls, example, backend=backend, phase=phase, seed=chosen.seed)
    return probe_gradients(probe, chosen) if probe.layer.exact_gradient else []


def probe_gradients(
    probe: Probe, effort: Effort, suspects: Mapping[str, tuple[int, ...]] = MappingProxyType({})
) -> list[Row]:
    """A Row for every bottom and parameter of a probe in float64, at the values that it holds.

    `suspects` are elements, by the name of their array, that are judged in any case.
    """
    tested = probe if effort.dtype == "float64" else _in_dtype(probe, effort.dtype)
    probe.layer.run.keep = tested.layer.run.keep = True
    gradients = tested.gradients(tested.draw_cotangents(tested.forward()))
    cotangents = [probe.host(c) for c in probe.draw_cotangents(probe.forward()) if c is not None]
    floor = effort.limits.zero * max((norm(g) for g in gradients.values() if g is not None), default=0.0)
    rng = np.random.default_rng([effort.seed, 4])
    rows, failed = [], []
    for name, array in probe.arrays().items():
        gradient = gradients[name]
        row = Row(type(probe.layer).type_name, name, tuple(array.shape), floor=floor)
        rows.append(row)
        if gradient is None:
            row.failed = Difference(math.nan, math.nan, False, where="backward returned None")
            continue
        row.scale = norm(gradient)
        judge = Judge(row, array, gradient, _evaluation(probe), cotangents, probe.device, rng, effort)
        judge.places = probe.places(name)
        if gradient.shape != array.shape:
            row.failed = Difference(math.nan, math.nan, False, where=f"backward returned shape {gradient.shape}")
        else:
            if name in suspects:
                judge.element(suspects[name])
            judge.everything()
        if not row.ok:
            failed.append(judge)
    for judge in failed:
        judge.row.mistake = diagnose(_evidence(probe, judge, gradients, {row.blob for row in rows if not row.ok}))
    return rows


def equal_elements(probe: Probe) -> bool:
    """Whether two elements of the bottoms that have a gradient are equal."""
    numbers = _values(_moving_bottoms(probe).values(), probe)
    return np.unique(numbers).size < numbers.size


def _moving_bottoms(probe: Probe) -> dict[str, Any]:
    return {name: array for name, array in probe.arrays().items() if name.startswith("bottom")}


def _values(arrays: Iterable[Any], probe: Probe) -> np.ndarray:
    return np.concatenate([np.zeros(0), *(probe.host(array).ravel() for array in arrays)])


def joint_gradient(probe: Probe, effort: Effort) -> Row:
    """The verdict on a direction of all bottoms at once in which equal elements stay equal."""
    probe.layer.run.keep = True
    bottoms = _moving_bottoms(probe)
    distinct, which = np.unique(_values(bottoms.values(), probe), return_inverse=True)
    step = np.random.default_rng([effort.seed, 6]).normal(size=distinct.size)[which]
    parts = np.split(step / norm(step), np.cumsum([array.size for array in bottoms.values()])[:-1])
    parts = [part.reshape(array.shape) for part, array in zip(parts, bottoms.values(), strict=True)]
    paths = [along(array, probe.device(part)) for array, part in zip(bottoms.values(), parts, strict=True)]

    def move(t: float) -> None:
        for path in paths:
            path(t)

    cotangents = probe.draw_cotangents(probe.forward())
    named = probe.gradients(cotangents)
    gradients = [np.zeros(a.shape) if named[name] is None else named[name] for name, a in bottoms.items()]
    analytic = sum(float((gradient * part).sum()) for gradient, part in zip(gradients, parts, strict=True))
    real = [probe.host(dy) for dy in cotangents if dy is not None]
    scale = math.hypot(*map(norm, gradients))
    row = Row(type(probe.layer).type_name, ", ".join(bottoms), step.shape, scale=scale)
    found = compare(analytic, _evaluation(probe), real, move, "elements that move together", effort.steps)
    row.add(found, effort.limits)
    return row


def _evaluation(probe: Probe) -> Callable[[], list[np.ndarray]]:
    """What gives the real tops of a probe at its present values."""
    real = [i for i, s in enumerate(probe.top_specs) if s.is_real]

    def evaluate() -> list[np.ndarray]:
        tops = probe.forward()
        return [probe.backend.to_host(tops[i]) for i in real]

    return evaluate


def _evidence(
    probe: Probe, judge: Judge, gradients: Mapping[str, np.ndarray | None], wrong: Collection[str]
) -> Evidence:
    """What the diagnosis of a failed gradient goes by."""
    shapes = {f"bottom[{i}]": spec.shape for i, spec in enumerate(probe.bottom_specs)}
    shapes |= {f"top[{i}]": spec.shape for i, spec in enumerate(probe.top_specs)}
    shapes |= {name: tuple(array.shape) for name, array in probe.layer.params.items()}
    real = [i for i, spec in enumerate(probe.top_specs) if spec.is_real]
    return Evidence(
        judge.row.blob,
        judge.array,
        probe.host(judge.array),
        judge.evaluate,
        {f"top[{i}]": dy for i, dy in zip(real, judge.cotangents, strict=True)},
        gradients,
        wrong,
        shapes,
        judge.steps[0],
        Tolerance.for_dtype(judge.effort.dtype).rtol,
    )


def norm(array: np.ndarray) -> float:
    """The Euclidean norm of all elements."""
    return float(np.linalg.norm(array))


def _in_dtype(probe: Probe, dtype: str) -> Probe:
    """A twin of a float64 probe in another dtype, at the same values: rounded to what both can hold."""
    twin = Probe(
        type(probe.layer), probe.example, dtype=dtype, backend=probe.backend, phase=probe.layer.phase, seed=probe.seed
    )
    pairs = [
        (namespace[name], array)
        for namespace, other in ((twin.layer.params, probe.layer.params), (twin.layer.state, probe.layer.state))
        for name, array in other.items()
    ]
    pairs += list(zip(twin.bottoms, probe.bottoms, strict=True))
    for mine, theirs in ((stored(mine), stored(theirs)) for mine, theirs in pairs):
        mine[...] = theirs
        theirs[...] = mine
    return twin
