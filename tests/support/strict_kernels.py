"""CuPy's ElementwiseKernel and ReductionKernel on NumPy's memory: their CUDA C++ is compiled for the host and run.

The text is the one that a device would be given, so a wrong index, sign or type is wrong here, too. Elements are
computed one after the other, few of them once forwards and once backwards: where that makes a difference, the threads
of a device would race, and ValueError says so; of atomic additions of fractions, too. Arguments are refused as CuPy
has it: host arrays, dtypes that do not fit the parameters, shapes that do not broadcast. Not modelled: shared memory,
the rounding of a device's exp and tanh.

The compiler is `c++`, or what $CXX names. Where there is none, the stand-in has no kernels: everything runs as text.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import math
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from . import strict_faults as faults

COMPILER = shutil.which(os.environ.get("CXX", "c++"))

FEW = 2**14  # threads that are also tried in the opposite order: with more, a race is no other

WORDS = {
    **{"bool": "bool", "float32": "float", "float64": "double"},
    **{f"{sign}int{bits}": f"{sign}int{bits}_t" for sign in ("", "u") for bits in (8, 16, 32, 64)},
}

INCLUDES = """
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
"""

HEAD = """
#undef INFINITY  // macros of headers that NVRTC has not
#undef NAN
#undef HUGE_VAL
#undef HUGE_VALF
#undef M_PI
#undef M_E
#define numeric_limits numeric_limits_are_of_the_host
static inline bool finite_on_a_device(float x) { return std::isfinite(x); }  // and for no integers
static inline bool finite_on_a_device(double x) { return std::isfinite(x); }
#define isfinite finite_on_a_device
#define __device__
#define __forceinline__ inline
using namespace std;
typedef int64_t Long;
struct Place { void *at; int ndim; const Long *shape; const Long *strides; Long dense; };
static inline Long offset(const Place &p, Long i) {
    if (p.dense) return i * p.dense;
    Long found = 0;
    for (int d = p.ndim - 1; d >= 0; --d) { found += i % p.shape[d] * p.strides[d]; i /= p.shape[d]; }
    return found;
}
template <class T> struct Raw {
    const Place &place; const Long n;
    T &operator[](ptrdiff_t i) const {
        if (i < 0 || i >= n) __builtin_trap();
        return *(T *)((char *)place.at + offset(place, i));
    }
    ptrdiff_t size() const { return n; }
};
template <class T> static inline T atomicAdd(T *at, T v) { const T old = *at; *at = old + v; return old; }
static inline int atomicMax(int *at, int v) { const int old = *at; *at = max(old, v); return old; }
struct Indexer { const Long n; ptrdiff_t size() const { return n; } };
"""


@dataclass(frozen=True)
class Parameter:
    """One of a kernel: its type is a dtype's name, or a letter that stands for any."""

    type: str
    name: str
    raw: bool = False

    @staticmethod
    def all_of(text: str) -> list[Parameter]:
        found = []
        for one in filter(None, (part.strip() for part in text.split(","))):
            words = one.split()
            raw = words[0] == "raw"
            if len(words) != 2 + raw or not re.fullmatch(r"[A-Za-z_]\w*", words[-1]) or words[-1] in ("i", "n", "_ind"):
                raise ValueError(f"Illegal parameter {one!r}")
            found.append(Parameter(words[-2], words[-1], raw))
        return found


def settled(parameters: Sequence[Parameter], values: Sequence[Any], name: str) -> dict[str, np.dtype]:
    """The dtypes that the letters stand for. TypeError where arguments do not agree, or none decides."""
    letters: dict[str, np.dtype] = {}
    for parameter, value in zip(parameters, values, strict=True):
        if not isinstance(value, np.ndarray):
            continue
        letter = letters.setdefault(parameter.type, value.dtype) if parameter.type not in WORDS else None
        wanted = letter or np.dtype(parameter.type)
        if value.dtype != wanted:
            raise TypeError(f"{name}: type is mismatched. {parameter.name} {wanted} {value.dtype}")
    missing = {p.type for p in parameters} - letters.keys() - WORDS.keys()
    if missing:
        raise TypeError(f"{name}: output types cannot be decided: {sorted(missing)}")
    return letters


def dtype_of(parameter: Parameter, letters: dict[str, np.dtype]) -> np.dtype:
    return letters[parameter.type] if parameter.type in letters else np.dtype(parameter.type)


class Place(ctypes.Structure):
    """An array's memory as the compiled text gets it; it holds what it points to."""

    _fields_ = (
        ("at", ctypes.c_void_p),
        ("ndim", ctypes.c_int),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("dense", ctypes.c_int64),  # where elements lie in their order without gaps, the bytes of each, otherwise 0
    )

    @classmethod
    def of(cls, array: np.ndarray) -> Place:
        longs = ctypes.c_int64 * max(1, array.ndim)
        dense = array.itemsize if array.flags.c_contiguous else 0
        at = array.__array_interface__["data"][0]
        made = cls(at, array.ndim, longs(*array.shape), longs(*array.strides), dense)
        made.held = array
        return made


@functools.cache
def folder() -> Path:
    """Where what was compiled is kept: for all processes of this user."""
    place = Path(tempfile.gettempdir()) / f"layerforge-kernels-{os.getuid() if hasattr(os, 'getuid') else 'all'}"
    place.mkdir(mode=0o700, exist_ok=True)
    return place


FLAGS = ("-O1", "-ffp-contract=off", "-fPIC", "-std=c++14", "-w")


def key_of(*what: Any) -> str:
    """What a file is called that was made of this by this compiler."""
    return hashlib.sha256(f"{COMPILER} {FLAGS} {what}".encode()).hexdigest()[:24]


def compile_into(place: Path, source: Path, *options: str) -> None:
    """Let the compiler make a file of another. Processes may do so at once: each moves one that is whole into place."""
    with tempfile.TemporaryDirectory(dir=folder()) as work:
        result = Path(work) / place.name
        command = [str(COMPILER), *FLAGS, *options, str(source), "-o", str(result)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"a kernel does not compile:\n{done.stderr}\n{source.read_text()}")
        os.replace(result, place)


@functools.cache
def header() -> Path:
    """The file that every kernel includes first: headers that take longer to read than a kernel takes to compile.

    Compilers read it no more where they find beside it what was made of it before.
    """
    place = folder() / f"{key_of(INCLUDES)}.hpp"
    if not place.exists():
        with tempfile.TemporaryDirectory(dir=folder()) as work:
            written = Path(work) / place.name
            written.write_text(INCLUDES)
            with suppress(FileExistsError):
                os.link(written, place)
    precompiled = place.with_suffix(".hpp.gch")
    if not precompiled.exists():
        compile_into(precompiled, place, "-x", "c++-header")
    return place


@functools.cache
def compiled(text: str) -> Callable[..., None]:
    """The function `run` of a text."""
    library = folder() / f"{key_of(INCLUDES, text)}.so"
    if not library.exists():
        include = str(header())
        with tempfile.TemporaryDirectory(dir=folder()) as work:
            source = Path(work) / "kernel.cpp"
            source.write_text(text)
            compile_into(library, source, "-shared", "-include", include)
    return ctypes.CDLL(str(library)).run


def typedefs(letters: dict[str, np.dtype]) -> str:
    words = {**WORDS, **{letter: WORDS[dtype.name] for letter, dtype in letters.items()}}
    return "".join(f"typedef {word} {name};\n" for name, word in words.items() if name not in ("bool", word))


def reference(const: str, parameter: Parameter, number: int, index: str) -> str:
    """C++ for the element of a parameter's array at an index of the loop."""
    place, word = f"_p[{number}]", f"{const}{parameter.type}"
    return f"{word} &{parameter.name} = *({word} *)((char *){place}.at + offset({place}, {index}));"


def lowered(values: Sequence[Any], device: type) -> list[Any]:
    """NumPy arrays for device arrays, numbers as they are. TypeError for anything else, as CuPy has it."""
    found = []
    for value in values:
        if not isinstance(value, (device, bool, int, float, np.number, np.bool_)):
            raise TypeError(f"Unsupported type {type(value)}")
        found.append(value._raw if isinstance(value, device) else value)
    return found


def at_once(run: Callable[[bool], None], name: str, written: Sequence[np.ndarray]) -> None:
    """Run twice, the second time in the opposite order. ValueError where the results are not the same bits.

    Once where nothing is given that is written.
    """
    if not written:
        run(False)
        return
    before = [array.copy() for array in written]
    run(False)
    first = [array.tobytes() for array in written]
    for array, old in zip(written, before, strict=True):
        array[...] = old
    run(True)
    if first != [array.tobytes() for array in written]:
        raise ValueError(f"{name}: the result depends on the order of the threads")


class ElementwiseKernel:
    """As CuPy's. `strict` is the module that has the arrays."""

    strict: Any = None

    def __init__(
        self, in_params: str, out_params: str, operation: str, name: str = "kernel", reduce_dims: bool = True,
        preamble: str = "", no_return: bool = False, return_tuple: bool = False, **_: Any,
    ) -> None:  # fmt: skip
        self.ins, self.outs = Parameter.all_of(in_params), Parameter.all_of(out_params)
        self.operation, self.name, self.preamble = operation, name, preamble
        self.no_return, self.return_tuple = no_return, return_tuple

    def __call__(self, *args: Any, size: int | None = None, block_size: int = 128, stream: Any = None) -> Any:
        strict, parameters = self.strict, [*self.ins, *self.outs]
        if len(args) not in (len(self.ins), len(parameters)):
            raise TypeError(f"Wrong number of arguments for {self.name!r}: {len(args)}")
        values = lowered(args, strict.ndarray)
        letters = settled(parameters[: len(values)], values, self.name)
        shape = self._shape(parameters, values, size)
        given = args[len(self.ins) :]
        if not given:
            if any(p.raw for p in self.outs):
                raise ValueError(f"{self.name}: a raw result must be given")
            types = settled([*self.ins, *self.outs], [*values, *[None] * len(self.outs)], self.name)
            given = tuple(strict.empty(shape, dtype=dtype_of(p, types)) for p in self.outs)
            values += [array._raw for array in given]
        strict.counts["launches"] += 1
        faults.launched(self.name, is_kernel=True)
        self._run(parameters, values, letters, shape)
        if self.no_return:
            return None
        return given if len(given) != 1 or self.return_tuple else given[0]

    def _shape(self, parameters: Sequence[Parameter], values: Sequence[Any], size: int | None) -> tuple[int, ...]:
        """Of the loop."""
        pairs = list(zip(parameters, values, strict=False))
        whole = [v.shape for p, v in pairs if isinstance(v, np.ndarray) and not p.raw]
        if any(p.raw and not isinstance(v, np.ndarray) for p, v in pairs):
            raise TypeError(f"{self.name}: a raw parameter takes an array")
        if size is not None:
            if whole:
                raise ValueError("Specified 'size' can be used only if all of the ndarray are 'raw'.")
            return (size,)
        if not whole:
            raise ValueError("Loop size is undecided.")
        shape = np.broadcast_shapes(*whole)
        for parameter, value in pairs[len(self.ins) :]:
            if not parameter.raw and value.shape != shape:
                raise ValueError(f"Out shape is mismatched: {parameter.name} {value.shape}, expected {shape}")
        return shape

    def _run(
        self, parameters: Sequence[Parameter], values: Sequence[Any], letters: dict[str, np.dtype],
        shape: tuple[int, ...],
    ) -> None:  # fmt: skip
        letters = letters | settled(parameters, values, self.name)
        arrays = []
        for parameter, value in zip(parameters, values, strict=True):
            dtype = dtype_of(parameter, letters)
            array = value if isinstance(value, np.ndarray) else np.array(value).astype(dtype)
            arrays.append(array if parameter.raw or array.shape == shape else np.broadcast_to(array, shape))
        run = compiled(self._text(parameters, letters))
        places = (Place * len(arrays))(*[Place.of(a) for a in arrays])
        longs = (ctypes.c_int64 * max(1, len(shape)))(*shape)
        count = math.prod(shape)
        written = values[len(self.ins) :] if count <= FEW else []
        at_once(
            lambda backwards: run(ctypes.c_int64(count), len(shape), longs, places, int(backwards)), self.name, written
        )

    def _text(self, parameters: Sequence[Parameter], letters: dict[str, np.dtype]) -> str:
        before, inside = [], []
        for k, p in enumerate(parameters):
            const = "const " if k < len(self.ins) else ""
            if p.raw:
                before.append(f"const Raw<{const}{p.type}> {p.name} = {{_p[{k}], _size(_p[{k}])}};")
            else:
                inside.append(reference(const, p, k, "i"))
        return f"""{HEAD}{typedefs(letters)}{self.preamble}
static Long _size(const Place &p) {{ Long n = 1; for (int d = 0; d < p.ndim; ++d) n *= p.shape[d]; return n; }}
extern "C" void run(Long _n, int _ndim, const Long *_shape, const Place *_p, int _backwards) {{
    const Indexer _ind = {{_n}}; const ptrdiff_t n = _n;
    {" ".join(before)}
    for (Long _k = 0; _k < _n; ++_k) {{
        const ptrdiff_t i = _backwards ? _n - 1 - _k : _k;
        {" ".join(inside)}
        {self.operation};
    }}
}}
"""


class ReductionKernel:
    """As CuPy's. `strict` is the module that has the arrays."""

    strict: Any = None

    def __init__(
        self, in_params: str, out_params: str, map_expr: str, reduce_expr: str, post_map_expr: str, identity: str,
        name: str = "reduce_kernel", reduce_type: str | None = None, reduce_dims: bool = True, preamble: str = "",
        options: Sequence[str] = (),
    ) -> None:  # fmt: skip
        self.ins, self.outs = Parameter.all_of(in_params), Parameter.all_of(out_params)
        if len(self.outs) != 1 or any(p.raw for p in (*self.ins, *self.outs)):
            raise NotImplementedError("a reduction has one result here, and no raw parameters")
        self._survives_cub(map_expr, post_map_expr)
        self.texts = map_expr, reduce_expr, post_map_expr, identity
        self.name, self.type, self.preamble = name, reduce_type, preamble

    def _survives_cub(self, mapped: str, after: str) -> None:
        """Where nvcc is found CuPy gives reductions of one array to CUB, and puts names of its own in the place of the
        parameters', which it finds as letters and not as words: of `fmax(x, 0)` it would make `fmain0(in0, 0)`.
        """
        for parameters, text in ((self.ins, mapped), (self.outs, after)):
            name = parameters[0].name
            if len(self.ins) == 1 and text.count(name) != len(re.findall(rf"\b{name}\b", text)):
                raise ValueError(f"the parameter {name!r} is a part of another word in {text!r}")

    def __call__(
        self, *args: Any, out: Any = None, axis: Any = None, keepdims: bool = False, stream: Any = None
    ) -> Any:
        strict = self.strict
        if len(args) == len(self.ins) + 1 and out is None:
            *args, out = args
        if len(args) != len(self.ins):
            raise TypeError(f"Wrong number of arguments for {self.name!r}: {len(args)}")
        values = lowered(args, strict.ndarray)
        shape = np.broadcast_shapes(*[v.shape for v in values if isinstance(v, np.ndarray)])
        axes = range(len(shape)) if axis is None else np.atleast_1d(np.array(axis, int)) % max(1, len(shape))
        over = tuple(sorted({int(a) for a in axes}))
        left = [a for a in range(len(shape)) if a not in over]
        kept = tuple(1 if a in over else n for a, n in enumerate(shape))
        wanted = kept if keepdims else tuple(shape[a] for a in left)
        if out is None:
            letters = settled([*self.ins, *self.outs], [*values, None], self.name)
            out = strict.empty(wanted, dtype=dtype_of(self.outs[0], letters))
        if out.shape != wanted:
            raise ValueError(f"Output shape is mismatched: {out.shape}, expected {wanted}")
        letters = settled([*self.ins, *self.outs], [*values, out._raw], self.name)
        strict.counts["launches"] += 1
        faults.launched(self.name, is_kernel=True)
        result = np.squeeze(out._raw, axis=over) if keepdims else out._raw
        self._run(values, letters, shape, left, over, result)
        return out

    def _run(
        self, values: Sequence[Any], letters: dict[str, np.dtype], shape: tuple[int, ...], left: Sequence[int],
        over: Sequence[int], result: np.ndarray,
    ) -> None:  # fmt: skip
        places = []
        for parameter, value in zip(self.ins, values, strict=True):
            dtype = dtype_of(parameter, letters)
            if isinstance(value, np.ndarray):
                array = np.broadcast_to(value, shape).transpose(*left, *over)
            else:
                array = np.array(value).astype(dtype)
            places.append(Place.of(array))
        places.append(Place.of(result))
        summands = math.prod(shape[a] for a in over)
        run = compiled(self._text([isinstance(v, np.ndarray) for v in values], letters))
        run(ctypes.c_int64(result.size), ctypes.c_int64(summands), (Place * len(places))(*places))

    def _text(self, is_array: Sequence[bool], letters: dict[str, np.dtype]) -> str:
        mapped, reduced, after, start = self.texts
        before, inside, y = [], [], self.outs[0]
        for k, (p, array) in enumerate(zip(self.ins, is_array, strict=True)):
            if array:
                inside.append(reference("const ", p, k, "_i"))
            else:
                before.append(f"const {p.type} {p.name} = *(const {p.type} *)_p[{k}].at;")
        last = len(is_array)
        return f"""{HEAD}{typedefs(letters)}{self.preamble}
typedef {self.type or y.type} _type_reduce;
static inline _type_reduce _reduce(_type_reduce a, _type_reduce b) {{ return {reduced}; }}
extern "C" void run(Long _n, Long _m, const Place *_p) {{
    const Indexer _out_ind = {{_n}}, _in_ind = {{_n * _m}};
    {" ".join(before)}
    for (Long _o = 0; _o < _n; ++_o) {{
        _type_reduce a = _type_reduce({start});
        for (Long _j = 0; _j < _m; ++_j) {{
            const Long _i = _o * _m + _j;
            {" ".join(inside)}
            a = _reduce(a, static_cast<_type_reduce>({mapped}));
        }}
        {reference("", y, last, "_o")}
        ({after});
    }}
}}
"""
