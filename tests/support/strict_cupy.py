"""CuPy's rules without a GPU: NumPy behind an opaque array type, to be used as `xp` where CuPy would be.

Layer code is written once for NumPy and CuPy, and on NumPy alone nearly every mistake against CuPy goes unseen. This
module has CuPy's names, signatures and array type but computes on the host, so any machine can run the layer tests
as a second backend. It refuses what CuPy refuses:

* host (NumPy) arrays where device arrays belong, in operators, functions, `out=`, indices and assignments, and the
  reverse: a device array becomes a NumPy array only through `.get()` or `asnumpy`;
* names, methods and keywords that CuPy lacks (`block`, `errstate`, `sum(where=)`, `einsum(out=)`, `add(where=)`);
* lists of numbers as operands, dtypes unknown to CUDA, ufunc methods that CuPy has not written.

Reductions give 0-d device arrays, `x[0]` is a view, `a += b` keeps `a`. `counts` holds what costs time on a device:

* launches: calls of ufuncs, functions and methods, and assignments, that are not views. Each counts as one, though CuPy
  may launch several kernels for it. `x[s] += v` is one: CuPy leaves out the assignment of a view to itself;
* waits of the host for the device, in functions that do so inside, too (`nonzero`, masks, `sliding_window_view`);
* uploads of host data, a number that becomes an array included;
* views: arrays over the memory of another, for which the host alone has to work;
* allocations: a returned array that is no view. Temporaries inside a function stay unseen.

`counting()` has those of a block. What a device may lack, such as memory, is planted by strict_faults.py.

Where CuPy would silently do something slow or undefined, this module raises: NumPy arrays as indices (an upload),
`sum(host)` (stays on the host), `x[i] = v` where an index occurs twice with different values (a race), `x[1:] = x[:-1]`
(a copy over itself), NaN or a number out of range as an integer, shifts by all bits, writing to a broadcast view,
`np.add.at(device)`. And `empty` holds poison, not zeros.

Where NumPy raises and CuPy does not, it answers as CuPy does: arrays of indices that are out of range wrap, matrices
that are singular or not positive definite give NaN, and np.errstate means nothing (strict_rules.py has all of that).
Kernels that are written in CUDA C++ are compiled for the host and run (strict_kernels.py).

What CuPy has is read from cupy_names.txt, which test_strict_cupy.py writes from a real CuPy; names that CuPy has but
this module does not model say so. Not modelled: time, the order of work on streams, the rounding of GPU kernels.
"""

# Imports are underscored: whatever has a public name here is `xp.<name>` to the code under test.
import contextlib as _contextlib
import functools as _functools
import inspect as _inspect
import pathlib as _pathlib
import re as _re
import sys as _sys
import types as _types

import numpy as _np

from . import strict_faults as _faults
from . import strict_kernels as _kernels
from . import strict_rules as _rules

__version__ = "14.2.0+strict"

counts = dict.fromkeys(("launches", "waits", "uploads", "views", "allocations"), 0)


@_contextlib.contextmanager
def counting():
    """Yield a dict that holds, when the block ends, what was counted in it."""
    before, found = counts.copy(), {}
    try:
        yield found
    finally:
        found.update({name: count - before[name] for name, count in counts.items()})


def _read_table(text):
    """{"cupy.linalg": {"norm": "(x, ord=0, axis=0, keepdims=0)", ...}, ...}; the head of that file explains it."""
    table, section = {}, {}
    for line in text.splitlines():
        if line.startswith("["):
            section = table.setdefault(line[1:-1], {})
        elif line and not line.startswith("#"):
            name = _re.match(r"\w+", line)[0]
            section[name] = line[len(name) :].strip()
    return table


_TABLE = _read_table(_pathlib.Path(__file__).with_name("cupy_names.txt").read_text(encoding="utf-8"))

# Parameters that take a sequence of numbers (shapes, axes, ...), and those that take a sequence of device arrays.
# Anywhere else a list is an operand, which CuPy refuses or uploads behind your back.
_NUMBERS = (
    *("axes", "axis", "bins", "destination", "dimensions", "dims", "indices_or_sections", "kth", "new_shape"),
    *("newshape", "operands", "pad_width", "q", "range", "repeats", "reps", "shape", "shift", "size", "source"),
    *("strides", "window_shape"),
)
_ARRAYS = ("choicelist", "choices", "condlist", "keys", "multi_index", "tup")

# Where NumPy answers with a Python scalar, CuPy leaves the answer on the device.
_DEVICE_SCALARS = ("allclose", "array_equal", "array_equiv", "count_nonzero")

# The ufuncs whose `.at` CuPy has, with the dtypes that its atomic operations know.
_INTEGERS = ("int32", "int64", "uint32", "uint64")
_SCATTER = {
    "add": (*_INTEGERS, "float16", "float32", "float64"),
    "subtract": ("int32", "uint32"),
    **dict.fromkeys(("maximum", "minimum"), (*_INTEGERS, "float32", "float64")),
    **dict.fromkeys(("bitwise_and", "bitwise_or", "bitwise_xor"), _INTEGERS),
}


def _unsupported(value):
    hint = " (host and device arrays do not mix)" if isinstance(value, _np.ndarray) else ""
    return TypeError(f"Unsupported type {type(value)}{hint}")


def _lower(value, seen):
    """`value` with NumPy arrays in place of device arrays, which are appended to `seen`; host arrays are refused."""
    if isinstance(value, ndarray):
        seen.append(value)
        return value._raw
    if isinstance(value, (list, tuple)):
        return type(value)([_lower(item, seen) for item in value])
    is_data = isinstance(value, (bytes, bytearray, memoryview)) or hasattr(value, "__array__")
    if is_data and not isinstance(value, (_np.generic, type)):
        raise _unsupported(value)
    return value


def _operand(value, seen):
    """As `_lower`, where only a device array or a scalar may stand."""
    if isinstance(value, (ndarray, bool, int, float, complex, _np.bool_, _np.number)):
        return _lower(value, seen)
    raise _unsupported(value)


def _device(value):
    """`value`, which must be a device array."""
    if isinstance(value, ndarray):
        return value
    raise _unsupported(value)


def _lift(result, seen, scalars=()):
    """Turn what NumPy returned into device arrays; a result that is one of the arguments stays that argument."""
    if isinstance(result, (list, tuple)):
        return (list if isinstance(result, list) else tuple)([_lift(item, seen) for item in result])
    if isinstance(result, (_np.ndarray, _np.generic, *scalars)):
        same = next((array for array in seen if array._raw is result), None)
        return _wrap(_np.asarray(result), seen) if same is None else same
    return result


def _wrap(raw, sources=()):
    """A device array around `raw`: a view of the source whose memory it is in, else a new allocation."""
    if not raw.dtype.isnative or (raw.dtype.char not in "?bhilqBHILQefdFD" and raw.dtype.name != "bfloat16"):
        raise ValueError(f"Unsupported dtype {raw.dtype}")
    # Live allocations never overlap, so overlapping bounds mean the same allocation: no need to look at elements.
    owner = next((source for source in sources if _np.may_share_memory(raw, source._raw)), None)
    counts["allocations" if owner is None else "views"] += 1
    array = object.__new__(ndarray)
    array._raw, array.base = raw, owner if owner is None or owner.base is None else owner.base
    if owner is None:
        _faults.allocated(array)
    return array


def _launched(result, seen, out=None):
    """Count the call that had this result, unless it only made views, or gave back what it was given."""
    arrays = [leaf for leaf in _leaves(result) if isinstance(leaf, ndarray)]
    made = [array for array in arrays if array.base is None and all(array is not one for one in seen)]
    counts["launches"] += bool(made) or out is not None or (result is None and bool(seen))
    return result


def _check_copy(array, source=None, dtype=None):
    """Refuse a conversion, or a copy into an array, that a device does not define."""
    if source is not None:
        _rules.refuse_overlap(array._raw, source._raw)
    _rules.refuse_cast((array if source is None else source)._raw, array.dtype if dtype is None else dtype)


def _adapt(name, spec, host):
    """The NumPy function `host` under CuPy's rules; `spec` is its entry in the table, as "(a, axis=0)!"."""
    signature, syncs = _inspect.signature(eval(f"lambda {spec.strip('!')[1:-1]}: None")), spec.endswith("!")
    try:
        order = list(_inspect.signature(host).parameters)
    except ValueError:  # a function in C that does not tell
        order = []
    host = _rules.silent(_rules.INSTEAD.get(name, host))

    def check(args, kwargs):
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{name}(): {error}") from None
        for i, (parameter, value) in enumerate(bound.arguments.items()):
            kind = signature.parameters[parameter].kind
            theirs = order[i] if i < min(len(args), len(order)) and kind is kind.POSITIONAL_OR_KEYWORD else parameter
            if theirs != parameter and (theirs in signature.parameters or parameter in order):
                raise TypeError(f"{name}(): in this place NumPy takes {theirs!r}, CuPy {parameter!r}: pass it by name")
            _rules.check_value(parameter, value)
            for item in value if kind is kind.VAR_POSITIONAL else (value,):
                fits = parameter in _NUMBERS or not isinstance(item, (list, tuple, range))
                if not fits and (parameter not in _ARRAYS or not all(isinstance(one, ndarray) for one in item)):
                    raise TypeError(f"{name}(): {parameter!r} must be made of device arrays, not {type(item)}")
        return bound.arguments

    def call(*args, **kwargs):
        _faults.launched(name)
        seen = []
        raw_args, raw_kwargs = _lower(args, seen), {key: _lower(value, seen) for key, value in kwargs.items()}
        bound = check(args, kwargs)
        counts["waits"] += syncs and not (name == "where" and len(args) + len(kwargs) > 1)
        if name in ("astype", "copyto"):
            _check_copy(*seen[:2], dtype=bound.get("dtype"))
        result = _lift(host(*raw_args, **raw_kwargs), seen, (bool, int) if name in _DEVICE_SCALARS else ())
        return result if name in ("empty", "empty_like") else _launched(result, seen, bound.get("out"))

    call.__name__ = call.__qualname__ = name
    return call


def _count_index(index, arrays):
    """What an index costs by itself: lists are uploaded, and of masks CuPy fetches how many are True."""
    counts["uploads"] += sum(isinstance(item, list) for item in _rules.as_tuple(index))
    counts["waits"] += any(array.dtype == bool for array in arrays)


class _Ufunc:
    """A ufunc with the arguments and methods that CuPy's have: no `where=`, and few of the methods."""

    def __init__(self, name, nin, nout, host):
        self.__name__, self.name, self._host = name, f"cupy_{name}", host
        self.nin, self.nout, self.nargs = nin, nout, nin + nout

    def __call__(self, *args, out=None, dtype=None, casting="same_kind", **wrong):
        if wrong:
            raise TypeError(f"Wrong arguments {list(wrong)}")
        _faults.launched(self.__name__, is_kernel=self.__name__ != "matmul")
        if not self.nin <= len(args) <= self.nargs:
            raise TypeError(f"Wrong number of arguments for {self.name!r}.")
        seen, options = [], {} if dtype is None else {"dtype": dtype}
        inputs = [_operand(item, seen) for item in args[: self.nin]]
        outs = args[self.nin :] or (out if isinstance(out, tuple) else (out,))
        if any(item is not None for item in outs):
            outs = tuple(item if item is None else _lower(_device(item), seen) for item in outs)
            options["out"] = outs if self.nout > 1 else outs[0]
        if isinstance(self._host, _np.ufunc):  # some are ufuncs in CuPy only: `fix`, `sinc`
            options["casting"] = casting
        counts["launches"] += 1
        _rules.refuse_operand(self.__name__, inputs)
        return _lift(_rules.silent(self._host)(*inputs, **options), seen)

    def at(self, a, indices, b=None):
        if self.__name__ not in _SCATTER:
            raise NotImplementedError(f"`{self.name}.at` is not supported yet")
        if _device(a).dtype not in _SCATTER[self.__name__]:
            dtypes = ", ".join(_SCATTER[self.__name__])
            raise TypeError(f"cupy.{self.__name__}.at only supports {dtypes} as data type")
        counts["launches"] += 1
        places = _rules.wrapped(_lower(indices, []), a.shape)
        _rules.silent(self._host.at)(a._raw, places, _operand(b, []))

    def outer(self, A, B, **kwargs):
        return self(_device(A).reshape(A.shape + (1,) * _device(B).ndim), B, **kwargs)

    def reduce(self, array, axis=0, dtype=None, out=None, keepdims=False):
        return self._method("reduce", array, add="sum", multiply="prod")(axis, dtype, out, keepdims)

    def accumulate(self, array, axis=0, dtype=None, out=None):
        return self._method("accumulate", array, add="cumsum", multiply="cumprod")(axis, dtype, out)

    def _method(self, asked, array, **names):
        if self.__name__ not in names:
            raise NotImplementedError(f"`{self.name}.{asked}` is not supported yet")
        return getattr(_device(array), names[self.__name__])


class _Namespace:
    """The part of CuPy at `path`: what the table lists there, made from `host`'s object of the same name."""

    def __init__(self, path, host):
        self._path, self._host = path, host

    def __getattr__(self, name):
        spec = None if name.startswith("_") else _TABLE[self._path].get(name)
        if spec is None:
            raise AttributeError(f"module {self._path!r} has no attribute {name!r}")
        if spec == "-" or not hasattr(self._host, name):
            raise AttributeError(f"{self._path}.{name} exists in CuPy, but strict_cupy does not model it")
        made = host = getattr(self._host, name)
        if spec.startswith("("):
            made = _adapt(name, spec, _with_dtype(host) if self._path == "cupy.random" and "dtype" in spec else host)
        elif spec:
            made = _Ufunc(name, *map(int, spec.split()), host)
        setattr(self, name, _poisoned(made) if name in ("empty", "empty_like") else made)
        return getattr(self, name)


def _with_dtype(draw):
    """A random function of NumPy with the `dtype` that CuPy's have."""

    @_functools.wraps(draw)
    def drawn(*args, dtype=None, **kwargs):
        return draw(*args, **kwargs) if dtype is None else _np.asarray(draw(*args, **kwargs)).astype(dtype)

    return drawn


def _poisoned(make):
    """Fill fresh memory with NaN or the largest integer: NumPy's `empty` is often zero, a memory pool's is not."""

    def poisoned(*args, **kwargs):
        raw = (array := make(*args, **kwargs))._raw
        raw[...] = _np.iinfo(raw.dtype).max if raw.dtype.kind in "iu" else raw.dtype.kind == "b" or _np.nan
        return array

    return poisoned


_TOP = _Namespace("cupy", _np)
linalg = _Namespace("cupy.linalg", _np.linalg)
lib = _types.SimpleNamespace(stride_tricks=_Namespace("cupy.lib.stride_tricks", _np.lib.stride_tricks))
random = _Namespace("cupy.random", _np.random)
random.default_rng = lambda seed=None: _Namespace("cupy.random.Generator", _np.random.default_rng(seed))


def __getattr__(name):
    return getattr(_TOP, name)


class ndarray:
    """An array on the imagined device. What many members have in common is added by `_complete_ndarray` below.

    CuPy has neither `__imatmul__`, `__contains__` nor `__index__`, so `a @= b` makes a new array, `value in a`
    waits for the device at every element, and a device array is no index of a list.
    """

    __slots__ = ("__weakref__", "_raw", "base")
    __array_priority__ = 100
    __hash__ = None

    def __array__(self, dtype=None, copy=None):
        raise TypeError(
            "Implicit conversion to a NumPy array is not allowed. "
            "Please use `.get()` to construct a NumPy array explicitly."
        )

    def __array_ufunc__(self, ufunc, method, *inputs, **kwargs):
        """`np.exp(device)` computes on the device, as in CuPy."""
        if method == "at":
            raise TypeError(f"np.{ufunc.__name__}.at of a device array: take the ufunc from the array's module")
        function = getattr(_TOP, ufunc.__name__, None)
        if function is None:
            return NotImplemented
        if "out" in kwargs and len(kwargs["out"]) == 1:
            kwargs["out"] = kwargs["out"][0]
        return (function if method == "__call__" else getattr(function, method))(*inputs, **kwargs)

    def __array_function__(self, func, types, args, kwargs):
        path = [*func.__module__.split(".")[1:], func.__name__]
        try:
            function = _functools.reduce(getattr, path, _sys.modules[__name__])
        except AttributeError:
            return NotImplemented
        return NotImplemented if function is func else function(*args, **kwargs)

    @property
    def flags(self):
        names = ("c_contiguous", "f_contiguous", "fnc", "forc")  # CuPy's have no `writeable`
        values = {name: getattr(self._raw.flags, name) for name in names}
        return _types.SimpleNamespace(**values, owndata=self.base is None)

    def get(self, stream=None, order="C", out=None, blocking=True):
        counts["waits"] += 1
        _faults.waited()
        if out is None:
            return _np.array(self._raw, order=order)
        if (out.shape, out.dtype) != (self.shape, self.dtype):
            raise ValueError(f"Mismatch: {out.shape} {out.dtype} for an array of {self.shape} {self.dtype}")
        out[...] = self._raw
        return out

    def set(self, arr, stream=None):
        if not isinstance(arr, _np.ndarray):
            raise TypeError("Only numpy.ndarray can be set to cupy.ndarray")
        if (arr.shape, arr.dtype) != (self.shape, self.dtype) or not self.flags.forc:
            raise ValueError(f"{arr.shape} {arr.dtype} cannot be set to {self.shape} {self.dtype}, contiguous only")
        counts["uploads"] += 1
        self._raw[...] = arr

    def item(self):
        if self.size != 1:
            raise ValueError("can only convert an array of size 1 to a Python scalar")
        return self.get().item()

    def fill(self, value):
        counts["launches"] += 1
        self._raw.fill(_operand(value, []))

    def __getitem__(self, index):
        seen = [self]
        index = _lower(index, seen)
        _count_index(index, seen[1:])
        index = _rules.wrapped(index, self.shape)
        if not any(item is Ellipsis for item in index):
            index += (Ellipsis,)  # NumPy then returns a 0-d view where it would return a scalar
        return _launched(_lift(self._raw[index], seen), seen)

    def __setitem__(self, index, value):
        seen = []
        index, raw_value = _lower(index, seen), _operand(value, [])
        _count_index(index, seen)
        index = _rules.wrapped(index, self.shape)
        if isinstance(value, ndarray):
            if not seen and _rules.is_same_view(self._raw[index], raw_value):
                return  # the second half of `x[s] += v`
            _rules.refuse_overlap(self._raw, raw_value, index)
            _rules.refuse_cast(raw_value, self.dtype)
        counts["launches"] += 1
        if not seen or not isinstance(value, ndarray):
            _rules.silent(self._raw.__setitem__)(index, raw_value)
            return
        wanted = self._raw[index] = _rules.silent(raw_value.astype)(self.dtype)
        _rules.refuse_race(self._raw[index], wanted)

    def __iter__(self):
        if self.ndim == 0:
            raise TypeError("iteration over a 0-d array")
        return (self[i] for i in range(self.shape[0]))

    def __reduce__(self):
        return array, (self.get(),)

    T = property(lambda self: self.transpose())
    mT = property(lambda self: self.swapaxes(-1, -2))
    real = property(lambda self: _lift(self._raw.real, [self]))
    imag = property(lambda self: _lift(self._raw.imag, [self]))
    device = property(lambda self: cuda.Device(0))
    data = property(lambda self: _types.SimpleNamespace(ptr=self._raw.ctypes.data, device=self.device))


_COMPARISONS = {"lt": "less", "le": "less_equal", "eq": "equal", "ne": "not_equal", "gt": "greater"}
_COMPARISONS["ge"] = "greater_equal"
_UNARY = {"neg": "negative", "pos": "positive", "abs": "absolute", "invert": "invert"}
_BINARY = {
    **{"add": "add", "sub": "subtract", "mul": "multiply", "truediv": "divide", "floordiv": "floor_divide"},
    **{"mod": "remainder", "divmod": "divmod", "pow": "power", "matmul": "matmul", "lshift": "left_shift"},
    **{"rshift": "right_shift", "and": "bitwise_and", "or": "bitwise_or", "xor": "bitwise_xor"},
}


def _complete_ndarray():
    """Add attributes, conversions (which wait for the device), operators, and the methods in the table."""
    for name in ("shape", "dtype", "ndim", "size", "nbytes", "strides", "itemsize"):
        setattr(ndarray, name, property(lambda self, name=name: getattr(self._raw, name)))
    ndarray.__len__ = lambda self: len(self._raw)
    conversions = ("__bool__", "__int__", "__float__", "__complex__", "__repr__", "__str__", "__format__")
    for name in (*conversions, "tolist", "tobytes"):
        setattr(ndarray, name, lambda self, *args, name=name: getattr(self.get(), name)(*args))
    for word, name in {**_BINARY, **_COMPARISONS, **_UNARY}.items():

        def forward(self, *other, name=name):
            # A class with __array_ufunc__ = None asks for its own reflected operator to be used.
            yields = any(getattr(item, "__array_ufunc__", 0) is None for item in other)
            return NotImplemented if yields else getattr(_TOP, name)(self, *other)

        setattr(ndarray, f"__{word}__", forward)
    for word, name in _BINARY.items():
        setattr(ndarray, f"__r{word}__", lambda self, other, name=name: getattr(_TOP, name)(other, self))
        if word not in ("matmul", "divmod"):
            setattr(ndarray, f"__i{word}__", lambda self, other, name=name: getattr(_TOP, name)(self, other, self))
    for name, spec in _TABLE["cupy.ndarray"].items():
        if spec.startswith("(") and name not in vars(ndarray) and hasattr(_np.ndarray, name):
            setattr(ndarray, name, _adapt(name, spec, getattr(_np.ndarray, name)))


_complete_ndarray()


def _leaves(obj):
    if not isinstance(obj, (list, tuple)):
        return [obj]
    return [leaf for item in obj for leaf in _leaves(item)]


def array(obj, dtype=None, copy=True, order="K", subok=False, ndmin=0, *, blocking=False):
    """A device array of a host array, a scalar, nested lists of numbers, or device arrays in lists."""
    seen, on_device = [], {isinstance(item, ndarray) for item in _leaves(obj)}
    if on_device == {True, False}:
        raise TypeError("device arrays and host values are mixed in one list")
    if True in on_device:
        obj = _lower(obj, seen)
    made = _lift(_np.array(obj, dtype=dtype, copy=copy if seen else True, order=order, ndmin=ndmin), seen)
    counts["uploads"] += not seen
    return _launched(made, seen) if seen else made


def asarray(a, dtype=None, order=None, *, copy=None, blocking=False):
    return array(a, dtype, copy, order or "K")


asanyarray = asarray


def ascontiguousarray(a, dtype=None):
    return array(a, dtype, None, "C")


def asfortranarray(a, dtype=None):
    return array(a, dtype, None, "F")


def adopted(raw):
    """A device array over the memory of a host array, for checks: CuPy has nothing of the kind."""
    return _wrap(raw)


def put_along_axis(arr, indices, values, axis):
    _TOP.put_along_axis(arr, indices, values, axis)
    if isinstance(values, ndarray):
        _rules.refuse_race(_np.take_along_axis(arr._raw, indices._raw, axis), values._raw.astype(arr.dtype))


def asnumpy(a, stream=None, order="C", out=None, *, blocking=True):
    return a.get(stream, order, out) if isinstance(a, ndarray) else _np.asarray(a, order=order)


def get_array_module(*args):
    return _sys.modules[__name__] if any(isinstance(item, ndarray) for item in args) else _np


class _Idle:
    """A device, stream or event on which all work is always done."""

    id = ptr = 0
    done, compute_capability, mem_info = True, "90", (2**33, 2**33)

    def __init__(self, *args, **kwargs):
        pass

    def synchronize(self):
        counts["waits"] += 1
        _faults.waited()

    def use(self, *args):
        return self

    record = wait_event = __enter__ = use

    def __exit__(self, *error):
        return None


_Idle.null = _Idle()
cuda = _types.SimpleNamespace(Device=_Idle, Stream=_Idle, Event=_Idle, is_available=lambda: True)
cuda.get_current_stream = lambda device_id=-1: _Idle.null
cuda.runtime = _types.SimpleNamespace(getDeviceCount=lambda: 1, getDevice=lambda: 0, memGetInfo=_faults.memory)
_PROPERTIES = {"name": b"Strict stand-in", "major": 9, "minor": 0}
cuda.runtime.getDeviceProperties = lambda device: {**_PROPERTIES, "totalGlobalMem": _faults.memory()[1]}
cuda.runtime.driverGetVersion, cuda.runtime.runtimeGetVersion = lambda: 13000, lambda: 12090
is_available = cuda.is_available


def get_default_memory_pool():
    held = _faults.held
    return _types.SimpleNamespace(used_bytes=held, total_bytes=held, free_all_blocks=lambda: None)


if _kernels.COMPILER:
    ElementwiseKernel, ReductionKernel = _kernels.ElementwiseKernel, _kernels.ReductionKernel
    ElementwiseKernel.strict = ReductionKernel.strict = _sys.modules[__name__]
