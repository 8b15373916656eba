"""Declared hyper-parameters: one line gives check, default, error and documentation."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from layerforge.contract.fillers import Filler
from layerforge.contract.layer import Layer
from layerforge.schema.errors import ConfigError
from layerforge.schema.params import (
    Declared,
    FilePath,
    FloatPair,
    Pair,
    PerAxis,
    Single,
    Triple,
    describe_type,
    param,
)
from layerforge.schema.registry import LAYERS, Registry, register


class Sample(Declared):
    """Something with one parameter of each kind."""

    n: int = param(help="a count", ge=1)
    ratio: float = param(0.5, help="a share", ge=0, lt=1)
    flag: bool = param(True, help="a switch")
    mode: str = param("a", help="a choice", choices=("a", "b"))
    size: Pair = param(1, help="a size", ge=1)
    dim: int | list[int] | None = param(None, help="dimensions")
    rates: dict[str, float] = param({}, help="rates by name", ge=0)
    filler: Filler = param("msra", help="start values")
    path: FilePath | None = param(None, help="a file")


def test_defaults_and_conversions() -> None:
    s = Sample(n=2, size=[3, 4], dim=[0, -1], ratio=0, rates={"a": 1})
    assert (s.n, s.size, s.dim, s.ratio, s.rates) == (2, (3, 4), [0, -1], 0.0, {"a": 1.0})
    assert Sample(n=1).size == (1, 1)
    assert Sample(n=1).filler.type_name == "msra"
    assert Sample(n=2).config["filler"] == {"type": "msra", "mode": "fan_in", "negative_slope": 0.0}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "n is required (a count)"),
        ({"n": 0}, "n must be >= 1, got 0"),
        ({"n": 1.5}, "n must be an integer >= 1, got 1.5"),
        ({"n": True}, "n must be an integer >= 1, got true"),
        ({"n": "3"}, "n must be an integer >= 1, got '3'"),
        ({"n": None}, "got null"),
        ({"n": 1, "ratio": 1}, "ratio must be < 1, got 1"),
        ({"n": 1, "flag": 1}, "flag must be true or false, got 1"),
        ({"n": 1, "mode": "c"}, "mode must be one of a, b, got 'c'"),
        ({"n": 1, "size": [1, 2, 3]}, "size must be an integer or a pair [height, width]"),
        ({"n": 1, "size": [1, 0]}, "size must be >= 1"),
        ({"n": 1, "dim": "x"}, "dim must be an integer or a list of integers or null"),
        ({"n": 1, "rates": {"a": -1}}, "rates must be >= 0"),
        ({"n": 1, "filler": "nothing"}, "unknown filler type 'nothing'"),
        ({"n": 1, "ratoi": 0.5}, "did you mean 'ratio'?"),
    ],
)
def test_errors(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Sample(**values)
    assert message in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (list[list[float]], "a list of lists of numbers"),
        (list[bool], "a list of booleans"),
        (dict[str, list[int]], "a mapping of names to lists of integers"),
        (tuple[int, int], "a list of 2 integers"),
        (list[int | str], "a list of integers or strings"),
    ],
)
def test_lists_of_anything_are_told_in_the_plural(kind: Any, words: str) -> None:
    assert describe_type(kind) == words


def test_all_errors_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        Sample(n=0, ratio=2, unknown=1)
    text = str(caught.value)
    assert all(part in text for part in ("n must be", "ratio must be", "'unknown'"))


def test_a_parameter_needs_an_annotation() -> None:
    with pytest.raises(TypeError, match="needs a type annotation"):

        class Bare(Declared):
            width = param(1, help="no type")


def test_a_layer_cannot_take_the_frameworks_words() -> None:
    for word in ("name", "bottom", "run", "xp"):
        body = {"__annotations__": {word: int}, word: param(1, help="taken"), "__module__": __name__}
        with pytest.raises(ConfigError, match="is a key of the framework"):
            register(type("Greedy", (Layer,), body))


def test_a_name_is_registered_once_and_examples_are_expected() -> None:
    class Lonely(Layer):
        """A layer without examples."""

    with pytest.warns(UserWarning, match="Lonely has no examples"):
        register(Lonely)
    other = type("Lonely", (Layer,), {"__module__": "elsewhere", "examples": [1]})
    try:
        with pytest.raises(ConfigError, match="registered twice"):
            register(other)
    finally:
        LAYERS.remove("Lonely")


class AnyAxes(Declared):
    """A base that leaves open how many axes there are."""

    size: PerAxis = param(help="a size", ge=1)
    step: PerAxis | None = param(None, help="a step", ge=1)
    count: int = param(2, help="a count")


@pytest.mark.parametrize(
    ("axes", "values", "message"),
    [
        (Single, (4,), "size must be an integer or a list [length] >= 1"),
        (Pair, (4, 3), "size must be an integer or a pair [height, width] >= 1"),
        (Triple, (4, 3, 2), "size must be an integer or a triple [depth, height, width] >= 1"),
    ],
)
def test_a_subclass_chooses_the_number_of_axes(axes: Any, values: tuple[int, ...], message: str) -> None:
    class Chosen(AnyAxes, axes=axes):
        pass

    assert Chosen(size=list(values)).size == values
    assert Chosen(size=5).size == (5,) * len(values)
    assert Chosen(size=5, step=2).step == (2,) * len(values)
    assert (Chosen(size=5).step, Chosen(size=5).count) == (None, 2)
    for wrong in ([*values, 1], [1.5] * len(values), "a"):
        with pytest.raises(ConfigError, match=re.escape(message)):
            Chosen(size=wrong)


def test_a_pair_of_numbers_that_need_not_be_whole() -> None:
    class Scaled(Declared):
        scale: FloatPair = param(help="a scale", gt=0)

    assert Scaled(scale=[1, 2.5]).scale == (1.0, 2.5)
    assert Scaled(scale=0.5).scale == (0.5, 0.5)
    with pytest.raises(ConfigError, match="a number or a pair"):
        Scaled(scale=[1, 2, 3])


TAKEN = """
from layerforge.schema.errors import ConfigError
from layerforge.schema.registry import LAYERS
from layerforge.contract.layer import Layer

class BatchNorm(Layer):
    examples = [1]

try:
    LAYERS.add(BatchNorm)
except ConfigError as error:
    print(error)
print(len(LAYERS.names()), LAYERS.get("BatchNorm").__module__)
"""


def test_a_users_type_with_a_taken_name_is_refused_and_costs_no_other_type() -> None:
    done = subprocess.run([sys.executable, "-c", TAKEN], capture_output=True, text=True, check=True)
    told, found = done.stdout.strip().rsplit("\n", 1)
    assert "layer type BatchNorm is registered twice: in layerforge.layers" in told and "and in __main__" in told
    count = len([name for name in LAYERS.names() if LAYERS.get(name).__module__.startswith("layerforge.")])
    assert found == f"{count} layerforge.layers.norms.batch_norm"


def test_a_look_up_that_failed_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "half_written.py").write_text("1/0\n")
    monkeypatch.syspath_prepend(tmp_path)
    known = Registry("thing", "half_written")
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            known.names()
