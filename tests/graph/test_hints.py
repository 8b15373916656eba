"""Errors seen far from their cause name the cause: a forgotten Flatten, an array that backward may not read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from layerforge import Net
from layerforge.arrays.spec import Spec
from layerforge.check.case import Case, CheckFailed
from layerforge.check.memory import check_backward_reads
from layerforge.config.yaml_file import parse_yaml
from layerforge.contract.layer import Example, Layer
from layerforge.schema.errors import LayerForgeError

IMAGES = {"image": {"shape": [4, 1, 8, 8]}, "label": {"shape": [4], "dtype": "int64"}, "y": {"shape": [4, 2]}}
CONV = {"name": "conv", "type": "Conv2d", "out_channels": 3, "kernel_size": 3, "bottom": "image"}
POOL = {"name": "pool", "type": "AvgPool2d", "kernel_size": 2}
FC1 = {"name": "fc1", "type": "Linear", "out_features": 16}
RELU = {"name": "r", "type": "ReLU"}
FC2 = {"name": "fc2", "type": "Linear", "out_features": 2}


def loss(scores: str, kind: str = "SoftmaxCrossEntropy", labels: str = "label") -> dict[str, Any]:
    return {"name": "loss", "type": kind, "bottom": [scores, labels]}


def refused(*layers: dict[str, Any], **inputs: Any) -> str:
    with pytest.raises(LayerForgeError) as caught:
        Net.from_config({"inputs": inputs or IMAGES, "net": list(layers)})
    return str(caught.value)


# ---- a forgotten Flatten -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layers", "message", "line"),
    [
        ([FC1, RELU, FC2, loss("fc2")], "'fc1' (Linear) reads 'image' of shape (4, 1, 8, 8)", "image"),
        ([CONV, POOL, FC1, FC2, loss("fc2")], "'fc1' (Linear) reads 'pool' of shape (4, 3, 3, 3)", "pool"),
        ([CONV, FC2, loss("fc2", "MSELoss", "y")], "'fc2' (Linear) reads 'conv' of shape (4, 3, 6, 6)", "conv"),
        ([CONV, FC2, loss("fc2", "Accuracy")], "'fc2' (Linear) reads 'conv'", "conv"),
    ],
)
def test_it_is_named_at_the_layer_that_should_have_had_it(layers: list[Any], message: str, line: str) -> None:
    told = refused(*layers)
    assert f"layer {message}" in told
    assert "without a Flatten before it" in told
    assert f"add `- {{name: flat, type: Flatten, bottom: {line}}}` before" in told


def test_a_loss_and_a_metric_say_it_once_at_that_layers_line(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(
        "inputs: {image: {shape: [4, 1, 8, 8]}, label: {shape: [4], dtype: int64}}\n"
        "net:\n"
        "  - {name: flat, type: Identity}\n"
        "  - {name: fc1, type: Linear, out_features: 5, bottom: flat}\n"
        "  - {name: loss, type: SoftmaxCrossEntropy, bottom: [fc1, label]}\n"
        "  - {name: accuracy, type: Accuracy, bottom: [fc1, label], phase: eval}\n"
    )
    with pytest.raises(LayerForgeError) as caught:
        Net.from_yaml(tmp_path / "c.yaml")
    told = str(caught.value)
    assert told.count("Flatten before it") == 1
    assert "c.yaml:4:12:" in told
    assert "{name: flat2, type: Flatten, bottom: flat}` before 'fc1' and let it read that: `bottom: flat2`" in told


def test_without_a_linear_the_scores_themselves_are_the_image() -> None:
    told = refused(CONV, loss("conv"))
    assert "the labels, has shape (4,), expected (4, 6, 6)" in told
    assert "the scores are an image: add `- {name: flat, type: Flatten, bottom: conv}`, then a Linear" in told


def test_a_sequence_may_be_meant_otherwise() -> None:
    told = refused({**FC1, "bottom": "x"}, loss("fc1"), x={"shape": [4, 5, 3]}, label=IMAGES["label"])
    assert "the labels, has shape (4,), expected (4, 16)" in told
    assert "bottom: x}` before 'fc1', or take one step of it" in told


@pytest.mark.parametrize("judge", ["SoftmaxCrossEntropy", "Accuracy"])
@pytest.mark.parametrize(
    ("places", "order"),
    [([6], "type: Transpose, dim0: 1, dim1: 2"), ([6, 7], "type: Permute, dims: [0, 3, 1, 2]")],
)
def test_classes_behind_the_places_are_moved_in_front_of_them(judge: str, places: list[int], order: str) -> None:
    shapes: Any = {"x": {"shape": [4, *places, 3]}, "label": {"shape": [4, *places], "dtype": "int64"}}
    scores = {**FC1, "bottom": "x"}
    told = refused(scores, loss("fc1", judge), **shapes)
    assert "Flatten" not in told
    line = f"{{name: classes_first, {order}, bottom: fc1}}"
    assert f"add `- {line}`, and let 'loss' read 'classes_first'" in told
    cured = [scores, dict(parse_yaml(line, "line")), loss("classes_first", judge)]
    Net.from_config({"inputs": shapes, "net": cured})


def test_other_errors_stay_as_they_are() -> None:
    flat = {"name": "flat", "type": "Flatten", "bottom": "image"}
    told = refused(flat, FC2, loss("fc2"), image=IMAGES["image"], label={"shape": [3], "dtype": "int64"})
    assert "Flatten" not in told


# ---- an array that backward_reads does not name ------------------------------------------------------------------


class Kept(Layer):
    """Kept: y = exp x, of which backward reads the top"""

    examples = [Example({}, [Spec((3, 4))])]

    def setup(self, x: Any) -> Any:
        return x

    def forward(self, x: Any) -> Any:
        y = self.xp.exp(x)
        self.save(**self.keeps(x, y))
        return y

    def keeps(self, x: Any, y: Any) -> dict[str, Any]:
        return {"y": y}

    def backward(self, dy: Any) -> Any:
        return dy * self.saved.y


class Both(Kept):
    """Both: the same, from bottom and top"""

    backward_reads = ()

    def keeps(self, x: Any, y: Any) -> dict[str, Any]:
        return {"y": y, "x": x}

    def backward(self, dy: Any) -> Any:
        return dy * self.saved.y + 0 * self.saved.x


class Half(Both):
    """Half: the same, with the bottom declared"""

    backward_reads = ("bottom",)


@pytest.mark.parametrize(
    ("layer", "read", "words"),
    [
        (Kept, "top[0]", '("top",)'),
        (Both, "bottom[0], top[0]", '("bottom", "top")'),
        (Half, "top[0]", '("bottom", "top")'),
    ],
)
def test_what_backward_reads_without_saying_so_is_named(layer: type[Layer], read: str, words: str) -> None:
    with pytest.raises(CheckFailed) as caught:
        check_backward_reads(Case(layer, layer.examples[0]))
    assert f"backward reads {read}, which backward_reads={layer.backward_reads!r} does not name" in caught.value.message
    assert str(caught.value.hint).startswith(f"backward_reads = {words}")


# ---- a missing axis of channels, and too few things ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("layer", "shape", "made"),
    [
        ({k: v for k, v in CONV.items() if k != "bottom"}, [4, 8, 9], (4, 1, 8, 9)),
        ({"name": "p", "type": "AvgPool2d", "kernel_size": 2}, [4, 8, 9], (4, 1, 8, 9)),
        ({"name": "c", "type": "Conv1d", "out_channels": 2, "kernel_size": 3}, [4, 9], (4, 1, 9)),
    ],
)
def test_a_missing_axis_of_channels_is_named_with_the_layer_that_adds_it(
    layer: dict[str, Any], shape: list[int], made: tuple[int, ...]
) -> None:
    told = refused({**layer}, x={"shape": shape})
    assert f"`type: Unsqueeze, dim: 1` above makes {made} of it" in told
    unsqueeze = {"name": "u", "type": "Unsqueeze", "dim": 1}
    assert Net.from_config({"inputs": {"x": {"shape": shape}}, "net": [unsqueeze, {**layer}]})
    assert "Unsqueeze" not in refused({**layer}, x={"shape": [4, 1, 1, *shape[1:]]})


def text_net(folder: Path, rows: int, scores: int, **more: Any) -> dict[str, Any]:
    (folder / "t.txt").write_text("abcdefgh" * 20)
    text = {"type": "Text", "path": str(folder / "t.txt"), "sequence_length": 4, "batch_size": 3}
    head = [{"name": "fc", "type": "Linear", "out_features": scores},
            {"name": "turned", "type": "Permute", "dims": [0, 2, 1]}]  # fmt: skip
    embedding = {"name": "e", "type": "Embedding", "num_embeddings": rows, "embedding_dim": 5, "bottom": "x"}
    return {"data": {"train": text}, "net": [embedding, *head, {**loss("turned", labels="y"), **more}]}


def test_a_vocabulary_that_is_larger_than_the_net_is_told_before_training(tmp_path: Path) -> None:
    assert Net.from_config(text_net(tmp_path, 8, 8))
    assert Net.from_config(text_net(tmp_path, 12, 8)), "room for more does no harm"
    with pytest.raises(LayerForgeError, match=r"'e' \(Embedding\) has 7 things that 'x' may name, the data") as caught:
        Net.from_config(text_net(tmp_path, 7, 8))
    assert "the data have 8: 0 to 7" in str(caught.value) and "num_embeddings: 8" in str(caught.value)
    assert Net.from_config(text_net(tmp_path, 8, 7)), "labels are looked at when they come"
