"""A trained net as a folder of its own: the net with declared inputs, its weights, and all that predictions need."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from .. import snapshot
from ..config.document import Config
from ..config.yaml_dump import dump_yaml
from ..graph.signature import Signature
from ..run.weights_file import write_weights
from ..schema.errors import DataError
from ..training.checkpoints import TRANSFORM
from .trained import NET, WEIGHTS, Trained

OF_TRAINING = ("data", "solver", "train", "checkpoint")  # sections that a trained net does without


def save_model(trained: Trained, folder: Path) -> Path:
    """Write the folder. Errors   DataError where it cannot be written"""
    files = _named_files(trained.net.config.imports)
    text, meta, constants = _described(trained, list(files))
    with snapshot.writing(folder, "choose another place"):
        folder.mkdir(parents=True, exist_ok=True)
    for name, path in files.items():
        snapshot.atomic_write(folder / name, _content(path))
    write_weights(folder / WEIGHTS, trained.net, meta, constants)
    snapshot.atomic_write(folder / NET, text.encode())
    return folder


def save_weights(trained: Trained, path: Path) -> None:
    """Write one file, as its suffix says: the weights, and all that `open_trained` needs but for imported Python files.

    Errors   those of `write_weights`
    """
    _, meta, constants = _described(trained, trained.net.config.imports)
    write_weights(path, trained.net, meta, constants)


def _described(trained: Trained, imports: Sequence[str]) -> tuple[str, dict[str, Any], dict[str, np.ndarray]]:
    """The net's configuration, what a file of its weights says of it, and the constants of its input transform."""
    signature, transform = _whole(trained), trained.transform
    text = dump_yaml({**_tree(trained, signature), **({"import": list(imports)} if imports else {})})
    meta: dict[str, Any] = {"kind": "weights", "config": text, "signature": signature.plain}
    if transform is None:
        return text, meta, {}
    meta["kinds"] = {name: kind.plain for name, kind in transform.kinds.items()}
    return text, meta, {TRANSFORM + name: array for name, array in transform.state().items()}


def _whole(trained: Trained) -> Signature:
    """The signature with how samples are read, also where that was with the data."""
    reader = trained.reader
    return trained.signature if reader is None else replace(trained.signature, reader=reader.plain())


def _tree(trained: Trained, signature: Signature) -> Mapping[str, Any]:
    config = trained.net.config
    if config.tree.get("data") is not None:
        config = Config.of_inputs(config.resolved(), "the configuration", signature.inputs)
    return {key: value for key, value in config.resolved().items() if key not in OF_TRAINING}


def _named_files(paths: Iterable[str]) -> dict[str, str]:
    """Imported files by the names that their copies have: no two the same."""
    named: dict[str, str] = {}
    for path in paths:
        stem, name = Path(path).stem, Path(path).name
        while name in named:
            name = f"{stem}_{len(named)}.py"
        named[name] = path
    return named


def _content(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as problem:
        hint = "the net is built with it: bring it back"
        raise DataError(f"cannot read {path}: {problem.strerror}", hint=hint) from None
