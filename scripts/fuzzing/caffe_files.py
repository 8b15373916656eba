"""Small files of Caffe's formats, and the program's ways to read them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from layerforge.data import hdf5_child
from layerforge.interop.caffe import binary, blobs, hdf5, loading, rules, text
from layerforge.interop.caffe.message import Message

LIMITS: dict[str, Any] = {"memory": 200 << 20, "seconds": 2.0}
NETS = (
    """name: "small"  # a comment
input: "data" input_dim: 1 input_dim: 3 input_dim: 8 input_dim: 8
layer {
  name: "conv/1" type: 'Convolution' bottom: "data" top: "c" param { lr_mult: 1 } param { lr_mult: 2, decay_mult: 0 }
  convolution_param { num_output: 4 kernel_size: [3, 3]; pad: 1 weight_filler < type: "gaussian" std: 1e-2 > }
  include { phase: TRAIN not_stage: "x" min_level: -1 } unknown_param { a: "b\\n\\x41" [x.y]: 0x1F c: -inf }
}
layer { name: "bn" type: "BatchNorm" bottom: "c" top: "c" batch_norm_param { use_global_stats: true eps: 1.5e-5f } }
""",
    """layers { name: "c" type: CONVOLUTION bottom: "data" top: "c" blobs_lr: 1 blobs_lr: 2 weight_decay: 1
  weight_decay: 0 param: "w" convolution_param { num_output: 2 kernel_size: 3 } exclude: { phase: TEST } }
layers { name: "d" type: DATA top: "data" data_param { source: "x" batch_size: 010 scale: .5 mean_file: "m" "n" } }
""",
    """layers { layer { name: "p" type: "padding" pad: 1 } bottom: "data" top: "p" }
layers { layer { name: "c" type: "conv" num_output: 2 kernelsize: 3 biasterm: false } bottom: "p" top: "c" }
""",
)
TEXT_WORDS = (
    b"{", b"}", b"<", b">", b"[", b"]", b":", b",", b";", b"#", b'"', b"'", b"\\", b"-", b"nan", b"1e999", b"9" * 30,
    b"0x", b"08", b"layer {", b"layers {", b"input_dim: 1", b"input_shape { dim: -1 }", b"type: ", b"include { }",
    b"\xff", b"\xef\xbb\xbf", b"\xc3\xbc", b"\\777", b"\\u12", b"\0", b"blobs { data: 1 }", b"x { y { z: 1 } }",
)  # fmt: skip
BINARY_WORDS = (
    b"\x08", b"\x0a", b"\x0a\x00", b"\x12", b"\x2a", b"\x2d", b"\x2d\x00\x00\x80\x3f", b"\x3a", b"\x3a\x02\x0a\x00",
    b"\x0b", b"\x0c", b"\x80" * 10 + b"\x01", b"\xff" * 9 + b"\x01", b"\xa2\x06", b"\xff\xff\xff\xff\x0f", b"\x42\x08",
    b"\x62\x04\x00\x3c\x00\xbc", b"\x50\x02", b"\x0a\x0a" * 60, b"\x13" * 120,
)  # fmt: skip


def prototxts() -> list[bytes]:
    return [net.encode() for net in NETS]


def read_prototxt(path: Path) -> object:
    """A definition, brought up to date, for a phase, and as text again."""
    net = rules.selected(loading.load_net(path), "TRAIN")
    return text.parse(text.render(net), "NetParameter")


def blob(*shape: int, double: bool = False) -> Message:
    """A BlobProto with random numbers."""
    numbers = np.random.default_rng(len(shape)).standard_normal(shape)
    return blobs.blob(numbers if double else numbers.astype(np.float32))


def model() -> Message:
    """A net with weights."""
    net = Message("NetParameter", name="small")
    for name, shapes in (("conv/1", [(2, 3, 3, 3), (2,)]), ("ip", [(3, 8)]), ("relu", [])):
        layer = net.add("layer")
        layer.set("name", name)
        layer.set("type", "Convolution")
        layer.set("blobs", [blob(*shape) for shape in shapes])
    return net


def models() -> list[bytes]:
    """Weights as Caffe writes them; and old ones, with numbers that are not packed, and of 16 bits."""
    old, layer = Message("NetParameter"), Message("V1LayerParameter", name="old", type="CONVOLUTION")
    four = Message("BlobProto", num=1, channels=1, height=2, width=2, double_data=[1.0, 2.0, 3.0, 4.0])
    half = Message("BlobProto", raw_data_type="FLOAT16", raw_data=np.arange(3, dtype="<f2").tobytes())
    half.values["shape"] = Message("BlobShape", dim=[3])
    layer.set("blobs", [four, half])
    old.set("layers", [layer])
    single = b"\x2d\x00\x00\x80\x3f" * 6  # data: 1.0, six times, each with its tag
    loose = b"\xa2\x06" + bytes([2 + len(single)]) + b"\x3a" + bytes([len(single)]) + single
    return [binary.serialize(model()), binary.serialize(old), loose]


def read_caffemodel(path: Path) -> object:
    """The weights of all layers."""
    net = loading.load_weights(path)
    return [blobs.array(one) for layer in net.get("layer") for one in layer.get("blobs")]


def state() -> Message:
    """A solver's state."""
    made = Message("SolverState", iter=7, learned_net="small_iter_7.caffemodel", current_step=1)
    made.set("history", [blob(2, 3, 3, 3), blob(2)])
    return made


def states() -> list[bytes]:
    return [binary.serialize(state())]


def read_solverstate(path: Path) -> object:
    """The history of a solver."""
    return [blobs.array(one) for one in loading.load_state(path).get("history")]


def means() -> list[bytes]:
    return [binary.serialize(blob(1, 3, 4, 4)), binary.serialize(blob(2, 3, double=True))]


def read_binaryproto(path: Path) -> object:
    """A mean image."""
    return blobs.array(loading.load_blob(path))


def read_hdf5(path: Path) -> object:
    """What the child process does for weights or a state, in this process."""
    found = hdf5_child.describe(str(path))
    if "learned_net" in found["refused"]:
        hdf5_child.text(str(path), "learned_net")
    small = [name for name, (shape, *_) in found["arrays"].items() if np.prod(shape, dtype=float) < 1 << 22]
    with open("/dev/null", "wb") as out:
        hdf5_child.read(str(path), small, out)
    return json.dumps(found)


def read_front(path: Path) -> object:
    """The program's way to such weights, and to a state."""
    content = path.read_bytes()
    return read_solverstate(path) if b"learned_net" in content else read_caffemodel(path)


def hdf5_files() -> list[bytes]:
    return [hdf5.model_bytes(model()), hdf5.state_bytes(state())]
