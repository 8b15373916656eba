"""The windows of convolutions and poolings: sizes for each axis, and what is added around the input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..importing import Site
from ..values import Stream
from .common_in import fixed_shape

SAME = ("SAME_UPPER", "SAME_LOWER")
LARGEST_WINDOW = 1 << 20  # of kernel, stride, pads and dilation


@dataclass(frozen=True)
class Windows:
    """What says where windows lie, a number for each spatial axis: pads before and behind the input."""

    kernel: list[int]
    stride: list[int]
    dilation: list[int]
    before: list[int]
    behind: list[int]

    @property
    def even(self) -> bool:
        """Whether both ends of every axis have the same pads."""
        return self.before == self.behind

    @property
    def padded(self) -> bool:
        """Whether there are any."""
        return any(self.before) or any(self.behind)


def windows(site: Site, x: Stream, kernel: Sequence[int]) -> Windows:
    """The windows over an input, by the attributes of the node."""
    axes = len(kernel)
    if x.ndim != axes + 2:
        raise site.invalid(f"its input has shape {x.shape}, and its windows {axes} axes")
    stride, dilation = per_axis(site, "strides", axes), per_axis(site, "dilations", axes)
    auto = site.attributes.text("auto_pad", "NOTSET")
    pads = site.attributes.integers("pads", [0] * 2 * axes) or [0] * 2 * axes
    if auto in SAME:
        before, behind = _same(site, x, kernel, stride, dilation, upper=auto == SAME[0])
    elif auto in ("NOTSET", "VALID", ""):
        pads = [0] * 2 * axes if auto == "VALID" else pads
        if len(pads) != 2 * axes:
            raise site.invalid(f"{len(pads)} pads for {axes} axes: two for each")
        before, behind = pads[:axes], pads[axes:]
    else:
        raise site.invalid(f"auto_pad is {auto}")
    if min([*before, *behind], default=0) < 0:
        raise site.unsupported(f"pads {pads}: negative ones take away from the input")
    if max([*kernel, *stride, *dilation, *before, *behind], default=0) > LARGEST_WINDOW:
        raise site.unsupported(f"windows have sizes up to {LARGEST_WINDOW}")
    return Windows(list(kernel), stride, dilation, before, behind)


def per_axis(site: Site, name: str, axes: int, default: int = 1) -> list[int]:
    """A positive number for each spatial axis."""
    found = site.attributes.integers(name) or [default] * axes
    if len(found) != axes or min(found, default=1) < min(default, 1):
        raise site.invalid(f"{name} {found} for {axes} axes")
    return found


def kernel_of(site: Site) -> list[int]:
    """kernel_shape."""
    found = site.attributes.integers("kernel_shape")
    if not found or min(found) < 1:
        raise site.invalid(f"kernel_shape is {found}")
    return found


def _same(
    site: Site, x: Stream, kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int], *, upper: bool
) -> tuple[list[int], list[int]]:
    """Pads with which there are ⌈size / stride⌉ windows; the odd one behind the input (upper) or before it."""
    found = []
    for shape in x.shapes:
        totals = [
            max(0, (-(-size // s) - 1) * s + (k - 1) * d + 1 - size)
            for size, k, s, d in zip(shape[2:], kernel, stride, dilation, strict=True)
        ]
        less, more = [total // 2 for total in totals], [total - total // 2 for total in totals]
        found.append((less, more) if upper else (more, less))
    if any(one != found[0] for one in found):
        fixed_shape(site, x, range(2, x.ndim), "auto_pad")
    return found[0]


def padded(site: Site, x: Stream, w: Windows, value: float = 0.0) -> Stream:
    """The input with a border of its own."""
    widths = [n for axis in reversed(range(len(w.kernel))) for n in (w.before[axis], w.behind[axis])]
    return site.emit("Pad", x, part="padded", padding=widths, value=value)[0]
