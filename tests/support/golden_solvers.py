"""The golden cases of solvers and schedules."""

from __future__ import annotations

import math

from support.golden_cases import Case, Rates, Training
from support.golden_nets import LENET, normalised, running

from layerforge.arrays.spec import Spec, index

MLP = Case(
    "mlp",
    [
        {"name": "fc1", "type": "Linear", "bottom": "x", "out_features": 5},
        {"name": "bn", "type": "BatchNorm"},
        {"name": "act", "type": "Tanh"},
        {"name": "fc2", "type": "Linear", "out_features": 3},
        {"name": "loss", "type": "SoftmaxCrossEntropy", "bottom": ["fc2", "t"]},
    ],
    {"x": Spec((6, 4)), "t": index((6,), 3)},
    {"fc1.weight": (5, 4), "fc1.bias": (5,), **normalised("bn", 5), "fc2.weight": (3, 5), "fc2.bias": (3,)},
    running(("bn", 5)),
    outputs=("loss",),
)
# Without BatchNorm: the gradient of a bias below one is zero but for rounding, which some rules blow up.
SMOOTH = Case(
    "smooth",
    [
        {"name": "fc1", "type": "Linear", "bottom": "x", "out_features": 5},
        {"name": "act", "type": "Tanh"},
        {"name": "fc2", "type": "Linear", "out_features": 3},
        {"name": "loss", "type": "SoftmaxCrossEntropy", "bottom": ["fc2", "t"]},
    ],
    {"x": Spec((6, 4)), "t": index((6,), 3)},
    {"fc1.weight": (5, 4), "fc1.bias": (5,), "fc2.weight": (3, 5), "fc2.bias": (3,)},
    outputs=("loss",),
)
# Word 0 occurs in no sample, and word 7 is none: its row is never learned.
WORDS = Case(
    "words",
    [
        {
            **{"name": "emb", "type": "Embedding", "bottom": "x"},
            **{"num_embeddings": 9, "embedding_dim": 4, "padding_idx": 7, "sparse": True},
        },
        {"name": "flat", "type": "Flatten"},
        {"name": "fc", "type": "Linear", "out_features": 3},
        {"name": "loss", "type": "SoftmaxCrossEntropy", "bottom": ["fc", "t"]},
    ],
    {"x": index((4, 3), 9, 1), "t": index((4,), 3)},
    {"emb.weight": (9, 4), "fc.weight": (3, 12), "fc.bias": (3,)},
    outputs=("loss",),
)
PLAIN = {"type": "SGD", "lr": 0.3}
DECAY = {"weight_decay": 0.1}
HALVING = {"schedule": {"type": "exp", "gamma": 0.5}}

# Where the formulas coincide: with momentum only while lr stays the same, torch's clipping by norm divides by
# norm + 1e-6, and Caffe's Adam has eps elsewhere, which does not show where eps is nothing.
TRAININGS = [
    Training("SGD-plain", MLP, PLAIN),
    Training("SGD-momentum", MLP, {**PLAIN, "momentum": 0.9}),
    Training("SGD-decay", MLP, {**PLAIN, "momentum": 0.9, "weight_decay": 0.1}),
    Training("SGD-clip", MLP, {**PLAIN, "momentum": 0.9, "weight_decay": 0.1, "clip_grad_value": 0.02}),
    Training("SGD-schedule", MLP, {**PLAIN, "schedule": {"type": "exp", "gamma": 0.5}}),
    Training("Nesterov-momentum", MLP, {"type": "Nesterov", "lr": 0.3, "momentum": 0.8}),
    Training("Nesterov-decay", MLP, {"type": "Nesterov", "lr": 0.3, "momentum": 0.9, "weight_decay": 0.1}),
    Training("AdaGrad-plain", SMOOTH, {"type": "AdaGrad", "lr": 0.3, **DECAY}),
    Training("AdaGrad-eps", SMOOTH, {"type": "AdaGrad", "lr": 0.3, "eps": 0.1}),
    Training("RMSProp-plain", SMOOTH, {"type": "RMSProp", "lr": 0.03, **DECAY}),
    Training("RMSProp-settings", SMOOTH, {"type": "RMSProp", "lr": 0.3, "rms_decay": 0.7, "eps": 0.1}),
    Training("AdaDelta-plain", SMOOTH, {"type": "AdaDelta", "lr": 1.0, **DECAY}),
    Training("AdaDelta-settings", SMOOTH, {"type": "AdaDelta", "lr": 3.0, "momentum": 0.6, "eps": 0.1}),
    Training("Adam-plain", SMOOTH, {"type": "Adam", "lr": 0.1, "eps": 1e-30, **DECAY}),
    Training("Adam-settings", SMOOTH, {"type": "Adam", "lr": 0.1, "momentum": 0.7, "momentum2": 0.8, "eps": 1e-30}),
    Training("AdamW-plain", SMOOTH, {"type": "AdamW", "lr": 0.1, **DECAY}),
    Training("AdamW-settings", SMOOTH, {"type": "AdamW", "lr": 0.1, "momentum": 0.7, "momentum2": 0.8, "eps": 0.1}),
    Training("AdamW-schedule", SMOOTH, {"type": "AdamW", "lr": 0.3, **HALVING, **DECAY}),
    Training("LARS-plain", SMOOTH, {"type": "LARS", "lr": 0.3, **DECAY}),
    Training("LARS-settings", SMOOTH, {"type": "LARS", "lr": 0.3, "momentum": 0.6, "trust_coefficient": 0.2}),
    Training("SGD-rows", WORDS, {**PLAIN, "clip_grad_value": 0.1}),
    Training("AdaGrad-rows", WORDS, {"type": "AdaGrad", "lr": 0.3}),
    Training("SGD-lenet", LENET, {"type": "SGD", "lr": 0.01, "momentum": 0.9, "weight_decay": 0.01}, steps=3),
]

METRICS = [1.0, 0.8, math.nan, 0.8, 0.85, 0.9, 0.7, 0.75, 0.7, 0.71, 0.9, 0.6, 0.7, 0.7, 0.7, 0.7, 0.7, 0.7]
RATES = [
    Rates("fixed", 0.3, {"type": "fixed"}),
    Rates("fixed-warmup", 0.3, {"type": "fixed", "warmup": 7}),
    Rates("step", 0.8, {"type": "step", "step_size": 3, "gamma": 0.5}),
    Rates("step-warmup", 0.8, {"type": "step", "step_size": 4, "gamma": 0.5, "warmup": 6}),
    Rates("multistep", 0.8, {"type": "multistep", "milestones": [2, 5, 11], "gamma": 0.3}),
    Rates("exp", 0.8, {"type": "exp", "gamma": 0.9}),
    Rates("poly", 0.8, {"type": "poly"}),
    Rates("poly-power", 0.8, {"type": "poly", "power": 0.7}),
    Rates("cosine", 0.8, {"type": "cosine"}),
    Rates("cosine-min", 0.8, {"type": "cosine", "min_lr": 0.1}, steps=13),
    Rates("onecycle", 0.8, {"type": "onecycle"}),
    Rates("onecycle-settings", 0.8, {"type": "onecycle", "pct_start": 0.45, "div_factor": 10, "final_div_factor": 99}),
    Rates("plateau", 0.8, {"type": "plateau", "factor": 0.5, "patience": 1, "min_lr": 0.15}, metrics=METRICS),
    Rates("plateau-max", 0.8, {"type": "plateau", "mode": "max", "patience": 2, "min_delta": 0.04}, metrics=METRICS),
]
