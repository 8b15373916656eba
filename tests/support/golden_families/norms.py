"""Golden cases of normalisations other than BatchNorm, and of Scale and Bias."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from support.golden_cases import Case

from layerforge.arrays.spec import Spec

from .builders import learned, one

Shape = tuple[int, ...]


def affine(name: str, hyper: Mapping[str, Any], x: Spec | Shape, *shape: int) -> Case:
    """A case of a layer that learns weight and bias of this shape."""
    spec = x if isinstance(x, Spec) else Spec(x)
    return one(name, hyper, spec, params={"weight": shape, "bias": shape})


def plain(name: str, hyper: Mapping[str, Any], *bottoms: Shape) -> Case:
    """A case of a layer that learns nothing."""
    return one(name, hyper, *(Spec(shape) for shape in bottoms))


def constant_sample(rng: np.random.RandomState, shape: Shape) -> np.ndarray:
    """Numbers whose first sample does not vary."""
    x = rng.random_sample(shape)
    x[0] = 0.7
    return x


FAR = Spec((2, 4, 6), low=1000, high=1001)
FLAT = Spec((3, 4, 3), draw=constant_sample)
WITHIN = {"norm_region": "within_channel"}

CASES = [
    affine("LayerNorm-last", {"normalized_shape": 5}, (3, 5), 5),
    affine("LayerNorm-list", {"normalized_shape": [4]}, (2, 3, 4), 4),
    affine("LayerNorm-two-axes", {"normalized_shape": [3, 4], "eps": 0.25}, (2, 3, 4), 3, 4),
    affine("LayerNorm-all-axes", {"normalized_shape": [2, 3]}, (2, 3), 2, 3),
    affine("LayerNorm-size-1", {"normalized_shape": [1, 3]}, (2, 1, 3), 1, 3),
    affine("LayerNorm-one-number", {"normalized_shape": 1}, (3, 1), 1),
    affine("LayerNorm-large", {"normalized_shape": 65}, (4, 3, 65), 65),
    affine("LayerNorm-far-from-zero", {"normalized_shape": 6}, FAR, 6),
    affine("LayerNorm-no-variance", {"normalized_shape": [4, 3]}, FLAT, 4, 3),
    learned("LayerNorm-no-bias", {"normalized_shape": 4, "bias": False}, (3, 4), weight=(4,)),
    plain("LayerNorm-not-affine", {"normalized_shape": 4, "elementwise_affine": False}, (2, 3, 4)),
    learned("RMSNorm-last", {"normalized_shape": 5}, (3, 5), weight=(5,)),
    learned("RMSNorm-two-axes", {"normalized_shape": [3, 4], "eps": 0.25}, (2, 3, 4), weight=(3, 4)),
    learned("RMSNorm-size-1", {"normalized_shape": [1, 3], "eps": 1e-3}, (2, 1, 3), weight=(1, 3)),
    learned("RMSNorm-one-number", {"normalized_shape": 1, "eps": 0.25}, (3, 1), weight=(1,)),
    plain("RMSNorm-not-affine", {"normalized_shape": 4, "elementwise_affine": False}, (2, 3, 4)),
    affine("GroupNorm-2d", {"num_groups": 2}, (3, 6), 6),
    affine("GroupNorm-4d", {"num_groups": 2, "eps": 0.25}, (3, 4, 2, 3), 4),
    affine("GroupNorm-5d", {"num_groups": 3}, (2, 6, 2, 1, 3), 6),
    affine("GroupNorm-one-group", {"num_groups": 1}, (2, 3, 5), 3),
    affine("GroupNorm-each-channel", {"num_groups": 3}, (2, 3, 5), 3),
    affine("GroupNorm-far-from-zero", {"num_groups": 2}, FAR, 4),
    affine("GroupNorm-no-variance", {"num_groups": 2}, FLAT, 4),
    plain("GroupNorm-not-affine", {"num_groups": 2, "affine": False}, (2, 4, 3)),
    plain("InstanceNorm-3d", {}, (2, 3, 5)),
    plain("InstanceNorm-5d", {"eps": 0.25}, (2, 2, 3, 1, 3)),
    affine("InstanceNorm-affine", {"affine": True}, (2, 3, 4, 3), 3),
    affine("InstanceNorm-affine-3d", {"affine": True}, (1, 3, 4), 3),
    affine("InstanceNorm-far-from-zero", {"affine": True}, FAR, 4),
    affine("InstanceNorm-no-variance", {"affine": True}, FLAT, 4),
    plain("LocalResponseNorm-plain", {"size": 5}, (2, 7, 2, 3)),
    plain("LocalResponseNorm-settings", {"size": 3, "alpha": 2.0, "beta": 1.25, "k": 1.5}, (2, 5, 3)),
    plain("LocalResponseNorm-even", {"size": 4, "alpha": 2.0}, (2, 6, 2, 2)),
    plain("LocalResponseNorm-wide", {"size": 9, "alpha": 2.0}, (2, 4, 3)),
    plain("LocalResponseNorm-one", {"size": 1, "alpha": 2.0}, (2, 1, 3)),
    plain("LocalResponseNorm-within", {"size": 3, "alpha": 2.0, **WITHIN}, (2, 3, 4, 5)),
    plain("LocalResponseNorm-within-wide", {"size": 7, "alpha": 2.0, "beta": 0.5, **WITHIN}, (2, 2, 3, 1)),
    plain("MVN-plain", {}, (2, 3, 4, 3)),
    plain("MVN-across", {"across_channels": True}, (2, 3, 2, 3)),
    plain("MVN-mean-only", {"normalize_variance": False}, (2, 3, 4, 2)),
    plain("MVN-mean-only-across", {"normalize_variance": False, "across_channels": True}, (3, 4)),
    plain("MVN-eps", {"eps": 0.5}, (2, 3, 4)),
    one("MVN-far-from-zero", {}, FAR),
    learned("Scale-plain", {}, (3, 4), weight=(4,)),
    learned("Scale-4d", {}, (2, 3, 4, 5), weight=(3,)),
    affine("Scale-bias", {"bias": True}, (2, 3, 4), 3),
    affine("Scale-two-axes", {"bias": True, "dim": -2, "num_axes": 2}, (2, 3, 4, 5), 4, 5),
    learned("Scale-to-the-end", {"num_axes": -1}, (3, 2, 1, 4), weight=(2, 1, 4)),
    learned("Scale-one-number", {"num_axes": 0}, (2, 3), weight=()),
    plain("Scale-two-bottoms", {}, (2, 3, 4), (3,)),
    plain("Scale-two-bottoms-dim", {"dim": 0}, (2, 3, 4), (2, 3)),
    plain("Scale-two-bottoms-number", {}, (2, 3), ()),
    one("Scale-two-bottoms-bias", {"bias": True}, Spec((2, 3, 4)), Spec((3,)), params={"bias": (3,)}),
    learned("Bias-plain", {}, (3, 4), bias=(4,)),
    learned("Bias-two-axes", {"dim": -2, "num_axes": 2}, (2, 3, 4, 5), bias=(4, 5)),
    learned("Bias-one-number", {"num_axes": 0}, (2, 3), bias=()),
    plain("Bias-two-bottoms", {}, (2, 3, 4), (3,)),
    plain("Bias-two-bottoms-dim", {"dim": 0}, (2, 3, 4), (2, 3)),
]
