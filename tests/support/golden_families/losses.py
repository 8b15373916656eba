"""Golden cases of losses and metrics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from support.golden_cases import Case

from layerforge.arrays.spec import Spec, index

from .builders import labels, one


def labelled(layer: str, differentiable: bool = True) -> list[Case]:
    """Cases of a layer that holds scores of classes against labels."""

    def case(what: str, hyper: Mapping[str, Any], x: tuple[int, ...], t: Spec) -> Case:
        return one(f"{layer}-{what}", hyper, Spec(x), t, differentiable=differentiable)

    return [
        case("plain", {}, (6, 5), index((6,), 5)),
        case("one-class", {}, (3, 1), index((3,), 1)),
        case("sequence", {}, (2, 4, 3), index((2, 3), 4)),
        case("image", {}, (2, 3, 4, 5), index((2, 4, 5), 3)),
        case("ignore-100", {"ignore_index": -100}, (9, 4), labels((9,), 4, -100)),
        case("ignore-a-class", {"ignore_index": 2}, (9, 4), index((9,), 4)),
        case("ignore-in-image", {"ignore_index": 255}, (2, 3, 4, 5), labels((2, 4, 5), 3, 255)),
    ]


EXTREME = Spec((4, 5), low=-1e4, high=1e4)
CASES = [
    *labelled("NLLLoss"),
    *labelled("SoftmaxCrossEntropy"),
    one("SoftmaxCrossEntropy-extreme", {}, EXTREME, index((4,), 5)),
    *(one(f"MSELoss-{len(shape)}d", {}, Spec(shape), Spec(shape)) for shape in ((5,), (3, 4), (2, 3, 1, 5))),
    *labelled("Accuracy", differentiable=False),
    one("Accuracy-top-3", {"top_k": 3}, Spec((20, 7)), index((20,), 7), differentiable=False),
    one("Accuracy-top-all", {"top_k": 4}, Spec((5, 4)), index((5,), 4), differentiable=False),
    one(
        "Accuracy-top-2-ignore",
        {"top_k": 2, "ignore_index": 255},
        Spec((3, 4, 5, 2)),
        labels((3, 5, 2), 4, 255),
        differentiable=False,
    ),
    *(
        one(f"Accuracy-of-each-class-{what}", hyper, Spec((9, 4)), t, tops=2, differentiable=False)
        for what, hyper, t in (
            ("plain", {}, index((9,), 3)),
            ("top-2-ignore", {"top_k": 2, "ignore_index": 255}, labels((9,), 4, 255)),
        )
    ),
    *(
        one(f"ConfusionMatrix-{what}", {"num_classes": 4, **hyper}, x, t, differentiable=False)
        for what, hyper, x, t in (
            ("scores", {}, Spec((20, 4)), index((20,), 4)),
            ("image", {}, Spec((2, 4, 3, 5)), index((2, 3, 5), 4)),
            ("predictions", {}, index((20,), 4), index((20,), 3)),
            ("ignore", {"ignore_index": 255}, Spec((20, 4)), labels((20,), 4, 255)),
        )
    ),
]
