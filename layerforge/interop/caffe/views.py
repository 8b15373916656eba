"""Blobs and parameters of a net by Caffe's names and in Caffe's layout."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ...arrays.backend import Array
from ...net import Net
from ...run.access import by_name
from ...run.views import BlobError, write
from ...schema.errors import ConfigError
from .conversion import BlobMap
from .rules import PHASES


class ImportedNet(Net):
    """A net that an imported model made: it runs in the model's phase, and cotangents are named as Caffe names blobs.

    imported   the model
    """

    imported: Any = None

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._sizes: set[tuple[Any, ...]] = set()

    def forward(self, *, phase: str | None = None, backward: bool | None = None, **more: Any) -> dict[str, Array]:
        """As Net.forward, in the phase that the model was opened for unless another is named.

        A net that keeps all blobs can be differentiated afterwards in either phase, as Caffe's can.
        """
        if phase is None and self.imported is not None:
            phase = PHASES[self.imported.phase]
        if backward is None and self.keep is None:
            backward = True
        found = super().forward(phase=phase, backward=backward, **more)
        if self.imported is not None:
            self._demand_caffes_sizes()
        return found

    def _demand_caffes_sizes(self) -> None:
        """Where inputs have other sizes than in the definition: ConfigError for a blob that Caffe gives another shape.

        Some parts of a translation have sizes written into them. Each set of sizes is looked at once.
        """
        plan = self.current_plan
        given = {name: plan.specs[i].shape for i, name in plan.inputs}
        key = tuple(given.items())
        if key in self._sizes:
            return
        wanted = self.imported.shapes_for(given)
        for name, i in plan.current.items():
            if name in wanted and i in plan.holds and plan.specs[i].shape != wanted[name]:
                sizes = ", ".join(f"{which!r}: {list(shape)}" for which, shape in given.items())
                found = plan.specs[i].shape
                raise ConfigError(
                    f"blob '{name}' has shape {found}; for inputs of these sizes Caffe's has {wanted[name]}",
                    hint=f"load_model(..., inputs={{{sizes}}}) makes a net for them",
                )
        self._sizes.add(key)

    def backward(
        self, cotangents: Mapping[str, Any] | None = None, /, *, accumulate: bool = False, **top_grads: Any
    ) -> None:
        """As Net.backward; of a blob that is overwritten in place its last version is meant.

        As in Caffe, what is given for a blob that nothing below learns from, beside others, goes nowhere.
        """
        given = by_name(cotangents, top_grads, "cotangent")
        if self.imported is not None:
            given = {self.imported.last_version(name): value for name, value in given.items()}
        blobs = self.graph.phases[self.passes.run.phase].current
        useful = {name: value for name, value in given.items() if name not in blobs or blobs[name].needs_grad}
        given = useful or given
        if not given and self.passes.last is not None and not self.passes.last.plan.outputs:
            self.passes.differentiable().backward({})  # all blobs end in Silence: every gradient is zero
            return
        super().backward(given or None, accumulate=accumulate)


class CaffeBlob:
    """A blob of Caffe's, of the last pass of a net.

    data   what its last version holds; assigning writes into it
    grad   the gradient of its first version: zeros where nothing needs it, as in Caffe
    """

    def __init__(self, net: Net, name: str, last: str, first: str) -> None:
        self._net = net
        self.name = name
        self._last, self._first = last, first

    @property
    def data(self) -> Any:
        return self._net.blobs[self._last].data

    @data.setter
    def data(self, value: Any) -> None:
        self._net.blobs[self._last].data = value

    @property
    def grad(self) -> Any:
        view = self._net.blobs[self._first]
        try:
            return view.grad
        except BlobError:
            if self._net.keep is not None or not self._net.passes.current.grads:
                raise
            return np.zeros(view.data.shape, dtype=self._net.dtype)

    def __repr__(self) -> str:
        return f"<blob '{self.name}' of a Caffe model>"


class CaffeParam:
    """A blob of a layer of Caffe's: data and grad in Caffe's layout; assigning data writes into the net."""

    def __init__(self, net: Net, place: BlobMap) -> None:
        self._net = net
        self._place = place

    @property
    def data(self) -> Any:
        return self._place.get(self._array())

    @data.setter
    def data(self, value: Any) -> None:
        array = self._array()
        whole = np.array(self._net.backend.to_host(array))
        self._place.put(np.asarray(value, dtype=self._net.dtype), whole)
        write(self._place.path, array, whole, self._net.backend)

    @property
    def grad(self) -> Any:
        """Zeros of what is not learned."""
        place = self._place
        if place.namespace == "state":
            return np.zeros(place.shape, dtype=self._net.dtype)
        view = self._net.params[place.layer][place.name]
        return np.zeros(place.shape, dtype=self._net.dtype) if view.frozen else place.get(view.grad)

    def _array(self) -> Any:
        place = self._place
        if place.namespace == "state":
            return self._net.state[place.layer][place.name]
        return self._net.params[place.layer][place.name].data
