"""The objects that ONNX Runtime finds are ours: the same rows in the same order, whatever the settings and boxes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from support.onnx_nets import compared, session
from support.tools import demand

from layerforge import Net
from layerforge.interop.onnx.netgraph import graph_of_net


def drawn(seed: int) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Settings, and boxes of which some are upside down, with scores of which some are equal."""
    rng = np.random.default_rng([seed, 5])
    samples, priors, classes = (int(rng.integers(low, high)) for low, high in ((1, 4), (1, 30), (2, 5)))
    shared = bool(rng.integers(2))
    settings = {
        "num_classes": classes,
        "share_location": shared,
        "background_label_id": int(rng.integers(-1, classes)),
        "nms_threshold": float(rng.choice([0, 0.3, 0.5, 0.7, 1.5])),
        "eta": float(rng.choice([1, 1, 0.9])),
        "top_k": int(rng.choice([-1, 1, 5, 100])),
        "keep_top_k": int(rng.choice([-1, 1, 5, 200])),
        "code_type": str(rng.choice(["corner", "center_size", "corner_size"])),
        "variance_encoded_in_target": bool(rng.integers(2)),
        "confidence_threshold": [None, 0.3, 0.5][rng.integers(3)],
    }
    middle, size = rng.uniform(0.2, 0.8, (priors, 2)), rng.uniform(0.1, 0.5, (priors, 2))
    boxes = np.concatenate([middle - size / 2, middle + size / 2], axis=1)
    offsets = rng.normal(0, rng.choice([0.1, 1, 3]), (samples, 4 * priors * (1 if shared else classes)))
    arrays = {
        "offsets": np.round(offsets * 4) / 4 if seed % 2 else offsets,
        "scores": np.round(rng.uniform(size=(samples, priors * classes)), 1 + seed % 4),
        "priors": np.stack([np.round(boxes, 1 + seed % 3), rng.uniform(0.1, 0.2, boxes.shape)]).reshape(1, 2, -1),
    }
    return settings, {name: array.astype(np.float32) for name, array in arrays.items()}


def net_of(seed: int) -> tuple[Net, dict[str, np.ndarray]]:
    """A net of the layer alone, and what it reads."""
    settings, given = drawn(seed)
    inputs = {name: {"shape": list(array.shape)} for name, array in given.items()}
    layer = {"name": "found", "type": "DetectionOutput", "bottom": list(given), **settings}
    return Net.from_config({"engine": "reference", "inputs": inputs, "net": [layer]}, keep="none"), given


@pytest.mark.parametrize("seed", range(24))
def test_objects_are_the_same(seed: int) -> None:
    demand("onnxruntime")
    net, given = net_of(seed)
    ours = np.asarray(net.forward(phase="eval", **given)["found"])
    theirs = session(graph_of_net(net)[0]).run(None, given)[0]
    assert np.array_equal(ours[..., :2], theirs[..., :2])
    assert compared("found", ours, theirs) == []


def test_some_find_many_objects_and_some_leave_rows_empty() -> None:
    counts = []
    for seed in range(24):
        net, given = net_of(seed)
        rows = np.asarray(net.forward(phase="eval", **given)["found"])[0, 0]
        counts.append((int((rows[:, 1] >= 0).sum()), len(rows)))
    assert max(found for found, _ in counts) > 50
    assert any(found < rows for found, rows in counts)


@pytest.mark.parametrize(("eta", "objects"), [(1.0, 2), (0.9, 1)])
def test_each_object_makes_the_threshold_smaller(eta: float, objects: int) -> None:
    """The boxes overlap by 0.68: no more than 0.7, but more than 0.63."""
    demand("onnxruntime")
    inputs = {"offsets": {"shape": [1, 8]}, "scores": {"shape": [1, 4]}, "priors": {"shape": [1, 2, 8]}}
    layer = {"name": "found", "type": "DetectionOutput", "bottom": list(inputs), "num_classes": 2}
    layer |= {"nms_threshold": 0.7, "eta": eta}
    net = Net.from_config({"engine": "reference", "inputs": inputs, "net": [layer]}, keep="none")
    boxes = [0, 0, 1, 1, 0.19, 0, 1.19, 1]
    given = {"offsets": np.zeros((1, 8)), "scores": [[0, 0.9, 0, 0.8]], "priors": [[boxes, np.ones(8)]]}
    arrays = {name: np.asarray(array, np.float32) for name, array in given.items()}
    found = session(graph_of_net(net)[0]).run(None, arrays)[0]
    assert (found[0, 0, :, 1] >= 0).sum() == objects
    assert compared("found", net.forward(phase="eval", **arrays)["found"], found) == []
