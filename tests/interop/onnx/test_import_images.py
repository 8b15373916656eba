"""How images become the input of a net of ONNX: what is stated at import, and what is refused where nothing is."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from support.tools import demand

import layerforge
from layerforge import Net
from layerforge.cli import main
from layerforge.schema.errors import ConfigError

CONFIG = """name: small
inputs: {image: {shape: [4, CHANNELS, 6, 8]}}
net:
  - {name: flat, type: Flatten, bottom: image}
  - {name: fc, type: Linear, out_features: 5}
"""
PIXELS = np.random.default_rng(0).integers(0, 256, (3, 6, 8), dtype=np.uint8)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    demand("onnx")
    monkeypatch.chdir(tmp_path)
    write("m.onnx", 3)


def write(path: str, channels: int) -> None:
    Path("net.yaml").write_text(CONFIG.replace("CHANNELS", str(channels)))
    assert run("export", "onnx", "net.yaml", "-o", path) == 0


def run(*arguments: str) -> int:
    return main(list(arguments))


def picture() -> str:
    demand("PIL")
    from PIL import Image

    Image.fromarray(PIXELS.transpose(1, 2, 0)).save("x.png")
    return "x.png"


def scores(x: np.ndarray) -> np.ndarray:
    """What the net makes of samples as it sees them."""
    net = Net.from_yaml("out/net.yaml")
    net.load("out/weights.h5")
    return np.asarray(net.forward(phase="eval", outputs=["fc"], image=x)["fc"])


def test_integers_are_refused_where_no_scaling_is_known(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("import", "onnx", "m.onnx", "-o", "out") == 0
    assert "prepared arrays" in Path("out/fidelity.md").read_text()
    for dtype in (np.uint8, np.int64):
        np.save("x.npy", np.stack([PIXELS, PIXELS]).astype(dtype))
        assert run("predict", "out", "x.npy") == 2
        error = capsys.readouterr().err
        assert f"x.npy: input 'image' is given as {np.dtype(dtype)}" in error
        assert "float32" in error
        assert "--scale" in error
    model = layerforge.load_model("out")
    for value in (PIXELS, PIXELS[None], {"image": PIXELS[None]}, [PIXELS, PIXELS]):
        with pytest.raises(ConfigError, match="given as uint8"):
            model.scores(value)
    x = PIXELS[None] / np.float32(255)
    np.testing.assert_allclose(model.scores(x), scores(x), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(model.scores(PIXELS.astype(np.float32)), scores(PIXELS[None] * 1.0)[0], rtol=1e-5)


def test_numbers_as_they_are_written_have_no_dtype() -> None:
    Path("net.yaml").write_text("inputs: {x: {shape: [4, 3]}}\nnet: [{name: fc, type: Linear, out_features: 5}]\n")
    assert run("export", "onnx", "net.yaml", "-o", "table.onnx") == 0
    assert run("import", "onnx", "table.onnx", "-o", "out") == 0
    Path("x.csv").write_text("a,b,c\n1,2,3\n4,5,6\n")
    model = layerforge.load_model("out")
    rows = [[1, 2, 3], [4, 5, 6]]
    np.testing.assert_allclose(model.scores(rows), model.scores(np.array(rows, np.float32)), rtol=1e-6)
    np.testing.assert_allclose(model.scores("x.csv"), model.scores(rows), rtol=1e-6)


@pytest.mark.parametrize("color", ["", "bgr"])
def test_what_is_stated_holds_for_images(color: str) -> None:
    means = ["100", "110.5", "120"]
    options = ["--mean-value", ",".join(means), "--scale", "0.02", *(["--color", color] if color else [])]
    assert run("import", "onnx", "m.onnx", "-o", "out", *options) == 0
    ordered = PIXELS[::-1] if color else PIXELS
    x = (ordered - np.array(means, float)[:, None, None]) * 0.02
    found = layerforge.load_model("out").scores(picture())
    np.testing.assert_allclose(found, scores(x[None])[0], rtol=1e-5, atol=1e-5)
    told = json.loads(Path("out/fidelity.json").read_text())["preprocessing"]
    assert (told["channels"], told["scale"]) == (color or "rgb", "0.02")


def test_a_mean_image_is_subtracted() -> None:
    mean = np.random.default_rng(1).uniform(0, 255, PIXELS.shape).astype(np.float32)
    np.save("mean.npy", mean)
    assert run("import", "onnx", "m.onnx", "-o", "out", "--mean-file", "mean.npy") == 0
    found = layerforge.load_model("out").scores(picture())
    np.testing.assert_allclose(found, scores((PIXELS - mean)[None])[0], rtol=1e-4, atol=1e-4)


def test_what_does_not_fit_the_net_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    write("grey.onnx", 1)
    np.save("mean.npy", np.zeros((3, 6, 8), np.float32))
    capsys.readouterr()
    assert run("import", "onnx", "grey.onnx", "-o", "out", "--mean-file", "mean.npy") == 2
    assert "the mean image in mean.npy has 3 channel(s), the input 'image' has 1" in capsys.readouterr().err
    assert run("import", "onnx", "grey.onnx", "-o", "out", "--color", "rgb") == 2
    assert "the input 'image' has 1 channel(s)" in capsys.readouterr().err
    assert not Path("out").exists()
