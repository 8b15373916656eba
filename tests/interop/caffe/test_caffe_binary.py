"""Binary files of Caffe: weights as views of the file, bounds, and what is wrong with the byte where it is."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from support.caffe_files import caffe_folder, caffe_index

from layerforge.data import wire
from layerforge.interop.caffe import binary, blobs, loading, text
from layerforge.interop.caffe.message import Message
from layerforge.interop.caffe.rules import selected
from layerforge.interop.caffe.upgrade import upgraded
from layerforge.schema.errors import ConfigError, DataError

KINDS = {".caffemodel": "NetParameter", ".solverstate": "SolverState", ".binaryproto": "BlobProto"}


def net_of(*arrays: np.ndarray) -> Message:
    net = Message("NetParameter", name="n")
    net.add("layer").set("blobs", [blobs.blob(values) for values in arrays])
    return net


def random(*shape: int, dtype: type = np.float32) -> np.ndarray:
    return np.random.default_rng(len(shape)).standard_normal(shape).astype(dtype)


def test_files_of_caffe_are_read_and_written_byte_for_byte() -> None:
    folder = caffe_folder()
    paths = [path for path in sorted(folder.rglob("*")) if path.suffix in KINDS]
    assert len(paths) > 30
    for path in paths:
        message = binary.load(path, KINDS[path.suffix])
        assert binary.serialize(message) == path.read_bytes(), path
        assert binary.parse(path.read_bytes(), message.kind) == message
        known = [(prefix, entry.name) for prefix, entry in message.all_unknown()]
        assert known == ([("layer[15].softmax_param.", 3)] if path.name == "det1.caffemodel" else []), path


def test_weights_are_views_of_the_file() -> None:
    weights = random(8, 3, 5, 5)
    content = bytearray(binary.serialize(net_of(weights, random(8, dtype=np.float64))))
    first, second = binary.parse(content, "NetParameter").get("layer")[0].get("blobs")
    np.testing.assert_array_equal(blobs.array(first), weights)
    assert blobs.array(second).dtype == np.float64
    assert np.shares_memory(blobs.array(first), np.frombuffer(content, np.uint8))


def test_what_is_read_of_millions_of_weights_takes_no_memory_of_its_own() -> None:
    content = binary.serialize(net_of(np.ones(4_000_000, np.float32)))
    tracemalloc.start()
    message = binary.parse(content, "NetParameter")
    taken = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert blobs.array(message.get("layer")[0].get("blobs")[0]).size == 4_000_000
    assert taken < 100_000


def test_numbers_that_are_not_packed_among_others() -> None:
    one, two = (b"\x2d" + np.float32(value).tobytes() for value in (1.5, -2))
    packed = wire.write_bytes(5, np.array([3, 4], "<f4").tobytes())
    blob = binary.parse(one * 100 + b"\x08\x01" + two + packed + one, "BlobProto", "b")
    np.testing.assert_array_equal(blob.get("data"), np.array([1.5] * 100 + [-2, 3, 4, 1.5], np.float32))
    assert (blob.get("num"), str(blob.place("num")), str(blob.place("data"))) == (1, "b: byte 501", "b: byte 1")


@pytest.mark.parametrize(
    ("kind", "dtype", "exact"), [("FLOAT16", "<f2", True), ("FLOAT", "<f4", True), ("DOUBLE", "<f8", True)]
)
def test_raw_numbers_of_nvidias_fork(kind: str, dtype: str, exact: bool) -> None:
    numbers = random(2, 3).astype(dtype)
    blob = Message("BlobProto", raw_data_type=kind, raw_data=numbers.tobytes())
    blob.values["shape"] = Message("BlobShape", dim=[2, 3])
    read = blobs.array(binary.parse(binary.serialize(blob), "BlobProto"))
    np.testing.assert_array_equal(read, numbers)
    assert read.dtype == (np.float64 if kind == "DOUBLE" else np.float32)


def test_shapes_of_old_files_and_of_none() -> None:
    four = Message("BlobProto", num=1, channels=2, height=1, width=3, data=np.arange(6))
    assert blobs.array(four).shape == (1, 2, 1, 3)
    assert blobs.array(Message("BlobProto", data=[1.0])).shape == ()
    assert blobs.array(Message("BlobProto", data=[1.0, 2.0])).shape == (2,)
    assert blobs.array(blobs.blob(np.float32(3))).shape == ()
    both = Message("BlobProto", data=[1.0, 2.0], double_data=[3.0, 4.0])
    np.testing.assert_array_equal(blobs.array(both), [3, 4])
    np.testing.assert_array_equal(blobs.array(Message("BlobProto", diff=[5.0, 6.0]), "diff"), [5, 6])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"data": np.ones(5)}, "2 x 3 has 6 numbers, but 5 are stored"),
        ({"dim": [2, -3]}, "has the shape 2 x -3"),
        ({"dim": [1 << 40, 1 << 40]}, "but 6 are stored"),
        ({"dim": [1] * 33}, "of 33 axes"),
        ({"data": [], "raw_data": b"123", "raw_data_type": "FLOAT16"}, "3 bytes of type FLOAT16"),
        ({"data": [], "raw_data": b"1234", "raw_data_type": "INT"}, "of the type INT"),
        ({"data": []}, "but 0 are stored"),
    ],
)
def test_numbers_that_do_not_fit_their_shape(changes: dict, words: str) -> None:
    blob = Message("BlobProto", data=np.ones(6))
    blob.values["shape"] = Message("BlobShape", dim=changes.get("dim", [2, 3]))
    for name, value in changes.items():
        if name != "dim":
            blob.set(name, value)
    content = binary.serialize(Message("BlobProtoVector", blobs=[blob]))
    with pytest.raises(DataError, match=words) as failed:
        blobs.array(binary.parse(content, "BlobProtoVector", "w.caffemodel").get("blobs")[0])
    assert str(failed.value).startswith("w.caffemodel: byte ")


@pytest.mark.parametrize("cut", [1, 5, 40, 300])
def test_a_file_that_is_cut_off(cut: int, tmp_path: Path) -> None:
    path = tmp_path / "w.caffemodel"
    path.write_bytes(binary.serialize(net_of(random(10, 10)))[:-cut])
    with pytest.raises(DataError, match=r"w\.caffemodel: byte \d+: .* left") as failed:
        loading.load_weights(path)
    assert failed.value.exit_code == 3


def test_sizes_are_checked_before_memory_is_taken() -> None:
    content = wire.write_tag(5, wire.BYTES) + wire.write_varint(1 << 40) + b"1234"
    with pytest.raises(DataError, match=f"should have {1 << 40} bytes, but 4 are left"):
        binary.parse(content, "BlobProto")
    with pytest.raises(DataError, match="not a multiple of 4"):
        binary.parse(wire.write_bytes(5, b"12345"), "BlobProto", "b")


def test_a_file_of_countless_messages_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binary, "MOST_VALUES", 1000)
    for content in (b"\xa2\x06\x00" * 1001, wire.write_bytes(4, b"\x01" * 1001), b"\x10\x01" * 1001):
        with pytest.raises(DataError, match="more than"):
            binary.parse(content, "NetParameter")


def test_what_is_not_known_is_kept_and_written_back() -> None:
    layer = Message("LayerParameter", name="a")
    known = binary.serialize(layer)
    others = wire.write_tag(9000, wire.VARINT) + b"\x05" + wire.write_bytes(9001, b"abc") + b"\x0b\x08\x01\x0c"
    pool = wire.write_bytes(121, b"\x08\x09")  # pool: 9
    read = binary.parse(known + others + pool, "LayerParameter", "w")
    assert [(path, e.name, e.reason, str(e.place)) for path, e in read.all_unknown()] == [
        ("", 9000, "", "w: byte 3"),
        ("", 9001, "", "w: byte 7"),
        ("", 1, "name of LayerParameter is not stored like this", "w: byte 14"),
        ("pooling_param.", 1, "a value that PoolingParameter.PoolMethod does not have", f"w: byte {18 + 3}"),
    ]
    assert binary.parse(binary.serialize(read), "LayerParameter") == read
    assert others in binary.serialize(read)


def test_fields_without_a_number_of_their_own_are_not_written() -> None:
    layer = Message("LayerParameter", name="a")
    layer.values["upsample_param"] = Message("UpsampleParameter", scale=2)
    with pytest.raises(ConfigError, match="upsample_param of LayerParameter has no number"):
        binary.serialize(layer)


def test_names_that_are_not_utf_8_are_those_of_the_text() -> None:
    assert binary.parse(b"\x0a\x02\xb2\xe2", "LayerParameter").get("name") == r"\xb2\xe2"


def test_the_definition_inside_of_weights_is_that_of_the_text() -> None:
    """Caffe gave every field its number; it adds phases, loss weights and the tops of splits."""
    for net in caffe_index()["nets"]:
        written = selected(upgraded(text.parse(net["net"], "NetParameter")), net["phase"])
        stored = loading.load_weights(caffe_folder() / f"files/nets/{net['id']}.caffemodel")
        layers = {layer.get("name"): layer for layer in stored.get("layer")}
        for layer in written.get("layer"):
            found = layers[layer.get("name")]
            for name in ("bottom", "phase", "loss_weight", "blobs"):
                layer.clear(name)
                found.clear(name)
            assert found == layer, net["id"]
