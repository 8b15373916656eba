"""Random hyper-parameters, shapes and places in memory for the engine's layers, against their references.

    python tests/support/engine_fuzz.py FIRST COUNT [--not-finite] [TYPE ...]

A program of its own, as a wrong call into C ends the process: what is being run is written out before it is run, so
that the last line says who took the process along. Every number of a draw gives the same case again. Exit code 1, and a
line for each, where something differs.

With --not-finite some elements of every other case's bottoms are NaN or infinite, and tops must be the reference's;
in the other cases some of the tops' gradients are NaN, and no gradient may be without that has one from the
reference. (Where it has one is another matter: a mask multiplied by NaN is NaN, a mask that chooses is not.)
"""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from layerforge.arrays.spec import Spec
from layerforge.check.engines import refusal
from layerforge.check.harness import Probe
from layerforge.contract.layer import Example
from layerforge.engines.onednn import table
from layerforge.schema.errors import LayerForgeError
from layerforge.schema.params import OneOrEach, Param
from layerforge.schema.registry import LAYERS

TYPES = tuple(table.LAYERS)
LENGTHS = (1, 1, 1, 1, 2, 2, 3, 4, 5, 8, 16, 17)
INTEGERS = (0, 1, 1, 2, 2, 3, 4, 5, -1)
NUMBERS = (0.0, 1e-6, 0.1, 0.5, 0.75, 1.0, 2.0, -1.0)
AXES = dict.fromkeys(("Conv1d", "MaxPool1d", "AvgPool1d", "LSTM", "GRU", "RNN", "MultiheadAttention"), 3)
AXES |= dict.fromkeys(("Conv2d", "ConvTranspose2d", "MaxPool2d", "AvgPool2d", "GlobalAvgPool2d", "Dropout2d"), 4)
AXES |= {"ConvTranspose1d": 3, "ConvTranspose3d": 5}
AXES |= {"Conv3d": 5, "MaxPool3d": 5, "AvgPool3d": 5, "LocalResponseNorm": 4}
LARGEST = 6000  # elements of a bottom
TOLERANCE = {"BatchNorm": 1e-3, "LayerNorm": 1e-3}  # of a few elements, whose gradients nearly cancel; others' is USUAL
USUAL = 2e-5
TINY = 1e-30
HIDING = "ScaledDotProductAttention", "MultiheadAttention"  # what is hidden from a query must be finite
TRIES = 60  # most drawn hyper-parameters do not fit the drawn shapes


@dataclass
class Draw:
    """A case: a layer with its hyper-parameters on bottoms, and where these are stored."""

    type_name: str
    example: Example
    seed: tuple[int, ...]

    def __str__(self) -> str:
        shapes = " ".join(str(s.shape) for s in self.example.bottoms)
        return f"{self.seed[-1]} {self.type_name} {self.example.params} on {shapes}"


# What is drawn --------------------------------------------------------------------------------------------------------


def draw(number: int, types: Sequence[str] = TYPES) -> tuple[Draw, Probe] | None:
    """A case that the reference accepts, with its probe; None where none was found."""
    rng = np.random.default_rng([1, number])
    type_name = types[number % len(types)]
    cls = LAYERS.get(type_name)
    for _ in range(TRIES):
        bottoms = draw_bottoms(type_name, rng)
        params = {n: draw_value(n, f, rng, bottoms) for n, f in cls.fields.items() if is_drawn(n, f, rng)}
        example = Example(params, bottoms)
        try:
            return Draw(type_name, example, (2, number)), Probe(cls, example, dtype="float32")
        except LayerForgeError:
            continue
    return None


def is_drawn(name: str, field: Param, rng: Any) -> bool:
    """Fillers stay what they are, and about half of the optional ones."""
    return field.required or ("filler" not in name and rng.random() < 0.5)


def draw_value(name: str, field: Param, rng: Any, bottoms: Sequence[Spec]) -> Any:
    """A value that a hyper-parameter may have, or nearly."""
    if field.choices:
        return str(rng.choice(field.choices))
    if name == "normalized_shape":
        return list(bottoms[0].shape[-int(rng.integers(1, 3)) :])
    if name in ("shape", "weight", "coeff"):
        return {"shape": [0, -1], "weight": [0.5] * (bottoms[0].shape or (1,))[-1], "coeff": [0.5, -1.0]}[name]
    ruled = hasattr(field.type, "__metadata__")  # Annotated[type, rule]
    alternatives = (field.type,) if ruled else getattr(field.type, "__args__", (field.type,))
    kinds = [k for k in alternatives if k is not type(None)]
    if kinds[0] is bool:
        return bool(rng.random() < 0.5)
    if kinds[0] is float:
        return float(rng.choice(NUMBERS))
    rule = getattr(kinds[0], "__metadata__", (None,))[0]
    if isinstance(rule, OneOrEach) and rng.random() < 0.5:
        return [int(n) for n in rng.choice(INTEGERS, rule.count)]
    return int(rng.choice(INTEGERS))


def draw_bottoms(type_name: str, rng: Any) -> list[Spec]:
    """Shapes with many axes of length 1, now and then one of length 0."""
    ndim = AXES.get(type_name) or int(rng.choice([1, 2, 2, 3, 3, 4, 4, 5, 6, 13, 0]))
    lengths = (*LENGTHS, 0) if rng.random() < 0.05 else LENGTHS
    shape = [int(n) for n in rng.choice(lengths, ndim)] if ndim < 9 else [1] * (ndim - 2) + [3, 2]
    while math.prod(shape) > LARGEST:
        shape[int(rng.integers(ndim))] = 1
    if type_name == "Add":
        return [Spec(shape)] * 2
    if type_name == "SoftmaxCrossEntropy":
        return [Spec(shape), Spec((*shape[:1], *shape[2:]), "int64", high=max(shape[1] if ndim > 1 else 1, 1))]
    if type_name == "ScaledDotProductAttention":
        *batch, queries, width = shape if ndim > 2 else (1, 3, 2)
        keys, values = (int(n) for n in rng.choice(LENGTHS, 2))
        return [Spec((*batch, queries, width)), Spec((*batch, keys, width)), Spec((*batch, keys, values))]
    return [Spec(shape)]


def laid_out(a: Any, rng: Any) -> Any:
    """The same values elsewhere: axes in another order in memory, between others, backwards, with odd strides."""
    if a is None:
        return None
    order = rng.permutation(a.ndim) if rng.random() < 0.4 else np.arange(a.ndim)
    room = [int(n) for n in rng.choice([0, 0, 1, 3], a.ndim)] if rng.random() < 0.4 else [0] * a.ndim
    step = [int(n) for n in rng.choice([1, 1, 1, 1, 2, -1], a.ndim)] if rng.random() < 0.3 else [1] * a.ndim
    shape = [n * abs(s) + r for n, s, r in zip(a.shape, step, room, strict=True)]
    poison = np.nan if a.dtype.kind == "f" else np.iinfo(a.dtype).max
    memory = np.full([shape[i] for i in order], poison, a.dtype).transpose(np.argsort(order))
    parts = [slice(r, r + n * abs(s), abs(s)) for n, s, r in zip(a.shape, step, room, strict=True)]
    window = memory[(*parts, ...)]
    window = window[(*(slice(None, None, -1 if s < 0 else 1) for s in step), ...)]
    window[...] = a
    odd = [int(n) * a.itemsize for n in rng.choice([0, 1, 2, 7, 1000, -3], a.ndim)]
    strides = [o if n == 1 and rng.random() < 0.5 else s for n, s, o in zip(a.shape, window.strides, odd, strict=True)]
    return np.lib.stride_tricks.as_strided(window, a.shape, strides)


def spoiled(a: Any, rng: Any, kinds: Sequence[float] = ()) -> Any:
    """The same values with some that are not finite, one or a whole row, of one kind or of all."""
    if a is None or a.dtype.kind != "f" or not a.size or rng.random() < 0.2:
        return a
    kinds = kinds or ([np.nan, -np.nan], [np.inf], [-np.inf], [np.nan, np.inf, -np.inf])[int(rng.integers(4))]
    a = a.copy()
    for _ in range(int(rng.integers(1, 4))):
        where = tuple(int(rng.integers(n)) for n in a.shape)
        a[where if rng.random() < 0.7 else where[:-1]] = rng.choice(kinds)
    return a


# What is compared -----------------------------------------------------------------------------------------------------


def differences(case: Draw, theirs: Probe, mine: Probe, not_finite: bool = False) -> Iterator[str]:
    """What the engine's layer does otherwise, in train, eval and eval without backward, for two places in memory."""
    rng = np.random.default_rng(case.seed)
    bottoms, spoil = theirs.bottoms, case.seed[-1] % 2 if not_finite else None
    if spoil == 0:
        bottoms = [spoiled(b, rng) for b in bottoms]
    for phase, keep in (("train", True), ("train", True), ("eval", True), ("eval", False)):
        for probe in (theirs, mine):
            probe.layer.run.phase, probe.layer.run.keep = phase, keep
            probe.zero_grad()
        theirs.bottoms, mine.bottoms = bottoms, [laid_out(b, rng) for b in bottoms]
        try:
            wants = theirs.forward()
        except LayerForgeError:  # a single value has no variance
            return
        gots = mine.forward()
        tolerance = TOLERANCE.get(case.type_name, USUAL)
        yield from unequal("top", zip(wants, gots, strict=True), bottoms, tolerance, case.type_name in HIDING)
        if keep and spoil != 0 and theirs.layer.is_differentiable():
            dys = theirs.draw_cotangents(wants)
            if spoil == 1:
                dys = [spoiled(d, rng, [np.nan, -np.nan]) for d in dys]
            want = theirs.named(theirs.backward(dys))
            got = mine.named(mine.backward([laid_out(d, rng) for d in dys]))
            if spoil == 1:
                yield from (f"gradient of {n} has no NaN" for n in want if has_nan(want[n]) and not has_nan(got[n]))
            else:
                yield from unequal("gradient", [(want[n], got[n]) for n in want], dys, tolerance)


def has_nan(a: Any) -> bool:
    """Whether some number is none."""
    return a is not None and bool(np.isnan(a).any())


def unequal(
    what: str, pairs: Any, sources: Sequence[Any], tolerance: float, nan_will_do: bool = False
) -> Iterator[str]:
    """Those of the pairs that are more than rounding apart; where NaN will do, it is never wrong."""
    scale = max((largest(s) for s in sources if s is not None), default=0.0)
    for i, (want, got) in enumerate(pairs):
        if want is None or got is None or want.shape != got.shape:
            if want is not None or got is not None:
                yield f"{what} {i} is {None if got is None else got.shape}"
            continue
        atol = tolerance * max(largest(want), scale, TINY)
        near = np.isclose(got, want, rtol=0, atol=atol, equal_nan=True)
        near |= np.isnan(got) & nan_will_do
        if not near.all():
            one = np.argmin(near)
            yield f"{what} {i} is {got.flat[one]} instead of {want.flat[one]}"


def largest(a: Any) -> float:
    """The largest finite number, without its sign."""
    return float(np.abs(a[np.isfinite(a)]).max(initial=0.0))


def run(number: int, types: Sequence[str] = TYPES, not_finite: bool = False) -> str | None:
    """Draw and compare; a line about what is wrong, None where nothing is or the engine refuses."""
    drawn = draw(number, types)
    if drawn is None:
        return None
    case, theirs = drawn
    cls = table.LAYERS[case.type_name]
    print(case, flush=True)
    try:
        if refusal(cls, theirs) is not None:
            return None
        with np.errstate(all="ignore"):
            found = list(differences(case, theirs, Probe(cls, case.example, dtype="float32"), not_finite))
    except Exception as error:  # whatever it is
        return f"{case}: {type(error).__name__}: {error}"
    return f"{case}: {'; '.join(found)}" if found else None


def main(first: int, count: int, *types: str) -> int:
    """Exit code 1 where something differs."""
    warnings.simplefilter("ignore")
    not_finite, types = "--not-finite" in types, tuple(t for t in types if t != "--not-finite") or TYPES
    wrong = [line for number in range(first, first + count) if (line := run(number, types, not_finite))]
    print(*(f"WRONG {line}" for line in wrong), f"done: {count} draws", sep="\n")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:]))
