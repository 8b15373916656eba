"""Layers of Caffe compute here what Caffe computed: forward, gradients of bottoms and blobs, statistics."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.caffe_cases import DIFFERENT, Run, folder, index, named, problems_of

CASES = index()["layers"]
TOLD = (*DIFFERENT, "filter_basic", "filter_one")


def test_the_cases_are_there() -> None:
    folder()
    assert len(CASES) >= 148


@pytest.mark.parametrize("engine", ["reference", "auto"])
@pytest.mark.parametrize("case", CASES, ids=named(CASES))
def test_as_in_caffe(case: dict[str, Any], engine: str, tmp_path: Path) -> None:
    assert problems_of(case, engine, tmp_path) == []


@pytest.mark.parametrize("case", [case for case in CASES if case["id"] in TOLD], ids=lambda case: case["id"])
def test_the_report_tells_where_caffes_numbers_are_its_own(case: dict[str, Any], tmp_path: Path) -> None:
    entry = Run(case, "reference", tmp_path).model.report.entry("L")
    assert entry.verdict == "exact, with a note"
    assert any(word in " ".join(entry.notes) for word in ("Caffe's gradient", "Caffe's tops have as many samples"))
