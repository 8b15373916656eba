"""Attention, with and without linear maps around it."""

from __future__ import annotations

from ..constants import number
from ..graph import OWN
from ..importing import Site, imports
from ..values import BOOL, Known, Stream
from .common_in import reshaped


@imports(f"{OWN}.ScaledDotProductAttention")
def scaled_dot_product_attention(site: Site) -> None:
    """The layer as a pattern has it."""
    scale = number(site.attributes.number("scale", 1.0)) if site.attributes.has("scale") else None
    bottoms = [site.real(i) for i in range(3)]
    site.emit("ScaledDotProductAttention", bottoms, causal=site.attributes.flag("causal"), scale=scale)


@imports(f"{OWN}.MultiheadAttention")
def multihead_attention(site: Site) -> None:
    """The layer as a pattern has it: queries, keys, values, and parameters as in torch."""
    xs = [site.real(i) for i in range(3)]
    alike = len({one.name for one in xs}) == 1
    names = ("in_proj_weight", "in_proj_bias", "out_proj_weight", "out_proj_bias")
    held = {name: site.known(i) for i, name in enumerate(names, 3) if site.has(i)}
    options = {"num_heads": site.attributes.integer("num_heads", 1), "causal": site.attributes.flag("causal")}
    site.emit("MultiheadAttention", xs[:1] if alike else xs, bias="in_proj_bias" in held, given=options)
    for name, value in held.items():
        site.param(name, value)


@imports("Attention")
def attention(site: Site) -> None:
    """Attention of opset 23: heads on an axis of their own, or side by side; masks are boolean."""
    site.count(1)
    _refuse(site)
    causal = site.attributes.flag("is_causal")
    scale = number(site.attributes.number("scale", 1.0)) if site.attributes.has("scale") else None
    q, k, v = (site.real(i) for i in range(3))
    joined = q.ndim == 3
    if joined:
        heads, of_keys = site.attributes.integer("q_num_heads", 0), site.attributes.integer("kv_num_heads", 0)
        if heads != of_keys or heads < 1:
            raise site.unsupported(f"q_num_heads is {heads}, kv_num_heads {of_keys}: they are the same here")
        q, k, v = (_parted(site, x, heads, part) for x, part in ((q, "q"), (k, "k"), (v, "v")))
    else:
        site.attributes.read |= {"q_num_heads", "kv_num_heads"}
    mask = [_mask(site, q, k)] if site.has(3) else []
    part = "heads" if joined else ""
    (y,) = site.emit("ScaledDotProductAttention", [q, k, v, *mask], part=part, causal=causal, scale=scale)
    if joined:
        (y,) = site.emit("Permute", y, part="steps", dims=[0, 2, 1, 3])
        reshaped(site, y, [(n, t, h * e) for n, t, h, e in y.shapes])


def _refuse(site: Site) -> None:
    """Refuse what changes the scores otherwise."""
    site.attributes.has("softmax_precision")
    if site.attributes.number("softcap", 0.0):
        raise site.unsupported("softcap: scores are not limited here")
    if site.has(4) or site.has(5):
        raise site.unsupported("past keys and values: write a Concat")
    site.attributes.has("qk_matmul_output_mode")  # of an output that is refused


def _parted(site: Site, x: Stream, heads: int, part: str) -> Stream:
    """(N, L, heads · E) as (N, heads, L, E)."""
    if x.shape[-1] % heads:
        raise site.invalid(f"{heads} heads do not divide {x.shape[-1]} features")
    parted = reshaped(site, x, [(n, t, heads, f // heads) for n, t, f in x.shapes], f"{part}.parted")
    return site.emit("Permute", parted, part=part, dims=[0, 2, 1, 3])[0]


def _mask(site: Site, q: Stream, k: Stream) -> Stream:
    """A boolean mask for all heads, or for each."""
    mask = site.input(3)
    if mask.dtype != BOOL:
        raise site.unsupported("attn_mask is added to the scores: it must be boolean here")
    if isinstance(mask, Known):
        raise site.unsupported("attn_mask is constant: only is_causal is, or a mask that the net computes")
    wanted = [(n, h, s, keys[2]) for (n, h, s, _), keys in zip(q.shapes, k.shapes, strict=True)]
    stream = site.as_real(mask)
    if list(stream.shapes) == wanted:
        return stream
    if list(stream.shapes) == [(n, 1, s, t) for n, _, s, t in wanted]:
        return reshaped(site, stream, [(n, s, t) for n, _, s, t in wanted], "mask")
    raise site.unsupported(f"attn_mask has shape {mask.shape}, expected {wanted[0]} or one for all heads")
