"""Models of torch whose weights and answers are recorded in tests/golden/torch: what each is as a net of ours.

scripts/make_torch_weights.py has the same models in torch, and records them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden" / "torch"
ANSWERS = GOLDEN / "answers.npz"  # <model>/<name of an array>, and <model>/y
RESNET18 = ROOT / "docs" / "examples" / "resnet18.yaml"
NARROW = 16  # the recorded ResNet-18 has a sixteenth of the channels


@dataclass(frozen=True)
class Model:
    """A model: its inputs, its layers, and where its weights are.

    inputs  {name: shape}; with `words`, integers below that number
    output  the blob that torch's answer is compared with
    file    in which the weights are; "": among the answers
    rename  {torch's name: ours}
    """

    name: str
    inputs: dict[str, tuple[int, ...]]
    layers: tuple[dict[str, Any], ...] = ()
    output: str = "layer"
    words: int = 0
    file: str = ""
    rename: dict[str, str] = field(default_factory=dict)

    @property
    def config(self) -> dict[str, Any]:
        """The net in eval, in float32."""
        index = {"dtype": "int64"} if self.words else {}
        inputs = {name: {"shape": list(shape), **index} for name, shape in self.inputs.items()}
        return {"name": self.name, "inputs": inputs, "net": [dict(layer) for layer in self.layers]}

    def drawn(self) -> dict[str, np.ndarray]:
        """The inputs, from a seed."""
        rng = np.random.default_rng([ord(c) for c in self.name])
        if self.words:
            return {name: rng.integers(0, self.words, shape) for name, shape in self.inputs.items()}
        return {name: rng.normal(size=shape).astype(np.float32) for name, shape in self.inputs.items()}


def one(name: str, type_name: str, *shapes: tuple[int, ...], words: int = 0, **hyper: Any) -> Model:
    """A model that is a single layer."""
    inputs = dict(zip("abc", shapes, strict=False))
    return Model(name, inputs, ({"name": "layer", "type": type_name, "bottom": [*inputs], **hyper},), words=words)


RECURRENT = {"hidden_size": 3, "num_layers": 2, "bidirectional": True}
LAYERS = (
    one("linear", "Linear", (4, 5), out_features=3),
    one("bilinear", "Bilinear", (4, 5), (4, 2), out_features=3),
    one("conv1d", "Conv1d", (2, 4, 7), out_channels=6, kernel_size=3, groups=2, padding=1),
    one("conv2d", "Conv2d", (2, 3, 7, 6), out_channels=4, kernel_size=[3, 2], stride=2, dilation=[1, 2]),
    one("conv3d", "Conv3d", (2, 2, 4, 5, 6), out_channels=3, kernel_size=[1, 2, 3]),
    one("conv_transpose1d", "ConvTranspose1d", (2, 4, 5), out_channels=6, kernel_size=3, groups=2),
    one("conv_transpose2d", "ConvTranspose2d", (2, 3, 4, 3), out_channels=2, kernel_size=[3, 2], stride=2),
    one("conv_transpose3d", "ConvTranspose3d", (1, 2, 2, 3, 2), out_channels=3, kernel_size=2),
    one("batch_norm1d", "BatchNorm", (4, 3)),
    one("batch_norm2d", "BatchNorm", (4, 3, 2, 3)),
    one("batch_norm3d", "BatchNorm", (2, 3, 2, 3, 2)),
    one("batch_norm_of_sums", "BatchNorm", (4, 3, 2, 3), bias_correction=True),
    one("batch_norm_of_all", "BatchNorm", (4, 3, 2, 3), bias_correction=True, momentum=0.0),
    one("layer_norm", "LayerNorm", (4, 5), normalized_shape=[5]),
    one("rms_norm", "RMSNorm", (4, 5), normalized_shape=[5], eps=1e-6),
    one("group_norm", "GroupNorm", (2, 6, 4), num_groups=3),
    one("instance_norm", "InstanceNorm", (2, 3, 4, 5), affine=True),
    one("embedding", "Embedding", (3, 4), words=7, num_embeddings=7, embedding_dim=3),
    one("prelu", "PReLU", (2, 3, 4), num_parameters=3),
    one("rnn", "RNN", (2, 5, 4), **RECURRENT),
    one("lstm", "LSTM", (2, 5, 4), **RECURRENT),
    one("gru", "GRU", (2, 5, 4), **RECURRENT),
    one("lstm_of_one_bias", "LSTM", (2, 5, 4), **RECURRENT, recurrent_bias=False),
    one("multihead_attention", "MultiheadAttention", (2, 5, 6), num_heads=2),
)

TAGGER = Model(  # embedding, nn.LSTM, linear: other names than ours, in bfloat16
    "tagger",
    {"words": (2, 6)},
    (
        {"name": "embed", "type": "Embedding", "bottom": "words", "num_embeddings": 11, "embedding_dim": 5},
        {"name": "body/lstm", "type": "LSTM", **RECURRENT},
        {"name": "body/head", "type": "Linear", "out_features": 4},
    ),
    "body/head",
    words=11,
    file="tagger.safetensors",
    rename={"lstm": "body/lstm", "fc": "body/head"},
)

ENCODER = Model(  # nn.TransformerEncoderLayer, of nn.TransformerEncoder
    "encoder",
    {"x": (2, 5, 6)},
    (
        {"name": "layers.0.self_attn", "type": "MultiheadAttention", "bottom": "x", "num_heads": 2},
        {"name": "add1", "type": "Add", "bottom": ["x", "layers.0.self_attn"]},
        {"name": "layers.0.norm1", "type": "LayerNorm", "normalized_shape": [6]},
        {"name": "layers.0.linear1", "type": "Linear", "out_features": 8},
        {"name": "relu", "type": "ReLU"},
        {"name": "layers.0.linear2", "type": "Linear", "out_features": 6},
        {"name": "add2", "type": "Add", "bottom": ["layers.0.norm1", "layers.0.linear2"]},
        {"name": "layers.0.norm2", "type": "LayerNorm", "normalized_shape": [6]},
    ),
    "layers.0.norm2",
)

RESNET = Model("resnet18", {"image": (2, 3, 64, 64)}, output="fc", file="resnet18.safetensors")
MODELS = (*LAYERS, TAGGER, ENCODER, RESNET)


def narrow_resnet18() -> str:
    """The text of docs/examples/resnet18.yaml with fewer channels, 10 classes and smaller images."""
    text = RESNET18.read_text().replace("out_features: 1000", "out_features: 10")
    text = text.replace("[1, 3, 224, 224]", str(list(RESNET.inputs["image"])))
    return re.sub(r"(\bc|out_channels): (\d+)", lambda found: f"{found[1]}: {int(found[2]) // NARROW}", text)
