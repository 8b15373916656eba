"""Trained models as seeds: what a file says of its net, inputs and reader is spoilt in its own texts."""

from __future__ import annotations

import copy
import functools
import json
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from layerforge import Net, load_model, snapshot
from layerforge.arrays.spec import Spec
from layerforge.config.document import Config
from layerforge.data.opening import open_data
from layerforge.graph.uses import uses_of
from layerforge.inference.model import Model
from layerforge.inference.saving import save_model
from layerforge.inference.trained import WEIGHTS, Trained
from layerforge.training.preparation import signature_for

TEXTS = ("signature", "kinds", "config")  # of a file, which are JSON
BETWEEN = b"\0META\0"
LARGEST = 100_000  # elements of a sample that is tried
MODEL_WORDS = (
    b"null", b"-1", b"0", b"1e999", b"NaN", b"9" * 30, b"true", b'""', b"[]", b"{}", b'"index"', b'"real"', b'"csr"',
    b'"x"', b'"label"', b'"uint8"', b'"object"', b'"float64"', b'"table"', b'"array"', b'"svmlight"', b'"text"',
    b'"pairs"', b'"kind"', b'"shape"', b'"low"', b'"high"', b'"version"', b"2147483647", b"\\ud800", b"\\u0000",
    b"type: ReLU", b"type: Input", b"data: {}", b"inputs: {}", b"import: [x.py]", b"threads: 0",
)  # fmt: skip

TABLE = "wide,high,kind\n" + "".join(f"{n},{n * n % 7},{'ab'[n % 2]}\n" for n in range(12))
LINES = "".join(f"{n % 2} 1:{n + 1} 3:{n % 5 + 1}\n" for n in range(12))


def _model(folder: Path, source: dict[str, Any], first: list[dict[str, Any]]) -> bytes:
    """The file of a net that takes what a source gives, through a fitted transform."""
    loss = {"name": "loss", "type": "SoftmaxCrossEntropy", "bottom": ["fc", "label"]}
    layers = [*first, {"name": "fc", "type": "Linear", "out_features": 2}, loss]
    data = {"train": {**source, "batch_size": 4}}
    config = Config.from_dict({"name": "n", "data": data, "net": layers})
    net = Net(config, keep="none")
    given = config.data.train.source
    opened = open_data(config.data, uses=uses_of(net.graph))
    signature = signature_for(net, given)
    trained = Trained(None, config.resolved(), None, net, folder, signature, given.reader(), opened.transform)
    return (save_model(trained, folder / "model") / WEIGHTS).read_bytes()


@functools.cache
def model_files() -> list[bytes]:
    """One of images, one of a table, one of sparse lines."""
    with tempfile.TemporaryDirectory(prefix="fuzz-models-") as name:
        folder = Path(name)
        (folder / "t.csv").write_text(TABLE)
        (folder / "t.txt").write_text(LINES)
        images = np.random.default_rng(0).integers(0, 256, (8, 1, 3, 3), dtype=np.uint8)
        np.savez(folder / "t.npz", image=images, label=np.arange(8) % 2)
        flat = {"name": "flat", "type": "Flatten", "bottom": "image"}
        hidden = {"name": "hidden", "type": "Linear", "bottom": "x", "out_features": 3}
        return [
            _model(folder, {"type": "NPZ", "path": str(folder / "t.npz")}, [flat]),
            _model(folder, {"type": "CSV", "path": str(folder / "t.csv"), "label": "kind"}, [hidden]),
            _model(folder, {"type": "SVMLight", "path": str(folder / "t.txt")}, [hidden]),
        ]


def from_model(data: bytes) -> bytes:
    """The texts of a file."""
    index = snapshot._index(data, data.find(b"\n", data.find(b"\n") + 1) + 1)
    arrays = snapshot._arrays(data, index)
    return BETWEEN.join(arrays[snapshot.META + text].tobytes() for text in TEXTS)


def to_model(rng: random.Random, good: bytes, content: bytes) -> bytes:
    """The file with other texts, and the right digest; most texts are JSON still, but say something else."""
    arrays, meta = snapshot.unpack(good, "the good file")
    texts = dict(zip(TEXTS, content.split(BETWEEN), strict=False))
    if rng.random() < 0.8:
        wrong = {name: meta[name] for name in TEXTS}
        for _ in range(rng.choice((1, 1, 1, 2, 4))):
            name = rng.choice(TEXTS[:2])
            wrong[name] = changed(rng, wrong[name])
        texts = {name: json.dumps(value).encode() for name, value in wrong.items()}
    chosen = {snapshot.META + name: np.array(text or b" ") for name, text in texts.items()}
    rest = {name: value for name, value in meta.items() if name not in texts and name != "format"}
    return snapshot.pack(arrays | chosen, rest)


VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 3, 0.5, -1e300, 2**31, 2**63, 10**30, "", "x", "label", "index", "real", "csr",
    "uint8", "object", "float64", "table", "array", "svmlight", "pairs", "text", [], {}, [1, 3, 3], [0], [[]], ["x"],
    float("nan"), float("inf"), "é\ud800", "../../x",
)  # fmt: skip


def changed(rng: random.Random, value: Any) -> Any:
    """A value with one of its parts replaced, taken out, doubled or exchanged with another."""
    places = list(_places(value))
    if not places or rng.random() < 0.02:
        return copy.deepcopy(rng.choice(VALUES))
    inside, key = rng.choice(places)
    change = rng.randrange(5)
    if change == 0:
        del inside[key]
    elif change == 1 and isinstance(inside, list):
        inside.insert(key, copy.deepcopy(inside[key]))
    elif change == 2:
        other, at = rng.choice(places)
        inside[key] = copy.deepcopy(other[at])
    elif change == 3 and isinstance(inside, dict):
        inside[rng.choice(("x", "image", "kind", "extra", key[::-1]))] = inside.pop(key)
    else:
        inside[key] = copy.deepcopy(rng.choice(VALUES))
    return value


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every part of a value, as what holds it and its key there."""
    if not isinstance(value, (dict, list)):
        return
    for key, part in list(value.items() if isinstance(value, dict) else enumerate(value)):
        yield value, key
        yield from _places(part)


def read_model(path: Path) -> object:
    """Open it, say what it is, and predict where its samples are small."""
    model = load_model(path)
    text = model.summary()
    if all(spec.size <= LARGEST for spec in model.inputs.values()):
        model.predict({name: _sample(model, name, spec) for name, spec in model.inputs.items()})
    return text


def _sample(model: Model, name: str, spec: Spec) -> Any:
    if spec.sparse:
        import scipy.sparse

        return scipy.sparse.csr_array((2, spec.shape[0]))
    kind = model.kinds.get(name)
    return np.zeros((2, *spec.shape), "int64" if kind is None else kind.dtype)
