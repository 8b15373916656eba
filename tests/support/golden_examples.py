"""The golden cases that follow from what the layers say themselves: every example is one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from support.golden_cases import Case, draw_inputs

from layerforge.arrays.spec import Spec
from layerforge.contract import call
from layerforge.contract.layer import Layer
from layerforge.layers import FAMILIES, builtin_layers
from layerforge.schema.registry import LAYERS

WITHOUT_TWIN = ("Input",)  # its top is what it is given
# What torch refuses without samples. A mean of nothing, which is 0 here, is NaN there.
NO_SAMPLES_REFUSED = ("CTCLoss", "GRU", "InstanceNorm", "LSTM", "MultiheadAttention", "RNN")
AVERAGES = ("losses", "metrics")


def folder_of(cls: type[Layer]) -> str:
    """The family of a layer, by its folder."""
    return cls.__module__.split(".")[-2]


def asks_for_the_phase(cls: type[Layer]) -> bool:
    """Whether forward does another thing in training than in eval."""
    return "phase" in cls.forward.__code__.co_names


def alone(type_name: str, hyper: Mapping[str, Any], tops: int = 1) -> Layer:
    """A layer by itself, on NumPy and in float64."""
    layer = LAYERS.get(type_name).from_config(dict(hyper))
    layer.xp, layer.dtype, layer.tops_wanted = np, "float64", tops
    return layer


def case_of(name: str, hyper: Mapping[str, Any], *bottoms: Spec, tops: int = 1, phase: str = "train") -> Case:
    """The case of a layer by itself, called "layer", with bottoms x0, x1 ... and tops y or y0, y1 ...

    What the case needs to know beside that, the layer says when it is set up: its arrays, what has a gradient.

    name   "Type-what": what the case is about
    tops   how many the net names, for a layer whose set-up depends on that
    """
    type_name = name.partition("-")[0]
    layer = alone(type_name, hyper, tops)
    made = call.setup(layer, [spec.with_dtype("float64") for spec in bottoms])
    inputs = {f"x{i}": spec for i, spec in enumerate(bottoms)}
    fixed = tuple(x for i, (x, spec) in enumerate(inputs.items()) if spec.is_real and i in layer.no_grad_bottoms)
    leaves = [*layer.param_decls, *(x for x, spec in inputs.items() if spec.is_real and x not in fixed)]
    outputs = ("y",) if len(made) == 1 else tuple(f"y{i}" for i in range(len(made)))
    return Case(
        name,
        [{"name": "layer", "type": type_name, "bottom": list(inputs), "top": list(outputs), **hyper}],
        inputs,
        {f"layer.{key}": declared.shape for key, declared in layer.param_decls.items()},
        {f"layer.{key}": declared.shape for key, declared in layer.state_decls.items()},
        outputs,
        phase,
        layer.is_differentiable() and bool(leaves) and any(spec.is_real for spec in made),
        fixed,
    )


def of_examples(cls: type[Layer]) -> Iterator[Case]:
    """A case for each example of a layer, and another in eval where that differs."""
    for phase in ("train", "eval")[: 1 + asks_for_the_phase(cls)]:
        for i, example in enumerate(cls.examples):
            name = f"{cls.type_name}-{i}" + ("-eval" if phase == "eval" else "")
            case = case_of(name, example.params, *example.bottoms, tops=example.tops, phase=phase)
            if torch_has_an_answer(alone(cls.type_name, example.params), case):
                yield case


def torch_has_an_answer(layer: Layer, case: Case) -> bool:
    """Whether torch computes what the layer does, for as many samples and labels as there are."""
    inputs = draw_inputs(case)
    if layer.type_name in NO_SAMPLES_REFUSED:
        return inputs["x0"].size > 0
    return folder_of(type(layer)) not in AVERAGES or layer.mean_over(*inputs.values()) != 0


EXAMPLES: dict[str, list[Case]] = {family: [] for family in FAMILIES}
for _cls in builtin_layers():
    if _cls.type_name not in WITHOUT_TWIN:
        EXAMPLES[folder_of(_cls)] += of_examples(_cls)
