"""How a node of ONNX becomes layers of LayerForge: the table of imports, and what an import works with.

    @imports("Gemm")
    def gemm(site: Site) -> None:
        site.emit("Linear", site.real(0), out_features=...)
        site.param("weight", site.known(1))

An import emits layers, which are set up at once in each variant (values.py), so that every shape is known where the
next one asks for it, and says which numbers their parameters have. An attribute that it does not read is an error.
Names, wiring and what can be folded are not its business.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from ...arrays.spec import Spec
from ...schema.errors import ConfigError, LayerError
from ..emitting import Made, make, path_of
from ..tables import entering
from .graph import Node
from .values import BOOL, INDEX, REAL, Attributes, Known, Stream, Unsupported, Value, called

LARGEST_BLOB = (1 << 31) - 1  # numbers
WHOLE = "integers are computed as float32 here: exact up to 2^24"
LARGEST_TABLE = 1 << 26  # numbers that an import makes up


class Shared(Protocol):
    """What all nodes of a graph share while it is imported.

    arrays      weights and statistics, by the names of `net.arrays()`
    foreign     whether another program wrote the graph
    surely      initializers that are learned even where they are a single number
    constants_learn   whether constants are learned where layers have parameters, as the graph has nothing else
    count       how many variants there are
    batch       how many samples there are in each; None where their number is fixed
    sampled     an input with an axis of samples in front, where there is one
    ones        a one for each sample, once somebody has asked for it
    casts       index and real versions of blobs that exist already: (blob, role) to stream
    constants   known values that are blobs already, by the identity of their arrays
    filled      initializer to the parameters that have numbers of it, and how many
    owners      (initializer, order of its axes) to the layer's parameter that has its numbers
    """

    opset: int
    arrays: dict[str, np.ndarray]
    casts: dict[tuple[str, str], Stream]
    constants: dict[int, tuple[Known, Stream]]
    owners: dict[tuple[str, tuple[int, ...]], tuple[Made, str]]
    filled: dict[str, list[tuple[str, int]]]
    foreign: bool
    surely: frozenset[str]
    constants_learn: bool
    count: int
    batch: tuple[int, ...] | None
    sampled: Stream
    ones: Stream | None

    def unique(self, name: str) -> str:
        """A name that no other blob or layer has."""
        ...

    def alone(self, name: str, op: str) -> Node | None:
        """The node of that operator which alone reads a value, where no output does."""
        ...

    def known(self, name: str) -> Known | None:
        """What is known of a value without running the net."""
        ...

    def hold(self, site: Site, value: Known) -> Stream:
        """Known numbers as a layer."""
        ...

    def absorb(self, node: Node, site: Site) -> list[str]:
        """A node that is part of what another one becomes; what its outputs are called here."""
        ...


@dataclass
class Site:
    """A node while it is imported.

    shared    what it shares with all others
    node      itself
    own       what its main layer is called in LayerForge
    inputs    what it reads; None is what is not there
    tops      what its outputs are called in LayerForge; "" is one that nobody reads
    made      the layers that were emitted
    streams   what they make, by name
    names     ONNX's names of the outputs
    notes     what is to be known of it
    fixed     parameters of layers whose numbers are constant
    """

    shared: Shared
    node: Node
    own: str
    inputs: list[Value | None]
    tops: list[str]
    attributes: Attributes
    made: list[Made] = field(default_factory=list)
    streams: dict[str, Stream] = field(default_factory=dict)
    outputs: dict[int, Value] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    fixed: dict[str, list[str]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The node's name."""
        return called(self.node)

    @property
    def opset(self) -> int:
        """The version of the operators."""
        return self.shared.opset

    @property
    def guessed(self) -> bool:
        """Whether the shape of an input is only a guess."""
        return any(isinstance(one, Stream) and one.guessed for one in self.inputs)

    # Reading ------------------------------------------------------------------------------------------------------

    def has(self, i: int) -> bool:
        """Whether an input is there."""
        return i < len(self.inputs) and self.inputs[i] is not None

    def input(self, i: int) -> Value:
        """An input. Errors: ConfigError where it is not there."""
        value = self.inputs[i] if i < len(self.inputs) else None
        if value is None:
            raise self.invalid(f"input {i} is missing")
        return value

    def known(self, i: int, what: str = "") -> Known:
        """An input whose numbers are known. Errors: Unsupported where the net computes them."""
        value = self.input(i)
        if isinstance(value, Stream):
            raise self.unsupported(f"{what or f'input {i}'} is computed by the net: it must be constant")
        return value

    def is_known(self, i: int) -> bool:
        """Whether an input is there, and its numbers are known."""
        return self.has(i) and isinstance(self.inputs[i], Known)

    def constant(self, i: int, what: str = "") -> np.ndarray:
        """The numbers of an input. Errors: Unsupported where they depend on the input of the net, or on its size."""
        value = self.known(i, what)
        if not value.fixed:
            raise self.unsupported(f"{what or f'input {i}'} depends on the sizes of the net's inputs")
        return value.array

    def integers(self, i: int, name: str, default: list[int] | None = None) -> list[int] | None:
        """Integers of an input, or of the attribute that older versions have."""
        if self.has(i):
            return [int(n) for n in self.constant(i, name).reshape(-1)]
        return self.attributes.integers(name, default)

    def axis(self, value: int, ndim: int, name: str = "axis") -> int:
        """An axis counted from the front."""
        if not -ndim <= value < ndim:
            raise self.invalid(f"{name} {value} of a value of {ndim} axes")
        return value % ndim

    def count(self, outputs: int) -> None:
        """Refuse more outputs than the import makes."""
        if any(self.tops[outputs:]):
            raise self.unsupported(f"output {self.node.outputs[outputs]} is used: only the first {outputs} are made")

    def invalid(self, told: str, hint: str = "") -> ConfigError:
        """The error for what is no valid graph."""
        return ConfigError(self.said(told), hint=hint or None)

    def unsupported(self, told: str, hint: str = "") -> Unsupported:
        """The error for what ONNX can and the import cannot."""
        return Unsupported(self.said(told), hint=hint or None)

    def said(self, told: str) -> str:
        """A sentence about the node."""
        return f"node '{self.name}' ({self.node.op}): {told}"

    def note(self, told: str) -> None:
        """Something that the report says of this node."""
        if told not in self.notes:
            self.notes.append(told)

    # Streams ------------------------------------------------------------------------------------------------------

    def stream(self, i: int) -> Stream:
        """An input as a blob; numbers that are known become a layer."""
        return self.as_stream(self.input(i))

    def real(self, i: int) -> Stream:
        """An input as a blob of real numbers."""
        return self.as_real(self.stream(i))

    def index(self, i: int) -> Stream:
        """An input as a blob of integers."""
        return self.as_index(self.stream(i))

    def as_real(self, stream: Stream, *, computing: bool = True) -> Stream:
        """A blob as real numbers.

        computing   integers are computed with, which ONNX does exactly: the report says how far that is so here
        """
        if computing and stream.dtype == INDEX:
            self.note(WHOLE)
        return self._cast(stream, "real")

    def as_index(self, stream: Stream) -> Stream:
        """A blob as integers."""
        return self._cast(stream, "index")

    def _cast(self, stream: Stream, role: str) -> Stream:
        if stream.spec.role == role:
            return stream
        key = (stream.name, role)
        if key not in self.shared.casts:
            name = self.shared.unique(f"{stream.name}.{role}")
            dtype = BOOL if stream.dtype == BOOL else REAL if role == "real" else INDEX
            (self.shared.casts[key],) = self.emit("Cast", stream, name=name, dtype=dtype, role=role)
        return self.shared.casts[key]

    def as_stream(self, value: Value) -> Stream:
        """A value as a blob: what is learned as a Parameter, other numbers as a Constant."""
        if isinstance(value, Stream):
            return value
        held = self.shared.constants.get(id(value.array))
        if held is None or held[0].arrays[-1] is not value.arrays[-1]:
            held = value, self.shared.hold(self, value)
            self.shared.constants[id(value.array)] = held
        return held[1]

    # Emitting -----------------------------------------------------------------------------------------------------

    def emit(
        self,
        kind: str,
        bottoms: Stream | Sequence[Stream] = (),
        *,
        part: str = "",
        name: str = "",
        tops: Sequence[str] | None = None,
        dtype: str | Sequence[str] = "",
        given: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> list[Stream]:
        """Add a layer of LayerForge and return its tops.

        part   what it is called behind the node's own name
        name   what it is called; without both it is the main layer, is called as the node and makes its outputs
        tops   the names of its tops, where they are others
        dtype  what its tops are in ONNX, where that is not clear: bool
        given, options   its hyper-parameters
        """
        read = [bottoms] if isinstance(bottoms, Stream) else list(bottoms)
        main = not part and not name
        name = name or (self.shared.unique(f"{self.own}.{part}") if part else self.own)
        names = list(tops) if tops is not None else self._named() if main else [name]
        options = {**(given or {}), **options}
        variants = max((len(stream.specs) for stream in read), default=1)
        made, specs = self._make(name, kind, options, read, names, 0)
        if len(specs) < len(names):
            raise self.invalid(f"{len(names)} of its outputs are used, {kind} makes {len(specs)}")
        every = [specs]
        for variant in range(1, variants):
            other, more = self._make(name, kind, options, read, names, variant)
            self._demand_same_parameters(made, other)
            every.append(more)
        if variants == 1:
            every *= max(1, self.shared.count)
        for spec in specs:
            self.demand_size(spec)
        self.made.append(made)
        kinds = [dtype] * len(names) if isinstance(dtype, str) else list(dtype)
        streams = [
            Stream(top, tuple(one[j] for one in every), kinds[j] or (REAL if specs[j].is_real else INDEX), self.guessed)
            for j, top in enumerate(names)
        ]
        self.streams.update({stream.name: stream for stream in streams})
        return streams

    def _make(
        self, name: str, kind: str, options: Mapping[str, Any], read: Sequence[Stream], tops: list[str], variant: int
    ) -> tuple[Made, tuple[Spec, ...]]:
        """A layer, set up for the sizes of a variant."""
        blobs = [(one.name, one.specs[min(variant, len(one.specs) - 1)]) for one in read]
        try:
            return make(name, kind, options, blobs, tops, owner=f"node '{self.name}' ({self.node.op}), as {kind}")
        except LayerError as error:
            raise self.invalid(error.message, error.hint or "") from None

    def _named(self) -> list[str]:
        """The names of the outputs, up to the last one that is read."""
        last = max((j for j, top in enumerate(self.tops) if top), default=0)
        return [top or self.shared.unique(f"{self.own}.unused{j}") for j, top in enumerate(self.tops[: last + 1])]

    def _demand_same_parameters(self, made: Made, other: Made) -> None:
        mine, theirs = made.layer.param_decls, other.layer.param_decls
        for name, decl in mine.items():
            if tuple(decl.shape) != tuple(theirs[name].shape):
                told = f"its {name} has shape {tuple(decl.shape)}, and {tuple(theirs[name].shape)} for other inputs"
                raise self.unsupported(told)

    def demand_size(self, spec: Spec) -> None:
        """Refuse a blob with more numbers than can be counted on."""
        if spec.size > LARGEST_BLOB:
            raise self.invalid(f"a value of shape {spec.shape} has more than {LARGEST_BLOB} numbers")

    def eye(self, n: int) -> np.ndarray:
        """A one-hot vector for each of n indices. Errors: Unsupported where they are too many for a table."""
        if n * n > LARGEST_TABLE:
            raise self.unsupported(f"a table of {n} one-hot vectors has more than {LARGEST_TABLE} numbers")
        return np.eye(n, dtype=np.float32)

    def take_over(self, node: Node) -> None:
        """A node behind this one, which alone reads its output, is part of what this one becomes."""
        self.tops = self.shared.absorb(node, self)
        self.names = list(node.outputs)

    def pass_on(self, value: Value, output: int = 0) -> None:
        """An output is a value that exists already."""
        self.outputs[output] = value

    # Parameters ---------------------------------------------------------------------------------------------------

    def param(self, name: str, value: Known | np.ndarray, of: Made | None = None) -> None:
        """The numbers of a parameter of a layer, by default the last one; what several layers learn they share."""
        made = of or self.made[-1]
        known = value if isinstance(value, Known) else Known((value,))
        if isinstance(value, Known) and not value.learned and not self.shared.constants_learn:
            self.fixed.setdefault(made.name, []).append(name)
        self._demand_shape(made.layer.param_decls[name].shape, known.array, name)
        filled = self.shared.filled.setdefault(known.learned, []) if known.learned else []
        owner = self.shared.owners.get(known.origin) if known.learned and known.origin[0] else None
        if owner is not None and tuple(owner[0].layer.param_decls[owner[1]].shape) == known.shape:
            made.item.setdefault("share", {})[name] = f"{owner[0].name}.{owner[1]}"
            return
        if known.origin[0]:
            self.shared.owners.setdefault(known.origin, (made, name))
        self.shared.arrays[path_of("params", made.name, name)] = real(known.array)
        filled.append((f"{made.name}.{name}", known.array.size))
        self._tell_apart(known.learned, filled)

    def learned_turned(self, value: Known) -> bool:
        """Whether a layer learns this matrix with its two axes exchanged, and none as it is."""
        owners = self.shared.owners
        if not value.learned or not value.origin[0] or value.ndim != 2 or value.origin in owners:
            return False
        made, name = owners.get(value.transposed((1, 0)).origin, (None, ""))
        return made is not None and tuple(made.layer.param_decls[name].shape) == value.shape[::-1]

    def _tell_apart(self, learned: str, filled: list[tuple[str, int]]) -> None:
        """Note that an initializer is learned several times here; layers that take different parts of it share none."""
        whole = self.shared.known(learned)
        if len(filled) > 1 and whole is not None and sum(size for _, size in filled) > whole.array.size:
            names = " and ".join(f"'{name}'" for name, _ in filled)
            self.note(f"{names} are copies of the one initializer '{learned}': when they are trained they come apart")

    def freeze(self) -> None:
        """What is constant in the graph does not learn here."""
        for made in self.made:
            fixed = self.fixed.get(made.name, [])
            if fixed and made.item.get("freeze") is not True:
                whole = len(fixed) == len(made.layer.param_decls)
                made.item.update({"freeze": True} if whole else {"lr_mult": dict.fromkeys(fixed, 0)})

    def state(self, name: str, array: np.ndarray, of: Made | None = None) -> None:
        """The numbers of an array of a layer's state, by default of the last one."""
        made = of or self.made[-1]
        self._demand_shape(made.layer.state_decls[name].shape, array, name)
        self.shared.arrays[path_of("state", made.name, name)] = real(array)

    def _demand_shape(self, shape: Sequence[int], array: np.ndarray, name: str) -> None:
        if tuple(shape) != array.shape:
            raise self.invalid(f"{name} has shape {array.shape}, expected {tuple(shape)}")


def real(array: np.ndarray) -> np.ndarray:
    """Numbers as a net has them."""
    return np.ascontiguousarray(array, dtype=np.float32).reshape(array.shape)


Import = Callable[[Site], None]
IMPORTS: dict[str, Import] = {}
REFUSED: dict[str, str] = {}  # known operators that are not imported, and why


def imports(*ops: str) -> Callable[[Import], Import]:
    """Enter an import into the table, under operators."""
    return entering(IMPORTS, ops, "imports of")
