"""The drawn digits: the same everywhere and for ever, cheap to take a part of, and worth learning."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from layerforge.data.strokes import MOST_POINTS, models
from layerforge.schema.errors import ConfigError
from layerforge.schema.registry import SOURCES


def digits(split: str, seed: int = 0) -> dict[str, np.ndarray]:
    return SOURCES.get("Digits")(split=split, seed=seed).load()


def fingerprint(arrays: dict[str, np.ndarray]) -> str:
    return hashlib.sha256(arrays["image"].tobytes() + arrays["label"].tobytes()).hexdigest()[:16]


def test_the_digits_never_change() -> None:
    assert fingerprint(digits("train[:20]")) == "9911744fab380a9a"
    assert fingerprint(digits("test[9990:]", seed=3)) == "4864b5393536bc8d"


def test_they_have_the_form_of_mnist() -> None:
    arrays = digits("train[:500]")
    assert (arrays["image"].shape, arrays["image"].dtype) == ((500, 1, 28, 28), np.uint8)
    assert set(arrays["label"].tolist()) == set(range(10))
    assert digits("test[-1:]")["label"].shape == (1,)
    with pytest.raises(ConfigError, match="Digits train has 60000 samples"):
        digits("train[:60001]")


def test_a_sample_depends_on_its_place_and_not_on_the_split() -> None:
    whole = digits("train[1990:2040]")  # over the border of a chunk
    part = digits("train[1999:2003]")
    np.testing.assert_array_equal(whole["image"][9:13], part["image"])
    np.testing.assert_array_equal(whole["label"][9:13], part["label"])


def test_seeds_and_parts_are_different_sets() -> None:
    first = digits("train[:50]")
    assert (digits("train[:50]", seed=1)["image"] != first["image"]).any()
    assert (digits("test[:50]")["image"] != first["image"]).any()
    assert len({image.tobytes() for image in first["image"]}) == 50


def test_the_ink_is_white_on_black_and_inside() -> None:
    image = digits("train[:1000]")["image"].astype(int)[:, 0]
    assert 0.08 < image.mean() / 255 < 0.25
    assert (image.max(axis=(1, 2)) > 180).mean() > 0.99
    rim = np.concatenate([image[:, 0], image[:, -1], image[:, :, 0], image[:, :, -1]], axis=1)
    assert rim.mean() < 0.15 * image.mean()


def test_every_digit_has_several_ways_and_all_fit() -> None:
    ways = models()
    assert all(sum(m.digit == digit for m in ways) >= 2 for digit in range(10))
    assert max(len(m.points) for m in ways) == MOST_POINTS
    for way in ways:
        np.testing.assert_allclose(way.dots.sum(axis=1), 1)  # weights of a mean: the curve moves with its points


def test_a_linear_model_learns_something_and_not_everything() -> None:
    """Least squares on 4000 samples: far better than chance, and far from what a deeper net reaches (98 %)."""
    train, test = digits("train[:4000]"), digits("test[:1000]")

    def features(arrays: dict[str, np.ndarray]) -> np.ndarray:
        x = arrays["image"].reshape(len(arrays["label"]), -1) / 255
        return np.concatenate([x, np.ones((len(x), 1))], axis=1)

    x = features(train)
    weights = np.linalg.solve(x.T @ x + 10 * np.eye(785), x.T @ np.eye(10)[train["label"]])
    accuracy = np.mean((features(test) @ weights).argmax(axis=1) == test["label"])
    assert 0.6 < accuracy < 0.9
