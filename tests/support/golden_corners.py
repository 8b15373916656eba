"""Golden cases of single layers that their examples cannot be: at kinks and ties, where there is no difference quotient
to check a gradient by, and with settings beyond those that every check of the contract has time for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from support.golden_cases import Case
from support.golden_examples import case_of, folder_of

from layerforge.arrays.spec import Spec, index
from layerforge.layers import FAMILIES
from layerforge.schema.registry import LAYERS

Hyper = Mapping[str, Any]


# Draws ----------------------------------------------------------------------------------------------------------------


def few_values(rng: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Whole numbers from -1 to 1: full of zeros and ties."""
    return rng.integers(-1, 2, shape)


def halves(rng: Any, shape: tuple[int, ...]) -> np.ndarray:
    """The multiples of 0.5 from 0 outwards: 0, 0.5, -0.5, 1, -1 ... Most kinks are among them."""
    numbers = np.arange(int(np.prod(shape)))
    return (np.where(numbers % 2, 1, -1) * ((numbers + 1) // 2) / 2).reshape(shape)


def some_zeros(count: int) -> Callable[[Any, tuple[int, ...]], np.ndarray]:
    """A draw of values with `count` zeros, spread over the array."""

    def draw(rng: Any, shape: tuple[int, ...]) -> np.ndarray:
        x = rng.uniform(-2, 2, shape)
        x.flat[rng.choice(x.size, count, replace=False)] = 0
        return x

    return draw


def zeros_and_more(rng: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Values from 0 on, a third of them 0."""
    return rng.random_sample(shape) * rng.integers(0, 3, shape)


def exponents(rng: Any, shape: tuple[int, ...]) -> np.ndarray:
    """0, 1 and 2.5: what zero can be raised to with a finite slope."""
    return np.array([0.0, 1.0, 2.5])[rng.integers(0, 3, shape)]


def rank_three(rng: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Matrices of rank 3: nothing but rounding makes them regular."""
    return rng.uniform(-1, 1, (*shape[:-1], 3)) @ rng.uniform(-1, 1, (*shape[:-2], 3, shape[-1]))


def rank_two(rng: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Matrices of rank 2, of which no minor with three rows is regular."""
    return rng.uniform(-1, 1, (*shape[:-1], 2)) @ rng.uniform(-1, 1, (*shape[:-2], 2, shape[-1]))


def constant_sample(rng: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Values of which neither the first sample nor the first channel varies."""
    x = rng.random_sample(shape)
    x[0] = x[:, 0] = 0.7
    return x


def ones_then_zeros(rng: Any, shape: tuple[int, ...]) -> np.ndarray:
    """A mask of sequences of 1 to T steps, as torch packs them."""
    return np.arange(shape[1]) < rng.integers(1, shape[1] + 1, shape[0])[:, None]


def repeated(rng: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Labels of which every second is the one before it: they need a blank in between."""
    labels = rng.integers(1, 4, shape)
    labels[:, 1::2] = labels[:, :-1:2]
    return labels


def a_third_ignored(rng: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Labels of four classes, of which about a third is 9."""
    return np.where(rng.random_sample(shape) > 1 / 3, rng.integers(0, 4, shape), 9)


# Cases ----------------------------------------------------------------------------------------------------------------


def seven_wide(rng: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Regions of 7 positions across, at the left of the image and far from it: 13 (7 / 13) is above 7 in float32."""
    return np.array([[0, left, 0, left + 6, 0] for left in 64 * np.arange(shape[0])])


def tried(layer: str, x: Spec, cases: Mapping[str, Hyper], phase: str = "train") -> list[Case]:
    """Cases of a layer with one bottom: what each is about, and its hyper-parameters."""
    return [case_of(f"{layer}-{what}", hyper, x, phase=phase) for what, hyper in cases.items()]


def at_kinks(layer: str, *settings: Hyper) -> list[Case]:
    """Cases of an element-wise layer at 0, ±0.5, ±1 ... ±7."""
    kinks = Spec((29,), draw=halves)
    return [case_of(f"{layer}-kinks-{i}", hyper, kinks) for i, hyper in enumerate(settings or [{}])]


PLAIN = ("Abs", "Neg", "Sign", "Floor", "Square", "Sin", "Cos", "Tan", "Atan", "Sinh", "Cosh", "Erf")
PLAIN += ("ReLU6", "SELU", "HardSigmoid", "HardSwish", "LogSigmoid", "Softsign", "Mish", "PReLU", "Sigmoid", "Tanh")
ELEMENTWISE = [
    *(case for layer in PLAIN for case in at_kinks(layer)),
    *at_kinks("Pow", {"exponent": 3}, {"exponent": 0}, {"exponent": 1}, {"exponent": 2, "scale": -1.5, "shift": 0.5}),
    *at_kinks("ReLU", {}, {"negative_slope": 0.1}, {"negative_slope": 1.0}),
    *at_kinks("LeakyReLU", {}, {"negative_slope": 0.3}, {"negative_slope": 0}),
    *at_kinks("ELU", {}, {"alpha": 0.3}, {"alpha": 2.5}, {"alpha": 0}),
    *at_kinks("CELU", {}, {"alpha": 0.3}, {"alpha": 2.5}),
    *at_kinks("Hardtanh", {}, {"min_val": -0.5, "max_val": 2}),
    *at_kinks("Clamp", {"min": -0.5, "max": 2}, {"min": 0.5}, {"max": 0.5}, {"min": 1, "max": 1}),
    *at_kinks("Threshold", {"threshold": 0.5, "value": 20}, {"threshold": -1, "value": -1}),
    *at_kinks("Softplus", {}, {"beta": 0.5}, {"beta": 3.0, "threshold": 1.5}),
    *at_kinks("GELU", {}, {"approximate": "tanh"}),
    case_of("GLU-samples", {"dim": 0}, Spec((4, 3))),
    case_of("GLU-vector", {}, Spec((6,))),
    *at_kinks("SiLU", {}, {"beta": 0.5}, {"beta": -1.7}, {"beta": 0}),
]

TIES = Spec((4, 3, 5), draw=few_values)
ROWS = Spec((8, 5), draw=few_values)
BLOBS = {"two": [(4, 6), (4, 6)], "three": [(2, 3, 5), (3, 1), ()], "four": [(3, 4), (1, 4), (3, 1), (4,)]}
TIED = [
    *(
        case_of(f"{layer}-{what}-{ties}", {"ties": ties}, *(Spec(shape, draw=few_values) for shape in shapes))
        for layer in ("Maximum", "Minimum")
        for ties in ("share", "caffe")
        for what, shapes in BLOBS.items()
    ),
    *(
        case_of(f"Sort-ties-{i}", hyper, ROWS, tops=2)
        for i, hyper in enumerate(({}, {"descending": True}, {"dim": 0, "descending": True}))
    ),
    case_of("PowBinary-zeros", {}, Spec((5, 6), draw=zeros_and_more), Spec((5, 6), draw=exponents)),
    *(
        case_of(f"{layer}-{what}", hyper, TIES, tops=tops)
        for layer in ("Max", "Min")
        for what, hyper, tops in (
            ("ties", {}, 1),
            ("ties-two", {"dim": [0, 2]}, 1),
            ("indices", {"dim": 1}, 2),
            ("indices-last", {"dim": -1, "keepdim": True}, 2),
        )
    ),
    *(
        case_of(f"ArgMax-{what}-{ties}", {"dim": 1, "ties": ties, **hyper}, ROWS)
        for ties in ("first", "caffe")
        for what, hyper in (("ties", {}), ("ties-top-3", {"top_k": 3}))
    ),
    *(
        case_of(f"TopK-{what}", {"k": 3, **hyper}, ROWS, tops=2)
        for what, hyper in (("ties", {}), ("ties-smallest", {"largest": False}))
    ),
]
REDUCTIONS = [
    case_of("AbsSum-zeros", {"dim": 1}, Spec((3, 5), draw=few_values)),
    *(
        case_of(f"Prod-zeros-{count}-{i}", {"dim": dim}, Spec((3, 5), draw=some_zeros(count)))
        for i, (count, dim) in enumerate(((1, 1), (4, 1), (4, 0), (9, None)))
    ),
    case_of("Prod-zeros-of-two", {"dim": [0, 2]}, Spec((2, 3, 3), draw=some_zeros(5))),
    *(
        case_of(f"Norm-zeros-{p}", {"p": p, "dim": 1}, Spec((6, 3), draw=few_values))
        for p in (0.5, 1.0, 1.5, 2.0, 3.0, math.inf)
    ),
    case_of("Norm-zero", {"dim": 1}, Spec((2, 3), draw=lambda rng, shape: np.zeros(shape))),
    *(case_of(f"Norm-two-{p}", {"p": p, "dim": [0, 2]}, Spec((2, 3, 4))) for p in (1.5, 3.0, math.inf)),
    case_of("Std-constant", {"dim": 1}, Spec((3, 4), draw=lambda rng, shape: np.full(shape, 0.5))),
    *(case_of(f"{scan}-zeros", {"dim": 1}, Spec((5, 6), draw=few_values)) for scan in ("Cumsum", "Cumprod")),
]

BLENDS = [
    case_of("Where-one-mask-for-all", {}, index((4,), 2), Spec((3, 4)), Spec((3, 1))),
    case_of("Where-one-decision", {}, index((), 2), Spec((2, 3)), Spec((2, 3))),
]
PICKED = [
    *(
        case_of(f"Index-several-{i}", {"index": entries}, Spec((4, 3, 5, 2)))
        for i, entries in enumerate((
            ["::-2", [0, -1], ":", [1, 0]],
            [[[0, 1], [3, 3]], "1:", [[0], [4]]],
            [":", [True, False, True], "...", 0],
            ["...", [0, 0], [1, 1]],
            [-1, [2, 2, 2, 0], "3:0:-1", [[0], [1]]],
        ))
    ),
    case_of("Scatter-full-of-ties", {"dim": 1}, Spec((3, 2)), index((3, 20), 2), Spec((3, 20))),
    case_of("Squeeze-batch", {"dim": [0, 2]}, Spec((1, 3, 1))),
    case_of("RepeatInterleave-samples", {"repeats": [2, 0, 1], "dim": 0}, Spec((3, 2))),
    case_of("RepeatInterleave-numbers", {"repeats": [2, 0, 1, 1, 0, 3]}, Spec((2, 3))),
]  # fmt: skip

EQUATIONS = {"ni,nj->jni": [(3, 2), (3, 4)], "nc,c->cn": [(3, 4), (4,)], "si,is->": [(3, 2), (2, 3)]}
MATRICES = [
    *(case_of(f"Einsum-{text}", {"equation": text}, *map(Spec, shapes)) for text, shapes in EQUATIONS.items()),
    case_of("Det-of-one-singular-matrix", {}, Spec((4, 4), draw=rank_three)),
    case_of("Det-of-rank-two", {}, Spec((2, 4, 4), draw=rank_two)),
    case_of("SVDVals-of-one-matrix", {}, Spec((3, 5))),
]

FOUR = {"out_channels": 4, "kernel_size": 3}
EVERYTHING = {"out_channels": 4, "kernel_size": [3, 2], "groups": 2, "padding": [2, 1]}
CONVOLUTIONS = [
    case_of("Conv1d-everything", {**FOUR, "stride": 2, "padding": 3, "dilation": 2, "groups": 2}, Spec((3, 4, 8))),
    case_of("Conv2d-everything", {**EVERYTHING, "stride": [2, 3], "dilation": [2, 1]}, Spec((3, 4, 7, 8))),
    case_of("Conv2d-stride-skips", {**FOUR, "stride": [4, 5]}, Spec((2, 3, 9, 14))),
    case_of("Conv2d-padding-wide", {**FOUR, "padding": [4, 0]}, Spec((2, 3, 2, 5))),
    case_of(
        "Conv3d-everything",
        {"out_channels": 4, "kernel_size": [2, 3, 1], "stride": [2, 1, 3], "padding": [1, 0, 2], "groups": 2,
         "dilation": [2, 1, 2]},
        Spec((2, 4, 5, 4, 3)),
    ),
    case_of(
        "ConvTranspose2d-everything",
        {**EVERYTHING, "stride": [3, 2], "output_padding": [1, 2], "dilation": [2, 3]},
        Spec((3, 4, 3, 4)),
    ),
    case_of(
        "ConvTranspose1d-everything",
        {**FOUR, "stride": 3, "padding": 2, "output_padding": 2, "dilation": 2, "groups": 2},
        Spec((3, 4, 5)),
    ),
    case_of(
        "ConvTranspose3d-everything",
        {"out_channels": 4, "kernel_size": [2, 3, 1], "stride": [2, 1, 3], "padding": [1, 0, 0], "groups": 2,
         "dilation": [2, 1, 2], "output_padding": [1, 0, 2]},
        Spec((2, 4, 3, 2, 3)),
    ),
    case_of("ConvTranspose2d-gaps", {**FOUR, "stride": [4, 5]}, Spec((2, 3, 2, 3))),
    case_of("ConvTranspose2d-several-into-one", {**FOUR, "out_channels": 3, "groups": 3}, Spec((2, 6, 3, 4))),
    case_of(
        "Unfold-everything",
        {"kernel_size": [3, 2], "dilation": [1, 3], "padding": [2, 1], "stride": [3, 2]},
        Spec((2, 3, 4, 5)),
    ),
    *(
        case_of(
            f"GridSample-{mode}-{padding}-{'centres' if align else 'edges'}-{spec.ndim - 2}",
            {"mode": mode, "padding_mode": padding, "align_corners": align},
            spec,
            Spec((*spec.shape[:1], *[3] * (spec.ndim - 2), spec.ndim - 2), low=-4, high=4),
        )
        for spec in (Spec((2, 2, 4, 5)), Spec((1, 2, 2, 3, 4)))
        for mode in ("bilinear", "nearest", "bicubic")
        for padding in ("zeros", "border", "reflection")
        for align in (False, True)
        if mode != "bicubic" or spec.ndim == 4
    ),
    *tried("Upsample", Spec((2, 3, 4, 5)), {
        "smaller": {"scale_factor": [0.5, 0.75]},
        "fractions": {"scale_factor": [2.3, 0.7], "mode": "bilinear"},
        "corners": {"scale_factor": [1.7, 0.4], "mode": "bilinear", "align_corners": True},
    }),
]  # fmt: skip

IMAGE, VOLUME = Spec((2, 2, 7, 8)), Spec((2, 2, 5, 4, 3))
POSITIVE = Spec((3, 2, 6, 7), low=0.1, high=2)
CAFFE = {"kernel_size": 3, "stride": 2, "caffe_rounding": True}
WINDOWS: dict[str, Hyper] = {
    "stride-skips": {"kernel_size": 2, "stride": [3, 4]},
    "oblong": {"kernel_size": [2, 3], "stride": [1, 2], "padding": [0, 1]},
    "ceil-wide": {"kernel_size": 3, "stride": [5, 3], "ceil_mode": True},
    "ceil-padding": {"kernel_size": 3, "stride": [2, 3], "padding": 1, "ceil_mode": True},
    "ceil-last-in-padding": {"kernel_size": 2, "stride": 3, "padding": 1, "ceil_mode": True},
    "whole": {"kernel_size": [7, 8]},
    "caffe": CAFFE,
    "caffe-padding": {**CAFFE, "padding": 1},
    "caffe-wide-padding": {**CAFFE, "kernel_size": [4, 3], "padding": [3, 2]},
}
VOLUMES: dict[str, Hyper] = {
    "oblong": {"kernel_size": [1, 3, 2], "stride": [2, 1, 3], "padding": [0, 1, 1]},
    "ceil": {"kernel_size": 2, "stride": 2, "padding": 1, "ceil_mode": True},
    "caffe": {**CAFFE, "padding": [2, 0, 1]},
}
DILATED = {"kernel_size": [2, 3], "stride": [2, 3], "padding": 1, "dilation": [3, 2], "ceil_mode": True}
INSIDE = {"kernel_size": 3, "stride": [2, 3], "padding": 1, "ceil_mode": True, "count_include_pad": False}
POOLINGS = [
    *(case for pool in ("MaxPool2d", "AvgPool2d") for case in tried(pool, IMAGE, WINDOWS)),
    *(case for pool in ("MaxPool3d", "AvgPool3d") for case in tried(pool, VOLUME, VOLUMES)),
    *tried("MaxPool2d", IMAGE, {"dilation-everything": DILATED}),
    *tried("AvgPool2d", IMAGE, {"inside-ceil": INSIDE}),
    case_of("MaxPool2d-negative", {"kernel_size": 3, "padding": 1}, Spec((2, 3, 5, 5), low=-3, high=-1)),
    case_of(
        "MaxPool2d-ties", {"kernel_size": 3, "stride": 1, "padding": 1}, Spec((2, 3, 5, 5), draw=few_values)
    ),
    case_of("MaxPool3d-dilation", {"kernel_size": 2, "stride": 1, "dilation": [3, 2, 1]}, VOLUME),
    case_of("MaxPool3d-ties", {"kernel_size": 2, "stride": 1}, Spec(VOLUME.shape, draw=few_values)),
    case_of("LPPool2d-zeros", {"norm_type": 2, "kernel_size": 2}, Spec(IMAGE.shape, draw=few_values)),
    case_of("LPPool2d-high", {"norm_type": 6, "kernel_size": 2}, IMAGE),
    *(
        case
        for phase in ("train", "eval")
        for case in (
            *tried("StochasticPool2d", POSITIVE, {
                f"overlap-{phase}": {"kernel_size": 3, "stride": [1, 2]},
                f"ceil-{phase}": {"kernel_size": 4, "ceil_mode": True},
            }, phase),
            *tried("StochasticPool2d", IMAGE, {f"negative-{phase}": {"kernel_size": 2}}, phase),
        )
    ),
    *(case_of(f"{pool}-larger", {"output_size": [7, 11]}, Spec((2, 3, 4, 5)))
      for pool in ("AdaptiveAvgPool2d", "AdaptiveMaxPool2d")),
    case_of("AdaptiveMaxPool2d-ties", {"output_size": [3, 2]}, Spec((2, 3, 7, 5), draw=few_values)),
]  # fmt: skip

FAR, FLAT = Spec((3, 4, 6), low=1000, high=1001), Spec((3, 4, 3), draw=constant_sample)
NORMS = [
    *(
        case_of(f"{layer}-{what}", hyper, x)
        for what, x in (("far-from-zero", FAR), ("no-variance", FLAT))
        for layer, hyper in (
            ("BatchNorm", {}),
            ("LayerNorm", {"normalized_shape": x.shape[2]}),
            ("GroupNorm", {"num_groups": 2}),
            ("InstanceNorm", {"affine": True}),
        )
    ),
    case_of("MVN-far-from-zero", {}, FAR),
    *(case_of(f"BatchNorm-momentum-{m}", {"momentum": m}, Spec((5, 3))) for m in (0.0, 1.0)),
    *(case_of(f"BatchNorm-image-{p}", {"eps": 0.25}, Spec((2, 3, 4, 2)), phase=p) for p in ("train", "eval")),
    case_of("LocalResponseNorm-within-wide", {"size": 7, "alpha": 2.0, "norm_region": "within_channel"},
             Spec((2, 2, 3, 1))),
]  # fmt: skip

REGIONS = Spec((2, 5), draw=seven_wide)
DETECTION = [case_of("ROIPooling-quotients", {"output_size": [1, 13]}, Spec((1, 9, 1, 72)), REGIONS)]

X, PACKED = Spec((3, 5, 4)), Spec((3, 5), role="index", draw=ones_then_zeros)
DEEP = {"hidden_size": 2, "num_layers": 2, "bidirectional": True}
FILLED = {"hidden_size": 2, "weight_filler": "xavier", "bias_filler": "constant"}
MOST_TOPS = {"RNN": 2, "LSTM": 3, "GRU": 2}
QUERIES, KEYS, VALUES = Spec((2, 3, 4)), Spec((2, 5, 4)), Spec((2, 5, 2))
SEQUENCES = [
    *(
        case
        for kind, tops in MOST_TOPS.items()
        for case in (
            case_of(f"{kind}-packed", {"hidden_size": 3}, X, PACKED, tops=tops),
            case_of(f"{kind}-packed-deep-both-ways", DEEP, X, PACKED, tops=tops),
            case_of(f"{kind}-long", {"hidden_size": 2}, Spec((1, 40, 1))),
            case_of(f"{kind}-one-step", FILLED, Spec((2, 1, 3))),
        )
    ),
    case_of("RNN-relu-deep-both-ways", {**DEEP, "nonlinearity": "relu"}, Spec((2, 4, 3)), tops=2),
    case_of("ScaledDotProductAttention-nothing-seen", {}, QUERIES, KEYS, VALUES, index((2, 5), 1)),
    case_of("ScaledDotProductAttention-far-from-zero", {}, *[Spec((2, 4, 3), low=5, high=20)] * 3),
    case_of("MultiheadAttention-masked", {"num_heads": 2, "causal": True}, Spec((2, 4, 6)), index((2, 4, 4), 2)),
    case_of("PositionalEmbedding-waves", {"kind": "sinusoidal"}, Spec((2, 50, 6))),
]

WEIGHTED = {"weight": [0.5, 2.0, 0.0, 1.5], "ignore_index": 9}
SCORES, CLASSES = Spec((6, 4)), Spec((6,), role="index", draw=a_third_ignored)
MATRIX = [[1.0, 0.2, 0.0, 0.1], [0.3, 1.0, 0.5, 0.0], [0.0, 0.1, 2.0, 0.4], [0.2, 0.0, 0.0, 1.0]]
LIKELY, TARGETS = Spec((8, 4, 4), low=-3, high=0), index((4, 3), 4, 1)
LOSSES = [
    *(
        case_of(f"{loss}-weight-ignore", WEIGHTED, x, CLASSES)
        for loss, x in (
            ("NLLLoss", SCORES),
            ("SoftmaxCrossEntropy", SCORES),
            ("MultinomialLogisticLoss", Spec((6, 4), low=0.05, high=0.95)),
            ("HingeLoss", SCORES),
        )
    ),
    case_of("InfogainLoss-weight", {"matrix": MATRIX, **WEIGHTED}, SCORES, CLASSES),
    case_of("CTCLoss-repeated", {}, LIKELY, Spec((4, 3), role="index", draw=repeated)),
    *(
        case_of(f"CTCLoss-too-long-{r}", {"zero_infinity": True, "reduction": r}, LIKELY, TARGETS, index((4,), 4, 1),
                 index((4,), 4, 2))
        for r in ("mean", "none")
    ),
]  # fmt: skip

CORNERS: dict[str, list[Case]] = {family: [] for family in FAMILIES}
for _case in (
    *(*ELEMENTWISE, *TIED, *BLENDS, *PICKED, *REDUCTIONS, *MATRICES, *CONVOLUTIONS),
    *(*POOLINGS, *NORMS, *DETECTION, *SEQUENCES, *LOSSES),
):
    CORNERS[folder_of(LAYERS.get(_case.layers[0]["type"]))].append(_case)
