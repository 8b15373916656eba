"""The solver's rules on flat arrays: one launch for a group, with the gradient's factor, its bound and weight decay.

A rule's arithmetic is in the type of its arrays, as in its own text (solvers/rules.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, ClassVar

from ...arrays.formula import namespace_of
from .kernel import Elementwise

SCALARS = "float64 factor, float64 bound, float64 decay"
GRADIENT = """
    T g = grad * (T)factor;
    if (g > (T)bound) g = (T)bound;
    if (g < -(T)bound) g = -(T)bound;
"""
DECAYED = f"{GRADIENT} if (decay != 0) g += (T)decay * w;"  # as all rules have it but those that keep decay apart
FOLLOW = "{0} = {0} * (T){1} + (T)(1 - {1}) * {2};"  # rules.follow


def rule(name: str, numbers: str, histories: str, operation: str, gradient: str = DECAYED) -> Elementwise:
    """A kernel that changes w and the histories along g."""
    inputs = ", ".join(f"float64 {number}" for number in ("lr", *numbers.split()))
    outputs = ", ".join(f"T {array}" for array in ("w", *histories.split()))
    return Elementwise(f"update_{name}", f"T grad, {SCALARS}, {inputs}", outputs, gradient + operation)


SGD = rule("sgd", "momentum", "v", "v = v * (T)momentum + (T)lr * g; w -= v;")
NESTEROV = rule(
    "nesterov", "momentum", "v",
    "const T move = (T)lr * g; v = v * (T)momentum + move; w -= move + (T)momentum * v;",
)  # fmt: skip
ADAGRAD = rule("adagrad", "eps", "h", "h += g * g; w -= (T)lr * g / (sqrt(h) + (T)eps);")
RMSPROP = rule(
    "rmsprop", "rms_decay eps", "h",
    FOLLOW.format("h", "rms_decay", "(g * g)") + "w -= (T)lr * g / (sqrt(h) + (T)eps);",
)  # fmt: skip
ADADELTA = rule(
    "adadelta", "momentum eps", "h k",
    FOLLOW.format("h", "momentum", "(g * g)")
    + "const T move = g * sqrt((k + (T)eps) / (h + (T)eps));"
    + FOLLOW.format("k", "momentum", "(move * move)")
    + "w -= (T)lr * move;",
)  # fmt: skip
MEANS = FOLLOW.format("m", "momentum", "g") + FOLLOW.format("v", "momentum2", "(g * g)")
STEP = "w -= (T)rate * m / (sqrt(v / (T)of_v) + (T)eps);"  # of_v: what v is divided by
ADAM = rule("adam", "momentum momentum2 eps rate of_v", "m v", MEANS + STEP)
ADAMW = rule(
    "adamw", "momentum momentum2 eps rate of_v", "m v",
    f"if (decay != 0) w -= (T)(lr * decay) * w; {MEANS}{STEP}", GRADIENT,
)  # fmt: skip


class Update:
    """A rule on flat arrays, which stay where they are: data and grad, and the rule's histories.

    kernel     of the rule
    numbers    the hyper-parameters that the kernel takes after the learning rate
    """

    bounds: ClassVar[bool] = True
    kernel: ClassVar[Elementwise]
    numbers: ClassVar[tuple[str, ...]] = ()

    def __init__(self, xp: Any, rule: Any, data: Any, grad: Any, histories: Sequence[Any]) -> None:
        self.xp = xp
        self.rule = rule
        self.data = data
        self.grad = grad
        self.histories = histories

    def __call__(
        self, start: int, stop: int, lr: float, factor: float, decay: float, number: int = 1, bound: float | None = None
    ) -> None:
        """Update the slice start:stop along factor · grad, within ±bound, + decay · data. `number` counts updates."""
        piece = slice(start, stop)
        of_gradient = self.grad[piece], factor, math.inf if bound is None else bound, decay
        changed = (array[piece] for array in (self.data, *self.histories))
        self.kernel(self.xp, *of_gradient, lr, *self.scalars(lr, number), *changed)

    def scalars(self, lr: float, number: int) -> list[float]:
        """What the kernel takes after the learning rate, for the update of this number."""
        return [getattr(self.rule, name) for name in self.numbers]


class OfSGD(Update):
    """v <- momentum · v + lr · g,   w <- w - v"""

    kernel = SGD
    numbers = ("momentum",)


class OfNesterov(Update):
    """v <- momentum · v + lr · g,   w <- w - momentum · v - lr · g"""

    kernel = NESTEROV
    numbers = ("momentum",)


class OfAdaGrad(Update):
    """h <- h + g²,   w <- w - lr · g / (√h + eps)"""

    kernel = ADAGRAD
    numbers = ("eps",)


class OfRMSProp(Update):
    """h follows g²,   w <- w - lr · g / (√h + eps)"""

    kernel = RMSPROP
    numbers = ("rms_decay", "eps")


class OfAdaDelta(Update):
    """h follows g², k the square of the move   g √((k + eps) / (h + eps))"""

    kernel = ADADELTA
    numbers = ("momentum", "eps")


class OfAdam(Update):
    """m follows g, v its square,   w <- w - rate · m / (√(v / of_v) + eps)"""

    kernel = ADAM
    numbers = ("momentum", "momentum2", "eps")

    def scalars(self, lr: float, number: int) -> list[float]:
        of_m, of_v = (1 - momentum**number for momentum in (self.rule.momentum, self.rule.momentum2))
        return [*super().scalars(lr, number), *self.rate_and_divisor(lr, of_m, of_v)]

    def rate_and_divisor(self, lr: float, of_m: float, of_v: float) -> tuple[float, float]:
        """What m over the root is multiplied by, and what v is divided by: of_m, of_v correct m and v."""
        return lr * math.sqrt(of_v) / of_m, 1.0


class OfAdamW(OfAdam):
    """Adam whose weight decay acts on the weights."""

    kernel = ADAMW

    def rate_and_divisor(self, lr: float, of_m: float, of_v: float) -> tuple[float, float]:
        return lr / of_m, of_v


RULES: dict[str, type[Update]] = {
    "SGD": OfSGD,
    "Nesterov": OfNesterov,
    "AdaGrad": OfAdaGrad,
    "RMSProp": OfRMSProp,
    "AdaDelta": OfAdaDelta,
    "Adam": OfAdam,
    "AdamW": OfAdamW,
}


def update(kind: type[Update], rule: Any, data: Any, grad: Any, histories: Sequence[Any]) -> Update | None:
    """A rule's update, where the arrays are on a device that can run kernels."""
    xp = namespace_of(data)
    return None if xp is None else kind(xp, rule, data, grad, histories)


UPDATES: dict[str, Callable[..., Update | None]] = {name: partial(update, kind) for name, kind in RULES.items()}
