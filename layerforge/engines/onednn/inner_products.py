"""Products of matrices as oneDNN's inner product: where that is faster than its product of matrices.

The inner product y = x wᵀ reads the weights of few rows fastest. In bfloat16, products of some shapes pass over the
tiles of AMX, and take three to six times as long as those that do not; the gradients of an inner product use them.
All arrays are in row-major order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...arrays.bfloat16 import BFLOAT16
from . import binding as b
from . import library
from .binding import Desc, Recipe, any_layout, of_array, strided
from .primitives import Made, after, arguments, matmul

TILES = "amx"  # in the names of the code that uses them
SHORT = 32  # terms of a sum below which nothing is lost without them


def inner_product(
    x: Any, w: Any, bias: Any, y: Any, scale: Any, shift: Any, post_ops: Sequence[Any] = ()
) -> Made:
    """y = scale (x wᵀ + bias) + shift, then the post-ops: for few rows."""
    vector, (attr, more) = None if bias is None else of_array(bias), after(scale, shift, post_ops)
    recipe = Recipe("inner_product_forward", b.INFERENCE, packed(x), packed(w), vector, packed(y), attr)
    return recipe, arguments((b.SRC, x), (b.WEIGHTS, w), (b.BIAS, bias), (b.DST, y), *more)


def by_weights(x: Any, dy: Any, dw: Any) -> Made:
    """dw = dyᵀ x."""
    arrays = packed(x), packed(dw), None, packed(dy)
    recipe = Recipe("inner_product_backward_weights", *arrays, _forward(x, dw, dy), None)
    return recipe, (b.SRC, b.DIFF_DST, b.DIFF_WEIGHTS)


def by_bottom(dy: Any, w: Any, dx: Any) -> Made:
    """dx = dy w."""
    recipe = Recipe("inner_product_backward_data", packed(dx), packed(w), packed(dy), _forward(dx, w, dy), None)
    return recipe, (b.DIFF_DST, b.WEIGHTS, b.DIFF_SRC)


def _forward(x: Any, w: Any, y: Any) -> Recipe:
    """What is differentiated: y = x wᵀ."""
    weights = any_layout(w.shape, x.dtype)
    return Recipe("inner_product_forward", b.TRAINING, packed(x), weights, None, packed(y), None)


def packed(matrix: Any) -> Desc:
    """The descriptor of a matrix in row-major order; the stride of an axis of length 1 may be anything in NumPy."""
    return strided(matrix.shape, (matrix.shape[1], 1), matrix.dtype)


def misses_tiles(a: Any, w: Any, c: Any) -> bool:
    """Whether the product c = a w passes over the tiles that the processor has; all lie in rows or are turned so."""
    if not (a.dtype == w.dtype == BFLOAT16 and a.shape[1] >= SHORT and library.has_amx()):
        return False
    in_rows = w.flags.c_contiguous and c.flags.c_contiguous and (a.flags.c_contiguous or a.flags.f_contiguous)
    return in_rows and TILES not in matmul(a, w, None, c)[0].implementation()
