"""Arithmetic: layers that combine blobs element by element, with broadcasting. The table is at the end of the file.

Broadcasting copies an element to many places, so its gradient is the sum over them: `unbroadcast`, which all share.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from itertools import zip_longest
from typing import Any

from ...arrays.functional import broadcast_shape, expect_role, unbroadcast
from ...arrays.spec import Spec
from ...contract.layer import Bad, Example, Layer
from ...schema.errors import LayerError
from ...schema.params import param
from ..tables import add_member


class Arithmetic(Layer):
    """Base of the broadcasting layers. An entry of the table brings `ufunc` and `partial`.

    ufunc               the backend's function of two arrays; more bottoms are folded from the left
    partial(dy, xs, i)  dy ∂y/∂xᵢ, element by element: the gradient of bottom i before it is summed over what was
                        broadcast; xs are the bottoms where `backward_reads` names them
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
        *first, last = self.terms(xs)
        return combine(reduce(combine, first), last, out=y)

    def terms(self, xs: Sequence[Any]) -> Sequence[Any]:
        """What is combined: the bottoms."""
        return xs

    def backward(self, dy: Any) -> tuple[Any, ...]:
        return tuple(
            unbroadcast(self.partial(dy, self.saved.xs, i), shape) if needed else None
            for i, (shape, needed) in enumerate(zip(self.saved.shapes, self.needs_grad, strict=True))
        )

    def jvp(self, *dxs: Any) -> Any:
        shape = broadcast_shape(*self.saved.shapes)
        given = [(i, self.xp.broadcast_to(dx, shape)) for i, dx in enumerate(dxs) if dx is not None]
        return reduce(operator.add, (self.partial(dx, self.saved.xs, i) for i, dx in given))

    def flops(self, bottoms: Sequence[Spec], tops: Sequence[Spec]) -> int:
        return (len(bottoms) - 1) * tops[0].size


class WeightedSum(Arithmetic):
    """Base of Add: a sum of multiples of the bottoms."""

    def setup(self, *bottoms: Spec) -> Spec:
        if self.coeff is not None and len(self.coeff) != len(bottoms):
            raise LayerError(f"coeff has {len(self.coeff)} numbers for {len(bottoms)} bottoms", hint="one for each")
        return super().setup(*bottoms)

    def times(self, i: int, a: Any) -> Any:
        """coeffᵢ a; a itself where that is 1."""
        return a if self.coeff is None or self.coeff[i] == 1 else self.coeff[i] * a

    def terms(self, xs: Sequence[Any]) -> Sequence[Any]:
        return [self.times(i, x) for i, x in enumerate(xs)]


DOC = """{name}: {what}

    y = {y}      of {how_many} blobs; axes, aligned from the right, are equal or 1

Shapes    xᵢ of any shapes that broadcast, real; y of the common shape
Backward  {dx};
          then summed over the axes along which xᵢ was repeated
Keeps     {keeps}
Cost      one pass per bottom
Errors    LayerError when the shapes do not broadcast{errors}
Source    {source}
"""

PAIRS = [
    ((3, 4), (3, 4)),
    ((2, 3, 5), (5,)),
    ((3, 4), (1, 4)),
    ((1, 1), (1, 1)),
    ((2, 0), (2, 1)),
    ((), ()),
]
TRIPLES = [
    ((2, 3, 4), (2, 3, 4), (2, 3, 4)),
    ((2, 3, 5), (3, 1), ()),
    ((3, 4), (1, 4), (3, 1)),
]
BOTH_WAYS = [((3, 1, 4), (3, 5, 1))]
ANY_NUMBER = (2, None)
Bounds = tuple[float | None, float | None]


def within(domain: Sequence[Bounds], shapes: Sequence[tuple[int, ...]]) -> list[Spec]:
    """Bottoms of these shapes, the first ones with values between low and high of their `domain`."""
    pairs = zip_longest(shapes, domain, fillvalue=(None, None))
    return [Spec(shape, low=low, high=high) for shape, (low, high) in pairs]


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
    base: type[Arithmetic] = Arithmetic,
    bottoms: int | tuple[int, int | None] = ANY_NUMBER,
    params: Mapping[str, Any] | None = None,
    tried: Sequence[Example] = (),
    bad: Sequence[Bad] = (),
    errors: str = "",
    domain: Sequence[Bounds] = (),
    **promises: bool,
) -> Any:
    """An entry of the table: the layer `name`.

    y and dx are the formulas that the documentation shows, ufunc and partial the same in code. reads says that
    partial needs the bottoms. params are its hyper-parameters, tried examples and bad uses of them; domain is low and
    high of the first bottoms. promises: inplace says that y may overwrite the first bottom, grad_aliases that
    partial may return dy itself.
    """
    # An overwritten bottom must have the top's shape, so only the others are broadcast there.
    shapes = PAIRS + (TRIPLES if bottoms == ANY_NUMBER else []) + ([] if promises.get("inplace") else BOTH_WAYS)
    several = bottoms == ANY_NUMBER
    return add_member(
        base,
        name,
        DOC.format(
            name=name, what=what, y=y, how_many="two or more" if several else "two", dx=dx,
            keeps="every xᵢ" if reads else "nothing", errors=errors, source=source,
        ),
        params=params,
        ufunc=ufunc,
        partial=partial,
        bottoms=bottoms,
        backward_reads=("bottom",) if reads else (),
        examples=[
            *(Example({}, within(domain, xs)) for xs in shapes),
            *tried,
        ],
        bad_examples=[
            Bad({}, "shapes (2, 3), (2, 4) do not broadcast", [Spec((2, 3)), Spec((2, 4))]),
            Bad({}, f"takes {'at least 2' if several else 2} bottom(s), got 1", [Spec((2, 3))]),
            Bad({}, "bottom[1] must be real numbers", [Spec((2, 3)), Spec((2, 3), role="index")]),
            *bad,
        ],
        **promises,
    )  # fmt: skip


def others(dy: Any, xs: Sequence[Any], i: int) -> Any:
    """dy times every factor but xᵢ. (Dividing the product by xᵢ would fail at zero.)"""
    return reduce(operator.mul, (x for j, x in enumerate(xs) if j != i), dy)


def quotient(self: Any, dy: Any, xs: Sequence[Any], i: int) -> Any:
    """∂(a/b)/∂a = 1/b, ∂(a/b)/∂b = -a/b²."""
    a, b = xs
    return dy / b if i == 0 else -dy * (a / b / b)


def power(self: Any, dy: Any, xs: Sequence[Any], i: int) -> Any:
    """∂aᵇ/∂a = b aᵇ⁻¹, 0 where b = 0 whatever a is; ∂aᵇ/∂b = aᵇ ln a, 0 where a = 0 ≤ b."""
    a, b = xs
    if i == 0:
        return dy * (b * a ** ((b - 1) * (b != 0)))
    return dy * (a**b * self.xp.log(a + ((a == 0) & (b >= 0))))  # ln 1 = 0 stands in for ln 0


def often_zero(rng: Any, shape: tuple[int, ...]) -> Any:
    """Zeros, and positive values among them."""
    return (rng.random(shape) < 0.6) * rng.uniform(0.5, 2.0, shape)


def small_integers(rng: Any, shape: tuple[int, ...]) -> Any:
    """0, 1, 2 and 3: exponents with which zero may be moved."""
    return rng.integers(0, 4, shape)


# The table. Each entry: name and what it is; y and how to compute it; dxᵢ and how to compute it. ----------------------

Add = broadcasting(
    "Add", "sum, such as a residual connection or a bias (Caffe: Eltwise, operation SUM)",
    y="c₁ x₁ + c₂ x₂ + ...",  ufunc="add",       base=WeightedSum,
    dx="dxᵢ = cᵢ dy, where c is coeff, or 1",  partial=lambda self, dy, xs, i: self.times(i, dy),  reads=False,
    params={"coeff": (list[float] | None, param(None, help="the factors cᵢ, one for each bottom; by default 1"))},
    tried=[
        Example({"coeff": [1, -1]}, [Spec((3, 4)), Spec((3, 4))], "a difference"),
        Example({"coeff": [0.5, 2, -3]}, [Spec((2, 3, 5)), Spec((3, 1)), Spec(())]),
    ],
    bad=[
        Bad({"coeff": [1.0]}, "coeff has 1 numbers for 2 bottoms", [Spec((2,)), Spec((2,))]),
        Bad({"coeff": 2}, "coeff must be a list of numbers or null"),
    ],
    errors=", when coeff does not have one number for each bottom",
    source="compare torch.add and its alpha",  inplace=True,  grad_aliases=True,
)  # fmt: skip

Sub = broadcasting(
    "Sub", "difference",      bottoms=2,
    y="x₁ - x₂",              ufunc="subtract",
    dx="dx₁ = dy,  dx₂ = -dy",
    partial=lambda self, dy, xs, i: dy if i == 0 else -dy,  reads=False,
    source="compare torch.sub",  inplace=True,  grad_aliases=True,
)  # fmt: skip

Mul = broadcasting(
    "Mul", "product, such as a gate or a scale (Caffe: Eltwise, operation PROD)",
    y="x₁ x₂ ...",            ufunc="multiply",
    dx="dxᵢ = dy Π xⱼ, the product over all j ≠ i",
    partial=lambda self, dy, xs, i: others(dy, xs, i),  reads=True,
    source="compare torch.mul",
)  # fmt: skip

Div = broadcasting(
    "Div", "quotient",        bottoms=2,
    y="x₁ / x₂",              ufunc="divide",    domain=((None, None), (0.5, 2.0)),
    dx="dx₁ = dy / x₂,  dx₂ = -dy x₁ / x₂², the slope of 1/x₂ being -1/x₂²",  partial=quotient,  reads=True,
    source="compare torch.div",
)  # fmt: skip

PowBinary = broadcasting(
    "PowBinary", "one blob to the power of another; Pow has a fixed exponent",
    bottoms=2,
    y="x₁^x₂",                ufunc="power",     domain=((0.5, 2.0), (-2.0, 2.0)),
    dx="dx₁ = dy x₂ x₁^(x₂ - 1), 0 where x₂ = 0;  dx₂ = dy y ln x₁, 0 where x₁ = 0 ≤ x₂;\n"
    "          the latter as y = exp(x₂ ln x₁)",           partial=power,  reads=True,
    tried=[Example({}, [Spec((3, 4), draw=often_zero), Spec((3, 4), draw=small_integers)], "powers of zero")],
    source="compare torch.pow; for x₁ < 0 the gradient of x₂ is NaN, as there",
)  # fmt: skip
