"""Update rules: what a solver does with a gradient. Those of Caffe have Caffe's form.

A rule sees flat slices (1-D, all of one length n) and knows nothing of layers:

    data       w  (n,) real, the parameters, changed in place
    grad       g  (n,) real, the gradient after averaging, clipping and weight decay; only read
    histories     `histories` arrays (n,) real, zero before the first update, changed in place
    step          a RuleStep: the learning rate, the number of the update ...

The solver calls it on blocks that fit the cache, so the temporaries below cost no pass over memory.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..run.parameters import l2_norm, norm_there
from ..schema.errors import ConfigError
from ..schema.params import Declared, param
from ..schema.registry import SOLVERS
from ..schema.settled import from_within
from ..schema.synonyms import hint_for_key


@dataclass(frozen=True)
class RuleStep:
    """What a rule is told besides the arrays.

    lr          the learning rate, lr_mult included; a Python float, so that w keeps its dtype
    number      of this update; 1 is the first
    decay_mult  of these parameters
    pull        for a rule with decay_apart (n,) what weight decay would add to the gradient, or None for nothing;
                for the others always None, as it is in the gradient
    """

    lr: float
    number: int = 1
    decay_mult: float = 1.0
    pull: Any = None


class Rule(Declared):
    """Base of the update rules. A rule states how many history arrays it needs and writes `update`.

    by_rows           it may be called on some rows of a parameter alone: those that have a gradient (rows.py)
    decay_apart       weight decay is not to be added to the gradient: the rule takes it from step.pull
    whole_parameters  the slices are to be whole parameters, one at a time, rather than blocks
    """

    histories: ClassVar[int] = 0
    by_rows: ClassVar[bool] = False
    decay_apart: ClassVar[bool] = False
    whole_parameters: ClassVar[bool] = False

    _held = False

    def hold(self) -> None:
        """It is a solver's from now on: what is assigned from outside is checked as a configuration is."""
        self._held = True

    def __setattr__(self, name: str, value: Any) -> None:
        if self._held and not from_within(self):
            if name not in self.fields:
                hint = hint_for_key(name, self.fields)
                raise ConfigError(f"a rule ({self.type_name}) has no '{name}'", hint=hint)
            value = getattr(type(self).from_config({**self.config, name: value}), name)
        object.__setattr__(self, name, value)

    def update(self, xp: Any, data: Any, grad: Any, histories: Sequence[Any], step: RuleStep) -> None:
        """Change data and histories in place by one step along grad, which is only read. xp is their namespace."""
        raise NotImplementedError(f"{type(self).__name__} has no update(self, xp, data, grad, histories, step)")


@SOLVERS.add
class SGD(Rule):
    """SGD: stochastic gradient descent with momentum (Caffe: SGD)

        v <- momentum · v + lr · g
        w <- w - v

    torch.optim.SGD has lr outside: v <- momentum · v + g, w <- w - lr · v. While lr stays the same both make the same
    steps (torch's v times lr is ours). They differ when lr changes: here the past steps keep their length and the new
    lr acts on new gradients only, so a drop by 10 takes about 1 / (1 - momentum) iterations to be felt; in torch it
    shortens the past steps too, at once. (dampening is 0 in both.)

    Where a gradient is sparse (Embedding with `sparse: true`), the rows that have none keep v and w: momentum waits for
    them, as in torch.optim.SparseAdam. (torch.optim.SGD moves on all rows that ever had a gradient.) Without momentum
    nothing is lost by that: rows without a gradient would stay as they are.

    Source    Polyak 1964; Sutskever et al. 2013; compare torch.optim.SGD
    """

    histories = 1
    by_rows = True

    momentum: float = param(0.0, help="part of the last step that is repeated", ge=0, lt=1)

    def update(self, xp: Any, data: Any, grad: Any, histories: Sequence[Any], step: RuleStep) -> None:
        (v,) = histories
        v *= self.momentum
        v += step.lr * grad
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
    by_rows = True

    momentum: float = param(0.9, help="part of the last step that is repeated", ge=0, lt=1)

    def update(self, xp: Any, data: Any, grad: Any, histories: Sequence[Any], step: RuleStep) -> None:
        (v,) = histories
        move = step.lr * grad
        v *= self.momentum
        v += move
        move += self.momentum * v
        data -= move


@SOLVERS.add
class AdaGrad(Rule):
    """AdaGrad: steps that shrink where gradients have been large (Caffe: AdaGrad)

        h <- h + g²
        w <- w - lr · g / (√h + eps)

    h only grows, so the steps shrink for ever, which suits sparse features and stalls long trainings. It is
    torch.optim.Adagrad, there with eps 1e-10. eps is Caffe's delta. Of a sparse gradient only the rows that have one
    are updated, which is the same: the others would stay as they are.

    Source    Duchi, Hazan & Singer 2011; compare torch.optim.Adagrad
    """

    histories = 1
    by_rows = True

    eps: float = param(1e-8, help="added to the root", gt=0)

    def update(self, xp: Any, data: Any, grad: Any, histories: Sequence[Any], step: RuleStep) -> None:
        (h,) = histories
        h += grad * grad
        data -= step.lr * grad / (xp.sqrt(h) + self.eps)


@SOLVERS.add
class RMSProp(Rule):
    """RMSProp: the gradient divided by the root of its recent mean square (Caffe: RMSProp)

        h <- rms_decay · h + (1 - rms_decay) · g²
        w <- w - lr · g / (√h + eps)

    torch.optim.RMSprop is the same and calls rms_decay alpha. eps is Caffe's delta.

    Source    Tieleman & Hinton 2012; compare torch.optim.RMSprop
    """

    histories = 1

    rms_decay: float = param(0.99, help="part of the mean square that is kept", ge=0, lt=1)
    eps: float = param(1e-8, help="added to the root", gt=0)

    def update(self, xp: Any, data: Any, grad: Any, histories: Sequence[Any], step: RuleStep) -> None:
        (h,) = histories
        follow(h, grad * grad, self.rms_decay)
        data -= step.lr * grad / (xp.sqrt(h) + self.eps)


@SOLVERS.add
class AdaDelta(Rule):
    """AdaDelta: steps as long as the recent steps were, so that they have the unit of w (Caffe: AdaDelta)

        h <- momentum · h + (1 - momentum) · g²
        u  = g · √((k + eps) / (h + eps))
        k <- momentum · k + (1 - momentum) · u²
        w <- w - lr · u

    Meant for lr 1. eps decides how long the first steps are. torch.optim.Adadelta is the same and calls momentum rho;
    eps is Caffe's delta, whose default 1e-8 begins ten times slower than torch's, which is the one here.

    Source    Zeiler 2012; compare torch.optim.Adadelta
    """

    histories = 2

    momentum: float = param(0.9, help="part of the mean squares that is kept", ge=0, lt=1)
    eps: float = param(1e-6, help="added to the mean squares", gt=0)

    def update(self, xp: Any, data: Any, grad: Any, histories: Sequence[Any], step: RuleStep) -> None:
        h, k = histories
        follow(h, grad * grad, self.momentum)
        move = grad * xp.sqrt((k + self.eps) / (h + self.eps))
        follow(k, move * move, self.momentum)
        data -= step.lr * move


@SOLVERS.add
class Adam(Rule):
    """Adam: means of the gradient and of its square, both freed of their start at zero (Caffe: Adam)

        m <- momentum · m + (1 - momentum) · g
        v <- momentum2 · v + (1 - momentum2) · g²
        w <- w - lr · √(1 - momentum2ᵗ) / (1 - momentumᵗ) · m / (√v + eps)      t = 1, 2, ... the number of the update

    torch calls the two momenta betas, and adds eps to the corrected root √(v / (1 - momentum2ᵗ)): AdamW below does so,
    too. Here, as in Caffe, eps weighs 1 / √(1 - momentum2ᵗ) times as much, about 30 in the first step. (Caffe has 0 as
    the default of momentum, and calls eps delta.) Weight decay is added to the gradient and so divided by √v with it;
    AdamW keeps them apart.

    Source    Kingma & Ba 2015, end of section 2; compare torch.optim.Adam
    """

    histories = 2

    momentum: float = param(0.9, help="part of the mean gradient that is kept", ge=0, lt=1)
    momentum2: float = param(0.999, help="part of the mean square that is kept", ge=0, lt=1)
    eps: float = param(1e-8, help="added to the root of the mean square", gt=0)

    def update(self, xp: Any, data: Any, grad: Any, histories: Sequence[Any], step: RuleStep) -> None:
        m, v = histories
        follow(m, grad, self.momentum)
        follow(v, grad * grad, self.momentum2)
        data -= self.rate(step) * m / (self.root(xp, v, step) + self.eps)

    def rate(self, step: RuleStep) -> float:
        """What m over the root is multiplied by."""
        return step.lr * math.sqrt(1 - self.momentum2**step.number) / (1 - self.momentum**step.number)

    def root(self, xp: Any, v: Any, step: RuleStep) -> Any:
        """The root to which eps is added."""
        return xp.sqrt(v)


@SOLVERS.add
class AdamW(Adam):
    """AdamW: Adam whose weight decay acts on the weights and not through the gradient

        w <- w - lr · d w
        m, v as in Adam
        w <- w - lr / (1 - momentumᵗ) · m / (√(v / (1 - momentum2ᵗ)) + eps)      t = 1, 2, ... the number of the update

    with d = weight_decay · decay_mult, so that every weight decays at the same rate, whatever its gradients. This is
    torch.optim.AdamW, except that weight_decay is 0 unless it is given (there 0.01) and that biases and the parameters
    of normalisations do not decay. With `regularization: L1` the first line has sign w instead of w.

    Source    Loshchilov & Hutter 2019; compare torch.optim.AdamW
    """

    decay_apart = True

    def update(self, xp: Any, data: Any, grad: Any, histories: Sequence[Any], step: RuleStep) -> None:
        if step.pull is not None:
            data -= step.lr * step.pull
        super().update(xp, data, grad, histories, step)

    def rate(self, step: RuleStep) -> float:
        return step.lr / (1 - self.momentum**step.number)

    def root(self, xp: Any, v: Any, step: RuleStep) -> Any:
        return xp.sqrt(v / (1 - self.momentum2**step.number))


@SOLVERS.add
class LARS(Rule):
    """LARS: SGD whose steps are, in each parameter, a given part of the parameter's own length

        r  = trust_coefficient · |w| / (|g| + |d w|)      norms over a whole parameter, d = weight_decay · decay_mult
        v <- momentum · v + lr · r · (g + d w)
        w <- w - v

    For large batches, where one lr is too long for some layers and too short for others. r is 1 where |w| or |g| is 0,
    and for parameters with decay_mult 0: biases and those of normalisations, whose length means little, take the steps
    of SGD, as is usual. With `regularization: L1` d sign w takes the place of d w.

    Source    You, Gitman & Ginsburg 2017
    """

    histories = 1
    decay_apart = True
    whole_parameters = True

    momentum: float = param(0.9, help="part of the last step that is repeated", ge=0, lt=1)
    trust_coefficient: float = param(0.001, help="length of a step with lr 1, as a part of the parameter's", gt=0)

    def update(self, xp: Any, data: Any, grad: Any, histories: Sequence[Any], step: RuleStep) -> None:
        (v,) = histories
        rate = step.lr * (self.trust(xp, data, grad, step.pull) if step.decay_mult else 1.0)
        v *= self.momentum
        v += rate * (grad if step.pull is None else grad + step.pull)
        data -= v

    def trust(self, xp: Any, data: Any, grad: Any, pull: Any) -> Any:
        """r of the formulas; a number of the device's on a device, as nobody has to know it here."""
        if xp is not np:
            length, slope, pulled = (0.0 if a is None else norm_there(xp, a) for a in (data, grad, pull))
            r = self.trust_coefficient * length / (slope + pulled)
            return xp.where((length == 0) | (slope == 0), 1.0, r).astype(grad.dtype)
        length, slope = l2_norm(xp, data), l2_norm(xp, grad)
        if length == 0 or slope == 0:
            return 1.0
        return self.trust_coefficient * length / (slope + (0.0 if pull is None else l2_norm(xp, pull)))


def follow(mean: Any, new: Any, keep: float) -> None:
    """Move a running mean in place: keep · mean + (1 - keep) · new."""
    mean *= keep
    mean += (1 - keep) * new
