"""The run directory: everything that a run leaves behind, in the layout that docs/runs.md describes.

    runs/<name>/<timestamp>-<4 hex digits>/
        config.yaml  config.resolved.yaml  command.json  env.json
        train.log  metrics.csv  metrics.jsonl  checkpoints/  summary.json  STATUS
"""

from __future__ import annotations

import csv
import io
import os
import re
import secrets
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..config.document import Config
from ..schema import user_modules
from ..schema.errors import ConfigError, DataError, LayerForgeError
from ..schema.locations import Place
from ..schema.regular_files import irregular, regular
from ..schema.texts import from_json, printable, to_json
from ..snapshot import atomic_write, remove_litter, writing

LONGEST_NAME = 255
FEW = 5  # runs that an error lists
MOST_FOLDERS = 4  # that are looked into for runs, from the one named upwards
MOST_LINKS = 40  # that lead from one to the next
RUN = re.compile(r"\d{8}-\d{6}-[0-9a-f]{4}")  # the name of a run's folder
LONGEST_LINE = 1 << 20  # characters of a row of metrics
STATUSES = ("running", "finished", "interrupted", "diverged", "failed")


class RunDir:
    """The folder of one run.

    path    as it was named: what messages show
    place   the same from the root: what a run writes by, as its hooks may change the working folder
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.place = self.path.absolute()
        self.release: Callable[[], Any] = lambda: None  # what ends `claim`

    @classmethod
    def create(cls, output_dir: str | Path, name: str) -> RunDir:
        """Make a new folder for a run of that name, and let `latest` point to it.

        Errors   DataError (exit 3) where the folder cannot be made
        """
        stamp = time.strftime("%Y%m%d-%H%M%S")
        run = cls(Path(output_dir) / name / f"{stamp}-{secrets.token_hex(2)}")
        try:
            run.checkpoints.mkdir(parents=True)
        except (OSError, ValueError) as problem:  # ValueError: a path with a NUL in it
            hint = "choose another place with --output-dir"
            raise DataError(f"cannot make {run.path}: {getattr(problem, 'strerror', problem)}", hint=hint) from None
        try:
            run.claim()
            run.set_status("running")
            with writing(run.path.parent / "latest", "the new run was not begun"):
                _point_latest(run.path)
        except BaseException:
            with suppress(LayerForgeError):  # a folder that is there tells how its run ended
                run.set_status("failed")
            run.release()
            raise
        return run

    def claim(self) -> None:
        """Keep other processes from training this run, until `release` or the end of this one, however it ends.

        Where the file system has no such locks nothing is done.

        Errors   DataError (exit 3) where another process trains it
        """
        try:
            import fcntl
        except ImportError:  # Windows
            return
        with writing(self.path, "the run cannot be trained in it"):
            descriptor = os.open(self.place, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            hint = "wait for its end, or stop it: the first SIGTERM lets it save"
            raise DataError(f"the run {self.path} is being trained by another process", hint=hint) from None
        except OSError:
            os.close(descriptor)
        else:
            self.release = weakref.finalize(self, os.close, descriptor)

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    def write_text(self, name: str, text: str) -> None:
        atomic_write(self.place / name, text.encode("utf-8", "surrogateescape"))

    def write_json(self, name: str, value: Any) -> None:
        self.write_text(name, to_json(value, indent=2) + "\n")

    def set_status(self, status: str) -> None:
        """One of STATUSES, in the file STATUS; on a full disk in the place of the old one."""
        assert status in STATUSES
        path = self.place / "STATUS"
        try:
            if irregular(path):  # it is the run's own file, whatever took its place
                path.unlink()
            self.write_text("STATUS", status + "\n")
        except (DataError, OSError):
            try:
                with open(path, "r+b", opener=regular) as file:
                    file.write(status.encode() + b"\n")
                    file.truncate()
            except OSError:
                pass
            else:
                return
            raise

    def log(self, line: str) -> None:
        """Append a line to train.log."""
        append(self.place / "train.log", line + "\n")

    def remove_litter(self) -> None:
        """Remove what a killed process was writing when it was killed."""
        for folder in (self.place, self.place / "checkpoints"):
            with writing(folder, "the run cannot go on in it"):
                remove_litter(folder)


def _point_latest(path: Path) -> None:
    """`latest` beside the run is a symlink to it, or a file with its name where there cannot be one.

    Whichever it becomes, the other is taken away: it would name an older run.
    """
    link, file = path.parent / "latest", path.parent / "latest.txt"
    temporary = path.parent / f".latest.{secrets.token_hex(4)}.tmp"
    try:
        temporary.symlink_to(path.name)
        temporary.replace(link)
    except OSError:
        temporary.unlink(missing_ok=True)
        file.write_text(path.name + "\n")
        if link.is_symlink():
            link.unlink()
    else:
        file.unlink(missing_ok=True)


def append(path: Path, text: str) -> None:
    """Add a text to the end of a file; DataError (exit 3) where it cannot be."""
    with (
        writing(path, "what was there before is untouched"),
        open(path, "a", encoding="utf-8", newline="", opener=regular) as file,
    ):
        file.write(printable(text))


def find_run(path: str | Path) -> RunDir | None:
    """The run that a path names: its folder, a link to that, or the folder of its name, whose newest run it then is.

    Links are resolved here, once: a run that begins later and becomes the `latest` changes nothing for whoever holds
    this one. None when it is not a run.

    Errors   DataError where a folder of its own is called `latest`, beside runs: which is meant is not known
    """
    path = _followed(Path(path))
    if path.name == "latest" and _is_run(path) and (others := runs_in(path.parent)):
        message = f"{path} is a folder of its own, no link to the newest run"
        raise DataError(message, hint=f"name a run: {', '.join(others)}; or give the folder another name")
    return _found(path)


def _found(path: Path) -> RunDir | None:
    if _is_run(path):
        return RunDir(path)
    link = path / "latest"
    named = {_followed(link)} if link.is_symlink() else set()
    if (name := _in_pointer(path / "latest.txt")) is not None:
        named.add(path / name)
    # Where an earlier version left both, the names tell which is the newer: they begin with the time.
    newest = max(filter(_is_run, named), key=lambda run: run.name, default=None)
    if newest is None and link.is_dir() and not link.is_symlink():  # an ordinary folder, which nobody keeps up to date
        others = [run for run in path.iterdir() if RUN.fullmatch(run.name) and _is_run(run)]
        newest = max(others, key=lambda run: run.name, default=link)
    return RunDir(newest) if newest is not None and _is_run(newest) else None


def runs_in(folder: Path) -> list[str]:
    """The runs in a folder of runs, by their own names, the newest first, and how many more there are."""
    try:
        names = [str(p) for p in folder.iterdir() if RUN.fullmatch(p.name) and _is_run(p)]
    except OSError:
        return []
    return _few(sorted(names, reverse=True))


def _few(names: list[str]) -> list[str]:
    rest = len(names) - FEW
    return names if rest <= 0 else [*names[:FEW], f"and {rest} more"]


def _is_run(path: Path) -> bool:
    try:
        return (path / "config.resolved.yaml").is_file()
    except (OSError, ValueError):
        return False


def _followed(path: Path) -> Path:
    """The path with its last component resolved, as long as that is a link; it stays relative where it can."""
    for _ in range(MOST_LINKS):
        try:
            if not path.is_symlink():
                break
            path = path.parent / os.readlink(path)
        except (OSError, ValueError):
            break
    return path


def _in_pointer(path: Path) -> str | None:
    """The name of a run in `latest.txt`; None where there is none, or something that leads out of its folder."""
    try:
        with open(path, "rb", opener=regular) as file:
            name = file.read(LONGEST_NAME).decode("utf-8", "replace").strip()
    except OSError:
        return None
    return name if name not in ("", ".", "..") and name == Path(name).name else None


def load_config(
    target: str, overrides: Iterable[str], allow_import: bool, *, wants_run: bool = False
) -> tuple[Config, RunDir | None]:
    """The configuration of a file or of a run, its `import:` files run; its errors wait in `config.errors`.

    A run may come from somebody else: its imports are run only where `allow_import` says so.

    Errors   ConfigError for a file that cannot be read, and for a run that would need `allow_import`; DataError for a
             run that is not there
    """
    run, overrides = find_run(target), tuple(overrides)
    if run is None:
        _demand_config(Path(target), wants_run)
        return Config.load(target, overrides, user_modules.import_all), None
    path = run.path / "config.resolved.yaml"
    imports = Config.load(path, overrides).imports
    if imports and not allow_import:
        message = f"the run {run.path} imports Python files: {', '.join(imports)}"
        raise ConfigError(message, hint="if you trust them, run them with --allow-import")
    return Config.load(path, overrides, user_modules.import_all), run


def _demand_config(path: Path, wants_run: bool) -> None:
    """DataError for what is neither a run nor a file, but was meant to be a run.

    That is so where nothing but a run makes sense, and elsewhere for `latest` and what would lie beside runs.
    """
    try:
        if path.is_file() or path.suffix in (".yaml", ".yml") or (path.exists() and not path.is_dir()):
            return
    except (OSError, ValueError):
        return
    known = _runs_near(path)
    if wants_run or known or path.name == "latest":
        hint = f"there: {', '.join(known)}" if known else "a run's folder holds config.resolved.yaml and checkpoints/"
        raise DataError(f"there is no run {path}", hint=hint)


def _runs_near(path: Path) -> list[str]:
    """The runs in the folder that a path names, or in the nearest folder above it that has any: the newest first."""
    for folder in [path, *path.parents][:MOST_FOLDERS]:
        try:
            found = sorted((p for p in folder.iterdir() if p.is_dir() and not p.is_symlink()), reverse=True)
        except OSError:
            continue
        names = [str(p) for p in found if _found(p) is not None]
        if names:
            return _few(names)
    return []


def weights_of(path: str | Path) -> Path:
    """The weights that a path names: a snapshot itself, or a run's best checkpoint, its last where there is no best.

    Errors   ConfigError where it is neither, DataError where there is nothing
    """
    run = find_run(path)
    if run is None:
        if Path(path).is_file():
            return Path(path)
        error = ConfigError if Path(path).exists() else DataError
        raise error(f"{path} is neither a run nor a file of weights", hint="a run's folder holds STATUS")
    for name in ("best.h5", "last.h5"):
        if (run.checkpoints / name).is_file():
            return run.checkpoints / name
    raise ConfigError(f"the run {run.path} has no checkpoint yet", hint="it stopped before the first one was written")


def read_metrics(run: str | Path) -> Iterator[dict[str, Any]]:
    """The rows of a run's metrics.jsonl, one after the other.

    Errors   DataError with file and line where there is none, or where a line is no row of metrics
    """
    path = Path(run) / "metrics.jsonl"
    number = 0
    try:
        with open(path, encoding="utf-8", opener=regular) as file:
            while line := file.readline(LONGEST_LINE):
                number += 1
                yield _row(line, Place(str(path), number, 1, line[:LONGEST_NAME]))
    except OSError as problem:
        raise DataError(f"cannot read {path}: {problem.strerror}", hint="is this the folder of a run?") from None
    except UnicodeDecodeError:
        raise DataError("is not UTF-8 text", place=Place(str(path), number + 1, 1)) from None


def _row(line: str, place: Place) -> dict[str, Any]:
    hint = "the file is damaged; take the line out, or begin a new run with --init-weights"
    try:
        row = from_json(line)
        whole = line.endswith("\n") and all(type(row[key]) is int and row[key] >= 0 for key in ("run_segment", "step"))
    except (ValueError, TypeError, KeyError, IndexError, RecursionError):
        whole = False
    if not whole:
        raise DataError("is not a row of metrics", place=place, hint=hint)
    return row


def metrics_by_step(run: str | Path) -> dict[tuple[int, bool], dict[str, Any]]:
    """The rows of metrics.jsonl by (step, whether it is of training or of an evaluation); the last segment's counts."""
    return {(row["step"], "lr" in row): row for row in read_metrics(run)}


class MetricsLog:
    """metrics.csv and metrics.jsonl: one row per event, appended, never rewritten.

    A table keeps the columns that it began with: those that a resumed run has besides are in metrics.jsonl only.
    """

    def __init__(self, run: RunDir, columns: list[str], segment: int = 0) -> None:
        self.run, self.columns, self.segment = run, ["run_segment", *columns], segment
        self.csv, self.jsonl = run.place / "metrics.csv", run.place / "metrics.jsonl"
        self.table = self._header() if self.csv.exists() else self.columns
        if not self.csv.exists():
            append(self.csv, self._csv_line(self.columns))
            append(self.jsonl, "")  # there from the start: a run may be killed before its first row

    def add(self, row: Mapping[str, Any]) -> None:
        """Append a row; columns that it does not have stay empty."""
        full = {"run_segment": self.segment, **row}
        unknown = set(full) - set(self.columns)
        assert not unknown, unknown
        append(self.csv, self._csv_line([_csv_value(full.get(c)) for c in self.table]))
        append(self.jsonl, to_json(full) + "\n")

    def _header(self) -> list[str]:
        with (
            writing(self.csv, "the run cannot go on without its metrics"),
            open(self.csv, encoding="utf-8", opener=regular) as file,
        ):
            return next(csv.reader([file.readline(LONGEST_LINE)]), self.columns)

    @staticmethod
    def _csv_line(values: list[Any]) -> str:
        buffer = io.StringIO()
        csv.writer(buffer, lineterminator="\n").writerow(values)
        return buffer.getvalue()


def _csv_value(value: Any) -> Any:
    """Floats with all their digits, nothing for None."""
    return "" if value is None else repr(value) if isinstance(value, float) else value
