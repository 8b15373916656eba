"""A metric and a schedule of one's own: docs/layers_of_your_own.md and docs/config.md explain them."""

from __future__ import annotations

from layerforge import Array, Example, LayerError, Metric, Schedule, Spec, param, register, register_schedule


@register
class Within(Metric):
    """Within: share of the numbers that are at most `tolerance` away from their targets

        y = (1/m) Σ [|x - t| <= tolerance]      over all m numbers

    Shapes    x and t of any one shape; y a single number
    """

    bottoms = 2
    higher_is_better = True

    tolerance: float = param(0.1, help="how far away is near enough", gt=0)

    examples = [Example({}, [Spec((6,)), Spec((6,))]), Example({"tolerance": 1.0}, [Spec((4, 3)), Spec((4, 3))])]

    def setup(self, x: Spec, t: Spec) -> Spec:
        if x.shape != t.shape:
            raise LayerError(f"the targets have shape {t.shape}, expected {x.shape}")
        return x.with_shape(())

    def update(self, x: Array, t: Array) -> dict[str, Array]:
        return {"hits": (abs(x - t) <= self.tolerance).sum(dtype="float64"), "count": self.number(x.size)}

    def compute(self, tally: dict[str, Array]) -> Array:
        return tally["hits"] / tally["count"]


@register_schedule
class Halving(Schedule):
    """halving: lr / (1 + floor(i / every)): half of it after `every` units, a third after twice as many"""

    type_name = "halving"
    every: int = param(100, help="units between two changes", ge=1)

    def value(self, base_lr: float, i: int, n: int) -> float:
        return base_lr / (1 + i // self.every)
