"""Files of safetensors as seeds: of models of ours, which say what they are, and of torch's weights."""

from __future__ import annotations

import contextlib
import functools
import json
import random
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from layerforge import Net
from layerforge.inference.saving import save_weights
from layerforge.inference.trained import open_trained
from layerforge.run.weights_file import read_weights
from layerforge.safetensors_file import LENGTH, pack

from .models import MODEL_WORDS, changed, model_files, read_model

NAME = "w.safetensors"
LIMITS: dict[str, Any] = {"memory": 500 << 20, "seconds": 5.0}
WORDS = (
    *MODEL_WORDS, b'"dtype"', b'"data_offsets"', b'"__metadata__"', b'"F32"', b'"F16"', b'"BF16"', b'"I64"', b'"BOOL"',
    b'"F8_E4M3"', b"[0,8]", b"[0,0]", b"[[", b"fc.weight", b"fc.bias", b"bn.correction", b"layerforge.", b'\\"',
)  # fmt: skip
LAYERS = [
    {"name": "fc", "type": "Linear", "bottom": "x", "out_features": 2},
    {"name": "bn", "type": "BatchNorm", "bias_correction": True},
]


def net_of_torchs_file() -> Net:
    """The net that the file without a description is of."""
    return Net.from_config({"inputs": {"x": {"shape": [2, 3]}}, "net": LAYERS})


@functools.cache
def safetensors_files() -> list[bytes]:
    """Two models, and torch's weights in several floats."""
    with tempfile.TemporaryDirectory(prefix="fuzz-weights-") as name:
        files = []
        for content in model_files()[:2]:
            (Path(name) / "weights.h5").write_bytes(content)
            save_weights(open_trained(Path(name) / "weights.h5"), Path(name) / NAME)
            files.append((Path(name) / NAME).read_bytes())
    arrays = net_of_torchs_file().state_dict()
    foreign = pack({**arrays, "fc.weight": arrays["fc.weight"].astype(np.float16)}, {"format": "pt"})
    return [*files, foreign, foreign.replace(b'"F16"', b'"BF16"').replace(b" ", b"", 1)]


def header_of(data: bytes) -> bytes:
    """The JSON in front of a file."""
    return data[LENGTH : LENGTH + int.from_bytes(data[:LENGTH], "little")]


def with_header(rng: random.Random, good: bytes, content: bytes) -> bytes:
    """The file with another header, whose length is told rightly; most are JSON still, but say something else."""
    if rng.random() < 0.7:
        header = json.loads(header_of(good))
        for _ in range(rng.choice((1, 1, 1, 2, 4))):
            header = _changed(rng, header)
        content = json.dumps(header).encode()
    return len(content).to_bytes(LENGTH, "little") + content + good[LENGTH + len(header_of(good)) :]


def _changed(rng: random.Random, header: Any) -> Any:
    """The header with one change, for half of them in the JSON of one of our texts."""
    texts = header.get("__metadata__") if isinstance(header, dict) else None
    keys = [key for key in texts if key.startswith("layerforge.")] if isinstance(texts, dict) else []
    if not keys or rng.random() < 0.5:
        return changed(rng, header)
    key = rng.choice(keys)
    with contextlib.suppress(TypeError, ValueError):  # a text that an earlier change spoilt
        texts[key] = json.dumps(changed(rng, json.loads(texts[key])))
    return header


def read_safetensors_file(path: Path) -> object:
    """Open it as a model where it says what it is; otherwise load all of it into the net that it is of."""
    if "config" in read_weights(path).meta:
        return read_model(path)
    return net_of_torchs_file().load(path)
