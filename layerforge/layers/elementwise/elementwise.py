"""Element-wise layers, y = f(x) element by element: what their tables are made with.

The Jacobian of an element-wise layer is diagonal, so the chain rule is one product: dx = dy f'(x). Where f' can be
written in terms of y, backward reads y alone and the top may overwrite the bottom.

The tables are signs.py, powers.py, trigonometry.py, activations.py and rectifiers.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ...arrays.blocks import in_order_of
from ...arrays.functional import expect_role
from ...arrays.spec import Spec
from ...contract.layer import Bad, Example, Layer
from ..tables import add_member


class Elementwise(Layer):
    """Base of the element-wise layers. An entry of a table brings `f` and `df`.

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
        kept = self.saved.kept
        return self.df(in_order_of(self.xp, dy, kept), kept)

    def jvp(self, dx: Any) -> Any:
        kept = self.saved.kept
        return self.df(in_order_of(self.xp, dx, kept), kept)  # a diagonal matrix is its own transpose


def gated(xp: Any, x: Any, gate: Any, out: Any = None) -> Any:
    """x gate, and 0 where the gate is shut, however large x is: gates shut faster than anything grows."""
    return xp.multiply(xp.where(gate == 0, 0, x), gate, out=out)


DOC = """{name}: {what}

    y = {y}
{note}
Shapes    x of any shape, {domain}; y the same
Backward  dx = {dx}
Keeps     {keeps}
Cost      one pass forward, one backward
Errors    LayerError for a bottom that is not real{errors}
Source    {source}
"""

KEEPS = {"top": "y, so y may overwrite x", "bottom": "x", "": "nothing, so y may overwrite x"}
SHAPES = ((3, 5), (2, 3, 1, 5), (1, 1), (4,), (2, 0, 3), ())
EXTREME = 1e4


def elementwise(
    name: str,
    what: str,
    *,
    y: str,
    f: Callable[..., Any],
    dx: str,
    df: Callable[..., Any],
    reads: str,
    source: str,
    note: str = "",
    errors: str = "",
    params: Mapping[str, Any] | None = None,
    validate: Callable[[Any], None] | None = None,
    tried: Sequence[Mapping[str, Any]] = ({},),
    bad: Sequence[Bad] = (),
    domain: str = "real",
    low: float | None = None,
    high: float | None = None,
) -> Any:
    """An entry of a table: the layer `name`.

    y and dx are the formulas that the documentation shows, f and df the same as methods of the layer; note is what
    else there is to say, errors what the layer refuses besides bottoms that are not real.
    reads is what df needs: "top" or "" (then the layer can run in place) or "bottom".
    params are the hyper-parameters and validate what holds between them; tried are the settings that the checks run,
    the first on all shapes. domain says where f is defined, low and high where the checks may go.
    """
    usual = [Example({**tried[0]}, [Spec(shape, low=low, high=high)]) for shape in SHAPES]
    usual += [Example({**setting}, [Spec((3, 5), low=low, high=high)]) for setting in tried[1:]]
    if low is None and high is None:
        usual += [Example({**setting}, [Spec((3, 5), low=-EXTREME, high=EXTREME)], "extreme") for setting in tried]
    doc = DOC.format(
        name=name, what=what, y=y, note=f"\n    {note}\n" if note else "", domain=domain, dx=dx, keeps=KEEPS[reads],
        errors=errors, source=source,
    )  # fmt: skip
    return add_member(
        Elementwise,
        name,
        doc,
        params=params,
        f=f,
        df=df,
        reads=reads,
        backward_reads=(reads,) if reads else (),
        inplace=reads != "bottom",
        examples=usual,
        bad_examples=[
            Bad({**tried[0], "inplace": True}, "unknown key 'inplace'"),
            Bad({**tried[0]}, "must be real numbers", [Spec((3,), role="index")]),
            *bad,
        ],
        **({"validate": validate} if validate else {}),
    )
