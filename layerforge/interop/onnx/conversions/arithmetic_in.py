"""Element by element, of several inputs that are broadcast: arithmetic, comparisons and logic.

Truth is real numbers 0 and 1; comparisons and logic are arithmetic with them, exact for numbers that are finite.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ..constants import is_learned, number
from ..graph import Node
from ..importing import IMPORTS, REFUSED, Import, Site, imports
from ..values import BOOL, INDEX, Known, Stream
from .common_in import Shape, operand, scalar, truth

FINITE = "exact where no number is infinite or NaN"
QUOTIENT = "quotients of integers are float32 here: exact up to 2^23"
REFUSED.update(dict.fromkeys(("BitShift", "BitwiseAnd", "BitwiseOr", "BitwiseXor"), "no layer computes with bits"))


def together(site: Site, number: int | None = None) -> list[Stream]:
    """The inputs, of which there may have to be a number, as real blobs that are broadcast."""
    count = len(site.inputs)
    if number is not None and count != number:
        raise site.invalid(f"takes {number} inputs, it has {count}")
    _common(site, [site.input(i) for i in range(count)])
    return [site.as_real(operand(site, i)) for i in range(count)]


def _common(site: Site, values: Sequence[Stream | Known]) -> list[Shape]:
    """The shape that these have together, in each variant."""
    every = [one.shapes if isinstance(one, Stream) else tuple(a.shape for a in one.arrays) for one in values]
    found = []
    for v in range(max(len(shapes) for shapes in every)):
        shapes = [one[min(v, len(one) - 1)] for one in every]
        try:
            found.append(np.broadcast_shapes(*shapes))
        except ValueError:
            raise site.invalid(f"shapes {', '.join(map(str, shapes))} do not broadcast") from None
    return found


def finish(site: Site, kind: str, bottoms: Sequence[Stream], **options: object) -> None:
    """The main layer; where all inputs are integers its top is, too."""
    whole = all(site.input(i).dtype == "int64" for i in range(len(site.inputs)))
    (y,) = site.emit(kind, bottoms, part=kind.lower() if whole else "", given=options)
    if whole:
        (y,) = site.emit("Cast", y, role="index")
    wanted = _common(site, [site.input(i) for i in range(len(site.inputs))])
    for variant, (spec, shape) in enumerate(zip(y.specs, wanted, strict=False)):
        if spec.shape != shape:
            raise site.unsupported(f"what it makes has shape {shape}, {spec.shape} here (sizes {variant})")


def _per_axis(site: Site, value: Known | None, x: Stream) -> int:
    """The axis of x that a learned value belongs to, with one number for each place of that axis alone; -1: none."""
    if value is None or not is_learned(site, value) or not value.fixed or value.ndim > x.ndim:
        return -1
    long = [axis for axis, n in enumerate(value.shape) if n != 1]
    axis = x.ndim - value.ndim + long[0] if len(long) == 1 else -1
    return axis if axis > 0 and x.shape[axis] == value.array.size else -1


def _scaled(site: Site, kind: str) -> bool:
    """A factor for each place of one axis is a Scale, with an Add behind it that has as many; a summand is a Bias."""
    for i, other in ((1, 0), (0, 1)):
        x, value = site.inputs[other], site.inputs[i]
        if not isinstance(x, Stream) or x.dtype == "int64" or not isinstance(value, Known):
            continue
        axis = _per_axis(site, value, x)
        if axis < 0:
            continue
        node, bias = _summand(site, x, axis) if kind == "Scale" else (None, None)
        if node is not None:
            site.take_over(node)
        options = {"bias": True} if bias is not None else {}
        site.emit(kind, site.real(other), dim=axis, given=options)
        site.param("weight" if kind == "Scale" else "bias", value.flattened())
        if bias is not None:
            site.param("bias", bias.flattened())
        return True
    return False


def _summand(site: Site, x: Stream, axis: int) -> tuple[Node | None, Known | None]:
    """The Add behind a factor which adds something learned for each place of the same axis."""
    node = site.shared.alone(site.node.outputs[0], "Add")
    if node is None or node.domain:
        return None, None
    bias = site.shared.known(node.inputs[1 - node.inputs.index(site.node.outputs[0])])
    return (node, bias) if _per_axis(site, bias, x) == axis else (None, None)


@imports("Add")
def add(site: Site) -> None:
    """Add; with a number a line; with what is learned for each channel a Bias."""
    _line(site, "Add", lambda c, _: (1.0, c))


@imports("Sub")
def sub(site: Site) -> None:
    """Sub; with a number a line."""
    _line(site, "Sub", lambda c, first: (-1.0, c) if first else (1.0, -c))


@imports("Mul")
def mul(site: Site) -> None:
    """Mul; with a number a line; with what is learned for each channel a Scale."""
    _line(site, "Mul", lambda c, _: (c, 0.0))


def _line(site: Site, kind: str, coefficients: Callable[[float, bool], tuple[float, float]]) -> None:
    """scale x + shift where one input is a number: `coefficients` says both, of it and whether it comes first."""
    if len(site.inputs) != 2:
        raise site.invalid(f"takes 2 inputs, it has {len(site.inputs)}")
    for i in (0, 1):
        value = scalar(site, i)
        if value is not None and np.isfinite(value) and isinstance(site.inputs[1 - i], Stream):
            scale, shift = coefficients(value, i == 0)
            finish(site, "Pow", [site.real(1 - i)], exponent=1.0, scale=scale, shift=shift)
            return
    if kind in ("Add", "Mul") and _scaled(site, {"Add": "Bias", "Mul": "Scale"}[kind]):
        return
    finish(site, kind, together(site, 2))


@imports("Div")
def div(site: Site) -> None:
    """Div; by a number a line."""
    value = scalar(site, 1)
    if value and np.isfinite(value) and site.input(0).dtype != "int64":
        site.emit("Pow", site.real(0), exponent=1.0, scale=number(1 / value))
        return
    if site.input(0).dtype == INDEX:
        site.note(QUOTIENT)
    finish(site, "Div", together(site, 2))


@imports("Pow")
def pow_(site: Site) -> None:
    """Pow with a fixed exponent, or PowBinary."""
    value = scalar(site, 1)
    named = {2.0: "Square", 0.5: "Sqrt", -1.0: "Reciprocal", -0.5: "Rsqrt"}
    whole = site.input(0).dtype == "int64"
    if value is None:
        finish(site, "PowBinary", together(site, 2))
    elif value in named and not whole:
        site.emit(named[value], site.real(0))
    else:
        (y,) = site.emit("Pow", site.real(0), part="power" if whole else "", exponent=number(value))
        if whole:
            site.emit("Cast", y, role="index")


def _several(kind: str) -> Import:
    def convert(site: Site) -> None:
        if len(site.inputs) == 1:
            return site.pass_on(site.input(0))
        return finish(site, kind, together(site))

    return convert


IMPORTS.update({"Max": _several("Maximum"), "Min": _several("Minimum"), "Sum": _several("Add")})


@imports("Mean")
def mean(site: Site) -> None:
    """Add with a coefficient for each."""
    count = len(site.inputs)
    if count == 1:
        return site.pass_on(site.input(0))
    return finish(site, "Add", together(site), coeff=[1 / count] * count)


@imports("Mod")
def mod(site: Site) -> None:
    """a - b Floor(a / b), which has the sign of b."""
    if site.attributes.flag("fmod"):
        raise site.unsupported("fmod: the rest with the sign of the dividend")
    site.note(QUOTIENT)
    a, b = together(site, 2)
    (quotient,) = site.emit("Div", [a, b], part="quotient")
    (floor,) = site.emit("Floor", quotient, part="floor")
    (less,) = site.emit("Mul", [floor, b], part="multiple")
    finish(site, "Sub", [a, less])


# Comparisons and logic --------------------------------------------------------------------------------------------


def _above(site: Site, a: Stream, b: Stream, last: bool = True) -> Stream:
    """1 where a > b."""
    (less,) = site.emit("Sub", [a, b], part="difference")
    (positive,) = site.emit("ReLU", less, part="positive")
    _note_finite(site)
    return site.emit("Sign", positive, part="" if last else "opposite", dtype=BOOL)[0]


def _note_finite(site: Site) -> None:
    """What holds of real numbers; of integers another note tells already."""
    if any(site.input(i).dtype not in (INDEX, BOOL) for i in range(len(site.inputs))):
        site.note(FINITE)


def _opposite(site: Site, truth: Stream) -> None:
    site.emit("Pow", truth, dtype=BOOL, exponent=1.0, scale=-1.0, shift=1.0)


@imports("Greater")
def greater(site: Site) -> None:
    """Sign(ReLU(a - b))."""
    a, b = together(site, 2)
    _above(site, a, b)


@imports("Less")
def less(site: Site) -> None:
    """Sign(ReLU(b - a))."""
    a, b = together(site, 2)
    _above(site, b, a)


@imports("GreaterOrEqual")
def greater_or_equal(site: Site) -> None:
    """The opposite of Less."""
    a, b = together(site, 2)
    _opposite(site, _above(site, b, a, last=False))


@imports("LessOrEqual")
def less_or_equal(site: Site) -> None:
    """The opposite of Greater."""
    a, b = together(site, 2)
    _opposite(site, _above(site, a, b, last=False))


@imports("Equal")
def equal(site: Site) -> None:
    """1 where a - b is 0."""
    a, b = together(site, 2)
    (less,) = site.emit("Sub", [a, b], part="difference")
    _note_finite(site)
    _opposite(site, truth(site, less, "opposite"))


@imports("And")
def and_(site: Site) -> None:
    """The product of 0 and 1."""
    site.emit("Mul", [truth(site, one, f"truth{i}") for i, one in enumerate(together(site, 2))], dtype=BOOL)


@imports("Or")
def or_(site: Site) -> None:
    """The larger of 0 and 1."""
    site.emit("Maximum", [truth(site, one, f"truth{i}") for i, one in enumerate(together(site, 2))], dtype=BOOL)


@imports("Xor")
def xor(site: Site) -> None:
    """The distance of 0 and 1."""
    both = [truth(site, one, f"truth{i}") for i, one in enumerate(together(site, 2))]
    (less,) = site.emit("Sub", both, part="difference")
    site.emit("Abs", less, dtype=BOOL)


@imports("Where")
def where(site: Site) -> None:
    """Where; its condition is real or an index."""
    _common(site, [site.input(i) for i in range(3)])
    c, a, b = (operand(site, i) for i in range(3))
    if a.spec.role != b.spec.role:
        a, b = site.as_real(a), site.as_real(b)
    site.emit("Where", [c, a, b], dtype=BOOL if a.dtype == b.dtype == BOOL else "")
