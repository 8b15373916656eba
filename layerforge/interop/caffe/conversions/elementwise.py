"""Several blobs element by element, learned blobs, embeddings, and windows as columns."""

from __future__ import annotations

from ..conversion import Site, converts
from .common import bias_blob, windows


@converts("Eltwise")
def eltwise(site: Site) -> None:
    """Add, Mul or Maximum of blobs of one shape."""
    site.count((2, None), 1)
    p, x = site.param("eltwise_param"), [site.real(bottom) for bottom in site.bottoms]
    operation, factors = p.get("operation"), list(p.get("coeff"))
    for i, one in enumerate(x):
        if one.shape != x[0].shape:
            told = f"bottom {i} has shape {one.shape}, bottom 0 {x[0].shape}: they must be equal"
            raise site.invalid(told, site.layer, "bottom")
    if factors and len(factors) != len(x):
        raise site.invalid(f"{len(factors)} coeff for {len(x)} bottoms", p, "coeff")
    if factors and operation == "PROD":
        raise site.invalid("coeff is for operation: SUM", p, "coeff")
    stable = p.get("stable_prod_grad")
    if operation == "SUM":
        site.emit("Add", x, coeff=None if set(factors) <= {1.0} else factors)
    elif operation == "PROD":
        site.emit("Mul", x)
        if not stable:
            site.note("Caffe's gradient divides by the bottom, and is NaN where that is 0; here it is exact")
    else:
        site.emit("Maximum", x, ties="caffe")
        if factors:
            site.ignored.append(("eltwise_param.coeff", p.place("coeff"), "Caffe does not read it for MAX"))


@converts("Parameter")
def parameter(site: Site) -> None:
    """Parameter, which starts from zeros."""
    site.count(0, 1)
    site.emit("Parameter", shape=list(site.param("parameter_param").get("shape").get("dim")))
    site.blob("weight")


@converts("Embed")
def embed(site: Site) -> None:
    """Embedding, and a Bias behind it."""
    site.count(1, 1)
    p = site.param("embed_param")
    outputs, inputs, bias = p.get("num_output"), p.get("input_dim"), p.get("bias_term")
    for name, value in (("num_output", outputs), ("input_dim", inputs)):
        if value < 1:
            raise site.invalid(f"{name} must be at least 1", p, name)
    x = site.index(site.bottoms[0])
    y = site.emit("Embedding", x, part="vectors" if bias else "", num_embeddings=inputs, embedding_dim=outputs)
    site.blob("weight", filler=p.get("weight_filler"))
    if bias:
        site.emit("Bias", y, dim=-1)
    bias_blob(site, p, bias)


@converts("Im2col")
def im2col(site: Site) -> None:
    """Unfold, in the shape of an image."""
    site.count(1, 1)
    p, x = site.param("convolution_param"), site.real(site.bottoms[0])
    site.harmless(p, "engine", "force_nd_im2col", "num_output", "group", "bias_term", why="Im2col does not read it")
    axis = site.axis(p.get("axis"), x.ndim, p)
    axes = x.ndim - axis - 1
    if axis != 1 or not 1 <= axes <= 3:
        raise site.unsupported(f"windows over {axes} axes behind axis {axis}", p, "axis")
    options = windows(site, p, axes)
    (columns,) = site.emit({1: "Unfold1d", 2: "Unfold", 3: "Unfold3d"}[axes], x, part="columns", **options)
    each = zip(x.shape[2:], *(_each(options[name], axes) for name in options), strict=True)
    size = [(n + 2 * pad - dilation * (kernel - 1) - 1) // stride + 1 for n, kernel, stride, pad, dilation in each]
    site.emit("Reshape", columns, shape=[0, 0, *size])


def _each(value: int | list[int], axes: int) -> list[int]:
    """A number for each axis."""
    return [value] * axes if isinstance(value, int) else value
