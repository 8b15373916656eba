"""What the framework asks of an engine, and of an engine's layer. Nothing else of an engine is known outside of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Protocol, TypeGuard

from ..arrays.spec import Spec
from ..contract.layer import Layer
from ..contract.namespaces import Params

NO_KERNELS = "it has no kernels for bfloat16"  # why a layer stays float32 that no engine halves


class Engine(Protocol):
    """The package of an engine: layerforge/engines/<name>/__init__.py has these functions.

    missing    why it cannot be used here; None where it can
    on_device  whether it computes on a device's arrays, and not on the host's
    describe   which library was loaded
    layers     its layers by the type that they stand in for; none of an engine of kernels
    kernels    by the name of the function that each stands in for (arrays/formula.py); none of an engine of layers
    updates    the solver's rules that it knows, by type: made of a rule, the flat arrays and the histories
    """

    def missing(self) -> str | None: ...
    def on_device(self) -> bool: ...
    def describe(self) -> str: ...
    def layers(self) -> Mapping[str, type[EngineLayer]]: ...
    def kernels(self) -> Mapping[str, Callable[..., Any]]: ...
    def updates(self) -> Mapping[str, Callable[..., Any]]: ...


class LayerEngine(Engine, Protocol):
    """An engine that has layers: it takes part in planning and in running, too.

    adder              what makes the sums of two gradients: called with both and the array for the result
    carrier            what makes the copies of an input: called with it and the array that it goes to
    dry_run            whether this thread only plans: primitives are made, one of each kind; nothing is computed
    bfloat16_missing   why none of its layers can compute in bfloat16 here; None where some can
    cast               what makes the layers that cast: called with the layer that reads, a name, how many axes,
                       and whether to bfloat16 or from it
    refuse_after_fork  BackendError in a child of fork that could only wait for threads which its parent has
    """

    def adder(self) -> Callable[[], Callable[[Any, Any, Any], Any]]: ...
    def carrier(self) -> Callable[[], Callable[[Any, Any], None]]: ...
    def dry_run(self, on: bool) -> None: ...
    def bfloat16_missing(self) -> str | None: ...
    def cast(self) -> Callable[[Layer, str, int, bool], Layer]: ...
    def refuse_after_fork(self) -> None: ...


class Circumstances(Protocol):
    """What a layer may know of the plan before it absorbs another: see `EngineLayer.can_absorb`."""

    @property
    def phase(self) -> str: ...
    @property
    def backward(self) -> bool: ...


class EngineLayer(Protocol):
    """A layer of an engine: besides the contract of any layer, what planning and running ask of it.

    engine  the name of its engine
    script  what it did the last time, where that can be repeated: see run/capture.py
    halved  whether it computes in bfloat16; `halve` says so, before it has run, and `operands` gets its parameters so
    wide_top   whether its top is float32 all the same; `widen_top` asks for that, and may do nothing
    """

    name: str
    engine: ClassVar[str]
    halved: bool
    wide_top: bool
    operands: Params

    @classmethod
    def instead_of(cls, reference: Layer) -> Any: ...
    @classmethod
    def stands_for(cls, reference: Layer) -> bool: ...
    @classmethod
    def refuses(cls, reference: Layer, bottoms: Sequence[Spec], tops: Sequence[Spec]) -> str | None: ...
    def axes_in_memory(self, ndim: int) -> tuple[int, ...] | None: ...
    def refuses_bfloat16(self, bottoms: Sequence[Spec], tops: Sequence[Spec]) -> str | None: ...
    def halve(self) -> None: ...
    def widen_top(self) -> None: ...
    def products_in_bfloat16(self, bottoms: Sequence[Spec], tops: Sequence[Spec]) -> None: ...
    def can_absorb(self, above: Layer, between: Spec, plan: Circumstances) -> bool: ...
    def absorb(self, above: Layer) -> None: ...


def is_engine_layer(layer: Any) -> TypeGuard[EngineLayer]:
    """Whether a layer is one of an engine, which has the attributes of `EngineLayer`."""
    return isinstance(getattr(layer, "engine", None), str)
