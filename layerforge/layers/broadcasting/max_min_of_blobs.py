"""Maximum and Minimum: the best of several blobs, element by element."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from functools import reduce
from typing import Any

from ...arrays.spec import Spec
from ...contract.layer import Bad, Example
from ...schema.params import param
from .arithmetic import Arithmetic, broadcasting


class Extremum(Arithmetic):
    """Base of Maximum and Minimum: y is one of the xᵢ, so that one's gradient is dy and the others' 0.

    Bottoms that tie share dy evenly, so that their order does not matter: between two, half each. Caffe has its own
    rule: bottom 1 wins unless bottom 0 is better, and each later bottom must be better than all before it.
    """

    def share(self, dy: Any, xs: Sequence[Any], i: int) -> Any:
        """dy times the share that bottom i has in y."""
        y = reduce(getattr(self.xp, self.ufunc), xs)
        reach = [(x == y) | (y != y) for x in xs]  # where y is NaN all do
        if self.ties == "share":
            return dy * (reach[i] / sum(reach)).astype(dy.dtype)
        order = [1, 0, *range(2, len(xs))]
        before = [reach[j] for j in order[: order.index(i)]]
        return dy * (reach[i] & ~reduce(operator.or_, before) if before else reach[i])


def often_equal(rng: Any, shape: tuple[int, ...]) -> Any:
    """Zeros and ones, and among them a few other values."""
    return rng.integers(0, 2, shape) + (rng.random(shape) < 0.3) * rng.normal(size=shape)


TIED = [Spec((4, 5), draw=often_equal), Spec((5,), draw=often_equal), Spec((4, 5), draw=often_equal)]


def extremum(name: str, what: str, *, word: str, ufunc: str, source: str) -> Any:
    """The layer `name`, computed by `ufunc` and called `word` in its formula."""
    return broadcasting(
        name,
        what,
        base=Extremum,
        y=f"{word}(x₁, x₂, ...)",
        ufunc=ufunc,
        dx="dxᵢ = dy / k where xᵢ is one of the k bottoms that equal y, otherwise 0; with ties: caffe, dy where xᵢ\n"
        "          is the first of them in the order x₂, x₁, x₃, x₄, ...",
        partial=Extremum.share,
        reads=True,
        params={
            "ties": (
                str,
                param("share", help="who gets dy where bottoms are equal", choices=("share", "caffe")),
            )
        },
        tried=[Example({"ties": ties}, TIED, "ties") for ties in ("share", "caffe")],
        bad=[Bad({"ties": "first"}, "must be one of share, caffe")],
        source=source,
    )


Maximum = extremum(
    "Maximum", "the largest, element by element (Caffe: Eltwise, operation MAX)",  word="max",  ufunc="maximum",
    source="compare torch.maximum, and torch.amax of more than two",
)  # fmt: skip

Minimum = extremum(
    "Minimum", "the smallest, element by element",  word="min",  ufunc="minimum",
    source="compare torch.minimum, and torch.amin of more than two",
)  # fmt: skip
