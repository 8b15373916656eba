"""Decoded images of any size as those that a net learned from: `ImageForm` as nodes, with Pillow's numbers.

    y[i] = floor(1/2 + sum over j of k[i, j] x[j])      k[i, j] = w((j + 1/2 - c[i]) / s) / (their sum)
    c[i] = b + (i + 1/2) r    r = (length of the box) / (wanted)    s = max(r, 1)

along the width and then the height, between which numbers are bytes as in Pillow; late Pillows begin with the height
where it loses more pixels than twice those that the width loses (found by experiments). b is where the box begins, w
the filter of the interpolation; j runs over the pixels within its support around c[i], whose ends Pillow rounds.
Pillow counts k in multiples of 2⁻²², and so do these nodes, in float64: sums are exact.

Source     ImagingResample of Pillow (Resample.c; Geometry.c for nearest, which adds up r step by step)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from ...data.image_form import ImageForm, pillow, resample
from ...data.linear_scaling import ONE
from .in_front import InFront

BITS = 1 << 22  # what Pillow counts weights in
SUPPORT = {"bilinear": 1.0, "bicubic": 2.0, "lanczos": 3.0}


@dataclass
class Image:
    """Images (N, C, H, W) of float64 numbers that are bytes, and their height and width as values of one axis."""

    value: str
    height: str
    width: str


def fitted(w: InFront, pixels: str, form: ImageForm) -> str:
    """Images (N, H, W, C) of bytes as the net's (N, C, h, w), still bytes, in float64; see ImageForm.fitted."""
    x = w.op("Transpose", w.cast(pixels, "float64"), perm=[0, 3, 1, 2])
    image = Image(x, w.length(x, 2), w.length(x, 3))
    if form.resize is not None:
        image = _resized(w, image, form)
    if form.center_crop is not None:
        image = _middle(w, image, form.center_crop)
    image = _scaled_middle(w, image, form) if form.resize is None else _middle(w, image, form.size)
    value = image.value
    if form.color == "bgr":
        value = w.op("Gather", value, [2, 1, 0], axis=1)
    return w.op("Reshape", value, [0, *form.shape])


def _resized(w: InFront, image: Image, form: ImageForm) -> Image:
    """`resize`: both sides, or the shorter one."""
    assert form.resize is not None
    if isinstance(form.resize, int):
        short, long = w.op("Min", image.height, image.width), w.op("Max", image.height, image.width)
        longer = w.op("Max", [1], w.op("Div", w.op("Mul", long, [form.resize]), short))
        is_high = w.op("Greater", image.height, image.width)
        height = w.op("Where", is_high, longer, [form.resize])
        width = w.op("Where", is_high, [form.resize], longer)
    else:
        height, width = (w.constant([n]) for n in form.resize)
    if not form.antialias:
        return Image(_linear(w, image, height, width), height, width)
    nothing = w.constant(np.zeros(1))
    boxes = [(nothing, w.cast(length, "float64")) for length in (image.height, image.width)]
    return _of_box(w, image, (height, width), boxes, form.interpolation)


def _scaled_middle(w: InFront, image: Image, form: ImageForm) -> Image:
    """The largest middle of the net's shape, scaled to its size."""
    wanted = [w.constant(np.array([n], np.float64)) for n in form.size]
    have = [w.cast(image.height, "float64"), w.cast(image.width, "float64")]
    ratio = w.op("Max", w.op("Div", wanted[0], have[0]), w.op("Div", wanted[1], have[1]))
    boxes = []
    for length, want in zip(have, wanted, strict=True):
        size = w.op("Min", length, w.op("Div", want, ratio))
        begin = w.op("Div", w.op("Sub", length, size), np.array([2.0]))
        end = w.op("Min", w.op("Add", begin, size), length)
        first, last = (w.cast(each, "float32") for each in (begin, end))  # Pillow's boxes are of float32
        boxes.append((w.cast(first, "float64"), w.cast(w.op("Sub", last, first), "float64")))
    height, width = (w.constant([n]) for n in form.size)
    return _of_box(w, image, (height, width), boxes, form.interpolation)


def _middle(w: InFront, image: Image, size: tuple[int, int]) -> Image:
    """The middle of a size, with 0 around where the image is smaller; see data.image_form.middle."""
    ends, value = [], image.value
    for have, want in ((image.height, size[0]), (image.width, size[1])):
        larger = w.op("Max", have, [want])
        before = w.op("Div", w.op("Sub", larger, have), [2])
        after = w.op("Sub", w.op("Sub", larger, have), before)
        half = w.op("Mul", w.cast(w.op("Sub", larger, [want]), "float64"), np.array([0.5]))
        ends.append((before, after, w.cast(w.op("Round", half), "int64")))
    pads = w.op("Concat", [0, 0], ends[0][0], ends[1][0], [0, 0], ends[0][1], ends[1][1], axis=0)
    value = w.op("Pad", value, pads, np.float64(0))
    starts = w.op("Concat", ends[0][2], ends[1][2], axis=0)
    value = w.op("Slice", value, starts, w.op("Add", starts, list(size)), [2, 3])
    return Image(value, w.constant([size[0]]), w.constant([size[1]]))


# Between pixels -------------------------------------------------------------------------------------------------------


def _of_box(
    w: InFront, image: Image, size: tuple[str, str], boxes: Sequence[tuple[str, str]], interpolation: str
) -> Image:
    """A box of an image, where it begins and how long it is along height and width, scaled to a size."""
    lengths = image.height, image.width
    if interpolation == "nearest":
        value = image.value
        for axis in (0, 1):
            value = w.op("Gather", value, _nearest(w, lengths[axis], size[axis], *boxes[axis]), axis=axis + 2)
        return Image(value, *size)
    rows, columns = (_weights(w, lengths[k], size[k], *boxes[k], interpolation) for k in (0, 1))
    columns = w.op("Transpose", columns, perm=[1, 0])

    def width_first(into: InFront) -> str:
        return _bytes(into, into.op("MatMul", rows, _bytes(into, into.op("MatMul", image.value, columns))))

    def height_first(into: InFront) -> str:
        return _bytes(into, into.op("MatMul", _bytes(into, into.op("MatMul", rows, image.value)), columns))

    if not begins_with_height():
        return Image(width_first(w), *size)
    lost = [w.op("Sub", have, wanted) for have, wanted in zip(lengths, size, strict=True)]
    is_high = w.op("Greater", lost[0], w.op("Max", [0], w.op("Mul", lost[1], [2])))
    branches = {"then_branch": w.branch(height_first), "else_branch": w.branch(width_first)}
    return Image(w.op("If", is_high, **branches), *size)


@cache
def begins_with_height() -> bool:
    """Whether this Pillow scales the height first where that loses more pixels."""
    pixels = np.random.default_rng(1).integers(0, 256, (20, 10)).astype(np.uint8)
    image, how = pillow().fromarray(pixels), resample("bilinear")
    one, other = image.resize((15, 12), how), image.resize((10, 12), how).resize((15, 12), how)
    return bool(np.array_equal(np.asarray(one), np.asarray(other)))


def _nearest(w: InFront, have: str, wanted: str, begin: str, length: str) -> str:
    """The pixel of each place along an axis."""
    step = w.op("Div", length, w.cast(wanted, "float64"))
    first = w.op("Add", begin, w.op("Mul", step, np.array([0.5])))
    is_first = w.op("Equal", _range(w, wanted), [0])
    place = w.op("CumSum", w.op("Where", is_first, first, step), np.int64(0))
    last = w.op("Sub", have, [1])
    return w.op("Max", [0], w.op("Min", last, w.cast(w.op("Floor", place), "int64")))


def _weights(w: InFront, have: str, wanted: str, begin: str, length: str, interpolation: str) -> str:
    """k (wanted, have) in multiples of 2⁻²² along an axis.

    have, wanted    lengths of the axis
    begin, length   the box that is scaled, in float64
    """
    step = w.op("Div", length, w.cast(wanted, "float64"))
    place = w.cast(_range(w, wanted), "float64")
    centre = w.op("Add", begin, w.op("Mul", w.op("Add", place, np.array([0.5])), step))
    stretch = w.op("Max", step, np.array([1.0]))
    support = w.op("Mul", stretch, np.array([SUPPORT[interpolation]]))
    first = w.op("Max", np.array([0.0]), _whole(w, w.op("Add", w.op("Sub", centre, support), np.array([0.5]))))
    stop = _whole(w, w.op("Add", w.op("Add", centre, support), np.array([0.5])))
    pixel = w.op("Unsqueeze", w.cast(_range(w, have), "float64"), [0])
    first, stop, centre = (w.op("Unsqueeze", each, [1]) for each in (first, stop, centre))
    away = w.op("Add", w.op("Sub", pixel, centre), np.array([0.5]))
    away = w.op("Mul", away, w.op("Div", np.array([1.0]), stretch))
    inside = w.op("And", w.op("GreaterOrEqual", pixel, first), w.op("Less", pixel, stop))
    weight = w.op("Where", inside, FILTERS[interpolation](w, away), np.array([0.0]))
    weight = w.op("Div", weight, w.op("ReduceSum", weight, [1], keepdims=1))
    return _half_away(w, w.op("Mul", weight, np.array([float(BITS)])))


def _bytes(w: InFront, sums: str) -> str:
    """Sums of weights times bytes, as bytes again."""
    y = w.op("Floor", w.op("Add", w.op("Div", sums, np.array([float(BITS)])), np.array([0.5])))
    return w.op("Max", np.array([0.0]), w.op("Min", y, np.array([255.0])))


def _range(w: InFront, length: str) -> str:
    """0, 1, ... below a length."""
    return w.op("Range", np.int64(0), w.op("Squeeze", length, [0]), np.int64(1))


def _whole(w: InFront, x: str) -> str:
    """Towards 0, as C makes integers."""
    return w.cast(w.cast(x, "int64"), "float64")


def _half_away(w: InFront, x: str) -> str:
    """To the nearest whole number, halves away from 0."""
    rounded = w.op("Floor", w.op("Add", w.op("Abs", x), np.array([0.5])))
    return w.op("Mul", w.op("Sign", x), rounded)


def _bilinear(w: InFront, x: str) -> str:
    return w.op("Max", np.array([0.0]), w.op("Sub", np.array([1.0]), w.op("Abs", x)))


def _bicubic(w: InFront, x: str) -> str:
    """With a = -1/2."""
    a, one = -0.5, np.array([1.0])
    x = w.op("Abs", x)

    def polynomial(*factors: float) -> str:
        value = w.constant(np.array([factors[0]]))
        for factor in factors[1:]:
            value = w.op("Add", w.op("Mul", value, x), np.array([factor]))
        return value

    near, far = polynomial(a + 2, -(a + 3), 0.0, 1.0), polynomial(a, -5 * a, 8 * a, -4 * a)
    beyond = w.op("Where", w.op("Less", x, np.array([2.0])), far, np.array([0.0]))
    return w.op("Where", w.op("Less", x, one), near, beyond)


def _lanczos(w: InFront, x: str) -> str:
    product = w.op("Mul", _sinc(w, x), _sinc(w, w.op("Div", x, np.array([3.0]))))
    inside = w.op("And", w.op("GreaterOrEqual", x, np.array([-3.0])), w.op("Less", x, np.array([3.0])))
    return w.op("Where", inside, product, np.array([0.0]))


def _sinc(w: InFront, x: str) -> str:
    is_zero = w.op("Equal", x, np.array([0.0]))
    angle = w.op("Mul", w.op("Where", is_zero, np.array([1.0]), x), np.array([math.pi]))
    return w.op("Where", is_zero, np.array([1.0]), w.op("Div", w.op("Sin", angle), angle))


FILTERS: dict[str, Callable[[InFront, str], str]] = {
    "bilinear": _bilinear,
    "bicubic": _bicubic,
    "lanczos": _lanczos,
}


# As OpenCV scales -----------------------------------------------------------------------------------------------------


def _linear(w: InFront, image: Image, height: str, width: str) -> str:
    """Bilinear without antialiasing, in whole numbers; see data.linear_scaling. Shifts are divisions, rounded down."""
    left, low, high = _places(w, image.width, width, inside=True)
    right = w.op("Min", w.op("Add", left, [1]), w.op("Sub", image.width, [1]))
    x = image.value
    rows = w.op("Add", w.op("Mul", w.op("Gather", x, left, axis=3), low),
                w.op("Mul", w.op("Gather", x, right, axis=3), high))  # fmt: skip
    rows = _shifted(w, rows, 4)
    top, low, high = _places(w, image.height, height, inside=False)
    parts = []
    for place, weight in ((top, low), (w.op("Add", top, [1]), high)):
        last = w.op("Sub", image.height, [1])
        at = w.op("Max", [0], w.op("Min", last, place))
        column = w.op("Unsqueeze", weight, [1])
        parts.append(_shifted(w, w.op("Mul", w.op("Gather", rows, at, axis=2), column), 16))
    return _shifted(w, w.op("Add", w.op("Add", *parts), np.array([2.0])), 2)


def _places(w: InFront, have: str, wanted: str, *, inside: bool) -> tuple[str, str, str]:
    """The pixel to the left of each place, and the weights of it and of its neighbour.

    inside   places beyond the ends take the pixel there, whole
    """
    lengths = w.cast(have, "float64"), w.cast(wanted, "float64")
    step = w.op("Div", np.array([1.0]), w.op("Div", lengths[1], lengths[0]))
    place = w.op("Mul", w.op("Add", w.cast(_range(w, wanted), "float64"), np.array([0.5])), step)
    place = w.cast(w.op("Sub", place, np.array([0.5])), "float32")
    whole = w.op("Floor", place)
    share, at = w.op("Sub", place, whole), w.cast(whole, "int64")
    if inside:
        last = w.op("Sub", have, [1])
        within = w.op("And", w.op("GreaterOrEqual", at, [0]), w.op("Less", at, last))
        at = w.op("Max", [0], w.op("Min", last, at))
        share = w.op("Where", within, share, np.zeros(1, np.float32))
    parts = (w.op("Sub", np.ones(1, np.float32), share), share)
    low, high = (w.cast(w.op("Round", w.op("Mul", each, np.array([ONE], np.float32))), "float64") for each in parts)
    return at, low, high


def _shifted(w: InFront, x: str, bits: int) -> str:
    return w.op("Floor", w.op("Div", x, np.array([float(1 << bits)])))
