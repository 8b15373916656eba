"""Schedules at points computed by hand, from Caffe's formulas and torch's."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest

from layerforge.config.sections import SolverSection
from layerforge.schema.errors import ConfigError, ConfigErrors
from layerforge.schema.params import param
from layerforge.schema.registry import SCHEDULES, register_schedule
from layerforge.solvers.schedules import Plateau, Progress, Schedule


def make(**config: Any) -> Schedule:
    """A schedule as a configuration makes it."""
    return SolverSection.from_config({"lr": 1.0, "schedule": config}).schedule


def lrs(schedule: Schedule, iterations: list[int], base_lr: float = 1.0, total: int | None = None) -> list[float]:
    return [schedule.lr(base_lr, Progress(iteration=i, total_iterations=total)) for i in iterations]


# (configuration, base_lr, length, {iteration: lr by hand})
TABLE = [
    ({"type": "fixed"}, 0.3, None, {0: 0.3, 10**9: 0.3}),
    ({"type": "step", "step_size": 3, "gamma": 0.5}, 0.8, None, {0: 0.8, 2: 0.8, 3: 0.4, 5: 0.4, 6: 0.2, 9: 0.1}),
    ({"type": "step", "step_size": 10}, 1.0, None, {9: 1.0, 10: 0.1, 20: 0.01}),
    (
        {"type": "multistep", "milestones": [2, 5], "gamma": 0.5},
        0.8,
        None,
        {0: 0.8, 1: 0.8, 2: 0.4, 4: 0.4, 5: 0.2, 99: 0.2},
    ),
    # Caffe's rate changes once per step: a milestone given again, and one that comes right after it, are put off.
    (
        {"type": "multistep", "milestones": [2, 2, 2, 3, 7], "gamma": 0.5},
        0.8,
        None,
        {1: 0.8, 2: 0.4, 3: 0.2, 4: 0.1, 5: 0.05, 6: 0.05, 7: 0.025},
    ),
    ({"type": "multistep", "milestones": [0, 0], "gamma": 0.5}, 0.8, None, {0: 0.4, 1: 0.2, 2: 0.2}),
    ({"type": "exp", "gamma": 0.5}, 8.0, None, {0: 8.0, 1: 4.0, 3: 1.0}),
    ({"type": "inv", "gamma": 0.5, "power": 2.0}, 9.0, None, {0: 9.0, 2: 2.25, 4: 1.0}),
    # The rate of Caffe's lenet_solver.prototxt.
    ({"type": "inv", "gamma": 1e-4, "power": 0.75}, 0.01, None, {0: 0.01, 10000: 0.005946035575}),
    ({"type": "poly"}, 2.0, 10, {0: 2.0, 5: 1.0, 9: 0.2, 10: 0.0, 11: 0.0}),
    ({"type": "poly", "power": 2}, 2.0, 10, {0: 2.0, 5: 0.5, 9: 0.02}),
    ({"type": "sigmoid", "gamma": -1.0, "step_size": 5}, 2.0, None, {5: 1.0, 4: 2 / (1 + math.exp(-1)), 5000: 0.0}),
    ({"type": "sigmoid", "gamma": 1.0, "step_size": 5}, 2.0, None, {5: 1.0, 4: 2 / (1 + math.e), 5000: 2.0}),
    ({"type": "cosine"}, 2.0, 8, {0: 2.0, 2: 1 + math.sqrt(0.5), 4: 1.0, 8: 0.0, 9: 0.0}),
    ({"type": "cosine", "min_lr": 1.0}, 3.0, 8, {0: 3.0, 4: 2.0, 8: 1.0}),
    # torch.optim.lr_scheduler.OneCycleLR(max_lr=1, total_steps=20), which climbs until step 0.3 * 20 - 1 = 5.
    ({"type": "onecycle"}, 1.0, 20, {0: 0.04, 5: 1.0, 12: 0.500002, 19: 4e-6, 25: 4e-6}),
    (
        {"type": "onecycle", "pct_start": 0.5, "div_factor": 10, "final_div_factor": 100},
        2.0,
        10,
        {0: 0.2, 2: 1.1, 4: 2.0, 9: 0.002},
    ),
    ({"type": "onecycle", "pct_start": 0.0}, 1.0, 4, {0: 0.8535539, 3: 4e-6}),
    ({"type": "onecycle", "pct_start": 1.0}, 1.0, 5, {0: 0.04, 2: 0.52, 4: 1.0}),
]


@pytest.mark.parametrize(("config", "base_lr", "length", "expected"), TABLE, ids=lambda v: str(v)[:40])
def test_formulas(config: dict[str, Any], base_lr: float, length: int | None, expected: dict[int, float]) -> None:
    found = lrs(make(**config), list(expected), base_lr, length)
    assert found == pytest.approx(list(expected.values()), rel=1e-6, abs=1e-12)


def test_every_schedule_is_in_the_table_or_is_stateful() -> None:
    tested = {config["type"] for config, *_ in TABLE} | {"plateau"}
    assert tested == set(SCHEDULES.names())


def test_a_name_alone_is_a_schedule() -> None:
    assert lrs(SolverSection.from_config({"lr": 1.0, "schedule": "cosine"}).schedule, [5], total=10) == [0.5]


# Warm-up and units ------------------------------------------------------------------------------------------------


def test_warmup_is_linear_and_does_not_shift_the_schedule() -> None:
    step = make(type="step", step_size=3, gamma=0.5, warmup=4)
    # The schedule alone: 1 1 1 .5 .5 .5 .25; times 1/4, 2/4, 3/4, 4/4 while i < 4.
    assert lrs(step, list(range(7))) == [0.25, 0.5, 0.75, 0.5, 0.5, 0.5, 0.25]


def test_warmup_of_one_unit_changes_nothing() -> None:
    assert lrs(make(type="fixed", warmup=1), [0, 1, 2]) == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("name", SCHEDULES.names())
def test_every_schedule_warms_up(name: str) -> None:
    needed = {"step": {"step_size": 7}, "multistep": {"milestones": [7]}, "exp": {"gamma": 0.9}}
    needed |= {"inv": {"gamma": 0.1, "power": 1.0}, "sigmoid": {"gamma": -0.1, "step_size": 7}}
    plain, warm = make(type=name, **needed.get(name, {})), make(type=name, warmup=5, **needed.get(name, {}))
    for i, part in [(0, 0.2), (1, 0.4), (4, 1.0), (5, 1.0), (19, 1.0)]:
        assert lrs(warm, [i], total=20)[0] == pytest.approx(part * lrs(plain, [i], total=20)[0])


def test_unit_epoch_counts_completed_epochs() -> None:
    schedule = make(type="multistep", milestones=[6, 9], gamma=0.1, unit="epoch", warmup=2)
    by_epoch = [schedule.lr(1.0, Progress(iteration=10**6, epoch=e)) for e in (0, 1, 5, 6, 8, 9)]
    assert by_epoch == pytest.approx([0.5, 1.0, 1.0, 0.1, 0.1, 0.01])


def test_unit_epoch_takes_the_length_in_epochs() -> None:
    schedule = make(type="poly", unit="epoch")
    assert schedule.lr(1.0, Progress(iteration=77, epoch=1, total_iterations=100, total_epochs=4)) == 0.75


@pytest.mark.parametrize("name", ["poly", "cosine", "onecycle"])
@pytest.mark.parametrize(("unit", "other"), [("step", "total_epochs"), ("epoch", "total_iterations")])
def test_an_unknown_length_is_named_with_its_remedy(name: str, unit: str, other: str) -> None:
    with pytest.raises(ConfigError, match=f"{name} needs the length of the run in {unit}s") as caught:
        make(type=name, unit=unit).lr(1.0, Progress(**{other: 10}))
    assert "train.epochs" in (caught.value.hint or "")


@pytest.mark.parametrize("name", ["poly", "cosine", "onecycle"])
@pytest.mark.parametrize("length", [0, 1, 2, 3, 4])
def test_very_short_runs_have_an_lr(name: str, length: int) -> None:
    found = lrs(make(type=name), list(range(length + 1)), total=length)
    assert all(0 <= lr <= 1 for lr in found)


# Plateau ----------------------------------------------------------------------------------------------------------


def watch(schedule: Schedule, metrics: list[float]) -> list[float]:
    """The learning rate after each observed metric."""
    found = []
    for metric in metrics:
        schedule.observe(metric)
        found += lrs(schedule, [0])
    return found


def test_plateau_waits_for_more_than_patience_evaluations() -> None:
    plateau = make(type="plateau", factor=0.5, patience=2)
    #      best  bad 1  bad 2  bad 3: drop  bad 1  bad 2  bad 3: drop  better  bad 1
    seen = [1.0, 1.0, 1.5, 1.1, 1.1, 1.1, 1.1, 0.9, 0.9]
    assert watch(plateau, seen) == [1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25]


def test_plateau_forgets_bad_evaluations_after_a_good_one() -> None:
    assert watch(make(type="plateau", patience=1), [1.0, 2.0, 0.5, 2.0, 0.4, 2.0]) == [1.0] * 6


def test_plateau_mode_max_and_min_delta() -> None:
    plateau = make(type="plateau", mode="max", patience=0, min_delta=0.1, factor=0.5, monitor="val/accuracy")
    assert plateau.monitor == "val/accuracy"
    assert watch(plateau, [0.5, 0.7, 0.75, 0.81]) == [1.0, 1.0, 0.5, 0.5]


def test_plateau_stops_at_min_lr_and_never_raises_lr() -> None:
    plateau = make(type="plateau", patience=0, min_lr=0.05)
    assert watch(plateau, [1.0, 1.0, 1.0, 1.0]) == pytest.approx([1.0, 0.1, 0.05, 0.05])
    assert plateau.lr(0.01, Progress()) == 0.01


def test_plateau_takes_not_a_number_as_no_improvement() -> None:
    assert watch(make(type="plateau", patience=1), [1.0, math.nan, math.nan]) == pytest.approx([1.0, 1.0, 0.1])


def test_plateau_goes_on_from_its_state() -> None:
    first, second = make(type="plateau", patience=1, factor=0.5), make(type="plateau", patience=1, factor=0.5)
    watch(first, [1.0, 2.0, 2.0, 2.0])
    second.load_state(first.state())
    assert all(isinstance(v, (int, float)) for v in first.state().values())
    assert watch(second, [2.0, 0.9, 0.95, 0.95]) == watch(first, [2.0, 0.9, 0.95, 0.95]) == [0.25, 0.25, 0.25, 0.125]


def test_state_of_another_schedule_is_refused() -> None:
    assert make(type="step", step_size=2).state() == {}
    with pytest.raises(ConfigError, match="holds nothing, schedule plateau needs scale, best, bad"):
        make(type="plateau").load_state({})
    with pytest.raises(ConfigError, match="schedule fixed needs nothing"):
        make(type="fixed").load_state(Plateau().state())


# Bad values -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"type": "step"}, "step_size is required"),
        ({"type": "step", "step_size": 0}, "step_size must be >= 1"),
        ({"type": "step", "step_size": 2.5}, "step_size must be an integer"),
        ({"type": "step", "stepsize": 5, "step_size": 5}, "did you mean 'step_size'"),
        ({"type": "multistep", "milestones": []}, "milestones must not be empty"),
        ({"type": "multistep", "milestones": [5, 2]}, r"milestones must increase, or repeat, got \[5, 2\]"),
        ({"type": "multistep", "milestones": [-1]}, "milestones must be >= 0"),
        ({"type": "multistep", "stepvalue": [1], "milestones": [1]}, "did you mean 'milestones'"),
        ({"type": "exp", "gamma": 0}, "gamma must be > 0"),
        ({"type": "exp", "gamma": math.inf}, "gamma must be a finite number"),
        ({"type": "inv", "gamma": -1, "power": 1}, "gamma must be >= 0"),
        ({"type": "poly", "power": 0}, "power must be > 0"),
        ({"type": "onecycle", "pct_start": 1.5}, "pct_start must be <= 1"),
        ({"type": "onecycle", "div_factor": 0}, "div_factor must be >= 1"),
        ({"type": "onecycle", "max_lr": 0.1}, "unknown key 'max_lr'"),
        ({"type": "plateau", "factor": 1.0}, "factor must be < 1"),
        ({"type": "plateau", "mode": "up"}, "mode must be one of min, max"),
        ({"type": "fixed", "unit": "day"}, "unit must be one of step, epoch"),
        ({"type": "fixed", "warmup": -1}, "warmup must be >= 0"),
        ({"type": "cosin"}, "did you mean 'cosine'"),
        ({}, "schedule needs a type"),
    ],
    ids=str,
)
def test_bad_values(config: dict[str, Any], message: str) -> None:
    with pytest.raises((ConfigError, ConfigErrors), match=message) as caught:
        make(**config)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    "config",
    [{"type": "exp", "gamma": 10.0}, {"type": "inv", "gamma": 1.0, "power": -100.0}, {"type": "exp", "gamma": 1e300}],
    ids=str,
)
def test_an_overflowing_lr_is_an_error_not_a_traceback(config: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="learning rate is not finite at step 100000"):
        lrs(make(**config), [100000])


# A schedule of one's own ----------------------------------------------------------------------------------------------


@pytest.fixture
def halving() -> Iterator[type[Schedule]]:
    @register_schedule
    class Halving(Schedule):
        """halving: lr / (1 + floor(i / every))"""

        type_name = "halving"
        every: int = param(2, help="units between two changes", ge=1)

        def value(self, base_lr: float, i: int, n: int) -> float:
            return base_lr / (1 + i // self.every)

    yield Halving
    SCHEDULES.remove("halving")


def test_a_schedule_of_ones_own_has_all_that_others_have(halving: type[Schedule]) -> None:
    assert lrs(make(type="halving"), [0, 1, 2, 4]) == [1, 1, 0.5, pytest.approx(1 / 3)]
    assert lrs(make(type="halving", every=4, warmup=2), [0, 1, 4]) == [0.5, 1, 0.5]
    assert make(type="halving", unit="epoch").lr(1.0, Progress(iteration=50, epoch=2)) == 0.5
    with pytest.raises(ConfigError, match="every must be >= 1"):
        make(type="halving", every=0)
    with pytest.raises(ConfigError, match="did you mean 'halving'"):
        make(type="halvin")


def test_what_goes_wrong_in_a_schedule_of_ones_own_names_it(halving: type[Schedule]) -> None:
    halving.value = lambda self, base_lr, i, n: base_lr / i  # type: ignore[method-assign]
    with pytest.raises(ConfigError, match=r"schedule halving: ZeroDivisionError in value\(1, 0, 1\)"):
        lrs(make(type="halving"), [0])
    halving.value = lambda self, base_lr, i, n: None  # type: ignore[method-assign, assignment, return-value]
    with pytest.raises(ConfigError, match="schedule halving: TypeError in value"):
        lrs(make(type="halving"), [0])
    halving.value = lambda self, base_lr, i, n: math.nan  # type: ignore[method-assign]
    with pytest.raises(ConfigError, match="not finite at step 0"):
        lrs(make(type="halving"), [0])


def test_a_name_that_is_taken_is_refused() -> None:
    with pytest.raises(ConfigError, match="schedule type cosine is registered twice"):
        register_schedule(type("Cosine", (Schedule,), {"type_name": "cosine", "__module__": "mine"}))


def test_poly_over_a_given_number_of_units_needs_no_length() -> None:
    schedule = make(type="poly", power=2, total_iters=10)
    assert [schedule.lr(2.0, Progress(i)) for i in (0, 5, 10, 12)] == [2.0, 0.5, 0.0, 0.0]
    assert schedule.lr(2.0, Progress(5, total_iterations=500)) == 0.5, "the length of the run does not matter then"


def test_multistep_goes_on_from_the_changes_that_were_made() -> None:
    schedule = make(type="multistep", milestones=[2, 4, 20], gamma=0.5)
    schedule.load_state({"current_step": 0, "since": 10})  # its milestones were others then
    assert [schedule.lr(8.0, Progress(i)) for i in (10, 11, 19, 20)] == [4.0, 2.0, 2.0, 1.0]
    other = make(type="multistep", milestones=[2, 4, 20], gamma=0.5)
    other.load_state(schedule.state())
    assert other.lr(8.0, Progress(10)) == 4.0
    schedule.load_state({"current_step": 5, "since": 10})
    assert schedule.lr(8.0, Progress(10)) == 1.0, "there are no more than three"
    schedule.load_state({})
    assert schedule.lr(8.0, Progress(10)) == 2.0
    with pytest.raises(ConfigError, match="schedule multistep needs"):
        schedule.load_state({"scale": 1.0})
