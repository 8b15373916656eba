"""The `data:` section: what it accepts, what it says about mistakes, and the Specs that it promises."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from layerforge.arrays.spec import Spec
from layerforge.config import load_yaml
from layerforge.config.data_section import Augment, DataSection, Feed, Transform
from layerforge.data import Source
from layerforge.schema.errors import ConfigError, LayerForgeError, flatten
from layerforge.schema.params import param
from layerforge.schema.registry import SOURCES
from layerforge.schema.user_modules import import_file

ROOT = Path(__file__).parents[2]


def section(**values: object) -> DataSection:
    return DataSection.from_config(values)


def messages(**values: object) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        section(**values)
    assert caught.value.exit_code == 2
    return [str(error) for error in flatten(caught.value)]


def test_keys_of_feed_and_source_stand_in_one_mapping() -> None:
    data = section(
        train={"type": "MNIST", "split": "train[:55000]", "batch_size": 32, "augment": {"shift": 2, "random_crop": 4}},
        val={"type": "MNIST", "split": "train[55000:]"},
    )
    assert (data.train.batch_size, data.train.shuffle, data.train.source.split) == (32, True, "train[:55000]")
    assert (data.val.batch_size, data.val.shuffle, data.val.drop_last) == (64, False, False)
    assert data.train.augment.random_crop.padding == (4, 4)
    assert list(data.feeds()) == ["train", "val"]


def test_config_is_complete_and_can_be_read_back() -> None:
    data = section(
        train={"type": "Pairs", "source": "MNIST", "split": "train[:100]", "augment": {"random_crop": {"size": 24}}},
        test={"type": "Pairs", "source": {"type": "MNIST", "split": "test"}},
        fallback={"type": "Pairs", "source": "Digits"},
        transform={"mean": "channel", "std": [0.5]},
    )
    again = DataSection.from_config(data.config)
    assert again.config == data.config
    assert data.config["train"]["batch_size"] == 64
    assert data.config["train"]["source"]["split"] == "train[:100]"
    assert "split" not in data.config["fallback"]


def test_a_bare_type_name_is_a_feed() -> None:
    data = section(train="Digits", fallback="Digits")
    assert data.train.source.split == "train"


def test_specs_have_the_batch_axis_and_touch_no_files() -> None:
    data = section(train={"type": "MNIST", "batch_size": 7}, val={"type": "CIFAR10", "split": "test", "batch_size": 3})
    specs = data.specs("train")
    assert specs["image"] == Spec((7, 1, 28, 28))
    assert (specs["label"].shape, specs["label"].role, specs["label"].dtype) == ((7,), "index", "int64")
    assert (specs["label"].low, specs["label"].high) == (0, 10)
    assert data.specs("val")["image"].shape == (3, 3, 32, 32)


def test_crop_size_changes_the_shape_in_every_section() -> None:
    crop = {"random_crop": {"size": [24, 20], "padding": 2}}
    data = section(train={"type": "MNIST", "augment": crop}, val={"type": "MNIST", "split": "test"})
    assert data.specs("train")["image"].shape == (64, 1, 24, 20)
    assert data.specs("val")["image"].shape == (64, 1, 24, 20)


def test_all_mistakes_at_once_with_places(tmp_path: Path) -> None:
    path = tmp_path / "net.yaml"
    path.write_text(
        "data:\n"
        "  train: {type: MNIST, spilt: train, batchsize: 3, shuffle: maybe}\n"
        "  val: {type: MNIST, augment: {flip: horizontal}}\n"
        "  test: {type: Mnist}\n"
        "  transform: {mean: chanel}\n"
        "  falback: {type: Digits}\n"
    )
    with pytest.raises(LayerForgeError) as caught:
        DataSection.from_config(load_yaml(str(path))[0]["data"])
    found = {(e.place.line, e.place.column): (e.message, e.hint) for e in flatten(caught.value)}
    assert found[2, 24] == ("data.train (MNIST): unknown key 'spilt'", "did you mean 'split'?")
    assert found[2, 38] == ("data.train (MNIST): unknown key 'batchsize'", "did you mean 'batch_size'?")
    assert "shuffle must be true or false" in found[2, 61][0]
    assert "augment is for train only" in found[3, 22][0]
    assert found[4, 16] == ("unknown data source type 'Mnist'", "did you mean 'MNIST'?")
    assert found[5, 21] == ("transform: there is no statistic 'chanel'", "did you mean 'channel'?")
    assert "did you mean 'fallback'" in found[6, 3][1]
    assert len(found) == 7


@pytest.mark.parametrize(
    ("train", "words"),
    [
        ({}, "needs a type"),
        (3, "must be a mapping"),
        ({"type": "MNIST", "batch_size": 0}, "batch_size must be >= 1"),
        ({"type": "MNIST", "split": "trian[:3]"}, "did you mean 'train'?"),
        ({"type": "MNIST", "split": "train[3"}, "split 'train[3' is not understood"),
        ({"type": "MNIST", "split": 3}, "split must be a split such as"),
        ({"type": "MNIST", "split": "all"}, "parts: train, test"),
        ({"type": "MNIST", "transform": {}}, "stands in data:, beside train"),
        ({"type": "MNIST", "augment": {"random_crop": 0}}, "changes nothing"),
        ({"type": "MNIST", "augment": {"flip": "both"}}, "one of horizontal, vertical"),
        ({"type": "MNIST", "augment": {"shift": -1}}, "shift must be >= 0"),
        ({"type": "CSV"}, "path is required"),
        ({"type": "Pairs", "source": {"type": "Digits", "sed": 1}}, "did you mean 'seed'?"),
    ],
)
def test_each_mistake_in_a_feed_is_explained(train: object, words: str) -> None:
    assert words in "\n".join(messages(train=train))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({}, "train is required"),
        ({"train": "Digits", "fallback": {"type": "Digits", "split": "test"}}, "takes the splits"),
        ({"train": "Digits", "transform": {"std": 0}}, "std must be > 0"),
        ({"train": "Digits", "transform": {"scale": 0}}, "scale must not be 0"),
        ({"train": "Digits", "transform": 255}, "transform must be a mapping"),
        ({"train": "Digits", "valid": "Digits"}, "did you mean 'val'?"),
    ],
)
def test_each_mistake_in_the_section_is_explained(values: dict[str, object], words: str) -> None:
    assert words in "\n".join(messages(**values))


def test_a_missing_section_names_those_that_exist() -> None:
    with pytest.raises(ConfigError, match="no 'val' section") as caught:
        section(train="Digits").specs("val")
    assert "train" in caught.value.hint


def test_a_fallback_of_another_form_is_refused_before_it_is_needed() -> None:
    data = section(train="CIFAR10", fallback="Digits")
    with pytest.raises(ConfigError, match="Digits cannot stand in for CIFAR10 in train"):
        data.specs("train")


def test_fallback_takes_each_split_and_keeps_the_rest() -> None:
    data = section(
        train={"type": "MNIST", "split": "train[:100]", "batch_size": 5},
        test={"type": "MNIST", "split": "test[-3:]"},
        fallback={"type": "Digits", "seed": 4},
    ).with_fallback()
    assert type(data.train.source).__name__ == "Digits"
    assert (data.train.source.split, data.train.source.seed, data.train.batch_size) == ("train[:100]", 4, 5)
    assert (data.test.source.split, data.test.shuffle) == ("test[-3:]", False)
    assert data.fallback is None


def test_a_source_cannot_take_a_key_of_the_feed() -> None:
    with pytest.raises(ConfigError, match="'batch_size' is a key of every feed"):

        class Greedy(Source):
            batch_size: int = param(3, help="mine")


def test_a_source_of_ones_own_is_one_class() -> None:
    """The one that docs/data.md explains."""
    module = import_file(ROOT / "docs" / "examples" / "moons.py")
    try:
        data = section(train={"type": "Moons", "samples": 100, "split": "all[:80%]", "batch_size": 10})
        assert data.specs("train")["x"].shape == (10, 2)
        assert data.train.source.load()["x"].shape == (80, 2)
    finally:
        SOURCES.remove("Moons")
        del sys.modules[module.__name__]


def test_sections_can_be_built_in_python() -> None:
    source = SOURCES.get("Digits")(split="test[:50]")
    data = DataSection(
        train=Feed(source=source, batch_size=5, augment=Augment(shift=1)), transform=Transform(scale=1.0)
    )
    assert data.train.source is source
    assert data.train.shuffle is True
    assert data.specs("train")["image"].shape == (5, 1, 28, 28)
