"""A layer of one's own: everything that LayerForge needs to know is in this class."""

from layerforge import Array, Bad, Example, Filler, Layer, Spec, param, register
from layerforge.arrays.functional import unbroadcast


@register
class Snake(Layer):
    """Snake: a periodic activation with a learned frequency per feature

        y = x + sin²(a x) / a

    Shapes    x (N, ..., D) real, y the same, frequency a (D,)
    Backward  (sin² z)' = 2 sin z cos z = sin 2z, hence
                  ∂y/∂x = 1 + sin(2 a x)
                  ∂y/∂a = x sin(2 a x) / a - sin²(a x) / a²
              and a_d acts on every sample and position, so its gradient is the sum over all of them
    Keeps     x
    Cost      about 6 flops a number
    Errors    ConfigError for a start value of 0 or below
    Source    Ziyin, Hartwig & Ueda 2020
    """

    backward_reads = ("bottom",)

    start: float = param(1.0, help="start value of the frequency a", gt=0)
    frequency_filler: Filler | None = param(None, help="start values of a; default: all `start`")

    examples = [
        Example({}, [Spec((4, 5))]),
        Example({"start": 0.5}, [Spec((2, 3, 4))]),
        Example({"frequency_filler": {"type": "uniform", "min": 0.5, "max": 2.0}}, [Spec((3, 1))]),
    ]
    bad_examples = [Bad({"start": 0}, "must be > 0")]

    def setup(self, x: Spec) -> Spec:
        self.add_param("frequency", x.shape[-1:], self.frequency_filler or self.start)
        return x

    def forward(self, x: Array) -> Array:
        self.save(x=x)
        a = self.params.frequency
        return x + self.xp.sin(a * x) ** 2 / a

    def backward(self, dy: Array) -> Array:
        xp, x, a = self.xp, self.saved.x, self.params.frequency
        slope = xp.sin(2 * a * x)
        self.grads.frequency += unbroadcast(dy * (x * slope / a - (xp.sin(a * x) / a) ** 2), a.shape)
        return dy * (1 + slope)
