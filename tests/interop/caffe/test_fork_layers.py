"""Single layers of Caffe's forks, imported: by a formula of each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.caffe_forks import Layer, layer_text, opencv

from layerforge.interop import caffe
from layerforge.schema.errors import LayerForgeError

RNG = np.random.default_rng(0)
X = RNG.normal(size=(2, 8, 6, 4))


def close(found: Any, wanted: Any) -> None:
    assert np.shape(found) == np.shape(wanted)
    assert abs(np.asarray(found, dtype=np.float64) - wanted).max() <= 1e-5 * max(abs(np.asarray(wanted)).max(), 1)


@pytest.mark.parametrize("shape", [(2, 8), (2, 8, 1, 1)])
def test_axpy(shape: tuple[int, ...], tmp_path: Path) -> None:
    a, y = RNG.normal(size=shape), RNG.normal(size=X.shape)
    layer = Layer(tmp_path, "Axpy", a, X, y)
    close(layer.top(), [[float(a[n, c].squeeze()) * X[n, c] + y[n, c] for c in range(8)] for n in range(2)])
    layer.assert_gradients(0, 1, 2)


def test_shuffle_channel(tmp_path: Path) -> None:
    layer = Layer(tmp_path, "ShuffleChannel", X, more="shuffle_channel_param { group: 2 }")
    close(layer.top(), np.stack([X[:, (c % 2) * 4 + c // 2] for c in range(8)], axis=1))
    close(layer.top(), opencv(layer.model, layer.model.net(), tmp_path, b0=X))
    layer.assert_gradients(0)


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("ConvolutionDepthwise", "kernel_size: 3 stride: 2 pad: 1 bias_term: false"),
        ("ConvolutionDepthwise", "num_output: 8 kernel_h: 3 kernel_w: 1 pad_h: 1 pad_w: 0 group: 1"),
        ("DepthwiseConvolution", "num_output: 8 group: 8 kernel_size: 3 dilation: 2 pad: 2 stride: 1"),
    ],
)
def test_depthwise_convolution(kind: str, fields: str, tmp_path: Path) -> None:
    layer = Layer(tmp_path, kind, X, more=f"convolution_param {{ {fields} }}")
    blobs = [RNG.normal(size=place.shape) for place in layer.model.blobs_of("y")]
    layer.model.set_blobs("y", blobs)
    high, wide = blobs[0].shape[2:]
    assert blobs[0].shape[:2] == (8, 1)
    step, apart, pads = 2 if "stride: 2" in fields else 1, 2 if "dilation" in fields else 1, (high // 2, wide // 2)
    rows, columns = (apart * pad for pad in pads)
    padded = np.pad(X, ((0, 0), (0, 0), (rows, rows), (columns, columns)))
    wanted = np.zeros(layer.top().shape)
    for n, c, i, j in np.ndindex(*wanted.shape):
        for k, m in np.ndindex(high, wide):
            wanted[n, c, i, j] += blobs[0][c, 0, k, m] * padded[n, c, i * step + k * apart, j * step + m * apart]
        wanted[n, c, i, j] += blobs[1][c] if len(blobs) > 1 else 0
    close(layer.top(), wanted)
    layer.assert_gradients(0)


@pytest.mark.parametrize(
    ("kind", "fields", "told"),
    [
        ("ConvolutionDepthwise", "num_output: 16 kernel_size: 3", "num_output 16 of 8 channels"),
        ("DepthwiseConvolution", "num_output: 16 kernel_size: 3 group: 8", "num_output 16 of 8 channels"),
        ("DepthwiseConvolution", "num_output: 8 kernel_size: 3", "group 1 of 8 channels"),
        ("ConvolutionDepthwise", "", "kernel_size is missing"),
    ],
)
def test_depthwise_convolution_that_cannot_be(kind: str, fields: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(LayerForgeError, match=told):
        Layer(tmp_path, kind, X, more=f"convolution_param {{ {fields} }}")


@pytest.mark.parametrize(("more", "limit"), [("", 6), ("relu6_param { threshold: 2.5 }", 2.5)])
def test_relu6(more: str, limit: float, tmp_path: Path) -> None:
    layer = Layer(tmp_path, "ReLU6", 5 * X, more=more)
    close(layer.top(), [[[[min(max(x, 0), limit) for x in row] for row in a] for a in b] for b in (5 * X).tolist()])
    layer.assert_gradients(0)


@pytest.mark.parametrize("kind", ["SELU", "SeLU", "SeLu", "Selu"])
def test_selu(kind: str, tmp_path: Path) -> None:
    layer = Layer(tmp_path, kind, X)
    close(layer.top(), 1.0507009873554805 * np.where(X > 0, X, 1.6732632423543772 * np.expm1(X)))


def reorganised(x: np.ndarray, stride: int, reverse: bool) -> np.ndarray:
    """darknet's loop, over the bottom: one index as the bottom has it, one as it would have it with fewer channels."""
    samples, channels, height, width = x.shape
    fewer, size = channels // stride**2, channels * height * width
    found = np.empty((samples, size))
    for k, j, i in np.ndindex(channels, height, width):
        here = i + width * (j + height * k)
        across, down = i * stride + k // fewer % stride, j * stride + k // fewer // stride
        there = across + width * stride * (down + height * stride * (k % fewer))
        target, source = (there, here) if reverse else (here, there)
        found[:, target] = x.reshape(samples, size)[:, source]
    if reverse:
        return found.reshape(samples, fewer, height * stride, width * stride)
    return found.reshape(samples, channels * stride**2, height // stride, width // stride)


@pytest.mark.parametrize("reverse", [False, True])
def test_reorg(reverse: bool, tmp_path: Path) -> None:
    layer = Layer(tmp_path, "Reorg", X, more=f"reorg_param {{ stride: 2 reverse: {str(reverse).lower()} }}")
    close(layer.top(), reorganised(X, 2, reverse))
    layer.assert_gradients(0)


def test_crop_center(tmp_path: Path) -> None:
    sizes = " ".join(f"crop_size: {n}" for n in (0, 1, 2, 1))
    layer = Layer(tmp_path, "CropCenter", X, more=f"crop_center_param {{ {sizes} }}")
    close(layer.top(), [[[[X[n, c, i, j] for j in (1, 2)] for i in (2, 3)] for c in range(1, 7)] for n in (0, 1)])
    layer.assert_gradients(0)


@pytest.mark.parametrize(
    ("kind", "more", "told"),
    [
        ("ShuffleChannel", "shuffle_channel_param { group: 3 }", "group 3 must divide"),
        ("ReLU6", "relu6_param { negative_slope: 0.1 }", "negative_slope 0.1"),
        ("Reorg", "reorg_param { stride: 3 }", "its square must divide the 8 channels"),
        ("CropCenter", "crop_center_param { crop_size: 1 }", "1 crop_size for 4 axes"),
        ("CropCenter", f"crop_center_param {{ {'crop_size: 2 ' * 4} }}", "leaves nothing"),
        ("MarginInnerProduct", "", "type MarginInnerProduct is not supported"),
        ("ConvolutionFloat", "", "fixed point"),
    ],
)
def test_what_is_refused(kind: str, more: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(LayerForgeError) as caught:
        Layer(tmp_path, kind, X, more=more)
    assert told in str(caught.value)


# Lstm -----------------------------------------------------------------------------------------------------------------


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def passes(x: np.ndarray, flags: Any, blobs: Any, samples: int, h: Any, c: Any) -> tuple[np.ndarray, Any, Any]:
    """The fork's loop: gates i, f, o, g; without flags the first step begins anew, and no other does."""
    w, u, b = blobs
    steps, found = len(x) // samples, []
    x = x.reshape(steps, samples, -1)
    for t in range(steps):
        goes_on = float(t > 0) if flags is None else flags[t]
        i, f, o, g = np.split(x[t] @ w.T + b + goes_on * (h @ u.T), 4, axis=1)
        c = goes_on * sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        found.append(h)
    return np.concatenate(found), h, c


@pytest.mark.parametrize("samples", [1, 2])
@pytest.mark.parametrize("flagged", [True, False])
def test_lstm(flagged: bool, samples: int, tmp_path: Path) -> None:
    """With flags a batch goes on where the one before it ended; without, each begins with zeros."""
    x, blobs = RNG.normal(size=(6, 3)), [RNG.normal(size=shape) for shape in ((8, 3), (8, 2), (8,))]
    flags = [np.array([[0.0], [1], [1], [0], [1], [1]])] if flagged else []
    more = f"lstm_param {{ num_output: 2 batch_size: {samples} clipping_threshold: 0.1 }}"
    if flagged and samples > 1:
        with pytest.raises(LayerForgeError, match="flags of several samples"):
            Layer(tmp_path, "Lstm", x, *flags, more=more)
        return
    layer = Layer(tmp_path, "Lstm", x, *flags, more=more, blobs=blobs)
    net, h, c = layer.model.net(), np.zeros((samples, 2)), np.zeros((samples, 2))
    both: tuple[Any, Any] = (flags[0].ravel(), np.ones(6)) if flagged else (None, None)
    for first in both:
        given = {"b0": x, "b1": np.reshape(first, (6, 1))} if flagged else {"b0": x}
        net.forward(phase="eval", **given)
        wanted, h, c = passes(x, first, blobs, samples, h, c)
        close(layer.model.blob(net, "y").data, wanted)
    for found, blob in zip(layer.model.get_blobs("y", net.arrays()), blobs, strict=True):
        assert found.tobytes() == blob.astype("float32").tobytes()
    if not flagged:
        layer.assert_gradients(0)


def test_the_gates_of_an_lstm_are_moved_in_blocks(tmp_path: Path) -> None:
    """Row by row the order of so many units would fill gigabytes."""
    text = "lstm_param { num_output: 200000 }"
    file = tmp_path / "net.prototxt"
    file.write_text(layer_text("Lstm", [np.zeros((1, 1))], text))
    sites = caffe.load_model(file, phase="test").translation.sites
    assert [len(blob.order or ()) for blob in sites[-1].blobs] == [4, 4, 4]


def test_an_lstm_of_no_step_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LayerForgeError, match=r"shape \(0, 3\)"):
        Layer(tmp_path, "Lstm", np.zeros((0, 3)), more="lstm_param { num_output: 2 }")


def test_lstm_in_training_clips_its_gradients(tmp_path: Path) -> None:
    with pytest.raises(LayerForgeError, match=r"clipping_threshold 0\.1 in phase TRAIN"):
        Layer(tmp_path, "Lstm", X, more="lstm_param { num_output: 2 clipping_threshold: 0.1 }", phase="train")


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        ("Convolution", "convolution_param { num_output: 2 kernel_size: 1 bias_term: false bias_filler { value: 1 } }"),
        ("ConvolutionDepthwise", "convolution_param { kernel_size: 1 bias_term: false bias_filler { value: 1 } }"),
        ("InnerProduct", "inner_product_param { num_output: 2 bias_term: false bias_filler { value: 1 } }"),
        ("Embed", "embed_param { num_output: 2 input_dim: 9 bias_term: false bias_filler { value: 1 } }"),
        ("Scale", "scale_param { bias_filler { value: 1 } }"),
    ],
)
def test_fillers_of_a_bias_that_is_not_there_are_listed(kind: str, more: str, tmp_path: Path) -> None:
    bottom = np.zeros(3) if kind == "Embed" else X
    model = Layer(tmp_path, kind, bottom, more=more).model
    assert ("layer y: bias_filler", "there is no bias_term") in {(path, why) for path, _, why in model.report.ignored}


# Fields that forks added to layers of Caffe ---------------------------------------------------------------------------


@pytest.mark.parametrize("phase", ["train", "test"])
def test_dropout_that_scales_in_phase_test(phase: str, tmp_path: Path) -> None:
    """scale_train: false keeps what it does not drop as it is, and makes all smaller when nothing is dropped."""
    more = "dropout_param { dropout_ratio: 0.25 scale_train: false }"
    y = Layer(tmp_path, "Dropout", X, more=more, phase=phase).top()
    if phase == "test":
        close(y, 0.75 * X)
    else:
        assert 0.1 < (y == 0).mean() < 0.4
        close(y[y != 0], X[y != 0])


def test_dropout_in_phase_test_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LayerForgeError, match="sample_weights_test: true"):
        Layer(tmp_path, "Dropout", X, more="dropout_param { sample_weights_test: true }")


@pytest.mark.parametrize(
    ("fields", "divisor"),
    [("", 24), ("normalize: false", 2), ("normalization: FULL ignore_label: 1", 24), ("ignore_label: 1", None)],
)
def test_weights_of_classes(fields: str, divisor: int | None, tmp_path: Path) -> None:
    """SegNet's: each loss times the weight of its label, over the number of positions or samples."""
    weights, labels = [0.5, 2.0, 1.0], RNG.integers(0, 3, (2, 1, 3, 4))
    x = RNG.normal(size=(2, 3, 3, 4))
    words = " ".join(f"class_weighting: {weight}" for weight in weights)
    more = f"loss_param {{ weight_by_label_freqs: true {words} {fields} }}"
    layer = Layer(tmp_path, "SoftmaxWithLoss", x, labels.astype(float), more=more, phase="train")
    total = 0.0
    for n, i, j in np.ndindex(2, 3, 4):
        label = labels[n, 0, i, j]
        if not ("ignore_label" in fields and label == 1):
            total += weights[label] * (np.log(np.exp(x[n, :, i, j]).sum()) - x[n, label, i, j])
    close(layer.top(), total / ((labels != 1).sum() if divisor is None else divisor))
    layer.assert_gradients(0)


def test_weights_of_classes_where_none_counts(tmp_path: Path) -> None:
    more = "loss_param { weight_by_label_freqs: true class_weighting: 1 class_weighting: 2 ignore_label: 0 }"
    layer = Layer(tmp_path, "SoftmaxWithLoss", np.ones((2, 2)), np.zeros(2), more=more, phase="train")
    assert layer.top() == 0


def test_weights_for_other_classes(tmp_path: Path) -> None:
    more = "loss_param { weight_by_label_freqs: true class_weighting: 1 }"
    with pytest.raises(LayerForgeError, match="1 class_weighting for 3 classes"):
        Layer(tmp_path, "SoftmaxWithLoss", np.zeros((2, 3)), np.zeros(2), more=more, phase="train")


def test_fields_that_say_how_and_not_what_are_listed(tmp_path: Path) -> None:
    """Intel's engine of a net, NVIDIA's precisions."""
    file = tmp_path / "net.prototxt"
    file.write_text("""
        engine: "MKL2017" default_forward_type: FLOAT16 global_grad_scale: 1000
        layer { name: 'x' type: 'Input' top: 'x' input_param { shape { dim: 2 } } forward_type: FLOAT }
        layer { name: 'y' type: 'TanH' bottom: 'x' top: 'y' forward_math: FLOAT16 debug: true }
    """)
    listed = {path for path, *_ in caffe.load_model(file).report.ignored}
    assert listed == {
        *("engine", "default_forward_type", "global_grad_scale"),
        *("layer x: forward_type", "layer y: forward_math", "layer y: debug"),
    }


@pytest.mark.parametrize("kind", ["AnnotatedData", "ImageSegData", "DenseImageData", "WindowData", "BboxData"])
def test_data_layers_are_inputs_of_the_shapes_that_are_said(kind: str, tmp_path: Path) -> None:
    """All of the shapes that are missing are asked for at once."""
    file = tmp_path / "net.prototxt"
    file.write_text(f"""
        layer {{ name: 'in' type: '{kind}' top: 'data' top: 'label' transform_param {{ scale: 2 }} }}
        layer {{ name: 'y' type: 'SmoothL1Loss' bottom: 'data' bottom: 'label' top: 'y' }}
    """)
    with pytest.raises(LayerForgeError, match=r"the shape of 'data' and 'label' is not known") as caught:
        caffe.load_model(file, phase="train")
    assert "--input data=1,3,224,224 --input label=1, " in str(caught.value)
    model = caffe.load_model(file, phase="train", inputs={"data": (2, 3), "label": (2, 3)})
    assert model.config["inputs"].keys() == {"data", "label"}
    assert any("no source here reads its data" in note for note in model.report.entries[0].notes)
    assert [(path, why) for path, _, why in model.report.ignored] == [
        ("layer in: transform_param", f"what a layer of type {kind} does is not imported")
    ]


def test_data_that_cannot_be_read_are_inputs_where_their_shapes_are_said(tmp_path: Path) -> None:
    file = tmp_path / "net.prototxt"
    file.write_text("""
        layer { name: 'in' type: 'Data' top: 'data' top: 'label' transform_param { scale: 2 }
                data_param { source: '../elsewhere' batch_size: 4 backend: LMDB } }
        layer { name: 'y' type: 'SoftmaxWithLoss' bottom: 'data' bottom: 'label' top: 'y' }
    """)
    with pytest.raises(LayerForgeError) as caught:
        caffe.load_model(file, phase="train")
    assert "leads elsewhere" in str(caught.value)
    assert "is not supported" not in str(caught.value)
    model = caffe.load_model(file, phase="train", inputs={"data": (4, 3), "label": (4,)})
    assert any("leads elsewhere" in note for note in model.report.entries[0].notes)
    assert not model.report.preprocessing
