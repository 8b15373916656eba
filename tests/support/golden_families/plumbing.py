"""Golden cases of layers that give numbers to a net, pass them on, silence them or take them away."""

from __future__ import annotations

from typing import Any

from support.golden_cases import Case

from layerforge.arrays.spec import Spec, index

from .builders import labels, moved, one


def given(what: str, spec: Spec, **hyper: Any) -> Case:
    """A case of Input: its top is an input of the case."""
    layer = {"name": "layer", "type": "Input", "top": "y", "shape": list(spec.shape), **hyper}
    return Case(f"Input-{what}", [layer], {"y": spec}, differentiable=False)


def parameter(what: str, *shape: int) -> Case:
    return one(f"Parameter-{what}", {"shape": list(shape)}, params={"weight": shape})


def constant(what: str, **hyper: Any) -> Case:
    return one(f"Constant-{what}", hyper, differentiable=False)


def random(what: str, *bottoms: Spec, phase: str = "train", **hyper: Any) -> Case:
    return one(f"Random-{what}", hyper, *bottoms, phase=phase, differentiable=False)


X = Spec((2, 3, 4))
CASES = [
    given("reals", Spec((4, 3))),
    given("reals-with-gradient", Spec((2, 1, 3)), grad=True),
    given("labels", index((5,), 7), role="index"),
    parameter("plain", 3, 4),
    parameter("vector", 5),
    parameter("number"),
    Case(
        "Parameter-broadcast",
        [
            {"name": "layer", "type": "Parameter", "shape": [4], "top": "w"},
            {"name": "mul", "type": "Mul", "bottom": ["x", "w"]},
            {"name": "y", "type": "Add", "bottom": ["mul", "w"]},
        ],
        {"x": X},
        {"layer.weight": (4,)},
    ),
    constant("number", value=-1.25),
    constant("full", value=3, shape=[2, 3]),
    constant("list", value=[0.1, -0.2, 0.3]),
    constant("list-in-a-shape", value=[1, 2, 3, 4, 5, 6], shape=[3, 1, 2]),
    random("uniform", shape=[4, 5]),
    random("bounds", shape=[3, 2], low=-3, high=-1),
    random("eval", shape=[3, 2], phase="eval"),
    random("normal", shape=[4, 5], distribution="normal"),
    random("mean-and-std", shape=[7], distribution="normal", mean=2, std=0.25),
    random("number", shape=[]),
    random("like-a-bottom", X),
    random("for-each-sample", index((3,), 4), shape=[2, 2], distribution="normal"),
    *moved("Identity", {"plain": ({}, (2, 3, 4)), "number": ({}, ())}),
    Case(
        "Identity-fork",
        [
            {"name": "layer", "type": "Identity", "bottom": "x"},
            {"name": "y", "type": "Mul", "bottom": ["layer", "x"]},
        ],
        {"x": X},
    ),
    one("Detach", {}, X, differentiable=False),
    one("Detach-labels", {}, index((3,), 4), differentiable=False),
    Case(
        "a-branch-without-gradient",
        [
            {"name": "square", "type": "Square", "bottom": "x"},
            {"name": "constant", "type": "Detach", "bottom": "square"},
            {"name": "y", "type": "Mul", "bottom": ["square", "constant"]},
        ],
        {"x": X},
    ),
    one("Silence", {}, X, labels((3,), 4, -100), tops=0, differentiable=False),
    Case(
        "beside-a-silenced-branch",
        [
            {"name": "square", "type": "Square", "bottom": "x"},
            {"name": "silence", "type": "Silence", "bottom": ["square", "x"], "top": []},
            {"name": "y", "type": "Exp", "bottom": "square"},
        ],
        {"x": X},
    ),
    *(
        one(f"Dropout2d-{phase}{what}", {"p": p}, Spec(shape), phase=phase)
        for phase in ("train", "eval")
        for what, p, shape in (("", 0.5, (3, 4, 2, 3)), ("-seldom", 0.2, (4, 5, 3, 3)))
    ),
]
