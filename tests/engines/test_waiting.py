"""Threads that wait sleep soon where the machine is busy, and only there; what is computed is the same."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from support.tools import demand_that

from layerforge import Net
from layerforge.arrays import threads, waiting
from layerforge.arrays.waiting import BUSY_LOOKS, QUIET_LOOKS, SAID, Waiting
from layerforge.engines.onednn import binding, library

BUSY, QUIET = "9.9 9.9 9.9 999/1234 4321\n", "0.0 0.0 0.0 1/1234 4321\n"


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A file that says how busy the machine is: quiet. Every turn of a net looks."""
    demand_that("OpenMP" in library.load().runtime, "an oneDNN that waits by OpenMP")
    binding.runtime()
    file = tmp_path / "loadavg"
    file.write_text(QUIET)
    monkeypatch.setattr(waiting, "LOAD", file)
    monkeypatch.setattr(waiting, "PERIOD", 0.0)
    for name in SAID:
        monkeypatch.delenv(name, raising=False)
    yield file


@pytest.fixture
def way(load: Path) -> Iterator[Waiting]:
    made = Waiting()
    made.look(2)  # the first look decides at once
    yield made
    if made.team is not None:
        made.team.end()


def looks(way: Waiting, number: int, count: int = 2) -> bool:
    """Whether a team sleeps after so many looks."""
    for _ in range(number):
        way.look(count)
    return way.team is not None


def tasks() -> int:
    return len(os.listdir("/proc/self/task"))


def test_a_team_sleeps_while_the_machine_is_busy(way: Waiting, load: Path) -> None:
    before = tasks()
    assert not looks(way, 3 * QUIET_LOOKS)
    load.write_text(BUSY)
    assert not looks(way, BUSY_LOOKS - 1)
    assert looks(way, 1)
    assert tasks() >= before + max(2, threads.cores()), "the thread that began the team, and the rest of the team"
    assert looks(way, 3 * QUIET_LOOKS)
    load.write_text(QUIET)
    assert looks(way, QUIET_LOOKS - 1)
    assert not looks(way, 1)
    patience = time.monotonic() + 20
    while tasks() > before and time.monotonic() < patience:  # a thread has ended for Python before it is gone
        time.sleep(0.01)
    assert tasks() == before


def test_the_first_look_decides_at_once(load: Path) -> None:
    load.write_text(BUSY)
    way = Waiting()
    assert looks(way, 1)
    way.team.end()
    load.write_text(QUIET)
    assert not looks(Waiting(), 1)


def test_other_programs_that_come_and_go_change_nothing(way: Waiting, load: Path) -> None:
    for _ in range(5):
        load.write_text(BUSY)
        assert not looks(way, BUSY_LOOKS - 1)
        load.write_text(QUIET)
        assert not looks(way, 1)


@pytest.mark.parametrize("said", ["", "nothing", "1 2 3 x/5 6"])
def test_where_the_system_does_not_tell_threads_wait_as_they_do(way: Waiting, load: Path, said: str) -> None:
    load.write_text(said)
    assert not looks(way, 2 * BUSY_LOOKS)
    load.unlink()
    assert not looks(way, 2 * BUSY_LOOKS)


@pytest.mark.parametrize("name", SAID)
def test_what_the_environment_says_of_waiting_stays(
    way: Waiting, load: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "77")
    load.write_text(BUSY)
    assert not looks(way, 2 * BUSY_LOOKS)


def test_one_thread_waits_for_nobody(way: Waiting, load: Path) -> None:
    load.write_text(BUSY)
    assert not looks(way, 2 * BUSY_LOOKS, count=1)


def test_looks_are_seldom(way: Waiting, load: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "PERIOD", 3600.0)
    load.write_text(BUSY)
    assert not looks(way, 2 * BUSY_LOOKS)


def test_threads_of_our_own_are_no_others(load: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """This thread runs, and is among those that the system counts."""
    load.write_text(f"0 0 0 {1 + (os.cpu_count() or 1) - 2}/99 1")
    monkeypatch.setattr(waiting, "_runs", lambda task: task.name == str(os.getpid()))
    assert not waiting.crowded(2)
    assert waiting.crowded(3)


def test_a_net_looks_and_computes_the_same(way: Waiting, load: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("layerforge.run.turns.WAITING", way)
    config = {
        "threads": 2,
        "inputs": {"x": {"shape": [64, 300]}},
        "net": [{"name": "y", "type": "Linear", "out_features": 200}],
    }
    before = threads.CURRENT.asked
    try:
        net = Net.from_config(config)
        x = np.random.default_rng(0).normal(size=(64, 300)).astype("float32")
        quiet = net.forward(x=x)["y"]
        assert way.team is None
        load.write_text(BUSY)
        busy = [net.forward(x=x)["y"] for _ in range(2 * BUSY_LOOKS)]
        assert way.team is not None
    finally:
        threads.CURRENT.asked = before
        threads.settle()
    assert all((y == quiet).all() for y in busy)
