"""Golden cases of products, inverses and other functions of matrices."""

from __future__ import annotations

from support.golden_cases import Case

from layerforge.arrays.spec import Spec
from layerforge.layers.matrices.linalg import matrices

from .builders import moved, one

PRODUCTS = {
    "vector-vector": [(4,), (4,)],
    "matrix-vector": [(3, 4), (4,)],
    "vector-matrix": [(3,), (3, 4)],
    "matrix-matrix": [(3, 4), (4, 2)],
    "square": [(3, 3), (3, 3)],
    "batches": [(2, 3, 4), (2, 4, 5)],
    "one-right-for-all": [(2, 3, 4), (4, 5)],
    "one-left-for-all": [(3, 4), (2, 4, 5)],
    "each-with-each": [(2, 1, 3, 4), (3, 4, 2)],
    "batch-vector": [(2, 3, 4), (4,)],
    "vector-batch": [(4,), (2, 3, 4, 2)],
    "ones": [(1, 1), (1, 1)],
}
EQUATIONS = {
    "ij,jk->ik": [(3, 4), (4, 2)],
    "nid,njd->nij": [(2, 3, 4), (2, 5, 4)],
    "nhqk, nkhd -> nqhd": [(2, 2, 3, 4), (2, 4, 2, 5)],
    "ni,nj->jni": [(3, 2), (3, 4)],
    "nij,nij->n": [(3, 2, 4), (3, 2, 4)],
    "nc,c->cn": [(3, 4), (4,)],
    "nis,t->ni": [(2, 3, 4), (5,)],
    "si,is->": [(3, 2), (2, 3)],
    "i,->i": [(3,), ()],
}


def both_shapes(layer: str) -> list[Case]:
    """Cases of a function of square matrices."""
    shapes = {"one": (3, 3), "batch": (2, 4, 4), "more-axes": (2, 3, 2, 2), "number": (2, 1, 1)}
    return [one(f"{layer}-{what}", {}, matrices(*shape)) for what, shape in shapes.items()]


CASES = [
    *(one(f"Matmul-{what}", {}, *map(Spec, shapes)) for what, shapes in PRODUCTS.items()),
    *(one(f"Einsum-{i}", {"equation": text}, *map(Spec, EQUATIONS[text])) for i, text in enumerate(EQUATIONS)),
    one(
        "Bilinear-plain", {"out_features": 4}, Spec((5, 2)), Spec((5, 3)),
        params={"weight": (4, 2, 3), "bias": (4,)},
    ),
    one(
        "Bilinear-no-bias", {"out_features": 2, "bias": False}, Spec((3, 4)), Spec((3, 3)),
        params={"weight": (2, 4, 3)},
    ),
    one(
        "Bilinear-more-axes", {"out_features": 3}, Spec((2, 3, 4)), Spec((2, 3, 2)),
        params={"weight": (3, 4, 2), "bias": (3,)},
    ),
    *both_shapes("Inverse"),
    *both_shapes("LogDet"),
    one("Solve-matrix", {}, matrices(3, 3), Spec((3, 2))),
    one("Solve-vector", {}, matrices(3, 3), Spec((3,))),
    one("Solve-batch", {}, matrices(2, 3, 3), Spec((2, 3, 4))),
    one("Solve-vectors", {}, matrices(2, 4, 4), Spec((2, 4))),
    one("Solve-one-vector-for-all", {}, matrices(2, 3, 3), Spec((3,))),
    one("Solve-each-with-each", {}, matrices(2, 1, 2, 2), Spec((3, 2, 1))),
    *moved("Diagonal", {
        "plain": ({}, (2, 3, 3)),
        "above": ({"offset": 1}, (2, 3, 4)),
        "below": ({"offset": -2}, (2, 4, 3)),
        "axes": ({"dim1": 3, "dim2": 1, "offset": 1}, (2, 3, 2, 4)),
        "batch": ({"dim1": 0, "dim2": 1}, (3, 2, 4)),
    }),
    one("Trace-one", {}, Spec((3, 3))),
    one("Trace-wide", {}, Spec((2, 3, 4))),
    one("Trace-more-axes", {}, Spec((2, 3, 4, 2))),
]  # fmt: skip
