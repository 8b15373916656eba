"""Resuming notices that files have changed: data, and imported code."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from layerforge import snapshot, train
from layerforge.cli import main
from layerforge.schema.errors import ConfigError
from layerforge.schema.registry import SOURCES
from layerforge.training import fingerprints
from layerforge.training.console import Console
from layerforge.training.fingerprints import changes, fingerprint, folder_fingerprint

CONFIG = """\
name: small
import: [own.py]
data:
  train: {type: NPZ, path: d.npz, batch_size: 8}
  val: {type: Numbers, path: n.txt}
net:
  - {name: fc,   type: Linear, bottom: x, out_features: 3}
  - {name: loss, type: SoftmaxCrossEntropy, bottom: [fc, t]}
solver: {lr: 0.1}
train: {max_steps: 4}
"""
OWN = """\
import numpy as np
from layerforge import Spec, param, register_source
from layerforge.data import Source
from layerforge.schema.params import FilePath

@register_source
class Numbers(Source):
    \"\"\"Numbers of a text file.\"\"\"
    path: FilePath = param(help="the file")

    def specs(self):
        return {"x": Spec((5,)), "t": Spec((), role="index", low=0, high=3)}

    def read(self, part, progress=None):
        x = np.loadtxt(self.path).reshape(-1, 5)
        return {"x": x, "t": np.zeros(len(x), int)}
"""


def write_data(seed: int = 0) -> None:
    rng = np.random.default_rng(seed)
    np.savez("d.npz", x=rng.normal(size=(40, 5)).astype("f4"), t=rng.integers(0, 3, 40))


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    SOURCES.names()  # finds the framework's own
    monkeypatch.setattr(SOURCES, "_types", dict(SOURCES._types))  # each test has an own.py of its own
    (tmp_path / "small.yaml").write_text(CONFIG)
    (tmp_path / "own.py").write_text(OWN)
    (tmp_path / "n.txt").write_text(" ".join(map(str, range(20))))
    write_data()
    return tmp_path


def run(*overrides: str, **options: Any) -> Path:
    return Path(train("small.yaml", overrides, console=Console(progress="off", quiet=True), **options).run)


def change_bytes(path: str) -> None:
    """Another content of the same size, at the same time: nothing but the content tells."""
    before = os.stat(path)
    content = Path(path).read_bytes()
    Path(path).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


CHANGES = {
    "data.train: d.npz": lambda: write_data(1),
    "data.val: n.txt": lambda: Path("n.txt").write_text(" ".join(map(str, range(1, 21)))),
    "import: own.py": lambda: change_bytes("own.py"),
}


@pytest.mark.parametrize("key", CHANGES)
def test_changed_files_are_listed_and_refused(key: str, capsys: pytest.CaptureFixture[str]) -> None:
    if key.startswith("import"):
        Path("own.py").write_text(OWN + "# a\n\n")
    done = run("train.max_steps=2")
    same = ["train", "small.yaml", "--resume", "train.max_steps=2", "--progress=off", "-q"]
    assert main(same) == 0, "nothing changed"
    CHANGES[key]()
    with pytest.raises(ConfigError) as caught:
        run("train.max_steps=2", resume_from=done)
    text = str(caught.value)
    assert f"what the run reads is not that of {done}" in text
    assert f"{key}: " in text
    assert " -> " in text
    assert text.count("SHA-256") == 2
    assert "--allow-config-change" in text
    capsys.readouterr()
    more = ["--allow-config-change", "--progress=off"]
    assert main(["train", "small.yaml", "--resume", *more]) == 0
    assert f"changed since the checkpoint: {key}: " in capsys.readouterr().err
    assert main(["train", "small.yaml", "--resume", "--progress=off"]) == 0, "the new file is the run's own now"


def test_configuration_and_files_are_listed_together() -> None:
    done = run()
    write_data(1)
    words = r"configuration and what the run reads.*solver\.lr: 0\.1 -> 0\.2; data\.train"
    with pytest.raises(ConfigError, match=words):
        run("solver.lr=0.2", resume_from=done)


def test_a_file_that_was_touched_or_copied_is_the_same() -> None:
    done = run("train.max_steps=2")
    os.utime("d.npz")
    content = Path("n.txt").read_bytes()
    Path("n.txt").unlink()
    Path("n.txt").write_bytes(content)
    assert run("train.max_steps=2", resume_from=done) == done


def test_a_checkpoint_without_fingerprints_goes_on() -> None:
    """As an earlier version wrote it."""
    done = run("train.max_steps=2")
    for path in (done / "checkpoints").glob("*.h5"):
        arrays, meta = snapshot.read_snapshot(path)
        del meta["files"]
        snapshot.write_snapshot(path, arrays, meta)
    write_data(1)
    assert run("train.max_steps=2", resume_from=done) == done


def test_large_files_are_read_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fingerprints, "WHOLE", 16)
    monkeypatch.setattr(fingerprints, "PIECE", 4)
    content = bytes(range(100))
    path = Path("large")

    def taken(change: int | None = None, more: bytes = b"", time: int = 10**9) -> Any:
        path.write_bytes(bytes(b ^ (i == change) for i, b in enumerate(content)) + more)
        os.utime(path, ns=(time, time))
        return {"file": fingerprint(path)}

    first = taken()
    for change in (0, 3, 32, 99):  # pieces begin at 0, 32, 64 and 96
        assert changes(first, taken(change))[0]
    assert changes(first, taken(more=b"x"))[0]
    assert changes(first, taken()) == ([], [])
    certain, possible = changes(first, taken(50, time=2 * 10**9))
    assert not certain
    assert "modified since" in possible[0]


def test_what_is_no_file_has_no_fingerprint() -> None:
    os.mkfifo("pipe")
    assert fingerprint(Path("pipe")) is None
    assert fingerprint(Path("gone")) is None
    assert fingerprint(Path(".")) is None


def test_a_folder_has_one_fingerprint(folder: Path) -> None:
    images = folder / "images"
    (images / "cat").mkdir(parents=True)
    for number in range(600):
        (images / "cat" / f"{number:03}.jpg").write_bytes(bytes([number % 256]) * 9)
    taken = folder_fingerprint(images)
    assert taken["bytes"] == 5400 and folder_fingerprint(images) == taken
    change_bytes(str(images / "cat" / "599.jpg"))
    assert folder_fingerprint(images) != taken
    change_bytes(str(images / "cat" / "599.jpg"))
    assert folder_fingerprint(images) == taken
    (images / "cat" / "001.jpg").write_bytes(b"x")
    certain, _ = changes({"data": taken}, {"data": folder_fingerprint(images)})
    assert certain
    (images / "cat" / "001.jpg").write_bytes(bytes([1]) * 9)
    certain, possible = changes({"data": taken}, {"data": folder_fingerprint(images)})
    assert not certain and possible, "only the time of a file that is not among those read has changed"
    (images / "cat" / "001.jpg").rename(images / "001.jpg")
    assert changes({"data": taken}, {"data": folder_fingerprint(images)})[0]
