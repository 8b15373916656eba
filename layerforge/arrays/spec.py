"""Spec: what is known of an array before it exists - its shape, its dtype and what its elements mean."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..schema.params import parse_as

ROLES = ("real", "index")
FORMATS = ("csr",)  # of sparse blobs


@dataclass(frozen=True)
class Spec:
    """Shape (batch axis first), dtype and role of a blob.

    role "real" is a floating-point quantity, which may have a gradient; "index" is an integer that names something
    (a class, a position), which never has one and stays an integer. `low` and `high` bound the values that an example
    draws (reals: uniform in [low, high); indices: low <= i < high); `draw(rng, shape)` replaces the drawing.
    sparse "csr" says that the blob is a matrix of which only some numbers are stored, a `CSR` (arrays/sparse.py).
    """

    shape: tuple[int, ...]
    dtype: str = ""
    role: str = ""
    low: float | None = None
    high: float | None = None
    draw: Callable[[Any, tuple[int, ...]], Any] | None = None
    sparse: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", tuple(int(n) for n in self.shape))
        dtype = str(self.dtype)
        role = self.role or ("index" if dtype.lstrip("u").startswith("int") else "real")
        if role not in ROLES:
            raise ValueError(f"role must be one of {', '.join(ROLES)}, got {role!r}")
        if self.sparse is not None and (self.sparse not in FORMATS or role != "real"):
            raise ValueError(f"sparse must be {', '.join(FORMATS)} or None, and of real numbers, got {self.sparse!r}")
        object.__setattr__(self, "role", role)
        object.__setattr__(self, "dtype", dtype or ("int64" if role == "index" else "float32"))

    @property
    def size(self) -> int:
        """How many numbers, those that a sparse blob does not store included."""
        return math.prod(self.shape)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def is_real(self) -> bool:
        return self.role == "real"

    @property
    def dense(self) -> Spec:
        """The same as an ordinary array."""
        return replace(self, sparse=None) if self.sparse else self

    def with_shape(self, shape: Sequence[int]) -> Spec:
        """The same kind of elements in another shape."""
        return replace(self, shape=tuple(shape))

    def with_dtype(self, dtype: str) -> Spec:
        """The same in another dtype; an index keeps its integer dtype whatever is asked."""
        return replace(self, dtype=dtype) if self.is_real else self

    @property
    def plain(self) -> dict[str, Any]:
        """As plain values, for a file."""
        more = {"low": self.low, "high": self.high, "sparse": self.sparse}
        own = {"shape": list(self.shape), "dtype": self.dtype, "role": self.role}
        return own | {key: value for key, value in more.items() if value is not None}

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> Spec:
        """From what `plain` wrote. Errors   KeyError, TypeError or ValueError where it is something else"""
        low, high = (None if values.get(end) is None else parse_as(float, values[end]) for end in ("low", "high"))
        shape, sparse = parse_as(list[int], values["shape"]), values.get("sparse")
        return cls(tuple(shape), str(values["dtype"]), str(values["role"]), low, high, sparse=sparse)

    def __str__(self) -> str:
        return f"({', '.join(map(str, self.shape))}) {self.dtype}{f' {self.sparse}' if self.sparse else ''}"


def index(shape: Sequence[int], high: int, low: int = 0) -> Spec:
    """The Spec of indices low <= i < high, such as class labels."""
    return Spec(tuple(shape), role="index", low=low, high=high)


def plain_specs(specs: Mapping[str, Spec]) -> list[dict[str, Any]]:
    """Specs by name as plain values that keep their order."""
    return [{"name": name, **spec.plain} for name, spec in specs.items()]


def parse_specs(values: Any) -> dict[str, Spec]:
    """From what `plain_specs` wrote. Errors   KeyError, TypeError or ValueError where it is something else"""
    return {str(value["name"]): Spec.parse(value) for value in list(values)}
