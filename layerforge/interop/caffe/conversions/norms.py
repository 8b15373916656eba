"""Normalisation, and factors and summands of channels."""

from __future__ import annotations

from typing import Any

from ..conversion import Site, converts
from ..message import Message
from .common import with_samples


@converts("BatchNorm")
def batch_norm(site: Site) -> None:
    """BatchNorm without weight and bias, that holds Caffe's three blobs: sums of statistics, and their factor.

    NVIDIA's fork has weight and bias with `scale_bias`, as blobs 3 and 4: a Scale behind it.
    """
    site.count(1, 1)
    x, p = site.real(site.bottoms[0]), site.param("batch_norm_param")
    site.demand_axes(x, 2)
    site.harmless(p, "engine")
    fixed = p.has("use_global_stats") and p.get("use_global_stats")
    by_batch = p.has("use_global_stats") and not fixed
    if p.get("fused_relu"):
        raise site.unsupported("fused_relu", p, "fused_relu", hint="write a layer of type ReLU behind it")
    fraction = p.get("moving_average_fraction")
    if not 0 <= fraction <= 1:
        raise site.invalid(f"moving_average_fraction {fraction:g}", p, "moving_average_fraction")
    options: dict[str, Any] = {"affine": False, "bias_correction": True, "momentum": round(1 - fraction, 12)}
    # What holds in a phase anyhow is not said; nets often say it in a layer of their own for each phase.
    options |= {"eps": p.get("eps"), "use_running_stats": fixed and site.phase == "train"}
    options["use_batch_stats"] = by_batch and site.phase == "eval"
    if options["use_batch_stats"]:
        site.note("use_global_stats: false in phase TEST: the batch normalises; Caffe's blobs follow, here they rest")
    scaled = p.get("scale_bias")
    y = site.emit("BatchNorm", x, part="norm" if scaled else "", **options)
    for name in ("running_mean", "running_var", "correction"):
        site.blob(name, state=True)
    if scaled:
        site.emit("Scale", y, bias=True)
        site.blob("weight", filler=_one(p, "scale_filler"))
        site.blob("bias", filler=p.get("bias_filler"), key="bias_filler")
    else:
        site.harmless(p, "scale_filler", "bias_filler", why="there is no scale_bias")


def _one(p: Message, name: str) -> Message:
    """The filler of a factor, which is 1 where nothing is said."""
    return p.get(name) if p.has(name) else Message("FillerParameter", type="constant", value=1.0)


@converts("Scale")
def scale(site: Site) -> None:
    """Scale: learned with one bottom, by the second with two."""
    site.count((1, 2), 1)
    p = site.param("scale_param")
    x = [site.real(bottom) for bottom in site.bottoms]
    bias = p.get("bias_term")
    if len(x) == 1:
        site.emit("Scale", x, **_axes(site, p), bias=bias)
        site.blob("weight", filler=_one(p, "filler"))
    else:
        site.harmless(p, "num_axes", "filler", why="the second bottom is the factor")
        site.emit("Scale", x, dim=p.get("axis"), bias=bias)
    if bias:
        site.blob("bias", filler=p.get("bias_filler"), key="bias_filler")
    else:
        site.harmless(p, "bias_filler", why="there is no bias_term")


@converts("Bias")
def bias(site: Site) -> None:
    """Bias: learned with one bottom, the second with two."""
    site.count((1, 2), 1)
    p = site.param("bias_param")
    x = [site.real(bottom) for bottom in site.bottoms]
    if len(x) == 2:
        site.harmless(p, "num_axes", "filler", why="the second bottom is the summand")
        site.emit("Bias", x, dim=p.get("axis"))
        return
    site.emit("Bias", x, **_axes(site, p))
    site.blob("bias", filler=p.get("filler"), key="bias_filler")


def _axes(site: Site, p: Message) -> dict[str, Any]:
    """Which axes a learned operand belongs to."""
    shape, count = site.bottoms[0].shape, p.get("num_axes")
    axis = site.axis(p.get("axis"), len(shape), p) if shape else 0
    if count < -1 or (count > 0 and axis + count > len(shape)):
        raise site.invalid(f"num_axes {count} from axis {axis} of a blob of {len(shape)} axes", p, "num_axes")
    return {"dim": p.get("axis"), "num_axes": count}


@converts("LRN")
def lrn(site: Site) -> None:
    """LocalResponseNorm, across channels or within one, where Caffe ignores k."""
    site.count(1, 1)
    x, p = with_samples(site, site.bottoms[0]), site.param("lrn_param")
    site.harmless(p, "engine")
    size, within = p.get("local_size"), p.get("norm_region") == "WITHIN_CHANNEL"
    if size % 2 == 0:
        raise site.invalid(f"local_size must be odd, it is {size}", p, "local_size")
    options = {"size": size, "alpha": p.get("alpha"), "beta": p.get("beta")}
    if within:
        site.harmless(p, "k", why="Caffe does not read it within a channel, where it is 1")
        site.emit("LocalResponseNorm", x, **options, norm_region="within_channel")
    else:
        site.emit("LocalResponseNorm", x, **options, k=p.get("k"))


@converts("MVN")
def mvn(site: Site) -> None:
    """MVN, whose gradient here takes eps into account."""
    site.count(1, 1)
    x, p = with_samples(site, site.bottoms[0]), site.param("mvn_param")
    names = ("normalize_variance", "across_channels", "eps")
    site.emit("MVN", x, **{name: p.get(name) for name in names})
    if p.get("normalize_variance") and p.get("eps") > 1e-6:
        site.note("Caffe's gradient leaves out how eps enters the derivative; here it is exact")


