"""Nothing that lies in a folder is run, unless a configuration imports it."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from layerforge.cli import main
from layerforge.debug.verify import _start
from layerforge.training.commit import commit
from layerforge.training.rundir import find_run

ROOT = Path(__file__).parents[2]
CONFIG = """\
name: small
data: {train: {type: Digits, split: "train[:64]", batch_size: 32}}
net:
  - {name: flat, type: Flatten, bottom: image}
  - {name: fc,   type: Linear, out_features: 10}
  - {name: loss, type: SoftmaxCrossEntropy, bottom: [fc, label]}
solver: {lr: 0.05}
train: {max_steps: 2}
"""
OTHERS = r"shell=|os\.(system|popen|exec|spawn|posix_spawn)|check_output|check_call"
STARTS = r"subprocess\.(?:run|Popen)\("
A, B = "a" * 40, "b" * 64


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.yaml").write_text(CONFIG)
    return tmp_path


def test_a_repository_that_runs_programs(folder: Path) -> None:
    program = folder / "program"
    program.write_text(f"#!/bin/sh\ntouch {folder}/ran\n")
    program.chmod(0o755)
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run(["git", "init", "-q", "-b", "trunk"], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "one"], check=True)
    for key in ("core.fsmonitor", "filter.x.clean", "core.pager", "diff.external", "core.hooksPath"):
        subprocess.run(["git", "config", key, str(program)], check=True)
    (folder / ".gitattributes").write_text("* filter=x\n")
    assert main(["train", "small.yaml", "--progress=off", "-q"]) == 0
    assert not (folder / "ran").exists()
    said = json.loads(Path("runs/small/latest/command.json").read_text())["git"]
    head = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    assert said == {"commit": head, "ref": "refs/heads/trunk"}


def repository(path: Path, head: str, **files: str) -> Path:
    (path / ".git").mkdir(parents=True)
    (path / ".git/HEAD").write_text(head)
    for name, text in files.items():
        file = path / ".git" / name.replace("__", "/").replace("packed_refs", "packed-refs")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return path


def test_where_commits_are_written(folder: Path) -> None:
    on_main = {"commit": A, "ref": "refs/heads/main"}
    loose = repository(folder / "loose", "ref: refs/heads/main\n", refs__heads__main=A + "\n")
    assert commit(loose) == on_main
    (loose / "in/here").mkdir(parents=True)
    assert commit(loose / "in/here") == on_main
    packed = f"# pack-refs with: peeled\n{B} refs/heads/other\n{A} refs/heads/main\n^{B}\n"
    assert commit(repository(folder / "packed", "ref: refs/heads/main", packed_refs=packed)) == on_main
    assert commit(repository(folder / "detached", B + "\n")) == {"commit": B, "ref": None}
    worktree = folder / "worktree"
    worktree.mkdir()
    (worktree / ".git").write_text("gitdir: ../loose/.git/worktrees/w\n")
    own = loose / ".git/worktrees/w"
    own.mkdir(parents=True)
    (own / "HEAD").write_text("ref: refs/heads/main\n")
    (own / "commondir").write_text("../..\n")
    assert commit(worktree) == on_main


HEADS = ["", "ref: ", "ref: refs/heads/main", "ref: ../../secret", "ref: refs/../../x", "ref: refs/a", "\0", "x" * 9999]


@pytest.mark.parametrize("head", HEADS)
def test_heads_that_say_nothing(folder: Path, head: str) -> None:
    assert commit(repository(folder, head, refs__a="ref: refs/a")) is None


def test_files_that_never_end(folder: Path) -> None:
    path = repository(folder, "ref: refs/heads/main", refs__x=A)
    (path / ".git/refs/heads").mkdir(parents=True)
    os.mkfifo(path / ".git/refs/heads/main")
    os.mkfifo(path / ".git/packed-refs")
    assert commit(path) is None


def test_verify_imports_nothing_from_the_working_folder(folder: Path) -> None:
    for name in ("layerforge", "numpy", "yaml", "json"):
        (folder / f"{name}.py").write_text(f"open({str(folder / 'ran')!r}, 'w')\nraise SystemExit(9)\n")
    child = _start("small.yaml", ["checkpoint.every={steps: 1}"], folder / "runs", [])
    _, said = child.communicate(timeout=60)
    assert child.returncode == 0, said
    assert find_run(folder / "runs/small") is not None
    assert not (folder / "ran").exists()


def test_no_module_starts_a_program_by_its_name() -> None:
    """Only Python is started, with -P: no shell, nothing from PATH, no module of the working folder."""
    for path in (ROOT / "layerforge").rglob("*.py"):
        text = path.read_text()
        if re.search(r"\bsubprocess\b|\bos\.(system|popen|exec|spawn|posix_spawn)", text):
            starts, safely = (len(re.findall(w, text)) for w in (STARTS, r'\[sys\.executable, "-P", '))
            assert starts == safely, path
            assert not re.search(OTHERS, text), path


@pytest.mark.skipif(os.name != "posix", reason="named pipes and links")
@pytest.mark.parametrize("where", [".git", "../.git"])
@pytest.mark.parametrize("what", ["empty", "folder", "pipe", "device", "loop", "nul", "a pipe as .git"])
def test_what_only_looks_like_a_repository_ends_no_run(folder: Path, where: str, what: str) -> None:
    inner = folder / "in"
    inner.mkdir()
    (git := inner / where).mkdir()
    head = git / "HEAD"
    if what == "folder":
        head.mkdir()
    elif what == "pipe":
        os.mkfifo(head)
    elif what == "device":
        head.symlink_to("/dev/zero")
    elif what == "loop":
        head.symlink_to("HEAD")
    elif what == "nul":
        git.rmdir()
        git.write_text("gitdir: a\0b\n")
    elif what == "a pipe as .git":
        git.rmdir()
        os.mkfifo(git)
    assert commit(inner) is None


def test_a_run_beside_an_empty_repository(folder: Path) -> None:
    (folder / ".git").mkdir()
    assert main(["train", "small.yaml", "--progress=off", "-q"]) == 0
    assert json.loads(Path("runs/small/latest/command.json").read_text())["git"] is None
