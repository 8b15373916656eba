"""Embedding: a learned vector for each of a set of things."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...arrays.functional import check_index, expect_role
from ...arrays.scattering import scatter_add
from ...arrays.spec import Spec, index
from ...contract.fillers import Filler
from ...contract.layer import Bad, Example, Layer
from ...schema.errors import ConfigError
from ...schema.params import param
from ...schema.registry import register


@register
class Embedding(Layer):
    """Embedding: a learned vector for each index (Caffe: Embed, without its bias)

        y = weight[x]

    It is Linear on one-hot vectors, y = onehot(x) weight, without the multiplications by zero. At padding_idx y is
    zero, whatever that row of the weight holds, so the row is never learned.

    Shapes    x index of any shape, 0 <= x < V; y (..., D), weight (V, D)
    Backward  With n over all of x, y[n] = weight[x[n]]: row i of weight has become y[n] where x[n] = i, so
                  dweight[i] = Σₙ dy[n]      over the n with x[n] = i; 0 for padding_idx
              the rows that no x names get no gradient, and x, an index, has none. With sparse: true the solver is told
              which rows occur, and neither reads nor writes the others: a step costs what the words of the batch cost,
              however many there are in the language. The solvers say what that means for their momentum.
    Keeps     x
    Cost      one copy forward, one addition per element of dy backward
    Errors    ConfigError when padding_idx is not a row of weight; LayerError (exit 3) for an index outside 0 to V - 1
    Source    Bengio et al. 2003; compare torch.nn.Embedding, which starts the row of padding_idx at zero
    """

    backward_reads = ("bottom",)

    num_embeddings: int = param(help="number V of things", ge=1)
    embedding_dim: int = param(help="length D of their vectors", ge=1)
    padding_idx: int | None = param(None, help="index that stands for nothing: zeros", ge=0)
    sparse: bool = param(False, help="a sparse gradient: the solver updates only the rows that occur")
    weight_filler: Filler = param("gaussian", help="start values of weight")

    examples = [
        Example({"num_embeddings": 5, "embedding_dim": 3}, [index((4,), 5)]),
        Example({"num_embeddings": 3, "embedding_dim": 4}, [index((2, 6), 3)], "sequences, with repetitions"),
        Example({"num_embeddings": 4, "embedding_dim": 2, "padding_idx": 0}, [index((3, 5), 4)]),
        Example({"num_embeddings": 4, "embedding_dim": 2, "padding_idx": 3}, [index((2, 3, 2), 4)]),
        Example({"num_embeddings": 6, "embedding_dim": 2, "sparse": True}, [index((2, 3), 5)], "a sparse gradient"),
        Example({"num_embeddings": 1, "embedding_dim": 1}, [index((1, 1), 1)]),
        Example({"num_embeddings": 3, "embedding_dim": 2}, [index((2, 0), 3)], "empty sequences"),
    ]
    bad_examples = [
        Bad({"num_embeddings": 5, "embedding_dim": 3}, "the bottom must be integers", [Spec((4,))]),
        Bad({"num_embeddings": 5, "embedding_dim": 3, "padding_idx": 5}, "padding_idx 5 is out of range"),
        Bad({"num_embeddings": 0, "embedding_dim": 3}, "must be >= 1"),
        Bad({"num_embeddings": 5}, "embedding_dim is required"),
        Bad({"input_dim": 5, "embedding_dim": 3}, "did you mean 'num_embeddings'?"),
    ]

    def validate(self) -> None:
        if self.padding_idx is not None and self.padding_idx >= self.num_embeddings:
            message = f"padding_idx {self.padding_idx} is out of range for {self.num_embeddings} embeddings"
            raise ConfigError(message, hint=f"0 to {self.num_embeddings - 1}")

    def setup(self, x: Spec) -> Spec:
        expect_role("the bottom", x, "index")
        shape = (self.num_embeddings, self.embedding_dim)
        self.add_param("weight", shape, self.weight_filler, sparse_grad=self.sparse)
        return Spec((*x.shape, self.embedding_dim), self.dtype)

    def index_range(self, i: int, *bottoms: Spec) -> range:
        """Rows of the weight."""
        return range(self.num_embeddings)

    def forward(self, x: Any) -> Any:
        check_index(self.xp, x, self.num_embeddings, f"{self.num_embeddings} embeddings")
        self.save(x=x)
        return self.without_padding(x, self.params.weight.take(x, axis=0))

    def without_padding(self, x: Any, vectors: Any) -> Any:
        """vectors (..., D) with zeros where x is padding_idx."""
        return vectors if self.padding_idx is None else vectors * (x != self.padding_idx)[..., None]

    def backward(self, dy: Any) -> None:
        if self.needs_param_grad.weight:
            x, dim = self.saved.x, self.embedding_dim
            rows = self.without_padding(x, dy).reshape(-1, dim)
            scatter_add(self.xp, self.grads.weight, x.reshape(-1, 1), 0, rows)
            if self.sparse:
                self.grad_rows.weight.add(x)

    def jvp_params(self, weight: Any) -> Any:
        x = self.saved.x
        return self.without_padding(x, weight.take(x, axis=0))

    def flops(self, bottoms: Sequence[Spec], tops: Sequence[Spec]) -> int:
        return 0
