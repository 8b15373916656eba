"""Layers and whole nets in torch: the twins in the order of a net, and what autograd makes of them."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...arrays.backend import NUMPY
from ...arrays.sparse import CSR, places
from ...net import Net
from ...schema.registry import WIRING_KEYS
from ...snapshot import escape
from ..against import Hyper
from ..one_step import OneStep, ordered_parameters
from . import TWINS, Call

FILLER = "_filler"  # keys that say where parameters start, which is no part of what a layer computes
SEEN_IN_ARRAYS = {  # what a twin need not look at: the parameters that it is given have it in their shapes
    "Bias": ("num_axes",),
    "Embedding": ("num_embeddings", "embedding_dim"),
    "MultiheadAttention": ("embed_dim",),
    "Parameter": ("shape", "filler"),
    "PositionalEmbedding": ("kind", "max_len"),
    "Scale": ("num_axes",),
}


def run(
    layers: Iterable[Mapping[str, Any]],
    phase: str,
    inputs: Mapping[str, Tensor],
    own: Mapping[str, Tensor],
    seed: int = 0,
) -> dict[str, Tensor]:
    """All blobs of a net by name, from the layers as a configuration writes them, in order.

    own   parameters and running statistics by "layer.name"
    seed  the net's, which keys the random numbers of the layers
    """
    blobs, previous = dict(inputs), next(iter(inputs), None)
    for item in layers:
        name = item["name"]
        bottoms, tops = listed(item.get("bottom", previous)), listed(item.get("top", name))
        mine = {key.rpartition(".")[2]: value for key, value in own.items() if key.rpartition(".")[0] == name}
        hyper = {key: value for key, value in item.items() if key not in WIRING_KEYS}
        results = answer(item["type"], Call(name, phase, hyper, [blobs[b] for b in bottoms], mine, len(tops), seed))
        blobs.update(zip(tops, results, strict=True))
        previous = tops[0] if tops else previous
    return blobs


def listed(value: Any) -> list[Any]:
    """A name, or a list of names, as a list."""
    return value if isinstance(value, list) else [value]


def answer(type_name: str, call: Call) -> tuple[Tensor, ...]:
    """The tops that a twin makes. One that is a bottom itself becomes a view, which has a gradient of its own.

    Errors   NotImplementedError for hyper-parameters that the twin does not look at
    """
    hyper = Hyper({key: value for key, value in call.hyper.items() if not key.endswith(FILLER)})
    tops = TWINS[type_name](replace(call, hyper=hyper))
    overlooked = [name for name in hyper.overlooked if name not in SEEN_IN_ARRAYS.get(type_name, ())]
    if overlooked:
        raise NotImplementedError(f"the twin of {type_name} does not look at {', '.join(overlooked)}")
    tops = tops if isinstance(tops, tuple) else (tops,)
    return tuple(top.view_as(top) if any(top is x for x in call.x) else top for top in tops)


def tensors(arrays: Mapping[str, np.ndarray], *, grad: bool = False) -> dict[str, Tensor]:
    """Copies of arrays as tensors; with grad, the reals among them have a gradient."""
    made = {name: tensor(array) for name, array in arrays.items()}
    return {name: t.requires_grad_(grad and t.is_floating_point()) for name, t in made.items()}


def tensor(array: Any) -> Tensor:
    """A copy of an array as a tensor, of a CSR as a sparse one."""
    if not isinstance(array, CSR):
        return torch.from_numpy(np.array(array))
    where = torch.from_numpy(np.array(places(array), np.int64).T.copy())
    values = torch.from_numpy(np.array(array.data))
    return torch.sparse_coo_tensor(where, values, array.shape, check_invariants=True).coalesce()


def numbers(tensor: Tensor) -> np.ndarray:
    """Its numbers on the host, of a sparse one those that it stores, row after row."""
    detached = tensor.detach()
    return (detached.coalesce().values() if detached.is_sparse else detached).numpy()


@contextmanager
def in_dtype(dtype: str) -> Iterator[None]:
    """While this lasts, the modules and tensors that twins make have this dtype, and torch warns of nothing."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(getattr(torch, dtype))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of variances of single numbers and the like, which the results show
            yield
    finally:
        torch.set_default_dtype(before)


def gradients(
    tops: Sequence[tuple[Tensor, np.ndarray]], leaves: Mapping[str, Tensor]
) -> dict[str, np.ndarray]:
    """The gradients of leaves by name, from tops and their cotangents: zeros where nothing leads to them."""
    pairs = [(top, torch.from_numpy(np.array(dy))) for top, dy in tops if top.requires_grad]
    found: Sequence[Tensor | None] = [None] * len(leaves)
    if pairs and leaves:
        outputs, cotangents = zip(*pairs, strict=True)
        found = torch.autograd.grad(outputs, list(leaves.values()), cotangents, allow_unused=True)
    return {
        name: np.zeros_like(numbers(leaf)) if grad is None else numbers(grad)
        for (name, leaf), grad in zip(leaves.items(), found, strict=True)
    }


# A whole net ----------------------------------------------------------------------------------------------------------


def take_step(
    net: Net, state: Mapping[str, np.ndarray], inputs: Mapping[str, Any], phase: str, ours: OneStep
) -> dict[str, np.ndarray]:
    """The arrays of `ours`, in its order, as torch computes them from the same parameters and inputs.

    state   running statistics before the step, by "layer.name"
    inputs  on the host
    """
    learned = tensors({key: ours.arrays[path] for key, path in _paths(net, "data").items()}, grad=True)
    statistics = tensors(state)
    shared = {".".join(user): learned[".".join(owner)] for user, owner in net.parameters.shared.items()}
    dtypes = {name: net.graph.inputs[name].dtype for name in inputs}
    given = {name: NUMPY.from_host(array, dtypes[name]) for name, array in inputs.items()}
    with in_dtype(net.dtype):
        own = learned | shared | statistics
        blobs = run(items(net, phase), phase, tensors(given, grad=True), own, net.seed)
        leaves = {f"blobs/{escape(name)}/grad": t for name, t in blobs.items() if t.requires_grad}
        leaves |= {path: learned[key] for key, path in _paths(net, "grad").items()}
        wanted = {path: leaf for path, leaf in leaves.items() if path in ours.arrays}
        found = gradients([(blobs[name], dy) for name, dy in ours.cotangents.items()], wanted)
    found |= {path: learned[key].detach().numpy() for key, path in _paths(net, "data").items()}
    found |= {f"blobs/{escape(name)}/data": numbers(t) for name, t in blobs.items()}
    found |= {_path("statistics", *key.rpartition(".")[::2]): t.numpy() for key, t in statistics.items()}
    # Where autograd sees no way for a gradient, none flows.
    return {
        path: np.zeros_like(array) if path.endswith("/grad") and path not in found else found[path]
        for path, array in ours.arrays.items()
    }


def _paths(net: Net, what: str) -> dict[str, str]:
    """The paths of parameters in a step, by "layer.name"."""
    return {f"{layer}.{name}": f"{_path('parameters', layer, name)}/{what}" for layer, name in ordered_parameters(net)}


def _path(kind: str, layer: str, name: str) -> str:
    return f"{kind}/{escape(layer)}/{name}"


def items(net: Net, phase: str) -> list[dict[str, Any]]:
    """The layers of a phase as `run` takes them, every bottom and top by its name."""
    graph = net.graph.phases[phase]
    return [
        {
            **{key: value for key, value in step.node.item.items() if key not in WIRING_KEYS},
            "name": step.node.name,
            "type": step.node.layer.type_name,
            "bottom": [graph.blobs[i].name for i in step.bottoms],
            "top": [graph.blobs[i].name for i in step.tops],
        }
        for step in graph.steps
    ]
