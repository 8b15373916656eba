"""Input: a blob that the caller or the data section provides."""

from __future__ import annotations

from ...arrays.spec import FORMATS, ROLES, Spec
from ...contract.layer import Bad, Example, Layer
from ...schema.errors import ConfigError
from ...schema.params import param
from ...schema.registry import register


@register
class Input(Layer):
    """Input: a blob that the caller gives (Caffe: Input)

        y = the array given under the name of the top: net.forward(y=...)

    The same as an entry of `inputs:`: building the net turns the layer into an input, and no step is left of it. Under
    a `data:` section, which feeds the net, it may repeat the shape of one of the section's blobs, and ask for its
    gradient.

    `sparse: csr` takes a matrix (N, D) in compressed sparse rows, such as SciPy's csr_array, and no array. The gradient
    of such an input is that of the stored numbers, in their pattern.

    Shapes    y as `shape` says; the batch axis, the first, may differ from call to call
    Backward  none here: with `grad: true` the gradient of y ends as net.blobs["y"].grad
    Keeps     nothing
    Errors    ConfigError for the gradient of an index, for a name that is an input already and, under a `data:`
              section, for a blob that the section does not give, or gives in another shape
    Source    Jia et al. 2014 (Caffe)
    """

    bottoms = 0

    shape: list[int] = param(help="full shape, batch axis first", ge=0)
    role: str = param("real", help="index: integers, such as labels", choices=ROLES)
    grad: bool = param(False, help="compute its gradient")
    sparse: str | None = param(None, help="csr: a matrix in compressed sparse rows", choices=(*FORMATS, None))

    examples = [
        Example({"shape": [4, 3]}, []),
        Example({"shape": [2, 1, 5, 5], "grad": True}, []),
        Example({"shape": [4], "role": "index"}, []),
        Example({"shape": []}, [], "a single number"),
        Example({"shape": [0, 3]}, [], "no samples"),
    ]
    bad_examples = [
        Bad({}, "shape is required"),
        Bad({"shape": [-1, 3]}, "must be >= 0"),
        Bad({"shape": [4], "role": "label"}, "must be one of real, index"),
        Bad({"shape": [4], "role": "index", "grad": True}, "an index has no gradient"),
        Bad({"shape": [4], "sparse": "csr"}, "a sparse input has two axes"),
        Bad({"shape": [4, 3], "sparse": "coo"}, "must be one of csr, None"),
        Bad({"shape": [4], "dtype": "int64"}, "did you mean 'role'?"),
    ]

    def validate(self) -> None:
        if self.grad and self.role == "index":
            raise ConfigError("an index has no gradient", hint="remove grad")
        if self.sparse and (len(self.shape) != 2 or self.role != "real"):
            raise ConfigError("a sparse input has two axes, [N, D], and real numbers", hint="remove sparse")

    def setup(self) -> Spec:
        if self.role == "index":
            return Spec(self.shape, role="index")
        return Spec(tuple(self.shape), self.dtype, sparse=self.sparse)
