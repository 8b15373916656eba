"""Frames, dicts of columns, lists of dicts and Parquet files: as sources, and as what is predicted."""

from __future__ import annotations

import decimal
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.data_files import isolate
from support.tools import demand

from layerforge import load_model, train
from layerforge.data.frames import Frame
from layerforge.data.parquet import Parquet
from layerforge.data.reader import Reader
from layerforge.data.tables import CSV
from layerforge.schema import optional
from layerforge.schema.errors import LayerForgeError
from layerforge.training.console import Console

COLUMNS = {
    "age": [20, None, 40, 90],
    "city": ["Bonn", "Kiel", None, "Ulm"],
    "rich": [True, False, True, True],
    "y": [1.5, 2.5, 3.5, 5.0],
}
KEYS = {"target": "y", "categorical": ["city"], "missing": "mean", "standardize": True}
CSV_TEXT = "age,city,rich,y\n20,Bonn,1,1.5\n,Kiel,0,2.5\n40,,1,3.5\n90,Ulm,1,5\n"


class Series:
    """A column as pandas and polars give it."""

    def __init__(self, cells: list[Any]) -> None:
        self.cells = cells

    def to_numpy(self) -> np.ndarray:
        return np.array(self.cells)

    def __array__(self, *arguments: Any, **keys: Any) -> np.ndarray:
        raise AssertionError("to_numpy is asked first")


class StandIn:
    """A frame with nothing but what a frame must have."""

    def __init__(self, columns: dict[Any, list[Any]]) -> None:
        self.columns = list(columns)
        self._cells = columns

    def __getitem__(self, name: Any) -> Series:
        return Series(self._cells[name])


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    return isolate(monkeypatch, tmp_path)


def real(module: str, make: Callable[[Any, dict[str, Any]], Any]) -> Callable[[dict[str, Any]], Any]:
    """What a package makes of columns; where it is missing the test is skipped, and says so."""

    def made(columns: dict[str, Any]) -> Any:
        demand(module)
        return make(importlib.import_module(module), columns)

    return made


def rows(columns: dict[str, Any]) -> list[dict[str, Any]]:
    return [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]


MAKERS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "stand-in": StandIn,
    "dict": dict,
    "rows": rows,
    "pandas": real("pandas", lambda pandas, columns: pandas.DataFrame(columns)),
    "pandas' own types": real("pandas", lambda pandas, columns: pandas.DataFrame(columns).convert_dtypes()),
    "polars": real("polars", lambda polars, columns: polars.DataFrame(columns)),
    "pyarrow": real("pyarrow", lambda pyarrow, columns: pyarrow.table(columns)),
}


def failure(act: Callable[[], object], code: int = 3) -> str:
    with pytest.raises(LayerForgeError) as caught:
        act()
    assert caught.value.exit_code == code, caught.value
    return str(caught.value)


def expected(here: Path) -> tuple[dict[str, np.ndarray], Reader]:
    (here / "t.csv").write_text(CSV_TEXT)
    source = CSV(path="t.csv", **KEYS)
    return source.load(), source.reader()


@pytest.mark.parametrize("kind", MAKERS)
def test_a_frame_is_what_the_file_would_be(here: Path, kind: str) -> None:
    arrays, reader = expected(here)
    frame = MAKERS[kind](COLUMNS)
    found = Frame(frame=frame, **KEYS).load()
    assert list(found) == list(arrays)
    for name, array in arrays.items():
        np.testing.assert_allclose(found[name], array, err_msg=name)
    new = MAKERS[kind]({"rich": [False, True], "city": ["Ulm", None], "age": [None, 40]})
    x, single = reader.convert(new, ["x"], {})
    assert x["x"].shape == (2, 6) and not single
    np.testing.assert_allclose(x["x"][:, 0], [0, (40 - 50) / arrays_std(COLUMNS["age"])], atol=1e-12)
    np.testing.assert_array_equal(x["x"][:, 1:5], [[0, 0, 0, 1], [1, 0, 0, 0]])  # missing, Bonn, Kiel, Ulm


def arrays_std(ages: list[Any]) -> float:
    return float(np.std([50 if age is None else age for age in ages]))


def test_a_row_of_a_frame_goes_by_its_names(here: Path) -> None:
    arrays, reader = expected(here)
    frame = MAKERS["pandas"]({name: COLUMNS[name] for name in ("city", "rich", "age")})
    x, single = reader.convert(frame.iloc[3], ["x"], {})
    np.testing.assert_allclose(x["x"], arrays["x"][3:])
    assert single


def test_an_array_of_records_has_names() -> None:
    records = np.array([(1, 2.5, 0), (3, 4.5, 1)], [("a", int), ("b", float), ("y", int)])
    source = Frame(frame=records, label="y")
    np.testing.assert_array_equal(source.load()["x"], [[1, 2.5], [3, 4.5]])
    x, _ = source.reader().convert(records[["b", "a"]], ["x"], {})
    np.testing.assert_array_equal(x["x"], [[1, 2.5], [3, 4.5]])


def test_names_that_are_numbers_and_numbers_of_all_kinds() -> None:
    frame = StandIn({0: [decimal.Decimal("1.5"), 2], 1: ["3", " 4 "], "y": [1, 0]})
    source = Frame(frame=frame, label="y")
    np.testing.assert_array_equal(source.load()["x"], [[1.5, 3], [2, 4]])
    np.testing.assert_array_equal(source.load()["label"], [1, 0])
    assert "StandIn of the columns 0, 1, y" in source.config["frame"]


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"a": [1, 2], "y": [1]}, "different lengths (a: 2, y: 1)"),
        ({"a": [], "y": []}, "holds no rows"),
        ({"a": [1, np.inf], "y": [0, 1]}, "row 1: column 0 'a': 'inf' is not a finite number"),
        ({"a": [1, np.nan], "y": [0, 1]}, "row 1: column 0 'a': the cell is empty"),
        ({"a": [1, "x"], "y": [0, 1]}, "row 1: column 0 'a': 'x' is not a finite number"),
        ({"a": [1, [2]], "y": [0, 1]}, "column 'a' of the frame"),
        ({"a": [1, 2j], "y": [0, 1]}, "must hold numbers, got complex128"),
        ({"a": np.ones((2, 2)), "y": [0, 1]}, "has 2 axes"),
        ({"a": np.array(["2020-01-01"] * 2, "M8[D]"), "y": [0, 1]}, "must hold numbers, got datetime64"),
        ({"a": [1, 2], "y": [0, None]}, "the cell of the label is empty"),
    ],
)
def test_columns_that_are_none(columns: dict[str, Any], words: str) -> None:
    assert words in failure(lambda: Frame(frame=columns, label="y").load())


def test_a_frame_that_is_none_or_fails() -> None:
    class Lazy:
        columns = ("a", "y")

        def __getitem__(self, name: str) -> Any:
            raise NotImplementedError("collect it first")

    assert "column 'a' of the frame is no list of values (collect it first)" in failure(Frame(frame=Lazy()).load)
    assert "frame must be a frame of pandas" in failure(lambda: Frame(frame=3), 2)
    twice = StandIn({"a": [1]})
    twice.columns = ["a", "a"]
    assert "two columns of the frame are called 'a'" in failure(Frame(frame=twice).load)


def test_a_frame_trains_a_net_that_predicts_frames(here: Path) -> None:
    rng = np.random.default_rng(0)
    age, city = rng.uniform(20, 80, 200), rng.choice(["Bonn", "Ulm"], 200)
    frame = StandIn({"age": age.tolist(), "city": city.tolist(), "y": (10 * age + 300 * (city == "Ulm")).tolist()})
    net = [
        {"name": "fc", "type": "Linear", "out_features": 1, "bottom": "x"},
        {"name": "loss", "type": "MSELoss", "bottom": ["fc", "target"]},
    ]
    keys = {"target": {"column": "y", "standardize": True}, "categorical": ["city"], "standardize": True}
    data = {"train": {"source": Frame(frame=frame, **keys), "batch_size": 50}}
    config = {"name": "f", "data": data, "net": net, "solver": {"lr": 0.1, "momentum": 0.9}, "train": {"epochs": 40}}
    model = load_model(train(config, console=Console(progress="off", quiet=True)).run)
    values = model.predict(StandIn({"city": ["Ulm", "Bonn"], "age": [50.0, 30.0]}))
    np.testing.assert_allclose(values, [[800], [300]], rtol=0.02)
    assert model.predict({"city": "Ulm", "age": 50})[0] == pytest.approx(800, rel=0.02)
    assert "without age" in failure(lambda: model.predict([{"city": "Ulm"}]))
    assert "'Kiel' is not among those of training" in failure(lambda: model.predict({"city": "Kiel", "age": 50}))


def test_what_is_masked_is_missing() -> None:
    reader = Frame(frame=COLUMNS, **KEYS).reader()
    gaps = {"age": [20.0, None, 40.0], "city": ["Bonn", "Kiel", None], "rich": [1, 0, 1]}
    expected = reader.convert(gaps, ["x"], {})[0]["x"]
    masked = {"age": np.ma.array([20.0, 99.0, 40.0], mask=[0, 1, 0]), "rich": np.array([1, 0, 1]),
              "city": np.ma.array(["Bonn", "Kiel", "Ulm"], mask=[0, 0, 1])}  # fmt: skip
    for one in (masked, rows({**masked, "rich": [1, 0, 1]})):
        np.testing.assert_array_equal(reader.convert(one, ["x"], {})[0]["x"], expected)
    plain = Frame(frame={"a": [1.0, 2.0, 6.0], "y": [0.5, 1.5, 2.5]}, target="y", missing="mean").reader()
    array = np.ma.array([[1.0], [99.0]], mask=[[0], [1]])
    np.testing.assert_array_equal(plain.convert(array, ["x"], {})[0]["x"], [[1.0], [3.0]])
    strict = Frame(frame={"a": [1.0, 2.0, 6.0], "y": [0.5, 1.5, 2.5]}, target="y", standardize=True).reader()
    for value in (array, {"a": array[:, 0]}):
        assert "row 1: column 0" in failure(lambda value=value: strict.convert(value, ["x"], {}))


@pytest.mark.parametrize("cell", [np.timedelta64(30, "D"), np.complex128(30 + 5j), 10**400])
def test_cells_that_only_look_like_numbers(cell: Any) -> None:
    reader = Frame(frame=COLUMNS, **KEYS).reader()
    row = {"age": cell, "city": "Bonn", "rich": 1}
    assert "column 0 'age'" in failure(lambda: reader.convert([row], ["x"], {}))


def test_long_numbers_are_words_by_their_digits() -> None:
    known = 10**17 + 1
    frame = {"account": [known, 7, 9], "y": [0.5, 1.5, 2.5]}
    reader = Frame(frame=frame, target="y", categorical=["account"]).reader()
    expected = reader.convert({"account": [known, 7, 9]}, ["x"], {})[0]["x"]
    np.testing.assert_array_equal(reader.convert({"account": [str(known), 7.0, "09"]}, ["x"], {})[0]["x"], expected)
    for other in (10**17, 10**17 + 2, 1e17, "1e17"):
        assert "is not among those of training" in failure(
            lambda other=other: reader.convert({"account": [other]}, ["x"], {})
        )


def test_columns_of_pandas_belong_together_by_their_index() -> None:
    demand("pandas")
    pandas = importlib.import_module("pandas")
    frame = pandas.DataFrame({name: cells[:3] for name, cells in COLUMNS.items() if name != "y"})
    reader = Frame(frame=COLUMNS, **KEYS).reader()
    columns = {name: frame[name] for name in frame}
    expected = reader.convert(frame, ["x"], {})[0]["x"]
    np.testing.assert_array_equal(reader.convert(columns, ["x"], {})[0]["x"], expected)
    np.testing.assert_array_equal(reader.convert({**columns, "rich": [True, False, True]}, ["x"], {})[0]["x"], expected)
    turned = {**columns, "age": columns["age"][::-1]}
    assert "'age' and 'city' of the table have different indexes" in failure(lambda: reader.convert(turned, ["x"], {}))


# Parquet --------------------------------------------------------------------------------------------------------------


def parquet(path: Path, columns: dict[str, Any]) -> Path:
    demand("pyarrow")
    pyarrow, files = importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
    files.write_table(pyarrow.table(columns), path)
    return path


def test_a_parquet_file_is_what_the_csv_file_would_be(here: Path) -> None:
    arrays, reader = expected(here)
    path = parquet(here / "t.parquet", COLUMNS)
    source = Parquet(path=str(path), **KEYS)
    for name, array in source.load().items():
        np.testing.assert_allclose(array, arrays[name])
    new = parquet(here / "new.parquet", {name: COLUMNS[name] for name in ("city", "rich", "age")})
    np.testing.assert_allclose(reader.read(new, ["x"], {})["x"], arrays["x"])
    (here / "new.csv").write_text(CSV_TEXT)
    np.testing.assert_allclose(source.reader().read(here / "new.csv", ["x"], {})["x"], arrays["x"])


def test_a_null_among_the_words_of_a_dictionary_is_missing(here: Path) -> None:
    demand("pyarrow")
    pyarrow = importlib.import_module("pyarrow")
    cells = pyarrow.array(COLUMNS["city"]).dictionary_encode()  # as pandas writes a categorical
    numbers = pyarrow.array([3, None, 5, 3]).dictionary_encode()
    table = pyarrow.table({"city": cells, "n": numbers, "y": COLUMNS["y"]})
    importlib.import_module("pyarrow.parquet").write_table(table, here / "t.parquet")
    for source in (Frame(frame=table, **KEYS), Parquet(path="t.parquet", **KEYS)):
        city, n, *_ = source.reader().columns.features
        assert city.words == ("", "Bonn", "Kiel", "Ulm") and n.fill == pytest.approx(11 / 3)
        assert source.load()["x"][:, :4].tolist() == np.eye(4)[[1, 2, 0, 3]].tolist()


def test_parquet_files_that_are_none(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good = parquet(here / "t.parquet", COLUMNS).read_bytes()
    for content in (b"PAR1", good[:-9], good[:50] + b"\xff" * 40 + good[90:]):
        (here / "bad.parquet").write_bytes(content)
        assert "bad.parquet: is no Parquet file, or damaged" in failure(Parquet(path="bad.parquet", **KEYS).load)
    assert "there is no such file" in failure(Parquet(path="none.parquet").load)
    monkeypatch.setattr("layerforge.data.sheet.memory_of_this_machine", lambda unknown: 60)
    assert "4 rows of 4 numbers" in failure(Parquet(path="t.parquet", **KEYS).load)


def test_parquet_without_pyarrow_says_what_to_install(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise ImportError(f"No module named '{name}'")

    monkeypatch.setattr(optional.importlib, "import_module", missing)
    (here / "t.parquet").write_bytes(b"PAR1")
    text = failure(Parquet(path="t.parquet").load, 2)
    assert "reading a Parquet file needs the package 'pyarrow'" in text and "pip install 'layerforge[table]'" in text
