"""Agreement with torch in float64: layers, nets, solvers and schedules against the golden files.

Agreement means max |a - b| <= 1e-10 max |b| + 1e-12 for every array. The cases of layers are their own examples, and
those of golden_corners.py and golden_nets.py; scripts/make_golden.py makes the files.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
from support import golden_cases as golden
from support.golden_cases import Case, Rates, Training
from support.golden_examples import asks_for_the_phase
from support.golden_files import FAMILIES
from support.golden_nets import LENET
from support.golden_solvers import MLP, RATES, TRAININGS

from layerforge import Net, Solver
from layerforge.arrays.sparse import stored
from layerforge.contract.fillers import ChosenFiller, Filler
from layerforge.contract.layer import Layer
from layerforge.schema.registry import LAYERS, SCHEDULES, SOLVERS

FILES: dict[str, list[Any]] = {**FAMILIES, "solvers": TRAININGS, "schedules": RATES}
CASES = [pytest.param(family, case, id=case.name) for family, cases in FAMILIES.items() for case in cases]
# Caffe's own, of which torch has no like; tests/solvers/test_schedules.py checks them by hand.
SCHEDULES_WITHOUT_TWIN = {"inv", "sigmoid"}


@functools.cache
def load(file: str) -> tuple[dict[str, Any], dict[str, dict[str, np.ndarray]]]:
    """The manifest of a golden file, and its arrays by case and name."""
    cases: dict[str, dict[str, np.ndarray]] = {}
    with np.load(golden.FOLDER / f"{file}.npz") as arrays:
        manifest = json.loads(str(arrays["manifest"]))
        for key in arrays.files:
            case, _, name = key.partition("/")
            if name:
                cases.setdefault(case, {})[name] = arrays[key]
    return manifest, cases


def expected(file: str, case: str) -> dict[str, np.ndarray]:
    """The results of a case as torch has them."""
    return load(file)[1].get(case, {})


def assert_agree(found: dict[str, np.ndarray], wanted: dict[str, np.ndarray]) -> None:
    """The same arrays, each of the same shape and dtype and within the tolerance."""
    assert set(found) == set(wanted)
    for name, b in wanted.items():
        a = found[name]
        assert (a.shape, a.dtype) == (b.shape, b.dtype), name
        same = np.isinf(b) & (a == b)  # an infinity agrees with nothing but itself
        a, b = np.where(same, 0, a), np.where(same, 0, b)
        off, allowed = np.abs(a - b).max(initial=0), 1e-10 * np.abs(b).max(initial=0) + 1e-12
        assert np.isfinite(allowed), name
        assert off <= allowed, f"{name} is off by {off:.3g}, allowed are {allowed:.3g}"


def build(case: Case) -> Net:
    """The net of a case with the parameters and running statistics that it begins from."""
    by_layers = {layer["top"] for layer in case.layers if layer["type"] == "Input"}
    inputs = {
        name: {
            "shape": list(spec.shape),
            "dtype": None if spec.is_real else "int64",
            "grad": has_gradient(case, name),
            "sparse": spec.sparse,
        }
        for name, spec in case.inputs.items()
        if name not in by_layers
    }
    net = Net.from_config({"dtype": "float64", "inputs": inputs, "net": [dict(layer) for layer in case.layers]})
    fill(params_of(net), golden.draw_params(case))
    fill(state_of(net), golden.draw_state(case))
    return net


def has_gradient(case: Case, name: str) -> bool:
    """Whether an input of a case is differentiated."""
    return case.inputs[name].is_real and name not in case.fixed


def params_of(net: Net) -> dict[str, np.ndarray]:
    """The live parameters by "layer.name"."""
    return {f"{layer}.{name}": p.data for layer, params in net.params.items() for name, p in params.items()}


def state_of(net: Net) -> dict[str, np.ndarray]:
    """The live running statistics by "layer.name"."""
    return {f"{layer}.{name}": array for layer, arrays in net.state.items() for name, array in arrays.items()}


def fill(live: dict[str, np.ndarray], values: dict[str, np.ndarray]) -> None:
    """Copy values into the arrays of the same names and shapes; none may be missing on either side."""
    assert {name: a.shape for name, a in live.items()} == {name: a.shape for name, a in values.items()}
    for name, array in live.items():
        array[...] = values[name]


def results(case: Case, wanted: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The outputs, gradients and statistics of a case after forward and backward."""
    net = build(case)
    net.forward(phase=case.phase, backward=True, **golden.draw_inputs(case))
    found = {name: stored(net.blobs[name].data).copy() for name in case.outputs}
    if case.differentiable:
        real = [name for name in case.outputs if wanted[name].dtype.kind == "f"]
        net.backward(**{name: golden.draw_cotangent(case, name, wanted[name].shape) for name in real})
        found |= {f"{name}.grad": stored(net.blobs[name].grad) for name in case.inputs if has_gradient(case, name)}
        for layer, params in net.params.items():
            found |= {f"{layer}.{name}.grad": p.grad for name, p in params.items()}
    return found | state_of(net)


@pytest.mark.parametrize(("family", "case"), CASES)
def test_layers_and_nets(family: str, case: Case) -> None:
    wanted = expected(family, case.name)
    assert_agree(results(case, wanted), wanted)


@pytest.mark.parametrize("training", TRAININGS, ids=lambda t: t.name)
def test_solvers(training: Training) -> None:
    net = build(training.case)
    solver = Solver(net, **training.solver)
    losses = [solver.step(**golden.draw_inputs(training.case, step)) for step in range(training.steps)]
    found = {"loss": np.array(losses), **params_of(net), **state_of(net)}
    assert_agree(found, expected("solvers", training.name))


@pytest.mark.parametrize("rates", RATES, ids=lambda r: r.name)
def test_schedules(rates: Rates) -> None:
    solver = Solver(build(MLP), lr=rates.lr, schedule=dict(rates.schedule))
    solver.total_iterations = rates.steps
    found = []
    for metric in rates.metrics or [None] * (rates.steps - 1):
        found.append(solver.lr)
        if metric is None:
            solver.update()
        else:
            solver.schedule.observe(metric)
    assert_agree({"lr": np.array([*found, solver.lr])}, expected("schedules", rates.name))


# The files and the table fit each other -------------------------------------------------------------------------------


def test_there_is_a_file_for_every_family_and_no_other() -> None:
    assert {path.name for path in golden.FOLDER.glob("*.npz")} == {f"{file}.npz" for file in FILES}


@pytest.mark.parametrize("file", FILES)
def test_a_file_is_up_to_date(file: str) -> None:
    manifest, cases = load(file)
    assert manifest["torch"].startswith(golden.TORCH)
    assert manifest["seed"] == golden.SEED
    assert len({item.name for item in FILES[file]}) == len(FILES[file]), "two cases have the same name"
    wanted = {item.name: golden.fingerprint(item) for item in FILES[file]}
    assert manifest["fingerprints"] == wanted, "run scripts/make_golden.py"
    assert set(cases) <= set(wanted)


# Nothing is left out --------------------------------------------------------------------------------------------------


def built_in() -> dict[str, type[Layer]]:
    """The layers that come with the package; other tests may have registered some of their own."""
    types = {name: LAYERS.get(name) for name in LAYERS.names()}
    return {name: cls for name, cls in types.items() if cls.__module__.startswith("layerforge.")}


def cases_of(types: Iterable[str]) -> dict[str, list[Case]]:
    """The cases that are about one layer, by its type."""
    alone = [case for cases in FAMILIES.values() for case in cases if case.layers[0]["name"] == "layer"]
    return {name: [case for case in alone if case.layers[0]["type"] == name] for name in types}


def test_every_layer_has_a_case_and_its_gradient_one() -> None:
    types = built_in()
    for name, cases in cases_of(types).items():
        assert cases, f"{name} has no golden case"
        assert any(case.differentiable for case in cases) == types[name].is_differentiable(), name


def test_every_hyper_parameter_is_changed_in_a_case() -> None:
    types = built_in()
    for name, cases in cases_of(types).items():
        used = {key for case in cases for key in case.layers[0]}
        declared = types[name].fields.items()
        mathematical = {key for key, field in declared if field.type not in (Filler, ChosenFiller)}
        assert mathematical <= used, name


def test_every_layer_that_asks_for_the_phase_has_cases_in_both() -> None:
    asking = [name for name, cls in built_in().items() if asks_for_the_phase(cls)]
    assert {"BatchNorm", "Dropout"} <= set(asking)
    for name, cases in cases_of(asking).items():
        assert {case.phase for case in cases} == {"train", "eval"}, name


def test_every_solver_and_schedule_has_a_case() -> None:
    assert {training.solver["type"] for training in TRAININGS} == set(SOLVERS.names())
    assert {rates.schedule["type"] for rates in RATES} | SCHEDULES_WITHOUT_TWIN == set(SCHEDULES.names())


def test_gradients_from_upstream_are_not_all_alike() -> None:
    """Ones are blind: the gradient of a softmax through a sum is zero, however wrong its backward."""
    dy = golden.draw_cotangent(LENET, "loss", (50,))
    assert dy.min() < -1 < 1 < dy.max()
