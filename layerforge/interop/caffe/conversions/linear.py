"""Fully connected layers."""

from __future__ import annotations

from ..conversion import Site, Stream, converts
from ..message import Message


@converts("InnerProduct")
def inner_product(site: Site) -> None:
    """Linear over the axes from `axis` on as one; with `transpose` a Parameter (K, N), multiplied from the right.

    Caffe's weight (K, N) of `transpose` is kept in its own layout, so that it can be shared with that of another layer.
    """
    site.count(1, 1)
    p = site.param("inner_product_param")
    outputs, bias = p.get("num_output"), p.get("bias_term")
    if not bias:
        site.harmless(p, "bias_filler", why="there is no bias_term")
    if outputs < 1:
        raise site.invalid("num_output must be at least 1", p, "num_output")
    x = _flat(site, p)
    if not p.get("transpose"):
        site.emit("Linear", x, out_features=outputs, bias=bias)
        site.blob("weight", filler=p.get("weight_filler"))
        if bias:
            site.blob("bias", filler=p.get("bias_filler"), key="bias_filler")
        return
    (weight,) = site.emit("Parameter", part="weight", shape=[x.shape[-1], outputs])
    site.blob("weight", filler=p.get("weight_filler"), key="filler")
    if not bias:
        site.emit("Matmul", [x, weight])
        return
    (y,) = site.emit("Matmul", [x, weight], part="product")
    site.emit("Bias", y, dim=-1)
    site.blob("bias", filler=p.get("bias_filler"), key="bias_filler")


def _flat(site: Site, p: Message) -> Stream:
    """The bottom with the axes from `axis` on joined into one."""
    x = site.real(site.bottoms[0])
    axis = site.axis(p.get("axis"), x.ndim, p) if x.ndim else 0
    if x.ndim == axis + 1:
        return x
    if x.ndim < axis + 1:
        raise site.invalid(f"axis {axis} of a blob of {x.ndim} axes", p, "axis")
    return site.emit("Flatten", x, part="flat", start_dim=axis)[0]
