"""An imported model as a folder: net.yaml, weights.h5, and the account of how exact it is.

`layerforge predict DIR`, `layerforge.load_model(DIR)` and, with data, `layerforge train` take it from there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from ... import snapshot
from ...config.yaml_dump import dump_yaml
from ...net import Net
from .model import Model

NET, WEIGHTS = "net.yaml", "weights.h5"  # as `layerforge.load_model` expects them in a folder
FIDELITY = "fidelity"


def write_folder(model: Model, folder: str | Path, more: Mapping[str, bytes] | None = None) -> Path:
    """Write a model into a folder, which is made where there is none.

    more   further files by their names

    Nothing is written before all of it is known to be right: the net is built and filled first.
    Errors   DataError where the folder cannot be written
    """
    path = Path(folder)
    net = Net.from_config(model.config, keep="none") if model.arrays else None
    texts = {
        NET: net_yaml(model).encode("utf-8", errors="replace"),
        f"{FIDELITY}.md": model.report.markdown().encode("utf-8", errors="replace"),
        f"{FIDELITY}.json": (json.dumps(model.report.plain(), indent=1) + "\n").encode(),
        **(more or {}),
    }
    if net is not None:
        model.fill(net)
    with snapshot.writing(path, "choose another place"):
        path.mkdir(parents=True, exist_ok=True)
    if net is not None:
        net.save(path / WEIGHTS)
    for name, content in texts.items():
        snapshot.atomic_write(path / name, content)
    return path


def net_yaml(model: Model) -> str:
    """The configuration as a file, with a comment for every name of Caffe's that is another one here."""
    lines = [f"# {_line(model.name)}, a net of Caffe in phase {model.phase}, from {_line(model.report.source)}"]
    lines += [f"# layer {_line(old)} of Caffe is {new}" for old, new in model.report.layers.items()]
    lines += [f"# blob {_line(old)} of Caffe is {new}" for old, new in model.report.blobs.items()]
    return "\n".join(lines) + "\n" + dump_yaml(model.config)


def _line(text: str) -> str:
    """A text that stays on its line, as a comment."""
    return text if text.isprintable() else repr(text)
