"""The framework's side of a layer's three methods: arity, tuples of results, and errors that say where."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from ..arrays.awaited import present
from ..arrays.device_errors import told
from ..arrays.spec import Spec
from ..schema.errors import LayerError, LayerForgeError
from ..schema.registry import LAYERS
from ..schema.user_modules import described
from .layer import Layer, describe_count, within


class Shaped(NamedTuple):
    """The shape of an array that an error may tell of later."""

    shape: tuple[int, ...]


def owner(layer: Layer) -> str:
    """How errors call a layer."""
    return f"layer '{layer.name}' ({layer.type_name})"


def setup(layer: Layer, bottoms: Sequence[Spec]) -> tuple[Spec, ...]:
    """Set a layer up for these bottoms; the Specs of its tops.

    Errors   LayerError (exit 2), naming layer, type, shapes and place
    """
    if not within(len(bottoms), layer.bottoms):
        raise LayerError(
            f"{owner(layer)} takes {describe_count(layer.bottoms)} bottom(s), got {len(bottoms)}",
            place=layer.place,
            hint="list them as `bottom: [a, b]`",
            exit_code=2,
        )
    _refuse_sparse(layer, bottoms)
    try:
        made = layer.setup(*bottoms)
    except (Exception, SystemExit) as error:
        raise failure(layer, "setup", bottoms, error, exit_code=2) from error
    tops: tuple[Any, ...] = tuple(made) if isinstance(made, (tuple, list)) else (made,)
    if not all(isinstance(t, Spec) for t in tops):
        raise failure(layer, "setup", bottoms, LayerError(f"setup must return Specs, got {tops!r}"), exit_code=2)
    return tops


def _refuse_sparse(layer: Layer, bottoms: Sequence[Spec]) -> None:
    """LayerError for a sparse bottom that a layer does not take, naming the layers that take one."""
    for i, spec in enumerate(bottoms):
        if spec.sparse and i not in layer.sparse_bottoms:
            takers = ", ".join(name for name in LAYERS.names() if LAYERS.get(name).sparse_bottoms)
            error = LayerError(f"bottom[{i}] is sparse, {spec}", hint=f"sparse bottoms are taken by {takers}")
            raise failure(layer, "setup", bottoms, error, exit_code=2)


def check_phase(layer: Layer, phase: str, bottoms: Sequence[Spec]) -> None:
    """Ask a layer that is set up for these bottoms whether forward of a phase will take them.

    Errors   LayerError (exit 2), naming layer, type, shapes and place
    """
    try:
        layer.check_phase(phase, *bottoms)
    except Exception as error:
        raise failure(layer, f"check_phase for {phase}", bottoms, error, exit_code=2) from error


def forward(layer: Layer, bottoms: Sequence[Any]) -> tuple[Any, ...]:
    """Run forward; always a tuple of tops. None is no top at all."""
    layer.begin_forward()
    return _call(layer, "forward", bottoms, none=())


def backward(layer: Layer, dtops: Sequence[Any]) -> tuple[Any, ...]:
    """Run backward; always a tuple with an entry for each bottom, None where there is no gradient."""
    return _call(layer, "backward", dtops, none=(None,) if layer.needs_grad else ())


def jvp(layer: Layer, tangents: Sequence[Any]) -> tuple[Any, ...]:
    """Run jvp; always a tuple with an entry for each top."""
    return _call(layer, "jvp", tangents)


def jvp_params(layer: Layer, tangents: Mapping[str, Any]) -> tuple[Any, ...]:
    """Run jvp_params; always a tuple with an entry for each top."""
    try:
        result = layer.jvp_params(**tangents)
    except (Exception, SystemExit) as error:
        raise failure(layer, "jvp_params", list(tangents.values()), error) from error
    return tuple(result) if isinstance(result, (tuple, list)) else (result,)


def _call(layer: Layer, doing: str, arrays: Sequence[Any], none: tuple[Any, ...] = (None,)) -> tuple[Any, ...]:
    """Run a method; `none` is what one that returned None has returned."""
    try:
        result = layer.perform(doing, arrays)
    except (Exception, SystemExit) as error:
        raise failure(layer, doing, arrays, error) from error
    if layer.xp is not np and (awaited := present()) is not None:
        awaited.own(partial(failure, layer, doing, [None if a is None else Shaped(a.shape) for a in arrays]))
    if result is None:
        return none
    return result if isinstance(result, tuple) else tuple(result) if isinstance(result, list) else (result,)


def is_too_large(error: BaseException) -> bool:
    """Whether an array could not be made because of its size. NumPy has several ways to say so."""
    told = type(error) is ValueError and ("array is too big" in str(error) or "Maximum allowed" in str(error))
    return isinstance(error, MemoryError) or told


def failure(
    layer: Layer, doing: str, arrays: Sequence[Any], error: BaseException, exit_code: int | None = None
) -> LayerForgeError:
    """The error of a layer with everything needed to find it: name, type, shapes and the line of the configuration.

    What the machine lacks while a layer is run, such as memory, is told as that (device_errors.py).
    """
    lacking = None if doing == "setup" else told(error, f"{owner(layer)} in {doing}")
    if lacking is not None:
        return lacking
    shapes = ", ".join(str(tuple(a.shape)) if a is not None else "None" for a in arrays)
    what = {"backward": "top gradients", "jvp": "tangents", "jvp_params": "tangents"}.get(doing, "bottoms")
    code: int | None
    if isinstance(error, LayerForgeError):
        message, hint, code = error.message, error.hint, exit_code or error.exit_code
    else:
        text = described(error)
        message, hint, code = f"{type(error).__name__} in {doing}: {text}", None, exit_code
        if is_too_large(error):
            message, hint = f"an array in its {doing} would be too large for memory ({text})", "use smaller numbers"
    return LayerError(
        f"{owner(layer)}: {message} [{what} {shapes or 'none'}]", place=layer.place, hint=hint, exit_code=code
    )
