"""How a layer of Caffe becomes layers of LayerForge: the table of conversions, and what a conversion works with.

    @converts("InnerProduct")
    def inner_product(site: Site) -> None:
        p = site.param("inner_product_param")
        x = site.emit("Flatten", site.bottoms, part="flat", start_dim=1)
        site.emit("Linear", x, out_features=p.get("num_output"))
        site.blob("weight", filler=p.get("weight_filler"))

A conversion emits layers, which are set up at once, so that every shape is known where the next one asks for it, and
says where each of Caffe's blobs goes. What it does not read of its own fields is refused after it (translation.py), so
that nothing is ignored silently. Names, wiring, multipliers, sharing and loss weights are not its business.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ...arrays.spec import Spec
from ...contract.fillers import Filler
from ...schema.errors import ConfigError
from ...schema.locations import Place
from ..emitting import Made, make, path_of
from ..tables import entering
from .fillers import filler_of
from .message import Message
from .paths import below

LARGEST_BLOB = (1 << 31) - 1  # numbers


class Unsupported(ConfigError):
    """A model asks for something that cannot be imported exactly."""


@dataclass(frozen=True)
class Stream:
    """A blob on its way through the net: its name in LayerForge, and what is known of it.

    guessed   its shape is a guess, as the layer that makes it cannot be imported
    """

    name: str
    spec: Spec
    guessed: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        return self.spec.shape

    @property
    def ndim(self) -> int:
        return len(self.spec.shape)


@dataclass(frozen=True)
class BlobMap:
    """Where a blob of Caffe's lies: an array of a layer, in its own shape, perhaps with its rows in another order.

    namespace   params or state
    shape       that of Caffe's blob
    order       block i of the array's rows, all of one size, is block order[i] of the blob's; None: the same order
    columns     the blob is these columns of the array, from the first to the one behind the last; None: all of it
    """

    layer: str
    namespace: str
    name: str
    shape: tuple[int, ...]
    order: tuple[int, ...] | None = None
    columns: tuple[int, int] | None = None

    @property
    def path(self) -> str:
        """The array's name in `net.arrays()`."""
        return path_of(self.namespace, self.layer, self.name)

    def fits(self, given: tuple[int, ...]) -> bool:
        """Whether a shape is the blob's, also as old files write it: four axes, the missing ones 1 in front.

        Forks write a row of channels, (1, C), as (1, C, 1, 1), too.
        """
        if given == self.shape:
            return True
        if len(given) != 4 or len(self.shape) > 4:
            return False
        in_front, of_a_row = (1,) * (4 - len(self.shape)) + self.shape, (*self.shape, 1, 1)
        return given == in_front or (self.shape[:1] == (1,) and given == of_a_row)

    def put(self, blob: np.ndarray, array: np.ndarray) -> None:
        """Write Caffe's blob into its array."""
        values = self._ordered(blob, self.order)
        part = array if self.columns is None else array[:, slice(*self.columns)]
        part[...] = values.reshape(part.shape)

    def get(self, array: Any) -> Any:
        """Caffe's blob in its array: a view where that can be."""
        part = array if self.columns is None else array[:, slice(*self.columns)]
        back = None if self.order is None else [self.order.index(i) for i in range(len(self.order))]
        return self._ordered(part, back)

    def _ordered(self, array: Any, order: Sequence[int] | None) -> Any:
        """An array in the shape of Caffe's blob, with its blocks of rows in another order."""
        if order is None:
            return array.reshape(self.shape)
        blocks = array.reshape(len(order), -1, *self.shape[1:])
        return blocks[list(order)].reshape(self.shape)


@dataclass
class Site:
    """A layer of Caffe's while it is converted.

    layer      its LayerParameter
    own        what its main layer is called in LayerForge
    phase      train or eval
    bottoms    what it reads
    tops       what its tops are called in LayerForge
    unique     makes a name unique
    roots      folders that files which it names are below
    casts      index versions of real blobs, and the other way round, that exist already: (blob, role) to stream
    made       the layers that were emitted
    blobs      where its blobs lie, in Caffe's order
    notes      what is to be known of it
    ignored    (path of a field, place, why)
    """

    layer: Message
    own: str
    phase: str
    bottoms: list[Stream]
    tops: list[str]
    unique: Callable[[str], str]
    roots: Sequence[Path] = ()
    casts: dict[tuple[str, str], Stream] = field(default_factory=dict)
    made: list[Made] = field(default_factory=list)
    streams: dict[str, Stream] = field(default_factory=dict)
    blobs: list[BlobMap] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    ignored: list[tuple[str, Place, str]] = field(default_factory=list)
    used: list[Message] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Caffe's name of the layer."""
        return str(self.layer.get("name"))

    @property
    def type(self) -> str:
        """Caffe's type of the layer."""
        return str(self.layer.get("type"))

    @property
    def guessed(self) -> bool:
        """Whether the shape of a bottom is only a guess."""
        return any(bottom.guessed for bottom in self.bottoms)

    @property
    def in_place(self) -> bool:
        """Whether the first top overwrites the first bottom."""
        return list(self.layer.get("bottom"))[:1] == list(self.layer.get("top"))[:1] != []

    # Reading ------------------------------------------------------------------------------------------------------

    def param(self, name: str) -> Message:
        """The message of the type's own fields; an empty one where it is not set."""
        message: Message = self.layer.get(name)
        self.used.append(message)
        return message

    def harmless(self, message: Message, *names: str, why: str = "changes no number") -> None:
        """Read fields that change nothing, with all that is in them, and list those that are set."""
        for name in names:
            if message.has(name):
                self.ignored.append((name, message.place(name), why))
                value = message.get(name)
                for inner in value if isinstance(value, list) else [value]:
                    if isinstance(inner, Message):
                        inner.mark_read()

    def file(self, message: Message, name: str) -> Path:
        """The path that a field names. Errors: ConfigError where it leads out of the definition's folder."""
        return below(message.get(name), self.roots, self.place(name, message))

    def count(self, bottoms: int | tuple[int, int | None], tops: int | tuple[int, int | None]) -> None:
        """Refuse another number of bottoms or tops than Caffe takes."""
        for word, allowed, found in (("bottom", bottoms, len(self.bottoms)), ("top", tops, len(self.tops))):
            low, high = (allowed, allowed) if isinstance(allowed, int) else allowed
            if found < low or (high is not None and found > high):
                told = str(low) if low == high else f"at least {low}" if high is None else f"{low} to {high}"
                raise self.invalid(f"takes {told} {word}(s), it has {found}", self.layer, word)

    def demand_axes(self, stream: Stream, least: int, most: int | None = None) -> None:
        """Refuse a bottom with fewer axes, or more."""
        if least <= stream.ndim and (most is None or stream.ndim <= most):
            return
        number = f"at least {least}" if most is None else f"{least}" if most == least else f"{least} to {most}"
        told = f"a bottom has shape {stream.shape}, it takes {number} axes"
        raise self.invalid(told, self.layer, "bottom")

    def axis(self, value: int, ndim: int, message: Message, name: str = "axis") -> int:
        """An axis counted from the front."""
        if not -ndim <= value < ndim:
            raise self.invalid(f"{name} {value} of a blob of {ndim} axes", message, name)
        return value % ndim

    def invalid(
        self, told: str, message: Message | None = None, name: str | None = None, hint: str = ""
    ) -> ConfigError:
        """The error for what Caffe refuses, too."""
        return ConfigError(self.said(told), place=self.place(name, message), hint=hint or None)

    def unsupported(
        self, told: str, message: Message | None = None, name: str | None = None, hint: str = ""
    ) -> Unsupported:
        """The error for what Caffe can and the import cannot."""
        return Unsupported(self.said(told), place=self.place(name, message), hint=hint or None)

    def said(self, told: str) -> str:
        """A sentence about the layer."""
        return f"layer '{self.name}' ({self.type}): {told}"

    def place(self, name: str | None = None, message: Message | None = None) -> Place:
        """Where a field was written, of the layer or of another message; where that is written if the field is not."""
        source = self.layer if message is None else message
        return source.place(name) if name and name in source.values else source.place()

    def note(self, told: str) -> None:
        """Something that the report says of this layer."""
        self.notes.append(told)

    # Emitting -----------------------------------------------------------------------------------------------------

    def emit(
        self,
        kind: str,
        bottoms: Stream | Sequence[Stream] = (),
        *,
        part: str = "",
        name: str = "",
        tops: Sequence[str] | None = None,
        given: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> list[Stream]:
        """Add a layer of LayerForge and return its tops.

        part   what it is called behind the layer's own name
        name   what it is called; without both it is the main layer, is called as Caffe's and makes its tops
        tops   the names of its tops, where they are others
        given, options   its hyper-parameters
        """
        options = {**(given or {}), **options}
        read = [bottoms] if isinstance(bottoms, Stream) else list(bottoms)
        name = name or (self.unique(f"{self.own}.{part}") if part else self.own)
        if name != self.own and tops is None:
            tops = [name]
        names = list(self.tops if tops is None else tops)
        owner, place = f"layer '{self.name}' ({self.type}), as {kind}", self.layer.place()
        blobs = [(stream.name, stream.spec) for stream in read]
        made, specs = make(name, kind, options, blobs, names, owner=owner, place=place)
        for spec in specs:
            self.demand_size(spec)
        self.made.append(made)
        streams = [Stream(top, spec, self.guessed) for top, spec in zip(names, specs, strict=False)]
        self.streams.update({stream.name: stream for stream in streams})
        return streams

    def demand_size(self, spec: Spec) -> None:
        """Refuse a blob with more numbers than Caffe's can have."""
        if spec.size > LARGEST_BLOB:
            raise self.invalid(f"a blob of shape {spec.shape} has more than {LARGEST_BLOB} numbers")

    def blob(
        self,
        name: str,
        *,
        of: Made | None = None,
        filler: Message | None = None,
        key: str = "weight_filler",
        shape: Sequence[int] | None = None,
        order: Sequence[int] | None = None,
        columns: tuple[int, int] | None = None,
        state: bool = False,
    ) -> None:
        """Caffe's next blob is this array of a layer (by default the last one).

        filler   what it starts as, written as the hyper-parameter `key`; None leaves that as it is
        shape    that of Caffe's blob, where it is another
        order, columns   see BlobMap
        """
        made = of or self.made[-1]
        decl = (made.layer.state_decls if state else made.layer.param_decls)[name]
        mine = tuple(decl.shape if shape is None else shape)
        if columns is not None:
            mine = (mine[0], columns[1] - columns[0])
        rows = None if order is None else tuple(order)
        self.blobs.append(BlobMap(made.name, "state" if state else "params", name, mine, rows, columns))
        if filler is not None:
            value = filler_of(self, filler)
            self._demand_filler(value, mine, filler)
            if value != made.layer.fields[key].default:
                made.item[key] = value

    def _demand_filler(self, value: Any, shape: tuple[int, ...], message: Message) -> None:
        """Refuse a filler that cannot fill a blob."""
        try:
            Filler.parse(value)
        except ConfigError as error:
            raise self.invalid(error.message, message, hint=error.hint or "") from None
        if value == "bilinear" and (len(shape) != 4 or shape[2] != shape[3]):
            told = f"a bilinear filler for a blob of shape {shape}: it takes square kernels"
            raise self.invalid(told, message, "type")

    def index(self, stream: Stream) -> Stream:
        """A blob as integers: labels and indices are real numbers in Caffe, cut off after the point."""
        return self._cast(stream, "index")

    def real(self, stream: Stream) -> Stream:
        """A blob as real numbers."""
        return self._cast(stream, "real")

    def _cast(self, stream: Stream, role: str) -> Stream:
        if stream.spec.role == role:
            return stream
        key = (stream.name, role)
        if key not in self.casts:
            name = self.unique(f"{stream.name}.{role}")
            (self.casts[key],) = self.emit("Cast", stream, name=name, role=role)
        return self.casts[key]


Conversion = Callable[[Site], None]
CONVERSIONS: dict[str, Conversion] = {}
REFUSED: dict[str, str] = {}  # known types that are not imported, and why


def converts(*types: str) -> Callable[[Conversion], Conversion]:
    """Enter a conversion into the table under Caffe's types."""
    return entering(CONVERSIONS, types, "conversions for")
