"""The catalogue of layers: which family each belongs to, and in which order families are shown.

A layer belongs to the family of the module that it is written in; a table's entries to that of the table's base.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

from .contract.layer import Layer
from .schema.registry import LAYERS

PACKAGE = "layerforge.layers."

# Families in the order of the catalogue, each with its modules in layerforge/layers. Names of families are headings of
# docs/layers.md beside the names of layers, so they differ from those.
FAMILIES: dict[str, tuple[str, ...]] = {
    "Element-wise": ("elementwise", "prelu"),
    "Broadcasting": ("arithmetic", "extrema"),
    "Reductions": ("reduction", "reductions", "max_min", "arg_max", "top_k"),
    "Scans": ("scans",),
    "Softmax family": ("softmax",),
    "Matrices": ("linear", "matmul", "bilinear", "einsum", "diagonal", "linalg"),
    "Shapes": ("reshaping", "flatten", "reordering", "repetition", "concat", "slice", "crop", "padding"),
    "Indexing": ("indexing", "embedding", "filter"),
    "Convolution and pooling": (
        "conv",
        "conv_transpose",
        "max_pool",
        "avg_pool",
        "lp_pool",
        "stochastic_pool",
        "spatial_pyramid_pool",
        "unfold",
        "pixel_shuffle",
        "resampling",
    ),
    "Normalisation": ("batch_norm", "layer_norm", "group_norm", "local_response_norm", "mvn", "scale"),
    "Sequences": ("rnn", "lstm", "gru", "attention", "multihead_attention", "positional_embedding"),
    "Losses": (
        "softmax_cross_entropy",
        "nll_loss",
        "hinge_loss",
        "infogain_loss",
        "regression_losses",
        "pair_losses",
        "ctc",
    ),
    "Metrics": ("accuracy", "confusion_matrix"),
    "Plumbing": ("bottomless", "passing", "dropout"),
}
OTHERS = "Others"  # built-in layers of a module that no family names
_FAMILY_OF = {module: family for family, modules in FAMILIES.items() for module in modules}


def is_builtin(cls: type) -> bool:
    """Whether a layer is one of the framework's own."""
    return cls.__module__.startswith(PACKAGE)


def module_name(cls: type) -> str:
    """The file that a type is written in, without its folder."""
    return Path(getattr(sys.modules.get(cls.__module__), "__file__", None) or cls.__module__).stem


def family_of(cls: type) -> str:
    """The family of a layer; the name of its file for one that is not the framework's own."""
    return _FAMILY_OF.get(module_name(cls), OTHERS) if is_builtin(cls) else module_name(cls)


def builtin_layers() -> list[type[Layer]]:
    """The framework's own layers, whatever else is registered."""
    return [cls for cls in map(LAYERS.get, LAYERS.names()) if is_builtin(cls)]


def by_family(layers: Iterable[type[Layer]]) -> dict[str, list[type[Layer]]]:
    """Layers by name within their families, in the order of the catalogue; then what has no place in it."""
    groups: dict[str, list[type[Layer]]] = {}
    for cls in sorted(layers, key=lambda cls: (cls.type_name.lower(), cls.type_name)):
        groups.setdefault(family_of(cls), []).append(cls)
    known = [family for family in FAMILIES if family in groups]
    return {family: groups[family] for family in [*known, *sorted(groups.keys() - FAMILIES.keys())]}
