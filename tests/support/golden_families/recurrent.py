"""Golden cases of recurrent layers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from support.golden_cases import Case

from layerforge.arrays.spec import Spec, index

from .builders import one

GATES = {"RNN": 1, "LSTM": 4, "GRU": 3}
MOST_TOPS = {"RNN": 2, "LSTM": 3, "GRU": 2}


def recurrent(name: str, hyper: Mapping[str, Any], *bottoms: Spec, tops: int = 1) -> Case:
    """A case of a recurrent layer, with the parameters that its settings ask for."""
    size, height = hyper["hidden_size"], GATES[name.partition("-")[0]] * hyper["hidden_size"]
    ends = ("", "_reverse") if hyper.get("bidirectional") else ("",)
    params: dict[str, tuple[int, ...]] = {}
    for layer in range(hyper.get("num_layers", 1)):
        width = size * len(ends) if layer else bottoms[0].shape[2]
        for end in ends:
            shapes = {"weight_ih": (height, width), "weight_hh": (height, size)}
            if hyper.get("bias", True):
                shapes |= {"bias_ih": (height,), "bias_hh": (height,)}
            params |= {f"{key}_l{layer}{end}": shape for key, shape in shapes.items()}
    return one(name, hyper, *bottoms, params=params, tops=tops)


def ones_then_zeros(rng: np.random.RandomState, shape: tuple[int, ...]) -> np.ndarray:
    """A mask of sequences of 1 to T steps, as torch packs them."""
    lengths = rng.randint(1, shape[1] + 1, shape[0], dtype=np.int64)
    return (np.arange(shape[1]) < lengths[:, None]).astype(np.int64)


def cases(kind: str) -> list[Case]:
    """What all three are compared on."""
    x, packed = Spec((3, 5, 4)), Spec((3, 5), role="index", draw=ones_then_zeros)
    deep = {"hidden_size": 2, "num_layers": 2, "bidirectional": True}
    fillers = {"weight_filler": "xavier", "bias_filler": "constant"}
    return [
        recurrent(f"{kind}-plain", {"hidden_size": 3}, x),
        recurrent(f"{kind}-last-state", {"hidden_size": 3}, x, tops=MOST_TOPS[kind]),
        recurrent(f"{kind}-no-bias", {"hidden_size": 3, "bias": False}, x),
        recurrent(f"{kind}-layers", {"hidden_size": 3, "num_layers": 3}, x, tops=MOST_TOPS[kind]),
        recurrent(f"{kind}-deep-both-ways", deep, x, tops=MOST_TOPS[kind]),
        recurrent(f"{kind}-long", {"hidden_size": 2}, Spec((1, 40, 1))),
        recurrent(f"{kind}-packed", {"hidden_size": 3}, x, packed, tops=MOST_TOPS[kind]),
        recurrent(f"{kind}-packed-deep-both-ways", deep, x, packed, tops=MOST_TOPS[kind]),
        recurrent(f"{kind}-holes-deep-both-ways", deep, x, index((3, 5), 2), tops=MOST_TOPS[kind]),
        recurrent(f"{kind}-cont", {"hidden_size": 3, "second_bottom": "cont"}, x, index((3, 5), 2), tops=2),
        recurrent(f"{kind}-cont-deep-both-ways", deep | {"second_bottom": "cont"}, x, index((3, 5), 2), tops=2),
        recurrent(f"{kind}-one-step", {"hidden_size": 2, **fillers}, Spec((2, 1, 3))),
    ]


RELU = {"nonlinearity": "relu"}
CASES = [
    *cases("RNN"),
    recurrent("RNN-relu", {"hidden_size": 4, **RELU}, Spec((3, 4, 2)), tops=2),
    recurrent(
        "RNN-relu-deep-both-ways", {"hidden_size": 3, "num_layers": 2, "bidirectional": True, **RELU}, Spec((2, 4, 3))
    ),
    *cases("LSTM"),
    *cases("GRU"),
]
