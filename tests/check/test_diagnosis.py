"""What a failed gradient check says of the likely mistake: every pattern has a broken layer that leaves it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from support.broken_layers import BiasForgotten, CentreForgetsTheMean, Softmax, SoftmaxAsIfElementwise

from layerforge import gradcheck, register
from layerforge.arrays.backend import Backend
from layerforge.arrays.spec import Spec, index
from layerforge.check import contract, diagnosis
from layerforge.check.examine import examine
from layerforge.check.gradients import Effort, layer_gradients, probe_gradients
from layerforge.check.harness import Probe
from layerforge.contract.layer import Example, Layer
from layerforge.layers.matrices.linear import Linear
from layerforge.schema.registry import LAYERS

CrossEntropy: type[Layer] = LAYERS.get("SoftmaxCrossEntropy")


pytestmark = pytest.mark.usefixtures("registry_as_before")


# Healthy layers that the broken ones are made from --------------------------------------------------------------------


class Shift(Layer):
    """y = x + a, of bottoms that broadcast."""

    bottoms = 2
    examples = [Example({}, [Spec((4, 3)), Spec((1, 3))])]

    def setup(self, x: Spec, a: Spec) -> Spec:
        return x

    def forward(self, x: Any, a: Any) -> Any:
        return x + a

    def backward(self, dy: Any) -> Any:
        return dy.copy(), dy.sum(axis=0, keepdims=True)


class Product(Layer):
    """y = a b, element by element."""

    bottoms = 2
    examples = [Example({}, [Spec((3, 4)), Spec((3, 4))])]

    def setup(self, a: Spec, b: Spec) -> Spec:
        return a

    def forward(self, a: Any, b: Any) -> Any:
        self.save(a=a, b=b)
        return a * b

    def backward(self, dy: Any) -> Any:
        return dy * self.saved.b, dy * self.saved.a


class Variance(Layer):
    """y = Σ (x - mean)² / (n - 1) of each row."""

    examples = [Example({}, [Spec((3, 7))])]

    def setup(self, x: Spec) -> Spec:
        return x.with_shape(x.shape[:1])

    def forward(self, x: Any) -> Any:
        centred = x - x.mean(axis=1, keepdims=True)
        self.save(centred=centred)
        return (centred**2).sum(axis=1) / (x.shape[1] - 1)

    def backward(self, dy: Any) -> Any:
        return 2 * dy[:, None] * self.saved.centred / (self.saved.centred.shape[1] - 1)


class Square(Layer):
    """The matrix product x x of a square matrix."""

    examples = [Example({}, [Spec((4, 4))])]

    def setup(self, x: Spec) -> Spec:
        return x

    def forward(self, x: Any) -> Any:
        self.save(x=x)
        return x @ x

    def backward(self, dy: Any) -> Any:
        return dy @ self.saved.x.T + self.saved.x.T @ dy


class Cumsum(Layer):
    """y = x summed up along the last axis."""

    examples = [Example({}, [Spec((3, 5))])]

    def setup(self, x: Spec) -> Spec:
        return x

    def forward(self, x: Any) -> Any:
        return x.cumsum(axis=-1)

    def backward(self, dy: Any) -> Any:
        return dy[:, ::-1].cumsum(axis=-1)[:, ::-1]


class Norm(Layer):
    """y = x / √(mean x² + eps) of each row, as RMSNorm."""

    examples = [Example({}, [Spec((3, 6))])]

    def setup(self, x: Spec) -> Spec:
        return x

    def forward(self, x: Any) -> Any:
        r = (x**2).mean(axis=1, keepdims=True) ** 0.5
        self.save(r=r, y=x / r)
        return x / r

    def backward(self, dy: Any) -> Any:
        y = self.saved.y
        return (dy - y * (dy * y).mean(axis=1, keepdims=True)) / self.saved.r


HEALTHY = [Shift, Product, Variance, Square, Cumsum, Norm]


@pytest.mark.parametrize("cls", HEALTHY, ids=lambda cls: cls.__name__)
def test_the_layers_that_are_broken_below_are_right(cls: type[Layer]) -> None:
    assert gradcheck(cls).ok
    assert all(row.mistake == "" for row in layer_gradients(cls, cls.examples[0]))


# Broken layers --------------------------------------------------------------------------------------------------------

MISTAKES: list[tuple[type[Layer], str, str]] = []


def leaves(blob: str, words: str) -> Any:
    """Collect a broken layer with the blob whose gradient it breaks, and what must be said of it."""

    def add(cls: type[Layer]) -> type[Layer]:
        MISTAKES.append((cls, blob, words))
        return cls

    return add


def scaled(cls: type[Layer], factor: float, name: str) -> type[Layer]:
    """A layer whose bottom gradients are all multiplied by a factor."""

    def backward(self: Any, dy: Any) -> Any:
        dx = cls.backward(self, dy)
        return tuple(None if d is None else factor * d for d in dx) if isinstance(dx, tuple) else factor * dx

    return type(name, (cls,), {"backward": backward})


everywhere = "times the difference everywhere"
for _factor, _words in (
    (2, f"backward is 2 {everywhere}: a missing factor 1/2?"),
    (0.5, f"backward is 1/2 {everywhere}: a missing factor 2?"),
    (-1, f"backward is -1 {everywhere}: a wrong sign?"),
    (-2, f"backward is -2 {everywhere}: a wrong sign and a missing factor 1/2?"),
    (9, f"backward is 9 {everywhere}: a missing factor 1/9?"),
    (1.001, f"backward is 1.001 {everywhere}: a wrong factor?"),
    (-0.37, f"backward is -0.37 {everywhere}: a wrong sign and a wrong factor?"),
    (1 / 5, f"backward is 1/5 {everywhere}: a mean instead of a sum, or a missing factor N, N = 5 being axis 1 of"),
    (15, f"backward is 15 {everywhere}: a missing factor 1/N, as of a mean, N = 15 being axes 0 and 1 of bottom[0]?"),
):
    MISTAKES.append((scaled(Cumsum, _factor, f"CumsumTimes{_factor:.3g}"), "bottom[0]", _words))


@leaves("bottom[0]", f"backward is 4 {everywhere}: a missing factor 1/N, as of a mean, N = 4 being axis 0 of bottom[0]")
class SummedLoss(CrossEntropy):
    examples = [Example({}, [Spec((4, 3)), index((4,), 3)])]

    def backward(self, dy: Any) -> Any:
        dx, *rest = super().backward(dy)
        return (dx * len(dx), *rest)


@leaves("weight", "a mean instead of a sum, or a missing factor N, N = 3 being axis 0 of bottom[0]?")
class WeightGradientAveraged(Linear):
    examples = [Example({"out_features": 4}, [Spec((3, 5))])]

    def backward(self, dy: Any) -> Any:
        before = self.grads.weight.copy()
        dx = super().backward(dy)
        self.grads.weight[...] = before + (self.grads.weight - before) / len(dy)
        return dx


@leaves("bottom[0]", f"backward is 6/7 {everywhere}: 1/N instead of 1/(N - 1), N = 7 being axis 1 of bottom[0]?")
class VarianceOfThePopulation(Variance):
    def backward(self, dy: Any) -> Any:
        return super().backward(dy) * 6 / 7


@leaves("bottom[0]", "backward is zero everywhere: only zeros are returned for it")
class NoGradient(Cumsum):
    def backward(self, dy: Any) -> Any:
        return 0 * dy


MISTAKES.append((BiasForgotten, "bias", "backward is zero everywhere: self.grads.bias gets no summand"))


@leaves("bottom[1]", "a missing sum over axis 0, along which bottom[1] is broadcast")
class SumMissing(Shift):
    def backward(self, dy: Any) -> Any:
        return dy.copy(), dy.copy()


@leaves("bottom[1]", "a missing sum over axes 0 and 2, along which bottom[1] is broadcast")
class SumsMissing(Shift):
    examples = [Example({}, [Spec((2, 3, 4)), Spec((3, 1))])]

    def backward(self, dy: Any) -> Any:
        return dy.copy(), dy.copy()


@leaves("bottom[1]", "backward has only index 0 of axis 0 of top[0]: a missing sum over a broadcast axis")
class OneRowOnly(Shift):
    def backward(self, dy: Any) -> Any:
        return dy.copy(), dy[:1].copy()


@leaves("weight", "index 2 of axis 0 of top[0]: a missing sum over a broadcast axis, or = instead of += in a loop?")
class OverwrittenInALoop(Linear):
    examples = [Example({"out_features": 4}, [Spec((3, 5))])]

    def backward(self, dy: Any) -> Any:
        x, before = self.saved.x, self.grads.weight.copy()
        dx = super().backward(dy)
        for n in range(len(x)):
            self.grads.weight[...] = before + np.outer(dy[n], x[n])
        return dx


@leaves("bottom[0]", "backward is the difference with axes 0 and 1 swapped: transposed?")
class Transposed(Square):
    def backward(self, dy: Any) -> Any:
        return super().backward(dy).T.copy()


@leaves("weight", "backward is the difference with axes 0 and 1 swapped: transposed?")
class TransposedByReshape(Linear):
    examples = [Example({"out_features": 4}, [Spec((3, 5))])]

    def backward(self, dy: Any) -> Any:
        before = self.grads.weight.copy()
        dx = super().backward(dy)
        self.grads.weight[...] = before + (self.grads.weight - before).T.reshape(before.shape)
        return dx


@leaves("bottom[0]", "backward is the difference with axes 0 and 1 swapped: transposed?")
class TransposedShape(Cumsum):
    def backward(self, dy: Any) -> Any:
        return super().backward(dy).T


@leaves("bottom[0]", "backward is the difference reversed along axis 1: a wrong direction?")
class WrongDirection(Cumsum):
    def backward(self, dy: Any) -> Any:
        return dy[:, ::-1].cumsum(axis=-1)


@leaves("bottom[1]", "the gradient of bottom[1] is the one that backward gives for bottom[0]: in the wrong order?")
class Exchanged(Product):
    def backward(self, dy: Any) -> Any:
        return super().backward(dy)[::-1]


@leaves("bottom[1]", "backward gives bottom[1] the same gradient as bottom[0]: that of the wrong blob?")
class GradientOfTheOther(Product):
    def backward(self, dy: Any) -> Any:
        da, _ = super().backward(dy)
        return da, da.copy()


MISTAKES.append((CentreForgetsTheMean, "bottom[0]", "backward takes the mean over axis 0 of bottom[0] for a constant"))


class Normalised(Layer):
    """Broken in a way that the subclasses choose: batch normalisation with terms of its backward left out."""

    examples = [Example({}, [Spec((6, 3))]), Example({}, [Spec((3, 2, 2, 3))])]
    mean_term, variance_term = True, True

    def setup(self, x: Spec) -> Spec:
        return x

    def forward(self, x: Any) -> Any:
        self.axes = (0, *range(2, x.ndim))
        centred = x - x.mean(axis=self.axes, keepdims=True)
        root = ((centred**2).mean(axis=self.axes, keepdims=True) + 1e-5) ** 0.5
        self.save(y=centred / root, root=root)
        return centred / root

    def backward(self, dy: Any) -> Any:
        y, dx = self.saved.y, dy.copy()
        if self.mean_term:
            dx -= dy.mean(axis=self.axes, keepdims=True)
        if self.variance_term:
            dx -= y * (dy * y).mean(axis=self.axes, keepdims=True)
        return dx / self.saved.root


@leaves("bottom[0]", "backward takes the variance over ")
class VarianceConstant(Normalised):
    variance_term = False


@leaves("bottom[0]", "backward takes the mean over ")
class MeanConstant(Normalised):
    mean_term = False


@leaves("bottom[0]", "backward takes mean and variance over ")
class StatisticsConstant(Normalised):
    mean_term = variance_term = False


@leaves("bottom[0]", "backward takes the mean square over axis 1 of bottom[0] for a constant")
class MeanSquareConstant(Norm):
    def backward(self, dy: Any) -> Any:
        return dy / self.saved.r


@leaves("bottom[0]", "backward takes the sum in the denominator over axis 1 of bottom[0] for a constant")
class DenominatorConstant(Softmax):
    examples = Softmax.examples[:1]

    def backward(self, dy: Any) -> Any:
        return dy * self.saved.y


@leaves("bottom[0]", "backward gives the gradient of top[0] as it came: without the layer's own derivative?")
class PassedOn(Cumsum):
    def backward(self, dy: Any) -> Any:
        return dy.copy()


class SoftmaxOnce(SoftmaxAsIfElementwise):
    examples = Softmax.examples[:1]


MISTAKES.append((SoftmaxOnce, "bottom[0]", "backward has only the terms dyᵢ ∂yᵢ/∂xᵢ of top[0]: the layer is not"))


@pytest.mark.parametrize(("cls", "blob", "words"), MISTAKES, ids=[f"{c.__name__}-{b}" for c, b, _ in MISTAKES])
def test_the_likely_mistake_is_named(cls: type[Layer], blob: str, words: str) -> None:
    for number, example in enumerate(cls.examples):
        wrong = {row.blob: row for row in layer_gradients(cls, example) if not row.ok}
        if blob in wrong or number == 0:
            assert words in wrong[blob].mistake


def test_every_pattern_has_a_mutant(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any one of the patterns, one of the layers above is not explained, or otherwise."""
    layers = [cls for cls, _, _ in MISTAKES]
    patterns, said = diagnosis.PATTERNS, [mistakes(cls) for cls in layers]
    for pattern in patterns:
        monkeypatch.setattr(diagnosis, "PATTERNS", tuple(p for p in patterns if p is not pattern))
        assert [mistakes(cls) for cls in layers] != said, pattern.__name__


def mistakes(cls: type[Layer], **effort: Any) -> dict[str, str]:
    """What is said of the wrong gradients on the first example, by blob."""
    return {row.blob: row.mistake for row in layer_gradients(cls, cls.examples[0], **effort) if not row.ok}


# Where nothing must be said -------------------------------------------------------------------------------------------


class OneElement(Cumsum):
    def backward(self, dy: Any) -> Any:
        dx = super().backward(dy)
        dx[1, 2] += 1e-3
        return dx


class Scattered(Cumsum):
    def backward(self, dy: Any) -> Any:
        return super().backward(dy) * (1 + 0.1 * np.random.default_rng(0).normal(size=dy.shape))


class SameForBoth(Layer):
    """y = a + b, whose right gradients are equal; one of them is wrong, or both in the same way."""

    bottoms = 2
    examples = [Example({}, [Spec((3, 4)), Spec((3, 4))])]
    wrong = (0,)

    def setup(self, a: Spec, b: Spec) -> Spec:
        return a

    def forward(self, a: Any, b: Any) -> Any:
        return a + b

    def backward(self, dy: Any) -> Any:
        noise = 1 + 0.1 * np.random.default_rng(0).normal(size=dy.shape)
        return tuple(dy * noise if i in self.wrong else dy.copy() for i in range(2))


class SameMistakeInBoth(SameForBoth):
    wrong = (0, 1)


class NotANumber(Cumsum):
    def backward(self, dy: Any) -> Any:
        return dy * np.nan


class WhereZeroIsRight(Layer):
    """y = 0 x, whose backward gives something."""

    examples = [Example({}, [Spec((3, 4))])]

    def setup(self, x: Spec) -> Spec:
        return x

    def forward(self, x: Any) -> Any:
        return 0 * x

    def backward(self, dy: Any) -> Any:
        return dy.copy()


class OfOneNumber(Layer):
    """y = x³ of a single number, whose backward gives 0.37 of the derivative: everything is a multiple there."""

    examples = [Example({}, [Spec((1,))])]

    def setup(self, x: Spec) -> Spec:
        return x

    def forward(self, x: Any) -> Any:
        self.save(x=x)
        return x**3

    def backward(self, dy: Any) -> Any:
        return 0.37 * 3 * self.saved.x**2 * dy


UNEXPLAINED = [OneElement, Scattered, SameForBoth, SameMistakeInBoth, NotANumber, WhereZeroIsRight, OfOneNumber]


@pytest.mark.parametrize("cls", UNEXPLAINED, ids=lambda cls: cls.__name__)
def test_an_error_without_pattern_has_no_explanation(cls: type[Layer]) -> None:
    found = mistakes(cls)
    assert "bottom[0]" in found
    assert set(found.values()) == {""}


# Large arrays, kinks, other dtypes and backends -----------------------------------------------------------------------


def test_of_a_large_array_some_elements_are_enough() -> None:
    class Large(Linear):
        examples = [Example({"out_features": 50}, [Spec((6, 60))])]

        def backward(self, dy: Any) -> Any:
            dx = super().backward(dy)
            self.grads.weight[...] *= -1
            return 2 * dx

    assert diagnosis.WHOLE < 50 * 60
    assert mistakes(Large) == {
        "bottom[0]": f"backward is 2 {everywhere}: a missing factor 1/2?",
        "weight": f"backward is -1 {everywhere}: a wrong sign?",
    }


def test_elements_at_a_kink_are_left_out() -> None:
    def near_zero(rng: Any, shape: tuple[int, ...]) -> Any:
        x = rng.normal(size=shape)
        x[1], x[2], x[3] = 7e-6, 1e-7, 0
        return x

    class Bent(Layer):
        """y = 3 x above 0 and x below, half of whose derivative is given; rows of x are next to the kink, or at it."""

        examples = [Example({}, [Spec((5, 6), draw=near_zero)])]

        def setup(self, x: Spec) -> Spec:
            return x

        def forward(self, x: Any) -> Any:
            self.save(slope=self.xp.where(x > 0, 3, 1))
            return x * self.saved.slope

        def backward(self, dy: Any) -> Any:
            return 0.5 * dy * self.saved.slope

    assert mistakes(Bent)["bottom[0]"].startswith(f"backward is 1/2 {everywhere}")


def test_backward_in_float32() -> None:
    assert "a wrong sign" in mistakes(scaled(Cumsum, -1, "Negative"), dtype="float32")["bottom[0]"]


def test_another_backend(device_backend: Backend) -> None:
    said = mistakes(scaled(Product, -1, "Negative"), backend=device_backend)
    assert set(said.values()) == {f"backward is -1 {everywhere}: a wrong sign?"}
    assert "the variance" in mistakes(VarianceConstant, backend=device_backend)["bottom[0]"]


def test_the_numbers_are_left_as_they_were() -> None:
    probe = Probe(Exchanged, Exchanged.examples[0])
    before = [x.copy() for x in probe.bottoms]
    assert all(row.mistake for row in probe_gradients(probe, Effort()))
    assert all(np.array_equal(x, y) for x, y in zip(probe.bottoms, before, strict=True))


# Where it is said -----------------------------------------------------------------------------------------------------


def test_the_report_has_a_line_for_the_mistake() -> None:
    report = gradcheck(scaled(Cumsum, 2, "Twice"))
    lines = str(report).splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("Twice 0: gradient of bottom[0] (3, 5) at ["))
    assert lines[at + 1] == f"     = backward is 2 {everywhere}: a missing factor 1/2?"
    assert report.as_dict()["gradients"][0]["mistake"] == report.rows[0].mistake
    assert gradcheck(Cumsum).as_dict()["gradients"][0]["mistake"] is None


def test_the_shape_of_a_gradient_that_was_not_summed_is_told() -> None:
    text = str(gradcheck(SumMissing))
    assert "gradient of bottom[1] (1, 3): backward returned shape (4, 3)\n     = a missing sum over axis 0" in text
    assert "bottom[0]" not in text.splitlines()[-1]


def test_the_contract_names_the_mistake_too() -> None:
    case = next(case for _, case in contract.cases(scaled(Cumsum, 2, "Twice")))
    assert "= backward is 2 times" in str(contract.run("gradients", case))


def test_a_sum_that_is_missing_at_a_parameter() -> None:
    class NotSummed(Linear):
        def backward(self, dy: Any) -> Any:
            self.grads.bias += dy
            return dy @ self.params.weight

    failures = examine(NotSummed, Effort(), ["gradients"]).failures
    assert "ValueError in backward" in failures[0].message
    assert "= a missing sum over a broadcast axis?" in failures[0].message


class Overwrites(Linear):
    def backward(self, dy: Any) -> Any:
        self.grads.weight[...] = 0
        return super().backward(dy)


class AddsTwice(Linear):
    def backward(self, dy: Any) -> Any:
        dx = super().backward(dy)
        self.grads.bias[...] *= 1.5
        return dx


class KeepsAdding(Cumsum):
    def forward(self, x: Any) -> Any:
        self.save(total=0 * x)
        return super().forward(x)

    def backward(self, dy: Any) -> Any:
        self.saved.total[...] += super().backward(dy)
        return self.saved.total.copy()


NOT_TWICE = "two backwards must give twice the gradient; add to self.grads with +="


@pytest.mark.parametrize(
    ("cls", "words"),
    [
        (Overwrites, f"weight: {NOT_TWICE}: it is overwritten"),
        (AddsTwice, f"bias: {NOT_TWICE}"),
        (KeepsAdding, "bottom[0]: its gradient changes with every backward"),
    ],
)
def test_a_gradient_that_does_not_add_up(cls: type[Layer], words: str) -> None:
    case = next(case for _, case in contract.cases(cls))
    assert contract.run("accumulates", case) == words


def test_a_shared_gradient_that_one_user_overwrites() -> None:
    net: dict[str, Any] = {
        "inputs": {"x": {"shape": [4, 3]}},
        "net": [
            {"name": "a", "type": "Linear", "bottom": "x", "out_features": 3},
            {"name": "s", "type": "Tanh"},
            {"name": "c", "type": "Linear", "out_features": 3, "share": {"weight": "a.weight"}},
        ],
    }
    assert gradcheck(net).ok
    register(Overwrites)
    net["net"][0]["type"] = "Overwrites"  # its backward is the last, and wipes out what c has added
    said = [row.mistake for row in gradcheck(net).rows if not row.ok]
    assert said == ["a: the shared gradient is overwritten; add to it with +="]
