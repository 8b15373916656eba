"""The sizes that a graph is translated with: those of the configuration, and for each dynamic length another one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ...schema.errors import ConfigError, raise_all
from ...schema.synonyms import did_you_mean
from .graph import ValueInfo

BATCH = 2  # samples, where nobody says how many
OTHERS = (5, 9, 7)  # the batch of other variants: no lengths that nets often have
MANY = 4099  # the batch of one more: what a graph limits, as the smaller of N and 1024 does, is seen there
LARGEST_AXIS = 1 << 31


def shapes_of(
    inputs: Sequence[ValueInfo], given: Mapping[str, Sequence[int]], only_batch: bool, many: bool = True
) -> tuple[dict[str, list[tuple[int, ...]]], tuple[tuple[int, ...], ...] | None]:
    """The shape of each input, in each variant, and in each as (N,) the number of samples, where that is dynamic.

    A length with a name, or without any, is dynamic. In front of all others it counts the batch; what else is dynamic
    must be given. Lengths of one name are the same.

    many   whether one of the variants has a large batch

    Errors   ConfigError for inputs that are not there, shapes that do not fit, and lengths that nobody says
    """
    errors: list[ConfigError] = []
    for name in given:
        if name not in (info.name for info in inputs):
            hint = did_you_mean(name, [info.name for info in inputs]) or _listed(inputs)
            errors.append(ConfigError(f"there is no input '{name}'", hint=hint))
    lengths: dict[str, int] = {}
    symbols = {info.name: _symbols(info, given.get(info.name), errors) for info in inputs}
    for info in inputs:
        for symbol, length in zip(symbols[info.name], given.get(info.name, ()), strict=False):
            if isinstance(symbol, str) and lengths.setdefault(symbol, length) != length:
                told = f"input '{info.name}': length {symbol} is {length}, and {lengths[symbol]} elsewhere"
                errors.append(ConfigError(told))
    raise_all(errors)
    batch = {shape[0] for shape in symbols.values() if shape and isinstance(shape[0], str)}
    for symbol in batch:
        lengths.setdefault(symbol, BATCH)
    for name, shape in symbols.items():
        open_ = [symbol for symbol in shape if isinstance(symbol, str) and symbol not in lengths]
        if open_:
            told = f"input '{name}' has lengths that are not known: {', '.join(map(_said, open_))} of {_told(shape)}"
            errors.append(ConfigError(told, hint=_example(name, shape)))
    raise_all(errors)
    variants = [lengths]
    if batch:
        large = [MANY] if many else []
        others = [[*[n for n in OTHERS if n != lengths[symbol]][:2], *large] for symbol in sorted(batch)]
        pairs = zip(*others, strict=True)
        variants += [{**lengths, **dict(zip(sorted(batch), each, strict=True))} for each in pairs]
    if not only_batch:
        variants += [{**lengths, symbol: 2 * n} for symbol, n in lengths.items() if symbol not in batch]
    shapes = {
        name: [tuple(variant[n] if isinstance(n, str) else n for n in shape) for variant in variants]
        for name, shape in symbols.items()
    }
    (symbol, *more) = sorted(batch) or [""]
    return shapes, None if not symbol or more else tuple((variant[symbol],) for variant in variants)


def _symbols(info: ValueInfo, given: Sequence[int] | None, errors: list[ConfigError]) -> tuple[int | str, ...]:
    """The lengths of an input: numbers, and names for those that are dynamic."""
    if info.shape is None and given is None:
        hint = f"say it, such as --input {info.name}=1,3,224,224"
        errors.append(ConfigError(f"input '{info.name}' has no shape", hint=hint))
        return ()
    declared = (None,) * len(given or ()) if info.shape is None else info.shape
    symbols: list[int | str] = []
    for axis, length in enumerate(declared):
        if isinstance(length, int) and 0 <= length < LARGEST_AXIS:
            symbols.append(length)
        elif isinstance(length, int):
            errors.append(ConfigError(f"input '{info.name}' has the shape {_told(declared)}"))
        else:
            symbols.append(str(length) if length else "?batch" if axis == 0 else f"?{info.name}.{axis}")
    if given is not None:
        given = list(given)
        fits = len(given) == len(symbols) and all(n > 0 for n in given)
        if not fits or any(isinstance(s, int) and s != n for s, n in zip(symbols, given, strict=True) if s != 0):
            errors.append(ConfigError(f"input '{info.name}' is {_told(declared)}, {given} is given"))
    return tuple(symbols)


def _said(symbol: int | str) -> str:
    return str(symbol) if not isinstance(symbol, str) or not symbol.startswith("?") else "?"


def _told(shape: Sequence[int | str | None]) -> str:
    return f"({', '.join('?' if n is None else _said(n) for n in shape)})"


def _example(name: str, shape: Sequence[int | str]) -> str:
    """The hint that says how a shape is given."""
    given = [n if not isinstance(n, str) else 64 if i else 1 for i, n in enumerate(shape)]
    return f"say its shape, such as --input {name}={','.join(map(str, given))}, in Python {{'{name}': {tuple(given)}}}"


def _listed(inputs: Sequence[ValueInfo]) -> str:
    return f"there are: {', '.join(info.name for info in inputs) or 'none'}"
