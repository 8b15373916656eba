"""Whole nets compute what Caffe computed: every blob and its gradient, those of its copies too, and the weights'."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.caffe_cases import PHASES, arrays, close, folder, index, named

from layerforge.interop import caffe
from layerforge.schema.errors import ConfigError, exit_code

NETS = [net for net in index()["nets"] if net["id"] != "share_permissive"]
REFUSED = [net for net in index()["nets"] if net["id"] == "share_permissive"]
WEIGHTS = [".caffemodel", ".caffemodel.h5"]


def written(net: dict[str, Any], path: Path) -> Path:
    file = path / "net.prototxt"
    file.write_text(net["net"])
    return file


@pytest.mark.parametrize("engine", ["reference", "auto"])
@pytest.mark.parametrize("suffix", WEIGHTS)
@pytest.mark.parametrize("net", NETS, ids=named(NETS))
def test_blobs_and_gradients_as_in_caffe(net: dict[str, Any], suffix: str, engine: str, tmp_path: Path) -> None:
    data, which = arrays("nets.npz"), net["id"]
    weights = folder() / "files" / "nets" / f"{which}{suffix}"
    model = caffe.load_model(written(net, tmp_path), weights, phase=net["phase"].lower())
    made = model.net(keep="all", engine=engine)
    for _ in range(net["n_forward"]):
        given = {name: data[f"{which}/input/{name}"] for name in net["inputs"]}
        made.forward(phase=PHASES[net["phase"]], backward=True, **given)
    assert abs(made.total_loss() - net["loss"][-1]) <= 2e-5 * (1 + abs(net["loss"][-1]))
    made.zero_grad()
    made.backward()
    wrong = []
    for key, expected in data.items():
        own, what, *rest = key.split("/")
        if own != which or what not in ("blob", "param_diff", "init"):
            continue
        if what == "blob":
            blob = model.blob(made, "/".join(rest[:-1]))
            found = blob.data if rest[-1] == "data" else blob.grad
        else:
            param = model.param(made, "/".join(rest[:-1]), int(rest[-1]))
            found = param.grad if what == "param_diff" else param.data
        if told := close(found, expected):
            wrong.append(f"{key}: {told}")
    assert wrong == []


@pytest.mark.parametrize("net", REFUSED, ids=named(REFUSED))
def test_memory_shared_between_shapes_is_refused(net: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="PERMISSIVE") as caught:
        caffe.load_model(written(net, tmp_path), phase="train")
    assert exit_code(caught.value) == 2


@pytest.mark.parametrize("net", NETS, ids=named(NETS))
def test_blobs_have_the_shapes_and_names_that_caffe_tells(net: dict[str, Any], tmp_path: Path) -> None:
    model = caffe.load_model(written(net, tmp_path), phase=net["phase"].lower())
    made = model.net(keep="all")
    data = arrays("nets.npz")
    made.forward(phase="train", **{n: data[f"{net['id']}/input/{n}"] for n in net["inputs"]})
    for name, shape in net["blobs"].items():
        assert list(model.blob(made, name).data.shape) == shape, name
    for layer, shapes in net["params"].items():
        assert [list(model.param(made, layer, i).data.shape) for i in range(len(shapes))] == shapes
