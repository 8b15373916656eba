"""Small data files and a small web server for the tests of the data package."""

from __future__ import annotations

import gzip
import http.server
import struct
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

IDX_CODES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}
MNIST_FILES = {
    "train": ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"),
    "test": ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"),
}


def isolate(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A working folder and a cache of the test's own, and no network. Returns the working folder."""
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.delenv("LAYERFORGE_DATA", raising=False)
    monkeypatch.delenv("LAYERFORGE_MIRROR", raising=False)
    monkeypatch.setenv("LAYERFORGE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("LAYERFORGE_OFFLINE", "1")
    monkeypatch.setenv("no_proxy", "*")
    return work


def idx_bytes(array: np.ndarray) -> bytes:
    """An array as an IDX file."""
    kind = array.dtype.str[1:]
    head = struct.pack(">HBB", 0, IDX_CODES[kind], array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
    return head + array.astype(array.dtype.newbyteorder(">")).tobytes()


def images(count: int, seed: int = 0, shape: tuple[int, ...] = (28, 28)) -> np.ndarray:
    """Random bytes."""
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8)


def write_mnist(folder: Path, train: int = 20, test: int = 10, parts: tuple[str, ...] = ("train", "test")) -> None:
    """The four files of MNIST with random images; the labels count 0, 1, ... 9, 0, ..."""
    folder.mkdir(parents=True, exist_ok=True)
    for part, count in (("train", train), ("test", test)):
        if part in parts:
            pixels, labels = (folder / name for name in MNIST_FILES[part])
            pixels.write_bytes(gzip.compress(idx_bytes(images(count, seed=count)), mtime=0))
            labels.write_bytes(gzip.compress(idx_bytes((np.arange(count) % 10).astype(np.uint8)), mtime=0))


def png_bytes(
    rows: list[bytes], width: int, depth: int = 8, colour: int = 0, *, interlaced: int = 0, **chunks: bytes
) -> bytes:
    """A PNG from its filtered rows (each with its filter byte); `chunks` are PLTE and tRNS."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, len(rows), depth, colour, 0, 0, interlaced)
    extra = b"".join(chunk(kind.encode(), data) for kind, data in chunks.items())
    body = chunk(b"IHDR", head) + extra + chunk(b"IDAT", zlib.compress(b"".join(rows))) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def grey_png(image: np.ndarray) -> bytes:
    """A grey image (H, W) as a PNG without filters."""
    return png_bytes([b"\0" + row.tobytes() for row in image], image.shape[1])


class Server:
    """What the test server does: `files` by path; `break_after` cuts an answer off once after that many bytes."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.requests: list[tuple[str, str | None]] = []
        self.break_after: int | None = None
        self.url = ""


@contextmanager
def serving() -> Iterator[Server]:
    """A web server on 127.0.0.1 that understands Range and If-Range."""
    state = Server()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range")
            state.requests.append((self.path, wanted))
            data = state.files.get(self.path)
            if data is None:
                self.send_error(404)
                return
            tag = f'"{zlib.crc32(data)}"'
            start = 0
            if wanted and self.headers.get("If-Range", tag) == tag:
                start = int(wanted.removeprefix("bytes=").rstrip("-"))
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
            else:
                self.send_response(200)
            self.send_header("ETag", tag)
            self.send_header("Content-Length", str(len(data) - start))
            self.end_headers()
            end = len(data) if state.break_after is None else start + state.break_after
            state.break_after = None
            self.wfile.write(data[start:end])

        def log_message(self, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
