"""Max and Min: the extreme element of each slice and, along one axis, where it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...arrays.spec import Spec, index
from ...contract.layer import Bad, Example
from ...schema.errors import LayerError
from ..broadcasting.max_min_of_blobs import often_equal
from .reduction import Reduction, evenly, reduction


class Extreme(Reduction):
    """Base of Max and Min: y is one of the elements of its slice, so dy is that one's gradient.

    With one dim it is the first of those that tie, and its index is a second top; otherwise all that tie share dy.
    """

    def setup(self, x: Spec) -> Any:
        y = super().setup(x)
        if self.tops_wanted == 1:
            return y
        if not isinstance(self.dim, int):
            raise LayerError(f"indices are counted along one axis, dim is {self.dim}", hint="give dim as an integer")
        return y, index(y.shape, x.shape[self.dim])

    def forward(self, x: Any) -> Any:
        y = super().forward(x)
        return y if self.tops_wanted == 1 else (y, self.position(x).reshape(y.shape))

    def backward(self, dy: Any, *no_gradient: Any) -> Any:
        return super().backward(dy)

    def jvp(self, dx: Any) -> Any:
        dy = super().jvp(dx)
        return dy if self.tops_wanted == 1 else (dy, None)

    def position(self, x: Any) -> Any:
        """The index of the extreme element along the one dim, the first where several tie."""
        return getattr(self.xp, f"arg{self.word}")(x, axis=self.dim, keepdims=True)

    def extreme(self, x: Any, axes: tuple[int, ...]) -> Any:
        """y."""
        return getattr(x, self.word)(axis=axes, keepdims=True)

    def share(self, x: Any, y: Any, axes: tuple[int, ...]) -> Any:
        """The share that each element has in y. Where y is NaN no element is below or above it, and all have one."""
        if not isinstance(self.dim, int):
            return evenly(~((x < y) | (x > y)), axes, x.dtype)
        (axis,) = axes
        places = self.xp.arange(x.shape[axis]).reshape(-1, *(1,) * (x.ndim - 1 - axis))
        return (places == self.position(x)).astype(x.dtype)


TIED = Spec((3, 4, 5), draw=often_equal)
TRIED: Sequence[Example] = [
    Example({"dim": 1}, [Spec((3, 4))], "with indices", tops=2),
    Example({"dim": 0, "keepdim": True}, [Spec((3, 4))], "with indices", tops=2),
    Example({"dim": -2}, [TIED], "ties", tops=2),
    Example({"dim": [0, 2]}, [TIED], "ties"),
    Example({}, [TIED], "ties"),
]


def extreme(name: str, what: str, word: str, source: str) -> Any:
    """The layer `name`, which takes the `word` of a slice."""
    return reduction(
        name,
        what,
        base=Extreme,
        y=f"{word} x",
        value=Extreme.extreme,
        dx="dx = dy at the first x that equals y where dim is one axis; otherwise dy / k at each of the k\n"
        "          elements that equal y",
        slope=Extreme.share,
        reads=("bottom", "top"),
        tops=(1, 2),
        word=word,
        tried=TRIED,
        bad=[Bad({"return_indices": True}, "unknown key 'return_indices'")],
        source=source,
    )


INDICES = "with its index along dim as a second top, where dim is one axis"
Max = extreme("Max", f"largest element, {INDICES}", "max", "compare torch.max with a dim, otherwise torch.amax")
Min = extreme("Min", f"smallest element, {INDICES}", "min", "compare torch.min with a dim, otherwise torch.amin")
