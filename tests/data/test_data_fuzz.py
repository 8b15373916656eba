"""Damaged files of every kind: whatever their bytes, a reader gives samples or an error of ours and nothing else."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.data_files import grey_png, idx_bytes, images
from support.inputs import read_inputs

from layerforge.arrays.spec import Spec
from layerforge.data.idx import read_idx
from layerforge.data.png import read_png
from layerforge.schema.errors import DataError, LayerForgeError
from layerforge.schema.registry import SOURCES


def npz_bytes() -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, x=np.arange(12.0).reshape(3, 4), label=np.arange(3), image=images(3, shape=(2, 2)))
    return buffer.getvalue()


def csr_bytes() -> bytes:
    sp.save_npz(buffer := io.BytesIO(), sp.csr_array(np.array([[0, 1.5, 0], [0, 0, 0], [2, 0, -3]])))
    return buffer.getvalue()


def load(kind: str, **values: Any) -> Callable[[Path], object]:
    return lambda path: SOURCES.get(kind)(path=str(path), **values).load()


KINDS: dict[str, tuple[bytes, Callable[[Path], object]]] = {
    "idx": (idx_bytes(images(3, shape=(4, 4))), read_idx),
    "png": (grey_png(images(1, shape=(5, 6))[0]), read_png),
    "npz": (npz_bytes(), load("NPZ")),
    "sparse_npz": (csr_bytes(), load("SparseNPZ")),
    "svmlight": (b"1 1:0.5 3:-2e3 # x\n-1 qid:3 2:1\n\n1\n", load("SVMLight")),
    "csv": (b'a,b,"c c"\n1,2,0\n3.5,-4e2,1\n"5",6,1\n', load("CSV", label=-1)),
    "text": ("some wörds\r\nand more".encode(), load("Text", sequence_length=3)),
    "words": ("some wörds\r\nand more".encode(), load("Text", sequence_length=3, tokenizer="words")),
    "jsonl": (b'{"text": "a b", "label": "x"}\n{"text": "b", "label": 2.5}\n', load("TextLines", format="jsonl")),
    "tsv of texts": (b'text\tlabel\na b\tx\n"b\nc"\ty\n', load("TextLines", format="tsv", output="count")),
    "csv input": (b"1,2\n3,4\n", lambda path: read_inputs(path.rename(path.with_suffix(".csv")), Spec((2,)))),
}


@st.composite
def damaged(draw: st.DrawFn, good: bytes) -> bytes:
    """The bytes with some replaced, removed, inserted or cut off."""
    data = bytearray(good)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        change = draw(st.sampled_from(["replace", "remove", "insert", "cut"]))
        piece = draw(st.binary(min_size=1, max_size=4))
        if change == "replace":
            data[at : at + len(piece)] = piece
        elif change == "remove":
            del data[at : at + len(piece)]
        elif change == "insert":
            data[at:at] = piece
        else:
            del data[at:]
    return bytes(data)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(data=st.data())
def test_damaged_files_give_an_error_of_ours(kind: str, data: st.DataObject) -> None:
    good, read = KINDS[kind]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        path.write_bytes(data.draw(damaged(good)))
        try:
            read(path)
        except LayerForgeError as error:
            assert isinstance(error, DataError) or error.exit_code == 2
