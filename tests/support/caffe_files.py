"""Real files of Caffe and what Caffe computes from them, in the folder that LAYERFORGE_CAFFE names."""

from __future__ import annotations

import functools
import json
import os
from pathlib import Path
from typing import Any

from .tools import demand_that


def caffe_folder() -> Path:
    """The folder; without it the test that asks is skipped, in CI it fails."""
    folder = Path(os.environ.get("LAYERFORGE_CAFFE", ""))
    there = "LAYERFORGE_CAFFE" in os.environ and (folder / "index.json").is_file()
    demand_that(there, "LAYERFORGE_CAFFE, the folder of Caffe's files with an index.json")
    return folder


def caffe_index() -> dict[str, Any]:
    """What its index.json says."""
    return _index(caffe_folder() / "index.json")


@functools.cache
def _index(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())
