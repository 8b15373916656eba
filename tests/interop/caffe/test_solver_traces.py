"""Solvers make the steps that Caffe made: parameters, histories and rates of every step, and what its files hold."""

from __future__ import annotations

import gzip
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.caffe_cases import arrays, close, folder, index, named
from support.tools import demand_that

from layerforge import Solver
from layerforge.interop import caffe
from layerforge.interop.caffe.state import read_state

TRACES = index()["solvers"]["traces"] if index()["layers"] else []
NETS = [net for net in index()["nets"] if net["id"] != "share_permissive"]
SUFFIXES = ["", ".h5"]
ENGINES = ["reference", "auto"]


def opened(tmp_path: Path, net: str, solver: str, blobs: Mapping[str, np.ndarray]) -> tuple[Any, dict[str, Any]]:
    """A model in phase train, with blobs by layer/number, and the mapping of its solver."""
    (tmp_path / "net.prototxt").write_text(net)
    (tmp_path / "solver.prototxt").write_text(solver)
    model = caffe.load_model(tmp_path / "net.prototxt", phase="train")
    for layer in model.blob_maps:
        count = sum(key.rpartition("/")[0] == layer for key in blobs)
        if count:
            model.set_blobs(layer, [blobs[f"{layer}/{number}"] for number in range(count)])
    return model, caffe.load_solver(tmp_path / "solver.prototxt")


def compared(what: str, found: Any, expected: np.ndarray) -> list[str]:
    told = close(found, expected)
    return [f"{what}: {told}"] if told else []


def under(data: Any, prefix: str) -> dict[str, np.ndarray]:
    """The arrays of a part of a file, by the rest of their names."""
    return {key.removeprefix(prefix): value for key, value in data.items() if key.startswith(prefix)}


# Steps ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("trace", TRACES, ids=named(TRACES))
def test_every_step_is_caffes(trace: dict[str, Any], engine: str, tmp_path: Path) -> None:
    data, which = arrays("solvers.npz"), trace["id"]
    recorded = under(data, f"{which}/")
    definition = index()["solvers"]["nets"][trace["net"]]
    model, section = opened(tmp_path, definition, trace["solver"], under(recorded, "init/"))
    net = model.net(engine=engine)
    solver = Solver.from_config(net, section)
    wrong, k = [], 0
    for step in range(trace["steps"]):
        wrong += compared(f"rate {step}", np.float32(solver.lr), recorded["lr"][step])
        for _ in range(trace["iter_size"]):
            loss = solver.accumulate(data=recorded["data"][k], label=recorded["label"][k])
            wrong += compared(f"loss of forward {k}", np.float32(loss), recorded["loss"][k])
            k += 1
        solver.update()
        for name in trace["params"]:
            layer, number = name.rsplit("/", 1)
            found = model.param(net, layer, int(number)).data
            wrong += compared(f"{name} after {step}", found, recorded[f"params/{name}"][step])
        histories = caffe.history(model, solver)
        assert len(histories) == trace["n_history"]
        for j, found in enumerate(histories):
            wrong += compared(f"history {j} after {step}", found, recorded[f"history/{j}"][step])
        caffe.save_state(model, solver, tmp_path / "now.solverstate")
        assert read_state(tmp_path / "now.solverstate").current_step == recorded["current_step"][step]
    assert wrong == []


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("net", NETS, ids=named(NETS))
def test_nets_make_caffes_two_steps(net: dict[str, Any], engine: str, tmp_path: Path) -> None:
    recorded = under(arrays("nets.npz"), f"{net['id']}/")
    model, section = opened(tmp_path, net["net"], net["solver"], under(recorded, "init/"))
    made = model.net(engine=engine)
    solver = Solver.from_config(made, section)
    for _ in range(net["solver_steps"]):
        solver.step(**under(recorded, "input/"))
    assert differences(model, solver, recorded) == []


def differences(model: Any, solver: Any, recorded: dict[str, np.ndarray]) -> list[str]:
    """What of parameters and histories is not as Caffe recorded it after its steps."""
    wrong = []
    for name, expected in under(recorded, "stepped/").items():
        layer, number = name.rsplit("/", 1)
        wrong += compared(name, model.param(solver.net, layer, int(number)).data, expected)
    histories = caffe.history(model, solver)
    expected_histories = under(recorded, "history/")
    assert len(histories) == len(expected_histories)
    for j, found in enumerate(histories):
        wrong += compared(f"history {j}", found, expected_histories[str(j)])
    return wrong


def test_an_mlp_has_the_losses_of_caffe_on_mnist(tmp_path: Path) -> None:
    recorded = arrays("mlp_mnist.npz")
    mlp, (images, labels) = index()["trajectories"]["mlp"], mnist(50 * 64)
    model, section = opened(tmp_path, mlp["net_train"], mlp["solver"], under(recorded, "init/"))
    solver = Solver.from_config(model.net(keep="none", engine="reference"), section)
    losses, rates = [], []
    for k in range(50):
        batch = slice(64 * k, 64 * k + 64)
        rates.append(solver.lr)
        losses.append(solver.step(data=images[batch], label=labels[batch]))
    assert np.abs(np.array(losses) - recorded["losses"][:50]).max() <= 2e-6
    assert rates == pytest.approx(recorded["lr"][:50], rel=1e-6)


def mnist(count: int) -> tuple[np.ndarray, np.ndarray]:
    """The first images, as numbers from 0 to 255/256, and labels of MNIST's training set."""
    path = Path(os.environ.get("LAYERFORGE_DATA", "nowhere")) / "mnist"
    demand_that((path / "train-images-idx3-ubyte.gz").is_file(), "MNIST in the folder that LAYERFORGE_DATA names")
    with gzip.open(path / "train-images-idx3-ubyte.gz") as file:
        pixels = np.frombuffer(file.read(16 + 784 * count)[16:], np.uint8).reshape(count, 1, 28, 28)
    with gzip.open(path / "train-labels-idx1-ubyte.gz") as file:
        labels = np.frombuffer(file.read(8 + count)[8:], np.uint8)
    return pixels.astype(np.float32) / 256, labels.astype(np.float32)


# Files ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("net", NETS, ids=named(NETS))
def test_states_of_caffe_are_taken_up_and_written_again(net: dict[str, Any], suffix: str, tmp_path: Path) -> None:
    recorded = under(arrays("nets.npz"), f"{net['id']}/")
    model, section = opened(tmp_path, net["net"], net["solver"], {})
    solver = Solver.from_config(model.net(), section)
    state = folder() / "files" / "nets" / f"{net['id']}_iter_2.solverstate{suffix}"
    caffe.load_state(model, solver, state)
    assert solver.iteration == solver.updates == net["solverstate"]["iter"]
    assert differences(model, solver, recorded) == []

    through = tmp_path / f"again.solverstate{suffix}"
    caffe.save_state(model, solver, through, net["solverstate"]["learned_net"] + suffix)
    first, second = read_state(state), read_state(through)
    assert (first.iteration, first.current_step) == (second.iteration, second.current_step)
    assert first.learned_net == second.learned_net
    assert all(np.array_equal(a.reshape(b.shape), b) for a, b in zip(first.history, second.history, strict=True))


@pytest.mark.parametrize("net", NETS[:1], ids=named(NETS[:1]))
def test_a_resumed_net_goes_on_as_one_that_never_stopped(net: dict[str, Any], tmp_path: Path) -> None:
    recorded = under(arrays("nets.npz"), f"{net['id']}/")
    model, section = opened(tmp_path, net["net"], net["solver"], under(recorded, "init/"))
    solver = Solver.from_config(model.net(engine="reference"), section)
    for step in range(4):
        if step == 2:
            caffe.save_model(solver.net, tmp_path / "out.prototxt", tmp_path / "x_iter_2.caffemodel")
            caffe.save_state(model, solver, tmp_path / "x_iter_2.solverstate")
        solver.step(**under(recorded, "input/"))
    other, section = opened(tmp_path, net["net"], net["solver"], {})
    resumed = Solver.from_config(other.net(engine="reference"), section)
    caffe.load_state(other, resumed, tmp_path / "x_iter_2.solverstate")
    for _ in range(2):
        resumed.step(**under(recorded, "input/"))
    assert all(np.array_equal(a, b) for a, b in zip(resumed.history, solver.history, strict=True))
    mine, theirs = resumed.net.arrays(), solver.net.arrays()
    assert all(np.array_equal(mine[name], theirs[name]) for name in theirs)
