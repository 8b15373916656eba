"""Einsum: sums of products of two blobs, written with indices."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ...arrays.functional import expect_role, sum_of
from ...arrays.spec import Spec
from ...contract.layer import Bad, Example, Layer
from ...schema.errors import ConfigError, LayerError
from ...schema.params import param
from ...schema.registry import register

EQUATION = re.compile(r"([A-Za-z]*),([A-Za-z]*)->([A-Za-z]*)")


@register
class Einsum(Layer):
    """Einsum: sums of products of two blobs, in Einstein's notation

        "nid,njd->nij"      y[n, i, j] = Σ_d a[n, i, d] b[n, j, d]

    A letter names an axis. Letters that are missing after the arrow are summed over; the same letter in both blobs
    names the same index.

    Shapes    a and b with an axis for each of their letters, real; y with those after the arrow
    Backward  Let A, B and Y be the letters of a, b and y. Hold dy fixed: s = Σ dy[Y] y[Y] = Σ dy[Y] a[A] b[B], over all
              letters, has the same gradients as the loss. It is linear in each of the three, so ∂s/∂a[A] is what stands
              beside a[A], summed over the letters that A lacks:
                  da = einsum("Y,B->A", dy, b)      db = einsum("Y,A->B", dy, a)
              A letter that only a has is in neither Y nor B: all its places count alike, and da is repeated along it.
    Keeps     a and b
    Cost      a multiply-add for each combination of indices; computed as one batched matrix product
    Errors    ConfigError for what is not an equation of two blobs; LayerError when shapes do not fit it
    Source    Einstein 1916; compare torch.einsum (two operands, without ellipses and repeated letters)
    """

    bottoms = 2
    backward_reads = ("bottom",)

    equation: str = param(help='letters of the two blobs and of the top, such as "nid,njd->nij"')

    examples = [
        Example({"equation": "ij,jk->ik"}, [Spec((3, 4)), Spec((4, 2))], "matrix product"),
        Example({"equation": "nid,njd->nij"}, [Spec((2, 3, 4)), Spec((2, 5, 4))], "scores of attention"),
        Example({"equation": "nhqk, nkhd -> nqhd"}, [Spec((2, 2, 3, 4)), Spec((2, 4, 2, 1))], "axes in any order"),
        Example({"equation": "ni,nj->nij"}, [Spec((3, 2)), Spec((3, 4))], "outer product"),
        Example({"equation": "nij,nij->n"}, [Spec((3, 2, 4)), Spec((3, 2, 4))], "inner product"),
        Example({"equation": "nc,c->nc"}, [Spec((3, 4)), Spec((4,))], "nothing is summed"),
        Example({"equation": "nis,t->ni"}, [Spec((2, 3, 4)), Spec((5,))], "letters of one blob, summed"),
        Example({"equation": "i,->i"}, [Spec((3,)), Spec(())]),
        Example({"equation": "ij,ij->"}, [Spec((3, 1)), Spec((3, 1))], "a number"),
        Example({"equation": "nk,km->mn"}, [Spec((2, 0)), Spec((0, 3))], "sums of nothing"),
    ]
    bad_examples = [
        Bad({"equation": "ij,jk"}, "is no equation of two blobs"),
        Bad({"equation": "ij->ji"}, "is no equation of two blobs"),
        Bad({"equation": "...i,ij->...j"}, "is no equation of two blobs"),
        Bad({"equation": "ii,ij->j"}, "names i twice in 'ii'"),
        Bad({"equation": "ij,jk->ikk"}, "names k twice in 'ikk'"),
        Bad({"equation": "ij,jk->il"}, "'l' stands behind the arrow only"),
        Bad({"equation": "ij,jk->ik"}, "index j is 4 in bottom[0] and 3 in bottom[1]", [Spec((2, 4)), Spec((3, 5))]),
        Bad({"equation": "ij,jk->ik"}, "bottom[1] has 1 axes, 'jk' names 2", [Spec((2, 4)), Spec((4,))]),
        Bad({"equation": "i,i->"}, "bottom[1] must be real", [Spec((2,)), Spec((2,), role="index")]),
        Bad({}, "equation is required"),
    ]

    def validate(self) -> None:
        if not EQUATION.fullmatch(self.equation.replace(" ", "")):
            raise ConfigError(
                f"'{self.equation}' is no equation of two blobs", hint='write letters for all axes: "nid,njd->nij"'
            )
        a, b, y = self.letters
        for word in (a, b, y):
            for letter in word:
                if word.count(letter) > 1:
                    raise ConfigError(f"equation names {letter} twice in '{word}'", hint="see Diagonal and Trace")
        for letter in y:
            if letter not in a + b:
                raise ConfigError(f"'{letter}' stands behind the arrow only, in equation '{self.equation}'")

    @property
    def letters(self) -> tuple[str, str, str]:
        """The letters of the two blobs and of the top."""
        a, b, y = re.split(",|->", self.equation.replace(" ", ""))
        return a, b, y

    def setup(self, *bottoms: Spec) -> Spec:
        sizes: dict[str, int] = {}
        for i, (spec, word) in enumerate(zip(bottoms, self.letters[:2], strict=True)):
            expect_role(f"bottom[{i}]", spec, "real")
            if spec.ndim != len(word):
                raise LayerError(f"bottom[{i}] has {spec.ndim} axes, '{word}' names {len(word)}")
            for letter, size in zip(word, spec.shape, strict=True):
                if sizes.setdefault(letter, size) != size:
                    raise LayerError(f"index {letter} is {sizes[letter]} in bottom[0] and {size} in bottom[1]")
        return bottoms[0].with_shape([sizes[letter] for letter in self.letters[2]])

    def per_sample_for(self, *bottoms: Spec) -> bool:
        a, b, y = self.letters
        return y != "" and y[:1] == a[:1] and y[0] not in b[1:]

    def forward(self, a: Any, b: Any) -> Any:
        self.save(a=a, b=b)
        return contract(self.xp, *self.letters, a, b)

    def backward(self, dy: Any) -> tuple[Any, Any]:
        (in_a, in_b, in_y), a, b = self.letters, self.saved.a, self.saved.b
        da = self.gradient(in_y, in_b, in_a, dy, b, a.shape) if self.needs_grad[0] else None
        db = self.gradient(in_y, in_a, in_b, dy, a, b.shape) if self.needs_grad[1] else None
        return da, db

    def gradient(self, in_y: str, in_other: str, wanted: str, dy: Any, other: Any, shape: tuple[int, ...]) -> Any:
        """The gradient of the blob with the letters `wanted`, of that shape."""
        known = "".join(letter for letter in wanted if letter in in_y + in_other)
        dx = contract(self.xp, in_y, in_other, known, dy, other)
        if known == wanted:
            return dx
        dx = dx.reshape([n if letter in known else 1 for letter, n in zip(wanted, shape, strict=True)])
        return self.xp.broadcast_to(dx, shape).copy()

    def jvp(self, da: Any, db: Any) -> Any:
        moved = [] if da is None else [contract(self.xp, *self.letters, da, self.saved.b)]
        moved += [] if db is None else [contract(self.xp, *self.letters, self.saved.a, db)]
        return sum(moved) if moved else None

    def flops(self, bottoms: Sequence[Spec], tops: Sequence[Spec]) -> int:
        pairs = zip(self.letters[:2], bottoms, strict=True)
        return 2 * math.prod({k: n for word, spec in pairs for k, n in zip(word, spec.shape, strict=True)}.values())


def contract(xp: Any, in_a: str, in_b: str, in_y: str, a: Any, b: Any) -> Any:
    """einsum("in_a,in_b->in_y", a, b) as one batched matrix product.

    Letters of both blobs and of y number the matrices, those of a and y the rows, those of b and y the columns; those
    of both blobs alone are multiplied away; those of one blob alone are summed first.
    """
    a, in_a = summed(a, in_a, in_b + in_y)
    b, in_b = summed(b, in_b, in_a + in_y)
    batch = [k for k in in_y if k in in_a and k in in_b]
    rows, columns = ([k for k in in_y if k in mine and k not in batch] for mine in (in_a, in_b))
    inner = [k for k in in_a if k not in in_y]
    sizes = dict(zip(in_a, a.shape, strict=True)) | dict(zip(in_b, b.shape, strict=True))
    y = xp.matmul(arranged(a, in_a, sizes, batch, rows, inner), arranged(b, in_b, sizes, batch, inner, columns))
    order = [*batch, *rows, *columns]
    return y.reshape([sizes[k] for k in order]).transpose([order.index(k) for k in in_y])


def summed(x: Any, letters: str, others: str) -> tuple[Any, str]:
    """x summed over the letters that nobody else has, and the letters that are left."""
    alone = tuple(i for i, k in enumerate(letters) if k not in others)
    return (sum_of(x, alone) if alone else x), "".join(k for k in letters if k in others)


def arranged(x: Any, letters: str, sizes: Mapping[str, int], *groups: list[str]) -> Any:
    """x with its axes in the order of the groups, each group joined into one axis."""
    x = x.transpose([letters.index(k) for group in groups for k in group])
    return x.reshape([math.prod(sizes[k] for k in group) for group in groups])
