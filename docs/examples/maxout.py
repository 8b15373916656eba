"""A layer with several heads: two with a gradient, and one, an index, without."""

from layerforge import Array, Bad, Example, Layer, Spec, param, register
from layerforge.arrays.spec import index
from layerforge.schema.errors import LayerError


@register
class Maxout(Layer):
    """Maxout: the largest of k neighbouring features, how far it is ahead, and which of them it is

        y = max_k x_k      lead = y - second largest x_k      winner = argmax_k x_k

    Shapes    x (..., k M) real; y and lead (..., M) real; winner (..., M) an index below k
    Backward  Let f be the place of the largest and s that of the second largest: y = x_f and lead = x_f - x_s. Both
              places stay where they are while x moves a little, so
                  dx_f = dy + dlead      dx_s = -dlead      0 elsewhere
              winner jumps from one integer to another or does not move at all: it has no gradient
    Keeps     f and s
    Cost      a sort of every k features
    Errors    LayerError where k does not divide the features
    Source    Goodfellow et al. 2013, for y
    """

    tops = 3

    pieces: int = param(2, help="features k that compete", ge=2)

    examples = [
        Example({}, [Spec((4, 6))]),
        Example({"pieces": 3}, [Spec((2, 3, 6))]),
        Example({"pieces": 5}, [Spec((1, 5))]),
    ]
    bad_examples = [
        Bad({"pieces": 1}, "must be >= 2"),
        Bad({"pieces": 4}, "4 does not divide 6", [Spec((3, 6))]),
    ]

    def setup(self, x: Spec) -> tuple[Spec, ...]:
        if x.shape[-1] % self.pieces:
            raise LayerError(f"{self.pieces} does not divide {x.shape[-1]} features", hint="choose other pieces")
        y = x.with_shape((*x.shape[:-1], x.shape[-1] // self.pieces))
        return y, y, index(y.shape, self.pieces)

    def forward(self, x: Array) -> tuple[Array, ...]:
        xp, groups = self.xp, x.reshape(*x.shape[:-1], -1, self.pieces)
        order = xp.argsort(groups, axis=-1)
        first, second = order[..., -1:], order[..., -2:-1]
        self.save(first=first, second=second)
        y = xp.take_along_axis(groups, first, axis=-1)
        lead = y - xp.take_along_axis(groups, second, axis=-1)
        return y[..., 0], lead[..., 0], first[..., 0].copy()

    def backward(self, dy: Array, dlead: Array, _: None) -> Array:
        places, kept = self.xp.arange(self.pieces), self.saved
        to_first, to_second = (dy + dlead)[..., None], -dlead[..., None]
        dx = to_first * (places == kept.first) + to_second * (places == kept.second)
        return dx.reshape(*dy.shape[:-1], -1)
