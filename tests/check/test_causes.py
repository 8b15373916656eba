"""What a report says when one fault shows in many places: its cause once, and the rest in a line."""

from __future__ import annotations

from typing import Any

import pytest

from layerforge.arrays.backend import NUMPY
from layerforge.arrays.spec import Spec, index
from layerforge.check.contract import CHECKS, cases, run
from layerforge.check.examine import examine
from layerforge.check.gradcheck import gradcheck
from layerforge.check.gradients import Effort
from layerforge.check.report import Failure, Report, listed
from layerforge.contract.layer import Example, Layer
from layerforge.schema.registry import LAYERS

ON_NUMPY = f"backend {NUMPY.describe()}"


class Affine(Layer):
    """A healthy x weight + bias."""

    backward_reads = ("bottom",)
    examples = [Example({}, [Spec((4, 3))]), Example({}, [Spec((2, 3))])]

    def setup(self, x: Spec) -> Spec:
        self.add_param("weight", x.shape[1:], 1.0)
        return x

    def forward(self, x: Any) -> Any:
        self.save(x=x)
        return x * self.params.weight

    def backward(self, dy: Any) -> Any:
        self.grads.weight += (dy * self.saved.x).sum(axis=0)
        return dy * self.params.weight


class Replaces(Affine):
    def backward(self, dy: Any) -> Any:
        self.grads.weight = (dy * self.saved.x).sum(axis=0)
        return dy * self.params.weight


class Negated(Affine):
    def backward(self, dy: Any) -> Any:
        return -super().backward(dy)


class SavesItsTop(Layer):
    examples = [Example({}, [Spec((4, 3))])]

    def setup(self, x: Spec) -> Spec:
        return x

    def forward(self, x: Any) -> Any:
        y = self.xp.tanh(x)
        self.save(y=y)
        return y

    def backward(self, dy: Any) -> Any:
        return dy * (1 - self.saved.y * self.saved.y)


class ReadsTwo(Layer):
    bottoms, tops = 3, 2
    examples = [Example({}, [Spec((4, 3)), Spec((4, 3)), index((4,), 4)], tops=2)]

    def setup(self, a: Spec, b: Spec, i: Spec) -> tuple[Spec, ...]:
        return a, a

    def forward(self, a: Any, b: Any, i: Any) -> Any:
        y = a * b
        self.save(a=a.copy(), b=b, i=i, y=y)
        return a + 1, y[i]

    def backward(self, da: Any, dy: Any) -> Any:
        moved = self.xp.zeros_like(dy)
        self.xp.add.at(moved, self.saved.i, dy)
        return da + moved * self.saved.b, moved * self.saved.a, None


def text_of(layer: type[Layer], **options: Any) -> str:
    return examine(layer, Effort(), CHECKS).text(**options)


def test_a_gradient_that_is_replaced_is_told_of_once() -> None:
    text = text_of(Replaces)
    assert text.count("the gradient 'weight' was replaced") == 1
    assert text.count("= add with += (self.grads.weight += ...)") == 1
    assert "and so in " in text
    assert "more places: " in text
    first, *rest = text.splitlines()
    assert first == f"{ON_NUMPY}: 1 layer on {len(Replaces.examples)} examples"
    assert len(rest) <= 5
    assert text_of(Replaces, verbose=True).count("the gradient 'weight' was replaced") > 20


def test_what_the_machine_reads_is_all_of_it() -> None:
    found = examine(Replaces, Effort(), CHECKS).as_dict()["failures"]
    assert len({(f["layer"], f["check"]) for f in found}) > 20


def test_the_same_mistake_in_other_examples_is_a_line_and_what_follows_another() -> None:
    text = text_of(Negated)
    assert text.count("a wrong sign?") == 1
    assert "and so in 1 more place: example 1" in text
    assert "because of the gradients of Negated: eval_gradients of Negated-0, eval_gradients of Negated-1" in text


def test_different_faults_are_told_of_each() -> None:
    report = Report(failures=[Failure("A-0", "x", "one"), Failure("A-1", "y", "other"), Failure("B-0", "x", "one")])
    assert report.text().splitlines()[:3] == ["A-0: x: one", "A-1: y: other", "B-0: x: one"]


def test_shapes_and_numbers_do_not_make_another_fault() -> None:
    report = Report(failures=[Failure("A-0", "x", "is (2, 3)"), Failure("A-1", "x", "is (4,)")])
    assert report.text().splitlines()[:2] == ["A-0: x: is (2, 3)", "     and so in 1 more place: x of A-1"]


def test_names_in_a_line() -> None:
    assert listed(["a", "b", "a"]) == "a, b"
    assert listed("abcdef") == "a, b, c, d and 2 more"


@pytest.fixture
def wrong_net() -> Any:
    LAYERS.add(Negated)
    try:
        deep = [{"name": f"fc{i}", "type": "Linear", "out_features": 4} for i in range(5)]
        yield {
            "inputs": {"x": {"shape": [4, 3]}, "t": {"shape": [4], "dtype": "int64"}},
            "net": [
                {**deep[0], "bottom": "x"}, *deep[1:], {"name": "bad", "type": "Negated"},
                {"name": "loss", "type": "SoftmaxCrossEntropy", "bottom": ["bad", "t"]},
            ],
        }  # fmt: skip
    finally:
        LAYERS.remove("Negated")


def test_in_a_net_what_follows_from_a_wrong_layer_is_a_line(wrong_net: Any) -> None:
    report = gradcheck(wrong_net)
    lines = report.text().splitlines()
    assert sum("FAIL" in line for line in lines) == 1
    assert lines[-2] == (
        "because of bad: 10 gradients of fc0 (Linear), fc1 (Linear), fc2 (Linear), fc3 (Linear) and 1 more"
    )
    assert sum("FAIL" in line for line in report.text(verbose=True).splitlines()) == 11


def test_a_top_that_backward_reads_is_named() -> None:
    [(_, case)] = cases(SavesItsTop)
    words = run("backward_reads", case)
    assert words is not None
    assert "backward reads top[0], which backward_reads=() does not name" in words
    assert '= backward_reads = ("top",), or save a copy of it' in words


def test_every_array_that_backward_reads_is_named() -> None:
    [(_, case)] = cases(ReadsTwo)
    words = run("backward_reads", case)
    assert words is not None
    assert "backward reads bottom[1], bottom[2], which" in words


# What does not apply ----------------------------------------------------------------------------------------------


def test_checks_that_do_not_apply_are_told_of_and_not_counted() -> None:
    report = examine(Affine, Effort(), ["jvp", "in_place", "views"])
    assert report.checks == 2  # views, on two examples
    assert report.text().splitlines() == [
        f"{ON_NUMPY}: 1 layer on 2 examples",
        "not applicable: in_place on 2 examples, jvp on 2 examples (--verbose says why)",
        "1 layer, 2 checks: all pass",
    ]
    told = report.text(verbose=True).splitlines()
    assert "not applicable: in_place on 2 examples: it does not say inplace" in told
    assert "not applicable: jvp on 2 examples: it has no jvp of its own" in told
    first = report.as_dict()["inapplicable"][0]
    assert first == {"layer": "Affine-0", "check": "in_place", "reason": "it does not say inplace"}


def test_a_layer_of_which_nothing_asked_can_be_proved() -> None:
    report = examine(Affine, Effort(), ["jvp"])
    assert not report.is_empty
    assert report.text().splitlines() == [
        f"{ON_NUMPY}: 1 layer on 2 examples",
        "not applicable: jvp on 2 examples: it has no jvp of its own",
        "1 layer: nothing to prove",
    ]
