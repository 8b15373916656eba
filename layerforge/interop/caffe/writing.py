"""An imported model as a folder: net.yaml, train.yaml, weights.h5, and the account of how exact it is.

`layerforge predict DIR`, `layerforge.load_model(DIR)` and, with data, `layerforge train` take it from there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os.path import relpath
from pathlib import Path
from typing import Any

from ... import snapshot
from ...config.yaml_dump import dump_yaml
from ...net import Net
from ...schema.texts import to_json
from .against import Comparison
from .model import Model
from .preprocessing import Preprocessing, signed
from .training import Training

NET, WEIGHTS = "net.yaml", "weights.h5"  # as `layerforge.load_model` expects them in a folder
TRAIN = "train.yaml"
START = "train_weights.h5"  # where the net that is trained has layers with weights that net.yaml has not
FIDELITY = "fidelity"


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
    texts = {NET: net_yaml(model, _imports(imports, path)).encode("utf-8", errors="replace"), **(more or {})}
    start = None if training is None else _start(model, training)
    if training is not None:
        texts[TRAIN] = training.text(model.name, path.absolute(), start, _imports(imports, path))
    texts |= {
        f"{FIDELITY}.md": (model.report.markdown() + _checked(compared)).encode("utf-8", errors="replace"),
        f"{FIDELITY}.json": (to_json(_plain(model, compared), indent=1, words=True) + "\n").encode(),
    }
    with snapshot.writing(path, "choose another place"):
        path.mkdir(parents=True, exist_ok=True)
    if net is not None:
        arrays, meta = signed(model, net, preprocessing)
        snapshot.write_snapshot(path / WEIGHTS, arrays, meta)
    if training is not None and start == START:
        snapshot.write_snapshot(path / START, training.arrays, {"kind": "weights"})
    for name, content in texts.items():
        snapshot.atomic_write(path / name, content)
    return path


def _plain(model: Model, compared: Comparison | None) -> dict[str, Any]:
    """fidelity.json."""
    return model.report.plain() | ({} if compared is None else {"check": compared.plain})


def _checked(compared: Comparison | None) -> str:
    """What --check found, for fidelity.md."""
    if compared is None:
        return ""
    lines = ["", f"## Compared with {compared.against}", "", "| layer | largest difference | |", "|---|---|---|"]
    for row in compared.rows:
        number = "" if row.largest != row.largest else f"{row.largest:.1e}"
        lines.append(f"| `{_line(row.name)}` | {number} | {_line(row.verdict)} |")
    return "\n".join([*lines, "", f"{compared.result[0].upper()}{compared.result[1:]}."]) + "\n"


def _start(model: Model, training: Training) -> str | None:
    """The file of weights that training starts from; None where none were given."""
    if not training.arrays:
        return None
    return WEIGHTS if training.arrays.keys() <= model.arrays.keys() else START


def _imports(files: Sequence[str | Path], folder: Path) -> dict[str, list[str]]:
    """The section `import` of a configuration in a folder; nothing where there are no files."""
    return {"import": [relpath(file, folder) for file in files]} if files else {}


def net_yaml(model: Model, imports: Mapping[str, list[str]] | None = None) -> str:
    """The configuration as a file, with a comment for every name of Caffe's that is another one here."""
    lines = [f"# {_line(model.name)}, a net of Caffe in phase {model.phase}, from {_line(model.report.source)}"]
    lines += [f"# layer {_line(old)} of Caffe is {new}" for old, new in model.report.layers.items()]
    lines += [f"# blob {_line(old)} of Caffe is {new}" for old, new in model.report.blobs.items()]
    return "\n".join(lines) + "\n" + dump_yaml({**(imports or {}), **model.config})


def _line(text: str) -> str:
    """A text that stays on its line, as a comment."""
    return text if text.isprintable() else repr(text)
