"""What the functions of this stage know of a net, which is built above them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol, TypedDict

import numpy as np

from ..arrays.backend import Backend
from ..config.document import Config
from ..contract.layer import Layer
from ..graph.graph import Graph
from .parameters import Parameters
from .passes import Passes
from .views import Named


class Choices(TypedDict, total=False):
    """What a net can be told beside its configuration: see `layerforge.Net`."""

    keep: str | Iterable[str]
    backend: str | Backend | None
    precision: str | None
    matmul_precision: str | None


class NetParts(Protocol):
    """A net: what it was built of, what has run (`passes`), views by name, and its passes forward and back."""

    @property
    def config(self) -> Config: ...
    @property
    def backend(self) -> Backend: ...
    @property
    def dtype(self) -> str: ...
    @property
    def graph(self) -> Graph: ...
    @property
    def layers(self) -> Mapping[str, Layer]: ...
    @property
    def parameters(self) -> Parameters: ...
    @property
    def passes(self) -> Passes: ...
    @property
    def keep(self) -> frozenset[str] | None: ...
    @property
    def blobs(self) -> Named: ...
    @property
    def params(self) -> Named: ...
    @property
    def state(self) -> Named: ...
    def arrays(self) -> dict[str, np.ndarray]: ...
    def state_dict(self) -> dict[str, np.ndarray]: ...
    def snapshot_state(self) -> dict[tuple[str, str], Any]: ...
    def restore_state(self, copies: Mapping[tuple[str, str], Any]) -> None: ...
    def zero_grad(self) -> None: ...
    def backward(self, cotangents: Mapping[str, Any] | None = None, /, **top_grads: Any) -> None: ...
