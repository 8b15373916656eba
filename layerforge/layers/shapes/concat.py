"""Concat and Stack: blobs side by side, along an axis that they have or along a new one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...arrays.functional import filled, normalize_dim, part_along, shape_mismatch
from ...arrays.spec import Spec, index
from ...contract.layer import Bad, Example, Layer
from ...schema.errors import LayerError
from ...schema.params import param
from ...schema.registry import register


def same_dtype(bottoms: Sequence[Spec]) -> None:
    """LayerError unless all bottoms hold values of one kind."""
    for i, spec in enumerate(bottoms):
        if spec.dtype != bottoms[0].dtype:
            raise LayerError(f"bottom[{i}] is {spec}, bottom[0] is {bottoms[0]}: numbers of different kinds")


@register
class Concat(Layer):
    """Concat: joins blobs along an axis (Caffe: Concat)

        y = [x₁ | x₂ | ...]

    Shapes    xᵢ equal but for axis dim, all real or all index; y has the sum along dim
    Backward  dxᵢ = the part of dy that xᵢ became
    Keeps     the shapes of the bottoms
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
        Example({"dim": 0}, [Spec((2, 3)), Spec((4, 3))], "more samples"),
        Example({"dim": -1}, [Spec((3,)), Spec((2,))]),
        Example({}, [Spec((2, 0)), Spec((2, 3))], "an empty blob"),
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
        same_dtype(bottoms)
        return first.with_shape((*before, sum(spec.shape[dim] for spec in bottoms), *after))

    def per_sample_for(self, *bottoms: Spec) -> bool:
        return normalize_dim(self.dim, bottoms[0].ndim) != 0

    def forward(self, *xs: Any) -> Any:
        self.save(shapes=[x.shape for x in xs])
        return self.xp.concatenate(xs, axis=self.dim)

    def backward(self, dy: Any) -> tuple[Any, ...]:
        grads, stop = [], 0
        for shape, needed in zip(self.saved.shapes, self.needs_grad, strict=True):
            start, stop = stop, stop + shape[self.dim]
            grads.append(part_along(dy, self.dim, start, stop) if needed else None)
        return tuple(grads)

    def jvp(self, *dxs: Any) -> Any:
        parts = filled(self.xp, dxs, self.saved.shapes)
        return None if parts is None else self.xp.concatenate(parts, axis=self.dim)

    def flops(self, bottoms: Sequence[Spec], tops: Sequence[Spec]) -> int:
        return 0


@register
class Stack(Layer):
    """Stack: joins blobs of one shape along a new axis

        y[..., i, ...] = xᵢ      i on the new axis dim

    Shapes    xᵢ of one shape, all real or all index; y with a new axis, as long as there are blobs
    Backward  dxᵢ = dy[..., i, ...], what xᵢ became
    Keeps     the shapes of the bottoms
    Cost      one copy forward; backward returns views of dy
    Errors    LayerError when shapes differ or dim is out of range
    Source    compare torch.stack, whose default dim is 0: there the batch would no longer be the first axis
    """

    bottoms = (1, None)
    grad_aliases = True

    dim: int = param(1, help="place of the new axis in the top; negative counts from the back")

    examples = [
        Example({}, [Spec((2, 3)), Spec((2, 3)), Spec((2, 3))]),
        Example({"dim": -1}, [Spec((2, 3, 1)), Spec((2, 3, 1))]),
        Example({"dim": -2}, [Spec((2, 3)), Spec((2, 3))]),
        Example({"dim": 0}, [Spec((2, 3)), Spec((2, 3))], "the batch axis moves back"),
        Example({}, [Spec((2, 3))], "one blob"),
        Example({"dim": 0}, [Spec(()), Spec(())]),
        Example({}, [Spec((2, 0)), Spec((2, 0))], "nothing to stack"),
        Example({}, [index((3,), 5), index((3,), 5)], "labels may be stacked too"),
    ]
    bad_examples = [
        Bad({}, "bottom[1] has shape (2, 4), expected (2, 3)", [Spec((2, 3)), Spec((2, 4))]),
        Bad({}, "bottom[1] is (2, 3) int64", [Spec((2, 3)), Spec((2, 3), role="index")]),
        Bad({"dim": 3}, "dim 3 is out of range for a blob with 3 axes", [Spec((2, 3)), Spec((2, 3))]),
        Bad({"axis": 1}, "did you mean 'dim'?"),
    ]

    def setup(self, *bottoms: Spec) -> Spec:
        shape = bottoms[0].shape
        for i, spec in enumerate(bottoms):
            if spec.shape != shape:
                raise shape_mismatch(f"bottom[{i}]", spec.shape, str(shape))
        same_dtype(bottoms)
        dim = normalize_dim(self.dim, len(shape) + 1)
        return bottoms[0].with_shape((*shape[:dim], len(bottoms), *shape[dim:]))

    def per_sample_for(self, *bottoms: Spec) -> bool:
        return normalize_dim(self.dim, bottoms[0].ndim + 1) != 0

    def forward(self, *xs: Any) -> Any:
        self.save(shapes=[x.shape for x in xs])
        return self.xp.stack(xs, axis=self.dim)

    def backward(self, dy: Any) -> tuple[Any, ...]:
        shapes, dim = self.saved.shapes, self.dim
        return tuple(
            part_along(dy, dim, i, i + 1).reshape(shapes[i]) if needed else None
            for i, needed in enumerate(self.needs_grad)
        )

    def jvp(self, *dxs: Any) -> Any:
        parts = filled(self.xp, dxs, self.saved.shapes)
        return None if parts is None else self.xp.stack(parts, axis=self.dim)

    def flops(self, bottoms: Sequence[Spec], tops: Sequence[Spec]) -> int:
        return 0
