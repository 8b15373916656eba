"""net.load takes part of a snapshot: layers that may be missing, and layers and arrays under other names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from layerforge import ConfigError, DataError, Net


def net_of(*layers: tuple[str, int], seed: int = 0) -> Net:
    """Linear layers one on the other, by name and width."""
    listed = [{"name": name, "type": "Linear", "out_features": width} for name, width in layers]
    listed[0]["bottom"] = "x"
    return Net.from_config({"seed": seed, "inputs": {"x": {"shape": [2, 4]}}, "net": listed})


@pytest.fixture
def file(tmp_path: Path) -> Path:
    net_of(("enc/a", 4), ("enc/b", 4), ("head", 3), seed=7).save(tmp_path / "w.h5")
    return tmp_path / "w.h5"


def weight(net: Net, layer: str) -> np.ndarray:
    return np.array(net.params[layer]["weight"].data)


def test_layers_that_may_be_missing_keep_what_they_have(file: Path) -> None:
    net = net_of(("enc/a", 4), ("enc/b", 4), ("head", 5), ("more", 2))
    own, more = weight(net, "head"), weight(net, "more")
    said = net.load(file, allow_missing=["head", "mor?"])
    old = net_of(("enc/a", 4), ("enc/b", 4), ("head", 3), seed=7)
    np.testing.assert_array_equal(weight(net, "enc/a"), weight(old, "enc/a"))
    np.testing.assert_array_equal(weight(net, "head"), own)
    np.testing.assert_array_equal(weight(net, "more"), more)
    assert "params/head/weight has shape (3, 4), the net's is (5, 4)" in said and "missing params/more/weight" in said


@pytest.mark.parametrize(
    "rename",
    [
        {"enc/a": "b/1", "enc/b": "b/2", "head": "fc"},
        {"enc/a": "b/1", "enc/b.weight": "b/2.weight", "enc/b.bias": "b/2.bias", "head": "fc"},
    ],
)
def test_layers_and_arrays_may_have_other_names(file: Path, rename: dict[str, str]) -> None:
    net, old = net_of(("b/1", 4), ("b/2", 4), ("fc", 3)), net_of(("enc/a", 4), ("enc/b", 4), ("head", 3), seed=7)
    assert net.load(file, rename=rename) == []
    for mine, theirs in (("b/1", "enc/a"), ("b/2", "enc/b"), ("fc", "head")):
        np.testing.assert_array_equal(weight(net, mine), weight(old, theirs))


def test_many_layers_are_renamed_at_once_and_names_may_be_exchanged(file: Path) -> None:
    old = net_of(("enc/a", 4), ("enc/b", 4), ("head", 3), seed=7)
    net = net_of(("body/a/0", 4), ("body/b/0", 4), ("head", 3))
    net.load(file, rename={"enc/*": "body/*/0"})
    np.testing.assert_array_equal(weight(net, "body/b/0"), weight(old, "enc/b"))
    net = net_of(("enc/a", 4), ("enc/b", 4), ("head", 3))
    net.load(file, rename={"enc/a": "enc/b", "enc/b": "enc/a"})
    np.testing.assert_array_equal(weight(net, "enc/b"), weight(old, "enc/a"))


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({}, DataError, "allow_missing=['enc/c', 'enc/b']"),
        ({"rename": {"enc/z": "enc/c"}}, ConfigError, "the file has nothing that is called 'enc/z'"),
        ({"rename": {"enc/b": "enc/x"}}, ConfigError, "the net has nothing that is called 'enc/x'"),
        ({"rename": {"enc/b": "enc/a"}}, ConfigError, "'enc/a.bias' and 'enc/b.bias' of the file would both be"),
        ({"rename": {"enc/*": "enc/a"}}, ConfigError, "need one * each"),
        ({"allow_missing": ["hed"]}, ConfigError, "no layer is called 'hed'"),
        ({"allow_missing": "head"}, ConfigError, "is a list of patterns"),
    ],
)
def test_what_does_not_fit_changes_nothing(file: Path, options: dict[str, Any], error: type, words: str) -> None:
    net = net_of(("enc/a", 4), ("enc/c", 4), ("head", 3))
    before = net.arrays()
    with pytest.raises(error) as caught:
        net.load(file, **options)
    assert words in str(caught.value)
    for path, array in net.arrays().items():
        np.testing.assert_array_equal(array, before[path])
