"""Update rules: what a solver does with a gradient. All are in Caffe's form, where the history holds whole steps.

A rule sees flat slices (1-D, all of one length n) and knows nothing of layers:

    data       w  (n,) real, the parameters, changed in place
    grad       g  (n,) real, the gradient after averaging, clipping and weight decay; only read
    histories     `histories` arrays (n,) real, zero before the first update, changed in place
    lr         the learning rate, lr_mult included; a Python float, so that w keeps its dtype

The solver calls it on blocks that fit the cache, so the temporaries below cost no pass over memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from ..params import Declared, param
from ..registry import SOLVERS


class Rule(Declared):
    """Base of the update rules. A rule states how many history arrays it needs and writes `update`."""

    histories: ClassVar[int] = 0

    def update(self, xp: Any, data: Any, grad: Any, histories: Sequence[Any], lr: float) -> None:
        """Change data and histories in place by one step along grad, which is only read. xp is their namespace."""
        raise NotImplementedError(f"{type(self).__name__} has no update(self, xp, data, grad, histories, lr)")


@SOLVERS.add
class SGD(Rule):
    """SGD: stochastic gradient descent with momentum (Caffe: SGD)

        v <- momentum · v + lr · g
        w <- w - v

    torch.optim.SGD has lr outside: v <- momentum · v + g, w <- w - lr · v. While lr stays the same both make the same
    steps (torch's v times lr is ours). They differ when lr changes: here the past steps keep their length and the new
    lr acts on new gradients only, so a drop by 10 takes about 1 / (1 - momentum) iterations to be felt; in torch it
    shortens the past steps too, at once. (dampening is 0 in both.)

    Source    Polyak 1964; Sutskever et al. 2013; compare torch.optim.SGD
    """

    histories = 1

    momentum: float = param(0.0, help="part of the last step that is repeated", ge=0, lt=1)

    def update(self, xp: Any, data: Any, grad: Any, histories: Sequence[Any], lr: float) -> None:
        (v,) = histories
        v *= self.momentum
        v += lr * grad
        data -= v


@SOLVERS.add
class Nesterov(Rule):
    """Nesterov: SGD with Nesterov's momentum (Caffe: Nesterov)

        v' <- momentum · v + lr · g
        w  <- w - ((1 + momentum) · v' - momentum · v)

    The stored w is the point that looks ahead by momentum · v, where the next gradient is wanted. Since
    momentum · v = v' - lr · g, the step is also momentum · v' + lr · g, which is how torch.optim.SGD(nesterov=True)
    writes it, there with lr outside; see SGD for what that changes.

    Source    Nesterov 1983; Sutskever et al. 2013; compare torch.optim.SGD
    """

    histories = 1

    momentum: float = param(0.9, help="part of the last step that is repeated", ge=0, lt=1)

    def update(self, xp: Any, data: Any, grad: Any, histories: Sequence[Any], lr: float) -> None:
        (v,) = histories
        step = lr * grad
        v *= self.momentum
        v += step
        step += self.momentum * v
        data -= step
