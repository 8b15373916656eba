"""Configurations as a whole: sections, extends, variables, overrides, and what is said when they are wrong."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from layerforge.config import Config, SolverSection, dump_yaml, parse_yaml, variables
from layerforge.schema.errors import ConfigError, LayerForgeError, report
from layerforge.schema.locations import place_of
from layerforge.schema.params import Declared, param
from layerforge.schema.registry import SOLVERS

MNIST = """\
# MNIST, two hidden layers with BatchNorm.
version: 1
name: mnist_mlp
seed: 0
backend: numpy           # numpy | cupy

net:                     # no bottom = the layer above; no top = the layer's name
  - {name: flat, type: Flatten, bottom: image}
  - {name: fc1,  type: Linear, out_features: 256}
  - {name: bn1,  type: BatchNorm}
  - {name: act1, type: ReLU}
  - {name: fc2,  type: Linear, out_features: 128}
  - {name: bn2,  type: BatchNorm}
  - {name: act2, type: ReLU}
  - {name: fc3,  type: Linear, out_features: 10}
  - {name: loss, type: SoftmaxCrossEntropy, bottom: [fc3, label]}

solver:
  type: SGD
  lr: 0.1
  momentum: 0.9
  weight_decay: 1e-4
  schedule: {type: multistep, milestones: [6, 9], gamma: 0.1, unit: epoch}

train: {epochs: 10}
checkpoint: {every: {epochs: 1}, keep_last: 2, monitor: val/accuracy, mode: max}
"""
SMALL = "net: [{name: fc1, type: Linear, out_features: 4}]\nsolver: {lr: 0.1}\n"

Load = Callable[..., Config]


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    """Load a text as c.yaml in an empty working folder, beside other files given by name."""
    monkeypatch.chdir(tmp_path)

    def load(text: str, *overrides: str, **files: str) -> Config:
        for name, content in {"c": text, **files}.items():
            Path(f"{name}.yaml").write_text(content)
        return Config.load("c.yaml", overrides)

    return load


def messages(config: Config) -> list[str]:
    """Each error's place and sentence."""
    return [f"{e.place}: {e.message}" for e in config.errors]


def only_error(config: Config) -> LayerForgeError:
    assert len(config.errors) == 1, messages(config)
    assert config.errors[0].exit_code == 2
    return config.errors[0]


# ---- the sections ----------------------------------------------------------------------------------------------


def test_a_configuration_is_read_into_its_sections(load: Load) -> None:
    config = load(MNIST)
    config.raise_errors()
    assert (config.path, config.name, config.files) == ("c.yaml", "mnist_mlp", [("c.yaml", MNIST)])
    assert (config.top.seed, config.top.backend, config.top.dtype) == (0, "numpy", "float32")
    assert config.train.epochs == 10
    assert (config.checkpoint.keep_last, config.checkpoint.monitor, config.checkpoint.mode) == (
        2,
        "val/accuracy",
        "max",
    )
    assert config.solver is not None
    assert (config.solver.type, config.solver.lr, config.solver.weight_decay) == ("SGD", 0.1, 1e-4)
    assert config.solver.rule.momentum == 0.9
    assert config.solver.schedule.config["milestones"] == [6, 9]
    assert [layer["name"] for layer in config.net][:2] == ["flat", "fc1"]
    assert (config.data, config.inputs, config.blocks, config.imports) == (None, {}, {}, [])


def test_everything_but_net_has_a_default(load: Load) -> None:
    config = load("net: [{name: fc1, type: Linear, out_features: 4}]\n")
    config.raise_errors()
    assert (config.name, config.solver, config.top.dtype) == ("c", None, "float32")
    assert (config.train.epochs, config.train.max_steps, config.train.log_every) == (10, None, 50)
    assert (config.train.eval_every.epochs, config.train.eval_every.steps) == (1, None)
    assert (config.train.accumulate_grad_batches, config.train.output_dir) == (1, "runs")
    assert (config.checkpoint.every.plain(), config.checkpoint.keep_last) == ({"epochs": 1}, 0)
    assert (config.checkpoint.monitor, config.checkpoint.mode) == (None, None)


def test_the_defaults_of_the_solver(load: Load) -> None:
    solver = load(SMALL).solver
    assert solver is not None
    assert (solver.type, solver.weight_decay, solver.regularization, solver.clip_order) == (
        "SGD",
        0,
        "L2",
        "average_first",
    )
    assert (solver.clip_grad_norm, solver.clip_grad_value) == (None, None)
    assert solver.schedule.type_name == "fixed"
    assert solver.rule.type_name == "SGD"


@pytest.mark.parametrize(
    ("section", "epochs", "max_steps"),
    [("{}", 10, None), ("{max_steps: 7}", None, 7), ("{epochs: 3, max_steps: 7}", 3, 7), ("null", 10, None)],
)
def test_epochs_default_to_ten_where_no_duration_is_given(
    load: Load, section: str, epochs: int | None, max_steps: int | None
) -> None:
    train = load(f"{SMALL}train: {section}\n").train
    assert (train.epochs, train.max_steps) == (epochs, max_steps)


def test_a_schedule_is_a_name_or_a_mapping(load: Load) -> None:
    named = load(SMALL, "solver.schedule=cosine").solver
    assert named is not None
    assert named.schedule.type_name == "cosine"
    assert "unknown schedule type 'cosin'" in only_error(load(SMALL, "solver.schedule=cosin")).message


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("version=2", "config: version 2 is not known"),
        ("seed=-1", "config: seed must be >= 0, got -1"),
        ("seed=1.5", "config: seed must be an integer >= 0, got 1.5"),
        ("backend=cuda", "config: backend must be one of numpy, cupy, got 'cuda'"),
        ("dtype=float16", "config: dtype must be one of float32, float64, got 'float16'"),
        ("name=a/b", "config: the name 'a/b' cannot be the name of a folder"),
        ("name=..", "config: the name '..' cannot be the name of a folder"),
        ("name=''", "config: the name '' cannot be the name of a folder"),
        ("train.epochs=0", "train: epochs must be >= 1, got 0"),
        ("train.max_steps=no", "train: max_steps must be an integer >= 1 or null, got 'no'"),
        ("train.log_every=0", "train: log_every must be >= 1, got 0"),
        ("train.eval_every=500", "train: eval_every must be {epochs: N} or {steps: N}, got 500"),
        ("train.eval_every={}", "interval: give exactly one of epochs and steps"),
        ("train.eval_every={epochs: 1, steps: 2}", "interval: give exactly one of epochs and steps"),
        ("train.eval_every={step: 2}", "unknown key 'step' in interval"),
        ("checkpoint.keep_last=-1", "checkpoint: keep_last must be >= 0, got -1"),
        ("checkpoint.mode=maximum", "checkpoint: mode must be one of min, max, got 'maximum'"),
        ("solver.lr=0", "solver (SGD): lr must be > 0, got 0"),
        ("solver.lr=.inf", "solver (SGD): lr must be a finite number > 0, got inf"),
        ("solver.lr=.nan", "solver (SGD): lr must be a finite number > 0, got nan"),
        ("solver.weight_decay=-1", "solver (SGD): weight_decay must be >= 0, got -1"),
        ("solver.regularization=L3", "solver (SGD): regularization must be one of L2, L1, got 'L3'"),
        ("solver.clip_grad_norm=0", "solver (SGD): clip_grad_norm must be > 0, got 0"),
        ("solver.clip_order=torch", "solver (SGD): clip_order must be one of average_first, caffe, got 'torch'"),
        ("solver.momentum=1.5", "solver (SGD): momentum must be < 1, got 1.5"),
        ("solver.type=[a]", "solver: type must be a string, got ['a']"),
        ("solver.schedule=3", "solver (SGD): schedule must be the name of a schedule or {type: NAME, ...}, got 3"),
        ("solver.schedule={gamma: 1}", "schedule needs a type"),
    ],
)
def test_a_wrong_value_is_named_with_what_is_right(load: Load, override: str, message: str) -> None:
    error = only_error(load(SMALL, override))
    assert (error.message, str(error.place)) == (message, "--set")


@pytest.mark.parametrize("override", ["checkpoint.mode=null", "train.max_steps=null", "solver.clip_grad_norm=null"])
def test_null_is_the_default_where_it_is_allowed(load: Load, override: str) -> None:
    load(SMALL, override).raise_errors()


def test_every_unknown_solver_key_is_reported_once_against_all_keys(load: Load) -> None:
    config = load(f"{SMALL.replace('0.1', '0.1, momentun: 0.9, weight_deacy: 0, base_lr: 1')}")
    assert [(e.message, e.hint) for e in config.errors] == [
        ("unknown key 'momentun' in solver (SGD)", "did you mean 'momentum'?"),
        ("unknown key 'weight_deacy' in solver (SGD)", "did you mean 'weight_decay'?"),
        ("unknown key 'base_lr' in solver (SGD)", "did you mean 'lr'?"),
    ]


def test_an_unknown_rule_does_not_hide_other_errors(load: Load) -> None:
    config = load("net: [{name: a, type: ReLU}]\nsolver: {type: SDG, lr: -1}\n")
    assert [(e.message, e.hint) for e in config.errors] == [
        ("unknown solver type 'SDG'", "did you mean 'SGD'?"),
        ("solver (SDG): lr must be > 0, got -1", None),
    ]


def test_a_missing_learning_rate_is_shown_at_the_section(load: Load) -> None:
    error = only_error(load("net: [{name: a, type: ReLU}]\nsolver:\n  type: SGD\n"))
    assert str(error) == (
        "c.yaml:2:1: solver (SGD): lr is required (learning rate)\n"
        "   2 | solver:\n"
        "     | ^^^^^^ add 'lr: ...', a finite number > 0"
    )


def test_a_registered_rule_brings_its_own_keys() -> None:
    class Drifting(Declared):
        drift: float = param(0.5, help="how far it drifts", ge=0)

    SOLVERS.add(Drifting)
    try:
        solver = SolverSection.from_config({"type": "Drifting", "lr": 1, "drift": 2})
        assert (solver.rule.drift, solver.lr) == (2.0, 1.0)
        assert (solver.plain()["drift"], solver.plain()["lr"], solver.plain()["type"]) == (2.0, 1.0, "Drifting")
        with pytest.raises(ConfigError, match=r"unknown key 'momentum' in solver \(Drifting\)"):
            SolverSection(type="Drifting", lr=1, momentum=0.9)
    finally:
        SOLVERS.remove("Drifting")


# ---- errors ----------------------------------------------------------------------------------------------------


def test_an_error_looks_as_the_conventions_say(load: Load) -> None:
    error = only_error(load("\n" * 3 + MNIST.replace("momentum:", "momentun:")))
    assert report(error) == (
        "error: c.yaml:24:3: unknown key 'momentun' in solver (SGD)\n"
        "  24 |   momentun: 0.9\n"
        "     |   ^^^^^^^^ did you mean 'momentum'?"
    )


def test_a_layer_knows_where_its_bottoms_are_written(load: Load) -> None:
    loss = load("\n" * 3 + MNIST).net[-1]
    assert str(place_of(loss, "bottom")) == "c.yaml:19:53"
    assert place_of(loss["bottom"], 0).excerpt("here") == (
        f"  19 |   - {{name: loss, type: SoftmaxCrossEntropy, bottom: [fc3, label]}}\n     | {' ' * 53}^^^ here"
    )


def test_all_errors_of_a_file_are_reported_in_its_order(load: Load) -> None:
    config = load(
        "sede: 1\n"
        "version: 7\n"
        "import: nowhere.py\n"
        "net: [{name: a, type: ReLU}, 3]\n"
        "solver: {lr: '${solver.rate}', momentun: 1}\n"
        "train: {epochs: ten}\n"
        "train: {}\n"
        "checkpoint: []\n"
        "inputs: 3\n"
    )
    assert messages(config) == [
        "c.yaml:1:1: unknown key 'sede' in config",
        "c.yaml:2:10: config: version 7 is not known",
        "c.yaml:3:9: import: there is no file 'nowhere.py'",
        "c.yaml:4:30: a layer must be a mapping, got 3",
        "c.yaml:5:15: unknown variable '${solver.rate}': 'solver' has no key 'rate' here",
        "c.yaml:5:32: unknown key 'momentun' in solver (SGD)",
        "c.yaml:6:17: train: epochs must be an integer >= 1 or null, got 'ten'",
        "c.yaml:7:1: the key 'train' is given twice; first at line 6, column 1",
        "c.yaml:8:13: checkpoint must be a mapping, got []",
        "c.yaml:9:9: inputs must be a mapping, got 3",
    ]
    with pytest.raises(ConfigError) as caught:
        config.raise_errors()
    assert report(caught.value, "nothing was run").endswith("10 errors; nothing was run.")


def test_a_syntax_error_stops_at_once(load: Load) -> None:
    with pytest.raises(ConfigError, match="not valid YAML") as caught:
        load("sede: 1\nnet: [a\n")
    assert str(caught.value.place) == "c.yaml:2:6"


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("solvr", "did you mean 'solver'?"),
        ("layers", "did you mean 'net'?"),
        ("optimizer", "did you mean 'solver'?"),
        ("lr", "did you mean 'solver.lr'?"),
        ("epochs", "did you mean 'train.epochs'?"),
        ("keep_last", "did you mean 'checkpoint.keep_last'?"),
        ("_base_", "did you mean 'extends'?"),
    ],
)
def test_an_unknown_top_level_key_suggests_the_right_one(load: Load, key: str, hint: str) -> None:
    error = only_error(load(f"{SMALL}{key}: 1\n"))
    assert (error.message, str(error.place), error.hint) == (f"unknown key '{key}' in config", "c.yaml:3:1", hint)


@pytest.mark.parametrize(
    ("text", "message", "place"),
    [
        ("solver: {lr: 1}\n", "net has no layers", "c.yaml"),
        ("net:\nsolver: {lr: 1}\n", "net has no layers", "c.yaml:1:1"),
        ("net: []\n", "net has no layers", "c.yaml:1:1"),
        ("net: {fc1: {type: Linear}}\n", "net must be a list of layers, got {'fc1': {'type': 'Linear'}}", "c.yaml:1:6"),
        (f"{SMALL}data: 3\n", "data must be a mapping, got 3", "c.yaml:3:7"),
        (f"{SMALL}blocks: [a]\n", "blocks must be a mapping, got ['a']", "c.yaml:3:9"),
        (f"{SMALL}import: 3\n", "import must be the path of a Python file or a list of paths", "c.yaml:3:9"),
        (f"{SMALL}extends: {{a: b}}\n", "extends must be the path of a file or a list of paths", "c.yaml:3:10"),
    ],
)
def test_a_section_of_the_wrong_kind_is_one_error(load: Load, text: str, message: str, place: str) -> None:
    try:
        error = only_error(load(text))
    except ConfigError as problem:
        error = problem
    assert (error.message, str(error.place)) == (message, place)


def test_x_keys_hold_anchors_and_are_gone_afterwards(load: Load) -> None:
    config = load("x-fc: &fc {type: Linear, out_features: 4}\nnet: [{<<: *fc, name: a}, {<<: *fc, name: b}]\n")
    config.raise_errors()
    assert "x-fc" not in config.tree
    assert config.net == [{"name": n, "type": "Linear", "out_features": 4} for n in "ab"]


# ---- extends ---------------------------------------------------------------------------------------------------


def test_mappings_merge_lists_replace_and_null_overrides(load: Load) -> None:
    base = (
        "net: [{name: a, type: ReLU}]\n"
        "solver: {lr: 1, clip_grad_norm: 5, schedule: {type: step, step_size: 3, gamma: 0.5}}\n"
        "checkpoint: {keep_last: 3}\n"
    )
    child = (
        "extends: base.yaml\n"
        "net: [{name: b, type: Tanh}]\n"
        "solver: {lr: 2, clip_grad_norm: null, schedule: {step_size: 4}}\n"
        "checkpoint: null\n"
    )
    config = load(child, base=base)
    config.raise_errors()
    assert config.net == [{"name": "b", "type": "Tanh"}]
    assert config.tree["solver"] == {
        "lr": 2,
        "clip_grad_norm": None,
        "schedule": {"type": "step", "step_size": 4, "gamma": 0.5},
    }
    assert config.checkpoint.keep_last == 0
    assert "extends" not in config.tree
    assert config.files == [("c.yaml", child), ("base.yaml", base)]
    assert str(place_of(config.tree["solver"], "lr")) == "c.yaml:3:14"
    assert str(place_of(config.tree["solver"]["schedule"], "gamma")) == "base.yaml:2:80"


def test_of_several_bases_the_later_one_wins(load: Load) -> None:
    config = load(
        "extends: [one.yaml, two.yaml]\nseed: 3\n", one=f"{SMALL}seed: 1\nname: one\n", two="seed: 2\nname: two\n"
    )
    config.raise_errors()
    assert (config.top.seed, config.name) == (3, "two")


def test_an_error_in_a_base_is_shown_there(load: Load) -> None:
    error = only_error(load("extends: base.yaml\n", base=f"{SMALL}train: {{epoch: 1}}\n"))
    assert str(error.place) == "base.yaml:3:9"


def test_paths_belong_to_the_file_that_names_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sub" / "deep").mkdir(parents=True)
    (tmp_path / "sub" / "mine.py").write_text("")
    (tmp_path / "sub" / "base.yaml").write_text(f"{SMALL}import: mine.py\n")
    (tmp_path / "sub" / "deep" / "c.yaml").write_text("extends: ../base.yaml\n")
    config = Config.load("sub/deep/c.yaml")
    config.raise_errors()
    assert [os.path.realpath(path) for path in config.imports] == [os.path.realpath(tmp_path / "sub" / "mine.py")]


def test_extending_in_a_circle_names_the_chain(load: Load) -> None:
    with pytest.raises(ConfigError) as caught:
        load("extends: b.yaml\n", b="extends: d.yaml\n", d="extends: ./c.yaml\n")
    assert caught.value.message == "extends goes round in a circle: c.yaml -> b.yaml -> d.yaml -> ./c.yaml"
    assert str(caught.value.place) == "d.yaml:1:10"


def test_a_base_used_twice_is_no_circle(load: Load) -> None:
    load("extends: [a.yaml, b.yaml]\n", a="extends: base.yaml\n", b="extends: base.yaml\n", base=SMALL).raise_errors()


def test_bases_that_multiply_have_a_limit(load: Load) -> None:
    layers = {f"b{i}": f"extends: [b{i + 1}.yaml, b{i + 1}.yaml]\n" for i in range(20)}
    with pytest.raises(ConfigError, match="more than 100 files"):
        load("extends: b0.yaml\n", **layers, b20=SMALL)


def test_a_missing_base_is_shown_where_it_is_named(load: Load) -> None:
    with pytest.raises(ConfigError, match=r"config file 'bsae.yaml' does not exist") as caught:
        load("extends: [bsae.yaml]\n", base=SMALL)
    assert (str(caught.value.place), caught.value.hint) == ("c.yaml:1:11", "did you mean 'base.yaml'?")


# ---- variables -------------------------------------------------------------------------------------------------


def test_a_variable_keeps_its_type_and_text_is_written_out(load: Load) -> None:
    config = load(
        "name: run-${solver.lr}-${train.epochs}-${x-flag}\n"
        "x-flag: true\n"
        "x-mile: [1, 2]\n"
        "net: [{name: s.1, type: Linear, out_features: 4},\n"
        "      {name: b, type: Linear, out_features: '${ net.s.1.out_features }'}]\n"
        "solver: {lr: 1e-5, schedule: {type: multistep, milestones: '${x-mile}', gamma: '${solver.lr}'}}\n"
        "train: {epochs: '${x-mile.1}'}\n"
    )
    config.raise_errors()
    assert config.name == "run-1.0e-05-2-true"
    assert config.net[1]["out_features"] == 4
    assert config.tree["solver"]["schedule"]["milestones"] == [1, 2]
    assert config.tree["solver"]["schedule"]["gamma"] == 1e-5
    assert config.train.epochs == 2


def test_variables_may_name_variables_and_look_through_them(load: Load) -> None:
    config = load(f"x-a: {{b: 7}}\nx-c: ${{x-a}}\nseed: ${{x-d}}\nx-d: ${{x-c.b}}\n{SMALL}")
    config.raise_errors()
    assert config.top.seed == 7


def test_a_dollar_is_escaped_with_another(load: Load) -> None:
    config = load(f"name: a$${{b}}$c$$${{seed}}\nseed: 3\n{SMALL}")
    config.raise_errors()
    assert config.name == "a${b}$c$${seed}"


def test_blocks_are_left_to_the_net(load: Load) -> None:
    body = {"args": {"c": None}, "net": [{"name": "a", "type": "Linear", "out_features": "${c}"}]}
    config = load(
        f"{SMALL}blocks: {{basic: {{args: {{c: null}}, net: [{{name: a, type: Linear, out_features: '${{c}}'}}]}}}}\n"
    )
    config.raise_errors()
    assert config.blocks == {"basic": body}
    assert config.resolved()["blocks"] == {"basic": body}


ANY_KEY = "a variable names a key of this configuration, like ${solver.lr}"


@pytest.mark.parametrize(
    ("value", "column", "message", "hint"),
    [
        ("a ${solver.lrr} b", 9, "'solver' has no key 'lrr' here", "did you mean '${solver.lr}'?"),
        ("${net.fc2.type}", 7, "'net' has no key 'fc2' here", "did you mean '${net.fc1.type}'?"),
        ("${HOME}", 7, "unknown variable '${HOME}': there is no such key", ANY_KEY),
        ("${env:HOME}", 7, "unknown variable '${env:HOME}': there is no such key", ANY_KEY),
        ("${solver.lr.x}", 7, "'solver.lr' has no key 'x' here", ANY_KEY),
        ("a${solver.lr", 8, "'${' without a name and '}' after it", "write $${ for a plain ${"),
        ("${a${b}}", 7, "'${' without a name and '}' after it", "write $${ for a plain ${"),
        ("a${solver}", 8, "${solver} is a mapping and cannot", "let the value be nothing but the ${...}"),
        ("${name}", 7, "variables go round in a circle: name -> name", None),
    ],
)
def test_a_variable_that_means_nothing(load: Load, value: str, column: int, message: str, hint: str | None) -> None:
    error = only_error(load(f"name: {value}\n{SMALL}"))
    assert message in error.message
    assert (str(error.place), error.hint) == (f"c.yaml:1:{column}", hint)


def test_a_circle_of_variables_is_reported_once(load: Load) -> None:
    error = only_error(load(f"{SMALL}x-a: ${{x-b}}\nx-b: 1${{x-c}}\nx-c: [1, '${{x-a}}']\nseed: ${{x-a}}\n"))
    assert "variables go round in a circle" in error.message


def test_a_mapping_cannot_contain_itself(load: Load) -> None:
    assert (
        "circle: solver -> solver"
        in only_error(load("net: [{name: a, type: ReLU}]\nsolver: {lr: '${solver}'}\n")).message
    )


def test_what_follows_from_a_broken_variable_is_not_reported(load: Load) -> None:
    assert "unknown variable" in only_error(load(f"{SMALL}seed: ${{sede}}\ntrain: {{epochs: '${{seed}}'}}\n")).message


@pytest.mark.parametrize("inner", ["['${A}', '${A}']", "{p: '${A}', q: '${A}'}", "${A}${A}"])
def test_variables_that_multiply_have_a_limit(load: Load, monkeypatch: pytest.MonkeyPatch, inner: str) -> None:
    monkeypatch.setattr(variables, "MAX_NODES", 2000)  # sooner reached than the real one
    lines = [f"x-{i}: {inner.replace('A', f'x-{i - 1}')}" for i in range(1, 25)]
    config = load("\n".join([SMALL, f"x-0: {'z' * 50}", *lines]))
    assert config.errors
    assert "more than 2000 values" in report(config.errors[0]) or "longer than" in report(config.errors[0])


def test_a_long_chain_of_variables_has_a_limit(load: Load) -> None:
    chain = "".join(f"x-{i}: ${{x-{i + 1}}}\n" for i in range(200))
    assert any("nested more than" in e.message for e in load(f"{SMALL}{chain}x-200: 1\n").errors)


# ---- overrides -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("net.fc1.out_features=512", lambda c: c.net[1]["out_features"] == 512),
        ("net.fc1.weight_filler={type: gaussian, std: 0.1}", lambda c: c.net[1]["weight_filler"]["std"] == 0.1),
        ("net.fc1.weight_filler.type=xavier", lambda c: c.net[1]["weight_filler"] == {"type": "xavier"}),
        ("net.s.1.conv.p=0.5", lambda c: c.net[-2]["p"] == 0.5),
        ("net.s.1.p=0.25", lambda c: c.net[-1]["p"] == 0.25),
        ("solver.lr=0.5", lambda c: c.solver.lr == 0.5),
        (" solver.lr =0.5", lambda c: c.solver.lr == 0.5),
        ("solver.schedule.milestones.0=2", lambda c: c.solver.schedule.config["milestones"] == [2, 9]),
        ("solver.schedule.milestones=[1]", lambda c: c.solver.schedule.config["milestones"] == [1]),
        ("train={max_steps: 3}", lambda c: (c.train.epochs, c.train.max_steps) == (None, 3)),
        ("checkpoint.every={steps: 9}", lambda c: c.checkpoint.every.plain() == {"steps": 9}),
        ("train.eval_every.steps=9", lambda c: c.train.eval_every.plain() == {"steps": 9}),
        ("name=12:30=x", lambda c: c.name == "12:30=x"),
        ("seed=${train.epochs}", lambda c: c.top.seed == 10),
        ("blocks.basic.net.conv.p=1", lambda c: c.blocks["basic"]["net"][0]["p"] == 1),
        ("net.use.with.c=4", lambda c: c.net[-3]["with"]["c"] == 4),
    ],
)
def test_an_override_reaches_every_key(load: Load, override: str, value: Callable[[Config], bool]) -> None:
    text = MNIST.replace(
        "\nsolver:",
        "  - {name: use, block: basic, with: {c: 3}}\n"
        "  - {name: s.1.conv, type: Dropout}\n"
        "  - {name: s.1, type: Dropout}\n"
        "blocks: {basic: {net: [{name: conv, type: Dropout}]}}\n\nsolver:",
    )
    config = load(text, override)
    config.raise_errors()
    assert value(config)


def test_later_overrides_win_and_make_sections(load: Load) -> None:
    config = load(SMALL, "checkpoint.keep_last=1", "checkpoint.keep_last=2", "train.eval_every.steps=5")
    config.raise_errors()
    assert (config.checkpoint.keep_last, config.train.eval_every.steps) == (2, 5)


def test_an_override_is_seen_by_variables(load: Load) -> None:
    config = load(f"{SMALL}seed: ${{x-seed}}\nx-seed: 1\n", "x-seed=5")
    config.raise_errors()
    assert config.top.seed == 5


@pytest.mark.parametrize(
    ("override", "message", "hint"),
    [
        ("net.fc9.out_features=3", "'net' has no layer 'fc9'", "did you mean 'fc1'?"),
        ("net.fc1=3", "'net.fc1' is a whole layer or block", "set one of its keys: net.fc1.KEY=VALUE"),
        ("solver.lr.x=3", "'solver.lr' is 0.1, which has no keys below it", "set 'solver.lr' as a whole"),
        ("solver.lr=", "there is no value after '='", "write null for null"),
        ("solver.lr=  ", "there is no value after '='", "write null for null"),
        ("=3", "there is no key before '='", "for example solver.lr=0.05"),
        ("", "'' is not KEY=VALUE", "for example solver.lr=0.05"),
        ("solver.lr", "'solver.lr' is not KEY=VALUE", "for example solver.lr=0.05"),
        ("solver..lr=3", "'solver..lr' is not a key: names joined by dots", "for example solver.lr=0.05"),
        ("solver. lr=3", "'solver. lr' is not a key: names joined by dots", "for example solver.lr=0.05"),
        ("name=a: b", "'a: b' is not a scalar, [list] or {mapping}", "quote it, or add brackets"),
        ("extends=b.yaml", "extends cannot be set on the command line", "give the other file instead"),
        ("solvr.lr=3", "unknown key 'solvr' in config", "did you mean 'solver'?"),
        ("solver.learning_rate=3", "unknown key 'learning_rate' in solver (SGD)", "did you mean 'lr'?"),
        ("lr=3", "unknown key 'lr' in config", "did you mean 'solver.lr'?"),
        (
            "net.s1.0.conv1.out_channels=3",
            "'net.s1' is a block, and the layers inside a block cannot be set one by one",
            "set an argument: net.s1.with.NAME=VALUE, or a layer of every copy: blocks.basic.net.LAYER.KEY=VALUE",
        ),
    ],
)
def test_an_override_that_cannot_be(load: Load, override: str, message: str, hint: str) -> None:
    blocks = "blocks: {basic: {net: [{name: conv1, type: ReLU}]}}\n"
    config = load(f"{SMALL.replace('}]', '}, {name: s1, block: basic, repeat: 2}]')}{blocks}", override)
    error = only_error(config)
    assert (error.message, str(error.place), error.hint) == (message, "--set", hint)


def test_an_override_is_shown_with_a_caret(load: Load) -> None:
    assert str(only_error(load(SMALL, "solver.momentum=1.5"))) == (
        "--set: solver (SGD): momentum must be < 1, got 1.5\n     | solver.momentum=1.5\n     |                 ^^^"
    )


# ---- what comes from Python ------------------------------------------------------------------------------------


def test_a_mapping_is_copied_and_made_plain() -> None:
    given = {
        "net": [{"name": "a", "type": "Linear", "out_features": np.int64(4), "shape": (1, 2)}],
        "seed": np.uint8(3),
    }
    config = Config.from_dict(given, ["net.a.out_features=5"])
    config.raise_errors()
    assert (config.path, config.files, config.name, config.top.seed) == (None, [], "net", 3)
    assert config.net == [{"name": "a", "type": "Linear", "out_features": 5, "shape": [1, 2]}]
    assert given["net"][0]["out_features"] == 4


def test_a_mapping_may_extend_a_file(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(SMALL)
    config = Config.from_dict({"extends": str(tmp_path / "base.yaml"), "seed": 4})
    config.raise_errors()
    assert (config.top.seed, config.net[0]["name"]) == (4, "fc1")


def test_errors_of_a_mapping_have_no_place() -> None:
    config = Config.from_dict({"net": [{"name": "a", "type": "ReLU"}], "sovler": {}, "train": {"epochs": -1}})
    assert [str(e) for e in config.errors] == [
        "unknown key 'sovler' in config\n     = did you mean 'solver'?",
        "train: epochs must be >= 1, got -1",
    ]


def nested() -> dict[str, object]:
    loop: dict[str, object] = {}
    loop["x-a"] = loop
    return loop


@pytest.mark.parametrize(
    "given",
    [{1: 2}, {"a": {None: 1}}, {"seed": 2**64}, {"name": "a\0b"}, nested(), [], "net", {"a\n": 1}, {"lr": "\ud800"}],
)
def test_a_mapping_holds_only_what_yaml_can_hold(given: object) -> None:
    with pytest.raises(ConfigError):
        Config.from_dict(given)  # type: ignore[arg-type]


# ---- imports and data ------------------------------------------------------------------------------------------


def test_imports_are_listed_and_not_run(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("raise SystemExit('it ran')\n")
    (tmp_path / "c.yaml").write_text(f"{SMALL}import: [mine.py]\n")
    config = Config.load(tmp_path / "c.yaml")
    config.raise_errors()
    assert config.imports == [str(tmp_path / "mine.py")]


def test_imports_can_be_run_before_the_sections_are_read(tmp_path: Path) -> None:
    class Imported(Declared):
        pass

    (tmp_path / "mine.py").write_text("")
    (tmp_path / "c.yaml").write_text("import: mine.py\nnet: [{name: a, type: ReLU}]\nsolver: {type: Imported, lr: 1}\n")
    assert "unknown solver type 'Imported'" in only_error(Config.load(tmp_path / "c.yaml")).message
    try:
        config = Config.load(tmp_path / "c.yaml", import_files=lambda paths: paths and SOLVERS.add(Imported))
        config.raise_errors()
    finally:
        SOLVERS.remove("Imported")


def test_what_goes_wrong_in_an_import_is_one_of_the_errors(tmp_path: Path) -> None:
    def broken(paths: list[str]) -> None:
        raise ConfigError(f"cannot import {len(paths)} file")

    (tmp_path / "mine.py").write_text("")
    (tmp_path / "c.yaml").write_text(f"{SMALL}import: mine.py\ntrain: 3\n")
    config = Config.load(tmp_path / "c.yaml", import_files=broken)
    assert [e.message for e in config.errors] == ["train must be a mapping, got 3", "cannot import 1 file"]


def test_the_data_section_is_read_and_written_out(load: Load) -> None:
    config = load(f"{SMALL}data: {{train: {{type: Digits, batch_size: 32}}}}\n")
    config.raise_errors()
    assert config.resolved()["data"]["train"]["batch_size"] == 32
    again = Config.from_dict(config.resolved())
    again.raise_errors()
    assert again.resolved() == config.resolved()


def test_errors_of_the_data_section_are_collected(load: Load) -> None:
    config = load(f"{SMALL}data: {{train: {{type: Digits, batch_sise: 32}}}}\ntrain: {{epoch: 1}}\n")
    assert [str(e.place) for e in config.errors] == ["c.yaml:3:30", "c.yaml:4:9"]
    assert config.data is None


# ---- written out -----------------------------------------------------------------------------------------------


def test_the_resolved_configuration_is_complete_and_means_the_same(load: Load) -> None:
    base = f"x-w: 64\n{MNIST.replace('256', repr('${x-w}'))}"
    config = load("extends: base.yaml\nname: a$${b}\nimport: mine.py\n", "solver.lr=0.25", base=base, **{"mine.py": ""})
    assert [e.message for e in config.errors] == ["import: there is no file 'mine.py'"]
    Path("mine.py").write_text("")
    config = Config.load("c.yaml", ["solver.lr=0.25"])
    resolved = config.resolved()
    assert list(resolved)[:5] == ["version", "name", "seed", "backend", "dtype"]
    assert resolved["import"] == [os.path.abspath("mine.py")]
    assert (resolved["solver"]["lr"], resolved["solver"]["clip_order"]) == (0.25, "average_first")
    assert resolved["train"]["eval_every"] == {"epochs": 1}
    assert resolved["net"][1] == {"name": "fc1", "type": "Linear", "out_features": 64}
    os.mkdir("elsewhere")
    Path("elsewhere/r.yaml").write_text(dump_yaml(resolved))
    again = Config.load("elsewhere/r.yaml")
    again.raise_errors()
    assert again.resolved() == resolved
    assert again.name == "a${b}"


def test_a_configuration_with_errors_is_not_written_out(load: Load) -> None:
    with pytest.raises(ConfigError, match="unknown key 'sede'"):
        load(f"{SMALL}sede: 1\n").resolved()


def test_origins_say_where_each_value_came_from(load: Load) -> None:
    child = "extends: base.yaml\nsolver: {schedule: cosine}\ncheckpoint: {every: {steps: 5}}\n"
    config = load(child, "net.fc1.bias=false", "train.epochs=2", base=SMALL)
    found = {key: (value, origin) for key, value, origin in config.origins()}
    assert found["net.fc1.out_features"] == (4, "base.yaml:1")
    assert found["net.fc1.bias"] == (False, "--set")
    assert found["solver.lr"] == (0.1, "base.yaml:2")
    assert found["solver.schedule.type"] == ("cosine", "c.yaml:2")
    assert found["solver.momentum"] == (0.0, "default")
    assert found["train.epochs"] == (2, "--set")
    assert found["train.eval_every.epochs"] == (1, "default")
    assert found["checkpoint.every.steps"] == (5, "c.yaml:3")
    assert found["name"] == ("c", "default")


def test_origins_of_a_mapping() -> None:
    config = Config.from_dict({"net": [{"name": "a", "type": "ReLU", "shape": [1, 2]}], "seed": 1})
    found = {key: (value, origin) for key, value, origin in config.origins()}
    assert found["seed"] == (1, "given")
    assert found["net.a.shape"] == ([1, 2], "given")
    assert found["dtype"] == ("float32", "default")


# ---- anything at all -------------------------------------------------------------------------------------------


def survives(path: Path, data: bytes, overrides: tuple[str, ...] = ()) -> None:
    """Whatever is in the file: a configuration that can be written and read again, or errors with exit code 2."""
    path.write_bytes(data)
    try:
        config = Config.load(path, overrides)
        config.raise_errors()
    except LayerForgeError as error:
        assert error.exit_code == 2
        assert report(error).startswith("error: ")
    else:
        resolved = config.resolved()
        assert config.origins()
        assert Config.from_dict(parse_yaml(dump_yaml(resolved), "r.yaml")).resolved() == resolved


@given(st.binary(max_size=200))
@settings(deadline=None, max_examples=150)
def test_no_bytes_break_it(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    survives(tmp_path_factory.getbasetemp() / "bytes.yaml", data)


PIECES = [
    " ",
    "\n",
    "  ",
    ":",
    ": ",
    "- ",
    "{",
    "}",
    "[",
    "]",
    "'",
    '"',
    "&a ",
    "*a",
    "<<: ",
    "!!str ",
    "${",
    "}",
    "${net.fc1.type}",
]
PIECES += [
    "#",
    "|",
    ">",
    "\t",
    "0",
    "1e9",
    "-1",
    "null",
    "true",
    "no",
    "solver",
    "lr",
    "net",
    ".inf",
    "~",
    "?",
    "%",
    "\0",
    "\xe9",
]


@given(seed=st.integers(0, 2**32), changes=st.integers(1, 6))
@settings(deadline=None, max_examples=200)
def test_no_change_of_a_configuration_breaks_it(
    tmp_path_factory: pytest.TempPathFactory, seed: int, changes: int
) -> None:
    dice = random.Random(seed)
    text = MNIST
    for _ in range(changes):
        start = dice.randrange(len(text) + 1)
        stop = min(len(text), start + dice.choice([0, 0, 1, 2, 10]))
        moved = text[(other := dice.randrange(len(text) + 1)) : other + dice.randrange(20)]
        text = text[:start] + dice.choice([*PIECES, moved]) + text[stop:]
    survives(tmp_path_factory.getbasetemp() / "changed.yaml", text.encode())


@given(st.text(st.sampled_from("solver.lrnetfc1=[]{}:,&*!'\"#$-0 \n~é"), max_size=40))
@settings(deadline=None, max_examples=200)
def test_no_override_breaks_it(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    survives(tmp_path_factory.getbasetemp() / "set.yaml", MNIST.encode(), (text, f"solver.{text}", f"net.fc1.{text}"))
