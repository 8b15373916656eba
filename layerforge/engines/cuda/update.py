"""The solver's rules on flat arrays: one launch for a group, with the gradient's factor, its bound and weight decay.

A rule's arithmetic is in the type of its arrays, as in its own text (solvers/rules.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
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


Corrected = Callable[[float, float, float], tuple[float, float]]


@dataclass(frozen=True)
class OneLaunch:
    """How a rule changes the weights w and its histories along the gradient g.

    kernel     what it launches
    numbers    the hyper-parameters that the kernel takes after the learning rate
    corrected  of lr and what corrects the two means of Adam, which these are 1 - momentumⁿ of: what m over the root is
               multiplied by (`rate`), and what v is divided by (`of_v`)
    """

    kernel: Elementwise
    numbers: tuple[str, ...]
    corrected: Corrected | None = None

    def scalars(self, rule: Any, lr: float, number: int) -> list[float]:
        """What the kernel takes after the learning rate, for the update of this number."""
        own = [getattr(rule, name) for name in self.numbers]
        if self.corrected is None:
            return own
        return [*own, *self.corrected(lr, *(1 - momentum**number for momentum in (rule.momentum, rule.momentum2)))]


def one_launch(
    name: str, numbers: str, histories: str, operation: str, *,
    gradient: str = DECAYED, corrected: Corrected | None = None,
) -> OneLaunch:  # fmt: skip
    """That of a rule, whose numbers and histories the operation knows by these names."""
    scalars = [*numbers.split(), *(("rate", "of_v") if corrected is not None else ())]
    inputs = ", ".join(f"float64 {number}" for number in ("lr", *scalars))
    outputs = ", ".join(f"T {array}" for array in ("w", *histories.split()))
    kernel = Elementwise(f"update_{name}", f"T grad, {SCALARS}, {inputs}", outputs, gradient + operation)
    return OneLaunch(kernel, tuple(numbers.split()), corrected)


MEANS = FOLLOW.format("m", "momentum", "g") + FOLLOW.format("v", "momentum2", "(g * g)")
STEP = "w -= (T)rate * m / (sqrt(v / (T)of_v) + (T)eps);"

RULES = {
    "SGD": one_launch("sgd", "momentum", "v", "v = v * (T)momentum + (T)lr * g; w -= v;"),
    "Nesterov": one_launch(
        "nesterov", "momentum", "v",
        "const T move = (T)lr * g; v = v * (T)momentum + move; w -= move + (T)momentum * v;",
    ),
    "AdaGrad": one_launch("adagrad", "eps", "h", "h += g * g; w -= (T)lr * g / (sqrt(h) + (T)eps);"),
    "RMSProp": one_launch(
        "rmsprop", "rms_decay eps", "h",
        FOLLOW.format("h", "rms_decay", "(g * g)") + "w -= (T)lr * g / (sqrt(h) + (T)eps);",
    ),
    "AdaDelta": one_launch(
        "adadelta", "momentum eps", "h k",
        FOLLOW.format("h", "momentum", "(g * g)")
        + "const T move = g * sqrt((k + (T)eps) / (h + (T)eps));"
        + FOLLOW.format("k", "momentum", "(move * move)")
        + "w -= (T)lr * move;",
    ),
    "Adam": one_launch(
        "adam", "momentum momentum2 eps", "m v", MEANS + STEP,
        corrected=lambda lr, of_m, of_v: (lr * math.sqrt(of_v) / of_m, 1.0),
    ),
    "AdamW": one_launch(
        "adamw", "momentum momentum2 eps", "m v", f"if (decay != 0) w -= (T)(lr * decay) * w; {MEANS}{STEP}",
        gradient=GRADIENT, corrected=lambda lr, of_m, of_v: (lr / of_m, of_v),
    ),
}  # fmt: skip


class Update:
    """A rule on flat arrays, which stay where they are: data and grad, and the rule's histories."""

    bounds: ClassVar[bool] = True

    def __init__(self, how: OneLaunch, xp: Any, rule: Any, data: Any, grad: Any, histories: Sequence[Any]) -> None:
        self.how = how
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
        self.how.kernel(self.xp, *of_gradient, lr, *self.how.scalars(self.rule, lr, number), *changed)


def update(how: OneLaunch, rule: Any, data: Any, grad: Any, histories: Sequence[Any]) -> Update | None:
    """A rule's update, where the arrays are on a device that can run kernels."""
    xp = namespace_of(data)
    return None if xp is None else Update(how, xp, rule, data, grad, histories)


UPDATES: dict[str, Callable[..., Update | None]] = {name: partial(update, how) for name, how in RULES.items()}
