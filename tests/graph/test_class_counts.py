"""Scores and classes: a net whose outputs are not as many as its data have classes."""

from __future__ import annotations

from pathlib import Path

import pytest

from layerforge import ConfigError, train
from layerforge.cli import main
from layerforge.training.console import Console

CONFIG = """\
data: {{train: {{type: CSV, path: train.csv, label: kind, batch_size: 4}}}}
net:
  - {{name: fc, type: Linear, bottom: x, out_features: {outputs}}}
  - {{name: loss, type: SoftmaxCrossEntropy, bottom: [fc, label]{more}}}
solver: {{lr: 0.1}}
train: {{max_steps: 1}}
"""


def written(folder: Path, outputs: int, more: str = "") -> None:
    (folder / "train.csv").write_text("a,kind\n" + "".join(f"{n}.5,{'xyz'[n % 3]}\n" for n in range(12)))
    (folder / "c.yaml").write_text(CONFIG.format(outputs=outputs, more=more))


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_fewer_scores_than_classes_are_refused_before_a_run_begins(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written(tmp_path, 2)
    with pytest.raises(ConfigError, match=r"'loss' .* reads 2 scores \('fc'\), the data have 3 classes"):
        train("c.yaml", console=Console(progress="off", quiet=True))
    assert not (tmp_path / "runs").exists()
    assert main(["check", "c.yaml"]) == 2
    said = capsys.readouterr()
    assert "the data have 3 classes" in said.err + said.out and "c.yaml:4" in said.err + said.out
    written(tmp_path, 2, ", ignore_index: 2")
    train("c.yaml", console=Console(progress="off", quiet=True))


def test_more_scores_than_classes_are_remarked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written(tmp_path, 5)
    assert main(["train", "c.yaml", "--progress=off"]) == 0
    said = capsys.readouterr()
    assert "reads 5 scores ('fc'), the data have 3 classes" in said.err + said.out
    written(tmp_path, 3)
    assert main(["check", "c.yaml"]) == 0
    assert "classes" not in capsys.readouterr().out.replace("class by class", "")
