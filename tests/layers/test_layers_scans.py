"""Running sums and products by value."""

from __future__ import annotations

from numpy.testing import assert_array_equal
from support.alone import Alone


def test_running_sums_by_hand() -> None:
    scan = Alone("Cumsum", [[1.0, 2.0, 3.0]], dim=1)
    assert_array_equal(scan.top(), [[1, 3, 6]])
    assert_array_equal(scan.vjp([[1.0, 10.0, 100.0]])["bottom[0]"], [[111, 110, 100]])


def test_running_products_and_their_gradient_at_zeros() -> None:
    """y = (a, ab, abc, abcd) at b = 0: dx = (dy₁, a dy₂ + ac dy₃ + acd dy₄, 0, 0)."""
    scan = Alone("Cumprod", [2.0, 0.0, 3.0, 5.0], dim=0)
    assert_array_equal(scan.top(), [2, 0, 0, 0])
    assert_array_equal(scan.vjp([1.0, 10.0, 100.0, 1000.0])["bottom[0]"], [1, 20 + 600 + 30000, 0, 0])
    twice = Alone("Cumprod", [2.0, 0.0, 0.0, 5.0], dim=0)
    assert_array_equal(twice.vjp([1.0, 10.0, 100.0, 1000.0])["bottom[0]"], [1, 20, 0, 0])


def test_along_the_batch() -> None:
    assert_array_equal(Alone("Cumprod", [[1.0, 2.0], [3.0, 4.0]], dim=0).top(), [[1, 2], [3, 8]])
