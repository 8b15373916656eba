"""What tables fit on train: gaps, categories, standardised numbers and targets, weights; and what they refuse."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.data_files import isolate

from layerforge.config.data_section import DataSection
from layerforge.data import encoding, sheet
from layerforge.data.reader import Reader
from layerforge.data.readers import reader_of
from layerforge.data.table_reader import TableReader
from layerforge.data.tables import CSV
from layerforge.schema.errors import LayerForgeError

ROWS = [
    "age,city,income,y",
    "20,Bonn,1,10",
    ",Kiel,2,20",
    "40,Bonn,NA,30",
    "90,Ulm,7,40",
]
AGE = np.array([20, np.nan, 40, 90])


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    return isolate(monkeypatch, tmp_path)


def write(rows: list[str], name: str = "t.csv") -> str:
    Path(name).write_text("\n".join(rows) + "\n")
    return name


def table(rows: list[str] | None = None, **values: Any) -> CSV:
    return CSV(path=write(rows or ROWS), **{"target": "y", "categorical": ["city"], **values})


def pair(train: list[str], val: list[str], own: dict[str, Any] | None = None, **both: Any) -> tuple[Any, Any]:
    """The sources of train and val; val has only what is `own`."""
    feeds = {"train": {"type": "CSV", "path": write(train), **both}}
    feeds["val"] = {"type": "CSV", "path": write(val, "v.csv"), **(own or {})}
    data = DataSection.from_config(feeds)
    return data.train.source, data.val.source


def again(reader: Reader) -> TableReader:
    """The reader as a checkpoint holds it."""
    read = reader_of(json.loads(json.dumps(reader.plain())), "a checkpoint")
    assert isinstance(read, TableReader)
    return read


def failure(act: Callable[[], object], code: int = 3) -> str:
    with pytest.raises(LayerForgeError) as caught:
        act()
    assert caught.value.exit_code == code, caught.value
    return str(caught.value)


# Gaps, words, scale ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("missing", "age", "income"),
    [
        ("mean", 50, 10 / 3),
        ("median", 40, 2),
        ("constant", 0, 0),
        ({"strategy": "constant", "value": -1}, -1, -1),
    ],
)
def test_gaps_are_filled_by_what_train_has(missing: Any, age: float, income: float) -> None:
    x = table(missing=missing).load()["x"]
    cities = np.array([[1, 0, 0], [0, 1, 0], [1, 0, 0], [0, 0, 1]])  # Bonn, Kiel, Ulm
    np.testing.assert_allclose(x[:, 1:4], cities)
    np.testing.assert_allclose(x[:, 0], [20, age, 40, 90])
    np.testing.assert_allclose(x[:, 4], [1, 2, income, 7])


def test_an_indicator_stands_beside_each_column_that_has_gaps() -> None:
    rows = [f"{row},{i}" for i, row in zip(["full", 5, 3, 4, 1], ROWS, strict=True)]
    for missing in ("indicator", {"strategy": "mean", "indicator": True}):
        x = table(rows, missing=missing).load()["x"]
        np.testing.assert_allclose(x[:, 0], [20, 50, 40, 90])
        np.testing.assert_array_equal(x[:, [1, 6]], [[0, 0], [1, 0], [0, 1], [0, 0]])
        np.testing.assert_array_equal(x[:, 7], [5, 3, 4, 1])
        assert x.shape == (4, 8)


def test_further_cells_may_be_missing() -> None:
    rows = [row.replace("NA", "?").replace(",Kiel", "NA,Kiel") for row in ROWS]
    assert "'?' is not a finite number" in failure(table(rows, missing="mean").load)
    x = table(rows, missing={"strategy": "mean", "cells": ["?"]}).load()["x"]
    np.testing.assert_allclose(x[:, [0, 4]], [[20, 1], [50, 2], [40, 10 / 3], [90, 7]])


def test_numbers_are_standardised_and_one_hot_stays() -> None:
    x = table(missing="median", standardize=True).load()["x"]
    filled = np.array([20, 40, 40, 90])
    np.testing.assert_allclose(x[:, 0], (filled - filled.mean()) / filled.std())
    assert set(x[:, 1:4].ravel()) == {0, 1}
    flat = table([f"{row},{'c' if i == 0 else 3}" for i, row in enumerate(ROWS)], missing="median", standardize=True)
    np.testing.assert_array_equal(flat.load()["x"][:, 5], 0)  # it never changes


def test_what_is_fitted_is_trains_split_alone() -> None:
    source = table(missing="mean", standardize=True, split="all[:75%]", target={"column": "y", "standardize": True})
    arrays = source.read("all")
    filled = np.array([20, 30, 40])
    np.testing.assert_allclose(arrays["x"][:3, 0], (filled - 30) / filled.std())
    np.testing.assert_allclose(arrays["x"][3, 0], (90 - 30) / filled.std())
    np.testing.assert_allclose(arrays["target"][:, 0], (np.array([10, 20, 30, 40]) - 20) / np.std([10, 20, 30]))


def test_what_is_fitted_is_the_share_that_data_split_leaves_to_train() -> None:
    rng = np.random.default_rng(1)
    numbers, labels = rng.normal(size=40), rng.integers(0, 2, 40)
    write(["a,kind", *(f"{n},{'ab'[k]}" for n, k in zip(numbers, labels, strict=True))])
    feed = {"type": "CSV", "path": "t.csv", "label": "kind", "standardize": True}
    data = DataSection.from_config({"train": feed, "split": {"val": 0.25, "stratify": "kind"}})
    x, val = (data.feed(name).source.load()["x"][:, 0] for name in ("train", "val"))
    assert (len(x), len(val)) == (30, 10)
    np.testing.assert_allclose([x.mean(), x.std()], [0, 1], atol=1e-12)
    assert abs(val.mean()) > 1e-3


def test_a_word_that_only_other_rows_have_is_unknown() -> None:
    feeds = {name: {"type": "CSV", "path": write(ROWS), "target": "y", "categorical": ["city"], "missing": "mean"}
             for name in ("train", "val")}  # fmt: skip
    feeds["train"]["split"], feeds["val"]["split"] = "all[:3]", "all[3:]"
    data = DataSection.from_config(feeds)
    np.testing.assert_array_equal(data.train.source.load()["x"][:, 1:3], [[1, 0], [0, 1], [1, 0]])
    assert "t.csv:5:4: column 1 'city': the category 'Ulm'" in failure(data.val.source.load)
    for feed in feeds.values():
        feed["unknown"] = "ignore"
    val = DataSection.from_config(feeds).val.source.load()["x"]
    np.testing.assert_array_equal(val[:, 1:3], [[0, 0]])


def test_a_table_that_was_read_forgets_what_it_fitted_when_it_is_divided() -> None:
    rows = ["a,y", *(f"{i * i},{i % 2}" for i in range(20))]
    source = CSV(path=write(rows), label="y", standardize=True)
    source.load()
    data = DataSection.from_config({"train": {"source": source}, "split": {"val": 0.5}})
    np.testing.assert_allclose(data.train.source.load()["x"].mean(), 0, atol=1e-12)


def test_an_index_is_a_blob_of_its_own_for_embeddings() -> None:
    source = table(missing="mean", categorical={"city": "index"})
    arrays, specs = source.load(), source.specs()
    np.testing.assert_array_equal(arrays["city"], [0, 1, 0, 2])
    assert (specs["city"].role, specs["city"].high, specs["x"].shape) == ("index", 3, (2,))
    only = table(categorical={"city": "index"}, columns=["city"])
    assert list(only.specs()) == ["city", "target"] and only.normalised() == []


def test_a_missing_word_is_a_word_of_its_own_unless_that_is_an_error() -> None:
    rows = [row.replace("Kiel", "") for row in ROWS]
    np.testing.assert_array_equal(table(rows, missing="mean").load()["x"][:, 1], [0, 1, 0, 0])
    rows = ["age,city,y", "1,Bonn,1", "2,,2"]
    assert "t.csv:3:3: column 1 'city': the cell is empty" in failure(table(rows).load)


# Targets, labels, weights ---------------------------------------------------------------------------------------------


def test_targets_are_columns_for_one_score_each_and_come_back_in_their_units() -> None:
    y = np.array([10.0, 20, 30, 40])
    np.testing.assert_array_equal(table(missing="mean").load()["target"], y[:, None])
    source = table(missing="mean", target={"column": ["y", "income"], "standardize": True})
    assert "'NA' is not a finite number" in failure(source.load)
    rows = [row.replace("NA", "3") for row in ROWS]
    source = table(rows, missing="mean", target={"column": ["y", "income"], "standardize": True})
    target, reader = source.load()["target"], again(source.reader())
    np.testing.assert_allclose(target.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(target.std(axis=0), 1)
    np.testing.assert_allclose(reader.in_own_units(target), [[10, 1], [20, 2], [30, 3], [40, 7]])
    assert reader.targets == ("y", "income")
    assert "standard deviation (y 11.1803" in source.notes()[0]
    assert table(missing="mean").notes() == []


@pytest.mark.parametrize(("words", "names"), [("no yes no yes", ("no", "yes")), ("0 1 0 1", ())])
def test_a_binary_label_is_for_one_score(words: str, names: tuple[str, ...]) -> None:
    rows = ["a,b", *(f"{i * i},{word}" for i, word in enumerate(words.split()))]
    source = CSV(path=write(rows), label="b", label_role="binary")
    np.testing.assert_array_equal(source.load()["label"], [[0.0], [1], [0], [1]])
    assert source.specs()["label"].is_real and source.class_names == names
    write([*rows, "7,2" if not names else "7,maybe"])
    text = failure(CSV(path="t.csv", label="b", label_role="binary").load)
    assert "a binary label has two classes" in text


def test_weights_are_a_blob() -> None:
    source = table(missing="mean", weight="income", columns=["age"], categorical=[])
    assert "column 2 'income': 'NA' is not a finite number" in failure(source.load)
    rows = [row.replace("NA", "0.5") for row in ROWS]
    arrays = table(rows, missing="mean", weight="income").load()
    np.testing.assert_array_equal(arrays["weight"], [1, 2, 0.5, 7])
    assert arrays["x"].shape == (4, 4)
    negative = table([row.replace("NA", "-1") for row in ROWS], missing="mean", weight="income")
    assert "the weight -1 is negative" in failure(negative.load)


# Other tables of the run ----------------------------------------------------------------------------------------------


def test_val_and_predictions_are_encoded_as_train() -> None:
    both = {"target": {"column": "y", "standardize": True}, "categorical": {"city": "one_hot"}, "missing": "indicator"}
    val_rows = ["y,income,city,age,more", "10,1,Ulm,,8", "25,NA,Bonn,30,9"]
    train, val = pair(ROWS, val_rows, {"ignore": ["more"]}, **both, standardize=True)
    mean, std = train.reader().columns.features[0].mean, train.reader().columns.features[0].std
    arrays = val.load()
    np.testing.assert_allclose(arrays["x"][:, 0], [0, (30 - mean) / std], atol=1e-12)
    np.testing.assert_array_equal(arrays["x"][:, 1:5], [[1, 0, 0, 1], [0, 1, 0, 0]])
    np.testing.assert_allclose(arrays["target"][:, 0], (np.array([10, 25]) - 25) / np.std([10, 20, 30, 40]))
    reader = again(val.reader())
    write(["income,city,age", "1,Ulm,", "null,Bonn,30"], "new.csv")
    np.testing.assert_array_equal(reader.read(Path("new.csv"), ["x"], {})["x"], arrays["x"])
    columns = {"income": [1, None], "city": ["Ulm", "Bonn"], "age": [float("nan"), 30]}
    rows = [{"city": "Ulm", "income": 1}, {"city": "Bonn", "income": "", "age": "30"}]
    array = np.array([[None, "Ulm", 1], [30, "Bonn", None]], object)
    for value in (columns, rows, array, array.tolist(), [columns], ["new.csv"]):
        x, single = reader.convert(value, ["x"], {})
        np.testing.assert_array_equal(x["x"], arrays["x"])
        assert not single
    for one in (rows[1], array[1], array.tolist()[1]):
        x, single = reader.convert(one, ["x"], {})
        np.testing.assert_array_equal(x["x"], arrays["x"][1:])
        assert single


def test_val_follows_what_a_checkpoint_says_where_trains_file_is_gone() -> None:
    both = {"label": "y", "categorical": ["city"], "missing": "median"}
    rows = [*ROWS[:1], *(f"{row[:-2]}{word}" for row, word in zip(ROWS[1:], ["no", "yes", "no", "yes"], strict=True))]
    train, val = pair(rows, rows, **both)
    expected = train.load()
    reader, names = again(train.reader()), train.class_names
    Path("t.csv").unlink()

    class Checkpoint:
        class_names = names

        def reader(self) -> TableReader:
            return reader

    val.follow(Checkpoint())
    for name, array in val.load().items():
        np.testing.assert_array_equal(array, expected[name])
    assert val.class_names == names == ("no", "yes")


def test_a_word_that_train_does_not_have() -> None:
    rows = ["age,city,income,y", "1,Bonn,1,1", "2,Köln,2,2"]
    train, val = pair(ROWS, rows, target="y", categorical=["city"], missing="mean")
    text = failure(val.load)
    assert "v.csv:3:3: column 1 'city': the category 'Köln' is not among those of training" in text
    assert "Bonn, Kiel, Ulm" in text
    _, val = pair(ROWS, rows, target="y", categorical=["city"], missing="mean", unknown="ignore")
    np.testing.assert_array_equal(val.load()["x"][:, 1:4], [[1, 0, 0], [0, 0, 0]])
    train, val = pair(ROWS, rows, target="y", categorical={"city": "index"}, missing="mean", unknown="ignore")
    assert val.load()["city"].tolist() == [0, 3] and train.specs()["city"].high == 4


def test_words_that_are_numbers_are_compared_as_such() -> None:
    rows = ["zip,y", "3,1", "12,2", "3,3"]
    reader = CSV(path=write(rows), target="y", categorical=["zip"]).reader()
    for cells in (np.array([3, 12]), np.array([3.0, 12.0]), ["3", "12"]):
        np.testing.assert_array_equal(reader.convert({"zip": cells}, ["x"], {})[0]["x"], [[0, 1], [1, 0]])


def test_keys_that_contradict_train_are_refused() -> None:
    text = failure(lambda: pair(ROWS, ROWS, {"missing": "mean"}, target="y", missing="median"), 2)
    assert "missing is {'strategy': 'mean'" in text and "data.train" in text


def test_readers_of_earlier_checkpoints_are_read() -> None:
    columns = {
        **{"features": ["b", "a"], "places": [2, 0], "label": "what", "named": True, "chosen": False},
        **{"header": None, "delimiter": ","},
    }
    blobs = CSV(path=write(["b,a,what", "1,2,0"]), label="what").reader().plain()["blobs"]
    reader = reader_of({"kind": "table", "blobs": blobs, "columns": columns}, "a checkpoint")
    write(["what,a,b", "x,1,2", "y,3,4"], "new.csv")
    np.testing.assert_array_equal(reader.read(Path("new.csv"), ["x"], {})["x"], [[2, 1], [4, 3]])
    val = CSV(path="new.csv", label="what")

    class Checkpoint:
        class_names = ("x", "y")

        def reader(self) -> Reader:
            return reader

    val.follow(Checkpoint())
    np.testing.assert_array_equal(val.load()["label"], [0, 1])


@pytest.mark.parametrize("key", ["features", "targets", "label", "weight", "names", "asked", "unknown", "missing"])
def test_a_damaged_reader_is_refused(key: str) -> None:
    plain = json.loads(json.dumps(table(missing="mean").reader().plain()))
    plain["columns"][key] = [{"name": 3}] if key in ("features", "targets") else 7
    if key == "unknown":
        del plain["columns"][key]
    assert "does not say how inputs are read" in failure(lambda: reader_of(plain, "a checkpoint"))


# Mistakes -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "values", "code", "words"),
    [
        (["a,b,y", "1,,1", "2,,2"], {"missing": "mean"}, 3, "column 1 'b' of"),
        (["a,b,y", "1,inf,1", "2,1,2"], {"missing": "mean"}, 3, "'inf' is not a finite number"),
        (["a,b,y", "1,2,3", "1,2"], {"missing": "mean"}, 3, "2 cells, where the first line has 3"),
        (["a,a,y", "1,2,3"], {"missing": "mean"}, 3, "two columns are called 'a'"),
        (["a,b,y"], {"missing": "mean"}, 3, "holds no rows of data"),
        (["a,b,y", "1,2,many"], {}, 3, "'many' is not a finite number"),
        (["a,b,y", "1,x,1"], {}, 3, "categorical: [...]"),
        (["a,b,y", "1,2,1"], {"categorical": ["y"]}, 2, "categorical names column 2 'y', which is no feature"),
        (["a,b,y", "1,2,1"], {"categorical": ["c"]}, 2, "there is no column 'c'"),
        (["a,x,y", "1,2,1"], {"categorical": {"x": "index"}}, 2, "which is called 'x'"),
        (["a,b,y", "1,2,1"], {"categorical": {"b": "onehot"}}, 2, "'b' must be one_hot or index"),
        (["a,b,y", "1,2,1"], {"label": "b"}, 2, "label and target"),
        (["a,b,y", "1,2,1"], {"ignore": ["y"]}, 2, "column 2 'y' serves twice"),
        (["a,b,y", "1,2,1"], {"ignore": ["a", "b"]}, 2, "is left for the features"),
        (["a,b,y", "1,2,1"], {"columns": ["a"], "ignore": ["a"]}, 2, "names the ignored column 'a'"),
        (["a,b,y", "1,2,1"], {"missing": {"indicator": True}}, 2, "need a strategy"),
        (["a,b,y", "1,2,1", "2,3,1"], {"target": {"column": "y", "standardize": True}}, 3, "is the same in all"),
        (["a,y", "1e308,1", "-1e308,1", "1.7e308,2"], {"standardize": True}, 3, "too large"),
        (["a,y,w", "1,1,0", "2,2,0"], {"weight": "w"}, 3, "all weights in column 2 'w'"),
    ],
)  # fmt: skip
def test_mistakes_are_named(rows: list[str], values: dict[str, Any], code: int, words: str) -> None:
    write(rows)
    assert words in failure(lambda: CSV(path="t.csv", **{"target": "y", **values}).load(), code)


def test_memory_is_bounded_before_it_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = ["a,b", *(f"w{i},{i % 7}" for i in range(5000))]
    text = failure(CSV(path=write(rows), target="b", categorical=["a"]).load)
    assert "has 5000 words: one-hot would" in text and "index" in text
    monkeypatch.setattr(sheet, "memory_of_this_machine", lambda unknown: 1 << 20)
    monkeypatch.setattr(encoding, "MOST_ONE_HOT", 10_000)
    assert "5000 rows of 5000 numbers: 190 MiB" in failure(CSV(path="t.csv", target="b", categorical=["a"]).load)
    monkeypatch.setattr(sheet, "MOST_WORDS", 3000)
    index = CSV(path="t.csv", target="b", categorical={"a": "index"})
    assert "column 0 'a' of" in failure(index.load) and "more than 3000 words" in failure(index.load)
