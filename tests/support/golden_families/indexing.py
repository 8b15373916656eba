"""Golden cases of layers that pick numbers by an index."""

from __future__ import annotations

from layerforge.arrays.spec import Spec, index

from .builders import one

CASES = [
    one("IndexSelect-repeated", {"dim": 1}, Spec((2, 3)), index((7,), 3)),
    one("IndexSelect-last", {"dim": -1}, Spec((2, 3, 4)), index((2,), 4)),
    one("IndexSelect-batch", {"dim": 0}, Spec((4, 3)), index((6,), 4)),
    one("IndexSelect-middle", {"dim": 2}, Spec((2, 2, 3, 2)), index((5,), 3)),
    one("IndexSelect-labels", {"dim": 1}, index((2, 3), 7), index((4,), 3), differentiable=False),
    one("BatchReindex-repeated", {}, Spec((4, 3)), index((9,), 4)),
    one("BatchReindex-fewer", {}, Spec((4, 2, 3)), index((2,), 4)),
    one("BatchReindex-labels", {}, index((4,), 7), index((3,), 4), differentiable=False),
    one("Gather-class", {"dim": 1}, Spec((5, 4)), index((5, 1), 4)),
    one("Gather-repeated", {"dim": -1}, Spec((2, 3, 4)), index((2, 3, 9), 4)),
    one("Gather-part", {"dim": 1}, Spec((3, 3, 4)), index((2, 5, 3), 3)),
    one("Gather-batch", {"dim": 0}, Spec((3, 4)), index((5, 4), 3)),
    one("Gather-labels", {"dim": 1}, index((2, 3), 7), index((2, 2), 3), differentiable=False),
    one(
        "Embedding-list", {"num_embeddings": 5, "embedding_dim": 3}, index((8,), 5),
        params={"weight": (5, 3)},
    ),
    one(
        "Embedding-sequences", {"num_embeddings": 4, "embedding_dim": 2}, index((3, 6), 4),
        params={"weight": (4, 2)},
    ),
    one(
        "Embedding-padding", {"num_embeddings": 4, "embedding_dim": 3, "padding_idx": 2}, index((3, 6), 4),
        params={"weight": (4, 3)},
    ),
    one("Filter-some", {}, Spec((6, 3)), index((6,), 2)),
    one("Filter-several", {}, Spec((8, 3)), Spec((8, 2, 2)), index((8,), 3), tops=2),
    one("Filter-labels", {"fill": 9}, index((8,), 7), index((8,), 2), differentiable=False),
    one("Filter-labels-plain", {}, Spec((8, 2)), index((8,), 7), index((8,), 2), tops=2, differentiable=False),
]  # fmt: skip
