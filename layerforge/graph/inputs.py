"""The inputs of a net: the arrays that its caller gives by name.

The data section says what they are, or else `inputs:` and layers of type Input do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..arrays.spec import FORMATS, Spec
from ..contract import call
from ..contract.layer import Layer
from ..layers.plumbing.input import Input
from ..schema.errors import ConfigError, LayerForgeError, flatten
from ..schema.locations import place_of
from ..schema.params import Declared, param
from ..schema.synonyms import did_you_mean

DTYPES = (
    "int64", "int32", "int16", "int8", "uint64", "uint32", "uint16", "uint8", "int", "uint",
    "float64", "float32", "float16", "float", "bool",
)  # fmt: skip


class InputSection(Declared):
    """An input of a net that has no data section."""

    shape: list[int] = param(help="full shape, batch axis first", ge=0)
    dtype: str | None = param(None, help="an integer dtype makes it an index; reals have the net's dtype")
    grad: bool = param(False, help="compute its gradient; of a sparse input that of the stored numbers")
    sparse: str | None = param(
        None, help="csr: a matrix in compressed sparse rows, such as SciPy's csr_array", choices=(*FORMATS, None)
    )

    def validate(self) -> None:
        if self.dtype is not None and self.dtype not in DTYPES:
            hint = did_you_mean(self.dtype, DTYPES) or f"one of {', '.join(DTYPES)}"
            raise ConfigError(f"dtype '{self.dtype}' is no type of numbers", hint=hint)
        if self.sparse and (len(self.shape) != 2 or Spec((), self.dtype or "").role != "real"):
            raise ConfigError("a sparse input has two axes, [N, D], and real numbers", hint="remove sparse")


def parse_inputs(
    section: Mapping[str, Any], dtype: str, errors: list[LayerForgeError]
) -> tuple[dict[str, Spec], set[str]]:
    """Specs of the declared inputs, and the names of those whose gradient is wanted."""
    specs, grads = {}, set()
    for name, value in section.items():
        try:
            if not isinstance(value, Mapping):
                raise ConfigError(f"input '{name}' must be a mapping with a shape", place=place_of(section, name))
            declared = InputSection.from_config(value, f"input '{name}'")
            spec = Spec(tuple(declared.shape), declared.dtype or dtype, sparse=declared.sparse)
            if declared.grad and not spec.is_real:
                raise ConfigError(f"input '{name}' is an index and has no gradient", place=place_of(value, "grad"))
        except ConfigError as error:
            errors += flatten(error)
            continue
        specs[name] = spec.with_dtype(dtype)
        grads |= {name} if declared.grad else set()
    return specs, grads


def input_of(layer: Input, name: str, others: Mapping[str, Spec], of_data: bool) -> Spec:
    """The input that an Input layer declares. Where a data section feeds the net (`of_data`), it is one of the data's.

    Errors   ConfigError for a name that is an input already, that the data section does not give, or gives otherwise
    """
    spec, given, who = call.setup(layer, ())[0], others.get(name), call.owner(layer)
    if not of_data:
        if given is not None:
            hint = "declare it once, under `inputs:` or by a layer"
            raise ConfigError(f"{who}: the net already has an input '{name}'", place=layer.place, hint=hint)
        return spec
    if given is None:
        hint = did_you_mean(name, others) or f"it gives: {', '.join(others)}"
        raise ConfigError(f"{who}: the data section gives no '{name}'", place=layer.place, hint=hint)
    ours, theirs = ((one.role, one.sparse, one.ndim, one.shape[1:]) for one in (spec, given))
    if ours != theirs:
        message = f"{who} says that '{name}' is {spec}, the data section gives {given}"
        raise ConfigError(message, place=layer.place, hint="the number of samples may differ, nothing else")
    return given


def demand_room(layer: Layer, i: int, name: str, bottoms: Sequence[Spec]) -> None:
    """ConfigError where a bottom names more things, as its data say, than the layer has.

    Not of losses and metrics: labels may be fewer than what could be named, and those out of range are told of when
    they come.
    """
    spec = bottoms[i]
    if spec.is_real or spec.high is None or layer.loss or not layer.is_differentiable():
        return
    room, count = layer.index_range(i, *bottoms), int(spec.high)
    if room is None or count <= room.stop:
        return
    raise ConfigError(
        f"{call.owner(layer)} has {room.stop} things that '{name}' may name, the data have {count}: 0 to {count - 1}",
        place=layer.place,
        hint=f"make room for {count}" + (f": num_embeddings: {count}" if hasattr(layer, "num_embeddings") else ""),
    )
