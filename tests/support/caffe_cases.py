"""What Caffe computed, recorded: cases of layers and nets, and how they are run here and compared.

The files are in the folder that LAYERFORGE_CAFFE names; nothing of it is part of the project.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from layerforge.interop import caffe

from .tools import demand_that

PHASES = {"TRAIN": "train", "TEST": "eval"}
# Where a recorded number is Caffe's own and not the derivative, or another shape: what may differ.
DIFFERENT = {"mvn_eps": "gradient", "eltwise_prod_zero_unstable": "gradient"}
SHORTER = ("Filter",)  # types whose tops have fewer samples in Caffe: the rest is zeros here


def folder() -> Path:
    """The folder of recorded files; the test that asks is skipped where there is none, and fails in CI."""
    path = Path(os.environ.get("LAYERFORGE_CAFFE", "nowhere"))
    demand_that(path.is_dir(), "the folder of Caffe's files that LAYERFORGE_CAFFE names")
    return path


@functools.cache
def index() -> dict[str, Any]:
    """index.json; empty where the folder is missing, so that tests can be collected."""
    path = Path(os.environ.get("LAYERFORGE_CAFFE", "nowhere")) / "index.json"
    return json.loads(path.read_text()) if path.exists() else {"layers": [], "nets": [], "rejects": [], "rules": {}}


@functools.cache
def arrays(name: str) -> Mapping[str, np.ndarray]:
    """The arrays of an npz of the folder, read once."""
    with np.load(folder() / name) as file:
        return {key: file[key] for key in file.files}


def close(found: Any, expected: np.ndarray) -> str:
    """What is wrong with found numbers: "" where |d| <= 2e-5 (1 + |e|) + 2e-5 max|e| and the shapes are equal."""
    found = np.asarray(found)
    if found.shape != expected.shape:
        return f"shape {found.shape}, expected {expected.shape}"
    if not expected.size:
        return ""
    finite = np.isfinite(expected)
    if not np.array_equal(found[~finite], expected[~finite], equal_nan=True):
        return "other numbers that are not finite"
    if not finite.any():
        return ""
    e, f = expected[finite].astype(np.float64), found[finite].astype(np.float64)
    room = 2e-5 * (1 + abs(e)) + 2e-5 * abs(e).max()
    over = abs(f - e) - room
    if not (over <= 0).all():
        worst = int(np.nanargmax(over)) if np.isfinite(over).any() else 0
        return f"{f[worst]:.9g} where Caffe has {e[worst]:.9g}"
    return ""


def definition_of(case: Mapping[str, Any], data: Mapping[str, np.ndarray]) -> str:
    """The net of a layer case: an Input for each bottom, and the layer."""
    step = case["steps"][0]
    lines = ["force_backward: true"]
    for i, key in enumerate(step.get("bottoms", [])):
        dims = " ".join(f"dim: {n}" for n in data[key].shape)
        lines.append(f"layer {{ name: 'in{i}' type: 'Input' top: 'b{i}' input_param {{ shape {{ {dims} }} }} }}")
    return "\n".join([*lines, case["layer"]])


class Run:
    """A layer case that is run here, step by step; `problems` says what is not as in Caffe."""

    def __init__(self, case: Mapping[str, Any], engine: str, path: Path) -> None:
        self.case = case
        self.data = arrays("layers.npz")
        self.problems: list[str] = []
        file = path / "net.prototxt"
        file.write_text(definition_of(case, self.data))
        self.model = caffe.load_model(file, phase=case["phase"].lower())
        if case.get("params"):
            self.model.set_blobs("L", [self.data[key] for key in case["params"]])
        self.net = self.model.net(keep="all", engine=engine)
        self.tops = [f"b{j}" if case["inplace"] else f"t{j}" for j in range(case["n_top"])]

    def run(self) -> list[str]:
        """All steps."""
        self._give_mask()
        for step in self.case["steps"]:
            given = {f"b{i}": self.data[key] for i, key in enumerate(step.get("bottoms", []))}
            phase, backward = PHASES[self.case["phase"]], "bottom_diffs" in step
            self.net.forward(phase=phase, backward=backward, **given)
            for name, key in zip(self.tops, step.get("tops", []), strict=True):
                self._compare(f"top {name}", self.model.blob(self.net, name).data, key)
            if backward:
                self._backward(step)
            for i, key in enumerate(step.get("param_afters", [])):
                self._compare(f"blob {i} after", self.model.param(self.net, "L", i).data, key)
        return self.problems

    def _backward(self, step: Mapping[str, Any]) -> None:
        case = self.case
        if not case["accumulate"]:
            self.net.zero_grad()
        wanted = [None] * len(self.tops) if case["is_loss"] else step.get("top_diffs", [])
        seeds = {name: self._padded(name, self.data[key]) for name, key in zip(self.tops, wanted, strict=False) if key}
        self.net.backward(seeds or None)
        for i, key in enumerate(step["bottom_diffs"]):
            if key:
                self._compare(f"gradient of bottom {i}", self.model.blob(self.net, f"b{i}").grad, key)
        for i, key in enumerate(step.get("param_diffs", [])):
            self._compare(f"gradient of blob {i}", self.model.param(self.net, "L", i).grad, key)

    def _give_mask(self) -> None:
        """Let Dropout draw numbers that make Caffe's mask."""
        extra = self.case.get("extra") or {}
        if "mask" in extra:
            drawn = np.where(self.data[extra["mask"]], np.float32(0.999999), np.float32(0))

            def random(shape: Sequence[int], *, out: Any = None, **_: Any) -> Any:
                numbers = drawn.reshape(tuple(shape))
                if out is None:
                    return numbers.copy()
                out[...] = numbers
                return out

            self.net.layers["L"].random = random

    def _padded(self, name: str, array: np.ndarray) -> np.ndarray:
        """The gradient of a top, which may have more samples here."""
        missing = len(self.model.blob(self.net, name).data) - len(array) if array.ndim else 0
        return np.concatenate([array, np.zeros((missing, *array.shape[1:]), array.dtype)]) if missing else array

    def _compare(self, what: str, found: Any, key: str) -> None:
        if self.case["type"] in SHORTER and what.startswith("top"):
            found = found[: len(self.data[key])]
        told = close(found, self.data[key])
        if told:
            self.problems.append(f"{what}: {told}")


def problems_of(case: Mapping[str, Any], engine: str, path: Path) -> list[str]:
    """What of a layer case is not as in Caffe, without what may differ, which the report has to tell of."""
    different = DIFFERENT.get(case["id"])
    found = Run(case, engine, path).run()
    return [told for told in found if not (different and told.startswith(different))]


def named(cases: Sequence[Mapping[str, Any]]) -> list[str]:
    """Names for parametrize."""
    return [case["id"] for case in cases]
