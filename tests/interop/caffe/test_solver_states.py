"""States of Caffe's solvers: where the weights are, what does not fit, and how a run goes on from one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.caffe_cases import folder
from support.resuming import QUIET

from layerforge import Solver, load_model, train
from layerforge.interop import caffe
from layerforge.interop.caffe.state import read_state
from layerforge.schema.errors import ConfigError, DataError
from layerforge.snapshot import atomic_write
from layerforge.training.checkpoints import state_bytes

NET = """
layer { name: 'data' type: 'Input' top: 'data' top: 'label' input_param { shape { dim: 4 dim: 5 } shape { dim: 4 } } }
layer { name: 'in/fc' type: 'InnerProduct' bottom: 'data' top: 'fc' inner_product_param { num_output: 6 } }
layer { name: 'bn' type: 'BatchNorm' bottom: 'fc' top: 'fc' }
layer { name: 'mid' type: 'InnerProduct' bottom: 'fc' top: 'mid' param { name: 'w' } param { lr_mult: 0 }
        inner_product_param { num_output: 6 } }
layer { name: 'again' type: 'InnerProduct' bottom: 'mid' top: 'again' param { name: 'w' }
        inner_product_param { num_output: 6 } }
layer { name: 'out' type: 'InnerProduct' bottom: 'again' top: 'out' inner_product_param { num_output: 3 } }
layer { name: 'loss' type: 'SoftmaxWithLoss' bottom: 'out' bottom: 'label' top: 'loss' }
"""
SHAPES = [(6, 5), (6,), (6,), (6,), (1,), (6, 6), (6,), (6,), (3, 6), (3,)]  # of Caffe's histories: owners only
MULTISTEP = "base_lr: 0.1 momentum: 0.9 lr_policy: 'multistep' gamma: 0.5 stepvalue: 1 stepvalue: 2 stepvalue: 9"


def batches(count: int) -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(2)
    return [
        {"data": rng.normal(size=(4, 5)).astype(np.float32), "label": rng.integers(0, 3, 4).astype(np.float32)}
        for _ in range(count)
    ]


def begun(path: Path, solver: str = MULTISTEP, steps: int = 3) -> tuple[Any, Any]:
    """A model and its solver after some steps, from weights that are the same every time."""
    path.mkdir(exist_ok=True)
    (path / "net.prototxt").write_text(NET)
    (path / "solver.prototxt").write_text(solver)
    model = caffe.load_model(path / "net.prototxt", phase="train")
    rng = np.random.default_rng(1)
    for layer, maps in model.blob_maps.items():
        if layer != "bn":
            model.set_blobs(layer, [rng.normal(size=place.shape) * 0.5 for place in maps])
    made = Solver.from_config(model.net(engine="reference"), caffe.load_solver(path / "solver.prototxt"))
    for batch in batches(steps):
        made.step(**batch)
    return model, made


def saved(path: Path, suffix: str = "", **changes: Any) -> tuple[Any, Path]:
    """A solver after three steps, and its state with the weights beside it."""
    model, solver = begun(path, **changes)
    caffe.save_model(solver.net, path / "x.prototxt", path / f"x_iter_3.caffemodel{suffix}")
    state = path / f"x_iter_3.solverstate{suffix}"
    caffe.save_state(model, solver, state, f"somewhere/else/x_iter_3.caffemodel{suffix}")
    return solver, state


@pytest.mark.parametrize("suffix", ["", ".h5"])
def test_histories_are_of_owners_in_the_order_of_the_net(suffix: str, tmp_path: Path) -> None:
    solver, state = saved(tmp_path, suffix)
    held = read_state(state)
    assert [array.shape for array in held.history] == SHAPES
    by_path = solver.arrays()
    assert np.array_equal(held.history[0], by_path["history/0/in%2Ffc/weight"])
    assert np.array_equal(held.history[5], by_path["history/0/mid/weight"])
    assert not held.history[6].any(), "it is frozen"
    assert held.current_step == 2
    assert held.iteration == 3


@pytest.mark.parametrize("kind", ["Adam", "AdaDelta"])
def test_all_first_moments_come_before_all_second_ones(kind: str, tmp_path: Path) -> None:
    solver, state = saved(tmp_path, solver=f"type: '{kind}' base_lr: 0.1 momentum: 0.9 lr_policy: 'fixed'")
    held, by_path = read_state(state).history, solver.arrays()
    assert [array.shape for array in held] == SHAPES * 2
    assert np.array_equal(held[0], by_path["history/0/in%2Ffc/weight"])
    assert np.array_equal(held[len(SHAPES)], by_path["history/1/in%2Ffc/weight"])


@pytest.mark.parametrize("kind", ["SGD", "Nesterov", "AdaGrad", "RMSProp", "AdaDelta", "Adam"])
def test_every_type_goes_on_as_if_it_had_not_stopped(kind: str, tmp_path: Path) -> None:
    text = f"type: '{kind}' base_lr: 0.05 lr_policy: 'step' gamma: 0.5 stepsize: 2"
    whole, state = saved(tmp_path / "a", solver=text)
    model, resumed = begun(tmp_path / "b", text, steps=1)
    caffe.load_state(model, resumed, state)
    for batch in batches(3):
        assert resumed.step(**batch) == whole.step(**batch)
    assert resumed.lr == whole.lr
    mine, theirs = resumed.net.arrays() | resumed.arrays(), whole.net.arrays() | whole.arrays()
    assert all(np.array_equal(mine[name], theirs[name]) for name in theirs)


def test_multistep_goes_on_from_the_changes_that_caffe_had_made(tmp_path: Path) -> None:
    _, state = saved(tmp_path)
    model, solver = begun(tmp_path, MULTISTEP.replace("stepvalue: 9", "stepvalue: 2"), steps=0)
    caffe.load_state(model, solver, state)
    assert solver.lr == pytest.approx(0.1 * 0.5**3), "the third change, which is due, is made now"
    model, solver = begun(tmp_path, MULTISTEP.replace("stepvalue: 1 ", "stepvalue: 7 "), steps=0)
    caffe.load_state(model, solver, state)
    assert solver.lr == pytest.approx(0.1 * 0.5**2), "what was changed stays so"


def test_the_weights_are_those_beside_the_state(tmp_path: Path) -> None:
    whole, state = saved(tmp_path)
    model, solver = begun(tmp_path, steps=0)
    (tmp_path / "x_iter_3.caffemodel").rename(tmp_path / "other.caffemodel")
    with pytest.raises(ConfigError, match=r"'somewhere/else/x_iter_3\.caffemodel' are not beside it"):
        caffe.load_state(model, solver, state)
    assert solver.iteration == 0
    caffe.load_state(model, solver, state, tmp_path / "other.caffemodel")
    assert np.array_equal(model.param(solver.net, "out", 0).data, whole.net.params["out"]["weight"].data)


def test_what_does_not_fit_is_refused_and_nothing_is_changed(tmp_path: Path) -> None:
    _, state = saved(tmp_path)
    model, adam = begun(tmp_path, "type: 'Adam' base_lr: 0.1 lr_policy: 'fixed'", steps=0)
    before = adam.net.arrays()
    with pytest.raises(DataError, match="has 10 histories, 2 for each of 10 blobs are 20") as caught:
        caffe.load_state(model, adam, state)
    assert caught.value.exit_code == 3
    assert "Adam" in str(caught.value)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "net.prototxt").write_text(NET.replace("num_output: 3", "num_output: 4"))
    other = caffe.load_model(tmp_path / "other" / "net.prototxt", phase="train")
    with pytest.raises(DataError, match=r"history 8 has shape \(3, 6\), the blob 'params/out/weight' has \(4, 6\)"):
        caffe.load_state(other, Solver(other.net(), lr=0.1), state)
    lacking = caffe.load_model(tmp_path / "net.prototxt", phase="train")
    small = NET[: NET.index("layer { name: 'again'")].replace("top: 'mid'", "top: 'again'")
    (tmp_path / "small.prototxt").write_text(small)
    part = caffe.load_model(tmp_path / "small.prototxt", phase="train")
    caffe.save_model(part.net(), tmp_path / "out.prototxt", tmp_path / "small.caffemodel")
    with pytest.raises(DataError, match="has no weights for 'again', 'out'"):
        caffe.load_state(lacking, Solver(lacking.net(), lr=0.1), state, tmp_path / "small.caffemodel")
    after = adam.net.arrays()
    assert all(np.array_equal(before[name], after[name]) for name in before)


def test_a_run_goes_on_from_a_state_of_caffe(tmp_path: Path) -> None:
    """`layerforge train train.yaml --resume-from state.h5` is what Caffe's solver would have gone on with."""
    whole, state = saved(tmp_path)
    model, solver = begun(tmp_path, steps=0)
    caffe.load_state(model, solver, state)
    atomic_write(tmp_path / "state.h5", state_bytes(solver.net, solver))
    again = batches(4)
    np.savez(tmp_path / "d.npz", **{name: np.concatenate([batch[name] for batch in again]) for name in again[0]})
    config = {
        "name": "on",
        "engine": "reference",
        "net": model.config["net"],
        "data": {"train": {"type": "NPZ", "path": str(tmp_path / "d.npz"), "batch_size": 4, "shuffle": False}},
        "solver": caffe.load_solver(tmp_path / "solver.prototxt"),
        "train": {"max_steps": 3 + len(again), "output_dir": str(tmp_path / "runs")},
    }
    result = train(config, resume_from=tmp_path / "state.h5", console=QUIET)
    for batch in again:
        whole.step(**batch)
    trained = load_model(result.run).net.arrays()
    expected = whole.net.arrays()
    assert all(np.array_equal(trained[name], expected[name]) for name in expected)
    assert result.steps == 7


@pytest.mark.parametrize(("iteration", "suffix"), [(4000, ""), (5000, ".h5")])
def test_a_trained_model_of_caffe_goes_on_from_its_state(iteration: int, suffix: str, tmp_path: Path) -> None:
    path = folder() / "models" / "cifar10_quick"
    shapes = {"data": (100, 3, 32, 32), "label": (100,)}
    model = caffe.load_model(path / "cifar10_quick_train_test.prototxt", phase="train", inputs=shapes)
    text = "base_lr: 0.001 momentum: 0.9 weight_decay: 0.004 lr_policy: 'fixed'"
    (tmp_path / "solver.prototxt").write_text(text)
    solver = Solver.from_config(model.net(keep="none"), caffe.load_solver(tmp_path / "solver.prototxt"))
    held = caffe.load_state(model, solver, path / f"b.cifar10_quick_iter_{iteration}.solverstate{suffix}")
    assert solver.iteration == iteration
    assert held.learned_net.endswith(f"cifar10_quick_iter_{iteration}.caffemodel{suffix}")  # its folder is not here
    found = caffe.history(model, solver)
    assert all(np.array_equal(mine, theirs) for mine, theirs in zip(found, held.history, strict=True))
    assert f"b.cifar10_quick_iter_{iteration}.caffemodel{suffix}" not in " ".join(model.report.notes), "nothing is left"
    assert np.abs(model.param(solver.net, "conv1", 0).data).max() > 0.01
