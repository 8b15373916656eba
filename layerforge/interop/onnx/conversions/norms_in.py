"""Normalisations. ONNX's momentum is the weight of what a statistic was; ours, as torch's, of the new batch: 1 - m."""

from __future__ import annotations

import math

import numpy as np

from ..constants import number
from ..importing import Site, imports
from ..values import Known, Stream
from .common_in import same

SMALLEST = 1.1754944e-38  # normal number of float32


def _eps(site: Site, default: float = 1e-5) -> float:
    eps = number(site.attributes.number("epsilon", default))
    if eps <= 0:
        raise site.unsupported(f"epsilon is {eps:g}: layers have a positive one")
    return eps


def _is_plain(site: Site) -> bool:
    """Whether its factor and summand are constants that change nothing: the layer has none then."""
    known = site.is_known(1) and site.is_known(2)
    return known and _is_constant(site, 1, 1) and _is_constant(site, 2, 0)


def _affine(site: Site, count: int, first: int = 1) -> None:
    for i, name in ((first, "weight"), (first + 1, "bias")):
        value = site.known(i, f"its {'scale' if name == 'weight' else 'bias'}")
        if value.array.size != count:
            raise site.invalid(f"input {i} has shape {value.shape}, expected ({count},)")
        site.param(name, value)


@imports("BatchNormalization")
def batch_normalization(site: Site) -> None:
    """BatchNorm with its statistics; momentum m is 1 - m here. In training_mode, which before version 14
    more than one output stands for, eval normalises by the batch, too.
    """
    x, eps = site.real(0), _eps(site)
    momentum = number(1 - number(site.attributes.number("momentum", 0.9)))
    by_batch = site.attributes.flag("training_mode") or (site.opset < 14 and any(site.node.outputs[1:]))
    if not site.attributes.flag("spatial", True):
        raise site.unsupported("spatial is 0: statistics of each place")
    site.count(1)
    site.tops = site.tops[:1]
    learns = not _is_plain(site)
    site.emit("BatchNorm", x, eps=eps, momentum=round(momentum, 7), affine=learns, use_batch_stats=by_batch)
    if learns:
        _affine(site, x.shape[1])
    site.state("running_mean", site.constant(3, "its mean"))
    site.state("running_var", site.constant(4, "its variance"))
    if by_batch:
        site.note("it has the form of training: eval normalises by the batch, as the file does")


@imports("InstanceNormalization")
def instance_normalization(site: Site) -> None:
    """InstanceNorm; of one position, whose variance is 0, a GroupNorm with a group for each channel."""
    x, eps = site.real(0), _eps(site)
    learns = not _is_plain(site)
    if any(math.prod(shape[2:]) == 1 for shape in x.shapes):
        site.emit("GroupNorm", x, num_groups=x.shape[1], eps=eps, affine=learns)
    else:
        site.emit("InstanceNorm", x, eps=eps, affine=learns)
    if learns:
        _affine(site, x.shape[1])


@imports("LayerNormalization")
def layer_normalization(site: Site) -> None:
    """LayerNorm over the axes from `axis` on; ones and zeros that are constants are neither scale nor bias."""
    x, eps = site.real(0), _eps(site)
    over = _over(site, x)
    site.count(1)
    site.tops = site.tops[:1]
    if any(site.has(i) and not site.is_known(i) for i in (1, 2)):
        raise site.unsupported("its scale or bias is computed by the net")
    bias = site.has(2) and not _is_constant(site, 2, 0)
    affine = bias or (site.has(1) and not _is_constant(site, 1, 1))
    options = {"bias": bias} if affine else {"elementwise_affine": False}
    site.emit("LayerNorm", x, normalized_shape=over[0] if len(over) == 1 else list(over), eps=eps, given=options)
    if affine:
        _spread(site, "weight", site.known(1), over)
    if bias:
        _spread(site, "bias", site.known(2), over)


def _over(site: Site, x: Stream) -> tuple[int, ...]:
    """The lengths that a normalisation goes over: from `axis` on."""
    axis = site.axis(site.attributes.integer("axis", -1), x.ndim)
    site.attributes.has("stash_type")
    over = x.shape[axis:]
    if any(shape[axis:] != over for shape in x.shapes):
        raise site.unsupported(f"the axes that it normalises, {over}, have dynamic lengths")
    return over


def _is_constant(site: Site, i: int, number: float) -> bool:
    """Whether an input is this number everywhere, and not learned."""
    value = site.known(i)
    return not value.learned and not site.shared.constants_learn and bool((value.array == number).all())


def _spread(site: Site, name: str, value: Known, shape: tuple[int, ...]) -> None:
    """A parameter of that shape; one that is broadcast is made as long."""
    if value.shape == shape:
        site.param(name, value)
        return
    try:
        site.param(name, value.changed(np.broadcast_to(value.array, shape)))
    except ValueError:
        raise site.invalid(f"its {name} has shape {value.shape}, expected {shape}") from None


@imports("GroupNormalization")
def group_normalization(site: Site) -> None:
    """GroupNorm; before version 21 there is one factor for each group."""
    x, eps = site.real(0), _eps(site)
    groups = site.attributes.integer("num_groups", 0)
    site.attributes.has("stash_type")
    site.emit("GroupNorm", x, num_groups=groups, eps=eps)
    if site.opset >= 21:
        _affine(site, x.shape[1])
        return
    site.note("the factor and summand of a group are learned for each of its channels here")
    for i, name in ((1, "weight"), (2, "bias")):
        site.param(name, site.known(i).changed(np.repeat(site.constant(i), x.shape[1] // max(1, groups))))


@imports("RMSNormalization", "SimplifiedLayerNormalization")
def rms_normalization(site: Site) -> None:
    """RMSNorm over the axes from `axis` on; a scale of constant ones is none."""
    x, eps = site.real(0), _eps(site)
    over = _over(site, x)
    affine = site.has(1) and not (site.is_known(1) and _is_constant(site, 1, 1))
    shape = over[0] if len(over) == 1 else list(over)
    site.emit("RMSNorm", x, normalized_shape=shape, eps=eps, elementwise_affine=affine)
    if affine:
        _spread(site, "weight", site.known(1, "its scale"), over)


@imports("LRN")
def lrn(site: Site) -> None:
    """LocalResponseNorm, whose k is ONNX's bias."""
    size = site.attributes.integer("size", 0)
    if size < 1 or size % 2 == 0:
        raise site.unsupported(f"size {size}: neighbourhoods of an odd number of channels are supported")
    names = (("alpha", "alpha", 1e-4), ("beta", "beta", 0.75), ("bias", "k", 1.0))
    given = {mine: number(site.attributes.number(name, default)) for name, mine, default in names}
    site.emit("LocalResponseNorm", site.real(0), size=size, given=given)


@imports("MeanVarianceNormalization")
def mean_variance_normalization(site: Site) -> None:
    """MVN over positions, or over all but the batch; over other axes from its parts."""
    x = site.real(0)
    axes = sorted(site.axis(axis, x.ndim, "axes") for axis in site.attributes.integers("axes", [0, 2, 3]) or [])
    if x.ndim > 2 and axes in (list(range(2, x.ndim)), list(range(1, x.ndim))):
        site.emit("MVN", x, across_channels=axes[0] == 1)
        return
    (mean,) = site.emit("Mean", x, part="mean", dim=same(axes), keepdim=True)
    (centred,) = site.emit("Sub", [x, mean], part="centred")
    (square,) = site.emit("Square", centred, part="square")
    (var,) = site.emit("Mean", square, part="var", dim=same(axes), keepdim=True)
    (std,) = site.emit("Sqrt", var, part="std")
    (above,) = site.emit("Pow", std, part="above_zero", exponent=1.0, shift=1e-9)
    site.emit("Div", [centred, above])


@imports("LpNormalization")
def lp_normalization(site: Site) -> None:
    """A division by the Norm."""
    x = site.real(0)
    axis, p = site.axis(site.attributes.integer("axis", -1), x.ndim), site.attributes.integer("p", 2)
    normalized(site, x, axis, float(p))


def normalized(site: Site, x: Stream, axis: int, p: float) -> None:
    """x over its norm along an axis; zeros stay zeros."""
    (norm,) = site.emit("Norm", x, part="norm", dim=axis, keepdim=True, p=p)
    (above,) = site.emit("Clamp", norm, part="above_zero", min=SMALLEST)
    site.emit("Div", [x, above])
