"""`layerforge export onnx` and `import onnx`: what they write, what they say, and their exit codes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.tools import demand

from layerforge import Net
from layerforge.cli import main
from layerforge.interop.onnx import check, runtime_child
from layerforge.interop.onnx.files import model_bytes
from layerforge.interop.onnx.graph import Node, OnnxGraph, ValueInfo
from layerforge.schema.errors import ConfigError

CONFIG = """name: small
inputs: {image: {shape: [4, 1, 6, 6]}, label: {shape: [4], dtype: int64}}
net:
  - {name: flat, type: Flatten, bottom: image}
  - {name: hidden, type: Linear, out_features: 8}
  - {name: relu, type: ReLU}
  - {name: fc, type: Linear, out_features: 5}
  - {name: loss, type: SoftmaxCrossEntropy, bottom: [fc, label]}
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    demand("onnxruntime")
    monkeypatch.chdir(tmp_path)
    Path("net.yaml").write_text(CONFIG)
    return tmp_path


def run(*arguments: str) -> int:
    return main(list(arguments))


def test_a_config_there_and_back(capsys: pytest.CaptureFixture[str]) -> None:
    net = Net.from_yaml("net.yaml")
    net.save("w.h5")
    assert run("export", "onnx", "net.yaml", "--weights", "w.h5", "-o", "m.onnx", "--check", "--json") == 0
    out = capsys.readouterr()
    assert out.err == ""
    told = json.loads(out.out)
    assert [(one["name"], one["dtype"], one["shape"]) for one in told["inputs"]] == [
        ("image", "float32", ["N", 1, 6, 6])
    ]
    assert [one["name"] for one in told["outputs"]] == ["fc"]
    assert [one["tag"] for one in told["check"]["layers"]] == ["2 samples", "5 samples"]
    assert told["check"]["equal"]
    assert run("import", "onnx", "m.onnx", "-o", "back", "--check") == 0
    assert "all 2 are equal, compared with ONNX Runtime" in capsys.readouterr().out
    assert json.loads(Path("back/fidelity.json").read_text())["check"]["equal"]
    page = Path("back/fidelity.md").read_text()
    assert "| `2 samples/fc` |" in page and "| `5 samples/fc` |" in page
    rng = np.random.default_rng(1)
    given: dict[str, Any] = {"image": rng.normal(size=(4, 1, 6, 6))}
    again = Net.from_yaml("back/net.yaml")
    again.load("back/weights.h5")
    ours = net.forward(phase="eval", outputs=["fc"], **given)["fc"]
    assert np.allclose(again.forward(phase="eval", outputs=["fc"], **given)["fc"], ours, rtol=1e-5, atol=1e-6)


def test_start_values_and_blobs(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("export", "onnx", "net.yaml", "-o", "m.onnx", "--blob", "relu", "--blob", "flat", "--check") == 0
    out = capsys.readouterr()
    assert "net.yaml is a config: its parameters have their start values" in out.err
    assert "takes image float32 (N, 1, 6, 6)" in out.out
    assert "gives relu float32 (N, 8), flat float32 (N, 36)" in out.out
    assert "all 4 are equal" in out.out
    capsys.readouterr()
    assert (
        run("export", "onnx", "net.yaml", "-o", "folded.onnx", "--blob", "relu", "--fold-batch-norm", "--check", "-q")
        == 0
    )
    out = capsys.readouterr()
    assert out.err == ""
    assert "all 2 are equal" in out.out


def test_indices_are_drawn_from_what_is_accepted_and_norms_fold(capsys: pytest.CaptureFixture[str]) -> None:
    Path("more.yaml").write_text("""name: more
inputs: {image: {shape: [4, 1, 6, 6]}, word: {shape: [4, 3], dtype: int64}}
net:
  - {name: conv, type: Conv2d, bottom: image, out_channels: 3, kernel_size: 3}
  - {name: bn, type: BatchNorm}
  - {name: flat, type: Flatten}
  - {name: embed, type: Embedding, bottom: word, num_embeddings: 7, embedding_dim: 2}
  - {name: words, type: Flatten}
  - {name: both, type: Concat, bottom: [flat, words]}
""")
    counts = []
    for more in ([], ["--fold-batch-norm"]):
        assert run("export", "onnx", "more.yaml", "-o", "m.onnx", "--check", "-q", "--json", *more) == 0
        told = json.loads(capsys.readouterr().out)
        assert [one["dtype"] for one in told["inputs"]] == ["float32", "int64"]
        assert told["check"]["equal"]
        counts.append(told["nodes"])
    assert counts[1] < counts[0]


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("export", "onnx", "net.yaml", "-o", "m.txt"), 2, "does not end in .onnx"),
        (("export", "onnx", "net.yaml", "-o", "m.onnx", "--blob", "none"), 2, "none"),
        (("export", "onnx", "net.yaml", "-o", ""), 2, "must be a name"),
        (("export", "safetensors", "net.yaml", "-o", ""), 2, "must be a name"),
        (("export", "caffe", "net.yaml", "-o", ""), 2, "must be a name"),
        (("export", "python", "net.yaml", "-o", " "), 2, "must be a name"),
        (("import", "onnx", "net.yaml", "-o", ""), 2, "must be a name"),
        (("import", "caffe", "net.yaml", "-o", ""), 2, "must be a name"),
        (("export", "onnx", "net.yaml", "-o", ".onnx"), 2, ".onnx is a suffix without a name"),
        (("export", "caffe", "net.yaml", "-o", "m.prototxt"), 2, "-o m.caffemodel"),
        (("export", "caffe", "net.yaml", "-o", "m.onnx"), 2, "-o m.caffemodel"),
        (("export", "onnx", "nothing", "-o", "m.onnx"), 3, "nothing"),
        (("export", "onnx", "net.yaml", "-o", "m.onnx", "--with-transform"), 2, "which a config does not hold"),
        (("import", "onnx", "none.onnx", "-o", "in"), 3, "there is no such file"),
        (("import", "onnx", "net.yaml", "-o", "in"), 3, "is no ONNX file"),
        (("import", "onnx", "net.yaml", "-o", "."), 2, "is not empty"),
        (("import", "onnx", "net.yaml", "-o", "in", "--input", "x"), 2, "must be NAME=1,3,224,224"),
    ],
)
def test_what_cannot_be(words: tuple[str, ...], code: int, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*words) == code
    assert told in capsys.readouterr().err
    assert not Path("m.onnx").exists()
    assert not Path("in").exists()


def test_a_file_that_says_another_thing_differs(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from layerforge.interop.onnx import saving

    real = saving.model_bytes

    def changed(graph: OnnxGraph) -> bytes:
        graph.initializers["fc.bias"] = graph.initializers["fc.bias"] + np.float32(1e-3)
        return real(graph)

    monkeypatch.setattr(saving, "model_bytes", changed)
    assert run("export", "onnx", "net.yaml", "-o", "m.onnx", "--check", "-q") == 1
    out = capsys.readouterr().out
    assert "2 of 2 differ, compared with ONNX Runtime" in out
    assert "m.onnx is not written" in out
    assert not Path("m.onnx").exists()
    Path("m.onnx").write_text("of before")
    assert run("export", "onnx", "net.yaml", "-o", "m.onnx", "--check", "-q", "--json") == 1
    assert not json.loads(capsys.readouterr().out)["written"]
    assert Path("m.onnx").read_text() == "of before"


def test_a_check_that_cannot_be_had_leaves_no_file(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("child.py").write_text(f"import sys; print('no such op', file=sys.stderr); sys.exit({runtime_child.RUNTIME})")
    monkeypatch.setattr(check, "PROGRAM", Path("child.py"))
    assert run("export", "onnx", "net.yaml", "-o", "new/m.onnx", "--check", "-q") == 1
    told = capsys.readouterr().err
    assert "does not take new/m.onnx: no such op" in told
    assert "new/m.onnx is not written" in told
    assert not Path("new").exists()


def test_folders_that_are_not_there_are_made() -> None:
    assert run("export", "onnx", "net.yaml", "-o", "a/b/m.onnx", "-q") == 0
    assert Path("a/b/m.onnx").exists()


@pytest.mark.parametrize(
    ("last", "loss", "kind", "made"),
    [
        ("{name: fc, type: Linear, out_features: 5}", "SoftmaxCrossEntropy", "logits", "probabilities"),
        ("{name: fc, type: LogSoftmax}", "NLLLoss", "log_probabilities", "probabilities"),
        ("{name: fc, type: Softmax}", "", "probabilities", "probabilities"),
        ("{name: fc, type: Linear, out_features: 1}", "BCEWithLogitsLoss", "binary_logits", "binary_probabilities"),
        ("{name: fc, type: Sigmoid}", "BCELoss", "binary_probabilities", "binary_probabilities"),
        ("{name: fc, type: Linear, out_features: 2}", "MSELoss", "values", ""),
    ],
)
def test_scores_are_told_and_become_probabilities(
    last: str, loss: str, kind: str, made: str, capsys: pytest.CaptureFixture[str]
) -> None:
    import onnx
    import onnxruntime

    label = "label: {shape: [4], dtype: int64}"
    if kind.startswith("binary") or kind == "values":
        width = {"binary_logits": 1, "values": 2}.get(kind, 5)
        label = f"label: {{shape: [4, {width}]}}"
    head = "name: s\ninputs: {x: {shape: [4, 3]}, %s}\nnet:\n"
    config = head + "  - {name: h, type: Linear, bottom: x, out_features: 5}\n"
    end = f"  - {{name: loss, type: {loss}, bottom: [fc, label]}}\n" if loss else ""
    Path("net.yaml").write_text((config % label if loss else config.replace(", %s", "")) + f"  - {last}\n" + end)

    def told() -> dict[str, str]:
        return json.loads({one.key: one.value for one in onnx.load("m.onnx").metadata_props}["scores"])

    assert run("export", "onnx", "net.yaml", "-o", "m.onnx", "--check", "-q") == 0
    assert told() == {"output": "fc", "blob": "fc", "kind": kind}
    plain = onnxruntime.InferenceSession("m.onnx")
    words = ("export", "onnx", "net.yaml", "-o", "m.onnx", "--probabilities", "--check", "-q")
    if not made:
        capsys.readouterr()
        assert run(*words) == 2
        assert "'fc' gives values, no probabilities" in capsys.readouterr().err
        return
    assert run(*words) == 0
    assert told() == {"output": "fc", "blob": "fc", "kind": made}
    x = np.random.default_rng(2).normal(size=(3, 3)).astype(np.float32)
    scores, found = (one.run(None, {"x": x})[0] for one in (plain, onnxruntime.InferenceSession("m.onnx")))
    expected = {
        "logits": lambda s: np.exp(s) / np.exp(s).sum(axis=1, keepdims=True),
        "log_probabilities": np.exp,
        "binary_logits": lambda s: 1 / (1 + np.exp(-s)),
    }.get(kind, lambda s: s)(scores)
    assert np.allclose(found, expected, rtol=1e-5, atol=1e-7)
    assert run("export", "onnx", "net.yaml", "-o", "m.onnx", "--probabilities", "--blob", "h", "-q") == 2


def test_onnx_runtime_that_refuses_or_crashes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    infos = [ValueInfo("x", "float32", ("N", 2))], [ValueInfo("y", "float32", ("N", 2))]
    Path("m.onnx").write_bytes(model_bytes(OnnxGraph("g", [Node("NoSuch", ["x"], ["y"])], *infos)))
    case = check.Case("", {"x": np.zeros((2, 2), np.float32)}, {"y": np.zeros((2, 2))})
    with pytest.raises(check.Refused, match=r"onnx\.checker does not take m\.onnx.*NoSuch") as error:
        check.against_runtime("m.onnx", [case])
    assert error.value.exit_code == 1
    Path("m.onnx").write_bytes(model_bytes(OnnxGraph("g", [Node("Relu", ["x"], ["y"])], *infos)))
    wrong = check.Case("", {"x": np.zeros((2, 3), np.float32)}, {"y": np.zeros((2, 3))})
    with pytest.raises(check.Refused, match=r"ONNX Runtime .* does not take m\.onnx"):
        check.against_runtime("m.onnx", [wrong])
    for text, words in (("import os; os.abort()", "crashed"), ("while True: pass", "did not come to an end")):
        (tmp_path / "child.py").write_text(text)
        monkeypatch.setattr(check, "PROGRAM", tmp_path / "child.py")
        monkeypatch.setattr(check, "SECONDS", 0.5)
        with pytest.raises(check.Refused, match=words):
            check.against_runtime("m.onnx", [case])


def test_a_number_of_samples_that_the_net_alone_refuses_is_a_difference(capsys: pytest.CaptureFixture[str]) -> None:
    x, y = ValueInfo("x", "float32", ("N", 3)), ValueInfo("y", "float32", ("N", 3))
    Path("m.onnx").write_bytes(model_bytes(OnnxGraph("g", [Node("Relu", ["x"], ["y"])], [x], [y])))
    fixed = Net.from_config(
        {"inputs": {"x": {"shape": [2, 3]}}, "net": [{"name": "y", "type": "Reshape", "shape": [2, 3]}]}
    )
    cases = check.cases_of(fixed, [x], {"x": "x"}, {"y": "y"})
    assert [bool(case.failed) for case in cases] == [False, True]
    found = check.against_runtime("m.onnx", cases)
    assert not found.equal
    (row,) = [row for row in found.rows if row.tag == "5 samples"]
    assert row.wrong and "the net fails, ONNX Runtime does not" in row.verdict
    # where ONNX Runtime refuses it, too, there is nothing to compare
    nodes = [
        Node("Constant", [], ["shape"], {"value": np.array([2, 3])}), Node("Reshape", ["x", "shape"], ["y"])
    ]  # fmt: skip
    Path("m.onnx").write_bytes(model_bytes(OnnxGraph("g", nodes, [x], [y])))
    found = check.against_runtime("m.onnx", cases)
    (row,) = [row for row in found.rows if row.tag == "5 samples"]
    assert not row.wrong and "neither takes it" in row.verdict


def test_an_import_whose_check_cannot_be_had(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("export", "onnx", "net.yaml", "-o", "m.onnx", "-q") == 0
    Path("child.py").write_text(
        f"import sys; print('no such operator', file=sys.stderr); sys.exit({runtime_child.RUNTIME})"
    )
    monkeypatch.setattr(check, "PROGRAM", Path("child.py"))
    assert run("import", "onnx", "m.onnx", "-o", "in", "--check") == 2
    told = capsys.readouterr().err
    assert "does not take m.onnx: no such operator" in told
    assert "leave out --check" in told
    assert not Path("in").exists()


def test_without_the_packages_the_line_that_installs_them_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name == "onnxruntime" else find(name, *more)
    )
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(ConfigError, match=r"--check needs the package 'onnxruntime'[\s\S]*layerforge\[onnx\]"):
        check.demand_runtime()
