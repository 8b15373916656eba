"""The oneDNN engine: oneDNN's C library through ctypes, working on NumPy's memory; nothing is compiled at install.

The functions are those of engines/protocol.py; what needs the library loads it at its first use.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .fork import refuse_after_fork as refuse_after_fork


def missing() -> str | None:
    """Why the engine cannot be used here, in a line that also says what it would bring; None where it can."""
    from . import library

    return library.missing()


def on_device() -> bool:
    """It computes on the host's arrays."""
    return False


def describe() -> str:
    """Which library was loaded."""
    from . import library

    return library.load().describe()


def layers() -> Mapping[str, Any]:
    """Its layers by the type that they stand in for."""
    from . import table

    return table.LAYERS


def kernels() -> Mapping[str, Any]:
    """None: it has layers."""
    return {}


def updates() -> Mapping[str, Any]:
    """The solver's rules that it knows, by type: made of a rule and the flat arrays, called on slices of them."""
    from . import update

    return update.RULES


def adder() -> Any:
    """What makes the sums of two gradients: called with both and the array for the result."""
    from . import between

    return between.Sum


def carrier() -> Any:
    """What makes the copies of an input: called with it and the array that it goes to."""
    from . import between

    return between.Carry


def bfloat16_missing() -> str | None:
    """Why nothing is computed in bfloat16 here: the processor; None where it can."""
    from . import library

    return library.bfloat16_missing()


def cast() -> Any:
    """What makes the layers that cast: see engines/protocol.py."""
    from . import casting

    return casting.cast


def dry_run(on: bool) -> None:
    """Whether this thread only plans: primitives are made then, one of each kind, and nothing is computed."""
    from . import binding

    binding.runtime().watch.dry_run = binding.DryRun() if on else None
