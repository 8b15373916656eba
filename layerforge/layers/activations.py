"""Activations: the element-wise layers, y = f(x) number by number. The table is at the end of the file.

The Jacobian of an element-wise layer is diagonal, so the chain rule is one product: dx = dy f'(x). Where f' can be
written in terms of y, backward reads y alone and the top may overwrite the bottom.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..functional import expect_role, sigmoid
from ..layer import Bad, Example, Layer
from ..params import param
from ..spec import Spec
from .family import add_member


class Elementwise(Layer):
    """Base of the element-wise layers. An entry of the table brings `f` and `df`.

    f(x, y)       writes f(x) into y, which may be the memory of x
    df(dy, kept)  returns dx; kept is what `reads` names: y ("top"), x ("bottom") or None ("")
    """

    reads: str
    f: Callable[[Any, Any], None]
    df: Callable[[Any, Any], Any]

    def setup(self, x: Spec) -> Spec:
        expect_role("the bottom", x, "real")
        return x

    def forward(self, x: Any) -> Any:
        y = self.buf("y", x.shape, over=x, life="saved" if self.reads == "top" else "call")
        self.f(x, y)
        self.save(kept={"top": y, "bottom": x, "": None}[self.reads])
        return y

    def backward(self, dy: Any) -> Any:
        return self.df(dy, self.saved.kept)


DOC = """{name}: {what}

    y = {y}

Shapes    x of any shape, real; y the same
Backward  dx = {dx}
Keeps     {keeps}
Cost      one pass forward, one backward
Source    {source}
"""

KEEPS = {"top": "y, so y may overwrite x", "bottom": "x", "": "nothing"}


def elementwise(
    name: str,
    what: str,
    *,
    y: str,
    f: Callable[..., None],
    dx: str,
    df: Callable[..., Any],
    reads: str,
    source: str,
    params: Mapping[str, Any] | None = None,
    tried: Sequence[Mapping[str, Any]] = ({},),
    bad: Sequence[Bad] = (),
    low: float | None = None,
    high: float | None = None,
) -> Any:
    """An entry of the table: the layer `name`.

    y and dx are the formulas that the documentation shows, f and df the same as methods of the layer.
    reads is what df needs: "top" (then the layer can run in place), "bottom" or "". params are its
    hyper-parameters, tried the settings that the checks run, low and high the domain of f.
    """
    shapes = ((3, 5), (2, 3, 1, 5), (1, 1), (4,), ())
    examples = [Example({**tried[0]}, [Spec(shape, low=low, high=high)]) for shape in shapes]
    examples += [Example({**setting}, [Spec((3, 5), low=low, high=high)]) for setting in tried[1:]]
    if low is None and high is None:
        examples += [Example({**setting}, [Spec((3, 5), low=-1e4, high=1e4)], "extreme") for setting in tried]
    return add_member(
        Elementwise,
        name,
        DOC.format(name=name, what=what, y=y, dx=dx, keeps=KEEPS[reads], source=source),
        params=params,
        f=f,
        df=df,
        reads=reads,
        backward_reads=(reads,) if reads else (),
        inplace=reads == "top",
        examples=examples,
        bad_examples=[
            Bad({"inplace": True}, "unknown key 'inplace'"),
            Bad({}, "must be real numbers", [Spec((3,), role="index")]),
            *bad,
        ],
    )


def rectify(self: Any, x: Any, y: Any) -> None:
    """max(x, a x) is x above zero and a x below, for slopes a from 0 to 1."""
    self.xp.maximum(x, self.negative_slope * x if self.negative_slope else 0, out=y)


def rectified(self: Any, dy: Any, y: Any) -> Any:
    """y has the sign of x, except that it is zero for x < 0 when the slope is: either way y > 0 where x > 0."""
    dx = (y > 0).astype(dy.dtype)  # a product of masks: choosing by `where` branches at each number and is slower
    if self.negative_slope:
        self.xp.maximum(dx, self.negative_slope, out=dx)
    dx *= dy
    return dx


# The table. Each entry: name and what it is; f and how to compute it; f' times dy and how to compute it. --------------

ReLU = elementwise(
    "ReLU", "rectified linear unit, leaky where negative_slope is not 0 (Caffe: ReLU)",
    y="max(x, negative_slope x)",                                f=rectify,
    dx="dy where x > 0, otherwise negative_slope dy",            df=rectified,  reads="top",
    params={"negative_slope": (float, param(0.0, help="slope for x < 0", ge=0, le=1))},
    tried=({}, {"negative_slope": 0.1}, {"negative_slope": 1.0}),
    bad=[Bad({"negative_slope": -0.1}, "must be >= 0"), Bad({"alpha": 0.1}, "did you mean 'negative_slope'?")],
    source="Nair & Hinton 2010, Maas et al. 2013; compare torch.nn.ReLU and LeakyReLU",
)  # fmt: skip

Sigmoid = elementwise(
    "Sigmoid", "logistic function (Caffe: Sigmoid)",
    y="1 / (1 + e⁻ˣ)",                                           f=lambda self, x, y: sigmoid(self.xp, x, out=y),
    dx="dy y (1 - y), as f' = e⁻ˣ / (1 + e⁻ˣ)² = y (1 - y)",     df=lambda self, dy, y: dy * y * (1 - y),  reads="top",
    source="Verhulst 1838; compare torch.nn.Sigmoid",
)  # fmt: skip

Tanh = elementwise(
    "Tanh", "hyperbolic tangent (Caffe: TanH)",
    y="tanh x = (eˣ - e⁻ˣ) / (eˣ + e⁻ˣ)",                        f=lambda self, x, y: self.xp.tanh(x, out=y),
    dx="dy (1 - y²), as tanh' = 1 - tanh²",                      df=lambda self, dy, y: dy * (1 - y * y),  reads="top",
    source="compare torch.nn.Tanh",
)  # fmt: skip
