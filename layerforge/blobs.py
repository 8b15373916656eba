"""Named access to what a net holds: net.blobs, net.params, net.state. Views of live memory, never copies."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from .errors import LayerForgeError
from .spec import Spec
from .words import did_you_mean


class BlobError(LayerForgeError):
    """A blob was asked for something that it does not hold."""

    exit_code = 2


class Named(Mapping[str, Any]):
    """A read-only mapping whose missing names are errors with a suggestion."""

    def __init__(self, what: str, names: Callable[[], list[str]], get: Callable[[str], Any]) -> None:
        self._what, self._names, self._get = what, names, get

    def __getitem__(self, name: str) -> Any:
        known = self._names()
        if name not in known:
            hint = did_you_mean(name, known) or f"there are: {', '.join(known) or 'none'}"
            raise MissingName(f"there is no {self._what} '{name}'", hint=hint)
        return self._get(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names())

    def __len__(self) -> int:
        return len(self._names())

    def __repr__(self) -> str:
        return f"<{self._what}s: {', '.join(self._names())}>"


class MissingName(BlobError, KeyError):
    """No such name. Also a KeyError, so that `in` and .get() behave as everybody expects."""

    __str__ = LayerForgeError.__str__


class BlobView:
    """One blob of the net: `.data` from the last forward, `.grad` from the last backward."""

    def __init__(self, name: str, spec: Spec, read_data: Callable[[], Any], read_grad: Callable[[], Any]) -> None:
        self.name, self.spec = name, spec
        self._read_data, self._read_grad = read_data, read_grad

    @property
    def shape(self) -> tuple[int, ...]:
        return self.spec.shape

    @property
    def data(self) -> Any:
        """The live array. BlobError where the last forward did not compute it or did not keep it."""
        return self._read_data()

    @property
    def grad(self) -> Any:
        """The gradient of the last backward. BlobError where there is none, saying why."""
        return self._read_grad()

    def __repr__(self) -> str:
        return f"<blob {self.name} {self.spec}>"


class ParamView:
    """One parameter: `.data` and `.grad` are its slices of the flat arrays; a frozen one has grad None."""

    def __init__(self, name: str, data: Any, grad: Any, frozen: bool) -> None:
        self.name, self.data, self.frozen = name, data, frozen
        self.grad = None if frozen else grad

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.data.shape)

    def __repr__(self) -> str:
        return f"<parameter {self.name} {self.shape}{' frozen' if self.frozen else ''}>"
