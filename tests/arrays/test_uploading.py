"""Batches that are uploaded ahead: the same numbers, in bounded memory, whichever of two streams is faster."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from support import strict_cupy as cp
from support import strict_streams
from support.strict_backend import STRICT
from support.strict_faults import CUDARuntimeError, OutOfMemoryError
from support.strict_streams import Event, Stream, StreamError

from layerforge import Net
from layerforge.arrays import uploading
from layerforge.arrays.backend import NUMPY
from layerforge.arrays.uploading import AHEAD, Upload, Uploads, uploads_to


@pytest.fixture(autouse=True)
def nothing_depends_on_the_order() -> Iterator[None]:
    yield
    gc.collect()
    strict_streams.settled()
    strict_streams.forget()


@pytest.fixture
def uploads() -> Iterator[Uploads]:
    with uploads_to(cp) as found:
        assert found is not None
        yield found


def batches(count: int, size: int = 4) -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(0)
    return [{"x": rng.normal(size=(size, 3)).astype("float32"), "t": rng.integers(0, 9, size)} for _ in range(count)]


def taken(inputs: dict[str, Any]) -> dict[str, Any]:
    return {name: STRICT.from_host(value) for name, value in inputs.items()}


def used(arrays: dict[str, Any]) -> dict[str, np.ndarray]:
    """The numbers after a launch on the device."""
    return {name: (array + array.dtype.type(0)).get() for name, array in arrays.items()}


def same(found: dict[str, Any], wanted: dict[str, Any]) -> None:
    assert found.keys() == wanted.keys()
    for name, array in wanted.items():
        np.testing.assert_array_equal(found[name], array, strict=True)


# What arrives ---------------------------------------------------------------------------------------------------------

ARRAYS = {
    "float32": np.arange(6, dtype="float32").reshape(2, 3),
    "float64": np.array([[np.nan, -0.0, np.inf]]),
    "uint8": np.arange(256, dtype="uint8"),
    "int64": np.array([-1, 2**40]),
    "bool": np.array([True, False]),
    "of no sample": np.zeros((0, 3), "float32"),
    "by columns": np.asfortranarray(np.arange(6, dtype="float32").reshape(2, 3)),
    "every other": np.arange(12, dtype="float32").reshape(4, 3)[::2],
}


@pytest.mark.parametrize("array", ARRAYS.values(), ids=ARRAYS)
def test_an_array_arrives_as_an_ordinary_upload_of_it(uploads: Uploads, array: np.ndarray) -> None:
    upload = uploads.begin({"x": array})["x"]
    assert isinstance(upload, Upload)
    assert (upload.shape, upload.dtype, len(upload)) == (array.shape, array.dtype, len(array))
    made, wanted = STRICT.from_host(upload), STRICT.from_host(array)
    np.testing.assert_array_equal(made.get(), array, strict=True)
    assert made.strides == wanted.strides


def test_a_dtype_that_is_asked_for_is_made_on_the_device(uploads: Uploads) -> None:
    with cp.counting() as counts:
        made = STRICT.from_host(uploads.begin({"x": ARRAYS["uint8"]})["x"], "float32")
    np.testing.assert_array_equal(made.get(), np.arange(256, dtype="float32"), strict=True)
    assert (counts["uploads"], counts["launches"]) == (1, 1)


def test_a_sparse_matrix_arrives(uploads: Uploads) -> None:
    parts = np.array([5.0, 7.0, 8.0], "float32"), np.array([1, 0, 2], "int32"), np.array([0, 1, 1, 3], "int32")
    matrix = NUMPY.csr(*parts, (3, 3))
    upload = uploads.begin({"x": matrix})["x"]
    found = STRICT.csr_from("input 'x'", upload, 3, "float32")
    assert found.xp is cp
    np.testing.assert_array_equal(STRICT.to_host(found).toarray(), matrix.toarray())
    again = STRICT.csr_from("input 'x'", upload, 3, "float64")
    np.testing.assert_array_equal(STRICT.to_host(again).toarray(), matrix.toarray().astype("float64"), strict=True)


def test_what_is_on_the_device_stays_there(uploads: Uploads) -> None:
    there = {"x": cp.zeros(3), "m": STRICT.csr(np.ones(1), np.zeros(1, "int32"), np.array([0, 1], "int32"), (1, 1))}
    assert all(found is there[name] for name, found in uploads.begin(there).items())


def test_without_a_device_nothing_is_uploaded() -> None:
    threads = threading.active_count()
    with uploads_to(np) as found:
        assert found is None
        assert threading.active_count() == threads


def test_where_threads_have_streams_of_their_own_nothing_is_uploaded_ahead() -> None:
    with Stream.ptds, uploads_to(cp) as found:
        assert found is None


def test_batches_in_turn(uploads: Uploads) -> None:
    given = batches(9)
    begun = [uploads.begin(batch) for batch in given]
    for inputs, batch in zip(begun, given, strict=True):
        same(used(taken(inputs)), batch)


def test_an_upload_that_is_taken_again_is_an_ordinary_one(uploads: Uploads) -> None:
    (batch,) = batches(1)
    inputs = uploads.begin(batch)
    first, second = taken(inputs), taken(inputs)
    assert not cp.shares_memory(first["x"], second["x"])
    same(used(first), batch)
    same(used(second), batch)


def test_who_takes_an_array_keeps_it(uploads: Uploads) -> None:
    given = batches(12)
    kept = [taken(uploads.begin(batch)) for batch in given]
    for arrays, batch in zip(kept, given, strict=True):
        same(used(arrays), batch)


def test_a_net_takes_uploads() -> None:
    config: dict[str, Any] = {
        "inputs": {"x": {"shape": [4, 3]}, "t": {"shape": [4], "dtype": "int64"}},
        "net": [
            {"name": "fc", "type": "Linear", "out_features": 9, "bottom": "x"},
            {"name": "loss", "type": "SoftmaxCrossEntropy", "bottom": ["fc", "t"]},
        ],
    }
    net, found = Net.from_config(config, keep="none", backend=STRICT), []
    net.forward(**batches(1)[0])
    net.backward()
    for ahead in (False, True):
        with uploads_to(cp) as uploads, cp.counting() as counts:
            assert uploads is not None
            for batch in batches(3):
                net.forward(**(uploads.begin(batch) if ahead else batch))
                net.backward()
                found.append([net.losses()[0].value, counts])
    assert found[:3] == found[3:]
    assert found[0][1]["uploads"] == 6


def test_it_computes_on_the_stream_that_is_present() -> None:
    given = batches(5)
    with Stream(non_blocking=True), uploads_to(cp) as uploads:
        assert uploads is not None
        for inputs, batch in [(uploads.begin(batch), batch) for batch in given]:
            same(used(taken(inputs)), batch)


# How much there is ----------------------------------------------------------------------------------------------------


def settled(uploads: Uploads) -> int:
    """How many batches are on the device and not taken, when the thread has done all that it may."""
    with uploads.changed:
        most = min(AHEAD, len(uploads.line))
        assert uploads.changed.wait_for(lambda: sum(batch.ended for batch in uploads.line) == most, timeout=10)
        return sum(bool(batch.made) for batch in uploads.line)


def test_few_batches_are_on_the_device(uploads: Uploads) -> None:
    begun = [uploads.begin(batch) for batch in batches(9)]
    for left, inputs in zip(range(9, 0, -1), begun, strict=True):
        assert settled(uploads) == min(AHEAD, left)
        taken(inputs)


def test_page_locked_memory_is_used_again(uploads: Uploads, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes, alloc = [], cp.cuda.alloc_pinned_memory

    def counted(size: int) -> Any:
        sizes.append(size)
        return alloc(size)

    monkeypatch.setattr(cp.cuda, "alloc_pinned_memory", counted)
    for size in (8, 8, 8, 8, 8, 3, 8, 8, 8, 0, 8, 8):
        (batch,) = batches(1, size)
        same(used(taken(uploads.begin(batch))), batch)
    assert len(sizes) == AHEAD + 1
    for size in (800, 800, 800, 8, 800, 800):
        (batch,) = batches(1, size)
        same(used(taken(uploads.begin(batch))), batch)
    assert len(sizes) == 2 * (AHEAD + 1)


def test_a_step_that_waits_for_its_loss_is_all_the_host_waits_for(uploads: Uploads) -> None:
    begun = [uploads.begin(batch) for batch in batches(9)]
    with cp.counting() as counts:
        for inputs in begun:
            arrays = taken(inputs)
            float(arrays["x"].sum())
            settled(uploads)
    assert counts["waits"] == 9


# What goes wrong ------------------------------------------------------------------------------------------------------


def test_batches_that_are_passed_over_are_let_go(uploads: Uploads) -> None:
    given = batches(9)
    begun = [uploads.begin(batch) for batch in given]
    for number in (0, 4, 5, 8):
        same(used(taken(begun[number])), given[number])
    assert not uploads.line
    same(used(taken(begun[2])), given[2])


def test_what_is_not_taken_is_let_go_at_the_end() -> None:
    given = batches(9)
    with uploads_to(cp) as uploads:
        assert uploads is not None
        begun = [uploads.begin(batch) for batch in given]
        same(used(taken(begun[0])), given[0])
        thread = uploads.thread
    assert not thread.is_alive()
    same(used(taken(begun[1])), given[1])
    same(used(taken(uploads.begin(given[2]))), given[2])


def test_an_error_in_the_block_ends_the_thread() -> None:
    with pytest.raises(KeyboardInterrupt), uploads_to(cp) as uploads:
        assert uploads is not None
        thread = uploads.thread
        for batch in batches(4):
            uploads.begin(batch)
        raise KeyboardInterrupt
    assert not thread.is_alive()


OF_DEVICE = OutOfMemoryError("Out of memory allocating 512 bytes (allocated so far: 512 bytes).")
PAGE_LOCKED = CUDARuntimeError("cudaErrorMemoryAllocation: out of memory")  # cudaHostAlloc found none


@pytest.mark.parametrize("error", [MemoryError("out of memory"), OF_DEVICE, PAGE_LOCKED])
def test_where_memory_is_short_a_batch_is_uploaded_when_it_is_needed(
    uploads: Uploads, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def none_left(size: int) -> Any:
        raise error

    monkeypatch.setattr(cp.cuda, "alloc_pinned_memory", none_left)
    for batch in batches(4):
        same(used(taken(uploads.begin(batch))), batch)


def test_any_other_error_is_raised_where_the_batch_is_taken(uploads: Uploads, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(size: int) -> Any:
        raise RuntimeError("cudaErrorIllegalAddress")

    one, other = batches(2)
    monkeypatch.setattr(cp.cuda, "alloc_pinned_memory", broken)
    inputs = uploads.begin(one)
    with pytest.raises(RuntimeError, match="IllegalAddress"):
        taken(inputs)
    monkeypatch.undo()
    same(used(taken(uploads.begin(other))), other)


# Mistakes. On NumPy, and on a device that happens to be fast enough, all of them give the right numbers ---------------


def run(count: int, most: int) -> None:
    """Some batches through the device, of which the last are not taken; the host waits for none."""
    with uploads_to(cp) as uploads:
        assert uploads is not None
        begun = [uploads.begin(batch) for batch in batches(count)]
        for inputs in begun[:most]:
            _ = {name: array + array for name, array in taken(inputs).items()}
        settled(uploads)


def problems(count: int, most: int) -> list[str]:
    """All that goes wrong in `run`, the first first."""
    found: list[str] = []
    for act in (lambda: run(count, most), gc.collect, strict_streams.settled):
        try:
            act()
        except StreamError as error:
            chain: list[BaseException] = [error]
            while (before := chain[-1].__context__) is not None:
                chain.append(before)
            found += [str(one) for one in reversed(chain)]
    return found


def no_wait(of_null: bool) -> Any:
    wait_event = Stream.wait_event

    def waits(self: Stream, event: Event) -> None:
        if (self == Stream.null) is not of_null:
            wait_event(self, event)

    return waits


def made_elsewhere(uploads: Uploads, batch: Any) -> None:
    with uploads.stream:
        COPY(uploads, batch)


def recorded_too_early(uploads: Uploads, batch: Any) -> None:
    COPY(uploads, batch)
    batch.arrived = EARLY[-1]
    EARLY.append(uploads.stream.record())


COPY, EARLY = Uploads._copy, [Event()]
MISTAKES: dict[str, tuple[Any, str, Any, tuple[int, int], str]] = {
    "the computing stream does not wait": (
        *(Stream, "wait_event", no_wait(True), (9, 9)),
        "an array is used before the stream waits for the copy",
    ),
    "the other stream does not wait": (
        *(Stream, "wait_event", no_wait(False), (9, 9)),
        "an array is written while another stream may still use it, or the memory",
    ),
    "page-locked memory is written again at once": (
        *(uploading._Locked, "wait", lambda self: None, (9, 9)),
        "page-locked memory was written again before",
    ),
    "page-locked memory is given back at once": (
        *(uploading._Locked, "wait", lambda self: None, (3, 1)),
        "page-locked memory is given back while a device may still copy from it",
    ),
    "what is not taken is dropped": (
        *(Uploads, "_let_go", lambda self, batch: batch.made.clear(), (3, 1)),
        "an array is dropped while another stream may still write",
    ),
    "memory comes from the other stream": (
        *(Uploads, "_copy", made_elsewhere, (9, 9)),
        "an array is dropped while another stream may still write or read",
    ),
    "the event is behind the copy before": (
        *(Uploads, "_copy", recorded_too_early, (9, 9)),
        "an array is used before the stream waits for the copy",
    ),
    "nobody records the event": (
        *(Event, "record", lambda self, stream=None: None, (9, 9)),
        "an event is waited for that nobody recorded",
    ),
    "memory is not page-locked": (
        *(cp.cuda, "alloc_pinned_memory", lambda size: np.empty(size, "uint8"), (9, 9)),
        "from memory that is not page-locked",
    ),
}


@pytest.mark.parametrize(("owner", "name", "wrong", "sizes", "words"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_seen(
    monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, wrong: Any, sizes: tuple[int, int], words: str
) -> None:
    assert problems(*sizes) == []
    EARLY.append(Stream.null.record())
    monkeypatch.setattr(owner, name, wrong)
    found = problems(*sizes)
    monkeypatch.undo()
    strict_streams.forget()
    assert words in found[0]
