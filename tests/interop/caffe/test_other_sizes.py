"""A net that is fed images of another size than its definition says computes what one defined for that size does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from layerforge.interop import caffe
from layerforge.schema.errors import ConfigError

IMAGES, OTHERS = (2, 4, 6, 7), (3, 4, 9, 5)

LAYERS = {
    "global maximum": "type: 'Pooling' pooling_param { pool: MAX global_pooling: true }",
    "global mean": "type: 'Pooling' pooling_param { pool: AVE global_pooling: true }",
    "wide margin, MAX": "type: 'Pooling' pooling_param { kernel_size: 3 stride: 3 pad: 2 round_mode: FLOOR }",
    "wide margin, AVE": "type: 'Pooling' pooling_param { pool: AVE kernel_size: 4 stride: 2 pad: 3 round_mode: FLOOR }",
    "joined axes": "type: 'Reshape' reshape_param { shape { dim: -1 } axis: 1 num_axes: 2 }",
    "joined last axes": "type: 'Reshape' reshape_param { shape { dim: -1 } axis: 2 }",
}
LOSSES = {
    "labels with one channel": (1, True),
    "labels without channels": (1, False),
    "classes first": (0, False),
    "classes third": (2, False),
    "classes last": (-1, False),
    "one label a class, classes last": (-1, True),
}


def opened(path: Path, definition: str, *shapes: tuple[int, ...]) -> tuple[Any, Any]:
    """A model in TRAIN with inputs b0, b1, ..., and its net."""
    lines = ["force_backward: true"]
    for i, shape in enumerate(shapes):
        dims = " ".join(f"dim: {n}" for n in shape)
        lines.append(f"layer {{ name: 'in{i}' type: 'Input' top: 'b{i}' input_param {{ shape {{ {dims} }} }} }}")
    read = " ".join(f"bottom: 'b{i}'" for i in range(len(shapes)))
    path.write_text("\n".join([*lines, f"layer {{ name: 'L' {read} top: 't0' {definition} }}"]))
    model = caffe.load_model(path, phase="train")
    return model, model.net(keep="all", engine="reference")


def results(model: Any, net: Any, dtop: np.ndarray | None, *bottoms: np.ndarray) -> list[np.ndarray]:
    """The top, and the gradient of the first bottom."""
    net.forward(**{f"b{i}": bottom for i, bottom in enumerate(bottoms)})
    net.backward(None if dtop is None else {"t0": dtop})
    return [np.array(model.blob(net, "t0").data), np.array(model.blob(net, "b0").grad)]


@pytest.mark.parametrize("definition", LAYERS.values(), ids=LAYERS)
def test_a_layer(definition: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    x = rng.normal(size=OTHERS).astype(np.float32)
    made_for_it = opened(tmp_path / "other.prototxt", definition, OTHERS)
    dtop = rng.normal(size=made_for_it[1].forward(b0=x)["t0"].shape).astype(np.float32)
    expected = results(*made_for_it, dtop, x)
    found = results(*opened(tmp_path / "net.prototxt", definition, IMAGES), dtop, x)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(("axis", "kept"), LOSSES.values(), ids=LOSSES)
@pytest.mark.parametrize("kind", ["SoftmaxWithLoss", "InfogainLoss"])
def test_a_loss(kind: str, axis: int, kept: bool, tmp_path: Path) -> None:
    def labels_for(shape: tuple[int, ...]) -> tuple[int, ...]:
        place = axis % 4
        return (*shape[:place], *((1,) if kept else ()), *shape[place + 1 :])

    first, other = ((5, 2, 3, 4), (5, 3, 2, 6)) if axis == 0 else ((2, 5, 3, 4), (3, 5, 2, 6))
    first, other = (tuple(np.moveaxis(np.empty(s), 0 if axis == 0 else 1, axis).shape) for s in (first, other))
    rng = np.random.default_rng(8)
    arrays = [rng.normal(size=other), rng.integers(0, 5, labels_for(other))]
    more: list[tuple[int, ...]] = []
    definition = f"type: '{kind}' softmax_param {{ axis: {axis} }} loss_param {{ normalization: BATCH_SIZE }}"
    if kind == "InfogainLoss":
        definition += f" infogain_loss_param {{ axis: {axis} }}"
        more = [(5, 5)]
        arrays.append(rng.normal(size=(5, 5)))
    bottoms = [array.astype(np.float32) for array in arrays]
    expected = results(*opened(tmp_path / "o.prototxt", definition, other, labels_for(other), *more), None, *bottoms)
    found = results(*opened(tmp_path / "n.prototxt", definition, first, labels_for(first), *more), None, *bottoms)
    for one, there in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, there)


WRITTEN_IN = {
    "split axis": "type: 'Reshape' reshape_param { shape { dim: -1 dim: 2 } axis: 1 num_axes: 1 }",
    "places of maxima": "top: 't1' type: 'Pooling' pooling_param { kernel_size: 3 pad: 2 stride: 3 round_mode: FLOOR }",
}


@pytest.mark.parametrize("definition", WRITTEN_IN.values(), ids=WRITTEN_IN)
def test_where_a_size_is_written_in_another_one_is_an_error(definition: str, tmp_path: Path) -> None:
    _, net = opened(tmp_path / "net.prototxt", definition, IMAGES)
    net.forward(b0=np.zeros(IMAGES, np.float32))
    other = (2, 4, 12, 14)
    told = r"(?s)blob 't0' has shape .* Caffe's has .*inputs=\{'b0': \[2, 4, 12, 14\]\}"
    with pytest.raises(ConfigError, match=told):
        net.forward(b0=np.zeros(other, np.float32))
    again = caffe.load_model(tmp_path / "net.prototxt", phase="train", inputs={"b0": other})
    assert again.net(keep="all").forward(b0=np.zeros(other, np.float32))
