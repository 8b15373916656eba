"""Arrays: samples that a script already has in memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np

from ..arrays.backend import NUMPY
from ..arrays.sparse import CSR, is_sparse
from ..arrays.spec import Spec
from ..schema.errors import ConfigError
from ..schema.params import param
from ..schema.registry import register_source
from .source import Source, infer_spec


def _no_array(name: str, value: np.ndarray) -> ConfigError:
    """The error for what is no array of numbers: often words as labels, or a run of arrays that have gone."""
    if value.dtype.kind == "U" and value.ndim == 0:  # what config.resolved.yaml says of an array
        message = f"arrays: '{name}' was in the memory of the program that trained, and no file has it: {value}"
        files = "{type: NPZ, path: new.npz}"
        return ConfigError(message, hint=f"name files of others: 'data={{train: {files}, test: {files}}}'")
    message = f"arrays: '{name}' must be an array of numbers with an axis of samples, got {value.dtype}"
    if value.dtype.kind not in "USO":
        return ConfigError(message)
    hint = f"number the classes: names, {name} = np.unique({name}, return_inverse=True)" if value.ndim == 1 else None
    return ConfigError(message, hint=hint)


class ArraysRule:
    """The rule for arrays by blob name. Kept as read-only views."""

    description = "a mapping of blob names to NumPy arrays, given in Python"

    @staticmethod
    def parse(value: Any) -> dict[str, Any]:
        if not isinstance(value, Mapping) or not value:
            raise TypeError
        views: dict[str, Any] = {}
        for name, array in value.items():
            if is_sparse(array):
                dtype = array.dtype if array.dtype.kind == "f" else "float64"
                views[str(name)] = NUMPY.csr_from(f"arrays: '{name}'", array, array.shape[-1], dtype)
                continue
            view = np.asarray(array).view()
            if view.dtype.kind not in "biuf" or view.ndim == 0:
                raise _no_array(str(name), view)
            view.flags.writeable = False
            views[str(name)] = view
        return views


def spec_of(array: Any) -> Spec:
    """The Spec of one sample of an array, or of one row of a CSR."""
    sparse = isinstance(array, CSR)
    return Spec(array.shape[1:], sparse="csr") if sparse else infer_spec(array.shape, array.dtype)


@register_source
class Arrays(Source):
    """Arrays given in Python, as in `Feed(source=Arrays(arrays={"x": x, "label": t}), batch_size=32)`.

    The samples are along the first axis. Floats are real; bytes with at least two axes are pixels (real, scaled by
    1/255); other integers are indices. A matrix in CSR form, such as SciPy's csr_array, is a sparse blob.
    """

    arrays: Annotated[dict[str, np.ndarray], ArraysRule] = param(help="the arrays by blob name")

    def specs(self) -> dict[str, Spec]:
        return {name: spec_of(array) for name, array in self.arrays.items()}

    def count(self, part: str) -> int | None:
        lengths = {len(array) for array in self.arrays.values()}
        # None where reading them will say what is wrong: no samples, or different numbers of them.
        return lengths.pop() or None if len(lengths) == 1 else None

    def read(self, part: str, progress: bool | None = None) -> dict[str, np.ndarray]:
        return dict(self.arrays)

    def labels(self) -> dict[str, np.ndarray]:
        return {name: array for name, array in self.load().items() if array.ndim == 1 and array.dtype.kind in "iu"}

    @property
    def config(self) -> dict[str, Any]:
        """The arrays appear by shape and dtype only: a file cannot hold them."""
        return {"split": self.split, "arrays": {name: f"{a.dtype} {a.shape}" for name, a in self.arrays.items()}}
