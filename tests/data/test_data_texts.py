"""Texts with labels: folders, JSON Lines and tables become tokens, by what train's texts taught."""

from __future__ import annotations

import importlib
import json
import random
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.tools import demand

from layerforge.arrays.spec import index
from layerforge.config.data_section import DataSection
from layerforge.data import text_files, tokens
from layerforge.data.readers import reader_of
from layerforge.data.subwords import SubwordTokenizer
from layerforge.data.text_reader import TextReader, WindowsReader, texts_in
from layerforge.data.tokens import CharacterTokenizer, WordTokenizer
from layerforge.schema.errors import ConfigError, DataError, LayerForgeError
from layerforge.schema.registry import SOURCES

ROWS = [
    ("The cat sat on the mat.", "animal"),
    ("The Dog isn't here, the cat is", "animal"),
    ("A car, a car and a van", "thing"),
    ("cat van zebra", "thing"),
]


def write(folder: Path, rows: Any = ROWS, name: str = "t.jsonl") -> str:
    """A file of texts with labels, as its name says."""
    path = folder / name
    if name.endswith(".jsonl"):
        path.write_text("".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in rows))
    else:
        mark = "\t" if name.endswith(".tsv") else ","
        cells = "".join(f'{label}{mark}"{text}"\n' for text, label in rows)
        path.write_text(f"label{mark}text\n{cells}")
    return str(path)


def source(path: str, kind: str = "TextLines", **values: Any) -> Any:
    return SOURCES.get(kind)(path=path, **{"sequence_length": 8, **values})


def folder_of(folder: Path, rows: Any = ROWS) -> Path:
    """A subfolder for each class; the texts are numbered in their order."""
    for number, (text, label) in enumerate(rows):
        (folder / label / "deeper").mkdir(parents=True, exist_ok=True)
        (folder / label / ("deeper" if number % 2 else "") / f"{number}.txt").write_text(text)
    return folder


def words_of_rows(made: Any) -> list[list[str]]:
    """The tokens of the samples without their padding."""
    blobs, names = made.load(), made.reader().tokenizer.tokens
    return [[names[i] for i in x[m == 1]] for x, m in zip(blobs["x"], blobs["mask"], strict=True)]


def test_words_are_numbered_by_how_often_train_has_them(tmp_path: Path) -> None:
    made = source(write(tmp_path))
    names = made.reader().tokenizer.tokens
    assert names[:5] == ("[PAD]", "[UNK]", "the", "a", "cat")  # 4, 3 and 3 times: as many go by the alphabet
    found = words_of_rows(made)
    assert found[0] == ["the", "cat", "sat", "on", "the", "mat", "."]
    assert found[1] == ["the", "dog", "isn't", "here", ",", "the", "cat", "is"]
    blobs = made.load()
    assert blobs["x"][3].tolist() == [4, names.index("van"), names.index("zebra"), 0, 0, 0, 0, 0]
    assert blobs["mask"].sum(1).tolist() == [7, 8, 8, 3]
    assert blobs["label"].tolist() == [0, 0, 1, 1] and made.class_names == ("animal", "thing")
    assert made.specs()["x"].high == len(names) == len(set(names))


def test_a_vocabulary_has_bounds_and_texts_are_cut_where_asked(tmp_path: Path) -> None:
    path = write(tmp_path)
    assert source(path, max_tokens=4).reader().tokenizer.tokens == ("[PAD]", "[UNK]", "the", "a")
    assert set(source(path, min_frequency=3).reader().tokenizer.tokens[2:]) == {"the", "a", "cat"}
    assert "The" in source(path, lowercase=False).reader().tokenizer.tokens
    unknown = source(path, min_frequency=3).load()["x"][0]
    assert unknown.tolist() == [2, 4, 1, 1, 2, 1, 1, 0]
    assert words_of_rows(source(path, sequence_length=3))[1] == ["the", "dog", "isn't"]
    assert words_of_rows(source(path, sequence_length=3, truncation_side="left"))[1] == ["the", "cat", "is"]


@pytest.mark.parametrize("name", ["t.csv", "t.tsv"])
def test_tables_and_json_lines_say_the_same(tmp_path: Path, name: str) -> None:
    lines, table = (source(write(tmp_path, name=each)).load() for each in ("t.jsonl", name))
    for blob, array in lines.items():
        np.testing.assert_array_equal(table[blob], array)
    (tmp_path / "bare.csv").write_text('2,"a b",x\n1,c,y\n')
    bare = source(str(tmp_path / "bare.csv"), text=1, label=0)
    assert bare.class_names == ("1", "2") and words_of_rows(bare) == [["a", "b"], ["c"]]


def test_a_folder_has_a_class_in_each_subfolder_and_may_have_parts(tmp_path: Path) -> None:
    flat = source(str(folder_of(tmp_path / "flat")), "TextFolder")
    assert flat.parts == ("all",) and flat.class_names == ("animal", "thing")
    assert words_of_rows(flat)[0][:2] == ["the", "cat"] and flat.load()["label"].tolist() == [0, 0, 1, 1]
    for part, rows in (("train", ROWS), ("test", [("the van", "thing"), ("a zebra cat gnu", "animal")])):
        folder_of(tmp_path / "parts" / part, rows)
    (tmp_path / "parts" / "readme.txt").write_text("no text of a class")
    train = source(str(tmp_path / "parts"), "TextFolder")
    test = source(str(tmp_path / "parts"), "TextFolder", split="test")
    test.follow(train)
    assert train.parts == ("train", "test") and len(train.load()["x"]) == 4
    assert words_of_rows(test) == [["a", "zebra", "cat", "[UNK]"], ["the", "van"]]
    assert source(str(tmp_path / "parts"), "TextFolder", classes=["thing"]).load()["label"].tolist() == [0, 0]


def test_what_a_text_becomes_is_what_trains_split_taught(tmp_path: Path) -> None:
    path = write(tmp_path)
    train = source(path, split="all[:2]", max_tokens=50)
    assert "car" not in train.reader().tokenizer.tokens and train.class_names == ("animal",)
    val = source(path, split="all[2:]")
    val.follow(train)
    with pytest.raises(DataError, match=r"t.jsonl:3:1: the class 'thing' is not among those of data.train"):
        val.load()
    rows = {"train": ROWS, "val": [("a gnu", "thing")]}
    feeds = {n: {"type": "TextLines", "path": write(tmp_path, r, f"{n}.jsonl")} for n, r in rows.items()}
    section = DataSection.from_config(feeds)
    assert words_of_rows(section.feed("val").source) == [["a", "[UNK]"]]
    assert section.feed("val").source.specs() == section.train.source.specs()
    with pytest.raises(ConfigError, match=r"max_tokens is that of data.train, 20000"):
        DataSection.from_config({**feeds, "val": {**feeds["val"], "max_tokens": 10}})


def test_a_split_divides_texts_and_train_teaches_by_its_share(tmp_path: Path) -> None:
    rows = [(f"word{n} shared", ("x", "y")[n % 2]) for n in range(20)]
    train = {"type": "TextLines", "path": write(tmp_path, rows)}
    section = DataSection.from_config({"train": train, "split": {"val": 0.2, "stratify": "label"}})
    ours, val = section.train.source, section.feed("val").source
    assert len(ours.reader().tokenizer.tokens) == 3 + 16  # what val has alone is unknown
    assert [len(one.load()["label"]) for one in (ours, val)] == [16, 4] and val.load()["label"].sum() == 2
    assert all("[UNK]" in words and "shared" in words for words in words_of_rows(val))


def test_labels_are_words_numbers_in_their_order_or_targets(tmp_path: Path) -> None:
    stars = [("a", 10), ("b", 9), ("c", 10.0), ("d", True)]
    assert source(write(tmp_path, stars[:3])).class_names == ("9", "10")
    assert source(write(tmp_path, stars)).class_names == ("10", "9", "true")
    real = source(write(tmp_path, [("a", 0.5), ("b", 2)]))
    assert real.class_names == () and real.load()["label"].tolist() == [0.5, 2.0] and real.specs()["label"].is_real
    assert source(write(tmp_path, [("a", 1), ("b", 2)]), label_role="real").load()["label"].tolist() == [1.0, 2.0]
    assert source(write(tmp_path, [("a", 0.5), ("b", 2)]), label_role="index").class_names == ("0.5", "2")
    assert list(source(write(tmp_path), label=None).load()) == ["x", "mask"]


def test_bags_of_words_are_the_formulas(tmp_path: Path) -> None:
    path = write(tmp_path)
    made = {output: source(path, output=output) for output in ("count", "binary", "tfidf")}
    names = made["count"].reader().tokenizer.tokens
    counts = np.zeros((4, len(names)))
    for row, (text, _) in enumerate(ROWS):
        for word, count in Counter(tokens.words_of(text, True)).items():
            counts[row, names.index(word)] = count
    found = {output: one.load()["x"].matrix.toarray() for output, one in made.items()}
    np.testing.assert_array_equal(found["count"], counts)
    np.testing.assert_array_equal(found["binary"], counts > 0)
    idf = np.log((1 + 4) / (1 + (counts > 0).sum(0))) + 1
    weighted = counts * idf
    np.testing.assert_allclose(found["tfidf"], weighted / np.linalg.norm(weighted, axis=1, keepdims=True), rtol=1e-6)
    assert made["tfidf"].specs()["x"].sparse == "csr"
    (alone,) = made["tfidf"].reader().encode(["gnu gnu"])["x"].matrix.toarray()
    assert not alone.any()  # of unknown words there is nothing


@pytest.mark.parametrize("values", [{}, {"output": "tfidf"}, {"tokenizer": "bpe", "max_tokens": 300}])
def test_a_reader_travels_as_plain_values(tmp_path: Path, values: dict[str, Any]) -> None:
    if "tokenizer" in values:
        demand("tokenizers")
    made = source(write(tmp_path), **values)
    again = reader_of(json.loads(json.dumps(made.reader().plain())), "the file")
    assert isinstance(again, TextReader) and again.specs == made.specs()
    texts = ["a cat and a gnu", "The Van"]
    found = (made.reader().encode(texts), again.encode(texts))
    for blob in found[0]:
        arrays = [blobs[blob] for blobs in found]
        np.testing.assert_array_equal(*(a.matrix.toarray() if hasattr(a, "matrix") else a for a in arrays))


@pytest.mark.parametrize("kind", ["bpe", "wordpiece"])
def test_sub_words_are_trained_on_train_the_same_each_time(tmp_path: Path, kind: str) -> None:
    demand("tokenizers")
    rows = [(f"{text} {n}", label) for n in range(20) for text, label in ROWS]
    made = [source(write(tmp_path, rows), tokenizer=kind, max_tokens=320, sequence_length=30) for _ in range(3)]
    assert len({json.dumps(one.reader().plain()) for one in made}) == 1
    tokenizer = made[0].reader().tokenizer
    assert tokenizer.tokens[:2] == ("[PAD]", "[UNK]") and len(tokenizer.tokens) <= 320
    assert tokenizer.decode(tokenizer.encode(["The Cat sat on the van"])[0]) == "the cat sat on the van"
    assert made[0].load()["x"].max() < len(tokenizer.tokens)
    if kind == "bpe":  # bytes know every text
        assert tokenizer.decode(tokenizer.encode(["ß 𝄞 ☃"])[0]) == "ß 𝄞 ☃"
    else:  # in an order that does not hang on hashes
        characters = [token for token in tokenizer.tokens if len(token) == 3 and token.startswith("##")]
        assert len(characters) > 5 and characters == sorted(characters)
    path = tmp_path / "tokenizer.json"
    path.write_text(tokenizer.plain()["json"])
    loaded = source(write(tmp_path, rows), tokenizer_file=str(path), sequence_length=30)
    np.testing.assert_array_equal(loaded.load()["x"], made[0].load()["x"])
    path.write_text('{"model": 3}')
    with pytest.raises(DataError, match=r"tokenizer.json: is no tokenizer"):
        source(write(tmp_path, rows), tokenizer_file=str(path)).specs()


def test_a_text_that_goes_on_gets_no_tokens_around_it(tmp_path: Path) -> None:
    demand("tokenizers")
    tokenizers = importlib.import_module("tokenizers")
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel({"[CLS]": 0, "[UNK]": 1, "a": 2, "b": 3}, "[UNK]"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made.post_processor = tokenizers.processors.TemplateProcessing("[CLS] $A", None, [("[CLS]", 0)])
    made.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "t.txt").write_text("a b b a")
    whole = source(write(tmp_path, [("a b", "x")]), tokenizer_file=str(tmp_path / "tokenizer.json"), sequence_length=4)
    assert whole.load()["x"].tolist() == [[0, 2, 3, 4]] and whole.reader().tokenizer.padding == 4
    going = source(str(tmp_path / "t.txt"), "Text", tokenizer_file=str(tmp_path / "tokenizer.json"), sequence_length=3)
    assert {n: a.tolist() for n, a in going.load().items()} == {"x": [[2, 3, 3]], "y": [[3, 3, 2]]}


def test_words_of_a_text_are_those_of_trains_split(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("a b c a b c\nb b b d")
    train, val = (
        source(str(tmp_path / "t.txt"), "Text", tokenizer="words", sequence_length=2, split=split)
        for split in ("all[:12]", "all[12:]")
    )
    val.follow(train)
    assert train.reader().tokenizer.tokens == ("[PAD]", "[UNK]", "a", "b", "c")
    assert val.load()["x"].tolist() == [[3, 3]] and val.load()["y"].tolist() == [[3, 3]]
    assert (train.count_samples(), val.count_samples()) == (2, 1)


def test_windows_of_a_text_with_what_follows() -> None:
    reader = WindowsReader({"x": index((3,), 4), "y": index((3,), 4)}, CharacterTokenizer("abcd"), 3)
    found, single = reader.convert("abcdab", ["x", "y"], {})
    assert found["x"].tolist() == [[0, 1, 2], [2, 3, 0]] and found["y"].tolist() == [[1, 2, 3], [3, 0, 1]]
    assert not single
    found, single = reader.convert("abcd", ["y", "x"], {})
    assert found["x"].tolist() == [[0, 1, 2]] and found["y"].tolist() == [[1, 2, 3]] and single
    with pytest.raises(DataError, match="too few"):
        reader.convert("a", ["x", "y"], {})
    with pytest.raises(DataError, match="allowed are 0 to 3"):
        reader.convert(np.array([1, 4]), ["x"], {})


def test_a_spoilt_tokenizer_is_an_error_of_ours(tmp_path: Path) -> None:
    demand("tokenizers")
    good = SubwordTokenizer.fit(["low lower lowest"] * 3, "bpe", True, 265, 1).plain()["json"]
    rng, path, refused = random.Random(0), tmp_path / "tokenizer.json", 0
    for _ in range(200):
        text = list(good)
        for _ in range(rng.randint(1, 3)):
            text[rng.randrange(len(text))] = rng.choice(["{", "}", '"', "9", "-", "null", "", "[PAD]"])
        path.write_text("".join(text))
        try:
            found = SubwordTokenizer.load(str(path))
            found.decode(found.encode(["the lowest"])[0])
        except DataError:
            refused += 1
    assert refused > 100


def test_sub_words_without_their_package_say_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(ConfigError) as caught:
        source(write(tmp_path), tokenizer="bpe").specs()
    assert caught.value.hint == "pip install 'layerforge[text]'"


GOOD = b'{"text": "a b", "label": "x"}\n'
BAD: dict[str, tuple[bytes, str]] = {
    "empty file": (b"", "the file is empty"),
    "blank lines": (b"\n\n", "holds no texts"),
    "no UTF-8": (GOOD + b'{"text": "\xff", "label": "x"}\n', r"t.jsonl:2:1: is not UTF-8 text: byte 0xff"),
    "no JSON": (GOOD + b"{text}\n", "t.jsonl:2:1: is no JSON"),
    "deep": (b"[" * 100_000 + b"\n", "t.jsonl:1:1: is no JSON"),
    "no object": (GOOD + b"[1]\n", r"t.jsonl:2:1: is no JSON object: \[1\]"),
    "no text": (b'{"body": "a", "label": "x"}\n', "t.jsonl:1:1: has no key 'text'"),
    "no label": (GOOD + b'{"text": "a"}\n', "t.jsonl:2:1: has no key 'label'"),
    "a number as text": (b'{"text": 3, "label": "x"}\n', "t.jsonl:1:1: 'text' must be a text, got 3"),
    "empty text": (GOOD + b'{"text": " ", "label": "x"}\n', "t.jsonl:2:1: the text is empty"),
    "null label": (b'{"text": "a", "label": null}\n', "t.jsonl:1:1: 'label' is no label: None"),
    "NaN label": (b'{"text": "a", "label": NaN}\n', "t.jsonl:1:1: 'label' is no label: nan"),
    "several labels": (b'{"text": "a", "label": ["x", "y"]}\n', "t.jsonl:1:1: 'label' is no label"),
    "digits": (b'{"text": "a", "label": ' + b"9" * 6000 + b"}\n", "t.jsonl:1:1: "),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_lines_are_named(tmp_path: Path, name: str) -> None:
    data, words = BAD[name]
    (tmp_path / "t.jsonl").write_bytes(data)
    with pytest.raises(DataError, match=words):
        source(str(tmp_path / "t.jsonl")).load()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("text,label\na\n", "t.csv:2:1: 1 cells, where the first line has 2"),
        ("body,label\na,b\n", "t.csv:1:1: there is no column 'text'"),
        ("text,text,label\na,b,c\n", "t.csv:1:1: two columns are called 'text'"),
        ('text,label\n"a,b\n', "is no table"),
        ("text,label\n,b\n", "t.csv:2:1: the text is empty"),
        ("text,label\na,\n", "t.csv:2:1: 'label' is no label"),
        ("text,label\n", "holds no texts"),
        ("text,label\n" + "a" * 200_000 + ",b\n", "t.csv:2:1: is no table .field larger"),
    ],
)
def test_bad_tables_are_named(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(DataError, match=words):
        source(str(tmp_path / "t.csv")).load()


def test_bad_folders_are_named(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "a")
    (folder / "animal" / "0.txt").write_bytes(b"fine\n\xe9\n")
    with pytest.raises(DataError, match=r"0.txt:2:1: is not UTF-8"):
        source(str(folder), "TextFolder").load()
    (folder / "animal" / "0.txt").write_text("fine")
    (folder / "empty").mkdir()
    with pytest.raises(DataError, match=r"empty: holds no .txt files"):
        source(str(folder), "TextFolder").load()
    with pytest.raises(DataError, match="has no subfolder 'thin'"):
        source(str(folder), "TextFolder", classes=["thin"]).load()
    (tmp_path / "bare").mkdir()
    for name, words in (("bare", "has no subfolders"), ("nowhere", "there is no such file")):
        with pytest.raises(DataError, match=words):
            source(str(tmp_path / name), "TextFolder").load()
    with pytest.raises(ConfigError, match="there is no part 'val'"):
        source(str(folder), "TextFolder", split="val")


def test_lines_and_vocabularies_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_files, "LONGEST", 1000)
    (tmp_path / "t.jsonl").write_bytes(GOOD + b'{"text": "' + b"a" * 2000 + b'", "label": "x"}\n')
    with pytest.raises(DataError, match=r"t.jsonl:2:1: is longer than"):
        source(str(tmp_path / "t.jsonl")).load()
    monkeypatch.setattr(tokens, "MOST_WORDS", 100)
    with pytest.raises(DataError, match="more than 100 different words"):
        WordTokenizer.fit((f"w{n}" for n in range(10**7)), True, 1000, 1)
    for values, words in (({"max_tokens": 10**7}, "must be"), ({"tokenizer": "bpe", "max_tokens": 20}, "too small")):
        with pytest.raises(LayerForgeError, match=words):
            source(write(tmp_path), **values)


def test_half_a_character_of_json_is_no_character(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text('{"text": "a\\ud800 \\ud834\\udd1e", "label": "\\udfff"}\n')
    made = source(str(tmp_path / "t.jsonl"))
    assert made.class_names == ("\ufffd",) and words_of_rows(made) == [["a", "\ufffd", "𝄞"]]
    json.dumps(made.reader().plain(), ensure_ascii=False).encode()


@pytest.mark.parametrize("value", [np.ma.array(["a", "b"], mask=[0, 1]), np.array("abc")])
def test_what_is_masked_or_has_no_axis_is_no_text(value: Any) -> None:
    with pytest.raises(DataError, match="is no text"):
        texts_in(value, "text", lambda path: [])
