"""Trials: a random net and what is done with it. Everything follows from a seed and a number, and is JSON.

A net grows layer by layer: one that suits the present blob is drawn from the catalogue below and set up on its Spec;
where it does not fit, another one is drawn.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from layerforge.arrays.spec import Spec
from layerforge.contract import call
from layerforge.schema.errors import LayerForgeError
from layerforge.schema.registry import LAYERS

BATCH = 3  # samples in the declared shapes; passes take others
TOKENS, CLASSES = 5, 4
LARGEST = 600  # elements per sample of a blob
DISGUISES = ("plain", "fortran", "reversed", "strided", "transposed", "ones", "float64", "float16", "int64", "uint8")


@dataclass
class Action:
    """One thing done with a net.

    kind       "pass", or "step" of a solver
    backwards  of a pass: what each backward starts from, None for the losses, or a blob's name
    disguise   how the inputs are stored, or of which type they are
    """

    kind: str
    batch: int
    data: int
    disguise: str = "plain"
    phase: str = "train"
    backwards: list[str | None] = field(default_factory=list)


@dataclass
class Trial:
    """A configuration, the actions in order, and how its nets are built and run.

    watched   the blobs that are asked to be kept
    keeps     of the reference and of the second net on the engine: "all", "none" or "watched"
    threads   whether all nets run at once
    """

    config: dict[str, Any]
    actions: list[Action]
    watched: list[str]
    keeps: list[str]
    threads: bool

    def as_json(self) -> dict[str, Any]:
        """What json.dumps takes; `from_json` makes a trial of it again."""
        return asdict(self)

    @classmethod
    def from_json(cls, tree: Mapping[str, Any]) -> Trial:
        """The trial that was written down."""
        return cls(**{**tree, "actions": [Action(**action) for action in tree["actions"]]})


def draw(seed: int, number: int) -> Trial:
    """The trial of that number."""
    rng = random.Random(f"{seed}/{number}")
    while True:
        net = Growing(rng)
        for _ in range(rng.choice((1, 2, 3, 4, 5, 6))):
            net.grow()
        net.end()
        if net.layers:
            break
    blobs = [name for name in net.blobs if name not in ("t", "u")]
    real = [name for name in blobs if net.blobs[name].is_real]
    config = {"seed": rng.randrange(100), "inputs": net.inputs, "net": net.layers}
    actions = [_action(rng, real, net.losses > 0) for _ in range(rng.choice((2, 3, 4)))]
    watched = sorted(rng.sample(real, min(len(real), rng.choice((0, 1, 2)))))
    keeps = [rng.choice(("all", "none", "watched")), rng.choice(("none", "none", "watched"))]
    return Trial(config, actions, watched, keeps, rng.random() < 0.25)


def _action(rng: random.Random, blobs: list[str], with_loss: bool) -> Action:
    batch = rng.choice((1, 1, 2, 3, 3, 5))
    data, disguise = rng.randrange(1000), rng.choice(DISGUISES)
    if with_loss and rng.random() < 0.35:
        return Action("step", batch, data, disguise)
    starts: list[str | None] = [None] if with_loss else [rng.choice(blobs)]
    if rng.random() < 0.5:
        starts.append(rng.choice([*blobs, *starts]))
    if rng.random() < 0.3:
        starts = starts[::-1]
    phase = rng.choice(("train", "train", "eval"))
    return Action("pass", batch, data, disguise, phase, starts if rng.random() < 0.85 else [])


def bottoms(item: Mapping[str, Any]) -> list[str]:
    """What a layer of a configuration reads."""
    return [item["bottom"]] if isinstance(item["bottom"], str) else item["bottom"]


# Nets -----------------------------------------------------------------------------------------------------------------


class Growing:
    """A net that grows: layers as in a configuration, and the Spec of every blob."""

    def __init__(self, rng: random.Random) -> None:
        self.rng, self.losses = rng, 0
        pick = rng.choice
        rows, images = (pick((2, 3, 6)),), (pick((1, 2, 4)), pick((3, 5, 6)), pick((4, 6)))
        sequences, words, volumes = (pick((3, 4)), pick((2, 4))), (pick((3, 4)),), (2, 3, 4, 4)
        shape = pick((rows, images, sequences, words, volumes))
        tokens = shape is words
        spec = Spec((BATCH, *shape), "int64" if tokens else "float32", role="index" if tokens else "real")
        self.blobs = {"x": spec}
        self.inputs: dict[str, Any] = {"x": {"shape": list(spec.shape)}}
        self.inputs["x"] |= {"dtype": "int64"} if tokens else {"grad": rng.random() < 0.6}
        self.layers: list[dict[str, Any]] = []
        self.last, self.recomputing = "x", rng.random() < 0.25

    def add(self, kind: str, bottoms: list[str], **keys: Any) -> bool:
        """Add a layer where it can be set up."""
        name = f"l{len(self.layers)}"
        try:
            layer = LAYERS.get(kind).from_config(dict(keys), name)
            layer.xp = np
            (top, *_) = call.setup(layer, [self.blobs[b] for b in bottoms])
        except LayerForgeError:
            return False
        if top.shape and (top.size == 0 or top.size > LARGEST * BATCH or top.shape[0] != BATCH):
            return False
        item = {"name": name, "type": kind, "bottom": bottoms if len(bottoms) > 1 else bottoms[0], **keys}
        if self.recomputing and not layer.loss and self.rng.random() < 0.5:
            item["recompute"] = True
        if layer.param_decls and self.rng.random() < 0.05:
            item["freeze"] = True
        self.layers.append(item)
        self.blobs[name], self.last = top, name
        return True

    def grow(self) -> None:
        """Add a layer that suits the last blob, or another one; sometimes one that brings two blobs together."""
        for _ in range(20):
            if self.rng.random() < 0.15:
                self.last = self.rng.choice([b for b in self.blobs if self.blobs[b].shape])
            spec = self.blobs[self.last]
            others = [n for n, s in self.blobs.items() if s.shape == spec.shape and s.is_real and n != self.last]
            if spec.is_real and others and self.rng.random() < 0.3:
                kind = self.rng.choice(("Add", "Add", "Add", "Mul", "Sub", "Concat", "Stack"))
                pair = [self.last, self.rng.choice(others)]
                self.rng.shuffle(pair)
                grown = self.add(kind, pair, **({"dim": 1} if kind in ("Concat", "Stack") else {}))
            else:
                kind, keys, bottoms = self.rng.choice(suitable(spec))(self.rng, spec)
                grown = self.add(kind, [self.last] * bottoms, **keys)
            if grown:
                return

    def end(self) -> None:
        """One loss, or two, or none."""
        for kind in self.rng.choice((["labels"], ["labels"], ["real"], ["labels", "real"], [])):
            self.last = self.rng.choice([b for b in list(self.blobs)[-2:] if b not in ("t", "u")])
            if not self.blobs[self.last].is_real or not self.blobs[self.last].shape:
                continue
            if len(self.blobs[self.last].shape) != 2:
                self.add("Flatten", [self.last])
            weight = {"loss_weight": self.rng.choice((0.5, 2.0))} if self.rng.random() < 0.3 else {}
            if kind == "labels" and self.add("Linear", [self.last], out_features=CLASSES):
                self.blobs["t"] = Spec((BATCH,), "int64", role="index")
                self.inputs["t"] = {"shape": [BATCH], "dtype": "int64"}
                loss = self.rng.choice(("SoftmaxCrossEntropy", "SoftmaxCrossEntropy", "HingeLoss"))
                self.losses += self.add(loss, [self.last, "t"], **weight)
            elif kind == "real":
                self.blobs["u"] = self.blobs[self.last]
                self.inputs["u"] = {"shape": list(self.blobs["u"].shape)}
                loss = self.rng.choice(("MSELoss", "EuclideanLoss", "HuberLoss", "L1Loss", "BCEWithLogitsLoss"))
                self.losses += self.add(loss, [self.last, "u"], **weight)
        read = {name for item in self.layers for name in bottoms(item)}
        for name in ("t", "u"):
            if name in self.inputs and name not in read:
                del self.inputs[name], self.blobs[name]


# The catalogue: from a Spec to a type, its hyper-parameters and how often it reads the blob ---------------------------

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
    plain("Pad", padding=one_of([1, 0], [1, 2])),
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
]  # fmt: skip
SEQUENCES = [
    plain("LSTM", hidden_size=one_of(2, 4)), plain("GRU", hidden_size=one_of(2, 4)), plain("RNN", hidden_size=3),
    plain("LSTM", hidden_size=3, bidirectional=True), plain("MultiheadAttention", num_heads=one_of(1, 2)),
    plain("ScaledDotProductAttention", bottoms=3, causal=one_of(True, False)), plain("PositionalEmbedding", max_len=8),
    window("Conv1d", out_channels=one_of(2, 3)), window("MaxPool1d"), window("AvgPool1d"), plain("InstanceNorm"),
    window("ConvTranspose1d", out_channels=2), window("Unfold1d"),
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
