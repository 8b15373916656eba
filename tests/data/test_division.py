"""`data.split`: one source divided into train, val and test, by shares, by classes and by groups."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from layerforge.config.document import Config
from layerforge.config.yaml_dump import dump_yaml
from layerforge.data.arrays import Arrays
from layerforge.data.division import by_groups, by_shares, largest_remainders
from layerforge.schema.errors import ConfigError, LayerForgeError

COUNT = 240
RNG = np.random.default_rng(5)
LABEL = np.repeat([0, 1, 2], [200, 30, 10])[RNG.permutation(COUNT)]
PATIENT = RNG.integers(0, 40, COUNT)
NUMBER = np.arange(COUNT)
ARRAYS = {"x": RNG.normal(size=(COUNT, 2)), "label": LABEL, "patient": PATIENT, "number": NUMBER}
NET = [
    {"name": "fc", "type": "Linear", "bottom": "x", "out_features": 3},
    {"name": "loss", "type": "SoftmaxCrossEntropy", "bottom": ["fc", "label"]},
]


def config(split: Any, **data: Any) -> Config:
    return Config.from_dict(
        {"data": {"train": {"type": "Arrays", "arrays": ARRAYS}, "split": split, **data}, "net": NET}
    )


def parts(**split: Any) -> dict[str, np.ndarray]:
    """The numbers of the samples of each section."""
    made = config(split)
    made.raise_errors()
    loaded = {name: feed.source.load() for name, feed in made.data.feeds().items()}
    assert all((one["label"] == LABEL[one["number"]]).all() for one in loaded.values())
    return {name: one["number"] for name, one in loaded.items()}


def refusal(split: Any, **data: Any) -> str:
    with pytest.raises(LayerForgeError) as caught:
        made = config(split, **data)
        made.raise_errors()
        made.data.train.source.load()
    return f"{caught.value.message} {caught.value.hint}"


@pytest.mark.parametrize(
    "more", [{}, {"stratify": "label"}, {"shuffle": False}, {"stratify": "label", "shuffle": False}]
)
@pytest.mark.parametrize("sizes", [{"val": 0.2, "test": 0.1}, {"val": 31}, {"test": 0.001}])
def test_every_sample_is_in_one_part_and_parts_have_the_asked_sizes(sizes: Any, more: Any) -> None:
    found = parts(**sizes, **more)
    assert sorted(np.concatenate(list(found.values()))) == list(range(COUNT))
    wanted = {n: s if isinstance(s, int) else max(1, round(s * COUNT)) for n, s in sizes.items()}
    assert {name: len(found[name]) for name in wanted} == wanted


def test_stratified_parts_have_the_shares_of_the_classes() -> None:
    found = parts(val=0.2, test=0.1, stratify="label")
    counts = {name: np.bincount(LABEL[numbers], minlength=3).tolist() for name, numbers in found.items()}
    assert counts == {"train": [140, 21, 7], "val": [40, 6, 2], "test": [20, 3, 1]}


def test_the_seed_decides_and_nothing_else() -> None:
    one, again, other = (parts(val=0.3, seed=seed)["val"].tolist() for seed in (0, 0, 1))
    assert one == again != other
    assert parts(val=3)["val"].tolist() == [62, 205, 209]  # written down: the same samples on every machine


def test_without_shuffle_the_parts_stand_as_the_samples_do() -> None:
    found = parts(val=0.2, test=0.1, shuffle=False)
    assert [found[name][0] for name in ("train", "val", "test")] == [0, 168, 216]
    assert all((np.diff(numbers) == 1).all() for numbers in found.values())


@pytest.mark.parametrize("more", [{}, {"stratify": "label"}, {"shuffle": False}])
def test_groups_stay_together(more: Any) -> None:
    found = parts(val=0.2, test=0.1, group="patient", **more)
    seen = [set(PATIENT[numbers]) for numbers in found.values()]
    assert sum(map(len, seen)) == len(set(PATIENT))
    assert abs(len(found["val"]) - 48) < 8 and abs(len(found["test"]) - 24) < 8


def test_groups_and_classes_together_keep_the_shares_nearly() -> None:
    found = parts(folds=4, group="patient", stratify="label")
    share = np.bincount(LABEL[found["val"]], minlength=3) / np.bincount(LABEL)
    assert len(set(PATIENT[found["val"]]) & set(PATIENT[found["train"]])) == 0
    assert (abs(share - 0.25) < 0.12).all()


def test_each_sample_is_val_in_one_fold() -> None:
    folds = [parts(folds=5, fold=i, test=0.1, stratify="label") for i in range(5)]
    assert len({tuple(fold["test"]) for fold in folds}) == 1
    kept = np.concatenate([folds[0]["test"], *(fold["val"] for fold in folds)])
    assert sorted(kept) == list(range(COUNT))
    counts = np.array([np.bincount(LABEL[fold["val"]], minlength=3) for fold in folds])
    assert (np.ptp(counts, axis=0) <= 1).all() and np.ptp([len(fold["val"]) for fold in folds]) <= 1
    assert all(set(fold["val"]).isdisjoint(fold["train"]) for fold in folds)


def test_a_slice_is_divided_within_itself() -> None:
    made = Config.from_dict(
        {
            "data": {"train": {"type": "Arrays", "arrays": ARRAYS, "split": "all[40:140]"}, "split": {"val": 0.2}},
            "net": NET,
        }
    )
    made.raise_errors()
    train, val = (made.data.feed(name).source for name in ("train", "val"))
    numbers = np.concatenate([train.load()["number"], val.load()["number"]])
    assert sorted(numbers) == list(range(40, 140)) and (train.count_samples(), val.count_samples()) == (80, 20)
    assert (train.rows(COUNT) == train.load()["number"]).all()  # what fitting looks at


def test_the_resolved_configuration_divides_alike(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", **ARRAYS)
    text = {
        "data": {
            "train": {"type": "NPZ", "path": str(tmp_path / "a.npz")},
            "split": {"val": 0.25, "stratify": "label"},
        },
        "net": NET,
    }
    first = Config.from_dict(text)
    (tmp_path / "resolved.yaml").write_text(dump_yaml(first.resolved()))
    again = Config.load(tmp_path / "resolved.yaml")
    a, b = (one.data.feed("val").source.load()["number"] for one in (first, again))
    assert (a == b).all() and len(a) == 60


def test_columns_of_a_table_divide_it(tmp_path: Path) -> None:
    lines = [f"{i},{'ab'[i % 4 == 0]},p{i // 5}" for i in range(40)]
    (tmp_path / "t.csv").write_text("\n".join(["value,kind,patient", *lines]) + "\n")
    source = {"type": "CSV", "path": str(tmp_path / "t.csv"), "label": "kind", "columns": ["value"]}
    split = {"val": 0.25, "group": "patient", "stratify": "kind"}
    made = Config.from_dict({"data": {"train": source, "split": split}, "net": NET})
    made.raise_errors()
    train, val = (made.data.feed(name).source.load() for name in ("train", "val"))
    groups = [set((one["x"][:, 0] // 5).tolist()) for one in (train, val)]
    assert groups[0].isdisjoint(groups[1]) and len(groups[0] | groups[1]) == 8 and len(val["x"]) == 10


def test_pairs_are_formed_within_a_part() -> None:
    source = {"type": "Pairs", "source": Arrays(arrays=ARRAYS), "label": "label"}
    made = Config.from_dict(
        {"data": {"train": source, "split": {"val": 0.5}}, "net": [{"name": "s", "type": "ReLU", "bottom": "x_a"}]}
    )
    made.raise_errors()
    train, val = (made.data.feed(name).source.load() for name in ("train", "val"))
    assert set(train["number_a"]).isdisjoint({*val["number_a"], *val["number_b"]})


@pytest.mark.parametrize(
    ("split", "words"),
    [
        ({}, "split needs val, test or folds"),
        ({"val": 1.0}, "a fraction is below 1"),
        ({"val": 0.7, "test": 0.3}, "there are not enough for train"),
        ({"val": 240}, "there are not enough for train"),
        ({"folds": 3, "val": 0.1}, "each of them is val once"),
        ({"folds": 3, "fold": 3}, "there is no fold 3 of 3"),
        ({"folds": 300}, "there are not enough for 300 folds"),
        ({"val": 0.2, "stratify": "lable"}, "has no blob or column 'lable' it has: x, label, patient, number"),
        ({"val": 0.2, "stratify": "x"}, "one value for each is needed"),
        ({"val": 0.2, "stratfy": "label"}, "did you mean 'stratify'"),
        ({"folds": 41, "group": "patient"}, "too few for 41 parts"),
        (0.2, "split"),
    ],
)  # fmt: skip
def test_a_split_that_cannot_be_is_refused(split: Any, words: str) -> None:
    assert words in refusal(split)


def test_a_second_val_is_refused() -> None:
    declared = {"type": "Arrays", "arrays": ARRAYS}
    assert "remove data.val, or data.split.val" in refusal({"val": 0.2}, val=declared)
    made = config({"val": 0.2}, test=declared)
    made.raise_errors()
    assert list(made.data.feeds()) == ["train", "val", "test"]


def test_text_is_not_divided_at_random(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("abcd" * 100)
    made = Config.from_dict(
        {"data": {"train": {"type": "Text", "path": str(tmp_path / "t.txt")}, "split": {"val": 0.1}}, "net": NET}
    )
    assert any("Text cannot be divided" in error.message for error in made.errors)


def test_largest_remainders_take_the_nearest_whole_numbers() -> None:
    assert largest_remainders(np.array([7, 2, 1]), 5).tolist() == [4, 1, 0]
    assert largest_remainders(np.array([5, 5]), 10).tolist() == [5, 5]


def test_parts_of_random_classes_and_groups_are_divisions() -> None:
    rng = np.random.default_rng(0)
    for _ in range(40):
        count = int(rng.integers(6, 60))
        classes, groups = rng.integers(0, 5, count), np.unique(rng.integers(0, 9, count), return_inverse=True)[1]
        sizes = [count - 4, 3, 1]
        exact = by_shares(rng.permutation(count), np.unique(classes, return_inverse=True)[1], sizes)
        assert [len(part) for part in exact] == sizes and sorted(np.concatenate(exact)) == list(range(count))
        if groups.max() >= 2:
            whole = by_groups(rng.permutation(count), np.zeros(count, np.int64), groups, sizes)
            assert all(len(part) for part in whole) and sorted(np.concatenate(whole)) == list(range(count))


def test_a_fallback_is_divided_alike() -> None:
    made = Config.from_dict(
        {
            "data": {"train": {"type": "MNIST"}, "fallback": {"type": "Digits"}, "split": {"val": 0.1}},
            "net": [{"name": "fc", "type": "Flatten", "bottom": "image"}],
        }
    )
    made.raise_errors()
    assert made.data.with_fallback().feed("val").source.title != made.data.feed("val").source.title
    assert isinstance(made.data.with_fallback().feeds()["val"].source.share.section, str)
    with pytest.raises(ConfigError, match="there is no 'test' section"):
        made.data.feed("test")
