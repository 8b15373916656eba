"""The same numbers in another order, joined, cut and repeated."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ..constants import number
from ..importing import Site, imports
from ..values import Known, Stream
from ..variants import LARGEST_AXIS
from .common_in import Shape, reshaped

FAR = LARGEST_AXIS - 1  # a place that no axis has


def lengths(site: Site, i: int, name: str) -> list[list[int]]:
    """Integers of an input, which are known, in each variant."""
    value = site.known(i, name)
    return [[int(n) for n in array.reshape(-1)] for array in value.arrays]


@imports("Reshape")
def reshape(site: Site) -> None:
    """Reshape, or Flatten; what follows the batch stays open."""
    x, free = site.stream(0), not site.attributes.flag("allowzero")
    if site.has(1):
        wanted = lengths(site, 1, "shape")
    else:
        wanted = [site.attributes.integers("shape", []) or []] * len(x.specs)
    shapes = [_filled(site, one, shape, free) for one, shape in zip(x.shapes, wanted, strict=False)]
    site.pass_on(reshaped(site, x, shapes))


def _filled(site: Site, old: Shape, wanted: Sequence[int], free: bool) -> Shape:
    """The shape that a target stands for: 0 copies, one -1 takes the rest."""
    copied = [i for i, n in enumerate(wanted) if n == 0 and free]
    if wanted.count(-1) > 1 or min(wanted, default=0) < -1 or (copied and copied[-1] >= len(old)):
        raise site.invalid(f"the shape {list(wanted)} for {old}")
    shape = [old[i] if n == 0 and free else n for i, n in enumerate(wanted)]
    rest = math.prod(n for n in shape if n != -1)
    if -1 in shape and rest and math.prod(old) % rest == 0:
        shape[shape.index(-1)] = math.prod(old) // rest
    if -1 in shape or math.prod(shape) != math.prod(old):
        raise site.invalid(f"the {math.prod(old)} numbers of shape {old} do not fit the shape {list(wanted)}")
    return tuple(shape)


@imports("Flatten")
def flatten(site: Site) -> None:
    """Flatten, or Reshape where the first axis is not the batch alone."""
    x = site.stream(0)
    axis = site.attributes.integer("axis", 1)
    axis = axis + x.ndim if axis < 0 else axis
    if not 0 <= axis <= x.ndim:
        raise site.invalid(f"axis {axis} of a value of {x.ndim} axes")
    shapes = [(math.prod(shape[:axis]), math.prod(shape[axis:])) for shape in x.shapes]
    if axis == 1 and x.ndim > 2:
        site.emit("Flatten", x, dtype=x.dtype)
    else:
        reshaped(site, x, shapes)


@imports("Squeeze")
def squeeze(site: Site) -> None:
    """Reshape without axes of length 1."""
    x = site.stream(0)
    axes = site.integers(1, "axes")
    if axes is None:
        axes = [axis for axis in range(x.ndim) if all(shape[axis] == 1 for shape in x.shapes)]
        if any(len([n for n in shape if n != 1]) != x.ndim - len(axes) for shape in x.shapes):
            raise site.unsupported("without axes it depends on the batch which of them there are")
        if len(set(x.shapes)) > 1:
            site.note("without axes: an axis that is dynamic stays here where it is 1 long, as with one sample")
    gone = {site.axis(axis, x.ndim, "axes") for axis in axes}
    if any(shape[axis] != 1 for shape in x.shapes for axis in gone):
        raise site.invalid(f"axes {axes} of shape {x.shape} are not of length 1")
    if len(gone) == 1:
        site.emit("Squeeze", x, dtype=x.dtype, dim=gone.pop())
        return
    reshaped(site, x, [tuple(n for i, n in enumerate(shape) if i not in gone) for shape in x.shapes])


@imports("Unsqueeze")
def unsqueeze(site: Site) -> None:
    """Reshape with more axes."""
    x = site.stream(0)
    axes = site.integers(1, "axes") or []
    ndim = x.ndim + len(axes)
    new = {site.axis(axis, ndim, "axes") for axis in axes}
    if len(new) != len(axes):
        raise site.invalid(f"axes {axes} name one twice")
    if len(new) == 1:
        site.emit("Unsqueeze", x, dtype=x.dtype, dim=new.pop())
        return
    shapes = []
    for shape in x.shapes:
        rest = iter(shape)
        shapes.append(tuple(1 if i in new else next(rest) for i in range(ndim)))
    reshaped(site, x, shapes)


@imports("Transpose")
def transpose(site: Site) -> None:
    """Permute."""
    x = site.stream(0)
    dims = site.attributes.integers("perm", list(range(x.ndim))[::-1]) or []
    if dims == list(range(x.ndim)):
        return site.pass_on(x)
    site.emit("Permute", x, dtype=x.dtype, dims=dims)
    return None


@imports("Concat")
def concat(site: Site) -> None:
    """Concat; real numbers where not all are integers."""
    x = [site.stream(i) for i in range(len(site.inputs))]
    if len({one.spec.role for one in x}) > 1:
        x = [site.as_real(one) for one in x]
    axis = site.axis(site.attributes.integer("axis", 1), x[0].ndim)
    if len(x) == 1:
        return site.pass_on(x[0])
    site.emit("Concat", x, dtype=x[0].dtype, dim=axis)
    return None


@imports("Split")
def split(site: Site) -> None:
    """Split, into equal parts or parts of given sizes."""
    x = site.stream(0)
    axis, parts = site.axis(site.attributes.integer("axis", 0), x.ndim), len(site.tops)
    sizes = site.integers(1, "split")
    site.attributes.has("num_outputs")
    if parts == 1:
        return site.pass_on(x)
    if sizes is None:
        if any(-(-shape[axis] // -(-shape[axis] // parts)) != parts for shape in x.shapes):
            raise site.invalid(f"axis {axis} of {x.shape} has no {parts} parts")
        if all(shape[axis] % parts == 0 for shape in x.shapes):
            return _pieces(site, x, "Slice", axis)
        each = {-(-shape[axis] // parts) for shape in x.shapes}
        if len(each) > 1:
            raise site.unsupported("the sizes of its parts depend on those of the net's inputs")
        sizes = [each.pop()] * (parts - 1)
        sizes.append(x.shape[axis] - sum(sizes))
    return _pieces(site, x, "Split", axis, split_size=sizes)


def _pieces(site: Site, x: Stream, kind: str, axis: int, **options: object) -> None:
    """All parts, also those that nobody reads."""
    tops = [top or site.shared.unique(f"{site.own}.unused{j}") for j, top in enumerate(site.tops)]
    for j, stream in enumerate(site.emit(kind, x, tops=tops, dtype=x.dtype, given={"dim": axis, **options})):
        site.pass_on(stream, j)


@imports("Slice")
def slice_(site: Site) -> None:
    """Index with a slice for each axis."""
    x = site.stream(0)
    if site.has(1):
        starts, ends = lengths(site, 1, "starts"), lengths(site, 2, "ends")
    else:
        starts, ends = ([site.attributes.integers(name) or []] * len(x.specs) for name in ("starts", "ends"))
    axes = site.integers(3, "axes") or list(range(len(starts[0])))
    steps = site.integers(4, "") if site.has(4) else None
    steps = [1] * len(axes) if steps is None else steps
    if not len(axes) == len(starts[0]) == len(ends[0]) == len(steps) or 0 in steps:
        raise site.invalid(f"starts {starts[0]}, ends {ends[0]}, axes {axes} and steps {steps} do not fit each other")
    entries = [":"] * x.ndim
    for k, axis in enumerate(axes):
        axis = site.axis(axis, x.ndim, "axes")
        cuts = []
        for v, shape in enumerate(x.shapes):
            stop = None if steps[k] < 0 and ends[v][k] < -shape[axis] else ends[v][k]
            cuts.append((shape[axis], *slice(starts[v][k], stop, steps[k]).indices(shape[axis])))
        told = [{places[k] for places in starts}, {places[k] for places in ends}]
        entries[axis] = _entry(site, cuts, told)
    if all(entry == ":" for entry in entries):
        return site.pass_on(x)
    while entries[-1] == ":":
        entries.pop()
    site.emit("Index", x, dtype=x.dtype, index=entries)
    return None


def _entry(site: Site, cuts: Sequence[tuple[int, int, int, int]], told: Sequence[set[int]]) -> str:
    """A slice in words that mean the same for all sizes: (length, start, stop, step) in each variant.

    told   the starts and the ends that the file has; one that is the same in all variants of an axis that is dynamic is
           written as it is: where it cuts, or whether it does, may differ at other lengths
    """
    step = cuts[0][3]
    dynamic = len({n for n, *_ in cuts}) > 1
    if dynamic and len(told[0]) == 1:
        begin = _literal(min(told[0]), [0, -FAR] if step > 0 else [-1, FAR])
    else:
        whole = all(start == (0 if step > 0 else n - 1) for n, start, _, _ in cuts)
        begin = "" if whole else _place(site, cuts, [start for _, start, _, _ in cuts])
    if dynamic and len(told[1]) == 1:
        end = _literal(min(told[1]), [FAR] if step > 0 else [-FAR])
    else:
        to_the_end = all(stop == (n if step > 0 else -1) for n, _, stop, _ in cuts)
        end = "" if to_the_end else _place(site, cuts, [stop for _, _, stop, _ in cuts])
    return f"{begin}:{end}" + (f":{step}" if step != 1 else "")


def _literal(place: int, usual: Sequence[int]) -> str:
    """A place as the file has it; nothing where it is the usual one, as what lies beyond every axis is."""
    return "" if max(-FAR, min(place, FAR)) in usual else str(place)


def _place(site: Site, cuts: Sequence[tuple[int, int, int, int]], places: Sequence[int]) -> str:
    """A place counted from the front or from the back, whichever is the same in all variants."""
    if len(set(places)) == 1:
        return str(places[0])
    back = {place - n for (n, *_), place in zip(cuts, places, strict=True)}
    if len(back) == 1 and min(back) < 0:
        return str(back.pop())
    raise site.unsupported("where it cuts depends on the sizes of the net's inputs")


@imports("Expand")
def expand(site: Site) -> None:
    """Expand; what is broadcast already is passed on."""
    x = site.stream(0)
    wanted = lengths(site, 1, "shape")
    try:
        shapes = [np.broadcast_shapes(one, tuple(shape)) for one, shape in zip(x.shapes, wanted, strict=False)]
    except (ValueError, RuntimeError):  # of more axes than NumPy has
        raise site.invalid(f"shape {x.shape} cannot be expanded to {wanted[0]}") from None
    if all(shape == one for shape, one in zip(shapes, x.shapes, strict=True)):
        return site.pass_on(x)
    new = len(shapes[0]) - x.ndim
    target = []
    for i, n in enumerate(shapes[0]):
        kept = i >= new and all(shape[i] == one[i - new] for shape, one in zip(shapes, x.shapes, strict=True))
        if not kept and len({shape[i] for shape in shapes}) > 1:
            raise site.unsupported(f"length {i} of what it makes depends on the sizes of the net's inputs")
        target.append(-1 if kept else n)
    site.emit("Expand", x, dtype=x.dtype, shape=target)
    return None


@imports("Tile")
def tile(site: Site) -> None:
    """Tile."""
    x, counts = site.stream(0), site.integers(1, "repeats") or []
    if len(counts) != x.ndim or min(counts, default=1) < 1:
        raise site.unsupported(f"repeats {counts} of a value of {x.ndim} axes")
    if set(counts) <= {1}:
        return site.pass_on(x)
    site.emit("Tile", x, dtype=x.dtype, dims=counts)
    return None


@imports("Pad")
def pad(site: Site) -> None:
    """Pad; negative widths cut off."""
    x = site.stream(0)
    modes = {"constant": "constant", "reflect": "reflect", "edge": "replicate"}
    mode = site.attributes.text("mode", "constant")
    if mode not in modes:
        raise site.unsupported(f"mode {mode}: {', '.join(modes)} are supported")
    widths = site.integers(1, "pads") or []
    axes = site.integers(3, "axes") if site.has(3) else list(range(x.ndim))
    if axes is None or len(widths) != 2 * len(axes):
        raise site.invalid(f"pads {widths} for a value of {x.ndim} axes: two for each")
    before, behind = [0] * x.ndim, [0] * x.ndim
    for k, axis in enumerate(axes):
        axis = site.axis(axis, x.ndim, "axes")
        before[axis], behind[axis] = widths[k], widths[k + len(axes)]
    value = number(site.constant(2).reshape(-1)[0]) if site.has(2) and site.constant(2).size else None
    value = number(site.attributes.number("value", 0.0)) if value is None else value
    if not any([*before, *behind]):
        return site.pass_on(x)
    more = [max(0, n) for n in before], [max(0, n) for n in behind]
    grows = any([*more[0], *more[1]])
    if min([*before, *behind]) < 0:
        cut = [f"{-a if a < 0 else ''}:{b if b < 0 else ''}" for a, b in zip(before, behind, strict=True)]
        (x,) = site.emit("Index", x, part="cut" if grows else "", dtype=x.dtype, index=cut)
    if grows:
        flat = [n for axis in reversed(range(x.ndim)) for n in (more[0][axis], more[1][axis])]
        while len(flat) > 2 and flat[-2:] == [0, 0]:
            flat = flat[:-2]
        site.emit("Pad", x, dtype=x.dtype, padding=flat, mode=modes[mode], value=value)
    return None


@imports("DepthToSpace")
def depth_to_space(site: Site) -> None:
    """PixelShuffle (mode CRD), or channels taken apart in the other order."""
    x, block = site.real(0), site.attributes.integer("blocksize", 0)
    mode = site.attributes.text("mode", "DCR")
    _demand_blocks(site, x, block, channels=True)
    if mode == "CRD":
        site.emit("PixelShuffle", x, upscale_factor=block)
        return
    apart = [(n, block, block, c // block**2, h, w) for n, c, h, w in x.shapes]
    parts = reshaped(site, x, apart, "apart")
    (turned,) = site.emit("Permute", parts, part="turned", dims=[0, 3, 4, 1, 5, 2])
    site.pass_on(reshaped(site, turned, [(n, c // block**2, h * block, w * block) for n, c, h, w in x.shapes]))


@imports("SpaceToDepth")
def space_to_depth(site: Site) -> None:
    """Blocks of positions as channels."""
    x, block = site.real(0), site.attributes.integer("blocksize", 0)
    _demand_blocks(site, x, block, channels=False)
    apart = [(n, c, h // block, block, w // block, block) for n, c, h, w in x.shapes]
    parts = reshaped(site, x, apart, "apart")
    (turned,) = site.emit("Permute", parts, part="turned", dims=[0, 3, 5, 1, 2, 4])
    site.pass_on(reshaped(site, turned, [(n, c * block**2, h // block, w // block) for n, c, h, w in x.shapes]))


def _demand_blocks(site: Site, x: Stream, block: int, channels: bool) -> None:
    if x.ndim != 4 or block < 1:
        raise site.invalid(f"blocks of {block} of a value of shape {x.shape}")
    for shape in x.shapes:
        if (shape[1] % block**2) if channels else (shape[2] % block or shape[3] % block):
            raise site.invalid(f"shape {shape} has no blocks of {block}")


@imports("Trilu")
def trilu(site: Site) -> None:
    """A Where with a triangle: 0 elsewhere."""
    x = site.stream(0)
    k = int(site.constant(1, "k").reshape(-1)[0]) if site.has(1) else 0
    sizes = {shape[-2:] for shape in x.shapes}
    if len(sizes) != 1:
        raise site.unsupported("the size of its matrices is dynamic")
    triangle = (np.triu if site.attributes.flag("upper", True) else np.tril)(np.ones(x.shape[-2:], bool), k)
    mask = site.as_stream(Known((triangle,) * site.shared.count))
    zero = site.as_stream(Known((np.zeros((), np.int64 if x.dtype == "int64" else np.float32),) * site.shared.count))
    site.emit("Where", [mask, x, zero], dtype=x.dtype)
