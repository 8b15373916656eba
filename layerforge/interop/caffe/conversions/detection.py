"""Layers of detectors: those of SSD, of Fast R-CNN and of R-FCN."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ..conversion import Site, Stream, converts
from ..message import Message
from .common import flat, pair, plain, with_samples
from .losses import divisor

# What MultiBoxLoss reads only where it mines by other rules than are supported.
MINING = ("sample_size", "use_prior_for_nms")


# Regions --------------------------------------------------------------------------------------------------------------


@converts("ROIPooling")
def roi_pooling(site: Site) -> None:
    """ROIPooling of Fast R-CNN."""
    site.count(2, 1)
    p = site.param("roi_pooling_param")
    size = [p.get("pooled_h"), p.get("pooled_w")]
    if min(size) < 1:
        raise site.invalid(f"pooled_h and pooled_w must be at least 1, they are {size}", p)
    options = {"output_size": plain(size), "spatial_scale": p.get("spatial_scale")}
    site.emit("ROIPooling", [with_samples(site, site.bottoms[0]), _regions(site)], **options)


@converts("PSROIPooling")
def psroi_pooling(site: Site) -> None:
    """PSROIPooling of R-FCN."""
    site.count(2, 1)
    p, x = site.param("psroi_pooling_param"), with_samples(site, site.bottoms[0])
    group, outputs = p.get("group_size"), p.get("output_dim")
    if group < 1 or outputs < 1 or p.get("spatial_scale") <= 0:
        raise site.invalid("group_size and output_dim must be at least 1, spatial_scale above 0", p)
    if x.shape[1] != outputs * group**2:
        told = f"bottom 0 has {x.shape[1]} channels: output_dim {outputs} x group_size² {group**2} are needed"
        raise site.invalid(told, site.layer, "bottom")
    options = {"output_size": group, "out_channels": outputs, "spatial_scale": p.get("spatial_scale")}
    site.emit("PSROIPooling", [x, _regions(site)], **options)


def _regions(site: Site) -> Stream:
    """The second bottom, five numbers for each region."""
    regions = site.real(site.bottoms[1])
    if regions.ndim < 2 or math.prod(regions.shape[1:]) != 5:
        raise site.invalid(f"bottom 1 has shape {regions.shape}, (R, 5) is needed", site.layer, "bottom")
    return flat(site, regions, "regions")


@converts("SmoothL1Loss")
def smooth_l1_loss(site: Site) -> None:
    """SmoothL1Loss, divided by the batch: with sigma and two weights as Fast R-CNN's, with one weight as SSD's."""
    site.count((2, 4), 1)
    x, t, *weights = [site.real(bottom) for bottom in site.bottoms]
    sigma = site.param("smooth_l1_loss_param").get("sigma")
    if sigma <= 0:
        raise site.invalid(f"sigma {sigma:g} must be above 0", site.layer, "smooth_l1_loss_param")
    for i, one in enumerate([t, *weights], 1):
        if one.shape[:1] != x.shape[:1] or one.spec.size != x.spec.size:
            raise site.invalid(f"bottom {i} has shape {one.shape}, bottom 0 {x.shape}", site.layer, "bottom")
    t, *weights = [_like(site, one, x, f"like{i}") for i, one in enumerate([t, *weights], 1)]
    # Caffe gives weights no gradient
    weights = [site.emit("Detach", one, part=f"weight{i}")[0] for i, one in enumerate(weights)]
    if len(weights) == 1:
        (x,), (t,) = (site.emit("Mul", [one, weights[0]], part=name) for one, name in ((x, "inside"), (t, "target")))
        weights = []
        site.note("Caffe's gradient leaves out the weight, which makes no difference where all are 0 or 1")
    options: dict[str, Any] = {} if sigma == 1 else {"sigma": sigma}
    site.emit("SmoothL1Loss", [x, t, *weights], reduction="batchmean", **options)


def _like(site: Site, stream: Stream, other: Stream, part: str) -> Stream:
    """A blob in the shape of another with as many numbers."""
    if stream.shape == other.shape:
        return stream
    return site.emit("Reshape", stream, part=part, shape=[-1, *other.shape[1:]])[0]


# SSD ------------------------------------------------------------------------------------------------------------------


@converts("PriorBox")
def prior_box(site: Site) -> None:
    """PriorBox of SSD, which cuts min_size and max_size to whole pixels."""
    site.count(2, 1)
    p = site.param("prior_box_param")
    x = [with_samples(site, bottom) for bottom in (site.bottoms[0], site.bottoms[1])]
    least, most = (_whole(site, p, name) for name in ("min_size", "max_size"))
    if not least:
        raise site.invalid("min_size is missing", p)
    if most and len(most) != len(least):
        raise site.invalid(f"{len(most)} max_size for {len(least)} min_size", p, "max_size")
    ratios, variances = list(p.get("aspect_ratio")), list(p.get("variance"))
    if len(variances) not in (0, 1, 4) or any(v <= 0 for v in variances):
        raise site.invalid(f"variance {variances}: one or four numbers above 0 are needed", p, "variance")
    options = {
        "min_size": _few(least),
        "max_size": _few(most) if most else None,
        "aspect_ratio": _few(ratios) if ratios else None,
        "flip": p.get("flip"),
        "clip": p.get("clip"),
        "variance": _few(variances or [0.1]),
        "img_size": _pair(site, p, "img_size", "img_h", "img_w"),
        "step": _pair(site, p, "step", "step_h", "step_w"),
        "offset": _offset(site, p),
    }
    site.emit("PriorBox", x, **options)


def _few(numbers: Sequence[float]) -> Any:
    """One number, or a list."""
    return numbers[0] if len(numbers) == 1 else list(numbers)


def _whole(site: Site, p: Message, name: str) -> list[float]:
    """Sides in whole pixels, as the layer cuts them."""
    given = list(p.get(name))
    if not all(map(math.isfinite, given)):
        raise site.invalid(f"{name} {given}: finite numbers are needed", p, name)
    cut = [float(int(side)) for side in given]
    if any(side < 1 for side in cut):
        raise site.unsupported(f"{name} {min(given):g}: below one pixel the layer makes boxes of size 0", p, name)
    if cut != given:
        site.note(f"as in Caffe {name} is cut to whole pixels: {_few(cut)}; OpenCV does not cut it")
    return cut


def _pair(site: Site, p: Message, name: str, high: str, wide: str) -> Any:
    """Numbers above 0 of both axes; None where none is said."""
    found = pair(site, p, name, high, wide)
    if found and min(found) <= 0:
        raise site.invalid(f"{name} must be above 0", p)
    return plain(found) if found else None


def _offset(site: Site, p: Message) -> float:
    """The offset, which a fork gives for each axis."""
    if not p.has("offset_h") and not p.has("offset_w"):
        return float(p.get("offset"))
    down, across = p.get("offset_h"), p.get("offset_w")
    if down != across or p.has("offset"):
        raise site.unsupported("offset_h and offset_w that differ", p, "offset_h" if p.has("offset_h") else "offset_w")
    return float(down)


@converts("DetectionOutput")
def detection_output(site: Site) -> None:
    """DetectionOutput of SSD, with a fixed number of rows: those behind the last object are full of -1."""
    site.count((3, 4), 1)
    p = site.param("detection_output_param")
    nms = p.get("nms_param")
    why = "nothing is drawn or written: the rows are the top"
    site.harmless(p, "visualize", "visualize_threshold", "save_file", "save_output_param", why=why)
    options = {
        **_classes(site, p),
        "nms_threshold": nms.get("nms_threshold"),
        "eta": nms.get("eta"),
        "top_k": max(nms.get("top_k"), -1) if nms.has("top_k") else -1,
        "keep_top_k": max(p.get("keep_top_k"), -1),
        "confidence_threshold": p.get("confidence_threshold") if p.has("confidence_threshold") else None,
        "variance_encoded_in_target": p.get("variance_encoded_in_target"),
    }
    if len(site.bottoms) == 4:
        site.emit("Silence", site.bottoms[3], part="image", tops=[])
        site.note("the fourth bottom is only drawn on in Caffe")
    site.emit("DetectionOutput", _predictions(site), **options)
    site.note("Caffe's top has as many rows as there are objects; here the rows behind the last one are full of -1")


def _classes(site: Site, p: Message) -> dict[str, Any]:
    """What DetectionOutput and MultiBoxLoss have in common."""
    classes, background = p.get("num_classes"), p.get("background_label_id")
    if classes < 1:
        raise site.invalid("num_classes must be at least 1", p, "num_classes")
    if background >= classes:
        raise site.invalid(f"background_label_id {background} of {classes} classes", p, "background_label_id")
    return {
        "num_classes": classes,
        "background_label_id": max(background, -1),
        "share_location": p.get("share_location"),
        "code_type": p.get("code_type").lower(),
    }


def _predictions(site: Site) -> list[Stream]:
    """Offsets and scores of each sample in a row, and the priors."""
    offsets, scores = (flat(site, site.bottoms[i], name) for i, name in enumerate(("offsets", "scores")))
    priors = site.real(site.bottoms[2])
    if priors.ndim < 3 or priors.shape[:2] != (1, 2) or math.prod(priors.shape[2:]) % 4:
        raise site.invalid(f"bottom 2, the priors, has shape {priors.shape}", site.layer, "bottom")
    if priors.ndim > 3:
        (priors,) = site.emit("Flatten", priors, part="priors", start_dim=2)
    return [offsets, scores, priors]


@converts("MultiBoxLoss")
def multi_box_loss(site: Site) -> None:
    """MultiBoxLoss of SSD."""
    site.count(4, 1)
    p, loss = site.param("multibox_loss_param"), site.param("loss_param")
    mining = p.get("mining_type")
    if mining == "HARD_EXAMPLE":
        raise site.unsupported("mining_type HARD_EXAMPLE", p, "mining_type", hint="MAX_NEGATIVE and NONE are supported")
    if p.has("do_neg_mining") and p.get("do_neg_mining") != (mining != "NONE"):
        raise site.invalid(f"do_neg_mining, and mining_type {mining}", p, "do_neg_mining")
    for name in ("map_object_to_agnostic", "bp_inside"):
        if p.get(name):
            raise site.unsupported(f"{name}: true", p, name)
    site.harmless(p, *MINING, why=f"mining_type {mining} does not read it")
    options = {name: p.get(name).lower() for name in ("loc_loss_type", "conf_loss_type", "match_type")}
    names = (
        *("loc_weight", "overlap_threshold", "use_prior_for_matching", "use_difficult_gt", "neg_pos_ratio"),
        *("neg_overlap", "encode_variance_in_target", "ignore_cross_boundary_bbox"),
    )
    options |= {name: p.get(name) for name in names} | {"mining_type": mining.lower()}
    objects = site.real(site.bottoms[3])
    if objects.ndim < 2 or objects.shape[-1] != 8:
        raise site.invalid(f"bottom 3, the objects, has shape {objects.shape}: (..., 8)", site.layer, "bottom")
    bottoms = [*_predictions(site), objects]
    site.emit("MultiBoxLoss", bottoms, **_classes(site, p), **options, normalization=divisor(site, loss, "VALID"))


@converts("Normalize")
def normalize(site: Site) -> None:
    """Normalize of SSD: each position, or each sample, divided by its length and multiplied by a learned factor."""
    site.count(1, 1)
    x, p = site.real(site.bottoms[0]), site.param("norm_param")
    site.demand_axes(x, 2, 4)
    shared, whole = p.get("channel_shared"), p.get("across_spatial")
    dims: Any = list(range(1, x.ndim)) if whole and x.ndim > 2 else 1
    (squares,) = site.emit("SumSquare", x, part="squares", dim=dims, keepdim=True)
    (over,) = site.emit("Pow", squares, part="over", exponent=-0.5, shift=p.get("eps"))
    unit = site.emit("Mul", [x, over], part="unit")
    site.emit("Scale", unit, num_axes=0 if shared else 1)
    one = Message("FillerParameter", type="constant", value=1.0)
    site.blob("weight", filler=p.get("scale_filler") if p.has("scale_filler") else one)
