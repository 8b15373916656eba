"""The strict stand-in for CuPy: each of its rules bites, ordinary code passes, and its table is that of CuPy.

`python tests/arrays/test_strict_cupy.py` writes cupy_names.txt anew from the CuPy that is installed (no GPU is needed).
"""

import copy
import inspect
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
from support import strict_cupy as cp

TABLE = Path(cp.__file__).with_name("cupy_names.txt")

HEAD = """\
# What CuPy {version} offers, for strict_cupy.py. `python tests/arrays/test_strict_cupy.py` writes it.
# name(a, axis=0)    a function or method and its parameters; "=0" stands for any default
# name(a)!           the same, and the host waits for the device inside
# name 2 1           a ufunc with 2 inputs and 1 output
# name               a value, dtype or attribute that is the same in NumPy
# name -             in CuPy, not modelled by strict_cupy
"""

# Most functions that wait say "may synchronize" in their documentation; these wait as well, by calling one that does
# or by asking `if` of a device array.
WAITS = re.compile("argwhere|asarray_chkfinite|intersect1d|set.*1d|sliding_window_view|trim_zeros|union1d|unique_.*")
# Functions that take **kwargs and check them by hand.
SIGNATURES = {"einsum": "(*operands, dtype=0, optimize=0)", "rand": "(*size, dtype=0)", "randn": "(*size, dtype=0)"}
# Functions that see no array or only ask what it is: NumPy's own are as good.
HOST_ONLY = re.compile("broadcast_shapes|can_cast|is(dtype|scalar|subdtype)|iterable|min_scalar_type|promote_types")
# Reading, writing and printing, and functions that would hand the hidden NumPy array to a callback.
NOT_MODELLED = re.compile(
    "apply_.*|array2string|array_repr|array_str|default_rng|dumps?|from.*|genfromtxt|load.*|mask_indices|piecewise|"
    "(set_)?printoptions|save.*|tofile"
)


def parameters(obj, name):
    """The signature of a function without annotations and with 0 for every default, or None."""
    if name in SIGNATURES:
        return SIGNATURES[name]
    try:
        signature, none = inspect.signature(obj), inspect.Parameter.empty
    except (ValueError, TypeError):  # compiled: the first line of the documentation has it, with types as in C
        found = re.match(r"[\w.]+\((.*)\)", obj.__doc__ or "")
        words = [re.sub(r"=.*", "=0", part).split()[-1] for part in found[1].split(", ") if part] if found else []
        return f"({', '.join(words)})" if found else None
    plain = [p.replace(annotation=none) for p in signature.parameters.values()]
    plain = [p if p.default is none else p.replace(default=0) for p in plain]
    return str(signature.replace(parameters=plain, return_annotation=none))


def entry(obj, name):
    """The line of the table for one name."""
    if type(obj).__name__ == "ufunc":
        return f"{name} {obj.nin} {obj.nout}"
    if NOT_MODELLED.fullmatch(name):
        return f"{name} -"
    is_value = isinstance(obj, (float, np.dtype)) or obj is None or inspect.isdatadescriptor(obj)
    if is_value or HOST_ONLY.fullmatch(name) or (isinstance(obj, type) and obj.__module__.startswith("numpy")):
        return name
    known = None if isinstance(obj, type) or not callable(obj) else parameters(obj, name)
    waits = WAITS.fullmatch(name) or "may synchronize" in (obj.__doc__ or "")
    return f"{name} -" if known is None else f"{name}{known}{'!' if waits else ''}"


def describe(cupy):
    """The text of cupy_names.txt for an installed CuPy."""
    parts = {"cupy": cupy, "cupy.ndarray": cupy.ndarray, "cupy.linalg": cupy.linalg, "cupy.random": cupy.random}
    parts |= {"cupy.random.Generator": cupy.random.Generator, "cupy.lib.stride_tricks": cupy.lib.stride_tricks}
    parts |= {f"cupy.cuda.{name}": getattr(cupy.cuda, name) for name in ("Stream", "Event", "Device")}
    parts["cupy.cuda"] = cupy.cuda
    lines = [HEAD.format(version=cupy.__version__)]
    for path, owner in parts.items():
        names = [name for name in dir(owner) if not name.startswith("_") and name not in ("annotations", "np")]
        entries = [entry(getattr(owner, name), name) for name in sorted(names)]
        if path.endswith("Generator"):  # its methods are called on an instance, those of ndarray on the class
            entries = [line.replace("(self, ", "(") for line in entries]
        lines += [f"[{path}]", *entries, ""]
    return "\n".join(lines)


def host():
    return np.arange(6, dtype=np.float32).reshape(2, 3)


def device():
    return cp.asarray(host())


def same(array, expected):
    """The device array holds these values."""
    assert isinstance(array, cp.ndarray)
    np.testing.assert_allclose(array.get(), expected, rtol=1e-6)


def assign(array, index, value):
    array[index] = value


def augment(array, value):
    array += value


def augment_at(array, index, value):
    array[index] += value


# Every line of the dicts below is an expression in x, h (device and host array of the same values) and i (an index).
MIXING = {
    "device + host": lambda x, h, i: x + h,
    "host + device": lambda x, h, i: h + x,
    "host @ device": lambda x, h, i: h @ x.T,
    "device @ host": lambda x, h, i: x @ h.T,
    "device == host": lambda x, h, i: x == h,
    "host < device": lambda x, h, i: h < x,
    "device + 0-d host": lambda x, h, i: x + np.array(1.0, np.float32),
    "device += host": lambda x, h, i: augment(x, h),
    "host += device": lambda x, h, i: augment(h, x),
    "function": lambda x, h, i: cp.maximum(x, h),
    "function on host only": lambda x, h, i: cp.exp(h),
    "reduction of host": lambda x, h, i: cp.sum(h),
    "numpy function": lambda x, h, i: np.dot(x, h.T),
    "numpy ufunc": lambda x, h, i: np.add(h, x),
    "numpy ufunc out=host": lambda x, h, i: np.exp(x, out=h),
    "method": lambda x, h, i: x.dot(h.T),
    "host method": lambda x, h, i: h.dot(x.T),
    "out=": lambda x, h, i: cp.add(x, x, out=h),
    "out= of matmul": lambda x, h, i: cp.matmul(x, x.T, out=np.empty((2, 2), np.float32)),
    "out= of a reduction": lambda x, h, i: x.sum(axis=0, out=h[0]),
    "out= of a host ufunc": lambda x, h, i: np.add(h, h, out=x),
    "where": lambda x, h, i: cp.where(x > 1, x, h),
    "copyto where=": lambda x, h, i: cp.copyto(x, 0, where=h > 1),
    "concatenate": lambda x, h, i: cp.concatenate([x, h]),
    "stack of host": lambda x, h, i: cp.stack([h, h]),
    "array of both": lambda x, h, i: cp.array([x, h]),
    "array of device and number": lambda x, h, i: cp.array([x.sum(), 1.0]),
    "einsum": lambda x, h, i: cp.einsum("ij,ij->i", x, h),
    "setitem": lambda x, h, i: assign(x, ..., h),
    "setitem, fancy": lambda x, h, i: assign(x, i, h),
    "setitem into host": lambda x, h, i: assign(h, ..., x),
    "host index": lambda x, h, i: x[np.array([0, 1])],
    "host mask": lambda x, h, i: x[h > 1],
    "host index in a tuple": lambda x, h, i: x[:, np.array([0, 1])],
    "device index of host": lambda x, h, i: h[i],
    "take with host index": lambda x, h, i: cp.take(x, np.array([0]), axis=0),
    "add.at": lambda x, h, i: cp.add.at(x, i, h),
    "add.at with host index": lambda x, h, i: cp.add.at(x, np.array([0]), 1),
    "np.add.at": lambda x, h, i: np.add.at(x, i, 1),
    "fill": lambda x, h, i: x.fill(h),
    "set from device": lambda x, h, i: x.set(x),
    "np.asarray": lambda x, h, i: np.asarray(x),
    "np.array of a list": lambda x, h, i: np.array([x, x]),
    "np.float32 of a scalar": lambda x, h, i: np.float32(x.sum()),
    "np.copyto": lambda x, h, i: np.copyto(h, x),
    "np.allclose": lambda x, h, i: np.allclose(x, h),
    "np.testing": lambda x, h, i: np.testing.assert_array_equal(x, h),
    "buffer": lambda x, h, i: memoryview(x),
    "bytes": lambda x, h, i: cp.add(x, b"1"),
}

REFUSED = {
    "list operand": (TypeError, lambda x, i: cp.add([1, 2], x)),
    "list to a reduction": (TypeError, lambda x, i: cp.sum([1, 2])),
    "list with an operator": (TypeError, lambda x, i: x + [1, 2, 3]),  # noqa: RUF005
    "list assigned": (TypeError, lambda x, i: assign(x, 0, [1, 2, 3])),
    "list to where": (TypeError, lambda x, i: cp.where(x > 1, x, [1, 2, 3])),
    "lists to concatenate": (TypeError, lambda x, i: cp.concatenate([[1], [2]])),
    "None as operand": (TypeError, lambda x, i: x + None),
    "object dtype": (ValueError, lambda x, i: cp.zeros(3, object)),
    "object values": (ValueError, lambda x, i: cp.array([None])),
    "strings": (ValueError, lambda x, i: cp.asarray(np.array(["a"]))),
    "astype(object)": (ValueError, lambda x, i: x.astype(object)),
    "long double": (ValueError, lambda x, i: x.astype(np.longdouble)),
    "big endian": (ValueError, lambda x, i: cp.asarray(np.ones(3, ">f4"))),
    "where= of a ufunc": (TypeError, lambda x, i: cp.add(x, x, where=x > 1)),
    "where= through numpy": (TypeError, lambda x, i: np.add(x, x, where=x > 1)),
    "where= of a reduction": (TypeError, lambda x, i: cp.sum(x, where=x > 1)),
    "initial= of a reduction": (TypeError, lambda x, i: x.max(initial=0)),
    "einsum out=": (TypeError, lambda x, i: cp.einsum("ij->i", x, out=x)),
    "clip without bounds": (TypeError, lambda x, i: cp.clip(x, min=0)),
    "take mode=": (TypeError, lambda x, i: cp.take(x, i, mode="clip")),
    "item with an index": (TypeError, lambda x, i: x.item(0)),
    "item of many": (ValueError, lambda x, i: x.item()),
    "positional in another order": (TypeError, lambda x, i: cp.argmax(x, 1, cp.empty(2, int))),
    "maximum.reduce": (NotImplementedError, lambda x, i: cp.maximum.reduce(x)),
    "maximum.accumulate": (NotImplementedError, lambda x, i: cp.maximum.accumulate(x)),
    "multiply.at": (NotImplementedError, lambda x, i: cp.multiply.at(x, i, 2)),
    "subtract.at of floats": (TypeError, lambda x, i: cp.subtract.at(x, i, 1)),
    "casting in place": (TypeError, lambda x, i: augment(i, 0.5)),
    "truth of many": (ValueError, lambda x, i: bool(x)),
    "iteration over 0-d": (TypeError, lambda x, i: list(x.sum())),
    "len of 0-d": (TypeError, lambda x, i: len(x.sum())),
    "list index": (TypeError, lambda x, i: ["a", "b"][i[0]]),
    "hash": (TypeError, lambda x, i: hash(x)),
    "set with another dtype": (ValueError, lambda x, i: x.set(np.zeros((2, 3)))),
    "fractions for one place": (ValueError, lambda x, i: cp.add.at(x[0], cp.asarray([0, 0]), x[0, :2] + 0.5)),
    "weights for one place": (ValueError, lambda x, i: cp.bincount(cp.asarray([1, 1]), x[0, :2] + 0.5)),
    "race": (ValueError, lambda x, i: assign(x[0], cp.asarray([0, 0]), cp.asarray([1.0, 2.0]))),
    "race along an axis": (
        ValueError,
        lambda x, i: cp.put_along_axis(x[0], cp.asarray([1, 1]), cp.asarray([1.0, 2.0]), 0),
    ),
    "copy onto a part of itself": (ValueError, lambda x, i: assign(x[0], slice(1, None), x[0, :-1])),
    "copy of a row onto rows": (ValueError, lambda x, i: assign(x, ..., x[0])),
    "copyto a part of itself": (ValueError, lambda x, i: cp.copyto(x[:, 1:], x[:, :-1])),
    "copy at places onto itself": (ValueError, lambda x, i: assign(x, cp.asarray([1, 0]), x)),
    "NaN as an integer": (ValueError, lambda x, i: (x / x).astype(int)),
    "infinity as an integer": (ValueError, lambda x, i: assign(i, 0, 1 / x[0, 0])),
    "a negative number without a sign": (ValueError, lambda x, i: (-x).astype(cp.uint8)),
    "a number out of range": (ValueError, lambda x, i: (x + 2**31).astype(cp.int32)),
    "copyto integers": (ValueError, lambda x, i: cp.copyto(i, x[0, :2] / 0, casting="unsafe")),
    "shift by all bits": (ValueError, lambda x, i: i << 64),
    "shift by less than none": (ValueError, lambda x, i: i >> (i - 1)),
    "integers by 0": (ValueError, lambda x, i: i // (i - i)),
    "mergesort": (ValueError, lambda x, i: cp.argsort(x, kind="mergesort")),
    "quicksort in place": (ValueError, lambda x, i: x.sort(kind="quicksort")),
    "two masks": (NotImplementedError, lambda x, i: x[x[:, 0] > 1, x[0] > 1]),
    "broadcast view written": (ValueError, lambda x, i: assign(cp.broadcast_to(x, (2, 2, 3)), 0, 0)),
    "writeable windows": (ValueError, lambda x, i: assign(WINDOWS(x, (1, 1)), 0, 0)),
    "np.block": (TypeError, lambda x, i: np.block([x])),
}

ORDINARY = {  # the same expression on both sides, with `p` the module
    "operators": lambda p, x, i: (2 * x - 1) / (x + 1) ** 2 // 0.25 % 3,
    "comparison": lambda p, x, i: (x > 1) & ~(x == 4) | (x != x),
    "NumPy scalar": lambda p, x, i: np.float32(3) * x + np.int64(1),
    "unary": lambda p, x, i: abs(-x),
    "divmod": lambda p, x, i: divmod(x, 2)[1],
    "matmul": lambda p, x, i: x @ x.T,
    "matmul out=": lambda p, x, i: p.matmul(x, x.T, out=p.empty((2, 2), p.float32)),
    "tensordot": lambda p, x, i: p.tensordot(x, x, axes=([1], [1])),
    "einsum": lambda p, x, i: p.einsum("ij,kj->ik", x, x, optimize=True),
    "as_strided": lambda p, x, i: p.lib.stride_tricks.as_strided(x, (2, 2), (12, 4)),
    "sliding_window_view": lambda p, x, i: p.lib.stride_tricks.sliding_window_view(x, (2, 2)),
    "fancy index": lambda p, x, i: x[p.arange(2), i],
    "list index": lambda p, x, i: x[:, [0, 2]],
    "mask": lambda p, x, i: x[x > 2],
    "slice, None, Ellipsis": lambda p, x, i: x[..., None, ::-1],
    "argmax": lambda p, x, i: x.argmax(axis=1, keepdims=True),
    "where": lambda p, x, i: p.where(x > 2, x, 0.0),
    "pad": lambda p, x, i: p.pad(x, ((1, 1), (0, 2)), constant_values=7),
    "concatenate": lambda p, x, i: p.concatenate([x, x], axis=1),
    "stack": lambda p, x, i: p.stack((x, x)),
    "split": lambda p, x, i: p.split(x, [1], axis=1)[1],
    "tile": lambda p, x, i: p.tile(x, (2, 1)),
    "transpose": lambda p, x, i: p.transpose(x, (1, 0)).reshape(-1, 2),
    "take": lambda p, x, i: p.take(x, i, axis=1),
    "take_along_axis": lambda p, x, i: p.take_along_axis(x, x.argmax(1, keepdims=True), 1),
    "sort": lambda p, x, i: p.sort(-x, axis=1) + p.argsort(-x),
    "cumsum": lambda p, x, i: x.cumsum(axis=0),
    "reductions": lambda p, x, i: x.mean(axis=0) + x.var(axis=0, ddof=1) + p.add.reduce(x),
    "maximum": lambda p, x, i: p.maximum(x, 2, dtype=p.float64),
    "clip": lambda p, x, i: p.clip(x, 1, 4),
    "creation": lambda p, x, i: p.zeros_like(x) + p.full((2, 3), 2.0) + p.eye(2, 3) + p.arange(3),
    "linalg": lambda p, x, i: p.linalg.norm(x, axis=1),
    "astype": lambda p, x, i: x.astype(p.int32) << 1,
    "float16": lambda p, x, i: x.astype("f2").sum(axis=0),
    "ufunc in CuPy only": lambda p, x, i: p.fix(x / 4),
    "two outputs": lambda p, x, i: p.frexp(x)[0],
    "outer": lambda p, x, i: p.multiply.outer(x[0], x[1]),
    "numpy functions": lambda p, x, i: np.exp(np.sum(np.concatenate([x, x]), axis=0)),
}

# What NumPy raises, and CuPy answers.
ANSWERED = {
    "index beyond the end": (lambda x, i: x[:, i + 2], [[2, 0], [5, 3]]),
    "index before the beginning": (lambda x, i: x[..., i - 7], [[2, 0], [5, 3]]),
    "list of indices": (lambda x, i: x[[5]], [[3, 4, 5]]),
    "index behind a new axis": (lambda x, i: x[None, 0, i + 2], [[2, 0]]),
    "index behind a mask": (lambda x, i: x[x[:, 0] > 1, i + 2], [5, 3]),
    "take": (lambda x, i: x.take(i + 2, axis=1), [[2, 0], [5, 3]]),
    "take of numbers in a row": (lambda x, i: cp.take(x, i + 5), [5, 0]),
    "take_along_axis": (lambda x, i: cp.take_along_axis(x, i[None] + 2, axis=1), [[2, 0], [5, 3]]),
    "assignment": (lambda x, i: assigned(x, i + 2, 9), [[9, 9, 9], [9, 9, 9]]),
    "add.at": (lambda x, i: added(x, i + 1, 1), [[1, 2, 3], [4, 5, 6]]),
    "put_along_axis": (lambda x, i: put(x, i[:, None] + 3, 9), [[9, 1, 2], [3, 9, 5]]),
    "inverse of a singular matrix": (lambda x, i: cp.linalg.inv(cp.ones((2, 2))), np.full((2, 2), np.nan)),
    "inverse, one of two singular": (lambda x, i: cp.linalg.inv(squares(x))[1], [[1, 0], [0, 1]]),
    "the other": (lambda x, i: cp.linalg.inv(squares(x))[0], np.full((2, 2), np.nan)),
    "solution of a singular system": (lambda x, i: cp.linalg.solve(squares(x), squares(x))[0], np.full((2, 2), np.nan)),
    "factor of a negative matrix": (lambda x, i: cp.linalg.cholesky(-cp.eye(2)), np.full((2, 2), np.nan)),
    "division by zero, whatever errstate says": (lambda x, i: strictly(lambda: 1 / (x[0] * 0)), [np.inf] * 3),
    "overflow of a function": (lambda x, i: strictly(lambda: cp.sum(x * 3e38)), np.inf),
}


def assigned(array, index, value):
    array[index] = value
    return array


def added(array, index, value):
    cp.add.at(array, index, value)
    return array


def put(array, index, value):
    cp.put_along_axis(array, index, value, 1)
    return array


def squares(x):
    """A singular matrix, and the identity."""
    return cp.stack([cp.ones((2, 2)), cp.eye(2)])


def strictly(compute):
    with np.errstate(all="raise"):
        return compute()


@pytest.mark.parametrize(("use", "expected"), ANSWERED.values(), ids=ANSWERED)
def test_what_cupy_answers_where_numpy_raises(use, expected):
    same(use(device(), cp.asarray([0, 1])), expected)


def test_what_both_refuse():
    x = device()
    with pytest.raises(IndexError):  # a number, not an array of them
        x[2]
    with pytest.raises(np.linalg.LinAlgError):
        cp.linalg.inv(x)


def test_what_overlaps_no_element_is_copied():
    x = device()
    x[:, ::2] = x[:, 1:2]
    x[0] = x[1]
    x[cp.asarray([1])] = x[0]
    same(x, [[4, 4, 4], [4, 4, 4]])


WINDOWS = cp.lib.stride_tricks.sliding_window_view


@pytest.mark.parametrize("mix", MIXING.values(), ids=MIXING)
def test_host_and_device_do_not_mix(mix):
    words = "Unsupported type|Implicit conversion|made of device|mixed in one list|bytes-like|np.add.at|Only numpy.nd"
    with pytest.raises(TypeError, match=words):
        mix(device(), host(), cp.asarray([0, 1]))


@pytest.mark.parametrize(("error", "use"), REFUSED.values(), ids=REFUSED)
def test_refused(error, use):
    with pytest.raises(error):
        use(device(), cp.asarray([0, 1]))


@pytest.mark.parametrize("use", ORDINARY.values(), ids=ORDINARY)
def test_ordinary_use_agrees_with_numpy(use):
    expected = use(np, host(), np.array([2, 0]))
    result = use(cp, device(), cp.asarray([2, 0]))
    same(result, expected)
    assert result.dtype == expected.dtype


@pytest.mark.parametrize("name", ["ma", "block", "errstate", "nditer", "insert", "unstack", "vecdot", "longdouble"])
def test_names_that_cupy_lacks(name):
    with pytest.raises(AttributeError, match=f"module 'cupy' has no attribute '{name}'"):
        getattr(cp, name)


@pytest.mark.parametrize("name", ["vectorize", "RawKernel", "fft", "fuse", "save"])
def test_names_that_are_not_modelled_say_so(name):
    with pytest.raises(AttributeError, match="exists in CuPy, but strict_cupy does not model it"):
        getattr(cp, name)


def test_missing_members():
    x = device()
    missing = "resize ptp __array_interface__ __array_struct__ __index__ __contains__ __imatmul__ ctypes setflags"
    assert [name for name in missing.split() if hasattr(x, name)] == []
    assert not hasattr(x.flags, "writeable")
    assert not hasattr(cp.random.default_rng(0), "normal")
    assert not hasattr(cp.linalg, "vector_norm")


def test_no_implicit_conversion_in_cupys_words():
    with pytest.raises(TypeError, match="Implicit conversion to a NumPy array is not allowed"):
        np.asarray(device())


@pytest.mark.parametrize("make", [cp.sum, cp.mean, cp.argmax, cp.any, cp.count_nonzero, cp.linalg.norm, cp.ndarray.max])
def test_reductions_stay_on_the_device(make):
    result = make(device())
    assert isinstance(result, cp.ndarray)
    assert result.shape == ()


def test_comparisons_of_arrays_stay_on_the_device():
    assert isinstance(cp.array_equal(device(), device()), cp.ndarray)
    assert isinstance(np.allclose(device(), device()), cp.ndarray)


def test_in_place_operators_keep_the_array():
    x = a = device()
    a += 1
    a *= x
    a[0] -= 1
    assert a is x
    same(x, [[0, 3, 8], [16, 25, 36]])
    y = b = cp.ones((2, 2))
    b @= y  # CuPy has no __imatmul__: a new array
    assert b is not y


def test_out_returns_the_array_given():
    x = device()
    assert cp.exp(x, out=x) is x
    assert cp.sqrt(x, x) is x
    total = cp.empty(3, cp.float32)
    assert x.sum(axis=0, out=total) is total
    assert cp.stack([x, x], out=(both := cp.empty((2, 2, 3), cp.float32))) is both
    whole, part = cp.empty_like(x), cp.empty_like(x)
    assert cp.modf(x, out=(part, whole))[1] is whole


def test_views_share_memory():
    x = device()
    views = [x.T, x[0], x[0, 0], x.reshape(3, 2), x[::2, None], x.ravel(), WINDOWS(x, (2, 2)), next(iter(x)), x.view()]
    assert all(cp.shares_memory(x, view) and view.base is x for view in views)
    assert x[0].T.base is x
    assert not any(cp.may_share_memory(x, new) for new in (x.copy(), x[[0]], x + 0, x.flatten()))
    x[1, 2][...] = 9
    x.T[0] = 7
    same(x, [[7, 1, 2], [7, 4, 9]])
    assert x.base is None
    assert x.flags.owndata
    assert not x.T.flags.c_contiguous
    assert x.T.data.ptr == x.data.ptr


def test_scatter():
    x = cp.zeros(4, cp.float32)
    cp.add.at(x, cp.asarray([0, 0, 2]), cp.asarray([1, 2, 3], dtype=cp.float32))
    same(x, [3, 0, 3, 0])
    cp.add.at(x, cp.asarray([1, 3]), cp.asarray([0.5, 0.5], dtype=cp.float32))
    cp.add.at(x, cp.asarray([1, 1, 3, 3]), cp.asarray([0, -0.0, cp.inf, cp.inf], dtype=cp.float32))
    same(x, [3, 0.5, 3, cp.inf])
    x[3] = 0
    cp.maximum.at(x, [1, 1], 5)
    same(x, [3, 5, 3, 0])
    y = cp.zeros((2, 3))
    cp.add.at(y, (cp.asarray([0, 0]), cp.asarray([1, 1])), 1)
    cp.put_along_axis(y, cp.asarray([[0], [2]]), 8, 1)
    same(y, [[8, 2, 0], [0, 0, 8]])


def test_assignment():
    x = device()
    x[x > 3] = 0
    x[cp.asarray([0])] = x[1]
    x[:, 1] = x[:, 0] + 1
    x[cp.asarray([0, 0]), 0] = cp.asarray([5.0, 5.0])  # twice, but the same value
    same(x, [[5, 4, 0], [3, 4, 0]])


def test_ways_in_and_out():
    h = host()
    x = cp.asarray(h)
    h[:] = -1
    same(x, host())  # asarray copied
    assert cp.asarray(x) is x
    assert cp.array(x) is not x
    assert isinstance(cp.asnumpy(x), np.ndarray)
    assert cp.asnumpy(h) is h
    x.set(h)
    same(x, h)
    assert x.get(out=h) is h
    assert (x[0].tolist(), x[0, 0].item()) == ([-1.0] * 3, -1.0)
    same(cp.array([[1, 2], [3, 4]]), [[1, 2], [3, 4]])
    same(cp.array([x[0], x[1]]), x.get())
    assert cp.asarray(2.0).shape == ()
    assert cp.get_array_module(h, x) is cp
    assert cp.get_array_module(h) is np
    for twin in (copy.copy(x), copy.deepcopy(x), pickle.loads(pickle.dumps(x))):
        same(twin, h)
        assert not cp.shares_memory(twin, x)
    assert f"{x.sum():.1f} {x[0, 0]} {x[0]!r}" == "-6.0 -1.0 array([-1., -1., -1.], dtype=float32)"


def test_empty_is_poisoned():
    assert cp.isnan(cp.empty((2, 2), cp.float16)).all()
    assert cp.empty_like(cp.zeros(2, cp.uint8))[0] == 255


def test_random():
    cp.random.seed(1)
    assert cp.random.normal(size=(2, 3), dtype=cp.float32).dtype == cp.float32
    assert cp.random.rand(2).shape == (2,)
    assert cp.random.default_rng(0).standard_normal((2,), dtype=cp.float32).dtype == cp.float32


def counted(use):
    """What a use of a device array counts, without what is zero."""
    x = device()
    with cp.counting() as found:
        use(x)
    return {name: count for name, count in found.items() if count}


COUNTED = {  # launches, uploads, views, allocations
    "operator": (lambda x: x + x, (1, 0, 0, 1)),
    "out=": (lambda x: cp.exp(x, out=x), (1, 0, 0, 0)),
    "out= of a reduction": (lambda x: x.sum(out=x[0, 0]), (1, 0, 1, 0)),
    "in place": (lambda x: augment(x, 1), (1, 0, 0, 0)),
    "into a view": (lambda x: augment_at(x, 0, 1), (1, 0, 1, 0)),
    "assignment": (lambda x: assign(x, 0, 1), (1, 0, 0, 0)),
    "assignment of a view elsewhere": (lambda x: assign(x, 0, x[1]), (1, 0, 1, 0)),
    "reduction": (lambda x: x.sum(axis=0), (1, 0, 0, 1)),
    "function": (lambda x: cp.where(x, x, 0.0), (1, 0, 0, 1)),
    "function in place": (lambda x: cp.copyto(x, 0), (1, 0, 0, 0)),
    "view": (lambda x: x.T[0], (0, 0, 2, 0)),
    "views": (lambda x: cp.split(x, 3, axis=1), (0, 0, 3, 0)),
    "reshape": (lambda x: x.reshape(-1), (0, 0, 1, 0)),
    "reshape that copies": (lambda x: x.T.reshape(-1), (1, 0, 1, 1)),
    "nothing to do": (lambda x: cp.ascontiguousarray(x).astype(x.dtype, copy=False), (0, 0, 0, 0)),
    "question": (lambda x: cp.shares_memory(x, x), (0, 0, 0, 0)),
    "memory": (lambda x: cp.empty(3), (0, 0, 0, 1)),
    "zeros": (lambda x: cp.zeros(3), (1, 0, 0, 1)),
    "fill": (lambda x: x.fill(3), (1, 0, 0, 0)),
    "scatter": (lambda x: cp.add.at(x, 0, 1), (1, 0, 0, 0)),
    "copy": (lambda x: cp.array(x), (1, 0, 0, 1)),
    "stack of a list": (lambda x: cp.array([x, x]), (1, 0, 0, 1)),
    "host array": (lambda x: cp.asarray(host()), (0, 1, 0, 1)),
    "number": (lambda x: cp.asarray(1.0), (0, 1, 0, 1)),
    "set": (lambda x: x.set(host()), (0, 1, 0, 0)),
    "list as an index": (lambda x: x[[0, 0]], (1, 1, 0, 1)),
}


@pytest.mark.parametrize(("use", "expected"), COUNTED.values(), ids=COUNTED)
def test_what_costs_is_counted(use, expected):
    names = ("launches", "uploads", "views", "allocations")
    assert counted(use) == {name: count for name, count in zip(names, expected, strict=True) if count}


WAITING = {
    "get": lambda x: x.get(),
    "item": lambda x: x[0, 0].item(),
    "bool": lambda x: bool(x[0, 0]),
    "int": lambda x: int(x[0, 0]),
    "float": lambda x: float(x[0, 0]),
    "asnumpy": cp.asnumpy,
    "print": lambda x: str(x),
    "tolist": lambda x: x.tolist(),
    "if": lambda x: 1 if x.sum() > 3 else 2,
    "nonzero": lambda x: x.nonzero(),
    "where(condition)": lambda x: cp.where(x),
    "unique": cp.unique,
    "sliding_window_view": lambda x: WINDOWS(x, (1, 1)),
    "synchronize": lambda x: cp.cuda.Stream.null.synchronize(),
}


@pytest.mark.parametrize("use", WAITING.values(), ids=WAITING)
def test_waiting_is_counted(use):
    assert counted(use)["waits"] == 1


def test_masks_wait_but_where_does_not():
    mask = device() > 1
    assert "waits" not in counted(lambda x: cp.where(mask, x, 0))
    assert counted(lambda x: assign(x, mask, x[mask]))["waits"] == 2


def test_cuda_is_there():
    assert cp.cuda.is_available()
    with cp.cuda.Device(0) as chosen, cp.cuda.Stream(non_blocking=True) as stream:
        stream.synchronize()
        assert chosen.id == 0
    assert cp.__version__ == "14.2.0+strict"
    assert cp.get_default_memory_pool().used_bytes() == 0


@pytest.mark.parametrize("name", ["Stream", "Event", "Device"])
def test_streams_have_the_names_and_parameters_of_cupys(name):
    table, own = cp._TABLE[f"cupy.cuda.{name}"], getattr(cp.cuda, name)
    for member in (each for each in dir(own) if not each.startswith("_")):
        known = table[member]
        if known not in ("", "-"):
            assert parameters(getattr(own, member), member) == known, member


def test_functions_of_streams_have_the_parameters_of_cupys():
    for name in ("alloc_pinned_memory", "get_current_stream"):
        assert parameters(getattr(cp.cuda, name), name) == cp._TABLE["cupy.cuda"][name]


def test_a_class_may_ask_for_its_own_operator():
    class Wrapped:
        __array_ufunc__ = None

        def __radd__(self, other):
            return "mine"

    assert device() + Wrapped() == "mine"


@pytest.mark.cupy
def test_the_table_is_that_of_cupy():
    import cupy

    assert cp.__version__.startswith(cupy.__version__ + "+"), "make the table anew: run this file"
    assert describe(cupy) == TABLE.read_text(encoding="utf-8")


if __name__ == "__main__":
    import cupy

    TABLE.write_text(describe(cupy), encoding="utf-8")
