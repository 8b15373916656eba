"""scripts/bench.py: its arithmetic, its tables, and one run of the whole against plain NumPy. No times are judged."""

from __future__ import annotations

import json
import math
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"
sys.path.insert(0, str(SCRIPTS))

import bench  # noqa: E402
from benchmarks import (  # noqa: E402
    agreement,
    catalogue,
    comparisons,
    driver,
    figures,
    goals,
    neighbour,
    problem,
    processors,
    results,
    tables,
    whole_runs,
    worker,
)
from benchmarks.competitors import numpy_plain, ours  # noqa: E402

QUICKLY = ["--only", "mlp", "--against", "numpy", "--threads", "1", "--bursts", "2", "--steps", "1"]


def timed(seconds: list[float], growth: int = 0) -> dict[str, Any]:
    return {"seconds": seconds, "waited": [0.0] * len(seconds), "growth": growth}


def row_of(net: str, ours: list[float], **torch: list[float]) -> dict[str, Any]:
    times = {"layerforge": {"float32": timed(ours, 10)}, "torch": {name: timed(t, 40) for name, t in torch.items()}}
    return {"net": net, "threads": 2, "mode": "train", "batch": None, "times": times, "roofline": 0.001}


def result_of(file: Path) -> dict[str, Any]:
    return json.loads(file.read_text())


# Arithmetic -----------------------------------------------------------------------------------------------------------


def test_spread_is_least_value_and_quartiles() -> None:
    assert figures.spread([4, 1, 3, 2, 5]) == figures.Spread(1, 2, 3, 4)
    assert figures.spread([2, 1]) == figures.Spread(1, 1.25, 1.5, 1.75)
    assert figures.spread([7]) == figures.Spread(7, 7, 7, 7)


def test_ratios_are_taken_round_by_round() -> None:
    assert figures.ratios([1, 10], [2, 20]) == [0.5, 0.5]
    with pytest.raises(ValueError, match="zip"):
        figures.ratios([1], [1, 2])


def test_geometric_mean_of_a_number_and_its_inverse_is_one() -> None:
    assert figures.geometric_mean([4, 0.25]) == pytest.approx(1)
    assert figures.geometric_mean([]) is None


def test_the_fastest_variant_counts_by_its_median() -> None:
    row = row_of("lenet", [1, 1, 1], contiguous=[2, 2, 2], channels_last=[0.1, 4, 4])
    best = comparisons.best_of(row, ["torch"])
    assert (best.variant, best.measured["seconds"]) == ("contiguous", [2, 2, 2])
    assert comparisons.ratio_to(row, "float32", ["torch"]).middle == 0.5
    assert comparisons.best_of(row, ["jax"]) is None


def test_the_rounds_with_the_longest_waiting_are_left_out() -> None:
    a = driver.Measurement(driver.Entrant("layerforge"), [1, 2, 3], [0.0, 0.5, 0.1])
    b = driver.Measurement(driver.Entrant("numpy"), [4, 5, 6], [0.3, 0.0, 0.0])
    driver.keep_calmest([a, b], 1)
    assert (a.seconds, b.seconds) == ([3], [6])


def test_every_round_begins_with_another_entrant() -> None:
    order = []

    class Recorder:
        def __init__(self, name: str) -> None:
            self.name = name

        def ask(self, do: str, **message: Any) -> dict[str, Any]:
            order.append(self.name)
            return {"wall": 2.0, "cpu": 1.0, "waited": 0.0, "growth": 5}

    entrants = [driver.Entrant("layerforge", "float32"), driver.Entrant("torch")]
    found = {e: driver.Measurement(e) for e in entrants}
    recorders = {e: Recorder(e.competitor) for e in entrants}
    settings = driver.Settings(("python", "python"), bursts=1, spare=1, clock="cpu")
    driver.take_turns(driver.Contest(recorders, found, dict.fromkeys(entrants, 1)), settings)
    assert order[2:6] == ["layerforge", "torch", "torch", "layerforge"]
    assert [m.seconds for m in found.values()] == [[1.0, 1.0]] * 2
    assert [m.growth for m in found.values()] == [5, 5]


# Nets and their work --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", catalogue.NETS)
def test_every_net_makes_the_agreed_update_and_asks_for_scores(name: str) -> None:
    task = problem.load(name)
    assert (task.momentum, task.weight_decay, task.dtype) == (0.9, 5e-4, "float32")
    assert task.scores not in task.inputs
    assert task.rates.keys() == task.shapes.keys()
    assert json.loads(json.dumps(task.plain()))["shapes"].keys() == task.shapes.keys()


def test_labels_are_drawn_among_the_classes_and_batches_can_be_resized() -> None:
    task = problem.load("mlp").plain()
    batches = worker.batches(task, 2, 500)
    assert batches[0]["x"].shape == (500, 784)
    assert set(np.unique(batches[0]["label"])) == set(range(10))
    assert not np.array_equal(batches[0]["x"], batches[1]["x"])


def test_roofline_adds_computing_and_traffic_at_the_bandwidth_of_the_fitting_size() -> None:
    task = replace(problem.load("mlp"), step_flops=100, step_bytes=60, largest_bytes=5)
    limits = {"gemm": 50.0, "bandwidth": {"4": 1.0, "8": 20.0, "16": 2.0}}
    assert results.roofline(task, limits) == 2 + 3
    assert results.roofline(replace(task, largest_bytes=99), limits) == 2 + 30


def test_traffic_counts_parameters_inputs_and_what_no_activation_overwrites() -> None:
    parameters = 784 * 256 + 256 * 128 + 128 * 10 + 256 + 128 + 10
    numbers = 64 * 784 + 64, 64 * (256 + 128 + 10) + 1, parameters
    expected = 4 * sum(count * passes for count, passes in zip(numbers, (2, 5, 8), strict=True))
    assert problem.load("mlp").step_bytes == expected


# Competitors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["mlp", "mlp_bn"])
def test_plain_numpy_makes_our_gradients_and_updates(name: str) -> None:
    overrides = ["dtype=float64", "solver.lr=0.1"]
    task = problem.load(name, overrides)
    start = {n: a.astype(np.float64) for n, a in agreement.start_weights(task).items()}
    given = worker.batches(task.plain(), 2, None)
    answers = []
    for module in (ours, numpy_plain):
        net = module.build(worker.Job(task.plain(), overrides=overrides))
        net.load(start)
        loss, gradients = net.gradients(given[0])
        for batch in given:
            net.step(batch)
        answers.append(agreement.Answer(loss, gradients, {n: a - start[n] for n, a in net.weights().items()}))
    assert agreement.difference(*answers).size < 1e-6


def test_a_wrong_gradient_is_found_and_named() -> None:
    right = {"fc.weight": np.ones(4), "bn.bias": np.full(4, 1e-9)}
    wrong = {"fc.weight": np.ones(4) * 1.01, "bn.bias": np.full(4, 2e-9)}
    a, b = agreement.Answer(1.0, right, right), agreement.Answer(1.0, wrong, right)
    found = agreement.difference(a, b)
    assert found.size == pytest.approx(0.01)
    assert found.where == "gradient of fc.weight"
    none = agreement.Difference(0.0, "loss")
    entrant = driver.Entrant("torch", "eager")
    assert not agreement.Comparison("mlp", entrant, none, found, none).fine
    assert not agreement.Comparison("mlp", entrant, found, none, found).fine
    assert agreement.Comparison("mlp", entrant, none, found, found).fine


def test_numpy_code_says_which_nets_it_covers() -> None:
    with pytest.raises(worker.NotCovered, match="mlp, mlp_bn"):
        numpy_plain.build(worker.Job(problem.load("lstm").plain()))


def test_variants_are_tried_by_those_who_have_them() -> None:
    found = driver.entrants("lenet", ["float32"], ["torch", "numpy"])
    assert [(e.competitor, e.variant) for e in found] == [
        ("layerforge", "float32"),
        ("torch", "contiguous"),
        ("torch", "channels_last"),
        ("numpy", "eager"),
    ]


def test_threads_are_set_before_libraries_load() -> None:
    environment = bench.surroundings.environment_for(3)
    assert {environment[n] for n in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")} == {"3"}


# Tables and the command line ------------------------------------------------------------------------------------------


def test_a_training_table_says_what_is_reached() -> None:
    given = {"mlp": [1, 1], "mlp_bn": [1.2, 1.2], "mlpwide": [1.5, 1.5]}
    rows = [row_of(net, seconds, eager=[2, 2]) for net, seconds in given.items()]
    times, table, memory = comparisons.tables_of(rows, 2)
    by_net = {cells[0]: cells for cells in table.rows}
    columns = {heading: i for i, heading in enumerate(table.headings)}
    assert by_net["mlp"][columns["goal"]] == "0.60 yes"
    assert by_net["mlpwide"][columns["float32"]] == "0.75 [0.75-0.75]"
    assert by_net["mlp_bn"][columns["goal"]] == "0.55 no"
    assert by_net["geometric mean"][columns["float32"] :] == ["0.61", "0.64 yes"]
    assert memory.rows[0] == ["mlp", "0.0", "0.0", "0.25"]
    assert times.markdown().splitlines()[2].startswith("| net | float32 ms | torch ms | variant |")


def test_end_to_end_tells_when_the_accuracy_was_reached() -> None:
    epochs = [(103.0, 0.97), (106.0, 0.981), (109.0, 0.979)]
    assert whole_runs.outcome(epochs, 100.0, 0.98) == {"reached": 6.0, "best": 0.981}
    assert whole_runs.outcome(epochs, 100.0, 0.99)["reached"] is None


@pytest.mark.parametrize(
    "arguments", [["--only", "lenett"], ["--against", "caffe"], ["--threads", "0"], ["--torch-python", "no-such"]]
)
def test_bad_arguments_are_usage_errors(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        bench.main(arguments)
    assert stopped.value.code == 2
    assert arguments[1] in capsys.readouterr().err


def test_a_run_against_numpy_measures_prints_and_writes_everything(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "result.json"
    assert bench.main([*QUICKLY, "--inference", "--profile", "--json", str(file)]) == 0
    printed = capsys.readouterr().out
    assert "Training step against numpy, 1 thread(s)" in printed
    assert "Inference against numpy" in printed
    assert printed.startswith(result_of(file)["machine"]["processor"]["name"])
    assert "Layers of mlp" in printed
    result = result_of(file)
    train, *inference = result["rows"]
    assert [row["batch"] for row in inference] == [1, 64]
    for name, variant in (("layerforge", "float32"), ("numpy", "eager")):
        assert len(train["times"][name][variant]["seconds"]) == 2
        assert train["times"][name][variant]["seconds"][0] > 0
    assert train["step_flops"] > 2 * 64 * 235_146
    assert 0 < train["roofline"] < math.inf
    assert result["versions"].keys() >= {"layerforge", "numpy"}
    assert bench.main(["--read", str(file), "--markdown"]) == 0
    assert "| mlp |" in capsys.readouterr().out


def test_verify_compares_with_numpy_and_fails_where_nobody_competes(capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.main(["--verify", *QUICKLY]) == 0
    assert "same" in capsys.readouterr().out
    assert bench.main(["--verify", *QUICKLY, "--only", "lstm"]) == 1
    assert "lstm: numpy: NotCovered" in capsys.readouterr().err


def test_a_competitor_that_fails_is_a_note_and_not_the_end(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(catalogue.COMPETITORS, "jax", catalogue.Competitor("no_such_module"))
    assert bench.main([*QUICKLY, "--against", "jax"]) == 0
    printed = capsys.readouterr().out
    assert "Note: mlp: jax: ModuleNotFoundError" in printed


# Precisions, keep and the neighbour -----------------------------------------------------------------------------------


def test_our_ways_are_all_precisions_with_all_keeps_and_the_reference_once() -> None:
    named = catalogue.ways(["float32", "bf16-mixed", "reference"], ["none", "all"])
    assert named == ["float32", "float32, keep=all", "bf16-mixed", "bf16-mixed, keep=all", "reference"]
    assert set(named) <= catalogue.WAYS.keys()
    settings = driver.Settings(("python", "python"), overrides=("threads=1",))
    message = driver.setup_message(
        problem.load("mlp"), driver.Entrant("layerforge", named[3]), 1, settings, "train", None
    )
    assert message["overrides"] == ["threads=1", "precision=bf16-mixed"]
    assert message["options"] == {"keep": "all"}
    assert driver.Entrant("layerforge", named[3]).coarse
    assert not driver.Entrant("layerforge", named[1]).coarse


def test_every_competitor_is_in_a_group_and_whole_nets_in_bfloat16_only_infer() -> None:
    assert {name for names in catalogue.GROUPS.values() for name in names} == set(results.known_competitors())
    precisions = ["torch", "torch-autocast", "torch-bfloat16"]
    trained = {e.competitor for e in driver.entrants("mlp", ["float32"], precisions)}
    assert trained == {"layerforge", "torch", "torch-autocast"}
    inferred = {e.competitor for e in driver.entrants("mlp", ["float32"], precisions, "infer")}
    assert inferred == {"layerforge", *precisions}


def test_ratios_are_to_torch_in_float32_and_to_its_best_precision() -> None:
    row = row_of("mlp", [1, 1], eager=[2, 2])
    row["times"]["layerforge"]["bf16-mixed"] = timed([0.6, 0.6])
    row["times"]["layerforge"]["float32, keep=all"] = timed([1.2, 1.2])
    row["times"]["torch-autocast"] = {"eager": timed([0.5, 0.5])}
    found = {table.title: table for table in comparisons.tables_of([row], 2)}
    single = found["Training step against torch, 2 thread(s)"]
    assert dict(zip(single.headings, single.rows[0], strict=True))["bf16-mixed"] == "0.30 [0.30-0.30]"
    best = found["Training step against the fastest of torch, torch-autocast, 2 thread(s)"]
    assert best.rows[0][1] == "torch-autocast eager"
    assert best.rows[0][-2:] == ["1.20 [1.20-1.20]", "1.00 no"]
    keep = found['Training step, 2 thread(s): keep="all" over keep="none"']
    assert keep.rows == [["mlp", "1.20 [1.20-1.20]", "1.10 no"], ["geometric mean", "1.20", "1.05 no"]]


def test_means_of_inference_are_told_for_each_batch() -> None:
    rows = []
    for batch, seconds in ((1, 1.0), (64, 0.5)):
        row = row_of("mlp", [seconds] * 2, eager=[2, 2]) | {"mode": "infer", "batch": batch}
        row["times"]["layerforge"]["bf16-mixed"] = timed([seconds] * 2)
        rows.append(row)
    _, table = comparisons.tables_of(rows, 2)
    means = {cells[1]: cells[4:] for cells in table.rows if cells[0] == "geometric mean"}
    assert means == {
        "1": ["0.50", "-", "0.50", "-"],
        "64": ["0.25", "-", "0.25", "0.45 yes"],
        "all": ["0.35", "-", "0.35", "-"],
    }


def test_who_rounds_to_bfloat16_may_be_further_away_but_not_anywhere() -> None:
    right = {"fc.weight": np.ones(4)}
    ours = {dtype: agreement.Answer(1.0, right, right) for dtype in agreement.DTYPES}
    coarse = driver.Entrant("layerforge", "bf16-mixed")
    near, far = (
        agreement.compared("mlp", coarse, ours, {"float32": agreement.Answer(1.0, {"fc.weight": array}, right)})
        for array in (np.full(4, 1.02), np.full(4, 2.0))
    )
    assert near.fine
    assert not far.fine
    assert (far.exact, far.single.where) == (None, "gradient of fc.weight")
    assert tables.agreement_table([near, far]).rows[0][2] == "-"


def test_a_run_beside_a_neighbour_measures_quiet_and_busy_bursts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "result.json"
    monkeypatch.setattr(neighbour, "last_core", lambda: max(os.sched_getaffinity(0)))
    assert bench.main([*QUICKLY, "--no-training", "--neighbour", "--json", str(file)]) == 0
    (row,) = result_of(file)["rows"]
    measured = row["times"]["layerforge"]["float32"]
    assert [len(measured[key]) for key in ("seconds", "busy", "shares")] == [2, 2, 2]
    assert min(measured["busy"]) > 0
    assert "Training step beside a busy neighbour, 1 thread(s)" in capsys.readouterr().out


def test_the_neighbour_is_bound_to_its_core_works_only_when_let_and_ends() -> None:
    core = max(os.sched_getaffinity(0))
    with neighbour.Neighbour(core) as beside:
        assert os.sched_getaffinity(beside.process.pid) == {core}
        with beside.busy():
            before = beside.seconds()
            while beside.seconds() < before + 0.05:
                pass
    assert beside.process.returncode == -9
    assert beside.shares[0] > 0


def test_a_neighbour_needs_a_second_core(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3})
    assert bench.main([*QUICKLY, "--no-training", "--neighbour"]) == 1
    assert "a neighbour needs another one" in capsys.readouterr().err


def test_a_processor_is_told_by_more_than_its_name() -> None:
    assert processors.generation("AuthenticAMD", 25, 17) == "Zen 4"
    assert processors.generation("AuthenticAMD", 26, 2) == "Zen 5"
    assert processors.generation("GenuineIntel", 6, 143) == "Sapphire Rapids"
    assert processors.generation("Other", 1, 1) == ""
    about = {"name": "AMD EPYC", "vendor": "AuthenticAMD", "family": 25, "model": 17, "generation": "Zen 4"}
    about["features"] = ["AVX-512", "AVX-512 BF16"]
    words = "AMD EPYC (Zen 4, AuthenticAMD family 25 model 17; AVX-512, AVX-512 BF16; no AMX BF16)"
    assert processors.in_words(about) == words
    assert (processors.has_bfloat16(about), processors.has_amx(about)) == (True, False)


def test_goals_hold_for_the_threads_that_they_were_set_for() -> None:
    assert goals.goals_of("train", catalogue.FLOAT32, "float32", 1) == goals.NONE
    assert goals.goals_of("train", catalogue.FLOAT32, "reference", 1).nets["quick"] == 1.9
    assert goals.verdict(0.5, 0.5) == "0.50 yes"
    assert set(goals.NETS) == set(catalogue.STANDARD)
