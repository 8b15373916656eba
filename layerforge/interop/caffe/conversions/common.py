"""What conversions of several kinds of layers have in common: sizes of windows, axes of blobs, the bias."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..conversion import Made, Site, Stream
from ..message import Message

LARGEST_WINDOW = 1 << 20  # of kernel, stride, pad and dilation


def windows(site: Site, p: Message, axes: int) -> dict[str, Any]:
    """kernel_size, stride, padding and dilation over so many axes; a number where all axes have the same."""
    found = {
        "kernel_size": per_axis(site, p, "kernel_size", ("kernel_h", "kernel_w"), axes, None),
        "stride": per_axis(site, p, "stride", ("stride_h", "stride_w"), axes, 1),
        "padding": per_axis(site, p, "pad", ("pad_h", "pad_w"), axes, 0),
        "dilation": per_axis(site, p, "dilation", (), axes, 1),
    }
    for name, least in (("kernel_size", 1), ("stride", 1), ("padding", 0), ("dilation", 1)):
        if min(found[name], default=least) < least:
            raise site.invalid(f"{name} must be at least {least}", p)
    demand_sizes(site, p, *found.values())
    if not axes:
        found = {"kernel_size": [1], "stride": [1], "padding": [0], "dilation": [1]}
    return {name: plain(values) for name, values in found.items()}


def demand_sizes(site: Site, p: Message, *sizes: Sequence[int]) -> None:
    """Refuse windows that no image has: their number alone would take long to count."""
    for values in sizes:
        if max(values, default=0) > LARGEST_WINDOW:
            raise site.unsupported(f"a size of {max(values)}: windows have up to {LARGEST_WINDOW}", p)


def plain(values: Sequence[int]) -> Any:
    """One number where all are the same."""
    return values[0] if len(set(values)) == 1 else list(values)


def pair(site: Site, p: Message, name: str, high: str, wide: str) -> list[Any]:
    """The numbers of both axes, of one field for both or of one for each; [] where none is said."""
    own = [p.has(high), p.has(wide)]
    if any(own) and (p.has(name) or not all(own)):
        raise site.invalid(f"{name}, or {high} and {wide} together", p, high if own[0] else wide)
    return [p.get(high), p.get(wide)] if all(own) else [p.get(name)] * 2 if p.has(name) else []


def per_axis(
    site: Site, p: Message, name: str, by_axis: Sequence[str], axes: int, default: int | None
) -> list[int]:
    """A number for each axis: from a repeated field, or from the two of height and width."""
    given = list(p.get(name))
    if any(p.has(one) for one in by_axis):
        if given:
            raise site.invalid(f"{name} and {' and '.join(by_axis)} together", p, name, hint="write one of the two")
        if axes != 2:
            raise site.invalid(f"{by_axis[0]} and {by_axis[1]} are for 2 axes, it has {axes}", p)
        return [p.get(one) for one in by_axis]
    if len(given) == axes:
        return given
    if len(given) > 1:
        raise site.invalid(f"{len(given)} times {name} for {axes} axes", p, name)
    if not given and default is None and axes:
        raise site.invalid(f"{name} is missing", p)
    return (given or [default or 0]) * axes


def with_samples(site: Site, stream: Stream) -> Stream:
    """A blob as real numbers, after refusing one that has not the four axes of a batch of images."""
    site.demand_axes(stream, 4, 4)
    return site.real(stream)


def flat(site: Site, stream: Stream, part: str) -> Stream:
    """A real blob with two axes: Caffe counts all but the first as one."""
    stream = site.real(stream)
    if stream.ndim == 2:
        return stream
    if stream.ndim < 2:
        return site.emit("Reshape", stream, part=part, shape=[-1, 1])[0]
    return site.emit("Flatten", stream, part=part)[0]


def bias_blob(site: Site, p: Message, learned: bool, of: Made | None = None) -> None:
    """The next blob is the bias of a layer (by default the last one) if it has one; otherwise its filler is nothing."""
    if learned:
        site.blob("bias", of=of, filler=p.get("bias_filler"), key="bias_filler")
    else:
        site.harmless(p, "bias_filler", why="there is no bias_term")
