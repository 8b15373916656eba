"""An imported model as a folder: net.yaml, train.yaml, weights.h5, and the account of how exact it is.

`layerforge predict DIR`, `layerforge.load_model(DIR)` and, with data, `layerforge train` take it from there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...config.yaml_dump import dump_yaml
from ...net import Net
from ..comparison import Comparison
from ..folder import NET, WEIGHTS, accounts, imported_files, on_a_line, write_files
from ..images import Preprocessing
from .model import Model
from .preprocessing import signed
from .reopening import DEFINITION, kept
from .saving import whole_definition
from .training import Training

TRAIN = "train.yaml"
START = "train_weights.h5"  # where the net that is trained has layers with weights that net.yaml has not


def write_folder(
    model: Model,
    folder: str | Path,
    more: Mapping[str, bytes] | None = None,
    *,
    training: Training | None = None,
    preprocessing: Preprocessing | None = None,
    compared: Comparison | None = None,
    imports: Sequence[str | Path] = (),
) -> Path:
    """Write a model into a folder, which is made where there is none.

    more           further files by their names
    training       what train.yaml says
    preprocessing  how images become an input: `layerforge predict` takes images then
    compared       what --check found
    imports        Python files that register layers which the model has

    Nothing is written before all of it is known to be right: the net is built and filled first.
    Errors   DataError where the folder cannot be written
    """
    path = Path(folder)
    net = Net.from_config(model.config, keep="none") if model.arrays else None
    if net is None and model.blob_maps:
        model.report.notes.append("no weights were given: all layers start from their fillers")
    if preprocessing is not None:
        model.report.preprocessing |= preprocessing.told
    if net is not None:
        model.fill(net)
    texts = {NET: net_yaml(model, imported_files(imports, path)).encode("utf-8", errors="replace"), **(more or {})}
    start = None if training is None else _start(model, training)
    if training is not None:
        texts[TRAIN] = training.text(model.name, path.absolute(), start, imported_files(imports, path))
    texts |= accounts(model.report, compared, {"definition": kept(model)})
    texts[DEFINITION] = whole_definition(model)
    snapshots: dict[str, tuple[Mapping[str, np.ndarray], dict[str, Any]]] = {}
    if net is not None:
        snapshots[WEIGHTS] = signed(model, net, preprocessing)
    if training is not None and start == START:
        snapshots[START] = training.arrays, {"kind": "weights"}
    write_files(path, texts, snapshots)
    return path


def _start(model: Model, training: Training) -> str | None:
    """The file of weights that training starts from; None where none were given."""
    if not training.arrays:
        return None
    return WEIGHTS if training.arrays.keys() <= model.arrays.keys() else START


def net_yaml(model: Model, imports: Mapping[str, list[str]] | None = None) -> str:
    """The configuration as a file, with a comment for every name of Caffe's that is another one here."""
    lines = [f"# {on_a_line(model.name)}, a net of Caffe in phase {model.phase}, from {on_a_line(model.report.source)}"]
    lines += [f"# layer {on_a_line(old)} of Caffe is {new}" for old, new in model.report.layers.items()]
    lines += [f"# blob {on_a_line(old)} of Caffe is {new}" for old, new in model.report.blobs.items()]
    return "\n".join(lines) + "\n" + dump_yaml({**(imports or {}), **model.config})
