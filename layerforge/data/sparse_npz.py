"""SparseNPZ: a matrix in compressed sparse rows as scipy.sparse.save_npz writes it, read without pickle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..arrays.backend import csr_of
from ..arrays.sparse import CSR
from ..arrays.spec import Spec
from ..schema.errors import ConfigError
from ..schema.params import FilePath, param
from ..schema.registry import register_source
from .files import file_error
from .npz import headers, read_array, read_word, spec_of
from .source import Source

PARTS = ("data", "indices", "indptr", "shape")
MARKS = ("format", "_is_array")  # what save_npz writes beside them


@register_source
class SparseNPZ(Source):
    """A sparse matrix (N, D) of a .npz file, one sample per row: a blob `x` (D,), sparse; other arrays are blobs, too.

    The file is that of scipy.sparse.save_npz for a CSR matrix. Labels are further arrays in it (numpy.savez with the
    matrix's data, indices, indptr and shape, and the labels), or in the .npz file `others`.
    """

    path: FilePath = param(help="the .npz file")
    blob: str = param("x", help="what the matrix is called")
    others: FilePath | None = param(None, help="a .npz file with further arrays, such as labels")

    def specs(self) -> dict[str, Spec]:
        specs = {self.blob: Spec((sizes(self.path)[1],), sparse="csr")}
        for name, path in self._others().items():
            specs[name] = spec_of(path, name, *headers(path)[name])
        return specs

    def count(self, part: str) -> int | None:
        lengths = {headers(path)[name][0][0] for name, path in self._others().items()} | {sizes(self.path)[0]}
        # None where reading them will say what is wrong: no samples, or different numbers of them.
        return lengths.pop() or None if len(lengths) == 1 else None

    def read(self, part: str, progress: bool | None = None) -> dict[str, Any]:
        others = {name: read_array(path, name) for name, path in self._others().items()}
        return {self.blob: read_csr(self.path), **others}

    def labels(self) -> dict[str, np.ndarray]:
        wanted = [name for name, spec in self.specs().items() if not spec.is_real and not spec.shape]
        others = self._others()
        arrays = {name: read_array(others[name], name) for name in wanted}
        return self.cut(arrays) if arrays else {}

    def _others(self) -> dict[str, str]:
        """The files that the other blobs are in, by name."""
        here = [name for name in headers(self.path) if name not in (*PARTS, *MARKS)]
        beside = list(headers(self.others)) if self.others is not None else []
        for name in [n for n in beside if n in here or n == self.blob] + [n for n in here if n == self.blob]:
            raise ConfigError(f"SparseNPZ: two blobs would be called '{name}'", hint="blob: names the matrix")
        return dict.fromkeys(here, self.path) | {name: str(self.others) for name in beside}


def sizes(path: str | Path) -> tuple[int, int]:
    """The shape of the matrix in a file; DataError where there is none, or one that is not in CSR form."""
    known = headers(path)
    missing = [name for name in PARTS if name not in known]
    hint = "write it with scipy.sparse.save_npz(path, x.tocsr())"
    if missing:
        raise file_error(path, f"holds no CSR matrix: it lacks {', '.join(missing)}", hint)
    form = read_word(path, "format") if "format" in known else "csr"
    if form != "csr":
        raise file_error(path, f"holds a sparse matrix in the format '{form[:20]}', not csr", hint)
    if known["shape"][0] != (2,) or known["shape"][1].kind not in "iu":
        raise file_error(path, "the shape in it is not two whole numbers", hint)
    count, width = (int(n) for n in read_array(path, "shape"))
    if not (0 <= count < 2**48 and 0 < width < 2**31):
        raise file_error(path, f"the sizes {count} x {width} are out of range")
    return count, width


def read_csr(path: str | Path) -> CSR:
    """The matrix in a file, in floats. DataError for arrays that do not fit together.

    Whole numbers become floats: of 32 bits where those hold them, else of 64.
    """
    shape = sizes(path)
    parts = {name: read_array(path, name) for name in ("data", "indices", "indptr")}
    if parts["data"].dtype.kind in "biu":
        parts["data"] = parts["data"].astype("float32" if parts["data"].itemsize <= 2 else "float64")
    for name in ("indices", "indptr"):
        if parts[name].dtype.kind == "u":
            parts[name] = parts[name].astype(np.int64)
    return csr_of({**parts, "shape": np.array(shape)}, str(path))


def csr_input(path: Path, blob: str, width: int) -> CSR:
    """The matrix of a file given to `predict`, of training's width."""
    found = read_csr(path)
    if found.shape[1] != width:
        raise file_error(path, f"its matrix has {found.shape[1]} columns, training's '{blob}' has {width}")
    return found
