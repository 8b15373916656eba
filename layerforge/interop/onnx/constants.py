"""Numbers that a graph computes with, as layers: what is learned as a Parameter, all else as a Constant."""

from __future__ import annotations

from typing import Any

import numpy as np

from .counted import counted
from .importing import Site, real
from .values import BOOL, INDEX, Known, Stream

MOST = 256  # numbers in a Constant; more are the weight of a Parameter that does not learn
EXACT = 1 << 24  # integers up to this are real numbers, too


def held(site: Site, value: Known) -> Stream:
    """A blob with these numbers.

    Errors   Unsupported for integers that are no real numbers, and for what depends on the sizes of the net's inputs
    """
    array = value.array
    if array.dtype.kind not in "fiub":
        raise site.unsupported(f"values of dtype {array.dtype} are no numbers")
    if not value.fixed:
        made = counted(site, value)
        if made is None:
            raise site.unsupported(f"numbers of shape {array.shape} depend on the sizes of the net's inputs")
        return made
    if array.dtype.kind in "iu" and array.size and np.abs(array.astype(np.float64)).max() > EXACT:
        raise site.unsupported(f"integers beyond {EXACT} are no exact real numbers")
    base = value.learned or f"{site.own}.constant"
    learned = is_learned(site, value)
    numbers = real(array)
    name = site.shared.unique(base.removesuffix(".weight") if learned else base)
    if learned and site.learned_turned(value):
        (made,) = site.emit("Parameter", name=f"{name}.turned", shape=list(array.shape[::-1]))
        site.param("weight", value.transposed((1, 0)))
        (made,) = site.emit("Permute", made, name=name, dims=[1, 0])
    elif learned or (array.size > MOST and not _uniform(numbers)):
        frozen: dict[str, Any] = {} if learned else {"freeze": True}
        (made,) = site.emit("Parameter", name=name, shape=list(array.shape))
        site.made[-1].item.update(frozen)
        site.param("weight", value if learned else numbers)
        if learned and site.shared.foreign:
            site.note(f"the initializer '{value.learned}' is learned, as '{name}': `freeze: true` there keeps it")
    else:
        (made,) = site.emit("Constant", name=name, given=_said(numbers))
    if array.dtype.kind in "iu":
        return site.as_index(Stream(made.name, made.specs, INDEX))
    return Stream(made.name, made.specs, BOOL) if array.dtype.kind == "b" else made


def is_learned(site: Site, value: Known) -> bool:
    """Whether a Parameter is made of it.

    Exporters of others store single numbers of formulas as initializers, too: those are taken for constants.
    """
    single = value.array.size == 1 and site.shared.foreign and value.learned not in site.shared.surely
    return bool(value.learned) and not single


def _uniform(numbers: np.ndarray) -> bool:
    return bool(numbers.size) and bool((numbers == numbers.flat[0]).all())


def _said(numbers: np.ndarray) -> dict[str, Any]:
    """The hyper-parameters of a Constant."""
    if not numbers.shape:
        return {"value": plain(numbers)}
    if _uniform(numbers):
        return {"value": plain(numbers.flat[0]), "shape": list(numbers.shape)}
    values = [plain(one) for one in numbers.reshape(-1)]
    return {"value": values, **({"shape": list(numbers.shape)} if numbers.ndim != 1 else {})}


def number(value: Any) -> float:
    """A number as a file shows it: the shortest that is the same in float32."""
    return float(str(np.float32(value)))


def plain(given: Any) -> float | int:
    """The same, without a point where it is whole."""
    value = number(given)
    whole = value.is_integer() and abs(value) < EXACT and (value != 0 or not np.signbit(value))
    return int(value) if whole else value
