"""Fully connected layers, embeddings and learned blobs."""

from __future__ import annotations

from ..conversion import Site, Stream, converts
from ..message import Message
from .common import bias_blob


@converts("InnerProduct")
def inner_product(site: Site) -> None:
    """Linear over the axes from `axis` on as one; with `transpose` a Parameter (K, N), multiplied from the right.

    Caffe's weight (K, N) of `transpose` is kept in its own layout, so that it can be shared with that of another layer.
    """
    site.count(1, 1)
    p = site.param("inner_product_param")
    outputs, bias = p.get("num_output"), p.get("bias_term")
    if outputs < 1:
        raise site.invalid("num_output must be at least 1", p, "num_output")
    x = _flat(site, p)
    if not p.get("transpose"):
        site.emit("Linear", x, out_features=outputs, bias=bias)
        site.blob("weight", filler=p.get("weight_filler"))
        bias_blob(site, p, bias)
        return
    (weight,) = site.emit("Parameter", part="weight", shape=[x.shape[-1], outputs])
    site.blob("weight", filler=p.get("weight_filler"), key="filler")
    y = site.emit("Matmul", [x, weight], part="product" if bias else "")
    if bias:
        site.emit("Bias", y, dim=-1)
    bias_blob(site, p, bias)


def _flat(site: Site, p: Message) -> Stream:
    """The bottom with the axes from `axis` on joined into one."""
    x = site.real(site.bottoms[0])
    axis = site.axis(p.get("axis"), x.ndim, p) if x.ndim else 0
    if x.ndim == axis + 1:
        return x
    if x.ndim < axis + 1:
        raise site.invalid(f"axis {axis} of a blob of {x.ndim} axes", p, "axis")
    return site.emit("Flatten", x, part="flat", start_dim=axis)[0]


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


@converts("Parameter")
def parameter(site: Site) -> None:
    """Parameter, which starts from zeros."""
    site.count(0, 1)
    site.emit("Parameter", shape=list(site.param("parameter_param").get("shape").get("dim")))
    site.blob("weight")
