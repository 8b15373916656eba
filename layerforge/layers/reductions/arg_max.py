"""ArgMax: where the largest elements are, and what they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...arrays.functional import expect_role, normalize_dim, order_along, part_along
from ...arrays.scattering import scatter_add
from ...arrays.spec import Spec, index
from ...contract.layer import Bad, Example, Layer
from ...schema.errors import ConfigError, LayerError
from ...schema.params import param
from ...schema.registry import register
from ..broadcasting.max_min_of_blobs import often_equal


@register
class ArgMax(Layer):
    """ArgMax: indices of the largest elements along an axis, such as the predicted classes (Caffe: ArgMax)

        y = argmax x      along dim, or in x flattened

    With top_k > 1 axis dim of y lists the top_k best, the best first. Among equal elements the smaller index
    comes first; with ties: caffe, the larger. NaN counts as the largest value, as in NumPy and torch: the index is that
    of the first NaN (with ties: caffe, of the last), and an index does not show that. A second top holds the elements
    themselves. (Caffe's layer without an axis takes each sample separately: Flatten comes first here, and dim 1. Its
    out_max_val asks for the second top.)

    Shapes    x real; y index, without axis dim (of size 1 with keepdim, of size top_k with top_k > 1); without a dim y
              is one index, or top_k of them; the optional second top real, the same
    Backward  y is an index and has no gradient. The second top v is elements of x, and the others do not move it: for
              every place j of y
                  dx[y[j]] = dv[j]      along dim, 0 elsewhere
    Keeps     the indices, where there is a second top
    Cost      one pass; a sort where top_k > 1; one copy backward
    Errors    LayerError when there is no axis dim, or it has fewer than top_k elements; ConfigError for keepdim with
              top_k > 1
    Source    compare torch.argmax and torch.topk
    """

    tops = (1, 2)

    dim: int | None = param(None, help="axis to search; negative counts from the back, null: all elements as one")
    keepdim: bool = param(False, help="keep the axis, or all axes, at size 1")
    top_k: int = param(1, help="how many indices", ge=1)
    ties: str = param("first", help="which of equal elements comes first", choices=("first", "caffe"))

    examples = [
        Example({"dim": 1}, [Spec((4, 5))]),
        Example({"dim": -1, "keepdim": True}, [Spec((2, 3, 4))]),
        Example({"dim": 1, "top_k": 3}, [Spec((2, 5, 3))]),
        Example({"dim": 1, "top_k": 4}, [Spec((3, 4), draw=often_equal)], "ties"),
        Example({"dim": 1, "ties": "caffe"}, [Spec((6, 4), draw=often_equal)], "ties"),
        Example({"dim": 1, "top_k": 3, "ties": "caffe"}, [Spec((6, 4), draw=often_equal)], "ties"),
        Example({"dim": 0}, [Spec((4, 3))], "the best sample"),
        Example({}, [Spec((2, 3, 2))]),
        Example({"keepdim": True}, [Spec((2, 3))]),
        Example({"top_k": 3}, [Spec((2, 3))]),
        Example({"dim": 1}, [Spec((3, 1))]),
        Example({"dim": 1}, [Spec((0, 3))], "no samples"),
        Example({}, [Spec(())]),
        Example({"dim": 1}, [Spec((3, 4))], "with the elements", tops=2),
        Example({"dim": -1, "top_k": 2, "ties": "caffe"}, [Spec((2, 3, 4), draw=often_equal)], "ties", tops=2),
        Example({"top_k": 3}, [Spec((2, 3))], "with the elements", tops=2),
    ]
    bad_examples = [
        Bad({"dim": 2}, "dim 2 is out of range", [Spec((3, 5))]),
        Bad({"dim": 1, "top_k": 6}, "top_k 6 of 5 numbers", [Spec((3, 5))]),
        Bad({"dim": 1}, "top_k 1 of 0 numbers", [Spec((3, 0))]),
        Bad({"top_k": 0}, "must be >= 1"),
        Bad({"top_k": 2, "keepdim": True}, "keepdim is for top_k 1"),
        Bad({"axis": 1}, "did you mean 'dim'?"),
        Bad({"out_max_val": True}, "unknown key 'out_max_val'"),
        Bad({}, "must be real numbers", [Spec((3,), role="index")]),
    ]

    def validate(self) -> None:
        if self.keepdim and self.top_k > 1:
            raise ConfigError("keepdim is for top_k 1", hint="with more the axis stays, and has size top_k")

    def setup(self, x: Spec) -> tuple[Spec, ...]:
        expect_role("the bottom", x, "real")
        count = x.size if self.dim is None else x.shape[normalize_dim(self.dim, x.ndim)]
        if self.top_k > count:
            raise LayerError(f"top_k {self.top_k} of {count} numbers", hint="top_k is at most the size of the axis")
        shape, self.no_grad_bottoms = self.top_shape(x.shape), (0,) if self.tops_wanted == 1 else ()
        return (index(shape, count), x.with_shape(shape))[: self.tops_wanted]

    def top_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of the top."""
        if self.dim is None:
            return (self.top_k,) if self.top_k > 1 else (1,) * len(shape) if self.keepdim else ()
        dim = normalize_dim(self.dim, len(shape))
        size = (self.top_k,) if self.top_k > 1 or self.keepdim else ()
        return (*shape[:dim], *size, *shape[dim + 1 :])

    def per_sample_for(self, x: Spec) -> bool:
        return self.dim is not None and normalize_dim(self.dim, x.ndim) != 0

    def forward(self, x: Any) -> Any:
        rows, dim = self.searched(x)
        if self.ties == "first":
            best = self.best(rows, dim)
        else:  # the first from the back
            best = rows.shape[dim] - 1 - self.best(self.xp.flip(rows, dim), dim)
        places = best.reshape(self.top_shape(x.shape))
        if self.tops_wanted == 1:
            return places
        self.save(places=places.copy(), shape=x.shape)
        return places, self.picked(x, places)

    def picked(self, x: Any, places: Any) -> Any:
        """The elements of x, or of its tangent, at these places."""
        rows, dim = self.searched(x)
        return self.xp.take_along_axis(rows, self.listed(places, rows.ndim), axis=dim).reshape(places.shape)

    def searched(self, x: Any) -> tuple[Any, int]:
        """x with the axis that is searched, and that axis: all elements as one where there is no dim."""
        return (x.reshape(-1), 0) if self.dim is None else (x, normalize_dim(self.dim, x.ndim))

    def listed(self, places: Any, ndim: int) -> Any:
        """The places with an axis dim, which the top may have lost."""
        if self.dim is None:
            return places.reshape(-1)
        return places if places.ndim == ndim else self.xp.expand_dims(places, normalize_dim(self.dim, ndim))

    def backward(self, _: Any, dvalues: Any = None) -> Any:
        if not self.needs_grad[0]:
            return None
        dx = self.xp.zeros(self.saved.shape, dtype=dvalues.dtype)
        rows, dim = self.searched(dx)
        places = self.listed(self.saved.places, rows.ndim)
        scatter_add(self.xp, rows, places, dim, dvalues.reshape(places.shape), distinct=True)
        return dx

    def jvp(self, dx: Any) -> Any:
        return None if self.tops_wanted == 1 else (None, self.picked(dx, self.saved.places))

    def best(self, x: Any, dim: int) -> Any:
        """Indices of the top_k largest, the smaller index first where elements are equal."""
        if self.top_k == 1:
            return x.argmax(axis=dim)
        return part_along(order_along(self.xp, x, dim), dim, 0, self.top_k)

    def flops(self, bottoms: Sequence[Spec], tops: Sequence[Spec]) -> int:
        return bottoms[0].size
