"""`layerforge verify batch`: the gradient of a batch is that of its parts; layers that depend on it are declared."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from layerforge import Net, register
from layerforge.arrays.spec import Spec
from layerforge.cli import main
from layerforge.config.document import Config
from layerforge.contract.layer import Example, Layer
from layerforge.debug.verify_batch import LIMITS, gradients, verify_batch
from layerforge.schema.errors import ConfigError
from layerforge.schema.registry import LAYERS

INPUTS = {"x": {"shape": [12, 6]}, "t": {"shape": [12], "dtype": "int64"}}
LOSS = {"name": "loss", "type": "SoftmaxCrossEntropy", "bottom": ["fc", "t"]}
FC = {"name": "fc", "type": "Linear", "out_features": 4}


def config(*layers: dict[str, Any], **more: Any) -> Config:
    """A net between the input x (12, 6) and a classifier with a loss."""
    first = {"name": "fc0", "type": "Linear", "out_features": 5, "bottom": "x"}
    return Config.from_dict({"engine": "reference", "inputs": INPUTS, "net": [first, *layers, FC, LOSS], **more})


def batch_of(net: Net, samples: int = 12) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {"x": rng.normal(size=(samples, 6)), "t": rng.integers(0, 4, samples)}


@pytest.fixture
def faulty() -> Iterator[None]:
    """A layer with random numbers, whose mask depends on the place in the part, not in the batch."""

    @register
    class Leaky(Layer):
        """Leaky: drops the first sample of every part"""

        examples = [Example({}, [Spec((3, 2))])]

        def setup(self, x: Any) -> Any:
            return x

        def forward(self, x: Any) -> Any:
            self.random(x.shape)
            mask = (self.xp.arange(len(x)) > 0)[:, None]
            self.save(mask=mask)
            return x * mask

        def backward(self, dy: Any) -> Any:
            return dy * self.saved.mask

    yield
    LAYERS.remove("Leaky")


def test_the_gradient_of_a_batch_is_that_of_its_parts_in_both_dtypes() -> None:
    verdict = verify_batch(config({"name": "act", "type": "Tanh"}))
    assert verdict.ok
    assert verdict.samples == 12
    assert [cut.name for cut in verdict.gradients] == ["fc0.weight", "fc0.bias", "fc.weight", "fc.bias"]
    for cut in verdict.gradients:
        assert cut.norm > 0
        assert set(cut.off) == set(LIMITS) == {"float32", "float64"}
        assert cut.off["float64"] <= 1e-14
        assert cut.off["float32"] <= 1e-6
    assert (verdict.frozen, verdict.depending, verdict.unpromised, verdict.as_trained) == ([], [], [], None)


def test_a_batch_in_mixed_precision_is_judged_in_full_precision() -> None:
    lowered = config({"name": "act", "type": "Tanh", "precision": "bf16-mixed"})
    lowered = lowered.with_top(precision="bf16-mixed")
    plain = verify_batch(config({"name": "act", "type": "Tanh"}))
    verdict = verify_batch(lowered)
    assert verdict.ok and [cut.off for cut in verdict.gradients] == [cut.off for cut in plain.gradients]


def test_the_batch_is_cut_into_halves_ragged_pieces_and_one_sample_with_the_rest() -> None:
    verdict = verify_batch(config())
    assert verdict.cuts[0] == [6, 6]
    assert verdict.cuts[-1] == [1, 11]
    assert all(sum(cut) == 12 and min(cut) >= 1 for cut in verdict.cuts)
    assert any(len(set(cut)) > 1 and len(cut) > 2 for cut in verdict.cuts)
    assert verify_batch(config(), seed=5).cuts != verdict.cuts


def test_dropout_is_at_work_and_makes_no_difference() -> None:
    drop = config({"name": "drop", "type": "Dropout", "p": 0.5})
    assert verify_batch(drop).ok
    net = Net(drop)
    net.forward(phase="train", **batch_of(net))
    assert (net.blobs["drop"].data == 0).any()


def test_masks_that_belong_to_the_part_fail(faulty: None) -> None:
    verdict = verify_batch(config({"name": "leaky", "type": "Leaky"}))
    assert not verdict.ok
    assert {cut.name for cut in verdict.gradients if not cut.ok} >= {"fc0.weight", "fc.weight"}


def test_batch_norm_is_declared_and_frozen() -> None:
    verdict = verify_batch(config({"name": "bn", "type": "BatchNorm"}))
    assert verdict.ok
    assert verdict.frozen == ["bn (BatchNorm)"]
    assert {"bn.weight", "bn.bias", "fc0.weight"} <= {cut.name for cut in verdict.gradients}
    assert verdict.as_trained is not None
    assert verdict.as_trained[1] > 1e-3
    assert verdict.as_trained[0] != "fc0.bias", "its gradient is 0 below a BatchNorm: what is there is rounding"


def test_batch_norm_on_frozen_statistics_depends_on_nothing() -> None:
    verdict = verify_batch(config({"name": "bn", "type": "BatchNorm", "use_running_stats": True}))
    assert verdict.ok
    assert verdict.frozen == []


def test_what_cannot_be_frozen_leaves_nothing_to_promise() -> None:
    with pytest.raises(ConfigError, match=r"all of them depend on bn \(BatchNorm\)"):
        verify_batch(config({"name": "bn", "type": "BatchNorm", "track_running_stats": False}))


def test_a_second_loss_that_the_layer_does_not_touch_is_still_promised() -> None:
    more = [
        {"name": "bn", "type": "BatchNorm", "track_running_stats": False, "bottom": "x"},
        {"name": "other", "type": "Linear", "out_features": 4},
        {"name": "loss2", "type": "SoftmaxCrossEntropy", "bottom": ["other", "t"]},
    ]
    first = {"name": "fc0", "type": "Linear", "out_features": 5, "bottom": "x"}
    verdict = verify_batch(Config.from_dict({"inputs": INPUTS, "net": [first, FC, LOSS, *more]}))
    assert verdict.ok
    assert verdict.depending == ["bn (BatchNorm)"]
    assert [cut.name for cut in verdict.gradients] == ["fc0.weight", "fc0.bias", "fc.weight", "fc.bias"]
    assert verdict.unpromised == ["bn.weight", "bn.bias", "other.weight", "other.bias"]


@pytest.mark.parametrize(
    ("layer", "depends"),
    [
        ({"type": "BatchNorm"}, True),
        ({"type": "LayerNorm", "normalized_shape": [5]}, False),
        ({"type": "Softmax", "dim": 0}, True),
        ({"type": "Softmax", "dim": 1}, False),
        ({"type": "Dropout"}, False),
        ({"type": "Cumsum", "dim": 0}, True),
        ({"type": "Flip", "dims": 0}, True),
    ],
)
def test_layers_that_depend_on_the_batch_are_found_by_running_them(layer: dict[str, Any], depends: bool) -> None:
    layers = config({"name": "it", **layer}, {"name": "bn", "type": "BatchNorm"})  # whose statistics can be frozen
    if depends and layer["type"] != "BatchNorm":
        with pytest.raises(ConfigError, match=rf"all of them depend on it \({layer['type']}\)"):
            verify_batch(layers)
    else:
        assert verify_batch(layers).frozen == (["it (BatchNorm)"] if depends else []) + ["bn (BatchNorm)"]


def test_losses_that_are_means_over_different_counts_are_said_to_be() -> None:
    total = {"name": "total", "type": "Sum", "bottom": "fc0", "loss_weight": 0.1}
    verdict = verify_batch(config(total, {"name": "act", "type": "Tanh", "bottom": "fc0"}))
    assert verdict.averaged == {"total": None, "loss": 12}
    assert verify_batch(config()).averaged == {}


def test_looking_leaves_the_net_as_it_was() -> None:
    net = Net(config({"name": "bn", "type": "BatchNorm"}))
    before = {path: array.copy() for path, array in net.arrays().items()}
    batch = batch_of(net)
    gradients(net, [batch, batch])
    for path, array in net.arrays().items():
        np.testing.assert_array_equal(array, before[path])
    assert (net.first_sample, net.iteration) == (0, 0)


def test_a_batch_of_one_cannot_be_cut() -> None:
    with pytest.raises(ConfigError, match="a batch of 1 cannot be cut"):
        verify_batch(Config.from_dict({"inputs": {"x": {"shape": [1, 2], "grad": True}}, "net": [FC]}))


# The command ----------------------------------------------------------------------------------------------------------

CONFIG = """\
name: small
engine: reference
data: {train: {type: Digits, split: "train[:64]", batch_size: 10}}
net:
  - {name: flat, type: Flatten, bottom: image}
  - {name: fc1,  type: Linear, out_features: 8}
  - {name: bn,   type: BatchNorm}
  - {name: drop, type: Dropout, p: 0.3}
  - {name: fc,   type: Linear, out_features: 10}
  - {name: loss, type: SoftmaxCrossEntropy, bottom: [fc, label]}
"""


@pytest.fixture
def small(tmp_path: Path) -> str:
    (tmp_path / "small.yaml").write_text(CONFIG)
    return str(tmp_path / "small.yaml")


def test_the_command_takes_the_first_batch_of_training(small: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "batch", small]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("small: one batch of 10, and the same in parts of 5+5, ")
    assert "bn (BatchNorm); frozen here" in lines[1]
    assert lines[-1] == "6 gradients, 3 ways to cut the batch: the same to 1e-06 in float32 and 1e-14 in float64"


def test_the_command_as_json_and_its_exit_code(
    small: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["verify", "batch", small, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["frozen"] == ["bn (BatchNorm)"]
    monkeypatch.setitem(LIMITS, "float32", 0.0)
    monkeypatch.setattr(np, "finfo", lambda dtype: type("Exact", (), {"eps": 0.0}))
    assert main(["verify", "batch", small]) == 1
    assert "FAIL" in capsys.readouterr().out


@pytest.mark.parametrize("words", [["--kills", "3"], ["--seed", "-1"]])
def test_options_without_a_meaning_are_refused(
    words: list[str], small: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify", "batch", small, *words]) == 2
    assert "has no meaning for verify batch" in capsys.readouterr().err
