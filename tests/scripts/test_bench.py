"""scripts/bench.py: its arithmetic, its tables, and one run of the whole against plain NumPy. No times are judged."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"
sys.path.insert(0, str(SCRIPTS))

import bench  # noqa: E402
from benchmarks import agreement, catalogue, driver, figures, problem, results, tables, whole_runs, worker  # noqa: E402
from benchmarks.competitors import numpy_plain, ours  # noqa: E402

QUICKLY = ["--only", "mlp", "--against", "numpy", "--threads", "1", "--bursts", "2", "--steps", "1"]


def timed(seconds: list[float], growth: int = 0) -> dict[str, Any]:
    return {"seconds": seconds, "waited": [0.0] * len(seconds), "growth": growth}


def row_of(net: str, ours: list[float], **torch: list[float]) -> dict[str, Any]:
    times = {"layerforge": {"eager": timed(ours, 10)}, "torch": {name: timed(t, 40) for name, t in torch.items()}}
    return {"net": net, "threads": 2, "mode": "train", "batch": None, "times": times, "roofline": 0.001}


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
    name, times = tables.best_of(row, "torch")
    assert (name, times["seconds"]) == ("contiguous", [2, 2, 2])
    assert tables.ratio_to(row, "torch").middle == 0.5
    assert tables.best_of(row, "jax") is None


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

    entrants = [driver.Entrant(name) for name in ("layerforge", "torch")]
    found = {e: driver.Measurement(e) for e in entrants}
    settings = driver.Settings(("python", "python"), bursts=1, spare=1, clock="cpu")
    driver.take_turns({e: Recorder(e.competitor) for e in entrants}, found, dict.fromkeys(entrants, 1), settings)
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
    entrant = driver.Entrant("torch")
    assert not agreement.Comparison("mlp", entrant, none, found, none).fine
    assert not agreement.Comparison("mlp", entrant, found, none, found).fine
    assert agreement.Comparison("mlp", entrant, none, found, found).fine


def test_numpy_code_says_which_nets_it_covers() -> None:
    with pytest.raises(worker.NotCovered, match="mlp, mlp_bn"):
        numpy_plain.build(worker.Job(problem.load("lstm").plain()))


def test_variants_are_tried_by_those_who_have_them() -> None:
    found = driver.entrants("lenet", ["torch", "numpy"])
    assert [(e.competitor, e.variant) for e in found] == [
        ("layerforge", "eager"),
        ("torch", "contiguous"),
        ("torch", "channels_last"),
        ("numpy", "eager"),
    ]


def test_threads_are_set_before_libraries_load() -> None:
    environment = bench.surroundings.environment_for(3)
    assert {environment[n] for n in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")} == {"3"}


# Tables and the command line ------------------------------------------------------------------------------------------


def test_a_training_table_says_what_is_reached() -> None:
    rows = [row_of("mlp", [1, 1], eager=[2, 2]), row_of("mlpwide", [1, 1], eager=[2, 2])]
    (table,) = tables.training_tables(rows, 2)
    by_net = {cells[0]: cells for cells in table.rows}
    columns = {heading: i for i, heading in enumerate(table.headings)}
    assert by_net["mlp"][columns["goal"]] == "0.40 no"
    assert by_net["mlpwide"][columns["goal"]] == "0.78 yes"
    assert by_net["mlp"][-3:] == ["0.0", "0.0", "0.25"]
    assert "over 2 net(s): 0.50; goal 0.68: reached" in table.below
    assert table.markdown().splitlines()[2].startswith("| net | layerforge ms |")


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
    assert "Layers of mlp" in printed
    result = json.loads(file.read_text())
    train, *inference = result["rows"]
    assert [row["batch"] for row in inference] == [1, 64]
    for name in ("layerforge", "numpy"):
        assert len(train["times"][name]["eager"]["seconds"]) == 2
        assert train["times"][name]["eager"]["seconds"][0] > 0
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
