"""BN, Upsample and Interp of Caffe's forks, imported: by a formula of each, and the blobs that come back."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.caffe_forks import Layer, opencv

from layerforge.interop import caffe
from layerforge.schema.errors import LayerForgeError

RNG = np.random.default_rng(0)
X = RNG.normal(size=(3, 4, 5, 6))
CHANNELS = (1, 4, 1, 1)


def close(found: Any, wanted: Any) -> None:
    assert np.shape(found) == np.shape(wanted)
    assert abs(np.asarray(found, dtype=np.float64) - wanted).max() <= 1e-5 * max(abs(np.asarray(wanted)).max(), 1)


def normalised(x: np.ndarray, affine: Sequence[Any], statistics: Sequence[Any], eps: float) -> np.ndarray:
    scale, shift, mean, variance = (np.reshape(one, CHANNELS) for one in (*affine, *statistics))
    return scale * (x - mean) / np.sqrt(variance + eps) + shift


# BN -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", ["train", "test"])
@pytest.mark.parametrize("mode", ["LEARN", "INFERENCE"])
def test_bn_of_segnet(mode: str, phase: str, tmp_path: Path) -> None:
    """In mode LEARN by the statistics of the batch in both phases; in mode INFERENCE a factor and a summand."""
    blobs = RNG.uniform(0.5, 1.5, CHANNELS), RNG.normal(size=CHANNELS)
    layer = Layer(tmp_path, "BN", X, more=f"bn_param {{ bn_mode: {mode} }}", blobs=blobs, phase=phase)
    if mode == "LEARN":
        wanted = normalised(X, blobs, (X.mean(axis=(0, 2, 3)), X.var(axis=(0, 2, 3))), 1e-9)
    else:
        wanted = blobs[0] * X + blobs[1]
    close(layer.top(), wanted)
    layer.assert_gradients(0)


@pytest.mark.parametrize("frozen", [True, False])
@pytest.mark.parametrize("phase", ["train", "test"])
def test_bn_of_pspnet(phase: str, frozen: bool, tmp_path: Path) -> None:
    blobs = [RNG.uniform(0.5, 1.5, (1, 4)) if i % 2 == 0 or i == 3 else RNG.normal(size=(1, 4)) for i in range(4)]
    more = f"bn_param {{ slope_filler {{ value: 1 }} momentum: 0.95 eps: 0.001 frozen: {str(frozen).lower()} }}"
    layer = Layer(tmp_path, "BN", X, more=more, blobs=blobs, phase=phase)
    batch = X.mean(axis=(0, 2, 3)), X.var(axis=(0, 2, 3))
    stored = phase == "test" or frozen
    close(layer.top(), normalised(X, blobs[:2], blobs[2:] if stored else batch, 1e-3))
    layer.assert_gradients(0)
    net = layer.precise()
    after = [layer.model.param(net, "y", i).data for i in range(4)]
    mean = blobs[2] if stored else 0.95 * blobs[2] + 0.05 * batch[0]
    variance = blobs[3] if stored else 0.95 * blobs[3] + 0.05 * batch[1] * 90 / 89
    for found, expected in zip(after, [*blobs[:2], mean, variance], strict=True):
        close(found, expected)
    assert layer.model.config["net"][0].get("freeze", False) == frozen


def test_bn_of_pspnet_from_blobs_with_four_axes(tmp_path: Path) -> None:
    """Some forks store them so."""
    blobs = [RNG.uniform(0.5, 1.5, CHANNELS) for _ in range(4)]
    layer = Layer(tmp_path, "BN", X, more="bn_param { frozen: true }", blobs=blobs)
    close(layer.top(), normalised(X, blobs[:2], blobs[2:], 1e-5))


def test_multipliers_of_statistics_are_those_of_pspnet(tmp_path: Path) -> None:
    specs = " ".join(f"param {{ lr_mult: {1 if i < 2 else 0} decay_mult: 0 }}" for i in range(4))
    layer = Layer(tmp_path, "BN", X, more=f"{specs} bn_param {{ }}")
    assert layer.model.config["net"][0]["type"] == "BatchNorm"
    assert [place.name for place in layer.model.blobs_of("y")] == ["weight", "bias", "running_mean", "running_var"]


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ("", "cannot be told apart"),
        ("bn_param { bn_mode: LEARN frozen: true }", "bn_mode is a field of SegNet's layer, frozen one of PSPNet's"),
        ("bn_param { momentum: 2 }", "momentum 2"),
    ],
)
def test_bn_that_cannot_be(more: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(LayerForgeError, match=told):
        Layer(tmp_path, "BN", X, more=more)


@pytest.mark.parametrize("more", ["bn_param { bn_mode: INFERENCE }", "bn_param { frozen: false }"])
def test_blobs_of_bn_are_written_as_they_were_read(more: str, tmp_path: Path) -> None:
    blobs = [RNG.uniform(0.5, 1.5, CHANNELS) if "bn_mode" in more else RNG.uniform(0.5, 1.5, (1, 4)) for _ in range(4)]
    layer = Layer(tmp_path, "BN", X, more=more, blobs=blobs[: 2 if "bn_mode" in more else 4])
    written = tmp_path / "again.prototxt", tmp_path / "again.caffemodel"
    caffe.save_model(layer.model.net(), *written)
    again = caffe.load_model(*written)
    assert again.config == {**layer.model.config, "name": again.name}
    found = again.get_blobs("y")
    assert [a.tobytes() for a in found] == [b.astype("float32").tobytes() for b in blobs[: len(found)]]
    assert [a.shape for a in found] == [b.shape for b in blobs[: len(found)]]


# Upsample -------------------------------------------------------------------------------------------------------------


def unpooled(x: np.ndarray, mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    y = np.zeros((*x.shape[:2], size[0] * size[1]))
    for n, c, i, j in np.ndindex(*x.shape):
        y[n, c, int(mask[n, c, i, j])] = x[n, c, i, j]
    return y.reshape(*x.shape[:2], *size)


@pytest.mark.parametrize(
    ("fields", "size"),
    [
        ("scale: 2", (10, 12)),
        ("", (10, 12)),
        ("scale_h: 3 scale_w: 1", (15, 6)),
        ("scale: 2 pad_out_h: true", (9, 12)),
        ("scale: 2 upsample_h: 9 upsample_w: 11", (9, 11)),
        ("upsample_h: 14 upsample_w: 7", (14, 7)),
    ],
)
def test_upsample_of_segnet(fields: str, size: tuple[int, int], tmp_path: Path) -> None:
    mask = RNG.random((12, size[0] * size[1])).argsort(axis=1)[:, :30].reshape(X.shape).astype(float)
    layer = Layer(tmp_path, "Upsample", X, mask, more=f"upsample_param {{ {fields} }}")
    close(layer.top(), unpooled(X, mask, size))
    layer.assert_gradients(0)


def test_upsample_takes_the_mask_of_a_pooling(tmp_path: Path) -> None:
    """What is pooled and put back is the maxima at their places."""
    file = tmp_path / "net.prototxt"
    file.write_text("""
        layer { name: 'x' type: 'Input' top: 'x' input_param { shape { dim: 2 dim: 3 dim: 5 dim: 6 } } }
        layer { name: 'p' type: 'Pooling' bottom: 'x' top: 'p' top: 'm' pooling_param { kernel_size: 2 stride: 2 } }
        layer { name: 'y' type: 'Upsample' bottom: 'p' bottom: 'm' top: 'y' upsample_param { pad_out_h: true } }
    """)
    model, x = caffe.load_model(file), RNG.normal(size=(2, 3, 5, 6))
    net = model.net()
    net.forward(phase="eval", x=x)
    y = np.asarray(model.blob(net, "y").data)
    assert y.shape == x.shape
    assert np.count_nonzero(y) == 2 * 3 * 9
    close(y[y != 0], x[y != 0])


@pytest.mark.parametrize("field", ["scale", "stride"])
def test_upsample_of_one_bottom_repeats(field: str, tmp_path: Path) -> None:
    layer = Layer(tmp_path, "Upsample", X, more=f"upsample_param {{ {field}: 3 }}")
    close(layer.top(), X.repeat(3, axis=2).repeat(3, axis=3))
    layer.assert_gradients(0)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ("scale: 2 scale_h: 2 scale_w: 2", "scale, or scale_h and scale_w together"),
        ("scale: 3 pad_out_w: true", "pad_out_w is for a scale of 2"),
        ("upsample_h: 9", "belong together"),
        ("upsample_h: 4 upsample_w: 12", "a top of"),
        ("scale: 2 stride: 2", "stride is not supported"),
    ],
)
def test_upsample_that_cannot_be(fields: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(LayerForgeError, match=told):
        Layer(tmp_path, "Upsample", X, np.zeros(X.shape), more=f"upsample_param {{ {fields} }}")


# Interp ---------------------------------------------------------------------------------------------------------------


def interpolated(x: np.ndarray, height: int, width: int) -> np.ndarray:
    """Along one axis after the other, by NumPy's interpolation between points whose outermost coincide."""
    for axis, count in ((2, height), (3, width)):
        length = x.shape[axis]
        at = np.arange(count) * ((length - 1) / (count - 1) if count > 1 else 0)
        lines = np.moveaxis(x, axis, -1)
        made = [np.interp(at, np.arange(length), line) for line in lines.reshape(-1, length)]
        x = np.moveaxis(np.reshape(made, (*lines.shape[:-1], count)), -1, axis)
    return x


@pytest.mark.parametrize(
    ("fields", "cut", "size"),
    [
        ("height: 9 width: 4", 0, (9, 4)),
        ("height: 1 width: 6", 0, (1, 6)),
        ("zoom_factor: 3", 0, (13, 16)),
        ("shrink_factor: 2 height: 7 width: 7", 0, (3, 3)),
        ("shrink_factor: 2 zoom_factor: 2 height: 7 width: 8", 0, (7, 8)),
        ("shrink_factor: 2 zoom_factor: 2 height: 7", 0, (5, 5)),
        ("shrink_factor: 2 zoom_factor: 4 pad_beg: -1 pad_end: -1", 1, (5, 5)),
    ],
)
def test_interp(fields: str, cut: int, size: tuple[int, int], tmp_path: Path) -> None:
    layer = Layer(tmp_path, "Interp", X, more=f"interp_param {{ {fields} }}")
    part = X[:, :, cut : 5 - cut, cut : 6 - cut]
    close(layer.top(), interpolated(part, *size))
    layer.assert_gradients(0)


def test_interp_is_opencvs(tmp_path: Path) -> None:
    layer = Layer(tmp_path, "Interp", X, more="interp_param { height: 9 width: 13 }")
    close(layer.top(), opencv(layer.model, layer.model.net(), tmp_path, b0=X))


def test_interp_to_the_size_of_a_blob(tmp_path: Path) -> None:
    layer = Layer(tmp_path, "Interp", X, np.zeros((3, 2, 8, 9)), more="interp_param { use_blob_size: true height: 3 }")
    close(layer.top(), interpolated(X, 8, 9))
    layer.assert_gradients(0)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ("", "no size"),
        ("height: 3", "no size"),
        ("zoom_factor: 2 pad_beg: 1", "only cut off"),
        ("zoom_factor: 2 pad_beg: -3 pad_end: -2", "leave nothing"),
        ("use_blob_size: true", "second bottom"),
    ],
)
def test_interp_that_cannot_be(fields: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(LayerForgeError, match=told):
        Layer(tmp_path, "Interp", X, more=f"interp_param {{ {fields} }}")
