"""Concat: blobs side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..errors import LayerError
from ..functional import normalize_dim, part_along
from ..layer import Bad, Example, Layer
from ..params import param
from ..registry import register
from ..spec import Spec, index


@register
class Concat(Layer):
    """Concat: joins blobs along an axis (Caffe: Concat)

        y = [x₁ | x₂ | ...]

    Shapes    xᵢ equal but for axis dim, all real or all index; y has the sum along dim
    Backward  dxᵢ = the part of dy that xᵢ became
    Keeps     the sizes along dim
    Cost      one copy forward; backward returns views of dy
    Errors    LayerError when other axes differ
    Source    compare torch.cat
    """

    bottoms = (1, None)
    grad_aliases = True

    dim: int = param(1, help="axis to join along; negative counts from the back")

    examples = [
        Example({}, [Spec((2, 3)), Spec((2, 4))]),
        Example({}, [Spec((2, 1, 3, 3)), Spec((2, 3, 3, 3)), Spec((2, 2, 3, 3))]),
        Example({"dim": -1}, [Spec((2, 3, 1)), Spec((2, 3, 4))]),
        Example({}, [Spec((2, 3))], "one blob is copied"),
        Example({}, [index((3, 2), 5), index((3, 1), 5)], "labels may be joined too"),
    ]
    bad_examples = [
        Bad({}, "bottom[1] has shape (3, 4), expected (2, any)", [Spec((2, 3)), Spec((3, 4))]),
        Bad({}, "bottom[1] has shape (2, 3, 1), expected (2, any)", [Spec((2, 3)), Spec((2, 3, 1))]),
        Bad({}, "bottom[1] is (2, 3) int64", [Spec((2, 3)), Spec((2, 3), role="index")]),
        Bad({"dim": 2}, "dim 2 is out of range", [Spec((2, 3)), Spec((2, 4))]),
        Bad({"axis": 1}, "did you mean 'dim'?"),
    ]

    def setup(self, *bottoms: Spec) -> Spec:
        first = bottoms[0]
        dim = normalize_dim(self.dim, first.ndim)
        before, after = first.shape[:dim], first.shape[dim + 1 :]
        for i, spec in enumerate(bottoms):
            if spec.ndim != first.ndim or (spec.shape[:dim], spec.shape[dim + 1 :]) != (before, after):
                wanted = ", ".join(map(str, (*before, "any", *after)))
                raise LayerError(f"bottom[{i}] has shape {spec.shape}, expected ({wanted})")
            if spec.dtype != first.dtype:
                raise LayerError(f"bottom[{i}] is {spec}, bottom[0] is {first}: numbers of different kinds")
        return first.with_shape((*before, sum(spec.shape[dim] for spec in bottoms), *after))

    def forward(self, *xs: Any) -> Any:
        self.save(sizes=[x.shape[self.dim] for x in xs])
        return self.xp.concatenate(xs, axis=self.dim)

    def backward(self, dy: Any) -> tuple[Any, ...]:
        grads, stop = [], 0
        for size, needed in zip(self.saved.sizes, self.needs_grad, strict=True):
            start, stop = stop, stop + size
            grads.append(part_along(dy, self.dim, start, stop) if needed else None)
        return tuple(grads)

    def flops(self, bottoms: Sequence[Spec], tops: Sequence[Spec]) -> int:
        return 0
