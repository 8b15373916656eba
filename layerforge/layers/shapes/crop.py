"""Crop: the part of a blob that is under another one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...arrays.functional import normalize_dim
from ...arrays.spec import Spec, index
from ...contract.layer import Bad, Example, Layer
from ...schema.errors import LayerError
from ...schema.params import param
from ...schema.registry import register


@register
class Crop(Layer):
    """Crop: the part of a blob that has the size of another one (Caffe: Crop)

        y[..., i, j, ...] = x[..., offset[0] + i, offset[1] + j, ...]      for the axes from dim on

    Fully convolutional nets use it to cut upsampled scores to the size of the image. Only the shape of the second
    bottom counts.

    Shapes    x real or index, like: a blob with as many axes; y has the sizes of x before dim, those of `like` from
              dim on
    Backward  dx = dy in the part that was cut out, 0 around it; like gets no gradient
    Keeps     the shape of x
    Cost      none forward: y is a view of x; one copy backward
    Errors    LayerError when the part is not within x, or there are neither one nor as many offsets as axes
    Source    Long, Shelhamer & Darrell 2015; Caffe calls dim axis
    """

    bottoms = 2
    top_is_view = True
    no_grad_bottoms = (1,)

    dim: int = param(2, help="first axis that is cropped; negative counts from the back")
    offset: int | list[int] = param(0, help="where the part begins: on all axes, or on each from dim on", ge=0)

    examples = [
        Example({}, [Spec((2, 3, 5, 4)), Spec((2, 7, 3, 4))]),
        Example({"offset": 1}, [Spec((2, 3, 5, 4)), Spec((2, 1, 3, 2))]),
        Example({"offset": [2, 0]}, [Spec((2, 3, 5, 4)), Spec((2, 1, 3, 3))]),
        Example({"dim": -1, "offset": 2}, [Spec((2, 3, 5)), Spec((9, 9, 1))]),
        Example({"dim": 1, "offset": [0, 1]}, [Spec((2, 3, 4)), Spec((2, 3, 2))]),
        Example({"dim": 0, "offset": [1, 0]}, [Spec((3, 4)), Spec((2, 4))], "samples too"),
        Example({"dim": 1}, [Spec((2, 3)), Spec((2, 0))], "to nothing"),
        Example({}, [index((2, 1, 4, 4), 5), Spec((2, 3, 2, 2))], "labels of pixels may be cropped too"),
    ]
    bad_examples = [
        Bad({"offset": 3}, "axis 2: 3 + 3 is more than its size 5", [Spec((1, 1, 5, 9)), Spec((1, 1, 3, 3))]),
        Bad({"offset": [1, 1, 1]}, "offset has 3 values for the 2 axes", [Spec((1, 1, 5, 5)), Spec((1, 1, 3, 3))]),
        Bad({}, "dim 2 is out of range", [Spec((2, 3)), Spec((2, 3))]),
        Bad({}, "bottom[1] has 3 axes, bottom[0] has 4", [Spec((1, 1, 5, 5)), Spec((1, 3, 3))]),
        Bad({"offset": -1}, "must be >= 0"),
        Bad({"axis": 1}, "did you mean 'dim'?"),
    ]

    def setup(self, x: Spec, like: Spec) -> Spec:
        part = self.part(x.shape, like.shape)
        return x.with_shape([piece.stop - piece.start for piece in part])

    def part(self, shape: tuple[int, ...], like: tuple[int, ...]) -> tuple[slice, ...]:
        """The place of y in x, for each axis."""
        dim = normalize_dim(self.dim, len(shape))
        if len(like) != len(shape):
            raise LayerError(f"bottom[1] has {len(like)} axes, bottom[0] has {len(shape)}", hint="they must agree")
        count = len(shape) - dim
        offsets = [self.offset] * count if isinstance(self.offset, int) else self.offset
        if len(offsets) not in (1, count):
            raise LayerError(f"offset has {len(offsets)} values for the {count} axes from axis {dim} on")
        part = [slice(0, n) for n in shape[:dim]]
        for axis, offset in enumerate(offsets * count if len(offsets) == 1 else offsets, start=dim):
            if offset + like[axis] > shape[axis]:
                raise LayerError(f"on axis {axis}: {offset} + {like[axis]} is more than its size {shape[axis]}")
            part.append(slice(offset, offset + like[axis]))
        return tuple(part)

    def per_sample_for(self, x: Spec, like: Spec) -> bool:
        return normalize_dim(self.dim, x.ndim) != 0

    def forward(self, x: Any, like: Any) -> Any:
        part = self.part(x.shape, like.shape)
        self.save(shape=x.shape, part=part)
        return x[part]

    def backward(self, dy: Any) -> tuple[Any, None]:
        if not self.needs_grad[0]:
            return None, None
        dx = self.xp.zeros(self.saved.shape, dtype=dy.dtype)
        dx[self.saved.part] = dy
        return dx, None

    def jvp(self, dx: Any, _: Any) -> Any:
        return None if dx is None else dx[self.saved.part]

    def flops(self, bottoms: Sequence[Spec], tops: Sequence[Spec]) -> int:
        return 0
