"""AdaptiveAvgPool2d: means over parts of the image, as many as are wanted."""

from __future__ import annotations

import numpy as np

from ...arrays.spec import Spec
from ...contract.layer import Example
from ...schema.params import Pair, param
from ...schema.registry import register
from ..convolutions.resampling import Resampling
from .pooling import BAD_PARTS, parts


@register
class AdaptiveAvgPool2d(Resampling):
    """AdaptiveAvgPool2d: means over as many parts of the image as the output should have positions

        y[p] = the mean of x[i] over start(p) <= i < end(p),   start(p) = ⌊p S / P⌋,  end(p) = ⌈(p + 1) S / P⌉

    for each position p, along each axis of S positions, of which P are made, as output_size says: parts overlap where S
    is no multiple of P; where P > S several are the same positions or share them. output_size 1 is GlobalAvgPool2d.
    Along an axis this is a product with the P x S matrix of 1 / (end - start) in the part and 0 outside of it: with R
    for the vertical axis and Q for the horizontal one, y = R x Qᵀ (matrix products, for each channel).

    Shapes    x (N, C, H, W) real, y (N, C, *output_size)
    Backward  dx = Rᵀ dy Q: every position gets the gradients of the parts that it is in, each over the part's size
    Keeps     the shape of x
    Cost      2HP flops per column for P rows of y, then 2WP per row for P columns; the same backward
    Errors    LayerError when x has no positions. A value that is not finite spreads along its row and column.
    Source    the idea: He, Zhang, Ren & Sun 2014, who take maxima; compare torch.nn.AdaptiveAvgPool2d
    """

    output_size: Pair = param(help="height and width of the output", ge=1)

    examples = [
        Example({"output_size": 2}, [Spec((2, 3, 4, 6))]),
        Example({"output_size": [3, 2]}, [Spec((2, 2, 5, 7))], "parts that overlap"),
        Example({"output_size": [1, 5]}, [Spec((3, 1, 4, 3))], "parts that repeat"),
        Example({"output_size": [4, 3]}, [Spec((2, 2, 4, 3))], "as it is"),
        Example({"output_size": 1}, [Spec((1, 1, 1, 1))]),
    ]
    bad_examples = BAD_PARTS

    def matrix(self, size: int, axis: int) -> np.ndarray:
        means = np.zeros((self.output_size[axis], size))
        for mean, part in zip(means, parts(size, len(means)), strict=True):
            mean[part] = 1 / (part.stop - part.start)
        return means
