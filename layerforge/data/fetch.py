"""Where the files of the public data sets are: looked for in a few folders, else downloaded once.

    data/<set>/  in the working folder, then  $LAYERFORGE_DATA/<set>/,  then the cache:
    $LAYERFORGE_CACHE/<set>/  or  $XDG_CACHE_HOME/layerforge/<set>/  or  ~/.cache/layerforge/<set>/

What is found is taken as it is (the parsers check its form); what is downloaded must have the published SHA-256.
LAYERFORGE_MIRROR names an intranet copy (`<mirror>/<set>/<file>`) that replaces the mirrors; LAYERFORGE_OFFLINE=1
forbids any attempt to download.
"""

from __future__ import annotations

import os
import shutil
import tarfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from ..schema.errors import ConfigError, DataError, MissingData
from .download import ChecksumError, RemoteFile, TransferError, sha256_of, transfer, writing
from .files import file_error, reading, size_of

ANSWER_SECONDS = 9.0  # for all mirrors of a file together, until one of them answers


@dataclass(frozen=True)
class Wanted:
    """A file that a part of a set needs: the names under which it may be stored here, and where it comes from.

    `many`: all the files that match belong together (a subset is fine); otherwise the first name that exists counts.
    """

    patterns: tuple[str, ...]
    remote: RemoteFile
    many: bool = False


@dataclass(frozen=True)
class DataSet:
    """A public data set: its folder, its mirrors and the files of each part."""

    folder: str
    title: str
    mirrors: tuple[str, ...]
    parts: dict[str, tuple[Wanted, ...]]


def _idx(name: str, size: int, sha256: str) -> Wanted:
    plain = name.removesuffix(".gz")
    return Wanted((name, plain, plain.replace("-idx", ".idx")), RemoteFile(name, size, sha256))


MNIST = DataSet(
    "mnist",
    "MNIST",
    ("https://ossci-datasets.s3.amazonaws.com/mnist", "https://storage.googleapis.com/cvdf-datasets/mnist"),
    {
        "train": (
            _idx(
                "train-images-idx3-ubyte.gz",
                9912422,
                "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            ),
            _idx(
                "train-labels-idx1-ubyte.gz", 28881, "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"
            ),
        ),
        "test": (
            _idx(
                "t10k-images-idx3-ubyte.gz", 1648877, "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"
            ),
            _idx("t10k-labels-idx1-ubyte.gz", 4542, "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"),
        ),
    },
)
FASHION_MNIST = DataSet(
    "fashion_mnist",
    "Fashion-MNIST",
    (
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion",
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",  # it has no https; the checksums tell
    ),
    {
        "train": (
            _idx(
                "train-images-idx3-ubyte.gz",
                26421880,
                "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
            ),
            _idx(
                "train-labels-idx1-ubyte.gz", 29515, "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"
            ),
        ),
        "test": (
            _idx(
                "t10k-images-idx3-ubyte.gz", 4422102, "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"
            ),
            _idx("t10k-labels-idx1-ubyte.gz", 5148, "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"),
        ),
    },
)
_CIFAR_FILES = (*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin")
_CIFAR_ARCHIVE = RemoteFile(
    "cifar-10-binary.tar.gz",
    170052171,
    "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
    _CIFAR_FILES,
)


def _cifar(stem: str) -> tuple[Wanted, ...]:
    names = (f"{stem}*.bin", f"{stem}*.bin.gz")
    return (Wanted((*names, *(f"cifar-10-batches-bin/{name}" for name in names)), _CIFAR_ARCHIVE, many=True),)


CIFAR10 = DataSet(
    "cifar10",
    "CIFAR-10",
    ("https://www.cs.toronto.edu/~kriz",),
    {"train": _cifar("data_batch_"), "test": _cifar("test_batch")},
)
TINY_SHAKESPEARE = DataSet(
    "text",
    "TinyShakespeare",
    ("https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare",),
    {
        "all": (
            Wanted(
                ("tinyshakespeare.txt", "input.txt"),
                RemoteFile("input.txt", 1115394, "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"),
            ),
        )
    },
)
SETS = {data_set.folder: data_set for data_set in (MNIST, FASHION_MNIST, CIFAR10, TINY_SHAKESPEARE)}


def cache_root() -> Path:
    """Where what can be had again is kept."""
    own = os.environ.get("LAYERFORGE_CACHE")
    if own:
        return Path(own).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "layerforge"


def cache_folder(data_set: DataSet) -> Path:
    """Where downloads of a set are kept."""
    return cache_root() / data_set.folder


def folders(data_set: DataSet) -> list[Path]:
    """Where the files of a set are looked for, in order."""
    given = os.environ.get("LAYERFORGE_DATA")
    return [
        Path("data") / data_set.folder,
        *([Path(given).expanduser() / data_set.folder] if given else []),
        cache_folder(data_set),
    ]


def locate(data_set: DataSet, wanted: Wanted) -> list[Path]:
    """The files here that are what is wanted: those of the first folder that has any. Empty where there are none."""
    for folder in folders(data_set):
        found: dict[str, Path] = {}
        for pattern in wanted.patterns:
            for path in sorted(folder.glob(pattern)):
                found.setdefault(path.name.removesuffix(".gz"), path)
        paths = [found[name] for name in sorted(found)]
        if paths:
            return paths if wanted.many else paths[:1]
    return []


def present(data_set: DataSet) -> list[Path]:
    """Every file of the set that is here, whole or not."""
    every = [wanted for part in data_set.parts.values() for wanted in part]
    archives = [folder / w.remote.name for w in every for folder in folders(data_set)]
    here = [path for wanted in every for path in locate(data_set, wanted)]
    return list(dict.fromkeys(here + [path for path in archives if path.exists()]))


def ensure(data_set: DataSet, part: str, progress: bool | None = None) -> list[list[Path]]:
    """The files of a part, fetched where they are not here.

    Errors   MissingData where no file of the set is here and no mirror can be reached; DataError where only some are
             here, or where what a mirror delivers is wrong
    """
    wanted = data_set.parts[part]
    missing = [w.remote for w in wanted if not locate(data_set, w)]
    for remote in dict.fromkeys(missing):
        archive = next(
            (f / remote.name for f in folders(data_set) if remote.unpack and (f / remote.name).exists()), None
        )
        fetch(data_set, remote, archive, progress)
    found = [locate(data_set, w) for w in wanted]
    for paths, w in zip(found, wanted, strict=True):
        if not paths:
            raise DataError(f"{data_set.title}: {w.remote.name} holds no {w.patterns[0]}", hint=offline_way(data_set))
    return found


def fetch(data_set: DataSet, remote: RemoteFile, archive: Path | None = None, progress: bool | None = None) -> Path:
    """Download one file of a set into the cache; an archive (one that is here, or the download) is unpacked there."""
    cache = cache_folder(data_set)
    with writing(cache):
        cache.mkdir(parents=True, exist_ok=True)
    target = cache / remote.name
    with _alone_in(cache):
        if archive is None and not target.exists():  # another process may have been faster
            _download(data_set, remote, target, progress)
        if remote.unpack:
            unpack(archive or target, remote, cache)
            if archive is None:
                target.unlink()
    return target


def mirrors(data_set: DataSet) -> list[str]:
    """The base addresses to try, in order."""
    own = os.environ.get("LAYERFORGE_MIRROR")
    if not own:
        return list(data_set.mirrors)
    if not own.startswith(("http://", "https://")):
        raise ConfigError(f"LAYERFORGE_MIRROR must be an address that begins with http:// or https://, got '{own}'")
    return [f"{own.rstrip('/')}/{data_set.folder}"]


def _download(data_set: DataSet, remote: RemoteFile, target: Path, progress: bool | None) -> None:
    reasons, wrong = [], False
    if os.environ.get("LAYERFORGE_OFFLINE", "0") not in ("", "0"):
        reasons.append("LAYERFORGE_OFFLINE is set: nothing was tried")
    else:
        bases, waited = mirrors(data_set), 0.0
        for i, base in enumerate(bases):
            url, began = f"{base}/{remote.name}", time.monotonic()
            try:
                transfer(url, remote, target, max(0.5, (ANSWER_SECONDS - waited) / (len(bases) - i)), progress)
                return
            except TransferError as problem:
                reasons.append(f"{url}: {problem}")
                wrong |= isinstance(problem, ChecksumError)
                waited += time.monotonic() - began
    _explain(data_set, remote, reasons, wrong)


def _explain(data_set: DataSet, remote: RemoteFile, reasons: list[str], wrong: bool) -> None:
    """Raise the right error for a file that could not be fetched: only a set that is nowhere is MissingData."""
    listed = "".join(f"\n     {reason}" for reason in reasons)
    here = present(data_set)
    if wrong:
        raise DataError(
            f"{data_set.title}: the download of {remote.name} is not the published file{listed}",
            hint=offline_way(data_set),
        )
    if here:
        raise DataError(
            f"{data_set.title} is incomplete: {remote.name} is not here and could not be downloaded{listed}\n"
            f"     here are: {', '.join(str(path) for path in here)}",
            hint=offline_way(data_set),
        )
    raise MissingData(f"{data_set.title} is not here and could not be downloaded{listed}", hint=offline_way(data_set))


def offline_way(data_set: DataSet) -> str:
    """How to get the set without a network."""
    names = dict.fromkeys(w.remote.name for part in data_set.parts.values() for w in part)
    own = f" or $LAYERFORGE_DATA/{data_set.folder}/" if not os.environ.get("LAYERFORGE_DATA") else ""
    where = " or ".join(f"{folder}{os.sep}" for folder in folders(data_set))
    return (
        f"without a network: put {', '.join(names)}\n       into {where}{own},\n"
        "       or name a copy in your network with LAYERFORGE_MIRROR"
    )


def unpack(archive: Path, remote: RemoteFile, folder: Path) -> None:
    """Take the wanted files out of a .tar.gz, each in place only when it is whole. Nothing else is written."""
    damaged = file_error(archive, "the archive is damaged", "delete it and run again to download it")
    try:
        size_of(archive)  # no pipe, no device
        with reading(archive), tarfile.open(archive, "r:gz") as tar:
            for member in tar:
                name = Path(member.name).name
                if name in remote.unpack and member.isfile() and not (folder / name).exists():
                    _extract(tar, member, folder / name, damaged)
    except tarfile.TarError:
        raise damaged from None


def _extract(tar: tarfile.TarFile, member: tarfile.TarInfo, target: Path, damaged: DataError) -> None:
    source, temporary = tar.extractfile(member), target.with_name(target.name + ".part")
    if source is None:
        raise damaged
    with writing(target), source, open(temporary, "wb") as out:
        shutil.copyfileobj(source, out)
        out.flush()
        os.fsync(out.fileno())
    if temporary.stat().st_size != member.size:
        temporary.unlink()
        raise damaged
    with writing(target):
        os.replace(temporary, target)


def verify(data_set: DataSet) -> list[tuple[Path, bool]]:
    """The published files that are here, and whether their checksums are right (unpacked files have none)."""
    remotes = dict.fromkeys(w.remote for part in data_set.parts.values() for w in part)
    paths = [(folder / remote.name, remote) for remote in remotes for folder in folders(data_set)]
    return [(path, sha256_of(path) == remote.sha256) for path, remote in paths if path.is_file()]


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Let one process at a time download into a folder, where the system has such locks."""
    try:
        import fcntl
    except ImportError:  # Windows: two downloads at once would both fail their checksum and be repeated
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # some network file systems have none
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
