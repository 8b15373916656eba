"""Processes that read foreign files: what is told of those that have ended."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from layerforge.data.hdf5_stream import Child
from layerforge.data.reading_process import ReadingProcess
from layerforge.schema.errors import DataError


@pytest.fixture
def ended(tmp_path: Path) -> ReadingProcess:
    """A process that ended before it was asked, which finds out when it is."""
    program = tmp_path / "program.py"
    program.write_text("import sys\nsys.exit('no such module')\n")
    process = ReadingProcess(program)
    process.process.wait()
    with pytest.raises(BrokenPipeError):
        process.ask("anything")
    return process


def test_the_words_of_a_process_that_ended_before_it_was_asked(ended: ReadingProcess) -> None:
    code, text = ended.ending()
    assert (code, text.strip()) == (1, "no such module")


def test_letting_it_go_leaves_nothing_open(ended: ReadingProcess) -> None:
    ended.end()
    streams = ended.process.stdin, ended.process.stdout
    assert ended.errors.closed and all(one is not None and one.closed for one in streams)


def test_a_process_that_is_killed_between_two_chunks_is_an_error_of_the_data(tmp_path: Path) -> None:
    path = str(tmp_path / "a.h5")
    numbers = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
    with h5py.File(path, "w") as file:
        file["x"] = numbers
    child, array = Child(), np.empty((5, 3), np.float32)
    child.fill(array, path, "x", 5)
    assert np.array_equal(array, numbers[5:10])
    child.process.kill()
    child.process.wait()
    with pytest.raises(DataError, match=r"a\.h5"):
        child.fill(array, path, "x", 10)
