"""Metrics by values worked out by hand. What they share with the losses over labels is in test_losses.py."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from support.alone import Alone

from layerforge.schema.errors import LayerForgeError

# Accuracy -------------------------------------------------------------------------------------------------------------


def test_accuracy_counts_the_best_class() -> None:
    x = [[0.1, 0.9], [0.8, 0.2], [0.3, 0.7], [0.6, 0.4]]
    assert Alone("Accuracy", x, [1, 0, 0, 0]).top() == 0.75


def test_accuracy_top_k() -> None:
    x = np.tile([5.0, 4.0, 3.0, 2.0, 1.0], (5, 1))
    for k in range(1, 6):
        assert Alone("Accuracy", x, np.arange(5), top_k=k).top() == k / 5


def test_accuracy_calls_a_tie_wrong() -> None:
    assert Alone("Accuracy", np.zeros((4, 10)), [0, 1, 2, 3]).top() == 0
    assert Alone("Accuracy", [[2.0, 2.0, 1.0]], [0], top_k=1).top() == 0
    assert Alone("Accuracy", [[2.0, 2.0, 1.0]], [0], top_k=2).top() == 1


def test_accuracy_of_a_net_that_has_diverged_is_zero() -> None:
    assert Alone("Accuracy", np.full((3, 4), np.nan), [0, 1, 2]).top() == 0


def test_accuracy_ignores() -> None:
    x, labels = np.eye(4), np.array([0, 0, 2, 0])
    assert Alone("Accuracy", x, labels).top() == 0.5
    assert Alone("Accuracy", x, labels, ignore_index=0).top() == 1.0


def test_accuracy_of_each_class_is_caffes_second_top() -> None:
    """Class 0 is right in one of two, class 1 always, class 2 never, class 3 does not occur: 0."""
    x = np.eye(4)[[0, 1, 1, 0]]
    accuracy = Alone("Accuracy", x, [0, 0, 1, 2], tops=2)
    overall, each = accuracy.forward()
    assert overall == 0.5
    assert_array_equal(each, [0.5, 1, 0, 0])


def test_ties_and_ignored_positions_count_in_a_class_as_they_do_overall() -> None:
    x = [[1.0, 1.0, 0.0], [0.0, 2.0, 1.0], [9.0, 0.0, 0.0]]
    overall, each = Alone("Accuracy", x, [0, 1, 2], ignore_index=2, tops=2).forward()
    assert overall == 0.5  # the first is a tie, which is wrong; the third does not count
    assert_array_equal(each, [0, 1, 0])
    _, of_two = Alone("Accuracy", x, [0, 1, 2], top_k=2, tops=2).forward()
    assert_array_equal(of_two, [1, 1, 0])  # of the tied zeros in the third neither is among the best two


# ConfusionMatrix ------------------------------------------------------------------------------------------------------


def test_confusion_matrix_has_a_row_for_each_label() -> None:
    predictions, labels = [0, 1, 1, 2, 2, 2], [0, 0, 1, 0, 2, 2]
    wanted = [[1, 1, 1, 0], [0, 1, 0, 0], [0, 0, 2, 0], [0, 0, 0, 0]]
    assert_array_equal(Alone("ConfusionMatrix", predictions, labels, num_classes=4).top(), wanted)
    scores = np.eye(4)[predictions]
    assert_array_equal(Alone("ConfusionMatrix", scores, labels, num_classes=4).top(), wanted)


def test_confusion_matrix_ignores() -> None:
    """Neither the label nor the prediction at an ignored position matters."""
    matrix = Alone("ConfusionMatrix", [0, 1, 99, 0], [1, 1, -1, 0], num_classes=2, ignore_index=-1)
    assert_array_equal(matrix.top(), [[1, 0], [1, 1]])


def test_confusion_matrix_of_an_image() -> None:
    rng = np.random.default_rng(0)
    x, labels = rng.normal(size=(2, 3, 4, 5)), rng.integers(0, 3, (2, 4, 5))
    matrix = Alone("ConfusionMatrix", x, labels, num_classes=3).top()
    assert matrix.sum() == 40
    assert_array_equal(matrix.sum(axis=1), np.bincount(labels.ravel()))
    assert_allclose(matrix.trace() / 40, Alone("Accuracy", x, labels).top())


def test_confusion_matrix_names_a_prediction_that_is_no_class() -> None:
    with pytest.raises(LayerForgeError, match="index 2 at position 1 is out of range for 2 classes") as caught:
        Alone("ConfusionMatrix", [0, 2], [0, 1], num_classes=2).forward()
    assert caught.value.exit_code == 3
