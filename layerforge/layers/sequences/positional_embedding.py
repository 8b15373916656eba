"""PositionalEmbedding: tells the steps of a sequence apart."""

from __future__ import annotations

from typing import Any

from ...arrays.functional import expect_role, sum_of
from ...arrays.spec import Spec
from ...contract.fillers import Filler
from ...contract.layer import Bad, Example, Layer
from ...schema.errors import ConfigError, LayerError
from ...schema.params import param
from ...schema.registry import register

LONGEST = 10_000  # the slowest wave takes 2π · LONGEST steps


@register
class PositionalEmbedding(Layer):
    """PositionalEmbedding: adds to every step what tells its position

        y[n, t] = x[n, t] + p[t]      t = 0 ... T - 1

    learned      p is a parameter: the first T rows of weight
    sinusoidal   p[t, 2i] = sin(t / 10000^(2i/D)),   p[t, 2i + 1] = cos(t / 10000^(2i/D)): waves of D/2 lengths,
                 nothing learned

    Shapes    x (N, T, D) real, y the same; weight (max_len, D), T <= max_len
    Backward  Every sample gets the same p[t], so its gradient is the sum over the samples:
                  dweight[t] = Σₙ dy[n, t] for t < T, otherwise 0;   dx = dy
    Keeps     nothing
    Cost      one addition per element
    Errors    LayerError when there are more steps than max_len; ConfigError for learned without max_len
    Source    Gehring et al. 2017 (learned), Vaswani et al. 2017 (both); torch has no such layer
    """

    grad_aliases = True

    kind: str = param("learned", help="where p comes from", choices=("learned", "sinusoidal"))
    max_len: int | None = param(None, help="most steps that a sequence may have; for learned embeddings", ge=1)
    weight_filler: Filler = param({"type": "gaussian", "std": 0.02}, help="start values of weight")

    examples = [
        Example({"max_len": 5}, [Spec((2, 3, 4))]),
        Example({"max_len": 3}, [Spec((3, 3, 1))]),
        Example({"max_len": 2}, [Spec((2, 0, 3))], "no step"),
        Example({"kind": "sinusoidal"}, [Spec((2, 5, 4))]),
        Example({"kind": "sinusoidal"}, [Spec((2, 3, 5))], "an odd number of features"),
        Example({"kind": "sinusoidal"}, [Spec((1, 1, 1))]),
    ]
    bad_examples = [
        Bad({}, "a learned embedding needs max_len"),
        Bad({"max_len": 0}, "must be >= 1"),
        Bad({"kind": "sinusoidal", "max_len": 5}, "a sinusoidal embedding has no max_len"),
        Bad({"kind": "rotary"}, "kind must be one of learned, sinusoidal"),
        Bad({"max_len": 3}, "has 4 steps, max_len is 3", [Spec((2, 4, 5))]),
        Bad({"max_len": 3}, "expected (N, T, D)", [Spec((3, 4))]),
        Bad({"max_len": 3}, "must be real numbers", [Spec((2, 3, 4), role="index")]),
    ]

    def validate(self) -> None:
        if self.kind == "learned" and self.max_len is None:
            raise ConfigError("a learned embedding needs max_len", hint="add `max_len: ...`, or `kind: sinusoidal`")
        if self.kind == "sinusoidal" and self.max_len is not None:
            raise ConfigError("a sinusoidal embedding has no max_len", hint="leave it out: any position has its waves")

    def setup(self, x: Spec) -> Spec:
        expect_role("the bottom", x, "real")
        if x.ndim != 3:
            raise LayerError(f"the bottom has shape {x.shape}, expected (N, T, D): samples, steps, features")
        if self.kind == "learned":
            if x.shape[1] > self.max_len:
                raise LayerError(f"the bottom has {x.shape[1]} steps, max_len is {self.max_len}")
            self.add_param("weight", (self.max_len, x.shape[2]), self.weight_filler)
        return x

    def forward(self, x: Any) -> Any:
        self.save(shape=x.shape)
        _, steps, features = x.shape
        return x + (self.params.weight[:steps] if self.kind == "learned" else self.waves(steps, features))

    def waves(self, steps: int, features: int) -> Any:
        """p (T, D). In float64 first: the sine of a large argument needs its digits."""
        xp = self.xp
        t, j = xp.arange(steps, dtype="float64")[:, None], xp.arange(features)
        angle = t * (1 / LONGEST) ** ((j - j % 2) / features)
        return xp.where(j % 2 == 0, xp.sin(angle), xp.cos(angle)).astype(self.dtype)

    def backward(self, dy: Any) -> Any:
        if self.kind == "learned" and self.needs_param_grad.weight:
            self.grads.weight[: dy.shape[1]] += sum_of(dy, 0)
        return dy

    def jvp(self, dx: Any) -> Any:
        return dx

    def jvp_params(self, weight: Any) -> Any:
        shape = self.saved.shape
        return self.xp.broadcast_to(weight[: shape[1]], shape)
