"""Arithmetic: layers that combine blobs number by number, with broadcasting. The table is at the end of the file.

Broadcasting copies a number to many places, so its gradient is the sum over them: `unbroadcast`, which all share.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any

from ..functional import broadcast_shape, expect_role, unbroadcast
from ..layer import Bad, Example, Layer
from ..spec import Spec
from .family import add_member


class Arithmetic(Layer):
    """Base of the broadcasting layers. An entry of the table brings `ufunc` and `partial`.

    ufunc               the backend's function of two arrays; more bottoms are folded from the left
    partial(dy, xs, i)  the gradient of bottom i before it is summed over what was broadcast; xs are the bottoms where
                        `backward_reads` names them
    """

    ufunc: str
    partial: Callable[[Any, Any, int], Any]

    def setup(self, *bottoms: Spec) -> Spec:
        for i, spec in enumerate(bottoms):
            expect_role(f"bottom[{i}]", spec, "real")
        return bottoms[0].with_shape(broadcast_shape(*(spec.shape for spec in bottoms)))

    def forward(self, *xs: Any) -> Any:
        combine, shapes = getattr(self.xp, self.ufunc), [x.shape for x in xs]
        self.save(shapes=shapes, xs=xs if self.backward_reads else None)
        y = self.buf("y", broadcast_shape(*shapes), over=xs[0])
        # All but the last first, in memory of their own: y is written once, when every bottom has been read.
        return combine(reduce(combine, xs[:-1]), xs[-1], out=y)

    def backward(self, dy: Any) -> tuple[Any, ...]:
        return tuple(
            unbroadcast(self.partial(dy, self.saved.xs, i), shape) if needed else None
            for i, (shape, needed) in enumerate(zip(self.saved.shapes, self.needs_grad, strict=True))
        )

    def flops(self, bottoms: Sequence[Spec], tops: Sequence[Spec]) -> int:
        return (len(bottoms) - 1) * tops[0].size


DOC = """{name}: {what}

    y = {y}      of two or more blobs; axes, aligned from the right, are equal or 1

Shapes    xᵢ of any shapes that broadcast, real; y of the common shape
Backward  {dx}, then summed over the axes along which xᵢ was repeated
Keeps     {keeps}
Cost      one pass per bottom
Errors    LayerError when the shapes do not broadcast
Source    {source}
"""

SHAPES = [
    ((3, 4), (3, 4)),
    ((2, 3, 4), (2, 3, 4), (2, 3, 4)),
    ((2, 3, 5), (5,)),
    ((2, 3, 5), (3, 1), ()),
    ((3, 4), (1, 4), (3, 1)),
    ((1, 1), (1, 1)),
    ((), ()),
]


def broadcasting(
    name: str,
    what: str,
    *,
    y: str,
    ufunc: str,
    dx: str,
    partial: Callable[..., Any],
    reads: bool,
    source: str,
    inplace: bool = False,
    grad_aliases: bool = False,
) -> Any:
    """An entry of the table: the layer `name`.

    y and dx are the formulas that the documentation shows, ufunc and partial the same in code. reads says that
    partial needs the bottoms; inplace that y may overwrite the first; grad_aliases that partial may return dy itself.
    """
    # An overwritten bottom must have the top's shape, so only the others are broadcast there.
    shapes = SHAPES if inplace else [*SHAPES, ((3, 1, 4), (3, 5, 1))]
    return add_member(
        Arithmetic,
        name,
        DOC.format(name=name, what=what, y=y, dx=dx, keeps="every xᵢ" if reads else "nothing", source=source),
        ufunc=ufunc,
        partial=partial,
        bottoms=(2, None),
        backward_reads=("bottom",) if reads else (),
        inplace=inplace,
        grad_aliases=grad_aliases,
        examples=[Example({}, [Spec(shape) for shape in bottoms]) for bottoms in shapes],
        bad_examples=[
            Bad({}, "shapes (2, 3), (2, 4) do not broadcast", [Spec((2, 3)), Spec((2, 4))]),
            Bad({}, "takes at least 2 bottom(s), got 1", [Spec((2, 3))]),
            Bad({}, "bottom[1] must be real numbers", [Spec((2, 3)), Spec((2, 3), role="index")]),
        ],
    )


def others(dy: Any, xs: Sequence[Any], i: int) -> Any:
    """dy times every factor but xᵢ. (Dividing the product by xᵢ would fail at zero.)"""
    return reduce(lambda product, x: product * x, (x for j, x in enumerate(xs) if j != i), dy)


# The table. Each entry: name and what it is; y and how to compute it; dxᵢ and how to compute it. ----------------------

Add = broadcasting(
    "Add", "sum, such as a residual connection or a bias (Caffe: Eltwise, operation SUM)",
    y="x₁ + x₂ + ...",      ufunc="add",
    dx="dxᵢ = dy",          partial=lambda self, dy, xs, i: dy,  reads=False,  inplace=True,  grad_aliases=True,
    source="compare torch.add",
)  # fmt: skip

Mul = broadcasting(
    "Mul", "product, such as a gate or a scale (Caffe: Eltwise, operation PROD)",
    y="x₁ x₂ ...",          ufunc="multiply",
    dx="dxᵢ = dy (the product of the other xⱼ)",
    partial=lambda self, dy, xs, i: others(dy, xs, i),  reads=True,
    source="compare torch.mul",
)  # fmt: skip
