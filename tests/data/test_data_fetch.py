"""Downloads, against a server on 127.0.0.1: resumed, checked, atomic; and when the fallback may step in."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import io
import json
import re
import socket
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.error import URLError
from urllib.request import Request

import numpy as np
import pytest
from support.data_files import MNIST_FILES, Server, images, isolate, serving, write_mnist

from layerforge.config.data_section import DataSection
from layerforge.data import MissingData, download, fetch, open_data
from layerforge.data.download import RemoteFile, TransferError, transfer
from layerforge.schema.errors import ConfigError, DataError, LayerForgeError
from layerforge.schema.registry import SOURCES

NAMES = [name for part in MNIST_FILES.values() for name in part]


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    work = isolate(monkeypatch, tmp_path)
    monkeypatch.setenv("LAYERFORGE_OFFLINE", "0")
    monkeypatch.setenv("LAYERFORGE_MIRROR", "http://127.0.0.1:9")  # whatever forgets to set a mirror fails at once
    return work


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as state:
        yield state


@pytest.fixture
def mnist(tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> fetch.DataSet:
    """A small MNIST on the server, and MNIST's declaration with its sizes and checksums."""
    write_mnist(tmp_path / "published")
    content = {name: (tmp_path / "published" / name).read_bytes() for name in NAMES}
    server.files.update({f"/mnist/{name}": data for name, data in content.items()})
    monkeypatch.setenv("LAYERFORGE_MIRROR", server.url)

    def small(wanted: fetch.Wanted) -> fetch.Wanted:
        data = content[wanted.remote.name]
        remote = RemoteFile(wanted.remote.name, len(data), hashlib.sha256(data).hexdigest())
        return dataclasses.replace(wanted, remote=remote)

    parts = {part: tuple(small(w) for w in wanted) for part, wanted in fetch.MNIST.parts.items()}
    declared = dataclasses.replace(fetch.MNIST, parts=parts)
    monkeypatch.setattr(SOURCES.get("MNIST"), "files", declared)
    return declared


def load(split: str = "train") -> dict[str, np.ndarray]:
    return SOURCES.get("MNIST")(split=split).load(progress=False)


def failure(act: Callable[[], object], kind: type[LayerForgeError] = DataError) -> str:
    with pytest.raises(kind) as caught:
        act()
    assert type(caught.value) is kind
    return str(caught.value)


def cached(tmp_path: Path) -> list[str]:
    folder = tmp_path / "cache/mnist"
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_only_what_is_missing_is_downloaded_and_only_once(mnist: fetch.DataSet, server: Server, tmp_path: Path) -> None:
    np.testing.assert_array_equal(load()["image"], images(20, seed=20)[:, None])
    assert cached(tmp_path) == sorted(MNIST_FILES["train"])
    load()
    assert [path for path, _ in server.requests] == [f"/mnist/{name}" for name in MNIST_FILES["train"]]


def test_the_published_checksums_are_those_of_the_original_files() -> None:
    sha256 = {w.remote.name: w.remote.sha256 for part in fetch.MNIST.parts.values() for w in part}
    assert sha256["train-images-idx3-ubyte.gz"] == "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"
    assert len({w.remote.sha256 for s in fetch.SETS.values() for part in s.parts.values() for w in part}) == 10


def test_a_download_that_broke_off_is_continued(mnist: fetch.DataSet, server: Server, tmp_path: Path) -> None:
    server.break_after = 5000
    text = failure(load, MissingData)
    assert "broke off after 5000 of" in text
    assert (tmp_path / "cache/mnist" / f"{NAMES[0]}.part").stat().st_size == 5000
    np.testing.assert_array_equal(load()["image"], images(20, seed=20)[:, None])
    assert server.requests[1] == (f"/mnist/{NAMES[0]}", "bytes=5000-")
    assert cached(tmp_path) == sorted(MNIST_FILES["train"])


def test_a_part_of_another_file_is_not_continued(mnist: fetch.DataSet, server: Server, tmp_path: Path) -> None:
    """The server's file changed in between: its tag is another, and it sends everything."""
    right = server.files[f"/mnist/{NAMES[0]}"]
    server.files[f"/mnist/{NAMES[0]}"] = bytes(len(right))
    server.break_after = 5000
    failure(load, MissingData)
    server.files[f"/mnist/{NAMES[0]}"] = right
    np.testing.assert_array_equal(load()["image"], images(20, seed=20)[:, None])


def test_a_wrong_part_without_a_note_is_replaced(mnist: fetch.DataSet, server: Server, tmp_path: Path) -> None:
    folder = tmp_path / "cache/mnist"
    folder.mkdir(parents=True)
    (folder / f"{NAMES[0]}.part").write_bytes(bytes(100))
    np.testing.assert_array_equal(load()["image"], images(20, seed=20)[:, None])
    assert cached(tmp_path) == sorted(MNIST_FILES["train"])


def test_a_checksum_mismatch_is_an_error_and_leaves_nothing(
    mnist: fetch.DataSet, server: Server, tmp_path: Path
) -> None:
    right = server.files[f"/mnist/{NAMES[0]}"]
    server.files[f"/mnist/{NAMES[0]}"] = right[:-1] + bytes([right[-1] ^ 1])
    text = failure(load)
    assert "is not the published file" in text
    assert "checksum mismatch" in text
    assert hashlib.sha256(right).hexdigest() in text
    assert cached(tmp_path) == []


def test_a_file_of_another_size_is_refused_before_it_is_stored(
    mnist: fetch.DataSet, server: Server, tmp_path: Path
) -> None:
    server.files[f"/mnist/{NAMES[0]}"] = b"<html>please log in</html>"
    assert "the server offers 26 bytes" in failure(load, MissingData)
    assert cached(tmp_path) == []


def test_the_second_mirror_steps_in(
    mnist: fetch.DataSet, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LAYERFORGE_MIRROR")
    both = dataclasses.replace(mnist, mirrors=(f"{server.url}/gone", f"{server.url}/mnist"))
    monkeypatch.setattr(SOURCES.get("MNIST"), "files", both)
    assert len(load()["label"]) == 20
    assert server.requests[0][0] == f"/gone/{NAMES[0]}"


def test_when_all_mirrors_fail_each_has_its_reason_and_there_is_a_way_out(
    mnist: fetch.DataSet, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LAYERFORGE_MIRROR")
    with socket.socket() as free:  # a port at which nobody listens
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    both = dataclasses.replace(mnist, mirrors=(f"http://127.0.0.1:{port}", f"{server.url}/gone"))
    monkeypatch.setattr(SOURCES.get("MNIST"), "files", both)
    text = failure(load, MissingData)
    assert f"http://127.0.0.1:{port}/{NAMES[0]}: [Errno" in text
    assert f"{server.url}/gone/{NAMES[0]}: HTTP 404" in text
    assert all(name in text for name in NAMES)
    assert "LAYERFORGE_MIRROR" in text
    assert len([path for path, _ in server.requests]) == 1  # the other files are not tried


def test_a_server_that_never_answers_is_given_up(mnist: fetch.DataSet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "ANSWER_SECONDS", 0.5)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        monkeypatch.setenv("LAYERFORGE_MIRROR", f"http://127.0.0.1:{silent.getsockname()[1]}")
        assert "no answer within 0.5 s" in failure(load, MissingData)


def test_offline_tries_nothing(mnist: fetch.DataSet, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAYERFORGE_OFFLINE", "1")
    assert "LAYERFORGE_OFFLINE is set" in failure(load, MissingData)
    assert server.requests == []


def test_a_mirror_that_is_no_address(mnist: fetch.DataSet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAYERFORGE_MIRROR", "file:///etc")
    assert "must be an address" in failure(load, ConfigError)


def test_an_unwritable_cache_is_said(mnist: fetch.DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "plain").write_text("a file")
    monkeypatch.setenv("LAYERFORGE_CACHE", str(tmp_path / "plain"))
    assert "cannot be written" in failure(load)


def test_a_failed_rename_leaves_no_half_file(
    mnist: fetch.DataSet, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object) -> None:
        raise PermissionError(1, "not permitted")

    with monkeypatch.context() as patch:
        patch.setattr("os.replace", refuse)
        assert "cannot be written (not permitted)" in failure(load)
    assert NAMES[0] not in cached(tmp_path)
    server.requests.clear()
    assert len(load()["label"]) == 20  # the part was whole: only the labels are downloaded
    assert [path for path, _ in server.requests] == [f"/mnist/{NAMES[1]}"]


def test_transfer_gives_its_reason_and_keeps_the_old_file(server: Server, tmp_path: Path) -> None:
    target = tmp_path / "a.bin"
    target.write_bytes(b"old")
    server.files["/a.bin"] = b"new!"
    with pytest.raises(TransferError, match="checksum mismatch"):
        transfer(f"{server.url}/a.bin", RemoteFile("a.bin", 4, "0" * 64), target, 5.0, False)
    assert target.read_bytes() == b"old"
    transfer(f"{server.url}/a.bin", RemoteFile("a.bin", 4, hashlib.sha256(b"new!").hexdigest()), target, 5.0, False)
    assert target.read_bytes() == b"new!"


def test_every_checksum_is_a_sha_256_and_https_comes_first() -> None:
    for data_set in fetch.SETS.values():
        assert data_set.mirrors[0].startswith("https://")
        for wanted in (w for part in data_set.parts.values() for w in part):
            assert len(bytes.fromhex(wanted.remote.sha256)) == 32


def reason(url: str, tmp_path: Path, size: int = 5000) -> str:
    """Why a transfer of a file of that size failed."""
    with pytest.raises(TransferError) as caught:
        transfer(url, RemoteFile("a.bin", size, "0" * 64), tmp_path / "a.bin", 5.0, False)
    return str(caught.value)


@contextmanager
def saying(*pieces: bytes, pause: float = 0.0) -> Iterator[str]:
    """A server that answers anything with these bytes, and its address."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(5)

        def serve() -> None:
            with suppress(OSError):
                connection, _ = listening.accept()
                with connection:
                    connection.recv(65536)
                    for piece in pieces:
                        connection.sendall(piece)
                        time.sleep(pause)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/a.bin"
    thread.join(5)


OK = b"HTTP/1.1 200 OK\r\n"


def test_a_server_that_drips_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A byte every 20 ms never ends within a socket's time limit, nor does it come to 1 KiB a second."""
    monkeypatch.setattr(download, "WINDOW", 0.1)
    with saying(OK + b"Content-Length: 5000\r\n\r\n", *[b"x"] * 60, pause=0.02) as url:
        began = time.monotonic()
        assert re.match(r"too slow: \d+ bytes in 0\.\d s", reason(url, tmp_path))
        assert time.monotonic() - began < 1
    assert 0 < (tmp_path / "a.bin.part").stat().st_size < 60


@pytest.mark.parametrize("length", ["abc", "-5", "9" * 30, "9" * 5000, "0x10", "١٢"])
def test_lengths_that_are_none(tmp_path: Path, length: str) -> None:
    with saying(OK + f"Content-Length: {length}\r\n\r\n".encode() + b"x" * 10) as url:
        assert "the server offers" in reason(url, tmp_path)


@pytest.mark.parametrize("given", ["bytes 3-9/abc", f"bytes {'9' * 5000}-1/2", "bytes -3-9/10", "nonsense"])
def test_ranges_that_are_none(tmp_path: Path, given: str) -> None:
    (tmp_path / "a.bin.part").write_bytes(b"xxx")
    with saying(f"HTTP/1.1 206 Partial\r\nContent-Range: {given}\r\n\r\n".encode()) as url:
        assert "continues at the wrong place" in reason(url, tmp_path)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 404 \x1b[2Jgone\x9b31m\r\n\r\n",
        b"\x1b[2Jno HTTP at all\r\n\r\n",
        OK + b"Content-Length: \x1b[2J\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: ftp://\x1b[2Jelsewhere/\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: file:///etc/passwd\r\n\r\n",
    ],
)
def test_what_a_server_says_moves_no_cursor(tmp_path: Path, answer: bytes) -> None:
    with saying(answer) as url:
        text = reason(url, tmp_path)
    assert text.isprintable()
    assert "elsewhere" not in text or "not as safe" in text


def test_a_tag_that_cannot_be_sent_back_is_not_kept(tmp_path: Path) -> None:
    with saying(OK + b'ETag: "\x1b\xe9"\r\nContent-Length: 5000\r\n\r\nxxx') as url:
        assert "broke off after 3 of 5000" in reason(url, tmp_path)
    assert json.loads((tmp_path / "a.bin.part.json").read_text())["validator"] is None


def test_no_redirection_from_https_to_http(monkeypatch: pytest.MonkeyPatch) -> None:
    opener = download._opener()
    handler = next(h for h in opener.handlers if type(h).__name__ == "Redirections")
    secure, open_ = (Request(f"{scheme}://a.example/x") for scheme in ("https", "http"))
    for request, target, fine in (
        (secure, "https://b.example/x", True),
        (open_, "https://b.example/x", True),
        (open_, "http://b.example/x", True),
        (secure, "http://b.example/x", False),
        (open_, "file:///etc/passwd", False),
    ):
        if fine:
            assert handler.redirect_request(request, None, 302, "Found", {}, target).full_url == target
        else:
            with pytest.raises(URLError, match="not as safe"):
                handler.redirect_request(request, None, 302, "Found", {}, target)


@pytest.fixture
def cifar(server: Server, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """A small CIFAR-10 archive on the server, with something in it that nobody wants."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for i, name in enumerate(("data_batch_1.bin", "data_batch_2.bin", "test_batch.bin", "../evil.bin")):
            record = np.full((2, 3073), i, np.uint8).tobytes()
            info = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            info.size = len(record)
            tar.addfile(info, io.BytesIO(record))
    data = buffer.getvalue()
    archive = dataclasses.replace(fetch._CIFAR_ARCHIVE, size=len(data), sha256=hashlib.sha256(data).hexdigest())
    parts = {
        part: tuple(dataclasses.replace(w, remote=archive) for w in wanted)
        for part, wanted in fetch.CIFAR10.parts.items()
    }
    monkeypatch.setattr(SOURCES.get("CIFAR10"), "files", dataclasses.replace(fetch.CIFAR10, parts=parts))
    monkeypatch.setenv("LAYERFORGE_MIRROR", server.url)
    server.files["/cifar10/cifar-10-binary.tar.gz"] = data
    return data


def load_cifar(split: str) -> dict[str, np.ndarray]:
    return SOURCES.get("CIFAR10")(split=split).load(progress=False)


def test_an_archive_is_unpacked_into_the_cache(cifar: bytes, server: Server, tmp_path: Path) -> None:
    np.testing.assert_array_equal(load_cifar("train")["label"], [0, 0, 1, 1])
    np.testing.assert_array_equal(load_cifar("test")["label"], [2, 2])
    names = sorted(path.name for path in (tmp_path / "cache/cifar10").iterdir())
    assert names == ["data_batch_1.bin", "data_batch_2.bin", "test_batch.bin"]
    assert not list(tmp_path.rglob("evil.bin"))
    assert len(server.requests) == 1


def test_an_archive_that_is_here_needs_no_network(
    cifar: bytes, server: Server, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAYERFORGE_OFFLINE", "1")
    (here / "data/cifar10").mkdir(parents=True)
    (here / "data/cifar10/cifar-10-binary.tar.gz").write_bytes(cifar)
    assert len(load_cifar("train")["label"]) == 4
    assert (here / "data/cifar10/cifar-10-binary.tar.gz").exists()


@pytest.mark.parametrize("spoil", [lambda d: d[: len(d) // 2], lambda d: b"no archive", lambda d: gzip.compress(b"x")])
def test_a_damaged_archive_is_an_error(cifar: bytes, here: Path, spoil: Callable[[bytes], bytes]) -> None:
    (here / "data/cifar10").mkdir(parents=True)
    (here / "data/cifar10/cifar-10-binary.tar.gz").write_bytes(spoil(cifar))
    assert "cifar-10-binary.tar.gz" in failure(lambda: load_cifar("train"))


def test_verify_tells_right_from_wrong(mnist: fetch.DataSet, here: Path, tmp_path: Path) -> None:
    load()
    write_mnist(here / "data/mnist", test=11, parts=("test",))
    found = {path.name: right for path, right in fetch.verify(mnist)}
    assert found == {NAMES[0]: True, NAMES[1]: True, NAMES[2]: False, NAMES[3]: False}


SECTION = {
    "train": {"type": "MNIST", "split": "train[:15]", "batch_size": 5},
    "val": {"type": "MNIST", "split": "train[15:20]"},
    "test": {"type": "MNIST", "split": "test[:4]"},
    "fallback": {"type": "Digits"},
}


def test_the_fallback_replaces_all_three_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAYERFORGE_OFFLINE", "1")
    data = open_data(DataSection.from_config(SECTION))
    assert data.fallback_used
    assert "MNIST WAS NOT FOUND" in data.notice
    assert "Digits (synthetic digits) IS USED INSTEAD" in data.notice
    assert [loader.samples for loader in (data.train, data.val, data.test)] == [15, 5, 4]
    assert data.section.config["train"]["type"] == data.section.config["test"]["type"] == "Digits"
    assert data.section.config["fallback"] is None


def test_no_fallback_where_the_set_is_here(here: Path) -> None:
    write_mnist(here / "data/mnist")
    data = open_data(DataSection.from_config(SECTION))
    assert not data.fallback_used
    assert data.notice == ""
    assert data.section.config["fallback"] is not None


def test_no_fallback_where_the_set_can_be_downloaded(mnist: fetch.DataSet) -> None:
    assert not open_data(DataSection.from_config(SECTION), progress=False).fallback_used


def test_an_incomplete_set_is_an_error_not_a_fallback(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAYERFORGE_OFFLINE", "1")
    write_mnist(here / "data/mnist", parts=("train",))
    text = failure(lambda: open_data(DataSection.from_config(SECTION)))
    assert "MNIST is incomplete: t10k-images-idx3-ubyte.gz is not here" in text


def test_a_corrupt_set_is_an_error_not_a_fallback(here: Path) -> None:
    write_mnist(here / "data/mnist")
    path = here / "data/mnist" / NAMES[0]
    path.write_bytes(path.read_bytes()[:100])
    assert "cut off" in failure(lambda: open_data(DataSection.from_config(SECTION)))


def test_wrong_downloads_are_an_error_not_a_fallback(mnist: fetch.DataSet, server: Server) -> None:
    right = server.files[f"/mnist/{NAMES[0]}"]
    server.files[f"/mnist/{NAMES[0]}"] = right[::-1]
    assert "checksum mismatch" in failure(lambda: open_data(DataSection.from_config(SECTION), progress=False))


def test_without_a_fallback_missing_data_is_the_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAYERFORGE_OFFLINE", "1")
    section = {key: value for key, value in SECTION.items() if key != "fallback"}
    failure(lambda: open_data(DataSection.from_config(section)), MissingData)


def test_an_earlier_choice_binds(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAYERFORGE_OFFLINE", "1")
    section = DataSection.from_config(SECTION)
    failure(lambda: open_data(section, use_fallback=False), MissingData)
    write_mnist(here / "data/mnist")
    assert open_data(section, use_fallback=True).fallback_used


def test_a_missing_local_file_is_never_a_fallback(here: Path) -> None:
    section = DataSection.from_config({"train": {"type": "NPZ", "path": "gone.npz"}, "fallback": "Digits"})
    assert "there is no such file" in failure(lambda: open_data(section))
