"""What the engine's layers share: they take the place of a reference layer, own primitives, and lay out images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import numpy as np

from ...arrays.bfloat16 import BFLOAT16, stored
from ...arrays.spec import Spec
from ...contract.layer import Layer, Memory
from ...contract.namespaces import Params, Saved
from ..protocol import NO_KERNELS, Circumstances
from . import primitives
from .binding import AXES
from .inner_products import by_bottom, by_weights, misses_tiles
from .op import Op
from .script import Act, Script, written_down
from .strides import layout
from .sum_levels import Level, levels
from .sums import add_product, add_sums, set_product, set_sums
from .trial import without_fast_code

LAST = "last"
MANY = 2**17  # rows of which oneDNN's products lose no more than 1e-5


class OneDnn(Layer):
    """Base of the engine's layers, before the reference in the bases: `class OneDnnLinear(OneDnn, Linear)`.

    An engine's layer stands in for a reference layer of the same net, whose hyper-parameters, parameters, gradients,
    state and run it shares. It adds neither parameters nor state, so snapshots are interchangeable. Its type has the
    reference's name.
    """

    engine = "onednn"
    has_bfloat16: ClassVar[bool] = False  # whether it computes in bfloat16, too
    replays: ClassVar[bool] = False  # forward and backward do nothing but run Ops and Acts: see script.py
    ops: dict[str, Any]  # Op or Act, by name
    scripts: dict[str, Any]
    views: dict[str, tuple[Any, Any]]
    halved: bool = False  # whether it does: bottoms, tops and their gradients are bfloat16
    wide_top: bool = False  # whether its top, and the gradient of that, are float32 all the same
    lower_products: bool = False  # whether its products of float32 may be computed in bfloat16
    operands: Params  # its parameters as products read them, in the type of the bottoms

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        reference: Any = next(base for base in cls.__mro__ if not issubclass(base, OneDnn))
        cls.type_name = reference.type_name

    @classmethod
    def instead_of(cls, reference: Layer) -> Any:
        """This engine's layer in the place of a reference layer."""
        self = cls.__new__(cls)
        vars(self).update(vars(reference), memory=Memory(), kept=None, draws=0, ops={}, views={}, scripts={})
        self.operands = reference.params
        return self

    @classmethod
    def stands_for(cls, reference: Layer) -> bool:
        """Whether a layer is of the very type that this one computes, and no user's refinement of it."""
        return type(reference) in cls.__bases__

    @classmethod
    def refuses(cls, reference: Layer, bottoms: Sequence[Spec], tops: Sequence[Spec]) -> str | None:
        """Why this engine does not do these hyper-parameters or shapes; None where it does."""
        arrays = (*bottoms, *tops)
        if any(s.size == 0 for s in arrays):
            return "empty arrays"
        if not all(s.shape for s in bottoms):
            return "a single number"
        return f"more than {AXES} axes" if any(s.ndim > AXES for s in arrays) else None

    def refuses_bfloat16(self, bottoms: Sequence[Spec], tops: Sequence[Spec]) -> str | None:
        """Why it stays float32 with these shapes; None where it can be halved."""
        if not self.has_bfloat16:
            return NO_KERNELS
        return self.unfit_for_bfloat16(bottoms, tops) or without_fast_code(self, bottoms, tops)

    def unfit_for_bfloat16(self, bottoms: Sequence[Spec], tops: Sequence[Spec]) -> str | None:
        """Why what oneDNN has for it is not good enough; None where it is."""
        return None

    def halve(self) -> None:
        """Compute in bfloat16 from now on."""
        self.halved = True

    def widen_top(self) -> None:
        """Make the top in float32 from now on, where that is possible: nobody reads it in bfloat16."""

    def narrowed(self, name: str, x: Any) -> Any:
        """x in bfloat16: as it is, or copied so."""
        if not self.halved or x.dtype == BFLOAT16:
            return x
        copy = self.buf(f"{name} narrowed", x.shape, like=x)
        self.op(f"{name} narrowed", primitives.copy)(x, copy)
        return copy

    def widened(self, name: str, x: Any) -> Any:
        """x in float32: as it is, or copied so."""
        if x.dtype != BFLOAT16:
            return x
        copy = self.buf(f"{name} widened", x.shape, self.dtype, like=x)
        self.op(f"{name} widened", primitives.copy)(x, copy)
        return copy

    def also_reads(self, *arrays: str) -> None:
        """Backward reads these, too, from now on: see `backward_reads`."""
        vars(self)["backward_reads"] = (*self.backward_reads, *arrays)

    def products_in_bfloat16(self, bottoms: Sequence[Spec], tops: Sequence[Spec]) -> None:
        """Let products of float32 be computed in bfloat16 from now on, where oneDNN's kernels for it can be trusted."""
        self.lower_products = self.unfit_for_bfloat16(bottoms, tops) is None

    def buf(self, name: str, shape: Sequence[int], dtype: Any = None, **about: Any) -> Any:
        """As of any layer; without a dtype for blobs and what is like them."""
        return super().buf(name, shape, dtype or (BFLOAT16 if self.halved else None), **about)

    def can_absorb(self, above: Layer, between: Spec, plan: Circumstances) -> bool:
        """Whether it can do the work of the layer above along with its own. `between` is the blob between the two."""
        return False

    def absorb(self, above: Layer) -> None:
        """Do the work of the layer above from now on."""
        raise NotImplementedError(f"{type(self).__name__} absorbs no other layer")

    def axes_in_memory(self, ndim: int) -> tuple[int, ...] | None:
        """The order, outermost first, into which it copies a bottom of so many axes; None where it takes any."""
        return None

    @classmethod
    def has_jvp(cls) -> bool:
        """It computes what the reference does: its jvp is the reference's, from what `as_if_saved` says was kept."""
        return cls.jvp is not Layer.jvp

    @classmethod
    def has_jvp_params(cls) -> bool:
        return cls.jvp_params is not Layer.jvp_params

    @contextmanager
    def as_if_saved(self, **arrays: Any) -> Iterator[None]:
        """While this lasts, `saved` holds what the reference would have kept, for those of its methods that read it."""
        kept, self.kept = self.kept, Saved(arrays)
        try:
            yield
        finally:
            self.kept = kept

    def perform(self, doing: str, arrays: Sequence[Any]) -> Any:
        """Run forward or backward; as it was written down the last time, where nothing has changed since.

        A jvp may be any NumPy: it is run, whatever was run before on the same arrays.
        """
        if not self.replays or doing == "jvp":
            return super().perform(doing, arrays)
        key = doing, id(self.memory), self.overwrites_grad
        script = self.scripts.get(key)
        if script is not None and script.fits(self, arrays):
            self.scripts[LAST] = script
            return script.run(self)
        script, result = written_down(self, doing, arrays)
        self.scripts[key] = self.scripts[LAST] = script
        return result

    @property
    def script(self) -> Script | None:
        return self.scripts.get(LAST)

    def op(self, name: str, maker: Any, *options: Any, added: Sequence[int] = ()) -> Op:
        """The primitive of that name, which is made at its first use; its options stay what they were then."""
        key = f"{name}, set" if self.overwrites_grad else name
        op = self.ops.get(key)
        if op is None:
            op = self.ops[key] = Op(maker, options, self._bytes_for(name), added, lower_products=self.lower_products)
        return op

    @property
    def adding(self) -> tuple[Any, ...]:
        """The post-op of a product that is a gradient: the sum with what is there, unless that is to be forgotten."""
        return () if self.overwrites_grad else primitives.ADDED

    def added(self, *arguments: int) -> tuple[int, ...]:
        """As `adding`, for primitives that cannot add themselves: which of their results are to be added."""
        return () if self.overwrites_grad else arguments

    def act(self, name: str, function: Callable[..., None]) -> Act:
        """A piece of NumPy of that name: see `Act`."""
        act = self.ops.get(name)
        if act is None:
            act = self.ops[name] = Act(function)
        return act

    def _bytes_for(self, op: str) -> Callable[[str, int], np.ndarray]:
        return lambda name, size: self.buf(f"{op}: {name}", (size,), "uint8")

    def view(self, name: str, array: Any, look: Any) -> Any:
        """look(array), the same object as long as the array is: an Op knows arrays that it has seen by identity."""
        known = self.views.get(name)
        if known is not None and known[0] is array:
            return known[1]
        made = look(array)
        self.views[name] = array, made
        return made

    def image(self, name: str, shape: Sequence[int], life: str = "call", dtype: Any = None) -> Any:
        """A buffer for (N, C, *S) whose channels are stored side by side, which is what oneDNN's kernels like."""
        memory = self.buf(name, (shape[0], *shape[2:], shape[1]), dtype, life=life)
        return self.view(name, memory, lambda m: np.moveaxis(m, -1, 1))

    def settled(self, name: str, x: Any, life: str = "call") -> Any:
        """An image with channels last: as it is, if it is so already, otherwise copied."""
        if self.view(f"{name} last", x, channels_last):
            return x
        copy = self.image(f"{name} settled", x.shape, life)
        self.op(f"{name} settled", primitives.copy)(x, copy)
        return copy

    def add_column_sums(self, rows: Any, total: Any, name: str = "db") -> None:
        """total += Σₙ rowsₙ: by products with ones where the rows can be cut for that, otherwise by NumPy."""
        steps = self.view(f"{name} levels", rows, lambda a: levels(*a.shape) if a.flags.c_contiguous else [])
        if not steps and not self.halved:
            sums = set_sums if self.overwrites_grad else add_sums
            self.act(f"{name} {self.overwrites_grad} by NumPy", sums)(rows, total)
            return
        for number, level in enumerate(steps[:-1]):
            rows = self.sums_of_pieces(f"{name} level {number}", rows, level)
        ones = self.view(f"{name} ones", rows, lambda a: stored(np.ones((1, len(a))), a.dtype))
        row = self.view(name, total, lambda t: t.reshape(1, -1))
        self.op(name, primitives.matmul, self.adding)(ones, rows, None, row)

    def sums_of_pieces(self, name: str, rows: Any, level: Level) -> Any:
        """The sums of pieces of so many rows: the rows of the next level."""
        batch = level.pieces, level.terms, level.width
        pieces = self.view(name, rows, lambda a: a.reshape(batch))
        ones = self.view(f"{name} ones", rows, lambda a: stored(np.ones((level.pieces, 1, level.terms)), a.dtype))
        found = self.buf(name, (level.pieces, 1, level.width), self.dtype)
        self.op(name, primitives.matmul)(ones, pieces, None, found)
        return self.view(f"{name} rows", found, lambda a: a.reshape(-1, rows.shape[1]))

    def add_product(self, name: str, a: Any, b: Any, total: Any) -> None:
        """total += aᵀ b, a sum over their rows: of very many as the reference adds them up."""
        if len(a) > MANY and not self.halved:
            product = set_product if self.overwrites_grad else add_product
            self.act(f"{name} {self.overwrites_grad} by NumPy", product)(a, b, total)
            return
        columns = self.view(f"{name} columns", a, np.transpose)
        if self.overwrites_grad and self.view(f"{name} tiles", a, lambda _: misses_tiles(columns, b, total)):
            self.op(f"{name} by tiles", by_weights)(b, a, total)
        else:
            self.op(name, primitives.matmul, self.adding)(columns, b, None, total)

    def set_product(self, name: str, dy: Any, w: Any, dx: Any) -> None:
        """dx = dy w, the gradient of x wᵀ by x."""
        if self.view(f"{name} tiles", dy, lambda _: misses_tiles(dy, w, dx)):
            self.op(f"{name} by tiles", by_bottom)(dy, w, dx)
        else:
            self.op(name, primitives.matmul)(dy, w, None, dx)

    def alike(self, name: str, x: Any, model: Any, life: str = "call") -> Any:
        """x with its axes in memory in the order of a model of the same shape: as it is, or copied so."""
        if layout(x) == layout(model):
            return x
        copy = self.buf(f"{name} like", x.shape, x.dtype, like=model, life=life)
        self.op(f"{name} like", primitives.copy)(x, copy)
        return copy

    @staticmethod
    def rows(x: Any) -> Any:
        """What `matrix` takes without a copy: here what a product of matrices can take."""
        return rows(x)

    def matrix(self, name: str, x: Any, life: str = "call") -> Any:
        """x (..., D) as `rows` (N, D), copied if need be."""
        flat = self.view(f"{name} rows", x, self.rows)
        if flat is None:
            copy = self.buf(f"{name} settled", x.shape, x.dtype, life=life)
            self.op(f"{name} settled", primitives.copy)(x, copy)
            flat = self.view(f"{name} settled rows", copy, self.rows)
        return flat


def channels_last(x: Any) -> bool:
    """Whether an image's channels are stored side by side, and nothing between them."""
    return np.moveaxis(x, 1, -1).flags.c_contiguous


def rows(x: Any) -> Any:
    """x (..., D) as a view (N, D) that a product of matrices can take; None where there is none."""
    return x if x.ndim == 2 and x.flags.f_contiguous else rows_in_order(x)


def rows_in_order(x: Any) -> Any:
    """x (..., D) as a view (N, D) whose rows are stored one behind the other; None where there is none."""
    return x.reshape(-1, x.shape[-1]) if x.flags.c_contiguous else None
