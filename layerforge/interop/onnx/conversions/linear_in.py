"""Products of matrices: with what is learned a Linear, otherwise a Matmul."""

from __future__ import annotations

from string import ascii_letters

import numpy as np

from ..constants import number
from ..graph import Node
from ..importing import Site, imports
from ..values import INDEX, Known, Stream


@imports("Gemm")
def gemm(site: Site) -> None:
    """alpha A B + beta C: a Linear where B is known."""
    alpha, beta = site.attributes.number("alpha", 1.0), site.attributes.number("beta", 1.0)
    a_turned, b_turned = site.attributes.flag("transA"), site.attributes.flag("transB")
    site.attributes.has("broadcast")
    a = site.real(0)
    if a_turned:
        (a,) = site.emit("Permute", a, part="turned", dims=[1, 0])
    if not site.is_known(1):
        return _product(site, a, alpha, beta, b_turned)
    if site.known(1).ndim != 2:
        raise site.invalid(f"B has shape {site.known(1).shape}: Gemm multiplies matrices")
    weight = site.known(1, "B") if b_turned else site.known(1, "B").transposed((1, 0))
    bias = _bias(site, weight.shape[0]) if site.has(2) else None
    rest = site.has(2) and bias is None
    if bias is not None and beta != 1:
        bias = bias.changed(bias.array * beta)
    linear(site, a, weight, bias, alpha, part="product" if rest else "")
    if rest:
        _add(site, beta)
    return None


def _bias(site: Site, count: int) -> Known | None:
    """What is added to each feature; None where it is something else."""
    if not site.is_known(2) or not site.known(2).fixed:
        return None
    array = site.known(2).array
    if array.size not in (1, count) or (array.ndim and array.shape[-1] not in (1, count)):
        return None
    if array.ndim > 1 and array.shape[0] != 1:
        return None
    whole = np.broadcast_to(array.reshape(-1), (count,))
    return site.known(2).flattened() if array.size == count else site.known(2).changed(whole)


def linear(
    site: Site, x: Stream, weight: Known, bias: Known | None, factor: float = 1.0, part: str = ""
) -> list[Stream]:
    """A Linear with numbers that are known: weight is (features out, features in), times a factor."""
    if weight.array.dtype.kind != "f" or not weight.fixed:
        its = "is of integers" if weight.array.dtype.kind != "f" else "depends on the sizes of the net's inputs"
        raise site.unsupported(f"its weight {its}: real numbers that are fixed are supported")
    if factor != 1:
        site.note(f"its factor {number(factor):g} is part of the weight")
        weight = Known(tuple(array * factor for array in weight.arrays), weight.learned)
    if site.learned_turned(weight):
        return _times_the_same(site, x, weight, bias, part)
    made = site.emit("Linear", x, part=part, out_features=weight.shape[0], bias=bias is not None)
    site.param("weight", weight)
    if bias is not None:
        site.param("bias", bias)
    return made


def _times_the_same(site: Site, x: Stream, weight: Known, bias: Known | None, part: str) -> list[Stream]:
    """A Linear whose weight another layer learns turned: a Matmul with that, so that it stays one parameter."""
    (turned,) = site.emit("Parameter", part="weight", shape=list(weight.shape[::-1]))
    site.param("weight", weight.transposed((1, 0)))
    made = site.emit("Matmul", [x, turned], part="product" if bias is not None else part)
    if bias is None:
        return made
    made = site.emit("Bias", made, part=part, dim=made[0].ndim - 1)
    site.param("bias", bias)
    return made


def _product(site: Site, a: Stream, alpha: float, beta: float, turned: bool) -> None:
    """A product of two blobs, and what is added."""
    b = site.real(1)
    if turned:
        (b,) = site.emit("Permute", b, part="other", dims=[1, 0])
    parts = [kind for kind, there in (("times", alpha != 1), ("plus", site.has(2))) if there]
    (y,) = site.emit("Matmul", [a, b], part="product" if parts else "")
    if alpha != 1:
        (y,) = site.emit("Pow", y, part="times" if site.has(2) else "", exponent=1.0, scale=number(alpha))
    if site.has(2):
        _sum(site, y, beta)


def _add(site: Site, beta: float) -> None:
    made = site.made[-1]
    _sum(site, site.streams[made.tops[0]], beta)


def _sum(site: Site, y: Stream, beta: float) -> None:
    site.emit("Add", [y, site.real(2)], coeff=None if beta == 1 else [1.0, number(beta)])


@imports("MatMul")
def mat_mul(site: Site) -> None:
    """A Linear where the second factor is a matrix that is known, with the bias of an Add behind it; or a Matmul."""
    x = site.inputs[0]
    if site.is_known(1) and site.known(1).ndim == 2 and isinstance(x, Stream) and x.ndim > 1 and x.dtype != INDEX:
        weight = site.known(1).transposed((1, 0))
        following = _following(site, weight.shape[0])
        if following is None:
            linear(site, site.real(0), weight, None)
            return
        node, bias = following
        site.take_over(node)
        linear(site, site.real(0), weight, bias)
        return
    site.emit("Matmul", [site.real(0), site.real(1)])


def _following(site: Site, count: int) -> tuple[Node, Known] | None:
    """The Add behind a product, and what it adds to each feature, where that is known."""
    node = site.shared.alone(site.node.outputs[0], "Add")
    if node is None or node.domain:
        return None
    other = node.inputs[1 - node.inputs.index(site.node.outputs[0])]
    value = site.shared.known(other)
    if value is None or not value.fixed or value.array.size != count or value.array.dtype.kind != "f":
        return None
    x = site.input(0)
    if value.shape[-1:] != (count,) or value.ndim > (x.ndim if isinstance(x, Stream) else 0):
        return None
    return node, value.flattened()


@imports("Einsum")
def einsum(site: Site) -> None:
    """Einsum of two blobs, or a sum of one whose axes are put in another order."""
    if len(site.inputs) > 2:
        raise site.unsupported(f"{len(site.inputs)} factors: Einsum has two here")
    x = [site.real(i) for i in range(len(site.inputs))]
    terms, right = _letters(site, site.attributes.text("equation", "").replace(" ", ""), [one.ndim for one in x])
    if len(x) == 1:
        return _of_one(site, x[0], terms[0], right)
    site.emit("Einsum", x, equation=",".join(terms) + "->" + right)
    return None


def _of_one(site: Site, x: Stream, left: str, right: str) -> None:
    """A sum over the axes that are missing behind the arrow, and the others in their order there."""
    if len(set(left)) != len(left) or len(set(right)) != len(right) or not set(right) <= set(left):
        raise site.unsupported(f"the equation {left}->{right} of one factor")
    gone = [i for i, letter in enumerate(left) if letter not in right]
    kept = [letter for letter in left if letter in right]
    dims = [kept.index(letter) for letter in right]
    moved = dims != sorted(dims)
    if gone:
        (x,) = site.emit("Sum", x, part="sum" if moved else "", dim=gone)
    if moved:
        site.emit("Permute", x, dims=dims)
    elif not gone:
        site.pass_on(x)


@imports("Det")
def det(site: Site) -> None:
    """Det."""
    site.emit("Det", site.real(0))


def _letters(site: Site, equation: str, axes: list[int]) -> tuple[list[str], str]:
    """The letters of each factor, and those behind the arrow, where others stand for the axes that "..." hides.

    Without an arrow these axes stand in front, and behind them in their order the letters that occur once.
    """
    left, arrow, right = equation.partition("->")
    terms, dots = left.split(","), "..."
    if len(terms) != len(axes):
        raise site.invalid(f"the equation {equation} for {len(axes)} factors")
    hidden = [n - len(term.replace(dots, "")) for term, n in zip(terms, axes, strict=True)]
    if any(more < 0 or (more and dots not in term) for term, more in zip(terms, hidden, strict=True)):
        raise site.invalid(f"the equation {equation} for factors of {', '.join(map(str, axes))} axes")
    if not arrow:
        named = sorted(set(left) - {",", "."})
        right = dots * (dots in left) + "".join(letter for letter in named if left.count(letter) == 1)
    if max(hidden) and dots not in right:
        raise site.invalid(f"the equation {equation}: the axes of ... are missing behind the arrow")
    letters = "".join(c for c in ascii_letters if c not in equation)[: max(hidden)]
    spelled = [term.replace(dots, letters[len(letters) - n :]) for term, n in zip(terms, hidden, strict=True)]
    return spelled, right.replace(dots, letters)
