"""The notation of the layers' formulas: what docs/layers.md begins with.

A test reads the docstring of every layer: a symbol in a formula is in the second part of this table, a hyper-parameter,
a name under Shapes, or defined beside the formula. A lower-case letter that runs over something (n, c, p) is an index:
in brackets or as a subscript it needs no more than that.
"""

from __future__ import annotations

NOTATION = """\
dy          short for ∂loss/∂y, the gradient of the loss: an array of y's shape, which the layers above hand down.
            backward returns dx = ∂loss/∂x, and dweight = ∂loss/∂weight for a parameter, by
                dx[i] = Σⱼ dy[j] ∂y[j]/∂x[i]      the chain rule, over every y[j] that x[i] reaches
∂y/∂x, f'   ordinary derivatives. They are never written with dy and dx, which are gradients.
ẋ, ẏ        a small change of x, and the change of y that it causes. Then Σ dy ẏ = Σ dx ẋ: write ẏ in terms of ẋ, and
            what stands beside ẋ[i] is dx[i].
y[n, c, p]  an element, with an index for each axis; y[n] is all elements with that n. One index may be a subscript: xᵢ.
Σ, Π        sum, product. A subscript says over which index: Σₙ; without one it is said beside it, or it is over all
            that the formula speaks of.
y = f(x)    without any index is about one element at a time: x₁ x₂ is then a product of two numbers.
A B, A ⊙ B  where matrices are multiplied, A B is their matrix product and A ⊙ B goes element by element.
Aᵀ, A⁻¹     the transpose and the inverse of a matrix; A⁻ᵀ is the transpose of the inverse.
a / b c     is not written: (a / b) c or a / (b c).
dℓ          of a loss: what reaches one single loss ℓ, dy over what the reduction divides by (sum, none: 1).
[cond]      1 where the condition holds, otherwise 0.
sign x      1 for x > 0, -1 for x < 0, 0 for 0.  ⌊x⌋, ⌈x⌉: x rounded down, up.  log and ln are both natural.

e, π        Euler's number 2.71828..., and 3.14159...
N           samples in a batch; n is one of them, or one of all leading axes together where there are more.
C, D, O     channels, features in, outputs (features or channels); c, d, o is one of them.
K           classes, elements of a kernel, or rows of a square matrix; k is one of them.
T, L        steps of a sequence; t is one of them. In a loss t is the target.
H, W, P     height, width, positions of an output; p is one of these, and may be a pair (down, across).
m           what a mean divides by: the number of elements that it is over, or the sum of their weights.
μ, σ, var   mean, standard deviation, variance.
i, j, k, l  any index.
"""
NOTATION = NOTATION.rstrip("\n")
