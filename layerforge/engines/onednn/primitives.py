"""The operations that the engine uses, each as a maker for `Op`: from the arrays of a call to oneDNN's description.

A maker returns the description and what each array is. It describes an array as it is stored, or leaves the layout
to oneDNN (`any_layout`); where the two differ, the Op reorders.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from . import binding as b
from .binding import Attr, Desc, Recipe, any_layout, dims, of_array, of_image, strided

Made = tuple[Recipe, Sequence[int]]
DIRECT, DIRECT_TURNED = 1, 0xA
SOFTMAX = 0x30000
MAX_POOLING, MEAN_WITH_PADDING, MEAN_WITHOUT = 0x1FF, 0x2FF, 0x3FF
ADD, MULTIPLY, MAXIMUM, MINIMUM, SUBTRACT, LRN_ACROSS = 0x1FFF0, 0x1FFF1, 0x1FFF2, 0x1FFF3, 0x1FFF5, 0xAFF
FROM_RESULT = 0x100  # algorithms from here on differentiate by the result
USE_GLOBAL_STATS, USE_SCALE, USE_SHIFT, FUSE_RELU = 1, 2, 4, 8


ADDED = (("sum", 1.0),)  # post-ops: the result is added to what is there


def arguments(*pairs: tuple[int, Any]) -> list[int]:
    """What the given arrays are; arrays that are None are left out."""
    return [which for which, array in pairs if array is not None]


def row(array: Any, ndim: int) -> Desc | None:
    """The descriptor of a vector that is added to every row of a matrix."""
    return None if array is None else strided((1,) * (ndim - 1) + array.shape, (array.size,) * (ndim - 1) + (1,))


def after(scale: Any, shift: Any, post_ops: Sequence[Any] = ()) -> tuple[Attr, list[tuple[int, Any]]]:
    """The option to multiply by scale and add shift, where there are such, before the post-ops; what the two are."""
    steps = [(MULTIPLY, scale), (ADD, shift)]
    given = [(algorithm, array) for algorithm, array in steps if array is not None]
    chain = [("binary", algorithm, of_array(array)) for algorithm, array in given]
    pairs = [(b.POST_OP * (1 + i) | b.SRC_1, array) for i, (_, array) in enumerate(given)]
    return Attr((*chain, *post_ops)), pairs


def matmul(a: Any, w: Any, bias: Any, c: Any, post_ops: Sequence[Any] = ()) -> Made:
    """c = a w + bias, then the post-ops; ("sum", 1) among them adds to what is in c."""
    return scaled_matmul(a, w, bias, c, None, None, post_ops)


def scaled_matmul(
    a: Any, w: Any, bias: Any, c: Any, scale: Any, shift: Any, post_ops: Sequence[Any] = ()
) -> Made:
    """c = scale (a w + bias) + shift, then the post-ops."""
    attr, more = after(scale, shift, post_ops)
    recipe = Recipe("matmul", of_array(a), of_array(w), row(bias, a.ndim), of_array(c), attr)
    return recipe, arguments((b.SRC, a), (b.WEIGHTS, w), (b.BIAS, bias), (b.DST, c), *more)


def copy(x: Any, y: Any) -> Made:
    """y = x, whatever the strides of the two."""
    return b.reordering(of_array(x), of_array(y)), (b.SRC, b.DST)


def add_to(x: Any, y: Any) -> Made:
    """y = y + x, whatever the strides of the two."""
    return b.reordering(of_array(x), of_array(y), add=True), (b.SRC, b.DST)


# Element by element -------------------------------------------------------------------------------------------------


def eltwise(x: Any, y: Any, algorithm: int, alpha: float, beta: float) -> Made:
    """y = f(x)."""
    return _eltwise(of_array(x), of_array(y), algorithm, alpha, beta), (b.SRC, b.DST)


def _eltwise(x: Desc, y: Desc, algorithm: int, alpha: float, beta: float) -> Recipe:
    return Recipe("eltwise_forward", b.TRAINING, algorithm, x, y, ctypes.c_float(alpha), ctypes.c_float(beta), None)


def eltwise_backward(kept: Any, dy: Any, dx: Any, algorithm: int, alpha: float, beta: float) -> Made:
    """dx = f'(kept) dy, where kept is the bottom, or for algorithms "from the result" the top."""
    data = of_array(kept)
    numbers = ctypes.c_float(alpha), ctypes.c_float(beta)
    forward = _eltwise(data, data, algorithm, alpha, beta)
    recipe = Recipe("eltwise_backward", algorithm, of_array(dx), of_array(dy), data, *numbers, forward, None)
    return recipe, (b.DST if algorithm >= FROM_RESULT else b.SRC, b.DIFF_DST, b.DIFF_SRC)


def binary(x: Any, z: Any, y: Any, algorithm: int, post_ops: Sequence[Any] = ()) -> Made:
    """y = x + z (or another algorithm of two numbers), then the post-ops."""
    recipe = Recipe("binary", algorithm, of_array(x), of_array(z), of_array(y), Attr(post_ops))
    return recipe, (b.SRC, b.SRC_1, b.DST)


def rectified(x: Any, zero: Any, y: Any, x_again: Any) -> Made:
    """y = max(max(x, 0), x), which is max(x, 0) and NaN where x is. y may be the memory of x.

    The instruction behind it gives its second argument where one of the two is NaN, and oneDNN's own ReLU gives 0.
    """
    attr = Attr([("binary", MAXIMUM, of_array(x_again))])
    recipe = Recipe("binary", MAXIMUM, of_array(x), of_array(zero), of_array(y), attr)
    return recipe, (b.SRC, b.SRC_1, b.DST, b.POST_OP | b.SRC_1)


def masked(x: Any, mask: Any, y: Any, scale: Any) -> Made:
    """y = x · scale · mask of 0 and 1, which may be broadcast; scale is an array of one number."""
    recipe = Recipe("binary", MULTIPLY, of_array(x), of_array(mask), of_array(y), Attr((), [b.SRC_1]))
    return recipe, (b.SRC, b.SRC_1, b.DST, b.SCALES | b.SRC_1)


def blend(x: Any, z: Any, y: Any, of_x: Any, of_z: Any, less: Any, post_ops: Sequence[Any] = ()) -> Made:
    """y = of_x x + of_z z, then the post-ops, then - less; the factors are arrays of one number each, or None for 1."""
    factors = (b.SCALES | b.SRC, of_x), (b.SCALES | b.SRC_1, of_z)
    subtracted = () if less is None else (("binary", SUBTRACT, of_array(less)),)
    attr = Attr((*post_ops, *subtracted), [which & ~b.SCALES for which, factor in factors if factor is not None])
    recipe = Recipe("binary", ADD, of_array(x), of_array(z), of_array(y), attr)
    last = b.POST_OP * (1 + len(post_ops)) | b.SRC_1
    return recipe, arguments((b.SRC, x), (b.SRC_1, z), (b.DST, y), *factors, (last, less))


def toward(x: Any, goal: Any, share: Any, goal_again: Any, y: Any) -> Made:
    """y = goal + share (x - goal)."""
    attr = Attr([("binary", MULTIPLY, of_array(share)), ("binary", ADD, of_array(goal_again))])
    recipe = Recipe("binary", SUBTRACT, of_array(x), of_array(goal), of_array(y), attr)
    return recipe, (b.SRC, b.SRC_1, b.POST_OP | b.SRC_1, 2 * b.POST_OP | b.SRC_1, b.DST)


# Windows ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Geometry:
    """Strides, dilations and padding of sliding windows, one number per axis."""

    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    padding: tuple[int, ...]
    behind: tuple[int, ...]  # the padding behind the end of each axis
    kernel: tuple[int, ...] = ()
    turned: bool = False  # of a convolution turned round

    @property
    def operation(self) -> str:
        """What oneDNN calls a convolution like this."""
        return "deconvolution" if self.turned else "convolution"

    @property
    def algorithm(self) -> int:
        """How it is computed."""
        return DIRECT_TURNED if self.turned else DIRECT

    def for_convolution(self) -> tuple[Any, ...]:
        """As oneDNN takes them; it counts what a dilation leaves out."""
        return dims(self.stride), dims([d - 1 for d in self.dilation]), dims(self.padding), dims(self.behind)

    def for_pooling(self) -> tuple[Any, ...]:
        """As oneDNN takes them, with the size of the window."""
        stride, dilation, *padding = self.for_convolution()
        return stride, dims(self.kernel), dilation, *padding


def _convolution(x: Any, w: Any, bias: Any, y: Any, how: Geometry, attr: Attr | None = None) -> Recipe:
    vector = None if bias is None else of_array(bias)
    return Recipe(
        f"{how.operation}_forward", b.TRAINING, how.algorithm,
        of_image(x), any_layout(w.shape, x.dtype), vector, of_image(y), *how.for_convolution(), attr,
    )  # fmt: skip


def convolution(
    x: Any, w: Any, bias: Any, y: Any, scale: Any, shift: Any, how: Geometry, post_ops: Sequence[Any] = ()
) -> Made:
    """y = scale (the convolution of x with w, plus bias) + shift, then the post-ops."""
    attr, more = after(scale, shift, post_ops)
    pairs = (b.SRC, x), (b.WEIGHTS, w), (b.BIAS, bias), (b.DST, y), *more
    return _convolution(x, w, bias, y, how, attr), arguments(*pairs)


def convolution_by_weights(x: Any, dy: Any, dw: Any, how: Geometry) -> Made:
    """The gradient of a convolution by its kernels."""
    forward = _convolution(x, dw, None, dy, how)
    recipe = Recipe(
        f"{how.operation}_backward_weights", how.algorithm, of_image(x), any_layout(dw.shape), None, of_image(dy),
        *how.for_convolution(), forward, None,
    )  # fmt: skip
    return recipe, (b.SRC, b.DIFF_DST, b.DIFF_WEIGHTS)


def convolution_by_bottom(w: Any, dy: Any, dx: Any, how: Geometry) -> Made:
    """The gradient of a convolution by its bottom."""
    forward = _convolution(dx, w, None, dy, how)
    recipe = Recipe(
        f"{how.operation}_backward_data", how.algorithm, of_image(dx), any_layout(w.shape, dx.dtype), of_image(dy),
        *how.for_convolution(), forward, None,
    )  # fmt: skip
    return recipe, (b.WEIGHTS, b.DIFF_DST, b.DIFF_SRC)


def _pooling(x: Desc, y: Desc, algorithm: int, how: Geometry, prop: int = b.TRAINING) -> Recipe:
    return Recipe("pooling_forward", prop, algorithm, x, y, *how.for_pooling(), None)


def pooling(x: Any, y: Any, where: Any, algorithm: int, how: Geometry) -> Made:
    """y = the largest or the mean of each window; `where` remembers which was the largest, if that is wanted."""
    recipe = _pooling(of_image(x), of_image(y), algorithm, how, b.INFERENCE if where is None else b.TRAINING)
    return recipe, arguments((b.SRC, x), (b.DST, y), (b.WORKSPACE, where))


def pooling_workspace(x: Any, y: Any, algorithm: int, how: Geometry) -> int:
    """The bytes of `where`."""
    return _pooling(of_image(x), of_image(y), algorithm, how).wants(b.WORKSPACE).bytes


def pooling_backward(dy: Any, where: Any, dx: Any, algorithm: int, how: Geometry) -> Made:
    """dx gets dy where the largest was, or spread over the window."""
    wanted, given = of_image(dx), of_image(dy)
    forward = _pooling(wanted, given, algorithm, how)
    recipe = Recipe("pooling_backward", algorithm, wanted, given, *how.for_pooling(), forward, None)
    return recipe, arguments((b.DIFF_DST, dy), (b.WORKSPACE, where), (b.DIFF_SRC, dx))


# Normalisation ------------------------------------------------------------------------------------------------------


def _flags(weight: Any, fixed: bool, relu: bool) -> int:
    affine = 0 if weight is None else USE_SCALE | USE_SHIFT
    return affine | (USE_GLOBAL_STATS if fixed else 0) | (FUSE_RELU if relu else 0)


def _batch_norm(x: Desc, eps: float, flags: int, prop: int = b.TRAINING) -> Recipe:
    return Recipe("batch_normalization_forward", prop, x, x, ctypes.c_float(eps), flags, None)


def batch_norm(
    x: Any, weight: Any, bias: Any, mean: Any, var: Any, y: Any, mask: Any, eps: float, fixed: bool, relu: bool
) -> Made:
    """y = weight (x - mean)/√(var + eps) + bias; mean and var are results unless fixed. mask is what ReLU remembers."""
    recipe = _batch_norm(of_image(x), eps, _flags(weight, fixed, relu))
    return recipe, arguments(
        (b.SRC, x), (b.SCALE, weight), (b.SHIFT, bias), (b.MEAN, mean), (b.VARIANCE, var), (b.DST, y),
        (b.WORKSPACE, mask),
    )  # fmt: skip


def batch_norm_workspace(x: Any, eps: float) -> int:
    """The bytes of `mask`."""
    return _batch_norm(of_image(x), eps, FUSE_RELU).wants(b.WORKSPACE).bytes


def batch_norm_backward(
    x: Any, weight: Any, mean: Any, var: Any, dy: Any, mask: Any, dx: Any, dweight: Any, dbias: Any,
    eps: float, fixed: bool, relu: bool,
) -> Made:  # fmt: skip
    """dx, and the gradients of weight and bias."""
    data, given, flags = of_image(x), of_image(dy), _flags(weight, fixed, relu)
    recipe = Recipe(
        "batch_normalization_backward", b.BACKWARD, of_image(dx), given, data, ctypes.c_float(eps), flags,
        _batch_norm(data, eps, flags), None,
    )  # fmt: skip
    return recipe, arguments(
        (b.SRC, x), (b.SCALE, weight), (b.MEAN, mean), (b.VARIANCE, var), (b.DIFF_DST, dy), (b.WORKSPACE, mask),
        (b.DIFF_SRC, dx), (b.DIFF_SCALE, dweight), (b.DIFF_SHIFT, dbias),
    )  # fmt: skip


def _layer_norm(x: Desc, stats: Desc, eps: float, flags: int) -> Recipe:
    return Recipe("layer_normalization_forward", b.TRAINING, x, x, stats, ctypes.c_float(eps), flags, None)


def layer_norm(x: Any, weight: Any, bias: Any, mean: Any, var: Any, y: Any, eps: float) -> Made:
    """y = weight (x - mean)/√(var + eps) + bias over the last axis; mean and var are results."""
    recipe = _layer_norm(of_array(x), of_array(mean), eps, _flags(weight, False, False))
    return recipe, arguments(
        (b.SRC, x), (b.SCALE, weight), (b.SHIFT, bias), (b.MEAN, mean), (b.VARIANCE, var), (b.DST, y)
    )


def layer_norm_backward(
    x: Any, weight: Any, bias: Any, mean: Any, var: Any, dy: Any, dx: Any, dweight: Any, dbias: Any, eps: float
) -> Made:
    """dx, and the gradients of weight and bias."""
    data, stats, flags = of_array(x), of_array(mean), _flags(weight, False, False)
    recipe = Recipe(
        "layer_normalization_backward", b.BACKWARD, of_array(dx), of_array(dy), data, stats, ctypes.c_float(eps),
        flags, _layer_norm(data, stats, eps, flags), None,
    )  # fmt: skip
    return recipe, arguments(
        (b.SRC, x), (b.SCALE, weight), (b.SHIFT, bias), (b.MEAN, mean), (b.VARIANCE, var),
        (b.DIFF_DST, dy), (b.DIFF_SRC, dx), (b.DIFF_SCALE, dweight), (b.DIFF_SHIFT, dbias),
    )  # fmt: skip


def _softmax(x: Desc, y: Desc, axis: int, algorithm: int) -> Recipe:
    return Recipe("softmax_forward", b.TRAINING, algorithm, x, y, axis, None)


def softmax(x: Any, y: Any, axis: int, algorithm: int) -> Made:
    """y = softmax(x) along an axis."""
    return _softmax(of_array(x), of_array(y), axis, algorithm), (b.SRC, b.DST)


def softmax_backward(y: Any, dy: Any, dx: Any, axis: int, algorithm: int) -> Made:
    """dx from the result y and dy."""
    result, given, wanted = of_array(y), of_array(dy), of_array(dx)
    forward = _softmax(result, result, axis, algorithm)
    recipe = Recipe("softmax_backward", algorithm, wanted, given, result, axis, forward, None)
    return recipe, (b.DST, b.DIFF_DST, b.DIFF_SRC)


def _lrn(x: Desc, size: int, alpha: float, beta: float, k: float) -> Recipe:
    numbers = ctypes.c_int64(size), ctypes.c_float(alpha), ctypes.c_float(beta), ctypes.c_float(k)
    return Recipe("lrn_forward", b.TRAINING, LRN_ACROSS, x, x, *numbers, None)


def lrn(x: Any, y: Any, kept: Any, *numbers: float) -> Made:
    """y = x / (k + alpha/size Σ x²)^beta, sums over `size` neighbouring channels."""
    recipe = _lrn(of_image(x), *numbers)
    return recipe, arguments((b.SRC, x), (b.DST, y), (b.WORKSPACE, kept))


def lrn_workspace(x: Any, *numbers: float) -> int:
    """The bytes of `kept`, which may be none."""
    return _lrn(of_image(x), *numbers).wants(b.WORKSPACE).bytes


def lrn_backward(x: Any, dy: Any, kept: Any, dx: Any, size: int, alpha: float, beta: float, k: float) -> Made:
    """dx from dy."""
    data = of_image(x)
    numbers = ctypes.c_int64(size), ctypes.c_float(alpha), ctypes.c_float(beta), ctypes.c_float(k)
    forward = _lrn(data, size, alpha, beta, k)
    recipe = Recipe("lrn_backward", LRN_ACROSS, of_image(dx), of_image(dy), data, *numbers, forward, None)
    return recipe, arguments((b.SRC, x), (b.DIFF_DST, dy), (b.WORKSPACE, kept), (b.DIFF_SRC, dx))
