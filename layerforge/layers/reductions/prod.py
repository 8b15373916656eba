"""Prod: products along axes."""

from __future__ import annotations

from typing import Any

from .reduction import reduction, size_along


def product_of_others(xp: Any, x: Any, axes: tuple[int, ...]) -> Any:
    """For each element the product of all others of its slice: of those before it times of those after it.

    Dividing the product of all by the element would fail at zero.
    """
    last = tuple(range(x.ndim - len(axes), x.ndim))
    moved = xp.moveaxis(x, axes, last)
    flat = moved.reshape(*moved.shape[: x.ndim - len(axes)], size_along(x, axes))
    first = xp.ones_like(flat[..., :1])
    before = xp.concatenate([first, flat[..., :-1]], axis=-1).cumprod(axis=-1)
    after = xp.flip(xp.concatenate([first, xp.flip(flat, -1)[..., :-1]], axis=-1).cumprod(axis=-1), -1)
    return xp.moveaxis((before * after).reshape(moved.shape), last, axes)


Prod = reduction(
    "Prod", "product",
    y="Π x",                    value=lambda self, x, axes: x.prod(axis=axes, keepdims=True),
    dx="dxᵢ = dy Πⱼ xⱼ over all j ≠ i of the slice: right at zeros too, where y / xᵢ is not",
    slope=lambda self, x, y, axes: product_of_others(self.xp, x, axes),  reads=("bottom",),
    cost="one pass forward; backward two running products and their product",
    empty=True,                 source="compare torch.prod",
)  # fmt: skip
