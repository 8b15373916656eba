"""What a definition says: which layers a phase has, and what Caffe refuses, refused with its place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.caffe_cases import index, named

from layerforge.interop import caffe
from layerforge.schema.errors import ConfigError, exit_code, flatten

REJECTS = index()["rejects"]
RESULTS = index()["rules"].get("results", [])


@pytest.mark.parametrize("result", RESULTS, ids=[f"{r['phase']}-{r['level']}-{'-'.join(r['stages'])}" for r in RESULTS])
def test_rules_choose_the_layers(result: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "net.prototxt"
    file.write_text(index()["rules"]["net"])
    model = caffe.load_model(file, phase=result["phase"].lower(), level=result["level"], stages=result["stages"])
    assert [entry.name for entry in model.report.entries] == result["layers"]


@pytest.mark.parametrize("reject", REJECTS, ids=named(REJECTS))
def test_what_caffe_refuses_is_refused_with_its_place(reject: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "net.prototxt"
    file.write_text(reject["net"])
    with pytest.raises(ConfigError) as caught:
        caffe.load_model(file, phase=reject["phase"].lower())
    assert exit_code(caught.value) == 2
    for error in flatten(caught.value):
        assert error.place is not None
        assert error.place.line > 0
        assert error.place.column > 0
        assert str(file) in str(error)
