"""CSV, NPZ, text, pairs and arrays: what becomes of their columns and keys, and what is refused."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.data_files import isolate, write_mnist

from layerforge.data import Source
from layerforge.schema.errors import ConfigError, DataError, LayerForgeError
from layerforge.schema.registry import SOURCES


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    return isolate(monkeypatch, tmp_path)


def source(kind: str, **values: Any) -> Source:
    return SOURCES.get(kind)(**values)


def failure(act: Callable[[], object], code: int = 3) -> LayerForgeError:
    with pytest.raises(LayerForgeError) as caught:
        act()
    assert caught.value.exit_code == code
    return caught.value


def table(here: Path, text: str, **values: Any) -> Source:
    (here / "t.csv").write_text(text, encoding="utf-8")
    return source("CSV", path="t.csv", **values)


def test_csv_with_a_header_and_integer_labels(here: Path) -> None:
    csv = table(here, "a,b,kind\n1,2.5,0\n3,-4e-1,2\n\n5,6,1\n", label="kind")
    arrays = csv.load()
    np.testing.assert_array_equal(arrays["x"], [[1, 2.5], [3, -0.4], [5, 6]])
    np.testing.assert_array_equal(arrays["label"], [0, 2, 1])
    specs = csv.specs()
    assert (specs["x"].shape, specs["label"].role, specs["label"].high) == ((2,), "index", 3)


def test_csv_without_a_header_takes_column_numbers(here: Path) -> None:
    arrays = table(here, "1;2;3\n4;5;6\n", label=-1, columns=[1], delimiter=";").load()
    np.testing.assert_array_equal(arrays["x"], [[2], [5]])
    np.testing.assert_array_equal(arrays["label"], [3, 6])


def test_csv_words_are_classes_in_order(here: Path) -> None:
    csv = table(here, "1,setosa\n2,virginica\n3,setosa\n", label=1)
    np.testing.assert_array_equal(csv.load()["label"], [0, 1, 0])
    assert csv.class_names == ("setosa", "virginica")


def test_csv_classes_are_those_of_the_whole_file(here: Path) -> None:
    csv = table(here, "1,b\n2,c\n3,a\n", label=1, split="all[:1]")
    np.testing.assert_array_equal(csv.load()["label"], [1])
    assert csv.specs()["label"].high == 3


def test_csv_real_labels_are_targets_and_not_normalised(here: Path) -> None:
    csv = table(here, "x,y\n1,0.5\n2,1\n", label="y")
    assert csv.specs()["label"].is_real
    assert csv.normalised() == [("x",)]
    whole = table(here, "x,y\n1,5\n2,7\n", label="y", label_role="real")
    np.testing.assert_array_equal(whole.load()["label"], [5.0, 7.0])
    assert whole.specs()["label"].is_real


def test_csv_with_quotes_and_a_byte_order_mark(here: Path) -> None:
    (here / "t.csv").write_bytes(b'\xef\xbb\xbf"a","b, too"\r\n"1",2\r\n3,"4"\r\n')
    np.testing.assert_array_equal(source("CSV", path="t.csv", columns=["b, too"]).load()["x"], [[2], [4]])


@pytest.mark.parametrize(
    ("text", "values", "line", "column", "words"),
    [
        ("a,b\n1,2\n3,four\n", {}, 3, 3, "column 1 'b': 'four' is not a finite number"),
        ("1,2\n3,\n", {}, 2, 3, "column 1: the cell is empty"),
        ("1,2\nnan,2\n", {}, 2, 1, "'nan' is not a finite number"),
        ("1,2\n1,inf\n", {}, 2, 3, "'inf' is not a finite number"),
        ("1,2\n3,4,5\n", {}, 2, 1, "3 cells, where the first line has 2"),
        ("1,2,3\n4,5\n", {"columns": [0]}, 2, 1, "2 cells, where the first line has 3"),
        ("1,ant\n2,\n3,bee\n", {"label": 1}, 2, 3, "column 1: the cell of the label is empty"),
        ("a,b,\n1,0,\n2,1,\n", {"label": -1}, 2, 5, "column 2: the cell of the label is empty"),
        ("1,0\n2,1\n3,two\n", {"label": 1}, 3, 3, "column 1: 'two' is not a finite number"),
        ('a,b\n1,"x"\n', {}, 2, 1, "'x' is not a finite number"),
    ],
)
def test_csv_bad_cells_have_a_line_and_a_column(
    here: Path, text: str, values: dict[str, Any], line: int, column: int, words: str
) -> None:
    error = failure(table(here, text, **values).load)
    assert words in str(error)
    assert (error.place.line, error.place.column) == (line, column)
    assert text.splitlines()[line - 1] in str(error)


@pytest.mark.parametrize(
    ("text", "values", "code", "words"),
    [
        ("", {}, 3, "the file is empty"),
        ("\n\n", {}, 3, "only blank lines"),
        ("a,b\n", {}, 3, "holds no rows of data"),
        ("a,b\n1,2\n", {"label": "c"}, 2, "there is no column 'c'"),
        ("a;b\n1;2\n", {"label": "b"}, 2, 'delimiter: ";"'),
        ("a,b\n1,2\n", {"label": 2}, 2, "there is no column 2"),
        ("1,2\n", {"label": "a"}, 2, "has no header line"),
        ("a\n1\n", {"label": "a"}, 2, "no column of"),
        ("1,-2\n", {"label": 1}, 3, "label -2 of row 0 is no class"),
        ("1,0.5\n", {"label": 1, "label_role": "index"}, 3, "set label_role: real"),
        ("1,2\n", {"delimiter": "::"}, 2, "delimiter must be one character"),
    ],
)
def test_csv_mistakes(here: Path, text: str, values: dict[str, Any], code: int, words: str) -> None:
    assert words in str(failure(lambda: table(here, text, **values).load(), code))


def test_csv_of_another_encoding_or_of_bytes(here: Path) -> None:
    (here / "t.csv").write_bytes(b"a,b\n1,\xff\n")
    assert "not a UTF-8 table" in str(failure(source("CSV", path="t.csv").load))
    (here / "t.csv").write_bytes(bytes(range(256)) * 4)
    failure(source("CSV", path="t.csv").load)


@pytest.mark.parametrize("kind", ["CSV", "NPZ", "HDF5", "Text"])
def test_missing_file_and_folder(here: Path, kind: str) -> None:
    extra = {"sequence_length": 2} if kind == "Text" else {}
    error = failure(source(kind, path="nowhere.x", **extra).load)
    assert "nowhere.x: there is no such file" in str(error)
    assert "is a folder" in str(failure(source(kind, path=".", **extra).load))


def npz(here: Path, **arrays: np.ndarray) -> Path:
    np.savez_compressed(here / "a.npz", **arrays)
    return here / "a.npz"


def test_npz_kinds_of_arrays(here: Path) -> None:
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 1, 3, 4)
    npz(
        here, image=pixels, x=np.ones((2, 3), ">f8"), label=np.array([1, 0], np.uint8), words=np.zeros((2, 5), np.int32)
    )
    specs = source("NPZ", path="a.npz").specs()
    assert {name: (spec.shape, spec.role) for name, spec in specs.items()} == {
        "image": ((1, 3, 4), "real"),
        "x": ((3,), "real"),
        "label": ((), "index"),
        "words": ((5,), "index"),
    }
    arrays = source("NPZ", path="a.npz", split="all[1:]").load()
    np.testing.assert_array_equal(arrays["image"], pixels[1:])
    assert arrays["image"].dtype == np.uint8
    assert arrays["x"].dtype == np.float64


def test_npz_fortran_order_and_chosen_arrays(here: Path) -> None:
    array = np.asfortranarray(np.arange(6.0).reshape(2, 3))
    npz(here, a=array, b=np.zeros(9))
    np.testing.assert_array_equal(source("NPZ", path="a.npz", blobs={"x": "a"}).load()["x"], array)


def test_npz_is_read_without_pickle(here: Path) -> None:
    npz(here, a=np.array([{}, []], dtype=object))
    assert "object, not numbers" in str(failure(source("NPZ", path="a.npz").load))


def resize(here: Path, shape: str) -> None:
    """Change the shape in the header of array `a` without changing its data."""
    buffer = io.BytesIO()
    np.save(buffer, np.zeros((10, 10)))
    data = buffer.getvalue().replace(b"(10, 10)", shape.encode().ljust(8))
    with zipfile.ZipFile(here / "a.npz", "w") as archive:
        archive.writestr("a.npy", data)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda p: npz(p, a=np.array([1j])), "complex128, not numbers"),
        (lambda p: npz(p, a=np.array(1.0)), "a single number"),
        (lambda p: npz(p, a=np.zeros((2, 3)), b=np.zeros(3)), "different numbers of samples (a: 2, b: 3)"),
        (lambda p: npz(p, a=np.zeros((0, 3))), "has no samples"),
        (lambda p: npz(p, a=np.array([[1.0], [np.nan]])), "blob 'a': sample 1 is not finite"),
        (lambda p: npz(p), "holds no arrays"),
        (lambda p: (p / "a.npz").write_bytes(b"not a zip"), "not a .npz file, or damaged"),
        (lambda p: (p / "a.npz").write_bytes(b""), "the file is empty"),
        (lambda p: (p / "a.npz").write_bytes(npz(p, a=np.ones(999)).read_bytes()[:-30]), "damaged"),
        (lambda p: resize(p, "(10, 11)"), "array 'a' should have 880 bytes, the file has 800"),
        (lambda p: resize(p, "(9**9,)"), "is not an array of numbers"),
    ],
)
def test_npz_that_cannot_be_data(here: Path, spoil: Callable[[Path], object], words: str) -> None:
    spoil(here)
    assert words in str(failure(source("NPZ", path="a.npz").load))


def test_npz_missing_array_gets_a_suggestion(here: Path) -> None:
    npz(here, image=np.zeros((2, 3)))
    error = failure(source("NPZ", path="a.npz", blobs={"x": "imgae"}).load)
    assert error.hint == "did you mean 'image'?"


def test_npz_that_unpacks_to_too_much_is_refused(here: Path) -> None:
    path = npz(here, a=np.zeros(1000))
    data = bytearray(path.read_bytes())
    entry = data.index(b"PK\x01\x02")
    data[entry + 24 : entry + 28] = (2**31).to_bytes(4, "little")  # the size after unpacking, in the directory
    path.write_bytes(data)
    assert "more than it can hold" in str(failure(source("NPZ", path="a.npz").load))


def test_text_windows_and_vocabulary(here: Path) -> None:
    (here / "t.txt").write_text("hello wörld", encoding="utf-8")
    text = source("Text", path="t.txt", sequence_length=3)
    assert text.class_names == tuple(sorted(set("hello wörld")))
    arrays = text.load()
    decoded = [["".join(text.class_names[i] for i in row) for row in arrays[name]] for name in ("x", "y")]
    assert decoded == [["hel", "lo ", "wör"], ["ell", "o w", "örl"]]
    assert text.specs()["x"].role == "index"
    assert text.specs()["y"].high == len(text.class_names)


def test_text_split_counts_characters_and_stride_overlaps(here: Path) -> None:
    (here / "t.txt").write_text("abcdefghij")
    text = source("Text", path="t.txt", sequence_length=2, stride=1, split="all[:50%]")
    np.testing.assert_array_equal(text.load()["x"], [[0, 1], [1, 2], [2, 3]])
    np.testing.assert_array_equal(text.load()["y"], [[1, 2], [2, 3], [3, 4]])


def test_text_mistakes(here: Path) -> None:
    (here / "t.txt").write_bytes(b"fine\nnot \xff fine")
    assert "byte 0xff in line 2" in str(failure(source("Text", path="t.txt", sequence_length=2).load))
    (here / "t.txt").write_bytes(b"abc")
    assert "has 3 characters" in str(failure(source("Text", path="t.txt", sequence_length=3).load, code=2))


def test_tiny_shakespeare_knows_its_characters_without_its_file_and_refuses_another_text(here: Path) -> None:
    plays = source("TinyShakespeare", sequence_length=4)
    assert plays.specs()["y"].high == len(plays.class_names) == 65
    (here / "data/text").mkdir(parents=True)
    path = here / "data/text/input.txt"
    path.write_text("".join(reversed(plays.class_names)))
    np.testing.assert_array_equal(plays.load()["x"][0], [64, 63, 62, 61])
    path.write_text("To be, or not to be")
    assert "holds 9 different characters; TinyShakespeare has 65 others" in str(failure(plays.load))


def test_pairs_match_as_they_say(here: Path) -> None:
    write_mnist(here / "data/mnist", train=40)
    pairs = source("Pairs", source={"type": "MNIST"}, split="train[:30]", seed=3, pairs=50)
    assert {name: spec.shape for name, spec in pairs.specs().items()} == {
        "image_a": (1, 28, 28),
        "image_b": (1, 28, 28),
        "match": (),
    }
    single = source("MNIST", split="train[:30]").load()
    label = {image.tobytes(): int(label) for image, label in zip(single["image"], single["label"], strict=True)}
    arrays = pairs.load()
    first, second = ([label[i.tobytes()] for i in arrays[f"image_{side}"]] for side in "ab")
    np.testing.assert_array_equal(np.equal(first, second), arrays["match"])
    assert arrays["match"].sum() == 25
    assert not (arrays["image_a"] == arrays["image_b"]).all(axis=(1, 2, 3)).any()
    again = source("Pairs", source="MNIST", split="train[:30]", seed=3, pairs=50).load()
    other = source("Pairs", source="MNIST", split="train[:30]", seed=4, pairs=50).load()
    np.testing.assert_array_equal(arrays["image_b"], again["image_b"])
    assert (arrays["image_b"] != other["image_b"]).any()


def test_pairs_need_labels_and_two_classes(here: Path) -> None:
    (here / "t.txt").write_text("abcdefghij")
    inner = {"type": "Text", "path": str(here / "t.txt"), "sequence_length": 2}
    assert "no blob of class labels" in str(failure(source("Pairs", source=inner).specs, code=2))
    for labels, words in (([1, 1, 1], "at least two classes"), ([0, 1, 2], "two samples of the same class")):
        arrays = source("Arrays", arrays={"x": np.zeros((3, 2)), "label": np.array(labels)})
        assert words in str(failure(source("Pairs", source=arrays).load))


def test_arrays_given_in_python_stay_untouched() -> None:
    x = np.arange(6.0).reshape(3, 2)
    given = source("Arrays", arrays={"x": x, "t": [0, 1, 1]}, split="all[1:]")
    arrays = given.load()
    np.testing.assert_array_equal(arrays["x"], x[1:])
    np.testing.assert_array_equal(arrays["t"], [1, 1])
    assert x.flags.writeable
    assert not arrays["x"].flags.writeable
    assert given.specs()["t"].role == "index"


@pytest.mark.parametrize("arrays", [{}, 3, {"x": np.array("word")}, {"x": np.array(1.0)}])
def test_arrays_of_something_else_are_refused(arrays: object) -> None:
    with pytest.raises(ConfigError, match="arrays"):
        source("Arrays", arrays=arrays)


@pytest.mark.parametrize(
    ("specs", "arrays", "words"),
    [
        ({"x": (2,)}, {"y": np.zeros((3, 2))}, "gives the blobs y, but its specs say x"),
        ({"x": (2,)}, {"x": np.zeros((3, 3))}, "samples of shape \\(2,\\), got \\(3,\\)"),
        ({"x": (2,)}, {"x": np.zeros((3, 2), complex)}, "must hold numbers, got complex128"),
        ({"x": ()}, {"x": np.array([])}, "has no samples"),
    ],
)
def test_a_source_that_breaks_its_promise_is_told(
    specs: dict[str, Any], arrays: dict[str, np.ndarray], words: str
) -> None:
    from layerforge.arrays.spec import Spec

    class Liar(Source):
        def specs(self) -> dict[str, Spec]:
            return {name: Spec(shape) for name, shape in specs.items()}

        def read(self, part: str, progress: bool | None = None) -> dict[str, np.ndarray]:
            return arrays

    with pytest.raises(DataError, match=words):
        Liar().load()


def test_labels_out_of_range_name_the_sample() -> None:
    from layerforge.arrays.spec import index

    class Labels(Source):
        def specs(self) -> dict[str, Any]:
            return {"label": index((), 3)}

        def read(self, part: str, progress: bool | None = None) -> dict[str, np.ndarray]:
            return {"label": np.array([0, 2, 3, 1])}

    with pytest.raises(DataError, match="blob 'label': sample 2 has the value 3, allowed are 0 to 2"):
        Labels().load()
