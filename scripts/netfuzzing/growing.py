"""Random nets grow layer by layer: one that suits the present blob is drawn from the catalogue and set up on its Spec;
where it does not fit, another one is drawn.
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

from .catalogue import suitable

BATCH = 3  # samples in the declared shapes; passes take others
CLASSES = 4
LARGEST = 600  # elements per sample of a blob


def bottoms(item: Mapping[str, Any]) -> list[str]:
    """What a layer of a configuration reads."""
    return [item["bottom"]] if isinstance(item["bottom"], str) else item["bottom"]


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
