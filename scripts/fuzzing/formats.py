"""The formats: for each, small good files, how its outer shell is put around a spoilt content, and who reads it."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import json
import math
import random
import re
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import scipy.sparse

from layerforge import snapshot
from layerforge.config.document import Config
from layerforge.data import hdf5_child
from layerforge.data.cifar import RECORD, read_records
from layerforge.data.datum import blob_bytes, datum_bytes, encoded_datum_bytes, label_of, parse_datum
from layerforge.data.idx import read_idx
from layerforge.data.image_form import ImageForm, read_image
from layerforge.data.mean_image import read_mean_image
from layerforge.data.png import read_png
from layerforge.data.readers import reader_of
from layerforge.schema.errors import DataError, LayerForgeError
from layerforge.schema.registry import SOURCES
from layerforge.training.checkpoints import Position
from layerforge.training.resume import demand_checkpoint
from layerforge.training.rundir import read_metrics

from . import caffe_files as caffe
from . import onnx_files as onnx
from . import weights_files as weights
from .image_files import WORDS as IMAGE_WORDS
from .image_files import image_files
from .models import MODEL_WORDS, from_model, model_files, read_model, to_model

ROOT = Path(__file__).parent.parent.parent
Spoil = Callable[[random.Random, Sequence[bytes], Sequence[bytes]], bytes]


@dataclass
class Format:
    """How a format is tried.

    seeds      small good files
    read       what the program does with such a file
    words      pieces that are put in between
    shell      (take the content out, put it back with right checksums): half of the files are spoilt inside of it
    needs      a module that reads it, where that may be missing
    memory     bytes that reading may take, where that is less than the usual limit
    seconds    that it may last, likewise
    contained  read in a process of its own by the program, so that a crash is a refusal; `front` is that way to it
    """

    seeds: list[bytes]
    read: Callable[[Path], object]
    words: Sequence[bytes] = ()
    shell: tuple[Callable[[bytes], bytes], Callable[[random.Random, bytes, bytes], bytes]] | None = None
    front: Callable[[Path], object] | None = None
    name: str = "file"
    needs: str = ""
    memory: int | None = None
    seconds: float | None = None

    def spoil(self, rng: random.Random, change: Spoil) -> bytes:
        """A spoilt file."""
        if self.shell is None or rng.random() < 0.5:
            return change(rng, self.seeds, self.words)
        take, put = self.shell
        good = rng.choice(self.seeds)
        return put(rng, good, change(rng, [take(good)], self.words))


def source(kind: str, **values: Any) -> Callable[[Path], object]:
    """Load a file by a data source of that type, by its specs first."""

    def read(path: Path) -> object:
        made = SOURCES.get(kind)(path=str(path), **values)
        made.specs()
        return made.load()

    return read


def random_bytes(*shape: int) -> np.ndarray:
    """Bytes that are the same at every call."""
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


# The seeds ------------------------------------------------------------------------------------------------------------


def idx_files() -> list[bytes]:
    """Images of bytes and a vector of doubles, plain and compressed."""
    images = b"\0\0\x08\x03" + struct.pack(">3I", 3, 4, 4) + random_bytes(48).tobytes()
    doubles = b"\0\0\x0e\x01" + struct.pack(">I", 5) + np.arange(5.0).astype(">f8").tobytes()
    return [images, doubles, gzip.compress(images, mtime=0)]


def cifar_files() -> list[bytes]:
    """Two records, plain and compressed."""
    records = random_bytes(2, RECORD)
    records[:, 0] = [3, 9]
    return [records.tobytes(), gzip.compress(records.tobytes(), mtime=0)]


def npz_files() -> list[bytes]:
    """Archives of arrays of several kinds, compressed and not."""
    image = np.asfortranarray(random_bytes(3, 2, 2))
    arrays = {"x": np.arange(12.0).reshape(3, 4), "label": np.arange(3), "image": image}
    files = []
    for save in (np.savez, np.savez_compressed):
        save(buffer := io.BytesIO(), **arrays)
        files.append(buffer.getvalue())
    return files


def npy_files() -> list[bytes]:
    """Arrays of several kinds, as numpy.save writes them."""
    arrays = [np.arange(12.0).reshape(3, 4), np.arange(3), np.asfortranarray(random_bytes(3, 2, 2))]
    files = []
    for array in arrays:
        np.save(buffer := io.BytesIO(), array)
        files.append(buffer.getvalue())
    return files


def read_npy_file(path: Path) -> object:
    """An array of a .npy file read whole, and then chunk by chunk, unless its first axis is stored fastest."""
    whole = source("NPY")(path)
    with contextlib.suppress(LayerForgeError):
        made = SOURCES.get("NPY")(path=str(path), stream=True).load()["x"]
        return whole, made[: len(made)]
    return whole


def sparse_npz_files() -> list[bytes]:
    """A matrix as scipy.sparse.save_npz writes it, and one with labels beside it."""
    x = scipy.sparse.csr_array(np.array([[0, 1.5, 0], [0, 0, 0], [2, 0, -3]]))
    scipy.sparse.save_npz(plain := io.BytesIO(), x)
    parts = {"indptr": x.indptr, "indices": x.indices, "data": x.data, "shape": x.shape, "label": np.arange(3)}
    np.savez(labelled := io.BytesIO(), **parts)
    return [plain.getvalue(), labelled.getvalue()]


def png_files() -> list[bytes]:
    """A grey picture with all filters, a palette of 2 bits, and RGBA."""
    grey = b"".join(bytes([kind % 5]) + random_bytes(6).tobytes() for kind in range(7))
    palette = b"\0\x1b\0\xe4"
    same = b"\1\1\1\0"  # as the neighbours, a little lighter and just as opaque
    rgba = b"\4\x10\x20\x30\xff" + 2 * same + 2 * (b"\4" + 3 * same)
    return [
        png(6, 7, 8, 0, grey),
        png(4, 2, 2, 3, palette, (b"PLTE", bytes(range(12)))),
        png(3, 3, 8, 6, rgba),
    ]


def png(width: int, height: int, depth: int, colour: int, rows: bytes, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG file from its filtered rows."""
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    parts = [(b"IHDR", head), *chunks, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(kind, data) for kind, data in parts)


def chunk(kind: bytes, data: bytes) -> bytes:
    """A chunk of a PNG with its checksum."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def hdf5_files() -> list[bytes]:
    """Files of the oldest and the newest layout: groups, chunks, compression, links of all kinds, strings."""
    return [hdf5_file(version) for version in ("earliest", "latest")]


def hdf5_file(version: str) -> bytes:
    """One file in a version of the layout."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", libver=version) as file:
        file["x"] = np.arange(12.0).reshape(3, 4)
        file.create_dataset("image", data=random_bytes(3, 4, 4), chunks=(1, 4, 4), compression="gzip", shuffle=True)
        file["group/deep/label"] = np.arange(3)
        file["text"] = "words"
        file["soft"] = h5py.SoftLink("/x")
        file["external"] = h5py.ExternalLink("other.h5", "/x")
        file.create_dataset("outside", (5,), "u1", external=[("other.bin", 0, 5)])
        file.create_dataset("empty", (10, 10), "f4", chunks=(5, 5), fillvalue=1)
        file["x"].attrs["unit"] = "m"
    return buffer.getvalue()


def metrics_files() -> list[bytes]:
    """Rows of a run."""
    rows = [
        {"run_segment": 0, "step": 4, "epoch": 0.5, "seconds": 1.5e9, "train/loss": 2.25, "lr": 0.1, "grad_norm": None},
        {"run_segment": 1, "step": 11, "val/loss": float("nan"), "val/accuracy": 0.25},
    ]
    return [b"".join(json.dumps(row).encode() + b"\n" for row in rows)]


def yaml_files() -> list[bytes]:
    """Two configurations of the project, and one with everything that YAML knows."""
    rich = b"""\
# a comment
version: 1
name: &n "rich \\u00e9"
x-hold: &hold {name: a, type: Linear, out_features: 3, weight_filler: {type: gaussian, std: 1e-2}}
seed: 0x10
extends: []
data: {train: {type: Digits, split: "train[:10%]", batch_size: 2, augment: {shift: 2}}}
net:
  - <<: *hold
    bottom: ${x-hold.name}
  - {name: !!str loss, type: SoftmaxCrossEntropy, bottom: [a, label]}
  - name: |
      block
    type: >-
      ReLU
solver: {lr: .5, momentum: 0.9, schedule: {type: multistep, milestones: [1, 2], gamma: 1e-1, unit: epoch}}
train: {epochs: 1, eval_every: {steps: 3}}
checkpoint: {every: {epochs: 1}, keep_last: 2, monitor: 'train/loss', mode: ~}
"""
    names = ("digits_mlp.yaml", "mnist_lenet.yaml")
    return [rich, *((ROOT / "configs" / name).read_bytes() for name in names)]


def golden(version: int) -> list[bytes]:
    """The snapshots that the tests keep of a format."""
    folder = ROOT / "tests" / "golden" / f"format{version}"
    return [(folder / name).read_bytes() for name in ("weights.h5", "checkpoint.h5")]


def lmdb_files() -> list[bytes]:
    """Databases of small and large records of all kinds, as the library writes them."""
    try:
        import lmdb
    except ImportError:
        return [b"\0"]
    encoded = [encoded_datum_bytes(image_files()[0], n) for n in range(3)]
    raw = [datum_bytes(random_bytes(3, 4, 4), n) for n in range(40)]
    large = [datum_bytes(random_bytes(3, 40, 40), n) for n in range(2)]
    files = []
    for records in ([*raw, *raw[:20]], large, encoded, [datum_bytes(np.ones((2, 3, 3), "f4"), 1)] * 3):
        with tempfile.TemporaryDirectory() as folder:
            with lmdb.open(folder, map_size=1 << 20) as environment, environment.begin(write=True) as transaction:
                for number, record in enumerate(records):
                    transaction.put(b"%08d" % number, record)
            files.append((Path(folder) / "data.mdb").read_bytes())
    return files


def datum_files() -> list[bytes]:
    """Samples of bytes, of floats, of packed floats, and an encoded image."""
    floats = np.arange(6, dtype="<f4")
    packed = b"\x08\x01\x10\x02\x18\x03\x32\x18" + floats.tobytes() + b"\x28\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"
    return [
        datum_bytes(random_bytes(3, 4, 4), 5),
        datum_bytes(floats.reshape(1, 2, 3), -1),
        packed,
        encoded_datum_bytes(image_files()[0], 3),
    ]


def mean_files() -> list[bytes]:
    """Mean images with the four sizes of old, with a shape and doubles, and as numpy.save writes them."""
    mean = np.arange(6, dtype="<f4").reshape(1, 2, 3)
    doubles = b"\x3a\x05\x0a\x03\x01\x02\x03\x42\x30" + mean.astype("<f8").tobytes()
    np.save(buffer := io.BytesIO(), mean)
    return [blob_bytes(mean), doubles, buffer.getvalue()]


# Shells ---------------------------------------------------------------------------------------------------------------


def from_zip(data: bytes) -> bytes:
    """The first array file of an archive."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return archive.read(archive.infolist()[0])


def to_zip(rng: random.Random, good: bytes, content: bytes) -> bytes:
    """An archive whose first file has another content, with right checksums."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(good)) as archive, zipfile.ZipFile(out, "w", rng.choice((0, 8))) as other:
        for number, info in enumerate(archive.infolist()):
            other.writestr(info.filename, content if number == 0 else archive.read(info))
    return out.getvalue()


def from_gzip(data: bytes) -> bytes:
    """The content of a file, compressed or not."""
    return gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data


def to_gzip(rng: random.Random, good: bytes, content: bytes) -> bytes:
    """A compressed file with right checksums."""
    return gzip.compress(content, mtime=0)


def from_png(data: bytes) -> bytes:
    """The chunks' kinds and contents without lengths and checksums, and the rows unpacked."""
    parts, at = [], 8
    while at < len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        kind, content = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        parts.append(kind + (zlib.decompress(content) if kind == b"IDAT" else content))
        at += 12 + length
    return b"\0PNG\0".join(parts)


def to_png(rng: random.Random, good: bytes, content: bytes) -> bytes:
    """A file of chunks with right lengths and checksums."""
    parts = [(part[:4], part[4:]) for part in content.split(b"\0PNG\0")]
    chunks = (chunk(kind, zlib.compress(data) if kind == b"IDAT" else data) for kind, data in parts)
    return good[:8] + b"".join(chunks)


def from_snapshot(data: bytes) -> bytes:
    """What the digest covers."""
    return data[snapshot.OLD_BLOCK :] if data[20:21] == b"1" else data[22 + snapshot.DIGEST :]


def to_snapshot(rng: random.Random, good: bytes, content: bytes) -> bytes:
    """A snapshot with the right digest."""
    head = good[:22] + hashlib.sha256(content).hexdigest().encode() + b"\n"
    return (head.ljust(snapshot.OLD_BLOCK, b"\0") if good[20:21] == b"1" else head) + content


# Readers --------------------------------------------------------------------------------------------------------------


def read_config(path: Path) -> object:
    """Everything that happens to a configuration before a net is built."""
    return Config.load(path).resolved()


def read_override(path: Path) -> object:
    """A text in the place of an argument of --set."""
    text = path.read_bytes().decode("utf-8", "surrogateescape")
    return Config.load(ROOT / "configs" / "digits_mlp.yaml", [text]).resolved()


def read_checkpoint(path: Path) -> object:
    """A snapshot, and what --resume-from makes of it."""
    arrays, meta = snapshot.read_snapshot(path)
    if meta.get("kind") == "checkpoint":
        demand_checkpoint(path, meta)
        Position.from_meta(meta, str(path))
    return arrays


def read_old_snapshot(path: Path) -> object:
    """As the process does that reads snapshots of format 1."""
    content = path.read_bytes()
    found = re.match(rb"LayerForge snapshot 1\n([0-9a-f]{64})", content)
    if not found or hashlib.sha256(content[snapshot.OLD_BLOCK :]).hexdigest().encode() != found[1]:
        raise DataError("its digest does not match")
    return hdf5_child.snapshot(content)


def read_hdf5(path: Path) -> object:
    """As the process does that reads foreign HDF5 files."""
    found = hdf5_child.describe(str(path))["arrays"]
    sizes = {name: math.prod(shape) * int(dtype[2:]) for name, (shape, dtype, *_) in found.items()}
    names = [name for name, size in sizes.items() if size < 1 << 22]
    hdf5_child.read(str(path), names, io.BytesIO())
    return found


def read_table(path: Path) -> object:
    """A table from which much is fitted, and the same file by the reader of another one."""
    other = SOURCES.get("Frame")(frame=TABLE, **TABLE_KEYS).reader()
    reader = reader_of(json.loads(json.dumps(other.plain())), "the reader")
    with contextlib.suppress(LayerForgeError):
        reader.read(path, ["x", "city"], {})
    if path.suffix == ".parquet":
        with contextlib.suppress(LayerForgeError):
            SOURCES.get("Parquet")(path=str(path), stream=True, **TABLE_KEYS).load()["x"][:]
    source = SOURCES.get("Parquet" if path.suffix == ".parquet" else "CSV")(path=str(path), **TABLE_KEYS)
    blobs = source.load()
    json.dumps(source.reader().plain())
    return blobs


TABLE = {
    "age": [20, None, 40],
    "city": ["Bonn", "", "Ulm"],
    "color": ["red", "blue", "red"],
    "w": [1, 2, 3],
    "y": [1, 0, 2],
}
TABLE_KEYS = {
    "target": {"column": "y", "standardize": True},
    "weight": "w",
    "categorical": {"city": "index", "color": "one_hot"},
    "missing": "indicator",
    "standardize": True,
    "unknown": "ignore",
}


def table_files() -> list[bytes]:
    """Tables with gaps, words and quotes."""
    table = b"age,city,color,w,y\n20,Bonn,red,1,1.5\n,Kiel,blue,2,-3\nNA,,red,0.5,1e3\n"
    rows = b'1,"light, blue",3,1,\r\n\r\n2,red,4.5,2,"Ulm"\r\n' * 2
    return [table, b'y,color,"age",w,city\r\n' + rows]


def parquet_files() -> list[bytes]:
    """The same in columns, plain and compressed."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        return [b"PAR1"]
    files = []
    for how in (
        {},
        {"compression": "none", "use_dictionary": False},
        {"compression": "gzip", "data_page_version": "2.0"},
    ):
        pyarrow.parquet.write_table(pyarrow.table(TABLE), buffer := io.BytesIO(), **how)
        files.append(buffer.getvalue())
    return files


def read_lmdb(path: Path) -> object:
    """All samples of a database, and its labels."""
    arrays = SOURCES.get("LMDB")(path=str(path)).load()
    return arrays["image"][:64], arrays["label"]


def read_datum(path: Path) -> object:
    """A record as the source of a database reads it, and its label without the pixels."""
    content = path.read_bytes()
    datum = parse_datum(content, "file")
    label = label_of(lambda at, count: content[at : at + count], len(content), "file")
    if label != datum.label:
        raise AssertionError(f"the label is {datum.label}, and {label} without the pixels")
    return datum


YAML_WORDS = (
    b"&a ", b"*a", b"<<: ", b"*hold", b"${", b"${seed}", b"${x-hold}", b"}", b"$${", b"!!int ", b"? ", b": ", b"- ",
    b"!!python/object:os.system ", b"[", b"{", b"|\n", b">\n", b"---\n", b"...\n", b"\n", b"  ", b"\t", b"# ", b"'",
    b'"', b"\\x00", b"\\ud800", b"%YAML 1.9\n", b"extends: file\n", b"import: [file]\n", b".inf", b".nan", b"1e999",
    b"0x", b"9" * 30, b"-1", b"null", b"\xef\xbb\xbf", b"\xc2\x85", b"\xe2\x80\xa8", b"type: ", b"name: ", b"blocks: ",
)  # fmt: skip
JSON_WORDS = (
    b"{", b"[", b"}", b"]", b'"', b",", b":", b"null", b"NaN", b"1e999", b"9" * 5000, b"\\ud800", b"-", b"true",
)  # fmt: skip
CSV_WORDS = (
    b",", b'"', b"\n", b"\r", b"\0", b'""', b"nan", b"inf", b"1e999", b" ", b"-", b"\xef\xbb\xbf", b"x", b"9" * 20,
)  # fmt: skip
NPZ_WORDS = (
    b"PK\1\2", b"PK\3\4", b"PK\5\6", b"|O", b"<f8", b"V9", b"<U9", b"True", b"(3, 4)", b"[('a','<f4')]", b"(", b"-1",
)  # fmt: skip

FORMATS: dict[str, Callable[[], Format]] = {
    "yaml": lambda: Format(yaml_files(), read_config, YAML_WORDS),
    "override": lambda: Format(
        [
            b"solver.lr=0.1",
            b"net.fc1.bias_filler={type: constant, value: 1e-2}",
            b"data.train.split='train[:5%]'",
            b"seed=${version}",
        ],
        read_override,
        (*YAML_WORDS, b"=", b".", b"net.", b"solver.", b"data."),
    ),
    "idx": lambda: Format(idx_files(), read_idx, shell=(from_gzip, to_gzip)),
    "cifar": lambda: Format(cifar_files(), read_records, shell=(from_gzip, to_gzip)),
    "npz": lambda: Format(npz_files(), source("NPZ"), NPZ_WORDS, (from_zip, to_zip)),
    "npy": lambda: Format(npy_files(), read_npy_file, NPZ_WORDS),
    "sparse_npz": lambda: Format(sparse_npz_files(), source("SparseNPZ"), NPZ_WORDS, (from_zip, to_zip)),
    "svmlight": lambda: Format(
        [b"1 1:0.5 3:-2e3 # x\n-1 qid:3 2:1\r\n\n1\n", b"0.5 0:1 1:2\n-3 7:1\n", b"# x\n2 1:1 2:2 3:3\n"],
        source("SVMLight"),
        (b":", b"#", b"qid:", b" ", b"\n", b"\r", b"\0", b"nan", b"1e999", b"9" * 18, b"-1", b"0:", b"1_0", b","),
    ),
    "png": lambda: Format(png_files(), read_png, (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"), (from_png, to_png)),
    "image": lambda: Format(image_files(), lambda path: read_image(path, "RGB", form=ImageForm((8, 8))), IMAGE_WORDS),
    "csv": lambda: Format(
        [b'a,b,"c c"\n1,2,0\n3.5,-4e2,1\n"5",6,1\n', b"1,2,yes\n3,4,no\n", b"x,y\r\n1,0\r\n\r\n2,1\r\n"],
        source("CSV", label=-1, columns=[0]),
        CSV_WORDS,
    ),
    "table": lambda: Format(table_files(), read_table, (*CSV_WORDS, b"NA", b"?", b"city", b"Ulm"), name="t.csv"),
    "parquet": lambda: Format(
        parquet_files(), read_table, (b"PAR1", b"\x15", b"\x19"), name="t.parquet", needs="pyarrow"
    ),
    "text": lambda: Format(
        ["some wörds\r\nand more\n𝄞".encode()], source("Text", sequence_length=3), (b"\xed\xa0\x80", b"\xef\xbb\xbf")
    ),
    "words": lambda: Format(
        ["some wörds\r\nand more, and some".encode()],
        source("Text", sequence_length=2, tokenizer="words"),
        (b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\xcc\x81", b"'"),
    ),
    "jsonl": lambda: Format(
        [
            b'{"text": "a b c", "label": "x"}\n{"label": "y", "text": "B, d\\u00e9", "id": [1, {"a": null}]}\n\n',
            b'{"text": "a", "label": 1}\r\n{"text": "b", "label": 2.0}\r\n',
            b'\xef\xbb\xbf{"text": "a", "label": 0.5}\n{"text": "a", "label": true}',
        ],
        source("TextLines", format="jsonl", sequence_length=3),
        (*JSON_WORDS, b'"text"', b'"label"', b"\n", b"\\ud834\\udd1e", b"\\n"),
    ),
    "labelled_table": lambda: Format(
        [b'text,label\na b,x\n"b, ""c""\nd",y\n', b"label,id,text\r\n1,7,a\r\n\r\n2,8,b\r\n"],
        source("TextLines", format="csv", output="tfidf"),
        CSV_WORDS,
    ),
    "metrics": lambda: Format(
        metrics_files(), lambda path: list(read_metrics(path.parent)), JSON_WORDS, name="metrics.jsonl"
    ),
    "snapshot": lambda: Format(golden(2), read_checkpoint, JSON_WORDS, (from_snapshot, to_snapshot)),
    "model": lambda: Format(model_files(), read_model, MODEL_WORDS, (from_model, to_model)),
    "safetensors": lambda: Format(
        weights.safetensors_files(),
        weights.read_safetensors_file,
        weights.WORDS,
        (weights.header_of, weights.with_header),
        name=weights.NAME,
        **weights.LIMITS,
    ),
    "snapshot1": lambda: Format(
        golden(1), read_old_snapshot, JSON_WORDS, (from_snapshot, to_snapshot), front=read_checkpoint
    ),
    "lmdb": lambda: Format(lmdb_files(), read_lmdb, (b"\xde\xc0\xef\xbe", b"\xff" * 8), name="data.mdb", needs="lmdb"),
    "datum": lambda: Format(datum_files(), read_datum, (b"\xff" * 9 + b"\x01", b"\x22", b"\x28", b"\x35", b"\x3a\x02")),
    "mean": lambda: Format(
        mean_files(), lambda path: read_mean_image(str(path)), (b"\xff" * 9, b"\x3a\x02", *NPZ_WORDS)
    ),
    "prototxt": lambda: Format(caffe.prototxts(), caffe.read_prototxt, caffe.TEXT_WORDS, **caffe.LIMITS),
    "caffemodel": lambda: Format(caffe.models(), caffe.read_caffemodel, caffe.BINARY_WORDS, **caffe.LIMITS),
    "solverstate": lambda: Format(caffe.states(), caffe.read_solverstate, caffe.BINARY_WORDS, **caffe.LIMITS),
    "binaryproto": lambda: Format(caffe.means(), caffe.read_binaryproto, caffe.BINARY_WORDS, **caffe.LIMITS),
    "onnx": lambda: Format(
        onnx.models(), onnx.Reader(), onnx.WORDS, (onnx.same, onnx.spoilt), name="m.onnx", needs="onnx", **onnx.LIMITS
    ),
    "caffe_h5": lambda: Format(
        caffe.hdf5_files(), caffe.read_hdf5, (b"OHDR", b"TREE", b"SNOD", b"HEAP"), front=caffe.read_front
    ),
    "hdf5": lambda: Format(hdf5_files(), read_hdf5, (b"OHDR", b"TREE", b"SNOD", b"HEAP"), front=source("HDF5")),
}
