"""Layers of nets that label every pixel: SegNet's, PSPNet's, DeepLab's."""

from __future__ import annotations

from typing import Any

from ..conversion import Site, Stream, converts
from ..message import Message
from .common import pair, plain, with_samples

SEGNETS = ("scale_filler", "shift_filler", "bn_mode")
PSPNETS = ("slope_filler", "bias_filler", "momentum", "frozen", "eps")


# BN -------------------------------------------------------------------------------------------------------------------


@converts("BN")
def bn(site: Site) -> None:
    """The BN of SegNet or that of PSPNet, which have a type's name in common and no field."""
    site.count(1, 1)
    x, p = site.real(site.bottoms[0]), site.param("bn_param")
    site.demand_axes(x, 2, 4)
    site.harmless(p, "engine")
    segnets, pspnets = ([name for name in names if p.has(name)] for names in (SEGNETS, PSPNETS))
    if segnets and pspnets:
        told = f"{segnets[0]} is a field of SegNet's layer, {pspnets[0]} one of PSPNet's"
        raise site.unsupported(told, p, segnets[0], hint="write the fields of one of the two")
    if pspnets or (not segnets and len(site.layer.get("param")) > 2):
        _pspnets(site, x, p)
    elif segnets:
        _segnets(site, x, p)
    else:
        hint = "write bn_param { bn_mode: INFERENCE } or LEARN for SegNet's, bn_param { frozen: false } for PSPNet's"
        raise site.unsupported("BN of SegNet and that of PSPNet cannot be told apart without a field", hint=hint)


def _segnets(site: Site, x: Stream, p: Message) -> None:
    """By the statistics of the batch in both phases; in mode INFERENCE a factor and a summand alone."""
    shape = (1, x.shape[1], 1, 1)
    if p.get("bn_mode") == "INFERENCE":
        site.emit("Scale", x, bias=True)
    else:
        site.emit("BatchNorm", x, track_running_stats=False, eps=1e-9)
    site.blob("weight", filler=p.get("scale_filler"), shape=shape)
    site.blob("bias", filler=p.get("shift_filler"), key="bias_filler", shape=shape)


def _pspnets(site: Site, x: Stream, p: Message) -> None:
    """BatchNorm with four blobs; frozen stops its weight, bias and statistics."""
    momentum, frozen, shape = p.get("momentum"), p.get("frozen"), (1, x.shape[1])
    if not 0 <= momentum <= 1:
        raise site.invalid(f"momentum {momentum:g}", p, "momentum")
    site.emit("BatchNorm", x, eps=p.get("eps"), momentum=round(1 - momentum, 12), use_running_stats=frozen)
    site.blob("weight", filler=p.get("slope_filler"), shape=shape)
    site.blob("bias", filler=p.get("bias_filler"), key="bias_filler", shape=shape)
    site.blob("running_mean", state=True, shape=shape)
    site.blob("running_var", state=True, shape=shape)
    if frozen:
        site.made[-1].item["freeze"] = True
        site.note("frozen: weight, bias and statistics stay as they are")
    elif site.phase == "train":
        site.note(
            "the running variance is m / (m - 1) of that of a batch of m values, as cuDNN has it; PSPNet's code"
            " without cuDNN leaves the factor out"
        )


# Sizes ----------------------------------------------------------------------------------------------------------------


@converts("Upsample")
def upsample(site: Site) -> None:
    """SegNet's Upsample puts maxima back where MaxPool2d took them from; one bottom alone is repeated (YOLO's)."""
    site.count((1, 2), 1)
    p, x = site.param("upsample_param"), with_samples(site, site.bottoms[0])
    if len(site.bottoms) == 1:
        site.emit("Upsample", x, scale_factor=_scales(site, p, stride=True))
        return
    scales, mask = _scales(site, p), site.index(site.bottoms[1])
    if mask.shape != x.shape:
        raise site.invalid(f"bottom 1 has shape {mask.shape}, bottom 0 {x.shape}", site.layer, "bottom")
    size = _unpooled(site, p, x, scales)
    usual = [length * scale for length, scale in zip(x.shape[2:], scales, strict=True)]
    options: dict[str, Any] = {"kernel_size": plain(scales)}
    if any(abs(n - u) >= s for n, u, s in zip(size, usual, scales, strict=True)):
        kernel = [n - length + 1 for n, length in zip(size, x.shape[2:], strict=True)]
        if min(kernel) < 1:
            raise site.unsupported(f"a top of {size} from a bottom of {list(x.shape[2:])}", p)
        options = {"kernel_size": plain(kernel), "stride": 1}
    elif size != usual:
        options["output_size"] = size
    site.emit("MaxUnpool2d", [x, mask], **options)
    site.note("where windows of the pooling overlap, Caffe gives every maximum of a place the gradient, here the last")


def _scales(site: Site, p: Message, stride: bool = False) -> list[int]:
    """How many times higher and wider the top is; forks that repeat call it stride, too."""
    names = ("scale", "scale_h", "scale_w")
    if stride and p.has("stride"):
        if any(p.has(name) for name in names):
            raise site.invalid("stride and scale together", p, "stride")
        names = ("stride", "stride_h", "stride_w")
    scales: list[int] = pair(site, p, *names) or [p.get(names[0])] * 2
    if min(scales) < 1:
        raise site.invalid(f"{names[0]} must be at least 1", p)
    return scales


def _unpooled(site: Site, p: Message, x: Stream, scales: list[int]) -> list[int]:
    """Height and width of the top: said, or scale times those of the bottom, one less with pad_out."""
    own = [p.has("upsample_h"), p.has("upsample_w")]
    pads = [p.get("pad_out_h"), p.get("pad_out_w")]
    if all(own):
        site.harmless(p, "scale", "scale_h", "scale_w", "pad_out_h", "pad_out_w", why="upsample_h and _w say the size")
        return [p.get("upsample_h"), p.get("upsample_w")]
    if any(own):
        raise site.invalid("upsample_h and upsample_w belong together", p, "upsample_h" if own[0] else "upsample_w")
    for name, pad, scale in zip(("pad_out_h", "pad_out_w"), pads, scales, strict=True):
        if pad and scale != 2:
            raise site.invalid(f"{name} is for a scale of 2, it is {scale}", p, name)
    return [length * scale - int(pad) for length, scale, pad in zip(x.shape[2:], scales, pads, strict=True)]


@converts("Interp")
def interp(site: Site) -> None:
    """Bilinear with corners that coincide, to a size or by whole factors, after cutting off an edge."""
    site.count((1, 2), 1)
    p, x = site.param("interp_param"), with_samples(site, site.bottoms[0])
    begin, end = p.get("pad_beg"), p.get("pad_end")
    if begin > 0 or end > 0:
        raise site.invalid("pad_beg and pad_end only cut off: they must be 0 or below", p)
    if min(x.shape[2:]) + begin + end < 1:
        raise site.invalid(f"pad_beg {begin} and pad_end {end} leave nothing of {x.shape[2:]}", p)
    if begin or end:
        part = f"{-begin}:{end or ''}"
        (x,) = site.emit("Index", x, part="part", index=[":", ":", part, part])
    size = _interpolated(site, p, x)
    if p.get("use_blob_size"):
        site.emit("Silence", site.bottoms[1], part="size", tops=[])
        site.note(f"the size of bottom 1 is that of the inputs as they are declared: {size}")
    site.emit("Upsample", x, size=plain(size), mode="bilinear", align_corners=True)


def _interpolated(site: Site, p: Message, x: Stream) -> list[int]:
    """Height and width of the top: in this order of the second bottom, by one factor alone, said, by both factors."""
    factors = [name for name in ("shrink_factor", "zoom_factor") if p.has(name)]
    if (len(site.bottoms) == 2) != p.get("use_blob_size"):
        raise site.invalid("a second bottom and use_blob_size belong together", site.layer, "bottom")
    if p.get("use_blob_size"):
        site.harmless(p, "height", "width", "shrink_factor", "zoom_factor", why="use_blob_size says the size")
        return list(with_samples(site, site.bottoms[1]).shape[2:])
    size = [p.get("height"), p.get("width")]
    if len(factors) == 2 and p.has("height") and p.has("width"):
        site.harmless(p, *factors, why="height and width say the size")
    elif factors:
        site.harmless(p, "height", "width", why="the factors say the size")
        shrink, zoom = p.get("shrink_factor"), p.get("zoom_factor")
        if min(shrink, zoom) < 1:
            raise site.invalid("shrink_factor and zoom_factor must be at least 1", p, factors[0])
        return [((length - 1) // shrink) * zoom + 1 for length in x.shape[2:]]
    if min(size) < 1:
        raise site.invalid("no size: height and width, or a factor", p)
    return size
