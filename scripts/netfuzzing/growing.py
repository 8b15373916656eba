"""Random nets grow layer by layer: one that suits the present blob is drawn from the catalogue and set up on its Spec;
where it does not fit, another one is drawn. What a layer reads besides are inputs, or layers, that are made for it.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import numpy as np

from layerforge.arrays.spec import Spec
from layerforge.contract import call
from layerforge.schema.errors import LayerForgeError
from layerforge.schema.registry import LAYERS

from .catalogue import TOKENS, suitable

Items = dict[str, Any]
BATCH = 3  # samples in the declared shapes; passes take others
CLASSES = 4
LARGEST = 600  # elements per sample of a blob
OF_LABELS: dict[str, dict[str, Any]] = {"FocalLoss": {"gamma": 1.5}, "DiceLoss": {"squares": True}}


def bottoms(item: Mapping[str, Any]) -> list[str]:
    """What a layer of a configuration reads."""
    if "bottom" not in item:
        return []
    return [item["bottom"]] if isinstance(item["bottom"], str) else item["bottom"]


def read_ones(inputs: Items, layers: list[Items]) -> tuple[Items, list[Items]]:
    """Inputs but x, and layers without a bottom, that some layer reads."""
    read = {name for item in layers for name in bottoms(item)}
    kept = {name: declared for name, declared in inputs.items() if name == "x" or name in read}
    return kept, [item for item in layers if bottoms(item) or item["name"] in read]


class Growing:
    """A net that grows: layers as in a configuration, and the Spec of every blob.

    blobs   those that layers may go on from: with an axis of samples
    aside   the others: indices, grids, constants, what losses are held against
    ranges  of inputs that are indices: how many values they have
    """

    def __init__(self, rng: random.Random) -> None:
        self.rng, self.losses = rng, 0
        pick = rng.choice
        rows, images = (pick((2, 3, 6)),), (pick((1, 2, 4)), pick((3, 5, 6)), pick((4, 6)))
        sequences, words, volumes = (pick((3, 4)), pick((2, 4))), (pick((3, 4)),), (2, 3, 4, 4)
        shape = pick((rows, images, sequences, words, volumes))
        tokens = shape is words
        spec = Spec((BATCH, *shape), "int64" if tokens else "float32", role="index" if tokens else "real")
        self.blobs, self.aside = {"x": spec}, dict[str, Spec]()
        self.ranges = {"x": TOKENS} if tokens else {}
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
            (top, *_) = call.setup(layer, [self.blobs[b] if b in self.blobs else self.aside[b] for b in bottoms])
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
            if spec.is_real and self.rng.random() < 0.12:
                grown = self.rng.choice((self.scatter, self.where, self.sample, self.definite))(spec, others)
            elif spec.is_real and others and self.rng.random() < 0.3:
                kind = self.rng.choice(("Add", "Add", "Add", "Mul", "Sub", "Concat", "Stack"))
                pair = [self.last, self.rng.choice(others)]
                self.rng.shuffle(pair)
                grown = self.add(kind, pair, **({"dim": 1} if kind in ("Concat", "Stack") else {}))
            else:
                kind, keys, bottoms = self.rng.choice(suitable(spec))(self.rng, spec)
                grown = self.add(kind, [self.last] * bottoms, **keys)
            if grown:
                return

    def scatter(self, spec: Spec, others: list[str]) -> bool:
        """Elements of a blob at places of another one, or of itself."""
        if spec.ndim < 2:
            return False
        axis = self.rng.randrange(1, spec.ndim)
        shape = [BATCH, *(self.rng.randint(1, n) for n in spec.shape[1:])]
        index = self.extra("i", shape, high=spec.shape[axis])
        kind, src = self.rng.choice(("Scatter", "ScatterAdd")), self.rng.choice([*others, self.last])
        return self.add(kind, [self.last, index, src], dim=axis)

    def where(self, spec: Spec, others: list[str]) -> bool:
        """One of two blobs, element by element or sample by sample."""
        shape = [BATCH, *(self.rng.choice((1, n)) for n in spec.shape[1:])]
        return self.add("Where", [self.extra("i", shape, high=2), self.last, self.rng.choice([*others, "x"])])

    def sample(self, spec: Spec, others: list[str]) -> bool:
        """An image or a volume read at places in between its positions."""
        if spec.ndim not in (4, 5):
            return False
        axes = spec.ndim - 2
        grid = self.extra("g", [BATCH, *(self.rng.choice((1, 2, 3)) for _ in range(axes)), axes])
        mode = self.rng.choice(("bilinear", "bilinear", "nearest", "bicubic")[: 6 - axes])
        padding = self.rng.choice(("zeros", "border", "reflection"))
        return self.add("GridSample", [self.last, grid], mode=mode, padding_mode=padding)

    def definite(self, spec: Spec, others: list[str]) -> bool:
        """Positive definite matrices, I + t tᵀ, and what is defined for those, or is well conditioned there."""
        if spec.ndim != 3 or not self.add("Tanh", [self.last]):
            return False
        if not self.add("Einsum", [self.last, self.last], equation="nij,nkj->nik"):
            return False
        size = spec.shape[1]
        identity = f"c{len(self.layers)}"
        self.aside[identity] = Spec((size, size))
        value = np.eye(size).reshape(-1).tolist()
        self.layers.append({"name": identity, "type": "Constant", "value": value, "shape": [size, size]})
        if not self.add("Add", [self.last, identity]):
            return False
        return self.add(self.rng.choice(("Cholesky", "Cholesky", "Det", "LogDet", "Inverse")), [self.last])

    def extra(self, kind: str, shape: list[int], high: int | None = None) -> str:
        """An input of its own: indices below `high`, or real numbers."""
        name = f"{kind}{len(self.inputs)}"
        if high is None:
            self.aside[name] = Spec(shape)
            self.inputs[name] = {"shape": shape, "grad": self.rng.random() < 0.5}
        else:
            self.aside[name] = Spec(shape, "int64", role="index")
            self.inputs[name], self.ranges[name] = {"shape": shape, "dtype": "int64"}, high
        return name

    def end(self) -> None:
        """One loss, or two, or none."""
        for kind in self.rng.choice((["labels"], ["labels"], ["real"], ["labels", "real"], [])):
            self.last = self.rng.choice(list(self.blobs)[-2:])
            if not self.blobs[self.last].is_real or not self.blobs[self.last].shape:
                continue
            if len(self.blobs[self.last].shape) != 2:
                self.add("Flatten", [self.last])
            weight = {"loss_weight": self.rng.choice((0.5, 2.0))} if self.rng.random() < 0.3 else {}
            if kind == "labels" and self.add("Linear", [self.last], out_features=CLASSES):
                labels = self.extra("t", [BATCH], high=CLASSES)
                loss = self.rng.choice(("SoftmaxCrossEntropy", "SoftmaxCrossEntropy", "HingeLoss", *OF_LABELS))
                self.losses += self.add(loss, [self.last, labels], **OF_LABELS.get(loss, {}), **weight)
            elif kind == "real":
                right = self.extra("u", list(self.blobs[self.last].shape))
                loss = self.rng.choice(("MSELoss", "EuclideanLoss", "HuberLoss", "L1Loss", "BCEWithLogitsLoss"))
                self.losses += self.add(loss, [self.last, right], **weight)
        self.inputs, self.layers = read_ones(self.inputs, self.layers)
