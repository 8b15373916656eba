"""The likely mistake behind a wrong gradient, where its error has a pattern that only one kind of mistake leaves.

A gradient is a sum over the tops' elements, dxᵢ = Σⱼ dyⱼ ∂yⱼ/∂xᵢ. Finite differences give the whole matrix ∂yⱼ/∂xᵢ of a
small array (some of its rows where it is large), so that what backward gave can be held against the right gradient,
against multiples and transposes of it, and against parts of that sum. A pattern must fit every element that was looked
at, as far as rounding lets one say; where none does, nothing is said.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Any

import numpy as np

from ..arrays.functional import unbroadcast
from .differences import ROUNDING, along_element
from .harness import Probe

WHOLE = 512  # elements of an array that are all looked at; of a larger one SOME
SOME = 64
ELEMENTS = 2**22  # of the matrix, at most
COARSE = 1e-4  # shares of a slope above this betray a kink; right angles are right to ten times this


@dataclass(frozen=True)
class Evidence:
    """What is known of an array whose gradient is wrong.

    name        of the array: "bottom[0]", "weight"
    array       its live memory, on any backend; values: those in it
    evaluate    the real tops at the array's present values
    cotangents  the upstream gradients of these tops, by name
    gradients   what backward gave, of all arrays by name; wrong: the names of those that are
    shapes      of bottoms, tops and parameters by name: where a factor may come from
    step        of the differences
    tolerance   relative, of backward's dtype
    """

    name: str
    array: Any
    values: np.ndarray
    evaluate: Callable[[], list[np.ndarray]]
    cotangents: Mapping[str, np.ndarray]
    gradients: Mapping[str, np.ndarray | None]
    wrong: Collection[str]
    shapes: Mapping[str, tuple[int, ...]]
    step: float
    tolerance: float

    @property
    def given(self) -> np.ndarray:
        """What backward gave for this array."""
        gradient = self.gradients[self.name]
        assert gradient is not None
        return gradient

    @cached_property
    def tops(self) -> dict[str, np.ndarray]:
        """The real tops by name."""
        return {name: np.array(y) for name, y in zip(self.cotangents, self.evaluate(), strict=True)}

    @cached_property
    def _measured(self) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Flat positions of the elements that no kink spoiled, and of each top the derivatives (elements, *top)."""
        tops = sum(y.size for y in self.tops.values())
        count = min(self.array.size if self.array.size <= WHOLE else SOME, max(1, ELEMENTS // max(tops, 1)))
        chosen = np.arange(self.array.size)
        if count < chosen.size:
            chosen = np.sort(np.random.default_rng(chosen.size).choice(chosen, count, replace=False))
        rows = {int(i): self._row(int(i)) for i in chosen}
        clean = {i: row for i, row in rows.items() if row is not None}
        stacked = [np.array(parts) for parts in zip(*clean.values(), strict=True)]
        return np.array(list(clean), int), dict(zip(self.tops, stacked, strict=False))

    def _row(self, position: int) -> list[np.ndarray] | None:
        """How the tops change with one element; None where a kink is near."""
        move = along_element(self.array, tuple(int(i) for i in np.unravel_index(position, self.array.shape)))

        def at(t: float) -> list[np.ndarray]:
            move(t)
            return [np.array(y, dtype=np.float64) for y in self.evaluate()]

        wide, narrow = (at(self.step), at(-self.step)), (at(self.step / 2), at(-self.step / 2))
        move(0.0)
        tops = list(zip(self.tops.values(), zip(*wide, strict=True), zip(*narrow, strict=True), strict=True))
        if any(_kink(start, far, near) for start, far, near in tops):
            return None
        return [(plus - minus) / (2 * self.step) for _, (plus, minus), _ in tops]

    @property
    def positions(self) -> np.ndarray:
        """Flat positions of the elements that were looked at."""
        return self._measured[0]

    @property
    def is_whole(self) -> bool:
        """Whether all elements were looked at."""
        return len(self.positions) == self.array.size

    @cached_property
    def terms(self) -> dict[str, np.ndarray]:
        """Of each top the terms dyⱼ ∂yⱼ/∂xᵢ, (elements, *top), whose sum over the tops is the right gradient."""
        return {name: rows * self.cotangents[name] for name, rows in self._measured[1].items()}

    @cached_property
    def right(self) -> np.ndarray:
        """The gradient by differences, of the elements that were looked at."""
        return sum((t.reshape(len(t), -1).sum(axis=1) for t in self.terms.values()), np.zeros(len(self.positions)))

    def seen(self, array: np.ndarray) -> np.ndarray:
        """The values of an array of this shape at the elements that were looked at."""
        return array.reshape(-1)[self.positions]

    def alike(self, a: np.ndarray, b: np.ndarray) -> bool:
        """Whether two arrays agree in every element, and are not zero."""
        largest = max(np.abs(a).max(initial=0.0), np.abs(b).max(initial=0.0))
        return bool(largest > 0 and np.abs(a - b).max() <= self.tolerance * largest)


def _kink(start: np.ndarray, far: tuple[np.ndarray, ...], near: tuple[np.ndarray, ...]) -> bool:
    """Whether slopes to both sides, over a step and over half of it, differ as they do near a kink, or at it."""
    slope_far, slope_near = ((plus - minus) / 2 for plus, minus in (far, near))
    bend_far, bend_near = (np.abs(plus + minus - 2 * start) for plus, minus in (far, near))
    least = COARSE * np.abs(slope_near).max(initial=0.0) + 4 * ROUNDING * np.abs(start).max(initial=0.0)
    unsettled = np.abs(slope_far - 2 * slope_near) > least
    jump = (bend_near > 0.4 * bend_far) & (bend_near > least)  # a quarter where smooth, half at a kink
    return bool((unsettled | jump).any())


def diagnose(evidence: Evidence) -> str:
    """The likely mistake as a sentence, or "" where the error has no known pattern."""
    given, shape = evidence.given, tuple(evidence.array.shape)
    if not np.isfinite(given).all() or not len(evidence.positions) or not np.abs(evidence.right).max() > 0:
        return ""
    if given.size != evidence.array.size:
        return _sum_missing(evidence) or ""
    patterns = PATTERNS if given.shape == shape else (_rearranged,)
    return next((found for pattern in patterns if (found := pattern(evidence)) is not None), "")


def overwritten(once: np.ndarray, twice: np.ndarray) -> bool:
    """Whether a parameter's gradient after two equal backwards is that after one: replaced instead of added to."""
    return bool(np.abs(once).max(initial=0.0) > 0 and np.allclose(once, twice, rtol=1e-9, atol=0))


def overwrites(probe: Probe) -> list[str]:
    """The parameters whose gradients the backward of a probe's layer replaces instead of adding to them."""
    dys = probe.draw_cotangents(probe.forward())
    once, twice = probe.gradients(dys), probe.named(probe.backward(dys))
    return [name for name in probe.layer.params if overwritten(once[name], twice[name])]


def of_crash(error: BaseException | None) -> str | None:
    """The likely mistake behind an exception in backward."""
    if isinstance(error, ValueError) and "output operand" in str(error):
        return "a missing sum over a broadcast axis? A gradient has the shape of its array (functional.unbroadcast)"
    return None


# Patterns -------------------------------------------------------------------------------------------------------------


def _zero(e: Evidence) -> str | None:
    """given is 0."""
    if e.given.any():
        return None
    how = "only zeros are returned for it" if e.name.startswith("bottom") else f"self.grads.{e.name} gets no summand"
    return f"backward is zero everywhere: {how}"


def _factor(e: Evidence) -> str | None:
    """given = c right, for one c."""
    given = e.seen(e.given)
    c = float(given @ e.right / (e.right @ e.right))
    if not e.alike(given, c * e.right) or _near(c, 1.0, e):
        return None
    known = [(shown, words) for factor, shown, words in _factors(e) if _near(abs(c), factor, e)]
    if not known and np.count_nonzero(given) < 3:  # one or two elements are often a multiple by accident
        return None
    shown, words = known[0] if known else (f"{abs(c):.6g}", "a wrong factor")
    hints = [*(["a wrong sign"] if c < 0 else []), *([words] if words else [])]
    return f"backward is {'-' if c < 0 else ''}{shown} times the difference everywhere: {' and '.join(hints)}?"


def _near(c: float, factor: float, e: Evidence) -> bool:
    return abs(c - factor) <= 10 * e.tolerance * factor


def _factors(e: Evidence) -> Iterator[tuple[float, str, str]]:
    """Factors that mistakes leave, most likely first: the number, how to write it, what it hints at."""
    sizes = _sizes(e)
    yield 1.0, "1", ""
    yield 2.0, "2", "a missing factor 1/2" + (f", or 1/N, N = 2 being {sizes[2]}" if 2 in sizes else "")
    yield 0.5, "1/2", "a missing factor 2" + (f", or N, N = 2 being {sizes[2]}" if 2 in sizes else "")
    for n, axes in sizes.items():
        yield n, f"{n}", f"a missing factor 1/N, as of a mean, N = {n} being {axes}"
        yield 1 / n, f"1/{n}", f"a mean instead of a sum, or a missing factor N, N = {n} being {axes}"
    for n, axes in sizes.items():
        yield n / (n - 1), f"{n}/{n - 1}", f"1/(N - 1) instead of 1/N, N = {n} being {axes}"
        yield (n - 1) / n, f"{n - 1}/{n}", f"1/N instead of 1/(N - 1), N = {n} being {axes}"
    for n in range(3, 101):
        yield n, f"{n}", f"a missing factor 1/{n}"
        yield 1 / n, f"1/{n}", f"a missing factor {n}"


def _sizes(e: Evidence) -> dict[int, str]:
    """How many elements > 1 there are along one or more axes, with these axes in words; the fewest axes of each."""
    found: dict[int, tuple[int, str]] = {}
    for name, shape in e.shapes.items():
        for count in range(1, len(shape) + 1):
            for axes in combinations(range(len(shape)), count):
                n = math.prod(shape[a] for a in axes)
                if n > 1 and (n not in found or count < found[n][0]):
                    found[n] = (count, f"{_axes(axes)} of {name}")
    return {n: words for n, (_, words) in found.items()}


def _axes(axes: tuple[int, ...]) -> str:
    """Axes in words."""
    *most, last = map(str, axes)
    return f"axes {', '.join(most)} and {last}" if most else f"axis {last}"


def _sum_missing(e: Evidence) -> str | None:
    """What backward gave still has the axes along which the array was broadcast."""
    shape = tuple(e.array.shape)
    try:
        fits = np.broadcast_shapes(e.given.shape, shape) == e.given.shape
    except ValueError:
        return None
    if not fits or not e.alike(e.seen(unbroadcast(e.given, shape)), e.right):
        return None
    padded = (1,) * (e.given.ndim - len(shape)) + shape
    axes = tuple(i for i, (m, n) in enumerate(zip(e.given.shape, padded, strict=True)) if m != n)
    return f"a missing sum over {_axes(axes)}, along which {e.name} is broadcast"


def _one_index(e: Evidence) -> str | None:
    """given has the terms of one index of an axis of a top, and the others are missing."""
    given = e.seen(e.given)
    for name, terms in e.terms.items():
        for axis in range(1, terms.ndim):
            others = tuple(a for a in range(1, terms.ndim) if a != axis)
            parts = terms.sum(axis=others)  # (elements, indices of the axis)
            several = (np.abs(parts) > e.tolerance * np.abs(parts).max(initial=0.0)).sum(axis=1) > 1
            if not several.any():
                continue
            for k in range(parts.shape[1]):
                if e.alike(given, parts[:, k]):
                    only = f"backward has only index {k} of axis {axis - 1} of {name}"
                    return f"{only}: a missing sum over a broadcast axis, or = instead of += in a loop?"
    return None


def _rearranged(e: Evidence) -> str | None:
    """given is right with two axes swapped, or reversed along some."""
    shape = tuple(e.array.shape)
    axes = range(len(shape))
    for i, j in combinations(axes, 2):
        order = [*axes]
        order[i], order[j] = j, i
        turned = e.given.reshape([shape[a] for a in order]).transpose(order)
        if e.alike(e.seen(turned), e.right):
            return f"backward is the difference with axes {i} and {j} swapped: transposed?"
    if e.given.shape == shape:
        for some in (s for count in range(1, len(shape) + 1) for s in combinations(axes, count)):
            if e.alike(e.seen(np.flip(e.given, some)), e.right):
                return f"backward is the difference reversed along {_axes(some)}: a wrong direction?"
    return None


def _other_blob(e: Evidence) -> str | None:
    """given is another array's right gradient, or right is what backward gave, wrongly, for another."""
    for name, gradient in e.gradients.items():
        if name == e.name or gradient is None or gradient.shape != e.given.shape:
            continue
        if name in e.wrong and e.alike(e.seen(gradient), e.right):
            return f"the gradient of {e.name} is the one that backward gives for {name}: in the wrong order?"
        if name not in e.wrong and e.alike(gradient, e.given):
            return f"backward gives {e.name} the same gradient as {name}: that of the wrong blob?"
    return None


def _constants(e: Evidence) -> str | None:
    """right is given without its part along 1, x or y: what a mean, a variance or a normalising sum would take away.

    Normalised values do not change when all of a set are shifted or stretched, so their gradient is orthogonal to
    1 and to x - mean. Where a statistic is treated as a constant, that part stays in what backward gives.
    """
    shape = tuple(e.array.shape)
    if not e.is_whole or not shape:
        return None
    given, right = e.given, np.empty(e.array.size)
    right[e.positions] = e.right
    right = right.reshape(shape)
    for count in range(1, len(shape) + 1):
        for axes in combinations(range(len(shape)), count):
            if np.prod([shape[a] for a in axes]) < 4:
                continue
            x, one = e.values, np.ones(shape)
            centred = x - x.mean(axis=axes, keepdims=True)
            tries = [("the mean", [one], [one]), ("the variance", [centred], [centred])]
            tries += [("mean and variance", [one, centred], [one, centred]), ("the mean square", [x], [x])]
            tries += [("the sum in the denominator", [y], [one]) for y in e.tops.values() if y.shape == shape]
            for what, parts, normals in tries:
                if _explains(given - right, parts, axes, e.tolerance) and _orthogonal(right, normals, axes):
                    return f"backward takes {what} over {_axes(axes)} of {e.name} for a constant"
    return None


def _explains(error: np.ndarray, parts: list[np.ndarray], axes: tuple[int, ...], tolerance: float) -> bool:
    """Whether the error is, in every set along the axes, a sum of multiples of orthogonal parts."""
    rest = error.copy()
    for part in parts:
        length = (part * part).sum(axis=axes, keepdims=True)
        rest -= part * (part * error).sum(axis=axes, keepdims=True) / np.where(length, length, 1.0)
    return bool(np.abs(rest).max() <= tolerance * np.abs(error).max())


def _orthogonal(gradient: np.ndarray, normals: list[np.ndarray], axes: tuple[int, ...]) -> bool:
    """Whether a gradient is orthogonal to arrays in every set along the axes; an eps in a root bends it a little."""

    def longest(array: np.ndarray) -> float:
        return float(np.sqrt((array * array).sum(axis=axes).max()))

    products = ((gradient * normal).sum(axis=axes) for normal in normals)
    allowed = (10 * COARSE * longest(gradient) * longest(normal) for normal in normals)
    return all(np.abs(product).max() <= most for product, most in zip(products, allowed, strict=True))


def _unchanged(e: Evidence) -> str | None:
    """given is dy."""
    for name, dy in e.cotangents.items():
        if dy.shape == e.given.shape and e.alike(e.given, dy):
            return f"backward gives the gradient of {name} as it came: without the layer's own derivative?"
    return None


def _diagonal(e: Evidence) -> str | None:
    """given has the terms dyᵢ ∂yᵢ/∂xᵢ only."""
    for name, terms in e.terms.items():
        if terms.shape[1:] == e.given.shape:
            own = terms.reshape(len(terms), -1)[np.arange(len(terms)), e.positions]
            if e.alike(e.seen(e.given), own):
                return f"backward has only the terms dyᵢ ∂yᵢ/∂xᵢ of {name}: the layer is not element-wise"
    return None


PATTERNS = (_zero, _factor, _one_index, _rearranged, _other_blob, _constants, _unchanged, _diagonal)
