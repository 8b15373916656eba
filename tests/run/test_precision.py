"""Mixed precision as users of a net meet it: what is read, asked for, refused, kept in files."""

from __future__ import annotations

import copy
import ctypes
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.tools import demand_that

from layerforge import Net, Solver
from layerforge.arrays.bfloat16 import BFLOAT16, narrowed, rounded, widened
from layerforge.cli import main
from layerforge.config.document import Config
from layerforge.debug.watch import WatchedNet
from layerforge.engines.onednn import base, binding, gru, library
from layerforge.engines.rounding import ROUNDED
from layerforge.plan.engines import FAST
from layerforge.run.observer import Observer
from layerforge.schema import registry
from layerforge.schema.errors import ConfigError, LayerForgeError

LAYERS: list[dict[str, Any]] = [
    {"name": "c1", "type": "Conv2d", "out_channels": 8, "kernel_size": 3, "padding": 1, "bottom": "x"},
    {"name": "r1", "type": "ReLU"},
    {"name": "p1", "type": "MaxPool2d", "kernel_size": 2},
    {"name": "f", "type": "Flatten"},
    {"name": "fc1", "type": "Linear", "out_features": 16},
    {"name": "g1", "type": "GELU"},
    {"name": "fc2", "type": "Linear", "out_features": 5},
    {"name": "loss", "type": "SoftmaxCrossEntropy", "bottom": ["fc2", "t"]},
]
CONFIG: dict[str, Any] = {
    "precision": "bf16-mixed",
    "inputs": {"x": {"shape": [6, 3, 8, 8], "grad": True}, "t": {"shape": [6], "dtype": "int64"}},
    "net": LAYERS,
    "solver": {"type": "SGD", "lr": 0.05, "momentum": 0.9},
}
RNG = np.random.default_rng(3)
BATCH = {"x": RNG.standard_normal((6, 3, 8, 8)).astype("float32"), "t": RNG.integers(0, 5, 6)}


def halves() -> None:
    """Go on where the processor computes in bfloat16."""
    missing = registry.engine(FAST).missing() or registry.engine(FAST).bfloat16_missing()
    demand_that(missing is None, f"bfloat16: {missing}")


def trained(config: dict[str, Any], steps: int = 4, keep: Any = "none", **choices: Any) -> Net:
    net = Net.from_config(config, keep=keep, **choices)
    solver = Solver.from_config(net, net.config.solver)
    for _ in range(steps):
        solver.step(**BATCH)
    return net


# The numbers ----------------------------------------------------------------------------------------------------------


def test_rounding_is_to_the_nearest_and_of_two_as_near_to_the_even_one() -> None:
    ulp = 2.0**-7
    given = np.array([1, 1 + ulp / 4, 1 + ulp / 2, 1 + 3 * ulp / 2, 1 + 0.51 * ulp, -1 - 0.51 * ulp, 0, -0.0], "f4")
    wanted = np.array([1, 1, 1, 1 + 2 * ulp, 1 + ulp, -1 - ulp, 0, -0.0], "float32")
    assert (rounded(np, given).view("uint32") == wanted.view("uint32")).all()
    assert (widened(narrowed(given)).view("uint32") == wanted.view("uint32")).all()


def test_what_is_no_number_stays_none_and_what_is_too_large_becomes_infinite() -> None:
    quiet = np.array([0x7F800001, 0xFFFFFFFF, 0x7FC00000], "uint32").view("float32")
    assert np.isnan(rounded(np, quiet)).all() and np.isnan(widened(narrowed(quiet))).all()
    large = np.array([3.4e38, -3.4e38, np.inf], "float32")
    assert (rounded(np, large) == [np.inf, -np.inf, np.inf]).all()


def test_numpy_refuses_to_compute_with_halves() -> None:
    with pytest.raises(TypeError):
        narrowed(np.ones(3, "float32")) + 1


# Two engines ----------------------------------------------------------------------------------------------------------


def gradients(net: Net) -> dict[str, np.ndarray]:
    found = {f"{layer}.{name}": view.grad.copy() for layer, named in net.params.items() for name, view in named.items()}
    return found | {f"blob {name}": net.blobs[name].grad.copy() for name in ("x", "c1", "fc1", "fc2")}


@pytest.mark.parametrize("keep", ["all", ["c1", "fc1", "fc2"]], ids=str)
def test_kernels_compute_what_rounding_does(keep: Any) -> None:
    halves()
    nets = [Net.from_config({**CONFIG, "engine": engine}, keep=keep) for engine in ("auto", "reference")]
    for _ in range(3):
        for net in nets:
            net.zero_grad()
            net.forward(**BATCH)
            net.backward()
    assert {c.precision for n, c in nets[0].current_plan.choices.items() if n != "loss"} == {"bf16-mixed"}
    mine, wanted = map(gradients, nets)
    for name, array in wanted.items():
        assert np.abs(mine[name] - array).max() <= 2**-8 * np.abs(array).max(), name
    full = Net.from_config({**CONFIG, "precision": "float32"})
    full.forward(**BATCH)
    full.backward()
    far = {name: np.abs(mine[name] - array).max() / np.abs(array).max() for name, array in gradients(full).items()}
    assert max(far.values()) > 2**-12  # it is not float32 that is computed


def test_all_blobs_kept_or_none_and_captured_or_not_give_the_same_bits() -> None:
    halves()
    kept, lean = trained(CONFIG, 6, "all"), trained(CONFIG, 6)
    alone = Net.from_config(CONFIG)
    solver = Solver.from_config(alone, alone.config.solver)
    for _ in range(6):
        alone.passes.replan("no step is repeated")
        solver.step(**BATCH)
    for name, array in lean.arrays().items():
        assert (array == kept.arrays()[name]).all() and (array == alone.arrays()[name]).all(), name


def test_weights_that_are_changed_by_hand_are_what_the_next_forward_reads() -> None:
    halves()
    net = trained(CONFIG)
    view = net.params["fc1"]["weight"].data
    scores = [net.forward(outputs="fc2", phase="eval", x=BATCH["x"])["fc2"]]
    view *= 2
    scores.append(net.forward(outputs="fc2", phase="eval", x=BATCH["x"])["fc2"])
    net.parameters.data[...] *= 0.5
    scores.append(net.forward(outputs="fc2", phase="eval", x=BATCH["x"])["fc2"])
    assert not (scores[0] == scores[1]).all() and not (scores[1] == scores[2]).all()


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize("options", [{}, {"num_layers": 2, "bidirectional": True}, {"bias": False}], ids=str)
def test_recurrent_kernels_whatever_their_speed(
    kind: str, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    halves()
    monkeypatch.setattr(library, "has_amx", lambda: True)
    monkeypatch.setattr(base, "without_fast_code", lambda *_: None)
    monkeypatch.setattr(gru, "SMALL", 0)
    layer = {"name": "r", "type": kind, "hidden_size": 7, **options}
    x = np.random.default_rng(2).standard_normal((4, 5, 6)).astype("float32")
    found = []
    for engine in ("auto", "reference"):
        inputs = {"x": {"shape": [4, 5, 6], "grad": True}}
        net = Net.from_config({"engine": engine, "precision": "bf16-mixed", "inputs": inputs, "net": [layer]})
        y = net.forward(x=x)["r"]
        net.backward(r=np.random.default_rng(4).standard_normal(y.shape))
        grads = {name: view.grad.copy() for name, view in net.params["r"].items()}
        found.append({"y": y, "dx": net.blobs["x"].grad.copy(), **grads})
        assert net.current_plan.choices["r"].precision == "bf16-mixed"
    for name, array in found[1].items():
        assert np.abs(found[0][name] - array).max() <= 8 * 2**-8 * np.abs(array).max(), name


@pytest.mark.parametrize("above", ["ReLU", "GELU", "Tanh", None])
@pytest.mark.parametrize("below", ["Linear", "Conv2d", "ConvTranspose2d"])
def test_an_evaluation_has_the_same_bits_whatever_is_kept(below: str, above: str | None) -> None:
    """With statistics of data: what is fused where nobody looks rounds no less than what is not."""
    product = {"out_features": 16} if below == "Linear" else {"out_channels": 16, "kernel_size": 3}
    flat = [{"name": "flat", "type": "Flatten"}] if below == "Linear" else []
    high = [] if above is None else [{"name": "high", "type": above}]
    last = [{"name": "all", "type": "Flatten"}, {"name": "last", "type": "Linear", "out_features": 5}]
    layers = [*flat, {"name": "low", "type": below, **product}, {"name": "norm", "type": "BatchNorm"}, *high, *last]
    config = {"precision": "bf16-mixed", "inputs": {"x": {"shape": [6, 3, 8, 8]}}, "net": layers}
    nets = [Net.from_config(config, keep=keep) for keep in ("all", "none", ["low"])]
    for net in nets:
        rng = np.random.default_rng(2)
        for array in (net.state["norm"]["running_mean"], net.state["norm"]["running_var"]):
            array[...] = rng.uniform(0.5, 2, array.shape)
    x, tops = BATCH["x"], ["last", *(layer["name"] for layer in high)]
    found = [net.forward(phase="eval", backward=back, outputs=tops, x=x) for net in nets for back in (True, False)]
    found += [net.forward(phase="eval", outputs="last", x=x) for net in nets]
    for tops_found in found:
        for name, top in tops_found.items():
            np.testing.assert_array_equal(top, found[0][name], name)


# Reading --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ["auto", "reference"])
def test_blobs_and_gradients_are_read_as_float32(engine: str) -> None:
    net = Net.from_config({**CONFIG, "engine": engine})
    out = net.forward(**BATCH)
    net.backward()
    for name in ("x", "c1", "r1", "fc1", "g1", "fc2", "loss"):
        assert net.blobs[name].data.dtype == np.asarray(net.blobs[name]).dtype == np.float32, name
    for name in ("x", "c1", "fc1", "fc2"):
        assert net.blobs[name].grad.dtype == np.float32
        assert np.isfinite(net.blobs[name].grad).all() and net.blobs[name].grad.any()
    assert out["loss"].dtype == np.float32
    for copied in (True, False):
        assert net.forward(outputs=["c1", "fc2"], copy=copied, x=BATCH["x"])["c1"].dtype == np.float32
    assert (rounded(np, net.blobs["c1"].data) == net.blobs["c1"].data).all()


FORK = [
    {"name": "low", "type": "Linear", "out_features": 16, "bottom": "x"},
    {"name": "a", "type": "Tanh", "bottom": "low"},
    {"name": "b", "type": "Linear", "out_features": 16, "bottom": "low"},
    {"name": "c", "type": "Linear", "out_features": 16, "bottom": "low"},
    {"name": "ab", "type": "Add", "bottom": ["a", "b"]},
    {"name": "abc", "type": "Add", "bottom": ["ab", "c"]},
    {"name": "high", "type": "Linear", "out_features": 3},
    {"name": "loss", "type": "MSELoss", "bottom": ["high", "t"]},
]


class Read(Observer):
    """Copies of all blobs and gradients that an observer is shown."""

    def __init__(self) -> None:
        self.arrays: dict[tuple[str, str, int], np.ndarray] = {}

    def note(self, what: str, step: Any, arrays: Any) -> None:
        self.arrays |= {(what, step.node.name, i): a.copy() for i, a in enumerate(arrays) if a is not None}

    def before_forward(self, number: int, step: Any, bottoms: Any, again: bool) -> None:
        self.note("bottom", step, bottoms)

    def after_forward(self, number: int, step: Any, tops: Any, again: bool) -> None:
        self.note("top", step, tops)

    def before_backward(self, number: int, step: Any, dtops: Any) -> None:
        self.note("dtop", step, dtops)

    def after_backward(self, number: int, step: Any, dbottoms: Any) -> None:
        self.note("dbottom", step, dbottoms)

    def after_sums(self, number: int, step: Any, grads: Any) -> None:
        self.note("sum", step, grads)


@pytest.mark.parametrize("own", [{}, {"low": "reference"}], ids=str)
@pytest.mark.parametrize("engine", ["auto", "reference"])
@pytest.mark.parametrize("keep", ["all", "none"])
def test_observers_and_readers_see_rounded_numbers_in_float32(engine: str, keep: str, own: dict[str, str]) -> None:
    layers = [{**layer, "engine": own[layer["name"]]} if layer["name"] in own else layer for layer in FORK]
    inputs = {"x": {"shape": [5, 7]}, "t": {"shape": [5, 3]}}
    net = Net.from_config({"precision": "bf16-mixed", "engine": engine, "inputs": inputs, "net": layers}, keep=keep)
    rng = np.random.default_rng(7)
    batch = {"x": rng.standard_normal((5, 7)), "t": rng.standard_normal((5, 3))}
    for _ in range(4):  # from the third on what can be is repeated
        net.forward(**batch)
        net.backward()
    repeated = {name: view.grad.copy() for name, view in net.params["low"].items()}
    net.observe(read := Read())
    net.zero_grad()
    for _ in range(4):
        net.forward(**batch)
        net.backward()
    assert all((net.params["low"][name].grad == grad).all() for name, grad in repeated.items())
    assert {what for what, _, _ in read.arrays} == {"bottom", "top", "dtop", "dbottom", "sum"}
    assert {array.dtype for array in read.arrays.values()} == {np.dtype("float32")}
    halved = {name for name, choice in net.current_plan.choices.items() if choice.precision == "bf16-mixed"}
    for (what, name, _), array in read.arrays.items():
        if name in halved and what != "bottom" and name != "high":
            assert (rounded(np, array) == array).all(), (what, name)
    if keep == "all":
        dy = rng.standard_normal((5, 16)).astype("float32")
        assert not halved or (net.blobs["low"].grad == read.arrays["sum", "a", 0]).all()
        net.backward(low=dy)
        assert (net.blobs["low"].grad == (rounded(np, dy) if halved else dy)).all()


def test_scores_that_only_losses_read_keep_all_digits() -> None:
    for engine in ("auto", "reference"):
        net = Net.from_config({**CONFIG, "engine": engine})
        net.forward(**BATCH)
        scores = net.blobs["fc2"].data
        assert not (rounded(np, scores) == scores).all()


@pytest.mark.parametrize("engine", ["auto", "reference"])
@pytest.mark.parametrize("phase", ["eval", "train"])
@pytest.mark.parametrize("own", [{}, {"fc1": "float32"}, {"g1": "float32"}], ids=str)
def test_a_blob_has_the_same_bits_whatever_else_is_computed(engine: str, phase: str, own: dict[str, str]) -> None:
    first = [LAYERS[0], {"name": "b1", "type": "BatchNorm"}, {"name": "r1", "type": "Tanh"}]
    layers = [*first, *LAYERS[2:6], {**LAYERS[4], "name": "fc3"}, *LAYERS[6:]]
    layers = [{**layer, "precision": own[layer["name"]]} if layer["name"] in own else layer for layer in layers]
    whole = trained(config := {**CONFIG, "engine": engine, "net": layers}, keep="all")
    learned = whole.state_dict()
    whole.forward(phase=phase, **BATCH)
    wanted = {name: np.array(whole.blobs[name]) for name in ("c1", "b1", "r1", "p1", "f", "fc1", "g1", "fc3", "fc2")}
    for keep, backward in (("all", False), ("none", False), ("none", True)):
        net = Net.from_config(config, keep=keep)
        net.load_state_dict(learned)
        for name, array in wanted.items():
            found = net.forward(phase=phase, backward=backward, outputs=name, x=BATCH["x"])[name]
            assert (found == array).all(), (keep, backward, name)


def test_a_backward_begins_from_a_blob_in_halves() -> None:
    halves()
    dy = np.random.default_rng(1).standard_normal((6, 16)).astype("float32")
    nets = [Net.from_config({**CONFIG, "engine": engine}) for engine in ("auto", "reference")]
    found = []
    for net in nets:
        net.forward(**BATCH)
        net.backward(fc1=dy)
        net.backward({"fc1": dy}, accumulate=True)
        assert net.blobs["c1"].data.dtype == np.float32
        found.append(net.params["c1"]["weight"].grad.copy())
    assert np.abs(found[0] - found[1]).max() <= 2**-8 * np.abs(found[1]).max()


def test_tangents_and_products_with_the_hessian_are_refused_and_jacobians_are_not() -> None:
    net = Net.from_config(CONFIG)
    net.forward(**BATCH)
    if net.current_plan.halved:
        with pytest.raises(ConfigError, match="jvp is not computed in precision bf16-mixed"):
            net.jvp(x=BATCH["x"])
        with pytest.raises(ConfigError, match="hvp is not computed in precision bf16-mixed"):
            net.hvp({"fc1.weight": net.params["fc1"]["weight"].data})
    assert np.isfinite(net.jacobian("fc2", "fc2.bias")).all()


def test_what_is_not_finite_is_found_by_its_layer() -> None:
    net = WatchedNet(Net.from_config(CONFIG).config)
    batch = {**BATCH, "x": BATCH["x"].copy()}
    batch["x"][0, 0, 0, 0] = np.inf
    net.watch.begin(batch)
    with np.errstate(all="ignore"):
        net.forward(**batch)
        net.backward()
    names = {seen.name for seen in net.watch.seen}
    assert {"c1", "fc1", "loss"} <= names
    assert any(seen.nan or seen.inf for seen in net.watch.seen if seen.name == "c1")


# Asking ---------------------------------------------------------------------------------------------------------------


def test_copies_go_on_in_the_precision_that_was_asked_for() -> None:
    plain = {key: value for key, value in CONFIG.items() if key != "precision"}
    net = trained(plain, precision="bf16-mixed", matmul_precision="medium")
    for other in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert other.engine_request == net.engine_request
        assert other.engine_request.precision == "bf16-mixed" and other.engine_request.matmul_precision == "medium"
        assert (other.forward(**BATCH)["loss"] == net.forward(**BATCH)["loss"]).all()


def test_products_of_a_layer_alone_are_lowered_whatever_was_made_before(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = registry.engine(FAST).missing()
    demand_that(missing is None, f"oneDNN: {missing}")
    made: list[tuple[str, bool]] = []
    create = binding.Handle.__init__

    def watched(self: Any, maker: str, unmaker: str, *given: Any) -> None:
        create(self, maker, unmaker, *given)
        if maker.startswith(("dnnl_convolution", "dnnl_matmul")):
            mode = ctypes.c_int(-1)
            binding.runtime().lib.dnnl_primitive_attr_get_fpmath_mode(given[-1], ctypes.byref(mode))
            made.append((maker, mode.value == binding.FPMATH_BFLOAT16))

    monkeypatch.setattr(binding.Handle, "__init__", watched)
    config = {**CONFIG, "precision": "float32"}
    for word in ("medium", "highest", "medium"):
        made.clear()
        trained(config, steps=1, matmul_precision=word)
        assert "dnnl_convolution_backward_weights_primitive_desc_create" in dict(made)
        assert {lowered for _, lowered in made} == {word == "medium"}, word


def test_a_layer_has_a_precision_of_its_own() -> None:
    mixed = [{**layer, "precision": "float32"} if layer["name"] == "fc1" else layer for layer in LAYERS]
    one = [{**layer, "precision": "bf16-mixed"} if layer["name"] == "fc1" else layer for layer in LAYERS]
    for engine in ("auto", "reference"):
        but = trained({**CONFIG, "engine": engine, "net": mixed})
        only = trained({**CONFIG, "engine": engine, "net": one, "precision": "float32"})
        assert but.current_plan.choices["fc1"].precision == "float32"
        halved = {name for name, choice in only.current_plan.choices.items() if choice.precision == "bf16-mixed"}
        assert halved <= {"fc1"}


@pytest.mark.parametrize(
    "change, message",
    [
        ({"dtype": "float64"}, "precision: bf16-mixed with dtype: float64"),
        ({"precision": "16-mixed"}, "precision: 16-mixed needs a GPU"),
        ({"precision": "half"}, "precision must be one of float32, bf16-mixed, 16-mixed"),
        ({"matmul_precision": "low"}, "matmul_precision must be one of highest, medium"),
        ({"dtype": "float64", "precision": "float32", "net": [{**LAYERS[4], "bottom": "x", "precision": "bf16-mixed"}]},
         "precision: bf16-mixed with dtype: float64"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(LayerForgeError, match=message):
        Net.from_config({**CONFIG, **change})


PROVEN = """
precision: bf16-mixed
inputs: {x: {shape: [4, 6]}, t: {shape: [4, 3]}}
blocks:
  body:
    args: {p: null}
    net:
      - {name: fc, type: Linear, out_features: 5, precision: "${p}", matmul_precision: medium}
      - {name: act, type: Tanh}
net:
  - {name: fc1, type: Linear, bottom: x, out_features: 5, precision: bf16-mixed}
  - {block: body, name: b1, with: {p: bf16-mixed}}
  - {name: fc2, type: Linear, out_features: 3}
  - {name: loss, type: MSELoss, bottom: [fc2, t]}
solver: {lr: 0.1}
"""


def test_a_net_in_halves_is_proven_in_float64(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "net.yaml"
    file.write_text(PROVEN)
    assert main(["test", str(file)]) == 0, capsys.readouterr()
    config = Config.load(str(file))
    full = config.in_full_precision(dtype="float64")
    net = Net(full)
    assert net.dtype == "float64" and config.top.precision == "bf16-mixed"
    assert {node.wiring.precision or net.engine_request.precision for node in net.graph.nodes} == {"float32"}
    assert {net.engine_request.matmul_precision_of(node) for node in net.graph.nodes} == {"highest"}
    assert Net(config).engine_request.precision == "bf16-mixed"  # the configuration itself is as it was


def test_weights_are_float32_in_files_and_go_to_either_precision(tmp_path: Path) -> None:
    net = trained(CONFIG)
    net.save(tmp_path / "w.h5")
    full = Net.from_config({**CONFIG, "precision": "float32"})
    full.load(tmp_path / "w.h5")
    for name, array in net.arrays().items():
        assert array.dtype == np.float32 and (array == full.arrays()[name]).all()
    back = Net.from_config(CONFIG)
    back.load_state_dict(full.state_dict())
    assert (back.forward(**BATCH)["loss"] == net.forward(**BATCH)["loss"]).all()


def test_layers_that_round_are_those_that_have_kernels() -> None:
    table = registry.engine(FAST).layers()
    assert {name for name in table if table[name].has_bfloat16} <= ROUNDED <= set(table)


# Where the processor cannot -------------------------------------------------------------------------------------------

CONFIG_FILE = Path(__file__).resolve().parents[2] / "configs" / "mnist_mlp.yaml"
CHECK = ["-m", "layerforge", "check", str(CONFIG_FILE), "precision=bf16-mixed"]


@pytest.mark.parametrize(
    "variables, why",
    [({"ONEDNN_MAX_CPU_ISA": "AVX2"}, "the processor has no AVX512-BF16 and no AMX"),
     ({"LAYERFORGE_ONEDNN": "/nowhere"}, "which does not exist")],
)  # fmt: skip
def test_one_line_says_why_all_is_float32(variables: dict[str, str], why: str) -> None:
    demand_that(registry.engine(FAST).missing() is None, "oneDNN")
    done = subprocess.run(
        [sys.executable, *CHECK], env={**os.environ, **variables}, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if "bf16-mixed" in line]
    assert len(lines) == 1 and "float32, not bf16-mixed" in lines[0] and why in lines[0]


def test_arrays_of_a_net_in_halves_take_half_the_memory() -> None:
    halves()
    net = trained(CONFIG)
    layout = net.passes.current.layout
    assert layout is not None and any(buffer.dtype == BFLOAT16 for buffer in layout.buffers)


@pytest.mark.parametrize("laid", ["channels last", "channels first", "backwards", "float64"])
def test_an_input_that_all_read_in_bfloat16_comes_in_so(laid: str) -> None:
    """Whatever the caller's array is like; asked to be kept it is what the caller gave, and nothing else changes."""
    halves()
    x = BATCH["x"]
    given = {
        "channels last": np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1),
        "channels first": x,
        "backwards": np.ascontiguousarray(x[:, :, ::-1])[:, :, ::-1],
        "float64": x.astype("float64"),
    }[laid]
    nets = {keep: Net.from_config(CONFIG, keep=keep) for keep in ("none", "all")}
    for _ in range(4):
        for net in nets.values():
            net.zero_grad()
            net.forward(x=given, t=BATCH["t"])
            net.backward()
    staged = nets["none"].passes.current.staged["x"]
    assert staged.dtype == BFLOAT16 and np.moveaxis(staged, 1, -1).flags.c_contiguous
    assert (nets["all"].blobs["x"].data == x).all()
    assert (nets["none"].blobs["x"].grad == nets["all"].blobs["x"].grad).all()
    assert (nets["none"].parameters.grad == nets["all"].parameters.grad).all()
