"""Named access to what a net holds: net.blobs, net.params, net.state. Views of live memory, never copies.

What is assigned to a view is written into that memory, or refused by name: never lost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from ..arrays.backend import Array, Backend
from ..arrays.sparse import is_sparse
from ..arrays.spec import Spec
from ..schema.errors import ConfigError, LayerForgeError
from ..schema.synonyms import did_you_mean

FOREIGN = {"freeze": "frozen", "requires_grad": "frozen", "trainable": "frozen", "diff": "grad", "lr": "lr_mult"}


class BlobError(LayerForgeError):
    """A blob was asked for something that it does not hold."""

    exit_code = 2


class Named(Mapping[str, Any]):
    """A mapping whose missing names are errors with a suggestion.

    put     put(name, value) takes what is assigned to a name; without it, assigning is an error
    remedy  what such an error says is to be done instead
    """

    def __init__(
        self,
        what: str,
        names: Callable[[], list[str]],
        get: Callable[[str], Any],
        put: Callable[[str, Any], None] | None = None,
        remedy: str | None = None,
    ) -> None:
        self._what = what
        self._names = names
        self._get = get
        self._put = put
        self._remedy = remedy

    def __getitem__(self, name: str) -> Any:
        return self._get(self._known(name))

    def __setitem__(self, name: str, value: Any) -> None:
        if self._put is None:
            raise BlobError(f"{self._what} '{name}' cannot be replaced", hint=self._remedy)
        self._put(self._known(name), value)

    def __delitem__(self, name: str) -> None:
        raise BlobError(f"{self._what} '{name}' cannot be removed", hint=self._remedy)

    def _known(self, name: str) -> str:
        known = self._names()
        if name not in known:
            hint = did_you_mean(name, known) or f"there are: {', '.join(known) or 'none'}"
            raise MissingName(f"there is no {self._what} '{name}'", hint=hint)
        return name

    def __iter__(self) -> Iterator[str]:
        return iter(self._names())

    def __len__(self) -> int:
        return len(self._names())

    def __repr__(self) -> str:
        return f"<{self._all()}: {', '.join(self._names()) or 'none'}>"

    def _all(self) -> str:
        """What these are, in the plural: `layers with parameters` of `layer with parameters`."""
        noun, *of = self._what.split(" ", 1)
        return " ".join([f"{noun}s", *of])

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise not_alone(f"the {self._all()}")


class Members(dict[str, Any]):
    """A dict that is as it was made: what is assigned to a name would do nothing, and is an error."""

    def __init__(self, what: str, remedy: str, members: Mapping[str, Any]) -> None:
        super().__init__(members)
        self._what = what
        self._remedy = remedy

    def __setitem__(self, name: str, value: Any) -> None:
        raise BlobError(f"{self._what} '{name}' cannot be replaced", hint=self._remedy)

    def __delitem__(self, name: str) -> None:
        raise BlobError(f"{self._what} '{name}' cannot be removed", hint=self._remedy)


    def _fixed(self, *_: Any, **__: Any) -> Any:
        raise BlobError(f"the {self._what}s of a net that is built stay as they are", hint=self._remedy)

    update = pop = popitem = clear = setdefault = __ior__ = _fixed  # type: ignore[assignment]

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise not_alone(f"the {self._what}s of a net")


def not_alone(what: str) -> BlobError:
    """The error for an attempt to copy or pickle a part of a net."""
    hint = "copy.deepcopy(net) copies all of it; np.array(view) copies the values of a blob or a parameter"
    return BlobError(f"{what} cannot be copied or pickled without the net", hint=hint)


class UnknownAttribute(BlobError, AttributeError):
    """A view has no such attribute, or it cannot be assigned."""

    __str__ = LayerForgeError.__str__


class MissingName(BlobError, KeyError):
    """No such name. Also a KeyError, so that `in` and .get() behave as everybody expects."""

    __str__ = LayerForgeError.__str__


class View:
    """Base of the views: `np.asarray(view)` is the array of its `data`, on the host."""

    __slots__ = ("_backend", "name")
    data: Array

    def __init__(self, name: str, backend: Backend) -> None:
        self.name = name
        self._backend = backend

    def __setattr__(self, name: str, value: Any) -> None:
        known = getattr(type(self), name, None)
        if known is None or (isinstance(known, property) and known.fset is None):
            names = [n for n in dir(type(self)) if isinstance(getattr(type(self), n), property) and n != "shape"]
            hint = did_you_mean(FOREIGN.get(name, name), names) or f"what can be assigned: {', '.join(names)}"
            raise UnknownAttribute(f"'{name}' of '{self.name}' cannot be assigned", hint=hint)
        object.__setattr__(self, name, value)

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise not_alone(f"'{self.name}'")

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.data.shape)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        host = np.asarray(self._backend.to_host(self.data))
        moved = host is not self.data or (dtype is not None and host.dtype != dtype)
        if copy is False and moved:
            raise ValueError(f"'{self.name}' cannot be had as this array without a copy")
        return host.astype(dtype or host.dtype, copy=bool(copy))


class BlobView(View):
    """One blob of the net: `.data` from the last forward, `.grad` from the last backward."""

    __slots__ = ("_read_data", "_read_grad", "spec")

    def __init__(
        self, name: str, spec: Spec, read_data: Callable[[], Any], read_grad: Callable[[], Any], backend: Backend
    ) -> None:
        super().__init__(name, backend)
        self.spec = spec
        self._read_data = read_data
        self._read_grad = read_grad

    @property
    def shape(self) -> tuple[int, ...]:
        return self.spec.shape

    @property
    def data(self) -> Array:
        """The live array. BlobError where the last forward did not compute it or did not keep it."""
        return self._read_data()

    @data.setter
    def data(self, value: Any) -> None:
        if value is not self._read_data():  # `data *= 2` assigns the array back that it has changed
            hint = "inputs are given to forward: net.forward(x=...)"
            raise BlobError(f"blob '{self.name}' is what the last forward made, and cannot be replaced", hint=hint)

    @property
    def grad(self) -> Array:
        """The gradient of the last backward. BlobError where there is none, saying why."""
        return self._read_grad()

    @grad.setter
    def grad(self, value: Any) -> None:
        if value is not self._read_grad():
            hint = f"begin backward from it: net.backward({self.name}=dy)"
            message = f"the gradient of blob '{self.name}' is what the last backward made, and cannot be replaced"
            raise BlobError(message, hint=hint)

    def __repr__(self) -> str:
        return f"<blob {self.name} {self.spec}>"


class ParamView(View):
    """One parameter of a layer. All that is assigned takes effect.

    data        its slice of the flat array of all parameters; assigning writes an array of its shape, or one number
    grad        likewise, of all gradients; None where it is frozen. Of a sparse one the solver sees the rows that
                backward added to; assigning an array to it makes them all
    frozen      whether it is kept from learning: no gradient is made of it, nor of anything that only it needed
    lr_mult, decay_mult   the factors on the solver's learning rate and weight decay
    """

    __slots__ = ("_key", "_layer")

    def __init__(self, layer: Any, key: str, backend: Backend) -> None:
        super().__init__(f"{layer.name}.{key}", backend)
        self._layer = layer
        self._key = key

    @property
    def data(self) -> Array:
        return self._layer.params[self._key]

    @data.setter
    def data(self, value: Any) -> None:
        with self._layer.run.tuning.turns:
            write(f"parameter '{self.name}'", self.data, value, self._backend)

    @property
    def grad(self) -> Array:
        return None if self.frozen else self._layer.grads[self._key]

    @grad.setter
    def grad(self, value: Any) -> None:
        if self.frozen:
            hint = "set its .frozen to False first, or leave it as it is"
            raise ConfigError(f"parameter '{self.name}' is frozen and has no gradient", hint=hint)
        with self._layer.run.tuning.turns:
            write(f"the gradient of '{self.name}'", self.grad, value, self._backend)
            if self._key in self._layer.grad_rows:  # whoever knows only the array has written all of it
                self._layer.grad_rows[self._key].add_all()

    @property
    def frozen(self) -> bool:
        return not self._layer.needs_param_grad[self._key]

    @frozen.setter
    def frozen(self, value: bool) -> None:
        self._layer.run.tuning.change(self._layer, "freeze", value, self._key)

    @property
    def lr_mult(self) -> float:
        return self._layer.run.tuning.of(self._layer)[self._key].lr

    @lr_mult.setter
    def lr_mult(self, value: float) -> None:
        self._layer.run.tuning.change(self._layer, "lr_mult", value, self._key)

    @property
    def decay_mult(self) -> float:
        return self._layer.run.tuning.of(self._layer)[self._key].decay

    @decay_mult.setter
    def decay_mult(self, value: float) -> None:
        self._layer.run.tuning.change(self._layer, "decay_mult", value, self._key)

    def __repr__(self) -> str:
        return f"<parameter {self.name} {self.shape}{' frozen' if self.frozen else ''}>"


def numbers(what: str, value: Any, backend: Backend, dtype: Any) -> Any:
    """An array of numbers on the backend. ConfigError for anything that is none, of which NumPy would make NaN."""
    if is_sparse(value):
        hint = ".toarray() makes an array of it; an input declared with `sparse: csr` takes it as it is"
        raise ConfigError(f"{what} takes an array, got a sparse matrix", hint=hint)
    kind = getattr(getattr(value, "dtype", None), "kind", None) or np.asarray(value).dtype.kind
    if kind not in "iubf":
        found = "None" if value is None else f"an array of {np.asarray(value).dtype}"
        raise ConfigError(f"{what} takes numbers, got {found}")
    return backend.from_host(value, dtype)


def write(what: str, array: Any, value: Any, backend: Backend) -> None:
    """Write values over an array: as many as it has, in its shape, or one for all. ConfigError for other shapes."""
    if value is array:  # `data *= 2` assigns the array back that it has changed
        return
    new = numbers(what, value, backend, array.dtype)
    if new.shape not in ((), array.shape):
        raise ConfigError(f"{what} has shape {tuple(array.shape)}, not {tuple(new.shape)}")
    array[...] = new
