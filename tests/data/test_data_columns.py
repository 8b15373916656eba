"""Tables by the names of their columns, words by the numbers of training: in val, eval and predict alike."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.data_files import isolate

from layerforge import train
from layerforge.cli import main
from layerforge.config.data_section import DataSection
from layerforge.schema.errors import LayerForgeError
from layerforge.schema.registry import SOURCES
from layerforge.training.console import Console

RNG = np.random.default_rng(7)
X = RNG.normal(size=(60, 3)).round(4)
WORDS = np.array(["ant", "bee", "cat"])[X.argmax(axis=1)]


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    return isolate(monkeypatch, tmp_path)


def table(path: Path, columns: dict[str, Any], header: bool = True) -> None:
    rows = [",".join(map(str, row)) for row in zip(*columns.values(), strict=True)]
    path.write_text("\n".join([*([",".join(columns)] if header else []), *rows]) + "\n")


def features(*names: str) -> dict[str, Any]:
    return {name: X[:, "abc".index(name)] for name in names}


def sources(val: dict[str, Any] | None = None, **both: Any) -> tuple[Any, Any]:
    """The sources of data.train and data.val, of the files train.csv and val.csv."""
    own = {"type": "CSV", "label": "what", **both}
    feeds = {"train": {**own, "path": "train.csv"}, "val": {**own, "path": "val.csv", **(val or {})}}
    data = DataSection.from_config(feeds)
    return data.train.source, data.val.source


def failure(act: Callable[[], object], code: int = 3) -> str:
    with pytest.raises(LayerForgeError) as caught:
        act()
    assert caught.value.exit_code == code
    return str(caught.value)


def test_columns_are_found_by_name_in_any_order(here: Path) -> None:
    table(here / "train.csv", {**features("a", "b", "c"), "what": WORDS})
    table(here / "val.csv", {"what": WORDS[::-1], **{n: v[::-1] for n, v in features("c", "a", "b").items()}})
    for label in ("what", -1, 3):
        first, second = sources(label=label)
        np.testing.assert_array_equal(second.load()["x"][::-1], first.load()["x"])
        np.testing.assert_array_equal(second.load()["label"][::-1], first.load()["label"])
    for columns in (["b", "c"], [1, 2]):
        first, second = sources(columns=columns)
        np.testing.assert_array_equal(first.load()["x"], X[:, 1:])
        np.testing.assert_array_equal(second.load()["x"][::-1], X[:, 1:])  # numbers are train's, like the label's


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        (("a", "b"), "other columns than training: without c"),
        (("a", "b", "d"), "without c and with d"),
        (("a", "b", "c", "d"), "other columns than training: with d"),
    ],
)
def test_missing_renamed_and_surplus_columns_are_named(here: Path, columns: tuple[str, ...], words: str) -> None:
    table(here / "train.csv", {**features("a", "b", "c"), "what": WORDS})
    table(here / "val.csv", {**dict.fromkeys(columns, X[:, 0]), "what": WORDS})
    _, val = sources()
    text = failure(val.load)
    assert words in text
    assert "a, b, c" in text


def test_surplus_columns_are_left_out_where_train_chose_its_own(here: Path) -> None:
    table(here / "train.csv", {**features("a", "b", "c"), "what": WORDS})
    table(here / "val.csv", {"more": X[:, 0], **features("c", "b", "a"), "what": WORDS})
    data = DataSection.from_config(
        {
            "train": {"type": "CSV", "path": "train.csv", "label": "what", "columns": ["c", "a"]},
            "val": {"type": "CSV", "path": "val.csv", "label": "what"},
        }
    )
    np.testing.assert_array_equal(data.val.source.load()["x"], X[:, [2, 0]])


def test_a_table_without_names_is_taken_by_place_only_where_that_is_said(here: Path) -> None:
    table(here / "train.csv", {**features("a", "b", "c"), "what": WORDS})
    table(here / "val.csv", {**features("a", "b", "c"), "what": WORDS}, header=False)
    _, val = sources(label=-1)
    assert "val.csv has no header line" in failure(val.load)
    first, second = sources(label=-1, val={"header": False})
    np.testing.assert_array_equal(second.load()["x"], first.load()["x"])


def test_words_have_the_numbers_of_training(here: Path) -> None:
    table(here / "train.csv", {**features("a", "b"), "what": WORDS})
    some = WORDS != "ant"
    table(here / "val.csv", {"a": X[some, 0], "b": X[some, 1], "what": WORDS[some]})
    first, second = sources()
    np.testing.assert_array_equal(second.load()["label"], first.load()["label"][some])
    assert second.class_names == first.class_names == ("ant", "bee", "cat")
    assert second.specs()["label"].high == 3


def test_a_word_that_training_does_not_know_has_its_place(here: Path) -> None:
    (here / "train.csv").write_text("a,what\n1,ant\n2,bee\n")
    (here / "val.csv").write_text("a,what\n1,ant\n\n2,wasp\n")
    _, val = sources()
    text = failure(val.load)
    assert "val.csv:4:3: the class 'wasp' is not among those of data.train" in text
    assert "ant, bee" in text


@pytest.mark.parametrize(
    ("train_labels", "val_labels", "code", "words"),
    [
        ("0 1 2", "ant bee ant", 3, "'ant' is not a finite number"),
        ("ant bee ant", "0 1 0", 3, "the class '0' is not among"),
        ("0 1 2", "0.5 1 2", 3, "label 0.5 of row 0 is no class"),
    ],
)
def test_labels_of_another_kind_are_refused(
    here: Path, train_labels: str, val_labels: str, code: int, words: str
) -> None:
    for name, labels in (("train.csv", train_labels), ("val.csv", val_labels)):
        table(here / name, {"a": [1, 2, 3], "what": labels.split()})
    _, val = sources()
    assert words in failure(val.load, code)


def test_whole_numbers_in_val_are_targets_where_train_has_targets(here: Path) -> None:
    table(here / "train.csv", {"a": [1, 2, 3], "what": [0.5, 1, 2]})
    table(here / "val.csv", {"a": [1, 2, 3], "what": [0, 1, 2]})
    _, val = sources()
    assert val.specs()["label"].is_real
    assert val.load()["label"].dtype.kind == "f"


@pytest.mark.parametrize(
    ("text", "values", "code", "words"),
    [
        ("a,b,a\n1,2,3\n", {}, 3, "two columns are called 'a': 0 and 2"),
        ("what,b,what\n1,2,0\n", {"label": "what"}, 3, "two columns are called 'what': 0 and 2"),
        ("a,b\n1,2\n", {"columns": ["a", 0]}, 2, "columns names 'a' twice"),
        ("a,b\n1,2\n", {"label": "b", "columns": ["a", "b"]}, 2, "columns names the label 'b'"),
        (",a,b\n0,1,2\n1,3,4\n", {}, 2, "has no name: it may only count the rows"),
        ("0,1,2\n5,6,0\n7,8,1\n", {"label": 2}, 2, "a header or a sample"),
        ("0,1,kind\n5,6,ant\n7,8,ant\n", {"label": -1}, 2, "a header or a sample"),
        (",0,1\n0,6,2\n1,8,3\n", {}, 2, "a header or a sample"),
        ("id,2019,2020\nx,1,2\ny,3,4\n", {"columns": [1, 2]}, 2, "a header or a sample"),
        ("2019,2020,kind\n" + "1,2,ant\n3,4,bee\n" * 8, {"label": -1}, 2, "No other sample has the label 'kind'"),
        ("".join(f"{i},{i * i % 7}\n" for i in range(20)), {}, 2, "only counts the rows"),
        ("Unnamed: 0,a\n" + "".join(f"{i},{i * i % 7}\n" for i in range(20)), {}, 2, "only counts the rows"),
    ],
)
def test_what_may_be_no_feature_is_asked_about(
    here: Path, text: str, values: dict[str, Any], code: int, words: str
) -> None:
    from layerforge.schema.registry import SOURCES

    (here / "t.csv").write_text(text)
    source = SOURCES.get("CSV")(path="t.csv", **values)
    assert words in failure(source.load, code)


@pytest.mark.parametrize(
    ("text", "values", "shape"),
    [
        ("0,1,2\n5,6,0\n7,8,1\n", {"label": 2, "header": True}, (2, 2)),
        ("0,1,2\n5,6,0\n7,8,1\n", {"label": "2"}, (2, 2)),
        ("0,1,2\n5,6,0\n7,8,1\n", {"label": 2, "header": False}, (3, 2)),
        ("0,1\n", {}, (1, 2)),
        (",a,b\n0,1,2\n1,3,4\n", {"columns": ["a", "b"]}, (2, 2)),
        (",a,b\n0,1,2\n1,3,4\n", {"columns": [0, 1, 2]}, (2, 3)),
        ("id,2019,2020\nx,1,2\ny,3,4\n", {"columns": ["2019", "2020"]}, (2, 2)),
        ("".join(f"{i},{i * i % 7}\n" for i in range(20)), {"columns": [0, 1]}, (20, 2)),
        ("n,a\n" + "".join(f"{i},{i * i % 7}\n" for i in range(20)), {}, (20, 2)),
        ("5.1,3.5,ant\n4.9,3,bee\n", {"label": 2}, (2, 2)),
    ],
)
def test_what_was_said_or_is_plain_is_not_asked_about(
    here: Path, text: str, values: dict[str, Any], shape: tuple[int, int]
) -> None:
    from layerforge.schema.registry import SOURCES

    (here / "t.csv").write_text(text)
    assert SOURCES.get("CSV")(path="t.csv", **values).load()["x"].shape == shape


def test_characters_have_the_numbers_of_training(here: Path) -> None:
    (here / "train.txt").write_text("abcdefgh")
    (here / "val.txt").write_text("hgfhgf")
    (here / "other.txt").write_text("ab\nxyz")
    feeds = {n: {"type": "Text", "path": f"{n}.txt", "sequence_length": 2} for n in ("train", "val")}
    feeds["test"] = {**feeds["val"], "path": "other.txt"}
    data = DataSection.from_config(feeds)
    np.testing.assert_array_equal(data.val.source.load()["x"], [[7, 6], [5, 7]])
    assert data.val.source.specs()["x"].high == 8
    assert "has not: '\\n', 'x', 'y', 'z'; the first in line 1" in failure(data.test.source.load)


def test_the_source_within_pairs_follows_too(here: Path) -> None:
    table(here / "train.csv", {**features("a", "b", "c"), "what": WORDS})
    table(here / "val.csv", {**features("c", "b", "a"), "what": WORDS})
    inner = {"type": "CSV", "label": "what"}
    feeds = {n: {"type": "Pairs", "source": {**inner, "path": str(here / f"{n}.csv")}} for n in ("train", "val")}
    data = DataSection.from_config(feeds)
    np.testing.assert_array_equal(data.val.source.load()["x_a"], data.train.source.load()["x_a"])


# A run, its eval and its predict --------------------------------------------------------------------------------------


def trained(here: Path, **feed: Any) -> Path:
    """A run that has learned which of three columns is the largest."""
    table(here / "train.csv", {**features("a", "b", "c"), "what": WORDS})
    table(here / "val.csv", {**features("c", "b", "a"), "what": WORDS})
    own = {"type": "CSV", "label": "what", "batch_size": 20, **feed}
    net = [
        {"name": "fc", "type": "Linear", "out_features": 3, "bottom": "x"},
        {"name": "loss", "type": "SoftmaxCrossEntropy", "bottom": ["fc", "label"]},
        {"name": "accuracy", "type": "Accuracy", "bottom": ["fc", "label"], "phase": "eval"},
    ]
    config = {
        "name": "columns",
        "data": {n: {**own, "path": str(here / f"{n}.csv")} for n in ("train", "val")},
        "net": net,
        "solver": {"lr": 1.0},
        "train": {"epochs": 30, "eval_every": {"epochs": 30}},
        "checkpoint": {"every": {"epochs": 30}},
    }
    result = train(config, console=Console(progress="off", quiet=True))
    assert result.final["val/accuracy"] > 0.9
    return Path(result.run)


def test_eval_and_predict_go_by_the_names_of_training(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = trained(here)
    capsys.readouterr()
    assert main(["eval", str(run), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["val/accuracy"] > 0.9
    answers = []
    for names in ("abc", "cab"):
        table(here / "q.csv", features(*names))
        assert main(["predict", str(run), "q.csv"]) == 0
        answers.append([row["prediction"] for row in csv.DictReader(capsys.readouterr().out.splitlines())])
    assert answers[0] == answers[1]
    assert np.mean(np.array(answers[0]) == WORDS) > 0.9
    assert main(["predict", str(run), "train.csv"]) == 0  # the column of the labels is left out
    assert [row["prediction"] for row in csv.DictReader(capsys.readouterr().out.splitlines())] == answers[0]


def test_predict_refuses_other_columns(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = trained(here)
    for names, header, words in (
        ("abd", True, "without c and with d"),
        ("abc", False, "has no header line"),
        ("abcd", True, "with d"),
    ):
        table(here / "q.csv", dict.fromkeys(names, X[:, 0]), header)
        assert main(["predict", str(run), "q.csv"]) == 3
        assert words in capsys.readouterr().err


def test_predict_reads_the_header_as_training_did(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table(here / "q.csv", {"0": X[:4, 0], "1": X[:4, 1], "2": X[:4, 2]})
    table(here / "train.csv", {"0": X[:, 0], "1": X[:, 1], "2": X[:, 2], "3": X.argmax(axis=1)})
    net = [
        {"name": "fc", "type": "Linear", "out_features": 3, "bottom": "x"},
        {"name": "loss", "type": "SoftmaxCrossEntropy", "bottom": ["fc", "label"]},
    ]
    feed = {"type": "CSV", "path": str(here / "train.csv"), "label": 3, "header": True, "batch_size": 20}
    config = {"name": "c", "data": {"train": feed}, "net": net, "solver": {"lr": 0.1}, "train": {"epochs": 1}}
    run = train(config, console=Console(progress="off", quiet=True)).run
    capsys.readouterr()
    assert main(["predict", run, "q.csv"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1 + 4


# Numbers of rows ------------------------------------------------------------------------------------------------------

ROWS = np.arange(60)
SHUFFLED = RNG.permutation(900)[:60]


@pytest.mark.parametrize(
    ("name", "numbers"),
    [
        *((None, rows) for rows in (ROWS, ROWS + 1, ROWS + 100, ROWS[::-1])),
        *((name, ROWS + 1) for name in ("id", "Id", "ID", "INDEX", "Unnamed: 7", "PassengerId", "row_id", "level_0")),
        *((name, SHUFFLED) for name in ("id", "Unnamed: 0", "index")),  # rows were drawn from a larger table
    ],
)
@pytest.mark.parametrize("at", [0, 2, 3])
def test_numbers_of_rows_are_no_feature(here: Path, name: str | None, numbers: np.ndarray, at: int) -> None:
    from layerforge.schema.registry import SOURCES

    columns = [*features("a", "b", "c").items(), ("what", WORDS)]
    columns.insert(at, (name or "n", numbers))
    table(here / "t.csv", dict(columns), header=name is not None)
    values: dict[str, Any] = {"path": "t.csv", "label": -1}
    text = failure(SOURCES.get("CSV")(**values).load, 2)
    assert f"column {at} " in text
    assert "the rows" in text
    assert "columns: [...]" in text
    assert SOURCES.get("CSV")(**values, columns=[0, 1, 2, 3]).load()["x"].shape == (60, 4)


@pytest.mark.parametrize(
    ("name", "numbers"),
    [
        ("day", ROWS),  # a name of its own
        ("id", ROWS // 2),
        ("index", RNG.normal(size=60).round(3)),
        ("humid", ROWS),
        (None, ROWS * 0.5),
        (None, np.where(ROWS == 30, 7, ROWS)),
    ],
)
def test_what_does_not_number_the_rows_is_a_feature(here: Path, name: str | None, numbers: np.ndarray) -> None:
    from layerforge.schema.registry import SOURCES

    table(here / "t.csv", {name or "n": numbers, **features("a", "b"), "what": WORDS}, header=name is not None)
    np.testing.assert_array_equal(SOURCES.get("CSV")(path="t.csv", label=-1).load()["x"][:, 0], numbers)


def test_val_is_asked_about_the_columns_that_it_has(here: Path) -> None:
    """Its columns follow train's order: the first of x is not the first of the file. What train decided holds."""
    count = {"Unnamed: 0": ROWS // 3}
    table(here / "train.csv", {**features("a"), **count, **features("b"), "what": WORDS})
    table(here / "val.csv", {"Unnamed: 0": ROWS // 3, "b": X[:, 1], "a": ROWS, "what": WORDS})
    _, val = sources()
    np.testing.assert_array_equal(val.load()["x"], np.column_stack([ROWS, ROWS // 3, X[:, 1]]))
    table(here / "train.csv", {"id": ROWS, **features("a"), "what": WORDS})
    table(here / "val.csv", {**features("a"), "what": WORDS, "id": ROWS + 60})
    data = {"train": {"type": "CSV", "path": "train.csv", "label": "what", "columns": ["id", "a"]}}
    data["val"] = {"type": "CSV", "path": "val.csv", "label": "what"}
    loaded = DataSection.from_config(data).val.source.load()["x"]
    np.testing.assert_array_equal(loaded, np.column_stack([ROWS + 60, X[:, 0]]))


def test_columns_by_number_are_those_of_train_by_their_names(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,b,c,t\n1,2,3,0\n4,5,6,1\n")
    (tmp_path / "v.csv").write_text("t,c,b,a\n0,3,2,1\n1,6,5,4\n")
    values = {"label": "t", "columns": [0, -2]}
    train, val = (SOURCES.get("CSV").from_config({"path": str(tmp_path / f"{n}.csv"), **values}) for n in "tv")
    val.follow(train)
    np.testing.assert_array_equal(val.load()["x"], train.load()["x"])
    np.testing.assert_array_equal(val.load()["x"], [[1, 3], [4, 6]])


def test_whole_labels_with_a_point_are_asked_about(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,t\n1,0.0\n4,1.0\n2,1.0\n3,0.0\n")
    source = SOURCES.get("CSV").from_config({"path": str(tmp_path / "t.csv"), "label": "t"})
    with pytest.warns(UserWarning, match="label_role: index"):
        assert source.load()["label"].dtype.kind == "f"
