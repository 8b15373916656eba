"""Single layers that forks of Caffe added."""

from __future__ import annotations

from typing import Any

from ..conversion import Site, Stream, converts
from ..message import Message
from .common import bias_blob, windows, with_samples


@converts("Axpy")
def axpy(site: Site) -> None:
    """a x + y of SENet, with a factor a for each channel of each sample."""
    site.count(3, 1)
    a, x, y = (site.real(bottom) for bottom in site.bottoms)
    told = f"the bottoms have the shapes {a.shape}, {x.shape} and {y.shape}"
    if x.ndim < 2 or x.shape != y.shape or a.shape[:2] != x.shape[:2] or any(n != 1 for n in a.shape[2:]):
        raise site.invalid(told, site.layer, "bottom")
    if a.ndim != x.ndim:
        (a,) = site.emit("Reshape", a, part="factors", shape=[-1, x.shape[1], *[1] * (x.ndim - 2)])
    (scaled,) = site.emit("Mul", [a, x], part="scaled")
    site.emit("Add", [scaled, y])


@converts("ShuffleChannel")
def shuffle_channel(site: Site) -> None:
    """ShuffleNet's: channel c of the top is number c // group of group c % group."""
    site.count(1, 1)
    x, p = site.bottoms[0], site.param("shuffle_channel_param")
    groups = p.get("group")
    if x.ndim < 2 or groups < 1 or x.shape[1] % groups:
        raise site.invalid(f"group {groups} must divide the channels of {x.shape}", p, "group")
    apart = [-1, groups, x.shape[1] // groups, *x.shape[2:]]
    (parts,) = site.emit("Reshape", x, part="groups", shape=apart)
    mixed = site.emit("Transpose", parts, part="mixed", dim0=1, dim1=2)
    site.emit("Reshape", mixed, shape=[-1, *x.shape[1:]])


@converts("ConvolutionDepthwise", "DepthwiseConvolution")
def depthwise(site: Site) -> None:
    """Conv2d with a group for each channel."""
    site.count(1, 1)
    p, x = site.param("convolution_param"), with_samples(site, site.bottoms[0])
    site.harmless(p, "engine", "force_nd_im2col")
    channels = x.shape[1]
    if site.axis(p.get("axis"), 4, p) != 1:
        raise site.unsupported(f"axis {p.get('axis')}", p, "axis", hint="channels are axis 1")
    if p.get("num_output") != channels and (site.type == "DepthwiseConvolution" or p.has("num_output")):
        raise site.unsupported(f"num_output {p.get('num_output')} of {channels} channels", p, "num_output")
    if site.type == "ConvolutionDepthwise":
        site.harmless(p, "group", why="each channel is a group")
    elif p.get("group") != channels:
        hint = "write a layer of type Convolution: what this type does with it depends on CPU and GPU"
        raise site.unsupported(f"group {p.get('group')} of {channels} channels", p, "group", hint=hint)
    bias = p.get("bias_term")
    site.emit("Conv2d", x, out_channels=channels, **windows(site, p, 2), groups=channels, bias=bias)
    site.blob("weight", filler=p.get("weight_filler"))
    bias_blob(site, p, bias)


@converts("ReLU6")
def relu6(site: Site) -> None:
    """ReLU that ends at 6, or at another threshold."""
    site.count(1, 1)
    x, p = site.real(site.bottoms[0]), site.param("relu6_param")
    plain_relu = site.param("relu_param")
    site.harmless(plain_relu, "engine")
    for q in (p, plain_relu):
        if q.get("negative_slope"):
            raise site.unsupported(f"negative_slope {q.get('negative_slope'):g}", q, "negative_slope")
    limit = p.get("threshold")
    if limit == 6:
        site.emit("ReLU6", x)
    else:
        site.emit("Clamp", x, min=0.0, max=limit)


@converts("SELU", "SeLU", "SeLu", "Selu")
def selu(site: Site) -> None:
    """SELU with the constants of its paper."""
    site.count(1, 1)
    site.emit("SELU", site.real(site.bottoms[0]))


@converts("Reorg")
def reorg(site: Site) -> None:
    """darknet's: the bottom is read as if it had stride² fewer channels, and as many more positions; or back."""
    site.count(1, 1)
    p, x = site.param("reorg_param"), with_samples(site, site.bottoms[0])
    stride, (_, channels, height, width) = p.get("stride"), x.shape
    if stride < 1 or channels % stride**2:
        told = f"stride {stride}: its square must divide the {channels} channels"
        raise site.invalid(told, p, "stride")
    fewer = channels // stride**2
    if p.get("reverse"):
        apart, order = [-1, stride, stride, fewer, height, width], [0, 3, 4, 1, 5, 2]
        shape = [-1, fewer, height * stride, width * stride]
    else:
        if height % stride or width % stride:
            raise site.invalid(f"stride {stride} must divide height and width of {x.shape}", p, "stride")
        apart, order = [-1, fewer, height, stride, width, stride], [0, 3, 5, 1, 2, 4]
        shape = [-1, channels * stride**2, height // stride, width // stride]
    (parts,) = site.emit("Reshape", x, part="parts", shape=apart)
    moved = site.emit("Permute", parts, part="moved", dims=order)
    site.emit("Reshape", moved, shape=shape)


@converts("CropCenter")
def crop_center(site: Site) -> None:
    """waifu2x's: so much is cut off from both ends of each axis."""
    site.count(1, 1)
    x, p = site.bottoms[0], site.param("crop_center_param")
    sizes = list(p.get("crop_size"))
    if len(sizes) != x.ndim:
        raise site.invalid(f"{len(sizes)} crop_size for {x.ndim} axes", p, "crop_size")
    if any(2 * size >= length for size, length in zip(sizes, x.shape, strict=True)):
        raise site.invalid(f"crop_size {sizes} leaves nothing of {x.shape}", p, "crop_size")
    site.emit("Index", x, index=[f"{size}:-{size}" if size else ":" for size in sizes])


# Lstm -----------------------------------------------------------------------------------------------------------------


@converts("Lstm")
def lstm(site: Site) -> None:
    """The LSTM of junhyukoh's fork: steps and samples on one axis, steps first, and flags that go on or begin anew."""
    site.count((1, 2), 1)
    p, x = site.param("lstm_param"), site.real(site.bottoms[0])
    size, samples = p.get("num_output"), p.get("batch_size")
    if size < 1 or samples < 1 or not x.ndim or not x.shape[0] or x.shape[0] % samples:
        raise site.invalid(f"num_output {size}, and batch_size {samples} of a bottom of shape {x.shape}", p)
    _clipping(site, p)
    steps = x.shape[0] // samples
    width = x.spec.size // x.shape[0]
    (apart,) = site.emit("Reshape", x, part="steps", shape=[steps, samples, width])
    bottoms = site.emit("Transpose", apart, part="samples", dim0=0, dim1=1)
    options: dict[str, Any] = {"hidden_size": size, "recurrent_bias": False}
    if len(site.bottoms) == 2:
        bottoms.append(_flags(site, p, steps, samples))
        options |= {"second_bottom": "cont", "stateful": True}
        site.note("the fork's gradient of the recurrent weight also counts steps that begin anew; here it is exact")
    (y,) = site.emit("LSTM", bottoms, part="passes", **options)
    made = site.made[-1]
    order = (0, 1, 3, 2)  # from the fork's gates i, f, o, g to i, f, g, o
    site.blob("weight_ih_l0", of=made, filler=p.get("weight_filler"), order=order)
    site.blob("weight_hh_l0", of=made, order=order)
    site.blob("bias_ih_l0", of=made, filler=p.get("bias_filler"), key="bias_filler", order=order)
    (y,) = site.emit("Transpose", y, part="turned", dim0=0, dim1=1)
    site.emit("Reshape", y, shape=[steps * samples, size])


def _flags(site: Site, p: Message, steps: int, samples: int) -> Stream:
    """The second bottom, a flag for each step, as (samples, steps)."""
    flags = site.real(site.bottoms[1])
    if flags.spec.size != steps * samples or flags.shape[:1] != (steps * samples,):
        raise site.invalid(f"bottom 1 has shape {flags.shape}: a flag for each step", site.layer, "bottom")
    if samples > 1:
        hint = "with several samples the fork's code reads the flags of the wrong steps"
        raise site.unsupported("flags of several samples", p, "batch_size", hint=hint)
    return site.emit("Reshape", flags, part="flags", shape=[samples, steps])[0]


def _clipping(site: Site, p: Message) -> None:
    """clipping_threshold limits gradients inside of the layer, so it is nothing to phase TEST."""
    limit = p.get("clipping_threshold")
    if limit > 0 and site.phase == "train":
        hint = "remove it, and write clip_gradients in the solver"
        raise site.unsupported(f"clipping_threshold {limit:g} in phase TRAIN", p, "clipping_threshold", hint=hint)
    if limit > 0:
        site.note("clipping_threshold limits Caffe's gradients of gates; it changes nothing of what is computed")
