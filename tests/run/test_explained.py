"""Where memory, a library or the device fails under a net: what is said, and that the net can go on where it can."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from support import strict_cupy
from support import strict_faults as faults
from support.strict_backend import STRICT
from support.tools import demand_that, without_engine

from layerforge import Net, Solver
from layerforge.layers.matrices.linear import Linear
from layerforge.run import memory_layout
from layerforge.schema.errors import BackendError, DeviceOutOfMemory, LayerForgeError, OutOfMemory

MIB = 2**20
RNG = np.random.default_rng(7)


def net(keep: str = "none", backend: Any = STRICT, **more: Any) -> Net:
    layers = [
        {"name": "fc1", "type": "Linear", "out_features": 256, "bottom": "x"},
        {"name": "act", "type": "ReLU"},
        {"name": "fc2", "type": "Linear", "out_features": 10},
        {"name": "loss", "type": "SoftmaxCrossEntropy", "bottom": ["fc2", "t"]},
    ]
    inputs = {"x": {"shape": [64, 784]}, "t": {"shape": [64], "dtype": "int32"}}
    return Net.from_config({"name": "n", "inputs": inputs, "net": layers, **more}, keep=keep, backend=backend)


def batch(size: int) -> dict[str, Any]:
    x = RNG.standard_normal((size, 784)).astype(np.float32)
    return {"x": x, "t": RNG.integers(0, 10, size).astype(np.int32)}


def refusal(work: Callable[[], Any], kind: type[LayerForgeError] = DeviceOutOfMemory) -> str:
    with pytest.raises(kind) as caught:
        work()
    return str(caught.value)


def test_a_step_says_what_it_needs_and_what_there_is() -> None:
    solver = Solver(net(), lr=0.1, momentum=0.9)
    with faults.memory_limited(14 * MIB):
        text = refusal(lambda: solver.step(**batch(4096)))
    assert "asked for by layer 'fc1' (Linear) in forward" in text
    assert "needed: parameters 795.1 KiB, gradients 795.1 KiB, histories of the solver 795.1 KiB" in text
    assert "in train at batch size 4,096 blobs 16.4 MiB, and beside them what layers keep" in text
    assert "there is: 14.0 MiB, " in text
    assert "in CuPy's pool" in text
    assert "a smaller batch_size (train.accumulate_grad_batches" in text
    assert "recompute: true" in text
    assert "keep=" not in text
    assert "float32" not in text


def test_inputs_that_do_not_fit_are_those_of_the_pass_that_they_were_for() -> None:
    solver = Solver(net(), lr=0.1, momentum=0.9)
    solver.step(**batch(64))
    with faults.memory_limited(2 * MIB):
        text = refusal(lambda: solver.step(**batch(4096)))
    assert "allocating 12,845,056 bytes" in text
    assert "layer" not in text.splitlines()[0]
    assert "histories of the solver 795.1 KiB; in train at batch size 4,096 blobs" in text


def test_the_net_goes_on_with_a_smaller_batch() -> None:
    solver = Solver(net(), lr=0.1, momentum=0.9)
    other = Solver(net(), lr=0.1, momentum=0.9)
    small = batch(64)
    with faults.memory_limited(14 * MIB):
        try:
            solver.step(**batch(4096))
        except OutOfMemory as error:
            assert "4,096" in str(error)
        assert faults.held() < MIB  # at once, without a search for cycles
        assert solver.step(**small) == other.step(**small)
    assert not solver.in_step


def test_remedies_are_those_that_are_left() -> None:
    tested = net("all", dtype="float64")
    with faults.memory_limited(40 * MIB):
        text = refusal(lambda: (tested.forward(**batch(4096)), tested.backward()))
    assert 'keep="none" or dtype: float32' in text
    with faults.memory_limited(2 * MIB):
        text = refusal(lambda: tested.forward(phase="eval", **batch(4096)))
    assert "less is needed with a smaller batch_size, keep=" in text
    assert "in eval at batch size 4,096 blobs" in text


def test_in_backward_and_in_the_update() -> None:
    tested = net()
    tested.forward(**batch(2048))
    with faults.memory_limited(100):
        text = refusal(tested.backward)
    assert "in backward" in text
    solver = Solver(net(), type="LARS", lr=0.1)  # which no kernel updates in place
    solver.accumulate(**batch(64))
    with faults.memory_limited(100):
        assert "histories of the solver 795.1 KiB" in refusal(solver.update)


def test_while_a_net_is_made() -> None:
    with faults.memory_limited(100):
        text = refusal(net)
    assert "needed: parameters 795.1 KiB, gradients 795.1 KiB" in text
    assert "smaller hyper-parameters" in text
    tested = net()
    with faults.memory_limited(MIB):
        text = refusal(lambda: Solver(tested, type="Adam", lr=0.1))
    assert "each history of the solver 795.1 KiB" in text


def test_while_weights_are_loaded() -> None:
    tested = net()
    arrays = tested.arrays()
    with faults.memory_limited(100):
        assert "needed: parameters 795.1 KiB" in refusal(lambda: tested.load_arrays(arrays, "the file"))


@pytest.mark.parametrize("library", ["libcublas.so.12", "libnvrtc.so.12"])
def test_a_library_that_is_missing_is_no_layers_fault(library: str) -> None:
    tested = net()
    given = batch(8)
    with faults.library_missing(library):
        text = refusal(lambda: tested.forward(**given), BackendError)
    assert text.startswith(f"CuPy cannot load {library}, a library of CUDA")
    assert "fc1" not in text
    assert "pip install 'layerforge[cuda" in text


def test_a_kernel_that_went_wrong_shows_later() -> None:
    solver = Solver(net(), lr=0.1)
    with faults.bad_kernel(after=2):
        text = refusal(lambda: solver.step(**batch(8)), BackendError)
    assert "work that it had been given before: cudaErrorIllegalAddress" in text
    assert "CUDA_LAUNCH_BLOCKING=1" in text


@pytest.mark.parametrize("look", [Net.losses, Net.total_loss, Net.arrays, lambda n: STRICT.to_host(n.blobs["x"].data)])
def test_a_kernel_that_went_wrong_shows_wherever_the_host_waits(look: Callable[[Net], Any]) -> None:
    tested = net("all")
    tested.forward(**batch(8))
    tested.passes.current.loss_values.clear()
    with faults.bad_kernel(after=0):
        STRICT.xp.exp(STRICT.xp.zeros(3))
        assert "cudaErrorIllegalAddress" in refusal(lambda: look(tested), BackendError)


def test_weights_and_histories_are_fetched_in_one_piece_each() -> None:
    solver = Solver(net(), type="Adam", lr=0.1)
    given = batch(8)
    solver.step(**given)
    with strict_cupy.counting() as counts:
        weights, histories = solver.net.arrays(), solver.arrays()
    assert counts["waits"] == 1 + 2
    assert len(weights) == 4
    assert len(histories) == 8
    other = net(seed=5)
    with strict_cupy.counting() as counts:
        other.load_arrays(weights, "the other")
    assert counts["waits"] == 0
    assert np.array_equal(other.arrays()["params/fc2/weight"], weights["params/fc2/weight"])


# NumPy ----------------------------------------------------------------------------------------------------------------


def fails(problem: Exception) -> Callable[..., Any]:
    def forward(self: Linear, *arrays: Any) -> Any:
        raise problem

    return forward


def test_memory_of_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = MemoryError("Unable to allocate 8.00 GiB for an array with shape (2147483648,)")
    tested = net(backend="numpy", engine="reference")
    monkeypatch.setattr(Linear, "forward", fails(problem))
    text = refusal(lambda: tested.forward(**batch(32)), OutOfMemory)
    assert text.startswith("out of memory: Unable to allocate 8.00 GiB")
    assert "asked for by layer 'fc1' (Linear) in forward" in text
    assert "in train at batch size 32 blobs " in text
    assert "there is: " in text
    assert "a smaller batch_size" in text
    with pytest.raises(OutOfMemory) as caught:
        tested.forward(**batch(32))
    assert caught.value.exit_code == 1


def test_sizes_that_no_machine_has_are_the_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    tested = net(backend="numpy", engine="reference")
    monkeypatch.setattr(Linear, "forward", fails(ValueError("Maximum allowed dimension exceeded")))
    text = refusal(lambda: tested.forward(**batch(32)), LayerForgeError)
    assert "layer 'fc1' (Linear): an array in its forward would be too large for memory" in text


def test_the_memory_of_a_plan_with_an_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """The workspace of all blobs is one array, which nobody but the net asks for."""
    why = without_engine()
    demand_that(why is None, str(why))
    tested = net(backend="numpy", engine="auto")
    monkeypatch.setattr(memory_layout, "allocate", fails(MemoryError("Unable to allocate 1.00 TiB")))
    text = refusal(lambda: tested.forward(**batch(32)), OutOfMemory)
    assert "blobs, gradients and workspaces " in text
