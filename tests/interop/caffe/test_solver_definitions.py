"""What is made of a solver.prototxt: the sections of a configuration, and what is said where that cannot be."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from layerforge.config.sections import SolverSection
from layerforge.interop import caffe
from layerforge.schema.errors import ConfigError, flatten
from layerforge.solvers.schedules import Progress

FIXED = "base_lr: 0.1 lr_policy: 'fixed' "


def read(tmp_path: Path, text: str) -> Any:
    file = tmp_path / "solver.prototxt"
    file.write_text(text)
    return caffe.read_solver(file)


def rates(tmp_path: Path, text: str, steps: int) -> list[float]:
    schedule = SolverSection.from_config(read(tmp_path, text).solver)
    return [schedule.schedule.lr(schedule.lr, Progress(i)) for i in range(steps)]


# What is read ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "rate"),
    [
        ("'fixed'", lambda i: 0.2),
        ("'step' gamma: 0.5 stepsize: 3", lambda i: 0.2 * 0.5 ** (i // 3)),
        ("'exp' gamma: 0.9", lambda i: 0.2 * 0.9**i),
        ("'inv' gamma: 0.1 power: 0.75", lambda i: 0.2 * (1 + 0.1 * i) ** -0.75),
        ("'inv'", lambda i: 0.2),
        ("'poly' power: 2 max_iter: 10", lambda i: 0.2 * (1 - i / 10) ** 2),
        ("'poly' max_iter: 10", lambda i: 0.2),
        ("'sigmoid' gamma: -0.5 stepsize: 4", lambda i: 0.2 / (1 + math.exp(0.5 * (i - 4)))),
        ("'sigmoid'", lambda i: 0.1),
        ("'multistep' gamma: 0.5 stepvalue: 2 stepvalue: 5", lambda i: 0.2 * 0.5 ** ((i >= 2) + (i >= 5))),
        ("'multistep' gamma: 0.5 stepvalue: 3 stepvalue: 3", lambda i: 0.2 * 0.5 ** ((i >= 3) + (i >= 4))),
        ("'multistep' gamma: 0.5 stepvalue: 5 stepvalue: 2", lambda i: 0.2 * 0.5 ** ((i >= 5) + (i >= 6))),
        ("'multistep' gamma: 0.5", lambda i: 0.2),
    ],
)
def test_policies_are_caffes_formulas(policy: str, rate: Any, tmp_path: Path) -> None:
    found = rates(tmp_path, f"base_lr: 0.2 lr_policy: {policy}", 9)
    assert found == pytest.approx([rate(i) for i in range(9)], rel=1e-12)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {"type": "SGD", "momentum": 0.0}),
        ("momentum: 0.9", {"type": "SGD", "momentum": 0.9}),
        ("type: 'Nesterov'", {"type": "Nesterov", "momentum": 0.0}),
        ("type: 'AdaGrad'", {"type": "AdaGrad", "eps": 1e-8}),
        ("solver_type: RMSPROP rms_decay: 0.95", {"type": "RMSProp", "rms_decay": 0.95, "eps": 1e-8}),
        ("type: 'AdaDelta' delta: 1e-6", {"type": "AdaDelta", "momentum": 0.0, "eps": 1e-6}),
        ("solver_type: ADAM", {"type": "Adam", "momentum": 0.0, "momentum2": 0.999, "eps": 1e-8}),
    ],
)
def test_types_have_caffes_defaults_and_not_ours(text: str, expected: dict[str, Any], tmp_path: Path) -> None:
    found = read(tmp_path, FIXED + text).solver
    rest = {"lr": 0.1, "weight_decay": 0.0, "schedule": {"type": "fixed"}}
    assert found == {**expected, **rest}


def test_decay_clipping_and_iter_size(tmp_path: Path) -> None:
    text = FIXED + "weight_decay: 0.05 regularization_type: 'L1' clip_gradients: 10 iter_size: 4"
    found = read(tmp_path, text)
    assert {key: found.solver[key] for key in ("weight_decay", "regularization")} == {
        "weight_decay": 0.05,
        "regularization": "L1",
    }
    assert found.solver["clip_grad_norm"] == 10
    assert found.solver["clip_order"] == "caffe"
    assert found.solver["micro_batches"] == "mean"
    assert found.train["train"]["accumulate_grad_batches"] == 4
    assert "clip_grad_norm" not in read(tmp_path, FIXED + "clip_gradients: -1").solver


def test_what_is_said_of_the_run_becomes_its_sections(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        """net: "models/train_val.prototxt"
        test_iter: 100  test_interval: 500  test_initialization: false
        base_lr: 0.01  lr_policy: "fixed"  display: 20  max_iter: 4000
        snapshot: 1000  snapshot_prefix: "out/quick"  solver_mode: GPU  random_seed: 7  average_loss: 40
        train_state { stage: "big" level: 2 }  test_state { stage: "small" }  weights: "a.caffemodel, b.caffemodel"
        """,
    )
    assert found.train == {
        "seed": 7,
        "train": {"max_steps": 4000, "eval_every": {"steps": 500}, "log_every": 20},
        "checkpoint": {"every": {"steps": 1000}},
    }
    assert found.run.net == "models/train_val.prototxt"
    assert found.run.train_state.level == 2
    assert found.run.train_state.stages == ("big",)
    assert [state.stages for state in found.run.test_states] == [("small",)]
    assert found.run.weights == ("a.caffemodel", "b.caffemodel")
    assert {"snapshot_prefix", "test_iter"} <= {name for name, _, _ in found.ignored}


def test_every_field_that_changes_nothing_is_listed_with_its_place_and_why(tmp_path: Path) -> None:
    text = FIXED + "gamma: 0.1 momentum2: 0.9 snapshot_format: HDF5 debug_info: true min_lr: 0 stepvalue: 3"
    ignored = {name: (place, why) for name, place, why in read(tmp_path, text).ignored}
    assert set(ignored) == {"gamma", "momentum2", "snapshot_format", "debug_info", "min_lr", "stepvalue"}
    assert ignored["gamma"] == (f"{tmp_path}/solver.prototxt:1:33", "lr_policy fixed does not use it")
    assert all(why for _, why in ignored.values())


# What is refused ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "column", "told"),
    [
        ("base_lr: 1", 1, "lr_policy is not given"),
        ("lr_policy: 'fixed'", 1, "a solver needs base_lr"),
        ("base_lr: 1 lr_policy: 'cosine'", 12, "lr_policy 'cosine' is not supported"),
        ("base_lr: 1 lr_policy: 'step' stepsize: 3", 12, "lr_policy step needs gamma"),
        ("base_lr: 1 lr_policy: 'step' stepsize: 0 gamma: 1", 30, "stepsize must be greater than 0"),
        ("base_lr: 1 lr_policy: 'poly' power: 1", 12, "lr_policy poly needs max_iter"),
        (FIXED + "type: 'Adm'", 33, "no solver of type 'Adm'"),
        (FIXED + "type: 'AdaGrad' momentum: 0.9", 49, "AdaGrad has none"),
        (FIXED + "type: 'RMSProp' rms_decay: 1", 49, "rms_decay must be < 1"),
        (FIXED + "momentum: 1", 33, "momentum must be < 1"),
        (FIXED + "regularization_type: 'L3' weight_decay: 1", 33, "no regularization_type 'L3'"),
        (FIXED + "clip_gradients: 0", 33, "nothing would be learned"),
        (FIXED + "iter_size: 0", 33, "iter_size must be at least 1"),
        (FIXED + "max_iter: -1", 33, "max_iter must be at least 0"),
        (FIXED + "momentum_policy: 'poly'", 33, "momentum_policy is not supported"),
        (FIXED + "min_lr: 0.1", 33, "min_lr is not supported"),
        (FIXED + "strange: 3", 33, "unknown field strange"),
        (FIXED + "net: 'a' train_net: 'b'", 42, "trains one net"),
        (FIXED + "test_state { phase: TRAIN }", 33, "of phase TRAIN"),
        (FIXED + "solver_type: ADAM type: 'SGD'", 33, "both type and solver_type"),
    ],
)
def test_what_is_wrong_is_told_with_line_and_column(text: str, column: int, told: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=told) as caught:
        read(tmp_path, text)
    assert caught.value.exit_code == 2
    assert str(flatten(caught.value)[0].place) == f"{tmp_path}/solver.prototxt:1:{column}"


def test_everything_wrong_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, "base_lr: 0\nlr_policy: 'stp'\nfoo: 3\nmomentum: -1\n")
    assert [one.place.line for one in flatten(caught.value) if one.place] == [1, 2, 3, 4]


def test_regularization_of_nothing_is_not_looked_at(tmp_path: Path) -> None:
    assert "regularization" not in read(tmp_path, FIXED + "regularization_type: 'L3'").solver
