"""docs/torch.md: its programs and commands run, on recorded models of torch, and give torch's answers."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.pages import blocks, output_of
from support.torch_weights import ANSWERS, GOLDEN, RESNET, TAGGER, narrow_resnet18

from layerforge.cli import main

RESNET18, LSTM, BACK = "A ResNet-18 of torchvision", "An LSTM with other names", "From tensors, and back to torch"


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the narrow net and the recorded weights under the names of the page."""
    (tmp_path / "resnet18.yaml").write_text(narrow_resnet18())
    for model in (RESNET, TAGGER):
        shutil.copy(GOLDEN / model.file, tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_page_of_a_resnet(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {}
    first, opened, tuned = blocks("torch.md", RESNET18, "python")
    output_of(first, names, "torch.md")
    [commands] = blocks("torch.md", RESNET18, "sh")
    assert [main(shlex.split(line)[1:]) for line in commands.splitlines()] == [0, 0, 0]
    assert "gives    fc: " in capsys.readouterr().out
    with np.load("scores.npz") as file:
        np.testing.assert_allclose(file["values"], names["scores"], rtol=1e-5, atol=1e-6)
    output_of(opened, names, "torch.md")
    assert "fc.weight has shape (10, 32), the net's is (3, 32)" in output_of(tuned, names, "torch.md")
    with np.load(ANSWERS) as answers:
        wanted = answers["resnet18/y"]
    found = names["net"].forward(phase="eval", outputs=["fc"], **RESNET.drawn())["fc"]
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())


def test_the_page_of_an_lstm(workplace: Path) -> None:
    names: dict[str, Any] = {}
    for section in (LSTM, BACK):
        [program] = blocks("torch.md", section, "python")
        output_of("from layerforge import Net\n" + program, names, "torch.md")
    with np.load(ANSWERS) as answers:
        wanted = answers["tagger/y"]
    found = names["tagger"].forward(phase="eval", **TAGGER.drawn())["body/head"]
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())
    assert Path("back.safetensors").is_file()


def test_every_type_of_the_table_is_recorded() -> None:
    with np.load(ANSWERS) as answers:
        recorded = {name.partition("/")[0].replace("_", "").lower() for name in answers.files}
    page = (Path(__file__).parent.parent / "docs" / "torch.md").read_text().split("## What corresponds to what")[1]
    cells = " ".join(re.findall(r"^\| ([^|]+) \|", page, re.M))
    types = set(re.findall(r"[A-Z]\w+", re.sub("`.*?`| to 3d", "", cells)))
    types |= {"Conv3d", "ConvTranspose3d", "BatchNorm3d"}
    assert len(types) > 15
    missing = {name for name in types if name.lower() not in recorded | {"instancenorm1d"}}
    assert not missing
