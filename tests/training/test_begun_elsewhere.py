"""A run goes on from the state of a training that another program began."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.resuming import QUIET

from layerforge import Net, Solver, load_model, train
from layerforge.cli import main
from layerforge.schema.errors import ConfigError, DataError
from layerforge.snapshot import atomic_write, pack, read_snapshot
from layerforge.training.checkpoints import state_bytes


def config_in(folder: Path) -> dict[str, Any]:
    """Two layers on noise; three batches make an epoch."""
    rng = np.random.default_rng(5)
    np.savez(folder / "d.npz", x=rng.normal(size=(24, 5)).astype("float32"), t=rng.integers(0, 3, 24))
    return {
        "name": "begun",
        "net": [
            {"name": "fc1", "type": "Linear", "out_features": 6, "bottom": "x"},
            {"name": "tanh", "type": "Tanh"},
            {"name": "fc2", "type": "Linear", "out_features": 3},
            {"name": "loss", "type": "SoftmaxCrossEntropy", "bottom": ["fc2", "t"]},
        ],
        "data": {"train": {"type": "NPZ", "path": str(folder / "d.npz"), "batch_size": 8}},
        "solver": {"lr": 0.1, "momentum": 0.9, "schedule": {"type": "multistep", "milestones": [2, 4], "gamma": 0.5}},
        "train": {"max_steps": 6, "log_every": 1, "output_dir": str(folder / "runs")},
    }


def test_a_state_begins_a_run_that_goes_on_from_it(tmp_path: Path) -> None:
    config = config_in(tmp_path)
    whole = train(config, console=QUIET)
    part = train(config, ["train.max_steps=3"], console=QUIET)
    arrays, meta = read_snapshot(Path(part.run, "checkpoints", "last.h5"))
    net = Net.from_config(config)
    net.load(Path(part.run, "checkpoints", "last.h5"))
    solver = Solver.from_config(net, config["solver"])
    solver.load_state(meta["solver"], arrays)
    state = tmp_path / "state.h5"
    atomic_write(state, state_bytes(net, solver))
    resumed = train(config, resume_from=state, console=QUIET)
    assert resumed.run not in (whole.run, part.run)
    assert resumed.steps == 6
    mine, theirs = load_model(resumed.run).net.arrays(), load_model(whole.run).net.arrays()
    assert all(np.array_equal(mine[name], theirs[name]) for name in theirs)
    last = [read_snapshot(Path(run, "checkpoints", "last.h5"))[0] for run in (resumed.run, whole.run)]
    assert all(np.array_equal(last[0][name], last[1][name]) for name in last[1])
    assert main(["train", resumed.run, "--resume", "--quiet"]) == 0, "from here on it is a run like any other"


def test_a_state_in_the_folder_of_a_run_is_not_of_that_run(tmp_path: Path) -> None:
    config = config_in(tmp_path)
    run = train(config, ["train.max_steps=2"], console=QUIET).run
    net = Net.from_config(config)
    state = Path(run, "checkpoints", "state.h5")
    atomic_write(state, state_bytes(net, Solver.from_config(net, config["solver"])))
    assert train(config, ["train.max_steps=1"], resume_from=state, console=QUIET).run != run


def test_a_state_of_another_solver_or_without_counts_is_refused(tmp_path: Path) -> None:
    config = config_in(tmp_path)
    net = Net.from_config(config)
    state = tmp_path / "state.h5"
    atomic_write(state, state_bytes(net, Solver(net, type="Adam", lr=0.1)))
    with pytest.raises(DataError, match="is from a solver of type Adam"):
        train(config, resume_from=state, console=QUIET)
    arrays, meta = read_snapshot(state)
    atomic_write(state, pack(arrays, {**meta, "solver": [], "format": 2}))
    with pytest.raises(DataError, match="holds no state of a solver"):
        train(config, resume_from=state, console=QUIET)
    atomic_write(state, pack(arrays, {**meta, "kind": "weights"}))
    with pytest.raises(ConfigError, match="holds weights only"):
        train(config, resume_from=state, console=QUIET)
    assert not (tmp_path / "runs").exists()
