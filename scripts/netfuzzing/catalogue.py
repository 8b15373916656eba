"""The catalogue of random nets: from a Spec to a type, its hyper-parameters and how often it reads the blob."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from layerforge.arrays.spec import Spec

TOKENS = 5  # words that there are

Made = Callable[[random.Random, Spec], tuple[str, dict[str, Any], int]]


def plain(kind: str, **keys: Any) -> Made:
    """A layer with these hyper-parameters; a function of rng and Spec stands for what depends on them."""
    bottoms = keys.pop("bottoms", 1)

    def made(rng: random.Random, spec: Spec) -> tuple[str, dict[str, Any], int]:
        return kind, {k: v(rng, spec) if callable(v) else v for k, v in keys.items()}, bottoms

    return made


def one_of(*values: Any) -> Callable[[random.Random, Spec], Any]:
    """One of these values."""
    return lambda rng, spec: rng.choice(values)


def window(kind: str, **keys: Any) -> Made:
    """A layer with windows: their size, stride and padding."""
    sizes = {"kernel_size": one_of(1, 2, 3), "stride": one_of(1, 1, 2), "padding": one_of(0, 0, 1)}
    return plain(kind, **{**sizes, **keys})


def axis(rng: random.Random, spec: Spec) -> int:
    """Any axis but that of the samples."""
    return rng.randrange(1, max(spec.ndim, 2))


def counts(rng: random.Random, spec: Spec) -> list[int]:
    """How often each place of axis 1 is repeated; some not at all."""
    return [rng.choice((0, 1, 1, 2)) for size in spec.shape[1:2] for _ in range(size)]


def subscripts(rng: random.Random, spec: Spec) -> list[Any]:
    """Numbers, slices and lists, for some of the axes but that of the samples."""
    found: list[Any] = [":"]
    for size in spec.shape[1 : rng.randrange(2, max(spec.ndim, 2) + 1)]:
        places = [rng.randrange(-size, size) for _ in range(2)]  # lists that are several name places together
        found.append(rng.choice((":", "1:", "::-1", "-2:", "::2", rng.randrange(-size, size), places, places)))
    return found


ANYWHERE = [
    *(plain(kind) for kind in (
        "ReLU", "ReLU", "Tanh", "Sigmoid", "GELU", "SiLU", "Mish", "ELU", "SELU", "CELU", "Softplus", "Softsign", "Erf",
        "Sin", "Cos", "Neg", "Abs", "HardSigmoid", "HardSwish", "Hardtanh", "ReLU6", "LogSigmoid", "PReLU", "Identity",
        "Flatten", "Square", "Scale", "Bias",
    )),
    plain("LeakyReLU", negative_slope=0.2), plain("Clamp", min=-0.7, max=0.9),
    plain("Dropout", p=one_of(0.2, 0.5)), plain("Dropout", p=0.4),
    plain("Softmax", dim=axis), plain("LogSoftmax", dim=axis), plain("Cumsum", dim=axis), plain("Flip", dims=axis),
    plain("BatchNorm"), plain("BatchNorm", affine=False), plain("Unsqueeze", dim=axis),
    plain("Mean", dim=axis), plain("Sum", dim=axis, keepdim=one_of(True, False)), plain("Max", dim=axis),
    plain("LayerNorm", normalized_shape=lambda rng, spec: spec.shape[-1]),
    plain("RMSNorm", normalized_shape=lambda rng, spec: spec.shape[-1], eps=1e-5),  # by default it is the type's
    plain("Linear", out_features=one_of(1, 2, 4, 8)), plain("Linear", out_features=3, bias=False),
    plain("Permute", dims=lambda rng, spec: [0, *rng.sample(range(1, spec.ndim), spec.ndim - 1)]),
    plain("Permute", dims=lambda rng, spec: [0, *range(1, spec.ndim)][:1] + [*range(1, spec.ndim)][::-1]),
    plain("Pad", padding=one_of([1, 0], [1, 2])), plain("Squeeze"), plain("GLU", dim=axis), plain("GLU", dim=axis),
    plain("Sort", dim=axis, descending=one_of(True, False)),
    plain("RepeatInterleave", dim=axis, repeats=2), plain("RepeatInterleave", dim=1, repeats=counts),
    plain("Index", index=subscripts), plain("Index", index=subscripts),
]  # fmt: skip
IMAGES = [
    *(window("Conv2d", out_channels=one_of(1, 2, 4), bias=one_of(True, True, False)) for _ in range(3)),
    window("Conv2d", out_channels=2, kernel_size=2, dilation=2), window("ConvTranspose2d", out_channels=one_of(1, 2)),
    window("MaxPool2d"), window("MaxPool2d"), window("AvgPool2d"), plain("AvgPool2d", kernel_size=1),
    plain("GlobalAvgPool2d"), plain("AdaptiveAvgPool2d", output_size=one_of(1, 2)), plain("BatchNorm"),
    plain("GroupNorm", num_groups=one_of(1, 2)), plain("InstanceNorm"), plain("LocalResponseNorm", size=3, alpha=0.5),
    plain("Dropout2d", p=0.5), plain("Dropout2d", p=0.3), plain("Upsample", scale_factor=2), plain("MVN"),
    plain("PixelShuffle", upscale_factor=2), plain("Unfold", kernel_size=2),
    plain("SpatialPyramidPool", pyramid_height=2), plain("AdaptiveMaxPool2d", output_size=one_of(1, 2)),
    plain("SVDVals"), plain("Det"),
]  # fmt: skip
SEQUENCES = [
    plain("LSTM", hidden_size=one_of(2, 4)), plain("GRU", hidden_size=one_of(2, 4)), plain("RNN", hidden_size=3),
    plain("LSTM", hidden_size=3, bidirectional=True), plain("MultiheadAttention", num_heads=one_of(1, 2)),
    plain("ScaledDotProductAttention", bottoms=3, causal=one_of(True, False)), plain("PositionalEmbedding", max_len=8),
    window("Conv1d", out_channels=one_of(2, 3)), window("MaxPool1d"), window("AvgPool1d"), plain("InstanceNorm"),
    window("ConvTranspose1d", out_channels=2), window("Unfold1d"), plain("SVDVals"), plain("Det"), plain("Det"),
]  # fmt: skip
VOLUMES = [
    window("Conv3d", out_channels=2), window("MaxPool3d"), window("AvgPool3d"), plain("Reshape", shape=[0, 0, 0, -1]),
    plain("Flatten", start_dim=2), window("ConvTranspose3d", out_channels=2), plain("Unfold3d", kernel_size=2),
]  # fmt: skip
EMBEDDING = [plain("Embedding", num_embeddings=TOKENS, embedding_dim=one_of(2, 4))]


def suitable(spec: Spec) -> list[Made]:
    """The layers that may suit a blob."""
    if not spec.is_real:
        return EMBEDDING
    special = {3: SEQUENCES, 4: IMAGES, 5: VOLUMES}.get(spec.ndim, [])
    return [*ANYWHERE, *special, *special]
