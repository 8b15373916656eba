"""The tests of the tests: broken layers. Each breaks one promise of the contract, and the check that guards the promise
must say so, while the healthy layer that it was made from passes everything."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from layerforge.arrays.functional import rows
from layerforge.arrays.spec import Spec, index
from layerforge.contract.layer import Example, Layer
from layerforge.contract.metric import Metric
from layerforge.layers.elementwise.prelu import PReLU
from layerforge.layers.indexing.embedding import Embedding
from layerforge.layers.losses.ctc import CTCLoss
from layerforge.layers.losses.euclidean_loss import EuclideanLoss
from layerforge.layers.losses.hinge_loss import HingeLoss
from layerforge.layers.losses.infogain_loss import InfogainLoss
from layerforge.layers.losses.nll_loss import NLLLoss
from layerforge.layers.losses.softmax_cross_entropy import SoftmaxCrossEntropy
from layerforge.layers.losses.triplet_margin_loss import TripletMarginLoss
from layerforge.layers.matrices.linear import Linear
from layerforge.schema.params import param


class Softmax(Layer):
    """A healthy softmax over the last axis, in place where it may."""

    backward_reads = ("top",)
    inplace = True
    examples = [Example({}, [Spec((4, 5))]), Example({}, [Spec((3, 4), low=90, high=120)], "extreme")]

    def setup(self, x: Spec) -> Spec:
        return x

    def forward(self, x: Any) -> Any:
        xp, largest = self.xp, x.max(axis=-1, keepdims=True)
        y = self.buf("y", x.shape, over=x, life="saved")
        xp.subtract(x, largest, out=y)
        xp.exp(y, out=y)
        y /= y.sum(axis=-1, keepdims=True)
        self.save(y=y)
        return y

    def backward(self, dy: Any) -> Any:
        y = self.saved.y
        return y * (dy - (dy * y).sum(axis=-1, keepdims=True))

    def jvp(self, dx: Any) -> Any:
        y = self.saved.y
        return y * (dx - (dx * y).sum(axis=-1, keepdims=True))


class Noise(Layer):
    """A healthy multiplicative noise in training."""

    examples = [Example({}, [Spec((6, 4))])]

    def setup(self, x: Spec) -> Spec:
        return x

    def forward(self, x: Any) -> Any:
        mask = self.random(x.shape).astype(x.dtype) if self.phase == "train" else self.xp.ones_like(x)
        self.save(mask=mask)
        return x * mask

    def backward(self, dy: Any) -> Any:
        return dy * self.saved.mask


class Centre(Layer):
    """A healthy normalisation by the batch mean, with a running mean for eval."""

    examples = [Example({}, [Spec((5, 3))])]

    def setup(self, x: Spec) -> Spec:
        self.add_state("running_mean", x.shape[1:], 0.0)
        return x

    def forward(self, x: Any) -> Any:
        train = self.phase == "train"
        mean = x.mean(axis=0) if train else self.state.running_mean
        if train:
            self.state.running_mean = 0.9 * self.state.running_mean + 0.1 * mean
        self.save(train=train)
        return x - mean

    def backward(self, dy: Any) -> Any:
        return dy - dy.mean(axis=0) if self.saved.train else dy.copy()


class Follow(Layer):
    """A healthy layer that adds half of the batch before."""

    carries = True
    grad_aliases = True
    examples = [Example({}, [Spec((5, 3))])]

    def setup(self, x: Spec) -> Spec:
        return x

    def forward(self, x: Any) -> Any:
        before = self.carried.get(self.phase, (self.xp.zeros_like(x),))
        self.carried[self.phase] = (x.copy(),)
        self.save()
        return x + 0.5 * before[0]

    def backward(self, dy: Any) -> Any:
        return dy


class Pick(Layer):
    """A healthy layer with an index bottom: the chosen column of each row."""

    bottoms = 2
    examples = [Example({}, [Spec((4, 3)), index((4,), 3)])]

    def setup(self, x: Spec, i: Spec) -> Spec:
        return x.with_shape(i.shape)

    def forward(self, x: Any, i: Any) -> Any:
        self.save(i=i.copy(), shape=x.shape)
        return x[self.xp.arange(len(x)), i]

    def backward(self, dy: Any) -> Any:
        dx = self.xp.zeros(self.saved.shape, dtype=dy.dtype)
        dx[self.xp.arange(len(dx)), self.saved.i] = dy
        return dx, None


def zeros_and_ones(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Values of which many are equal."""
    return rng.integers(0, 2, shape).astype("float64")


def with_nothing(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Values; the first row is -inf, and so is one of the others."""
    x = rng.normal(size=shape)
    x[:1], x[1:2, :1] = -np.inf, -np.inf
    return x


class Root(Layer):
    """A healthy square root, whose derivative counts as 0 where it has none."""

    examples = [Example({}, [Spec((4, 5), draw=zeros_and_ones)])]

    def setup(self, x: Spec) -> Spec:
        return x

    def forward(self, x: Any) -> Any:
        y = self.xp.sqrt(self.xp.abs(x))
        self.save(y=y.copy(), sign=self.xp.sign(x))
        return y

    def backward(self, dy: Any) -> Any:
        y = self.saved.y
        return dy * self.saved.sign / (2 * (y + (y == 0)))


class Sharpest(Layer):
    """A healthy log Σ exp x of each row, of which some are -inf everywhere."""

    backward_reads = ("bottom", "top")
    examples = [Example({}, [Spec((4, 3), draw=with_nothing)])]

    def setup(self, x: Spec) -> Spec:
        return x.with_shape((x.shape[0], 1))

    def forward(self, x: Any) -> Any:
        largest = x.max(axis=1, keepdims=True)
        largest = self.xp.where(largest > -np.inf, largest, 0)
        total = self.xp.exp(x - largest).sum(axis=1, keepdims=True)
        y = self.xp.where(total > 0, self.xp.log(total + (total == 0)) + largest, -np.inf)
        self.save(x=x, y=y)
        return y

    def backward(self, dy: Any) -> Any:
        x, y = self.saved.x, self.saved.y
        return dy * self.xp.exp(x - self.xp.where(y > -np.inf, y, 0))


class Reverse(Layer):
    """A healthy reversal of the last axis, not in place."""

    examples = [Example({}, [Spec((3, 4))])]

    def setup(self, x: Spec) -> Spec:
        return x

    def forward(self, x: Any) -> Any:
        return x[:, ::-1].copy()

    def backward(self, dy: Any) -> Any:
        return dy[:, ::-1].copy()


class Along(Layer):
    """A healthy scan along a chosen axis, which may be that of the batch."""

    dim: int = param(help="axis")
    examples = [Example({"dim": -1}, [Spec((3, 4))]), Example({"dim": 0}, [Spec((3, 4))])]

    def setup(self, x: Spec) -> Spec:
        return x

    def per_sample_for(self, x: Spec) -> bool:
        return self.dim % x.ndim != 0

    def forward(self, x: Any) -> Any:
        return x.cumsum(axis=self.dim)

    def backward(self, dy: Any) -> Any:
        return self.xp.flip(self.xp.flip(dy, self.dim).cumsum(axis=self.dim), self.dim)


class Larger(Layer):
    """A healthy maximum of two blobs, which share the gradient where they are equal."""

    bottoms = 2
    examples = [Example({}, [Spec((4, 5), draw=zeros_and_ones)] * 2)]

    def setup(self, a: Spec, b: Spec) -> Spec:
        return a

    def forward(self, a: Any, b: Any) -> Any:
        self.save(share=(a > b) + 0.5 * (a == b))
        return self.xp.maximum(a, b)

    def backward(self, dy: Any) -> Any:
        share = self.saved.share.astype(dy.dtype)
        return dy * share, dy * (1 - share)


class Learned(Layer):
    """A healthy layer without bottoms: a learned array."""

    bottoms = 0
    examples = [Example({}, [])]

    def setup(self) -> Spec:
        self.add_param("weight", (3, 4), 1.0)
        return Spec((3, 4), self.dtype)

    def forward(self) -> Any:
        return self.params.weight.copy()

    def backward(self, dy: Any) -> None:
        self.grads.weight += dy


class Fixed(Layer):
    """A healthy layer without bottoms and without a gradient: values that never change."""

    bottoms = 0
    examples = [Example({}, [])]

    def setup(self) -> Spec:
        return Spec((2, 3), self.dtype)

    def forward(self) -> Any:
        y = self.buf("y", (2, 3))
        y[...] = 7
        return y


class Drawn(Layer):
    """A healthy layer without bottoms: random numbers, of the whole batch since it has no samples."""

    bottoms = 0
    examples = [Example({}, [])]

    def setup(self) -> Spec:
        return Spec((6, 4), self.dtype)

    def forward(self) -> Any:
        return self.random((6, 4), by_sample=False).astype(self.dtype)


class Swallow(Layer):
    """A healthy layer without tops. Its backward, of which nothing can come, says so."""

    tops = 0
    examples = [Example({}, [Spec((3, 4))], tops=0)]

    def setup(self, x: Spec) -> tuple[Spec, ...]:
        return ()

    def forward(self, x: Any) -> None:
        self.save(zeros=self.xp.zeros_like(x))

    def backward(self) -> Any:
        return self.saved.zeros.copy()


HEALTHY = [
    *(Linear, Softmax, Noise, Centre, Pick, Reverse, Along, Larger, Root, Sharpest, Learned, Fixed, Drawn, Swallow),
    Follow,
]


MUTANTS: list[tuple[str, type[Layer]]] = []


def caught_by(*checks: str) -> Any:
    """Collect a broken layer with the checks that must catch it."""

    def add(cls: type[Layer]) -> type[Layer]:
        MUTANTS.extend((check, cls) for check in checks)
        return cls

    return add


@caught_by("gradients")
class BottomGradientTwice(Linear):
    def backward(self, dy: Any) -> Any:
        return 2 * super().backward(dy)


@caught_by("gradients")
class SoftmaxWithoutGradient(Softmax):
    def backward(self, dy: Any) -> Any:
        return 0 * dy


@caught_by("gradients")
class SoftmaxAsIfElementwise(Softmax):
    def backward(self, dy: Any) -> Any:
        y = self.saved.y
        return dy * y * (1 - y)


@caught_by("gradients")
class BiasForgotten(Linear):
    examples = [example for example in Linear.examples if not example.bottoms[0].sparse]

    def backward(self, dy: Any) -> Any:
        self.grads.weight += rows(dy).T @ rows(self.saved.x)
        return dy @ self.params.weight


@caught_by("accumulates")
class RowsUntold(Embedding):
    examples = [example for example in Embedding.examples if example.params.get("sparse")]

    def backward(self, dy: Any) -> Any:
        found = super().backward(dy)
        self.grad_rows.weight.clear()
        return found


@caught_by("gradients")
class WeightGradientAveraged(Linear):
    examples = BiasForgotten.examples

    def backward(self, dy: Any) -> Any:
        before = self.grads.weight.copy()
        dx = super().backward(dy)
        self.grads.weight[...] = before + (self.grads.weight - before) / len(dy)
        return dx


@caught_by("gradients")
class CentreForgetsTheMean(Centre):
    def backward(self, dy: Any) -> Any:
        return dy.copy()


@caught_by("gradients")
class SignWrong(Linear):
    def backward(self, dy: Any) -> Any:
        return -super().backward(dy)


@caught_by("gradients", "needs_grad")
class NoBottomGradient(Linear):
    def backward(self, dy: Any) -> Any:
        super().backward(dy)


@caught_by("ties")
class BothGetAllOfIt(Larger):
    def backward(self, dy: Any) -> Any:
        share = self.xp.ceil(self.saved.share).astype(dy.dtype)
        return dy * share, dy * (1 - share + 0.5 * (self.saved.share == 0.5))


@caught_by("ties")
class NeitherGetsAnyOfIt(Larger):
    def backward(self, dy: Any) -> Any:
        share = self.saved.share
        return dy * (share == 1).astype(dy.dtype), dy * (share == 0).astype(dy.dtype)


@caught_by("jvp")
class TangentWithoutTheSum(Softmax):
    def jvp(self, dx: Any) -> Any:
        return self.saved.y * dx


@caught_by("jvp_params")
class TangentOfTheOtherSide(PReLU):
    def jvp_params(self, weight: Any) -> Any:
        x = self.saved.x
        return self.spread(weight, x) * self.xp.maximum(x, 0)


@caught_by("jvp_params")
class TangentAsIfItWereLinear(Layer):
    """y = eᵃ x with a learned, whose derivative by a is right in backward."""

    examples = [Example({}, [Spec((2, 3))])]

    def setup(self, x: Spec) -> Spec:
        self.add_param("a", (3,), "constant")
        return x

    def forward(self, x: Any) -> Any:
        y = x * self.xp.exp(self.params.a)
        self.save(x=x, y=y)
        return y

    def backward(self, dy: Any) -> Any:
        self.grads.a += (dy * self.saved.y).sum(axis=0)
        return dy * self.xp.exp(self.params.a)

    def jvp_params(self, a: Any) -> Any:
        return self.saved.x * self.xp.exp(a)


@caught_by("accumulates")
class Overwrites(Linear):
    def backward(self, dy: Any) -> Any:
        self.grads.weight[...] = 0
        return super().backward(dy)


@caught_by("accumulates")
class ReplacesGradient(Linear):
    def backward(self, dy: Any) -> Any:
        dx = super().backward(dy)
        self.grads.weight = self.grads.weight * 1
        return dx


@caught_by("inputs_untouched")
class WritesIntoBottom(Linear):
    def forward(self, x: Any) -> Any:
        x *= 2
        return super().forward(x)


@caught_by("inputs_untouched")
class WritesIntoUpstreamGradient(Softmax):
    def backward(self, dy: Any) -> Any:
        dx = super().backward(dy)
        dy *= 0
        return dx


@caught_by("inputs_untouched")
class WritesIntoParameters(Linear):
    def forward(self, x: Any) -> Any:
        self.params.weight[...] *= 0.5
        return super().forward(x)


@caught_by("backward_reads")
class ReadsBottomSecretly(Linear):
    backward_reads = ()


@caught_by("backward_reads")
class ReadsTopSecretly(Softmax):
    backward_reads = ()


@caught_by("backward_reads")
class ReadsIndexSecretly(Pick):
    def forward(self, x: Any, i: Any) -> Any:
        self.save(i=i, shape=x.shape)
        return x[self.xp.arange(len(x)), i]


@caught_by("shapes_and_dtypes")
class PromisesAnotherShape(Linear):
    def setup(self, x: Spec) -> Spec:
        top = super().setup(x)
        return top.with_shape(top.shape[::-1])


@caught_by("shapes_and_dtypes")
class TurnsIntoFloat64(Linear):
    def forward(self, x: Any) -> Any:
        return super().forward(x).astype("float64")


@caught_by("shapes_and_dtypes")
class GradientForIndex(Pick):
    def backward(self, dy: Any) -> Any:
        return super().backward(dy)[0], dy * 0


@caught_by("shapes_and_dtypes")
class GradientOfOtherShape(Centre):
    def backward(self, dy: Any) -> Any:
        return super().backward(dy).reshape(-1)


@caught_by("per_sample")
class BatchStatisticsInEval(Centre):
    def forward(self, x: Any) -> Any:
        self.save(train=True)
        return x - x.mean(axis=0)


@caught_by("per_sample")
class AlongTheBatchUnsaid(Along):
    def per_sample_for(self, x: Spec) -> bool:
        return True


@caught_by("eval_is_stateless")
class StateMovesInEval(Centre):
    def forward(self, x: Any) -> Any:
        y = super().forward(x)
        self.state.running_mean *= 0.9
        return y


@caught_by("gradients", "eval_gradients")
class RootIsNotANumberAtZero(Root):
    def backward(self, dy: Any) -> Any:
        y = self.saved.y
        with np.errstate(invalid="ignore", divide="ignore"):
            return dy * self.saved.sign / (2 * y)


@caught_by("gradients")
class SharpestOfNothing(Sharpest):
    def backward(self, dy: Any) -> Any:
        with np.errstate(invalid="ignore"):
            return dy * self.xp.exp(self.saved.x - self.saved.y)


@caught_by("gradients")
class SharpestWrongBesideNothing(Sharpest):
    def backward(self, dy: Any) -> Any:
        return 2 * super().backward(dy)


@caught_by("eval_gradients")
class EvalGradientOfTrain(Centre):
    def backward(self, dy: Any) -> Any:
        return dy - dy.mean(axis=0)


@caught_by("eval_saves_nothing")
class CachesOnItself(Linear):
    def forward(self, x: Any) -> Any:
        self.x = x
        return super().forward(x)


@caught_by("eval_saves_nothing")
class KeepsInEval(Linear):
    def forward(self, x: Any) -> Any:
        y = super().forward(x)
        keep, self.run.keep = self.run.keep, True
        self.save(x=x)
        self.run.keep = keep
        return y


@caught_by("views")
class UndeclaredView(Centre):
    def forward(self, x: Any) -> Any:
        super().forward(x)
        return x if self.phase == "eval" else x - x.mean(axis=0)


@caught_by("views")
class UndeclaredAlias(Centre):
    def backward(self, dy: Any) -> Any:
        return dy - dy.mean(axis=0) if self.saved.train else dy


@caught_by("views")
class DeclaredViewIsNone(Centre):
    top_is_view = True


@caught_by("in_place")
class UnsafeInPlace(Reverse):
    inplace = True

    def forward(self, x: Any) -> Any:
        y = self.buf("y", x.shape, over=x)
        y[...] = x[:, ::-1]
        return y


@caught_by("in_place")
class ReadsBottomAfterWriting(Softmax):
    def forward(self, x: Any) -> Any:
        y = self.buf("y", x.shape, over=x, life="saved")
        self.xp.exp(x - x.max(axis=-1, keepdims=True), out=y)
        y /= self.xp.exp(x - x.max(axis=-1, keepdims=True)).sum(axis=-1, keepdims=True)
        self.save(y=y)
        return y


@caught_by("in_place")
class InPlaceInNameOnly(Reverse):
    inplace = True


@caught_by("needs_grad")
class ParameterGradientOnlyWithBottom(Linear):
    def backward(self, dy: Any) -> Any:
        return super().backward(dy) if self.needs_grad[0] else None


@caught_by("needs_grad")
class FrozenTakesOthersAlong(Linear):
    def backward(self, dy: Any) -> Any:
        if self.needs_param_grad.weight:
            return super().backward(dy)
        return dy @ self.params.weight


@caught_by("noncontiguous")
class AssumesMemoryOrder(Softmax):
    def forward(self, x: Any) -> Any:
        return super().forward(x.ravel(order="K").reshape(x.shape))


@caught_by("deterministic")
class OwnRandomNumbers(Noise):
    def forward(self, x: Any) -> Any:
        mask = np.random.default_rng().random(x.shape).astype(x.dtype)
        self.save(mask=mask)
        return x * mask


@caught_by("random_by_sample")
class RandomNumbersByBatch(Noise):
    def forward(self, x: Any) -> Any:
        mask = self.random(x.shape[::-1]).T.astype(x.dtype)
        self.save(mask=mask)
        return x * mask


@caught_by("random_by_sample")
class FrozenMask(Noise):
    def forward(self, x: Any) -> Any:
        iteration, self.run.iteration = self.run.iteration, 0
        y = super().forward(x)
        self.run.iteration = iteration
        return y


@caught_by("new_batch_size")
class RemembersBatchSize(Centre):
    def setup(self, x: Spec) -> Spec:
        self.add_state("running_mean", x.shape[1:], 0.0)
        self.add_state("per_row", x.shape[:1], 0.0)
        return x


@caught_by("carried")
class FollowsOtherPhases(Follow):
    def forward(self, x: Any) -> Any:
        if "train" in self.carried:
            self.carried[self.phase] = self.carried["train"]
        return super().forward(x)


@caught_by("carried")
class FollowsInItsOwnMemory(Follow):
    last: Any = None

    def forward(self, x: Any) -> Any:
        y = super().forward(x) + (0 if self.last is None else self.last)
        self.last = x.copy() if self.phase == "train" else None
        return y


@caught_by("carried")
class FollowsInPlace(Follow):
    def forward(self, x: Any) -> Any:
        before = self.carried.setdefault(self.phase, (self.xp.zeros_like(x),))
        y = x + 0.5 * before[0]
        before[0][...] = x
        self.save()
        return y


@caught_by("state_round_trip")
class LearnsOutsideOfState(Centre):
    offset = 0.0

    def forward(self, x: Any) -> Any:
        if self.phase == "train":
            self.offset = float(x.mean())
        return super().forward(x) + self.offset


@caught_by("float32")
class OverflowsInFloat32(Softmax):
    def forward(self, x: Any) -> Any:
        with np.errstate(over="ignore", invalid="ignore"):
            e = self.xp.exp(x)
            y = e / e.sum(axis=-1, keepdims=True)
        self.save(y=y)
        return y


@caught_by("several_backwards")
class UsesUpWhatItSaved(Linear):
    def backward(self, dy: Any) -> Any:
        dx = super().backward(dy)
        self.saved.x[...] *= 0
        return dx


@caught_by("linear_backward")
class AddsAConstant(Softmax):
    def backward(self, dy: Any) -> Any:
        return super().backward(dy) + 1


@caught_by("linear_backward")
class AddsAConstantToTheBias(Linear):
    def backward(self, dy: Any) -> Any:
        self.grads.bias += 1e-6
        return super().backward(dy)


@caught_by("linear_backward")
class ClipsGradient(Linear):
    def backward(self, dy: Any) -> Any:
        return super().backward(dy.clip(-0.5, 0.5))


# Without bottoms, or without tops ---------------------------------------------------------------------------------


@caught_by("gradients")
class LearnedForgetsItsGradient(Learned):
    def backward(self, dy: Any) -> None:
        """Nothing is added."""


@caught_by("accumulates")
class LearnedOverwrites(Learned):
    def backward(self, dy: Any) -> None:
        self.grads.weight[...] = dy


@caught_by("linear_backward")
class LearnedClips(Learned):
    def backward(self, dy: Any) -> None:
        self.grads.weight += dy.clip(-0.5, 0.5)


@caught_by("views")
class LearnedGivesItsParameterAway(Learned):
    def forward(self) -> Any:
        return self.params.weight


@caught_by("inputs_untouched")
class LearnedMovesItself(Learned):
    def forward(self) -> Any:
        self.params.weight[...] *= 0.5
        return self.params.weight.copy()


@caught_by("shapes_and_dtypes")
class LearnedOfAnotherShape(Learned):
    def forward(self) -> Any:
        return self.params.weight.T.copy()


@caught_by("backward_reads")
class LearnedReadsItsTop(Learned):
    def forward(self) -> Any:
        y = self.params.weight.copy()
        self.save(y=y)
        return y

    def backward(self, dy: Any) -> None:
        self.grads.weight += dy + 0 * self.saved.y


@caught_by("state_round_trip")
class LearnedOutsideOfParams(Learned):
    offset = 0.0

    def forward(self) -> Any:
        if self.phase == "train":
            self.offset = 1.0
        return self.params.weight + self.offset


@caught_by("noncontiguous")
class LearnedAssumesMemoryOrder(Learned):
    def backward(self, dy: Any) -> None:
        self.grads.weight += dy.ravel(order="K").reshape(dy.shape)


@caught_by("deterministic")
class FixedOnce(Fixed):
    def forward(self) -> Any:
        if "y" not in self.memory.arrays:
            self.buf("y", (2, 3))[...] = 7
        return self.buf("y", (2, 3))


@caught_by("shapes_and_dtypes")
class FixedInFloat64(Fixed):
    def forward(self) -> Any:
        return super().forward().astype("float64")


@caught_by("random_by_sample")
class DrawnBySample(Drawn):
    def forward(self) -> Any:
        return self.random((6, 4)).astype(self.dtype)


@caught_by("random_by_sample")
class CountsSamplesItDoesNotHave(Fixed):
    def forward(self) -> Any:
        return super().forward() + self.run.first_sample


@caught_by("random_by_sample")
class DrawnOnce(Drawn):
    def forward(self) -> Any:
        iteration, self.run.iteration = self.run.iteration, 0
        y = super().forward()
        self.run.iteration = iteration
        return y


@caught_by("deterministic")
class DrawnElsewhere(Drawn):
    def forward(self) -> Any:
        return np.random.default_rng().random((6, 4)).astype(self.dtype)


@caught_by("new_batch_size")
class RemembersItsSetups(Fixed):
    setups = 0

    def setup(self) -> Spec:
        self.setups += 1
        return super().setup()

    def forward(self) -> Any:
        return super().forward() * self.setups


@caught_by("gradients")
class SwallowInventsAGradient(Swallow):
    def backward(self) -> Any:
        return self.saved.zeros + 1


@caught_by("inputs_untouched")
class SwallowWritesIntoBottom(Swallow):
    def forward(self, x: Any) -> None:
        super().forward(x)
        x *= 0


@caught_by("eval_saves_nothing")
class SwallowCachesOnItself(Swallow):
    def forward(self, x: Any) -> None:
        super().forward(x)
        self.x = x


@caught_by("shapes_and_dtypes")
class SwallowMakesATop(Swallow):
    def forward(self, x: Any) -> Any:
        super().forward(x)
        return x.copy()


# Losses whose formula is another one, with a gradient that fits it. Each has the name of the loss that it is not.


@caught_by("formula")
class HingeLossBySample(HingeLoss):
    """The mean over samples, where there are several positions in each."""

    type_name = "HingeLoss"

    def divisor(self, x: Any, labels: Any) -> float:
        return len(labels) if self.normalization == "valid" else super().divisor(x, labels)


@caught_by("formula")
class InfogainLossWithoutWeight(InfogainLoss):
    type_name = "InfogainLoss"

    def weights(self, labels: Any, valid: Any) -> Any:
        return valid.astype(self.dtype)


@caught_by("formula")
class EuclideanLossOverElements(EuclideanLoss):
    type_name = "EuclideanLoss"

    def divisor(self, shape: tuple[int, ...]) -> int:
        return math.prod(shape) if self.reduction == "batchmean" else super().divisor(shape)


@caught_by("formula")
class SmoothingOverTheOtherClasses(SoftmaxCrossEntropy):
    """ε shared by the K - 1 classes that are not the label."""

    type_name = "SoftmaxCrossEntropy"

    def mixture(self, q: Any) -> Any:
        share = self.label_smoothing
        return ((1 - share) * q + share * (1 - q) / max(1, q.shape[1] - 1)) * self.class_weights(q.ndim)


@caught_by("formula")
class SmoothingBeforeWeightsOnly(SoftmaxCrossEntropy):
    """The weight of the label times all of ℓ: right without smoothing or without weights, not with both."""

    type_name = "SoftmaxCrossEntropy"

    def mixture(self, q: Any) -> Any:
        if self.weight is None or not self.label_smoothing:
            return super().mixture(q)
        mixed = (1 - self.label_smoothing) * q + self.label_smoothing / q.shape[1]
        return mixed * (self.class_weights(q.ndim) * q).sum(axis=1, keepdims=True)


@caught_by("formula")
class NLLLossThatForgetsFull(NLLLoss):
    type_name = "NLLLoss"

    def mean_over(self, x: Any, labels: Any) -> float | None:
        if self.normalization == "full":
            return int(self.valid(labels).sum())
        return super().mean_over(x, labels)


@caught_by("formula")
class CTCLossThatNeverSkips(CTCLoss):
    """Every path says a blank between any two labels."""

    type_name = "CTCLoss"

    def skips(self, places: Any) -> Any:
        return self.where_log(self.xp.zeros(places.shape, dtype=bool))


@caught_by("formula")
class TripletMarginLossWithoutEps(TripletMarginLoss):
    type_name = "TripletMarginLoss"

    def forward(self, anchor: Any, positive: Any, negative: Any) -> Any:
        return super().forward(anchor - self.eps, positive, negative)


class MeanScore(Metric):
    """A healthy mean of all numbers."""

    examples = [Example({}, [Spec((7, 3))])]

    def setup(self, x: Spec) -> Spec:
        return x.with_shape(())

    def update(self, x: Any) -> Any:
        return {"sum": x.sum(dtype="float64"), "count": self.number(x.size)}

    def compute(self, tally: Any) -> Any:
        return tally["sum"] / tally["count"]


HEALTHY.append(MeanScore)


@caught_by("merges")
class MeanOfMeans(MeanScore):
    """Of batches of different sizes another number."""

    def update(self, x: Any) -> Any:
        return {"sum": x.mean(dtype="float64"), "count": self.number(1)}


@caught_by("merges")
class MergingInPlace(MeanScore):
    def merge(self, first: Any, second: Any) -> Any:
        for name in first:
            first[name] += second[name]
        return first

    def number(self, value: float) -> Any:
        return self.xp.full((1,), float(value))


@caught_by("merges")
class MeanInTheNetsDtype(MeanScore):
    def compute(self, tally: Any) -> Any:
        return super().compute(tally).astype("float32")
