"""oneDNN's C interface, as much of it as the engine needs.

oneDNN describes an operation on arrays of known shapes and strides (a primitive), compiles it once, and runs it on any
memory that fits. Here an `Op` is a primitive bound to arrays: calling it with the arrays that it saw last is one call
into C; with other arrays it takes over their addresses first, and only for new shapes or strides another primitive is
made.

Numbers are those of oneDNN's public headers dnnl_types.h and dnnl.h, version 3.
"""

from __future__ import annotations

import ctypes
import functools
import itertools
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...arrays import threads
from ...arrays.bfloat16 import BFLOAT16
from ...schema.errors import BackendError
from .fork import watch as watch_forks
from .library import load
from .strides import layout

Pointer = ctypes.c_void_p
AXES = 12  # of an array at most
Dims = ctypes.c_int64 * AXES

FLOAT32, INT32, UINT8 = 3, 4, 6
TYPES = {np.dtype("float32"): FLOAT32, np.dtype("int32"): INT32, np.dtype("uint8"): UINT8, BFLOAT16: 2}
ANY_LAYOUT = 1
# What an argument of a primitive is.
SRC, SRC_1, DST = 1, 2, 17
WEIGHTS, BIAS, MEAN, VARIANCE, SCALE, SHIFT, WORKSPACE, SCRATCHPAD = 33, 41, 49, 50, 51, 52, 64, 80
DIFF_SRC, DIFF_DST, DIFF_WEIGHTS, DIFF_SCALE, DIFF_SHIFT = 129, 145, 161, 255, 256
SRC_2, DST_1, DST_2, WEIGHTS_1 = 3, 18, 19, 34  # of a recurrent layer: c₀, the last h and c, W_hh
GRADIENT = 128  # added to one of those up to BIAS: its gradient
SCALES = 4096  # added to an argument: the factor that it is multiplied by
POST_OP = 32768  # times (1 + number), added to an argument: what a post-op reads
CONVERTED = WEIGHTS, WEIGHTS_1  # what may be cast to the type that a primitive wants on its way to its layout
# The results: of forward, by the bottoms, by the weights.
OUTPUTS = {*range(17, 33), *range(129, 145), *range(161, 257)}
QUERY_IMPLEMENTATION, QUERY_ARGUMENT, QUERY_NDIMS, QUERY_TYPE = 8, 255, 256, 258
TRAINING, INFERENCE, BACKWARD = 64, 96, 128
FPMATH_BFLOAT16 = 1
SCRATCHPAD_OF_OURS = 1  # who calls a primitive brings the memory that it works in


class Argument(ctypes.Structure):
    """One argument of a call: which, and its memory."""

    _fields_ = [("which", ctypes.c_int), ("memory", Pointer)]


def check(status: int, doing: str) -> None:
    """Status 0 is success; 3 says that there is no implementation for these shapes on this CPU."""
    if status:
        reason = {1: "out of memory", 2: "invalid arguments", 3: "not implemented"}.get(status, f"status {status}")
        raise BackendError(f"oneDNN: {doing}: {reason}", hint="set `engine: reference` for this layer, and report it")


_MADE: list[Runtime] = []
_MAKING = threading.Lock()


def runtime() -> Runtime:
    """The library with its one engine (the CPU) and one stream."""
    if not _MADE:
        with _MAKING:
            if not _MADE:
                _MADE.append(Runtime())
    return _MADE[0]


class DryRun:
    """What a thread knows that only plans: the primitives that it made, which do for all other layers of the kind."""

    def __init__(self) -> None:
        self.made: dict[Any, Primitive] = {}


class Watch(threading.local):
    """Who looks on at what a thread runs: each thread has its own."""

    trace: list[tuple[Any, tuple[Any, ...]]] | None = None  # what is run while somebody writes it down
    dry_run: DryRun | None = None  # only planning: nothing is computed
    lower_products: bool = False  # primitives are made whose products of float32 may be computed in bfloat16


class Runtime:
    """What every call needs."""

    def __init__(self) -> None:
        watch_forks()
        self.lib = lib = load().functions
        lib.dnnl_primitive_desc_query_md.restype = Pointer
        lib.dnnl_memory_desc_get_size.restype = ctypes.c_size_t
        lib.dnnl_memory_desc_get_size.argtypes = [Pointer]
        lib.dnnl_memory_set_data_handle.argtypes = [Pointer, Pointer]
        lib.dnnl_primitive_execute.argtypes = [Pointer, Pointer, ctypes.c_int, Pointer]
        self.engine = Pointer()
        self.stream = Pointer()
        check(lib.dnnl_engine_create(ctypes.byref(self.engine), 1, ctypes.c_size_t(0)), "making an engine")
        check(lib.dnnl_stream_create(ctypes.byref(self.stream), self.engine, 1), "making a stream")
        threads.engine_loaded()
        self.watch = Watch()
        self.bindings = 0
        self._numbers = itertools.count(1)

    def count_binding(self) -> None:
        """Something was bound to other arrays: `bindings` is another number than ever before, in any thread."""
        self.bindings = next(self._numbers)


class Handle:
    """Something that oneDNN made and that must be given back."""

    def __init__(self, maker: str, destroyer: str, *arguments: Any) -> None:
        lib = runtime().lib
        self.pointer = Pointer()
        check(getattr(lib, maker)(ctypes.byref(self.pointer), *arguments), maker)
        self._destroy = getattr(lib, destroyer)

    def __del__(self) -> None:
        if getattr(self, "_destroy", None) is not None and self.pointer:
            self._destroy(self.pointer)


class Desc(Handle):
    """A memory descriptor: shape, type and layout."""

    def __init__(self, maker: str, *arguments: Any) -> None:
        super().__init__(maker, "dnnl_memory_desc_destroy", *arguments)

    @property
    def bytes(self) -> int:
        """Memory that an array of this description takes."""
        return runtime().lib.dnnl_memory_desc_get_size(self.pointer)

    @property
    def ndim(self) -> int:
        """How many axes it has."""
        return self._number(QUERY_NDIMS)

    @property
    def type(self) -> int:
        """Of its elements: see `TYPES`."""
        return self._number(QUERY_TYPE)

    def _number(self, which: int) -> int:
        number = ctypes.c_int()
        runtime().lib.dnnl_memory_desc_query(self.pointer, which, ctypes.byref(number))
        return number.value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Desc) and bool(runtime().lib.dnnl_memory_desc_equal(self.pointer, other.pointer))

    __hash__ = None  # type: ignore[assignment]


def dims(numbers: Sequence[int]) -> Any:
    """Numbers as oneDNN takes them."""
    return Dims(*numbers)


def strided(shape: Sequence[int], strides: Sequence[int], dtype: Any = np.float32) -> Desc:
    """A descriptor of ordinary memory; strides count elements."""
    return _strided(tuple(shape), tuple(strides), TYPES[np.dtype(dtype)])


@functools.lru_cache(maxsize=4096)
def _strided(shape: tuple[int, ...], strides: tuple[int, ...], kind: int) -> Desc:
    """Descriptors never change, and making a net asks for each many times."""
    return Desc("dnnl_memory_desc_create_with_strides", len(shape), dims(shape), kind, dims(strides))


def of_array(array: np.ndarray) -> Desc:
    """The descriptor of an array as it is stored."""
    return strided(array.shape, layout(array), array.dtype)


def of_image(array: np.ndarray) -> Desc:
    """The same of an image (N, C, *S): where an axis has length 1 it is stored as in one with channels last.

    oneDNN's kernels for channels last know them by all strides.
    """
    last, *rest = layout(np.moveaxis(array, 1, -1))[::-1]
    batch, *spatial = rest[::-1]
    return strided(array.shape, [batch, last, *spatial], array.dtype)


def any_layout(shape: Sequence[int], dtype: Any = np.float32) -> Desc:
    """A descriptor that lets the primitive choose the layout that it likes."""
    return Desc("dnnl_memory_desc_create_with_tag", len(shape), dims(shape), TYPES[np.dtype(dtype)], ANY_LAYOUT)


class Attr(Handle):
    """Options of a primitive: what is done to each result before it is stored, in order, and factors of arguments.

    Its scratchpad is memory of ours: some of oneDNN's own belong to the thread that made the primitive, and are not
    there in another.

    post_ops   ("relu", ...) as (algorithm, alpha, beta); ("sum", factor) adds the old content of the destination;
               ("binary", algorithm, descriptor) combines with another array
    """

    def __init__(self, post_ops: Sequence[tuple[Any, ...]] = (), scaled: Sequence[int] = ()) -> None:
        lib, watch = runtime().lib, runtime().watch
        super().__init__("dnnl_primitive_attr_create", "dnnl_primitive_attr_destroy")
        if watch.lower_products:
            check(lib.dnnl_primitive_attr_set_fpmath_mode(self.pointer, FPMATH_BFLOAT16), "lowering products")
        check(lib.dnnl_primitive_attr_set_scratchpad_mode(self.pointer, SCRATCHPAD_OF_OURS), "setting the scratchpad")
        chain = Handle("dnnl_post_ops_create", "dnnl_post_ops_destroy")
        for kind, *values in post_ops:
            if kind == "sum":
                status = lib.dnnl_post_ops_append_sum(chain.pointer, ctypes.c_float(values[0]), 0, 0)
            elif kind == "binary":
                status = lib.dnnl_post_ops_append_binary(chain.pointer, values[0], values[1].pointer)
            else:
                alpha, beta = map(ctypes.c_float, values)
                status = lib.dnnl_post_ops_append_eltwise(chain.pointer, kind, alpha, beta)
            check(status, "appending a post-op")
        check(lib.dnnl_primitive_attr_set_post_ops(self.pointer, chain.pointer), "setting post-ops")
        for argument in scaled:
            check(lib.dnnl_primitive_attr_set_scales_mask(self.pointer, argument, 0), "setting a factor")


@functools.cache
def plain(lower_products: bool) -> Attr:
    """The options of every primitive that has no others; they are made where `Watch.lower_products` is the same."""
    return Attr()


class Recipe(Handle):
    """A primitive's description: which operation, on which shapes and layouts. `kind` is its name in the interface.

    The last of the arguments are the options; None are those of every primitive.
    """

    def __init__(self, kind: str, *arguments: Any, engine_first: bool = True) -> None:
        self.kind = kind
        self.wanted: dict[int, Desc] = {}
        *others, attr = arguments
        given = (*others, attr or plain(runtime().watch.lower_products))
        passed = [a.pointer if isinstance(a, Handle) else a for a in given]
        engine = [runtime().engine] if engine_first else []
        maker = f"dnnl_{kind}_primitive_desc_create"
        super().__init__(maker, "dnnl_primitive_desc_destroy", *engine, *passed)

    def wants(self, argument: int) -> Desc:
        """The descriptor that it wants for an argument."""
        if argument not in self.wanted:
            found = runtime().lib.dnnl_primitive_desc_query_md(self.pointer, QUERY_ARGUMENT, argument)
            self.wanted[argument] = Desc("dnnl_memory_desc_clone", Pointer(found))
        return self.wanted[argument]

    def implementation(self) -> str:
        """How oneDNN calls the code that it chose."""
        text = ctypes.c_char_p()
        runtime().lib.dnnl_primitive_desc_query(self.pointer, QUERY_IMPLEMENTATION, 0, ctypes.byref(text))
        return (text.value or b"").decode()


class Call:
    """A compiled recipe with the memory of its arguments, whose addresses can change from call to call.

    scratch   bytes of memory that it works in
    """

    def __init__(self, recipe: Recipe, which: Sequence[int], descs: Sequence[Desc]) -> None:
        scratchpad = recipe.wants(SCRATCHPAD)
        self.scratch = scratchpad.bytes
        if self.scratch:
            which, descs = (*which, SCRATCHPAD), (*descs, scratchpad)
        self.recipe = recipe
        self.descs = descs
        self.handle = Handle("dnnl_primitive_create", "dnnl_primitive_destroy", recipe.pointer)
        self.memories = [
            Handle("dnnl_memory_create", "dnnl_memory_destroy", d.pointer, runtime().engine, Pointer(0)) for d in descs
        ]
        pairs = [Argument(w, m.pointer) for w, m in zip(which, self.memories, strict=True)]
        self.arguments = (Argument * len(pairs))(*pairs)
        self.call = (self.handle.pointer.value, runtime().stream.value, len(pairs), ctypes.addressof(self.arguments))

    def bind(self, arrays: Sequence[np.ndarray], scratchpad: Callable[[int], np.ndarray]) -> list[np.ndarray]:
        """Take over the addresses of these arrays and of its scratchpad, which it asks for by size; all of them."""
        lib, used = runtime().lib, [*arrays, *([scratchpad(self.scratch)] if self.scratch else ())]
        for memory, array in zip(self.memories, used, strict=True):
            lib.dnnl_memory_set_data_handle(memory.pointer, array.__array_interface__["data"][0])
        return used


class Primitive:
    """A primitive, and what goes with it where it does not take the arrays as they are.

    An input that it wants in another layout is reordered into memory of its own before; a result in another layout is
    reordered after, and one that is to be added to what is there is added after.
    """

    def __init__(
        self, recipe: Recipe, which: Sequence[int], arrays: Sequence[np.ndarray], added: Sequence[int]
    ) -> None:
        self.recipe = recipe
        mine = [self.desc(w, a) for w, a in zip(which, arrays, strict=True)]
        self.main = Call(recipe, which, mine)
        self.detours: list[tuple[int, int, Call]] = []  # argument, bytes of its own memory, the reorder
        self.results = [w in OUTPUTS for w in which]
        for i, (w, desc, array) in enumerate(zip(which, mine, arrays, strict=True)):
            if w >= SCALES or w == WORKSPACE or (w not in added and lies_as(array, desc)):
                continue
            if TYPES[array.dtype] != desc.type and w not in CONVERTED:
                raise BackendError(f"oneDNN: argument {w} of {recipe.kind} is {array.dtype}, which it would cast")
            theirs = of_array(with_axes(array, desc.ndim))
            first, second = (desc, theirs) if self.results[i] else (theirs, desc)
            self.detours.append((i, desc.bytes, reorder(first, second, add=w in added)))

    def desc(self, which: int, array: np.ndarray) -> Desc:
        """The recipe's own descriptor of an argument, which may have more axes than the array: a bias is a row."""
        return of_array(array) if which >= SCALES else self.recipe.wants(which)

    def bind(
        self, arrays: Sequence[np.ndarray], memory: Callable[[str, int], np.ndarray]
    ) -> tuple[list[tuple[Any, ...]], list[np.ndarray]]:
        """Take over addresses: the calls to make, in order, and the memory that they use. `memory` gives it by name."""
        mine, used, before, after = list(arrays), [], [], []
        for i, size, call in self.detours:
            mine[i] = memory(f"detour {i}", size)
            ends = (mine[i], arrays[i]) if self.results[i] else (arrays[i], mine[i])
            used += call.bind(ends, functools.partial(memory, f"scratchpad {i}"))
            (after if self.results[i] else before).append(call.call)
        used += self.main.bind(mine, functools.partial(memory, "scratchpad"))
        return [*before, self.main.call, *after], used

    def ask(self, memory: Callable[[str, int], np.ndarray]) -> None:
        """Ask for the memory that `bind` would ask for, and bind nothing."""
        for i, size, call in self.detours:
            memory(f"detour {i}", size)
            if call.scratch:
                memory(f"scratchpad {i}", call.scratch)
        if self.main.scratch:
            memory("scratchpad", self.main.scratch)


def with_axes(array: np.ndarray, ndim: int) -> np.ndarray:
    """The array with so many axes, by new ones in front."""
    return array.reshape((1,) * (ndim - array.ndim) + array.shape) if ndim > array.ndim else array


def lies_as(array: np.ndarray, desc: Desc) -> bool:
    """Whether a descriptor is one of the array as it is stored, perhaps with more axes in front."""
    array = with_axes(array, desc.ndim)
    return of_array(array) == desc or (array.ndim > 2 and of_image(array) == desc)


def reorder(source: Desc, target: Desc, add: bool = False) -> Call:
    """Copy elements from one layout to another, or add them to what is there."""
    return Call(reordering(source, target, add), (SRC, DST), (source, target))


def reordering(source: Desc, target: Desc, add: bool = False) -> Recipe:
    """The description of a copy from one layout to another."""
    engine, attr = runtime().engine, Attr([("sum", 1.0)] if add else [])
    return Recipe("reorder", source, engine, target, engine, attr, engine_first=False)
