"""One file over HTTP: resumed where it broke off, checked, and in place only when it is whole."""

from __future__ import annotations

import hashlib
import json
import os
import queue
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..schema.texts import visible
from ..snapshot import sync_folder
from .files import file_error

CHUNK = 1 << 16
STALLED = 20.0  # seconds without a byte after which a transfer is given up
WINDOW = 20.0  # seconds over which a transfer has to bring ...
SLOWEST = 1 << 10  # ... this many bytes a second: a server that drips is given up, too
LENGTH = re.compile(r"[0-9]{1,18}")
RANGE = re.compile(r"bytes ([0-9]{1,18})-[0-9]{1,18}/([0-9]{1,18}|\*)")
TAG = re.compile(r"[\x20-\x7e]{1,200}")


class TransferError(Exception):
    """A mirror did not deliver; its text is the reason. What came is kept for the next try."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            " ".join(visible(reason[:500]).split())
        )  # a server's words: one line, nothing that moves cursors


class ChecksumError(TransferError):
    """A mirror delivered the whole file, but not the right one."""


@dataclass(frozen=True)
class RemoteFile:
    """A file as it was published. `unpack` names the files to take out of it where it is an archive."""

    name: str
    size: int
    sha256: str
    unpack: tuple[str, ...] = ()


def transfer(url: str, file: RemoteFile, target: Path, seconds: float, progress: bool | None = None) -> None:
    """Bring `url` to `target`: first to `target.part`, then, when size and checksum are right, renamed.

    A part left by an earlier try is continued. `seconds` bounds the time until the server answers.

    Errors   TransferError with the reason; ChecksumError for wrong content (the part is removed); DataError where the
             disk cannot be written
    """
    part = target.with_name(target.name + ".part")
    if part.exists() and not part.is_file():
        raise file_error(part, "is not an ordinary file", "remove it")
    resumed = part.exists()
    try:
        _fill(url, file, part, seconds, progress)
        _verify(file, part)
    except ChecksumError:
        if not resumed:
            raise
        _fill(url, file, part, seconds, progress)  # the old part may have been of another file: once more from zero
        _verify(file, part)
    with writing(target):
        os.replace(part, target)
        _note(part).unlink(missing_ok=True)
        sync_folder(target.parent)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn a failure to write into a DataError with the way out."""
    try:
        yield
    except OSError as problem:
        hint = "make room or give the rights, or name another folder with LAYERFORGE_CACHE"
        raise file_error(path, f"cannot be written ({problem.strerror or problem})", hint) from None


def sha256_of(path: Path) -> str:
    """The SHA-256 checksum of a file, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _note(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _verify(file: RemoteFile, part: Path) -> None:
    found = sha256_of(part)
    if found != file.sha256:
        part.unlink()
        _note(part).unlink(missing_ok=True)
        raise ChecksumError(f"checksum mismatch: SHA-256 {found}, expected {file.sha256}")


def _fill(url: str, file: RemoteFile, part: Path, seconds: float, progress: bool | None) -> None:
    """Download into `part`, continuing what is there when the server still has the same file."""
    have = part.stat().st_size if part.exists() else 0
    if have >= file.size:
        if have == file.size:
            return
        have = 0
    with _answer(url, have, _validator(part, url), seconds) as response:
        start = _starting_point(response, have, file)
        with writing(part):
            _note(part).write_text(json.dumps({"url": url, "validator": _validator_of(response)}))
        _copy(response, part, start, file, progress)


def _answer(url: str, have: int, validator: str | None, seconds: float) -> Any:
    """The server's answer, at most `seconds` later: looking up a name has no time limit of its own."""
    import threading
    from urllib.error import HTTPError, URLError
    from urllib.request import Request

    headers = {"User-Agent": "layerforge"}
    if have:
        headers["Range"] = f"bytes={have}-"
        if validator:
            headers["If-Range"] = validator
    box: queue.SimpleQueue[Any] = queue.SimpleQueue()
    late = threading.Event()

    def ask() -> None:
        try:
            response = _opener().open(Request(url, headers=headers), timeout=STALLED)
        except HTTPError as problem:
            problem.close()
            box.put(f"HTTP {problem.code} {problem.reason}")
        except URLError as problem:
            box.put(str(problem.reason))
        except Exception as problem:  # whatever a broken server provokes in the library is this mirror's failure
            box.put(f"{type(problem).__name__}: {problem}")
        else:
            box.put(response)
            if late.is_set():
                response.close()

    threading.Thread(target=ask, daemon=True, name="layerforge-download").start()
    try:
        got = box.get(timeout=seconds)
    except queue.Empty:
        late.set()
        raise TransferError(f"no answer within {seconds:.1f} s") from None
    if isinstance(got, str):
        raise TransferError(got)
    return got


def _opener() -> Any:
    """urllib's way to open addresses, which follows a redirection to http or https only, and from https to https."""
    from urllib.error import URLError
    from urllib.parse import urlsplit
    from urllib.request import HTTPRedirectHandler, build_opener

    class Redirections(HTTPRedirectHandler):
        def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
            if urlsplit(newurl).scheme not in (("https",) if req.type == "https" else ("http", "https")):
                raise URLError(f"redirected to {newurl}, which is not as safe")
            return super().redirect_request(req, fp, code, msg, headers, newurl)

    return build_opener(Redirections)


def _validator(part: Path, url: str) -> str | None:
    """What the server said of the file when the part was begun: it continues only an unchanged file."""
    try:
        note = json.loads(_note(part).read_text())
        return note["validator"] if note["url"] == url else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _validator_of(response: Any) -> str | None:
    tag = response.headers.get("ETag")
    known = tag if tag and not tag.startswith("W/") else response.headers.get("Last-Modified")
    return known if known and TAG.fullmatch(known) else None  # it is sent back with the next request


def _starting_point(response: Any, have: int, file: RemoteFile) -> int:
    """Where the answer's bytes belong; TransferError where it is visibly not the file."""
    start, total = 0, response.headers.get("Content-Length")
    if response.status == 206:
        match = RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if match is None or int(match[1]) != have:
            raise TransferError("the server continues at the wrong place")
        start, total = have, match[2]
    if total and total != "*" and (not LENGTH.fullmatch(total) or int(total) != file.size):
        raise TransferError(f"the server offers {total[:40]} bytes, the file has {file.size}")
    return start


def _copy(response: Any, part: Path, start: int, file: RemoteFile, progress: bool | None) -> None:
    from tqdm import tqdm

    hidden = None if progress is None else not progress
    bar = tqdm(total=file.size, initial=start, unit="B", unit_scale=True, desc=file.name, disable=hidden)
    with writing(part):
        out = open(part, "r+b" if start else "wb")  # noqa: SIM115  (closed below; only its opening may fail here)
    with bar, out:
        done = start
        out.seek(start)
        began, before = time.monotonic(), done
        while done < file.size:
            data = _read(response, min(CHUNK, file.size - done), done, file)
            with writing(part):
                out.write(data)
            done += len(data)
            bar.update(len(data))
            seconds = time.monotonic() - began
            if seconds >= WINDOW:
                if done < file.size and done - before < SLOWEST * seconds:
                    raise TransferError(f"too slow: {done - before} bytes in {seconds:.1f} s")
                began, before = time.monotonic(), done
        with writing(part):
            out.truncate()
            out.flush()
            os.fsync(out.fileno())


def _read(response: Any, count: int, done: int, file: RemoteFile) -> bytes:
    from http.client import HTTPException

    try:
        data = response.read1(count)  # what is there: `read` would wait for all of it
    except (OSError, HTTPException, ValueError) as problem:
        raise TransferError(f"broke off after {done} of {file.size} bytes ({problem})") from None
    if not data:
        raise TransferError(f"broke off after {done} of {file.size} bytes")
    return data
