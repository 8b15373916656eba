"""Language models read and write text without the text that they were trained on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.tools import demand

from layerforge import ConfigError, DataError, load_model, train
from layerforge.cli import main
from layerforge.data.text_reader import WindowsReader
from layerforge.data.tokens import CharacterTokenizer, WordTokenizer
from layerforge.inference.sampling import continued, draw, random_number
from layerforge.training.console import Console

QUIET = Console(progress="off", quiet=True)
TEXT = "the cat sat. the dog ran! " * 40


def language_model(folder: Path, size: int, steps: int, **source: Any) -> str:
    """The run of a net that was trained on TEXT, which is gone."""
    (folder / "t.txt").write_text(TEXT)
    (folder / "val.txt").write_text(TEXT[:60])
    shared = {"type": "Text", "sequence_length": 12, "batch_size": 16, **source}
    data = {n: {**shared, "path": str(folder / f"{f}.txt")} for n, f in (("train", "t"), ("val", "val"))}
    data["val"]["sequence_length"] = 4
    net = [
        {"name": "embed", "type": "Embedding", "bottom": "x", "num_embeddings": size, "embedding_dim": 16},
        {"name": "gru", "type": "GRU", "hidden_size": 32},
        {"name": "fc", "type": "Linear", "out_features": size},
        {"name": "scores", "type": "Transpose", "dim0": 1, "dim1": 2},
        {"name": "loss", "type": "SoftmaxCrossEntropy", "bottom": ["scores", "y"]},
    ]
    solver = {"type": "Adam", "lr": 0.03}
    config = {"name": "lm", "engine": "reference", "data": data, "net": net, "solver": solver}
    result = train({**config, "train": {"max_steps": steps}}, [f"train.output_dir={folder / 'runs'}"], console=QUIET)
    (folder / "t.txt").unlink()
    return str(result.run)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> str:
    return language_model(tmp_path_factory.mktemp("lm"), len(set(TEXT)), 100)


def test_a_net_goes_on_as_its_text_does(run: str) -> None:
    model = load_model(run)
    text = model.sample("the cat s", length=20, temperature=0)
    assert text == "the cat sat. the dog ran! the"[: len(text)] and len(text) == 29
    assert model.sample("the cat s", length=20, top_k=1, seed=5) == text
    assert model.sample("cat", length=0) == "cat"


def test_a_seed_says_what_is_written(run: str) -> None:
    model = load_model(run)
    wild = {"length": 40, "temperature": 3.0}
    texts = [model.sample("the", seed=seed, **wild) for seed in (0, 0, 1)]
    assert texts[0] == texts[1] != texts[2]
    assert load_model(Path(run) / "checkpoints" / "best.h5").sample("the", **wild) == texts[0]
    assert [random_number(7, position) for position in (0, 1)] == [0.6274025212259389, 0.036063836934371096]


def test_a_draw_follows_the_probabilities() -> None:
    scores = np.array([0.0, 1.0, -1.0, 1.0, -np.inf])
    drawn = [random_number(3, position) for position in range(2000)]
    for temperature, top_k in ((1.0, None), (0.5, 3), (2.0, 100)):
        p = np.exp(scores / temperature)
        if top_k == 3:
            p[2] = 0
        p /= p.sum()
        numbers = [draw(scores, temperature, top_k, number) for number in drawn]
        np.testing.assert_allclose(np.bincount(numbers, minlength=5) / 2000, p, atol=0.03)
    assert draw(scores, 0, None, 0.9) == draw(scores, 1, 1, 0.999) == 1
    assert draw(np.array([0.0, 800.0, -np.inf]), 1e-3, None, 1 - 2.0**-48) == 1


def test_the_window_is_the_end_of_the_text_as_long_as_in_training() -> None:
    tokenizer = WordTokenizer(["[PAD]", "[UNK]", "a", "b", "."], lowercase=False)
    seen: list[list[int]] = []

    def scores_of(window: np.ndarray) -> np.ndarray:
        seen.append(window.tolist())
        scores = np.zeros((6, len(window)))  # the net has a token more than training's text
        scores[[0, 1, 5], -1] = 100  # padding, unknown, and that one are never written
        scores[2 + len(seen) % 3, -1] = 1
        return scores

    keys = {"length": 5, "temperature": 0.0, "top_k": None, "seed": 0}
    text = continued(scores_of, "logits", WindowsReader({}, tokenizer, 3), "b  a gnu", **keys)
    assert seen == [[3, 2, 1], [2, 1, 3], [1, 3, 4], [3, 4, 2], [4, 2, 3]]
    assert text == "b  a gnu b. a b."


def test_what_is_no_language_model_or_no_number_is_said(run: str, tmp_path: Path) -> None:
    model = load_model(run)
    for values, words in (
        ({"temperature": -1.0}, "temperature must be a number >= 0, got -1.0"),
        ({"temperature": float("nan")}, "temperature must be"),
        ({"top_k": 0}, "top_k must be"),
        ({"length": -1}, "length must be"),
        ({"seed": -1}, "seed must be"),
    ):
        with pytest.raises(ConfigError, match=words):
            model.sample("the", **values)
    with pytest.raises(DataError, match="the prompt has characters that the text of training has not: 'Z', '€'"):
        model.sample("the Z€")
    with pytest.raises(DataError, match="the prompt is empty"):
        model.sample("")
    reader = WindowsReader({}, CharacterTokenizer("ab"), 3)
    keys = {"length": 1, "temperature": 1.0, "top_k": None, "seed": 0}
    for shape, kind in (((2,), "logits"), ((1, 2), "logits"), ((2, 1), "logits"), ((2, 2), "")):
        with pytest.raises(ConfigError, match="is no language model"):
            continued(lambda window, shape=shape: np.zeros(shape), kind, reader, "ab", **keys)
    with pytest.raises(DataError, match="not finite"):
        continued(lambda window: np.full((2, 2), np.nan), "logits", reader, "ab", **keys)
    with pytest.raises(ConfigError, match="is no language model"):
        continued(lambda window: np.zeros((2, 2)), "logits", None, "ab", **keys)


def test_the_command_writes_the_same_text(run: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    numbers = ["--length", "15", "--temperature", "0.5", "--top-k", "3", "--seed", "4"]
    words = ["sample", run, "--prompt", "the dog", *numbers]
    assert main(words) == 0
    text = capsys.readouterr().out
    assert text == load_model(run).sample("the dog", length=15, temperature=0.5, top_k=3, seed=4) + "\n"
    assert main([*words, "-o", str(tmp_path / "a.txt")]) == 0
    assert (tmp_path / "a.txt").read_text() == text
    assert main([*words, "--temperature", "-1"]) == 2
    assert "temperature must be a number >= 0" in capsys.readouterr().err


def test_a_model_reads_text_without_the_file(run: str, tmp_path: Path) -> None:
    model = load_model(run)
    assert "".join(model.predict("the cat s")[-5:]) == "at sa"
    assert model.predict(["the cat", "the dog"]).shape == (2, 7)
    whole = model.scores("the cat sat. the dog ran! the")  # 29 characters: windows of 12 at 0, 12 and 17
    assert whole.shape == (3, len(set(TEXT)), 12)
    np.testing.assert_allclose(whole[2], model.scores("the dog ran! the"[4:]), rtol=1e-4, atol=1e-4)
    (tmp_path / "a.txt").write_text("the cat s")
    np.testing.assert_array_equal(model.predict(tmp_path / "a.txt"), model.predict("the cat s"))
    with pytest.raises(DataError, match="characters that the text of training has not: 'q'; the first in line 1"):
        model.predict("the q")
    with pytest.raises(DataError, match="texts of different lengths: 3 and 4 characters"):
        model.predict(["the", "that"])


def test_a_text_of_another_file_is_scored_when_that_of_training_is_gone(
    run: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["eval", run, "--json"]) == 0
    assert '"val/loss"' in capsys.readouterr().out


@pytest.mark.parametrize(("kind", "size"), [("words", 9), ("bpe", 280)])
def test_words_and_sub_words_are_written_too(tmp_path: Path, kind: str, size: int) -> None:
    if kind == "bpe":
        demand("tokenizers")
    run = language_model(tmp_path, size, 40, tokenizer=kind, max_tokens=size)
    model = load_model(run)
    text = model.sample("the cat", length=6, temperature=0)
    assert text == "the cat sat. the dog ran! the cat"[: len(text)] and len(text) > 15
    assert main(["eval", run, "--json"]) == 0
