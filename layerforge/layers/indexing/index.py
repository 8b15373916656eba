"""Index: the part of a blob that numbers, slices and lists name, one of them for each axis."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import numpy as np

from ...arrays.spec import Spec
from ...contract.layer import Bad, Example
from ...schema.params import param
from ...schema.registry import register
from ..shapes.linear_map import LinearMap
from .subscripts import Selection, Subscript, select


def labels(*shape: int) -> Spec:
    """The Spec of an example's labels."""
    return Spec(shape, role="index", high=7)


@register
class Index(LinearMap):
    """Index: the part of a blob that numbers, slices and lists name, one of them for each axis

        y = x[index]      index: ["0:6:2", -1, [2, 0]] picks x[0:6:2, -1, [2, 0]]

    The rules are NumPy's. An entry for each axis from the first; the axes after them are kept whole, and so are those
    that "..." stands for. A whole number picks a place, and its axis is gone. A slice, written as text, picks every
    step-th place from start on, before stop. A list picks its places in its order, one of true and false those where it
    is true. Several lists name places together, the k-th of one with the k-th of another, broadcast to one shape (whole
    numbers beside them too): [[0, 1], [2, 0]] picks x[0, 2] and x[1, 0], and [[[0], [1]], [2, 0]] what lies in rows 0
    and 1 and columns 2 and 0. Their axes stand in y where the lists stand in index; in front of all others where a
    slice or "..." stands between two of them, whole numbers beside lists counted: [0, ":", [2, 0]] has the list's axis
    first. Lists of true and false within a list are for as many axes as they are deep.

    The first axis counts samples: ":" or "..." keeps them all, and everything else picks among those of the batch that
    happens to come.

    Shapes    x of any shape, real or index; y as above
    Backward  y is x read at places that do not depend on x. The gradient goes back to where each element was read, and
              what was read several times, as lists may do, gets the sum:
                  dx[i] = Σ dy[k]      over the k for which y[k] was read at i; 0 where there is none
    Keeps     the shape of x
    Cost      none forward, as y is a view of x, and one copy backward; where there are lists a copy forward, too, and
              one addition per element backward
    Errors    ConfigError for what is no entry; LayerError for more entries than axes, a place outside its axis (a slice
              has none there), true and false that are not as many as the axis is long, lists that do not broadcast
    Source    NumPy's user guide, "Indexing on ndarrays"; compare the brackets of torch.Tensor, which know no slice with
              a negative step
    """

    top_is_view = True  # but for lists: see `validate`

    index: Annotated[list[Any], Subscript] = param(help='for each axis -1, "1:", "::-1", [2, 0] or [true, false]')

    examples = [
        Example({"index": [":", 1]}, [Spec((2, 3, 4))], "a place of an axis"),
        Example({"index": ["0:6:2", -1, [2, 0]]}, [Spec((7, 2, 3))], "a slice, a number and a list"),
        Example({"index": [":", "::-1", "-3:"]}, [Spec((2, 3, 5))], "backwards, and the end"),
        Example({"index": [":", "1:1"]}, [Spec((2, 3))], "nothing"),
        Example({"index": [":", "5:1:-2", " -9 : 9 "]}, [Spec((2, 7, 3))], "slices may reach beyond the axis"),
        Example({"index": [":", [2, 0, 2, -1]]}, [Spec((3, 4))], "places several times"),
        Example({"index": [":", [True, False, True]]}, [Spec((2, 3, 2))], "a mask"),
        Example({"index": [":", [0, 1, 1], [2, 0, 0]]}, [Spec((2, 2, 3))], "lists pair"),
        Example({"index": [":", [[0], [1]], [2, 0]]}, [Spec((2, 2, 3))], "lists broadcast"),
        Example({"index": [[0, 1], ":", [2, 0]]}, [Spec((2, 3, 3))], "lists apart: their axis is in front"),
        Example({"index": [":", 0, "1:", [2, 0, 2]]}, [Spec((3, 2, 3, 4))], "a number counts as a list"),
        Example({"index": [":", [True, False, True], [[1], [0]]]}, [Spec((2, 3, 2))], "a mask with a list"),
        Example({"index": [":", [[True, False], [True, True]]]}, [Spec((2, 2, 2, 3))], "a mask of two axes"),
        Example({"index": ["...", 0]}, [Spec((2, 3, 4))]),
        Example({"index": [":", [0, 2], "...", [1, 1]]}, [Spec((2, 3, 2, 2))]),
        Example({"index": [1, 2]}, [Spec((2, 3))], "one number"),
        Example({"index": [[1, 1, 0], 2]}, [Spec((2, 3))], "of samples"),
        Example({"index": []}, [Spec((2, 3))], "all of it"),
        Example({"index": ["..."]}, [Spec(())]),
        Example({"index": [":", []]}, [Spec((2, 3))], "an empty list"),
        Example({"index": [":", [1, 1]]}, [Spec((0, 3))], "no samples"),
        Example({"index": [":", 1]}, [labels(3, 2)], "of labels"),
        Example({"index": [":", [1, 1, 0]]}, [labels(3, 2)], "of labels, by a list"),
    ]
    bad_examples = [
        Bad({"index": [":", 3]}, "index 3 is out of range for axis 1 of size 3", [Spec((2, 3))]),
        Bad({"index": [":", [0, -4]]}, "index -4 is out of range for axis 1 of size 3", [Spec((2, 3))]),
        Bad({"index": [2]}, "axis 0 counts the samples", [Spec((2, 3))]),
        Bad({"index": [":", 0]}, "there is nothing to point at", [Spec((2, 0))]),
        Bad({"index": [0, 0, 0]}, "index has entries for 3 axes, the bottom has 2: (2, 3)", [Spec((2, 3))]),
        Bad({"index": [":", [True, False]]}, "2 true and false for axis 1 of size 3", [Spec((2, 3))]),
        Bad({"index": [[[True], [True]]]}, "2 by 1 true and false for axes 0 to 1 of size 2 by 3", [Spec((2, 3))]),
        Bad({"index": [[0, 1], [0, 1, 2]]}, "shapes (2,), (3,) do not broadcast", [Spec((2, 3))]),
        Bad({"index": ["0:3:0"]}, "index: entry 0 is '0:3:0', a slice with step 0"),
        Bad({"index": [":", "1"]}, "entry 1 is '1', which is no slice"),
        Bad({"index": [":", True]}, "entry 1 is true, which picks nothing"),
        Bad({"index": [None]}, "entry 0 is null, which picks nothing"),
        Bad({"index": [1.0]}, "entry 0 is 1.0, which picks nothing"),
        Bad({"index": [[0, True]]}, "a list holds whole numbers, or true and false"),
        Bad({"index": [[0.5]]}, "a list holds whole numbers, or true and false"),
        Bad({"index": [[[0, 1], [2]]]}, "lists are of different lengths"),
        Bad({"index": ["...", 0, "..."]}, "index has 2 entries '...'"),
        Bad({"index": 3}, "index must be a list of entries"),
        Bad({}, "index is required"),
    ]

    def validate(self) -> None:
        self.top_is_view = not any(isinstance(entry, list) for entry in self.index)

    def selection(self, shape: tuple[int, ...]) -> Selection:
        """What is picked of a bottom of that shape."""
        return select(self.index, shape)

    def on_device(self, shape: tuple[int, ...]) -> Callable[[str, np.ndarray], Any]:
        """What moves numbers that follow from the index and a bottom's shape to where the bottom is."""
        return lambda name, numbers: self.constant(name, (self.index, shape), lambda: numbers, numbers.dtype)

    def top_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return self.selection(shape).shape

    def per_sample_for(self, x: Spec) -> bool:
        return self.selection(x.shape).keeps_samples

    def apply(self, x: Any) -> Any:
        return self.selection(x.shape).pick(x, self.on_device(x.shape))

    def adjoint(self, dy: Any, shape: tuple[int, ...]) -> Any:
        dx = self.xp.zeros(shape, dtype=dy.dtype)
        self.selection(shape).put_back(self.xp, dy, dx, self.on_device(shape))
        return dx
