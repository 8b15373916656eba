"""Cross-validation: `layerforge train CONFIG --folds K` and cross_validate."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.data_files import isolate

from layerforge import cross_validate
from layerforge.cli import main
from layerforge.schema.errors import LayerForgeError
from layerforge.training import folds as folds_module
from layerforge.training.console import Console
from layerforge.training.rundir import find_run

TEXT = """
data:
  train: {type: NPZ, path: d.npz, batch_size: 16}
  split: {stratify: label, test: 0.2}
net:
  - {name: fc, type: Linear, bottom: x, out_features: 2}
  - {name: loss, type: SoftmaxCrossEntropy, bottom: [fc, label]}
  - {name: accuracy, type: Accuracy, bottom: [fc, label], phase: eval}
solver: {lr: 0.5}
train: {epochs: 3}
"""
QUIET = Console(progress="off", quiet=True, results=False)


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    folder = isolate(monkeypatch, tmp_path)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(100, 2))
    np.savez("d.npz", x=x, label=(x.sum(1) > 0.5).astype(int))
    Path("c.yaml").write_text(TEXT)
    return folder


def measured(result: Any) -> list[Any]:
    """What a cross-validation came to, without its folder, times and texts."""
    found = json.loads(Path(result, "folds.json").read_text())
    return [found["status"], found["mean"], found["deviation"], *(fold["best"] for fold in found["folds"])]


def test_every_fold_is_a_run_and_a_table_has_mean_and_deviation(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "c.yaml", "--folds", "3", "--json", "--progress", "off"]) == 0
    printed = json.loads(capsys.readouterr().out)
    (folder,) = Path("runs/c").glob("folds-*")
    assert printed["folder"] == str(folder) and printed["status"] == "finished"
    assert json.loads((folder / "folds.json").read_text()) == printed
    runs = [find_run(folder / f"fold-{i}") for i in range(3)]
    assert all(run is not None and (run.path / "checkpoints/best.h5").is_file() for run in runs)
    losses = [fold["best"]["val/loss"] for fold in printed["folds"]]
    assert len(set(losses)) == 3
    assert printed["mean"]["val/loss"] == pytest.approx(statistics.fmean(losses))
    assert printed["deviation"]["val/loss"] == pytest.approx(statistics.stdev(losses))
    assert set(printed["mean"]) == {"train/loss", "val/loss", "val/accuracy", "test/loss", "test/accuracy"}
    assert main(["eval", str(folder / "fold-1"), "--json"]) == 0  # each is a run as any other


def test_the_table_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "c.yaml", "--folds", "2", "--progress", "off", "-q"]) == 0
    lines = capsys.readouterr().out.splitlines()
    head = next(i for i, line in enumerate(lines) if line.split()[:1] == ["fold"])
    assert [line.split()[0] for line in lines[head + 1 :] if not line.startswith("-")] == [
        "0",
        "1",
        "mean",
        "deviation",
    ]


def test_folds_that_were_ended_go_on_with_resume(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = cross_validate("c.yaml", 3, console=QUIET)
    Path("runs/c", Path(whole.folder).name).rename("runs/c/folds-2000")  # the newest is another
    whole.folder = "runs/c/folds-2000"
    trained = folds_module.Trainer.run
    ran: list[str] = []

    def ended(self: Any) -> Any:
        ran.append(self.config.name)
        if len(ran) == 2:
            self.hooks.call = lambda *_: (_ for _ in ()).throw(RuntimeError("pulled the plug"))
        return trained(self)

    monkeypatch.setattr(folds_module.Trainer, "run", ended)
    with pytest.raises(RuntimeError, match="pulled"):
        cross_validate("c.yaml", 3, console=QUIET)
    (folder,) = set(Path("runs/c").glob("folds-*")) - {Path(whole.folder)}
    assert json.loads((folder / "folds.json").read_text())["status"] == "failed"
    first = find_run(folder / "fold-0")
    assert first is not None
    weights = (first.path / "checkpoints/last.h5").read_bytes()
    again = cross_validate("c.yaml", 3, resume=True, console=QUIET)
    assert again.folder == str(folder) and ran == ["fold-0", "fold-1", "fold-0", "fold-1", "fold-2"]
    assert measured(folder) == measured(whole.folder)
    assert (first.path / "checkpoints/last.h5").read_bytes() == weights  # not trained again


def test_what_cannot_be_crossed_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "c.yaml", "--folds", "1"]) == 2
    assert main(["train", "c.yaml", "--folds", "3", "--resume"]) == 2
    assert main(["train", "c.yaml", "--folds", "3", "data.val={type: NPZ, path: d.npz}"]) == 2
    assert main(["train", "c.yaml", "--folds", "99"]) == 2
    said = capsys.readouterr().err
    refusals = ("--folds takes 2 or more", "there are no folds in runs/c", "out with data.val=null", "for 99 folds")
    for words in refusals:
        assert words in said
    assert not list(Path("runs").glob("c/*/fold-*"))
    with pytest.raises(LayerForgeError, match="resume"):
        cross_validate("c.yaml", 3, resume=True, console=QUIET)


def test_a_dry_run_writes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "c.yaml", "--folds", "3", "--dry-run", "-q"]) == 0
    assert not Path("runs").exists()


def test_check_says_how_many_samples_each_part_gets(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "c.yaml", "data.split.val=0.1"]) == 0
    assert "data.split: train 70, val 10, test 20 samples" in capsys.readouterr().err


def test_check_counts_parts_that_depend_on_groups(capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    np.savez("d.npz", x=rng.normal(size=(100, 2)), label=np.arange(100) % 2, patient=np.arange(100) // 4)
    assert main(["check", "c.yaml", "data.split.val=0.12", "data.split.group=patient"]) == 0
    assert "data.split: train 68, val 12, test 20 samples" in capsys.readouterr().err
