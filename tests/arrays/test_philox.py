"""The random numbers: the published generator, and a number that depends on nothing but its key."""

from __future__ import annotations

import numpy as np
import pytest

from layerforge.arrays import philox
from layerforge.arrays.backend import Backend


@pytest.mark.parametrize(
    ("word", "key", "answer"),
    [  # the known-answer tests of the Random123 distribution
        (0, (0, 0), ["6627e8d5", "e169c58d", "bc57ac4c", "9b00dbd8"]),
        (0xFFFFFFFF, (0xFFFFFFFF, 0xFFFFFFFF), ["408f276d", "41c83b0e", "a20bc7c6", "6d5451fd"]),
    ],
)
def test_known_answers(word: int, key: tuple[int, int], answer: list[str]) -> None:
    counter = [np.full(1, word, np.uint64) for _ in range(4)]
    assert [f"{int(w[0]):08x}" for w in philox.philox4x32(np, counter, key)] == answer


@pytest.mark.parametrize("shape", [(6, 7), (2, 4000), (9000, 1)])
def test_numbers_are_those_of_their_counters(shape: tuple[int, ...]) -> None:
    """Sample 5, element 6: word 2 of block 1. What is computed once for all, or piece by piece, is the same."""
    key, iteration = (11, 12), 3 + 4 * 2**32
    out, memory = np.empty(shape, np.float32), [np.empty(*about) for about in philox.workplace(shape)]
    for _ in range(2):
        philox.uniform(np, key, shape, iteration=iteration, first_sample=20, out=out, memory=memory)
    sample, element = (i.reshape(-1) for i in np.indices(shape, np.uint64))
    halves = (np.full_like(sample, half) for half in (3, 4))
    words = np.array(philox.philox4x32(np, [element // 4, 20 + sample, *halves], key))
    want = words[element % 4, np.arange(len(sample))] >> 8
    np.testing.assert_array_equal(out.reshape(-1) * 2.0**24, want)


def test_uniform_is_uniform() -> None:
    u = philox.uniform(np, philox.stream_key(0, "layer"), (100, 1000))
    assert u.dtype == np.float32
    assert u.min() >= 0
    assert u.max() < 1
    assert u.mean() == pytest.approx(0.5, abs=3e-3)
    assert u.var() == pytest.approx(1 / 12, rel=1e-2)
    assert abs(np.corrcoef(u[0], u[1])[0, 1]) < 0.1


def test_a_number_depends_on_seed_stream_draw_iteration_sample_and_element_only() -> None:
    key = philox.stream_key(3, "drop", 1)
    whole = philox.uniform(np, key, (70_000, 3), iteration=5)
    later = philox.uniform(np, key, (10, 3), iteration=5, first_sample=60_000)
    np.testing.assert_array_equal(later, whole[60_000:60_010])
    for other in (
        philox.uniform(np, philox.stream_key(4, "drop", 1), (10, 3), iteration=5),
        philox.uniform(np, philox.stream_key(3, "drop2", 1), (10, 3), iteration=5),
        philox.uniform(np, philox.stream_key(3, "drop", 2), (10, 3), iteration=5),
        philox.uniform(np, key, (10, 3), iteration=6),
        philox.uniform(np, key, (10, 3), iteration=5 + 2**32),
        philox.uniform(np, key, (10, 3), iteration=5, first_sample=1),
    ):
        assert not (other == whole[:10]).any()


@pytest.mark.parametrize("shape", [(), (5,), (0, 3), (3, 0), (2, 3, 5)])
def test_any_shape(shape: tuple[int, ...]) -> None:
    assert philox.uniform(np, (1, 2), shape).shape == shape


def test_the_device_draws_the_same_bits(device_backend: Backend) -> None:
    here = philox.uniform(np, (1, 2), (7, 11), iteration=9)
    there = philox.uniform(device_backend.xp, (1, 2), (7, 11), iteration=9)
    np.testing.assert_array_equal(here, device_backend.to_host(there))
