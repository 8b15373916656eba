"""Layers of Caffe compute here what Caffe computed: forward, gradients of bottoms and blobs, statistics."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.caffe_cases import folder, index, named, problems_of

CASES = index()["layers"]


def test_the_cases_are_there() -> None:
    folder()
    assert len(CASES) >= 148


@pytest.mark.parametrize("engine", ["reference", "auto"])
@pytest.mark.parametrize("case", CASES, ids=named(CASES))
def test_as_in_caffe(case: dict[str, Any], engine: str, tmp_path: Path) -> None:
    assert problems_of(case, engine, tmp_path) == []
