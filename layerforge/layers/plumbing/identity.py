"""Identity and Detach: a blob is passed on, with its gradient or without."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...arrays.spec import Spec, index
from ...contract.layer import Bad, Example, Layer
from ...schema.registry import register

SHAPES = [
    Example({}, [Spec((3, 4))]),
    Example({}, [Spec((2, 3, 1, 5))]),
    Example({}, [Spec(())]),
    Example({}, [Spec((0, 3))], "no samples"),
    Example({}, [index((4,), 3)], "labels too"),
]
WITHOUT_SETTINGS = [Bad({"inplace": True}, "unknown key 'inplace'")]


class Passing(Layer):
    """Base of the layers whose top is their bottom."""

    top_is_view = True

    def setup(self, x: Spec) -> Spec:
        return x

    def forward(self, x: Any) -> Any:
        return x

    def flops(self, bottoms: Sequence[Spec], tops: Sequence[Spec]) -> int:
        return 0


@register
class Identity(Passing):
    """Identity: another name for a blob

        y = x

    Shapes    x of any shape, real or index; y the same
    Backward  dx = dy
    Keeps     nothing: y is x, and dx is dy
    Source    compare torch.nn.Identity
    """

    grad_aliases = True

    examples = SHAPES
    bad_examples = WITHOUT_SETTINGS

    def backward(self, dy: Any) -> Any:
        return dy

    def jvp(self, dx: Any) -> Any:
        return dx


@register
class Detach(Passing):
    """Detach: passes a blob on and stops its gradient

        y = x

    What is above takes y for a constant. Nothing that is only below y gets a gradient, and the net does not compute
    any there: for a feature extractor that is not trained, for the target of a loss, for a straight-through estimator.

    Shapes    x of any shape, real or index; y the same
    Backward  none: dx = 0 whatever dy is
    Keeps     nothing: y is x
    Source    compare torch.Tensor.detach
    """

    no_grad_bottoms = (0,)

    examples = SHAPES
    bad_examples = WITHOUT_SETTINGS
