"""An imported model as a folder: net.yaml, weights.h5, and the account of how exact it is.

`layerforge predict DIR`, `layerforge.load_model(DIR)` and `layerforge.Net.from_yaml` take it from there.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ...config.yaml_dump import dump_yaml
from ...net import Net
from ..comparison import Comparison
from ..folder import NET, WEIGHTS, accounts, on_a_line, write_files
from ..images import UNKNOWN, Preprocessing, image_of
from ..signing import signed
from .model import Model


def write_folder(
    model: Model,
    folder: str | Path,
    *,
    preprocessing: Preprocessing | None = None,
    compared: Comparison | None = None,
) -> Path:
    """Write a model into a folder, which is made where there is none.

    preprocessing   how images become an input: `layerforge predict` takes images then
    compared        what --check found

    Nothing is written before all of it is known to be right: the net is built and filled first.
    Errors   DataError where the folder cannot be written
    """
    path = Path(folder)
    net = Net.from_config(model.config, keep="none")
    model.fill(net)
    if preprocessing is not None:
        model.report.preprocessing |= preprocessing.told
    elif (image := image_of(shapes(model))) is not None:
        model.report.preprocessing |= {f"images of {image}": UNKNOWN}
    reader, transform = (None, None) if preprocessing is None else (preprocessing.reader, preprocessing.transform)
    texts = {NET: net_yaml(model).encode("utf-8", errors="replace"), **accounts(model.report, compared)}
    write_files(path, texts, {WEIGHTS: signed(net, reader, transform)})
    return path


def shapes(model: Model) -> dict[str, Sequence[int]]:
    """Of the inputs that are numbers, with the batch axis."""
    sections = model.config.get("inputs", {}).items()
    return {name: section["shape"] for name, section in sections if "int" not in section.get("dtype", "")}


def net_yaml(model: Model) -> str:
    """The configuration as a file, with a comment for every name of the file's that is another one here."""
    graph = model.graph
    by = f", written by {on_a_line(graph.producer)}" if graph.producer else ""
    lines = [f"# {on_a_line(model.name)}, an ONNX graph (version {graph.opset}){by}"]
    lines += [f"# from {on_a_line(model.report.source)}"]
    lines += [f"# node {on_a_line(old)} is {new}" for old, new in model.report.layers.items()]
    lines += [f"# value {on_a_line(old)} is {new}" for old, new in model.report.blobs.items()]
    return "\n".join(lines) + "\n" + dump_yaml(model.config)
