"""Definitions in Caffe's old forms mean what they meant."""

from __future__ import annotations

import pytest
from support.caffe_files import caffe_folder

from layerforge.interop.caffe import loading, text
from layerforge.interop.caffe.message import Message
from layerforge.interop.caffe.upgrade import V1_TYPES, upgraded, upgraded_solver
from layerforge.schema.errors import ConfigError, ConfigErrors


def brought_up(content: str, file: str = "n") -> Message:
    return upgraded(text.parse(content, "NetParameter", file))


def same(old: str, new: str) -> None:
    assert brought_up(old) == text.parse(new, "NetParameter")


def test_layers_of_v1() -> None:
    same(
        """layers { name: "c" type: CONVOLUTION bottom: "x" top: "y" blobs_lr: 1 blobs_lr: 2 weight_decay: 1
          weight_decay: 0 param: "w" blob_share_mode: PERMISSIVE loss_weight: 2 include { phase: TEST }
          convolution_param { num_output: 3 } blobs { data: 1 } }
        layers { name: "l" type: SOFTMAX_LOSS bottom: "y" loss_param { ignore_label: 1 }
          exclude { stage: "a" } }""",
        """layer { name: "c" type: "Convolution" bottom: "x" top: "y" loss_weight: 2 include { phase: TEST }
          param { name: "w" share_mode: PERMISSIVE lr_mult: 1 decay_mult: 1 } param { lr_mult: 2 decay_mult: 0 }
          convolution_param { num_output: 3 } blobs { data: 1 } }
        layer { name: "l" type: "SoftmaxWithLoss" bottom: "y" loss_param { ignore_label: 1 }
          exclude { stage: "a" } }""",
    )


@pytest.mark.parametrize(("old", "new"), V1_TYPES.items())
def test_every_type_of_v1_has_its_name(old: str, new: str) -> None:
    assert brought_up(f"layers {{ type: {old} }}").get("layer")[0].get("type") == new


def test_upgraded_layers_keep_their_places_and_what_is_not_known() -> None:
    content = 'layers {\n name: "c" type: ROI\n blobs_lr: 1 blobs_lr: 2\n mine { a: 1 }\n}'
    layer = brought_up(content).get("layer")[0]
    assert layer.get("type") == "ROI"
    assert [str(layer.place(name)) for name in ("name", "type", "param")] == ["n:2:2", "n:2:12", "n:3:2"]
    assert str(layer.place()) == "n:1:1"
    assert [str(unknown.place) for unknown in layer.unknown] == ["n:4:2"]


def test_transforms_of_old_data_layers_move() -> None:
    same(
        """layers { type: DATA data_param { source: "s" scale: .5 mean_file: "m" crop_size: 3 mirror: true } }
        layers { type: IMAGE_DATA image_data_param { scale: 2 } transform_param { mirror: true } }
        layers { type: POOLING }""",
        """layer { type: "Data" data_param { source: "s" }
          transform_param { scale: .5 mean_file: "m" crop_size: 3 mirror: true } }
        layer { type: "ImageData" image_data_param { } transform_param { mirror: true scale: 2 } }
        layer { type: "Pooling" }""",
    )


def test_caffe_ignores_transforms_in_the_data_param_of_present_layers() -> None:
    net = 'layer { type: "Data" data_param { source: "s" scale: .5 } }'
    same(net, net)


@pytest.mark.parametrize(
    "given",
    ["input_dim: 1 input_dim: 3 input_dim: 4 input_dim: 5", "input_shape { dim: 1 dim: 3 dim: 4 dim: 5 }",
     "input_dim: [1, 3, 4, 5]"],
)  # fmt: skip
def test_inputs_become_the_first_layer(given: str) -> None:
    new = 'layer { name: "input" type: "Input" top: "x" input_param { shape { dim: [1, 3, 4, 5] } } }'
    same(f'layer {{ name: "a" }} input: "x" {given}', f'{new} layer {{ name: "a" }}')
    upgraded_net = brought_up(f'input: "x"\n{given} layer {{ }}')
    assert str(upgraded_net.get("layer")[0].place("top")) == "n:1:1"
    assert str(upgraded_net.get("layer")[1].place()).startswith("n:2:")


def test_two_inputs() -> None:
    old = 'input: "x" input: "y" ' + " ".join(f"input_dim: {n}" for n in range(1, 9)) + " layer { name: 'a' }"
    layer = brought_up(old).get("layer")[0]
    assert layer.get("top") == ["x", "y"]
    assert [shape.get("dim") for shape in layer.get("input_param").get("shape")] == [[1, 2, 3, 4], [5, 6, 7, 8]]


def test_an_input_without_a_shape_gets_it_elsewhere() -> None:
    layer = brought_up('input: "x"').get("layer")[0]
    assert (layer.get("top"), layer.get("input_param").get("shape")) == (["x"], [])


def test_the_three_params_of_batch_norm_are_not_trained() -> None:
    three, two = ("param { lr_mult: 1 } " * count for count in (3, 2))
    zero = "param { lr_mult: 0 decay_mult: 0 } " * 3
    same(f'layer {{ type: "BatchNorm" {three} }}', f'layer {{ type: "BatchNorm" {zero} }}')
    for kept in (f'layer {{ type: "BatchNorm" {two} }}', f'layer {{ type: "Scale" {three} }}'):
        same(kept, kept)


def test_layers_of_v0() -> None:
    same(
        """layers { layer { name: "p" type: "padding" pad: 2 } bottom: "data" top: "p" }
        layers { layer { name: "c" type: "conv" num_output: 4 kernelsize: 3 stride: 2 biasterm: false
          weight_filler { type: "gaussian" } blobs_lr: 1 weight_decay: 0 } bottom: "p" top: "c" }
        layers { layer { name: "r" type: "relu" } bottom: "c" top: "c" }
        layers { layer { name: "m" type: "pool" pool: AVE kernelsize: 2 } bottom: "c" top: "m" }
        layers { layer { name: "n" type: "lrn" local_size: 3 alpha: 0.1 } bottom: "m" top: "n" }
        layers { layer { name: "i" type: "innerproduct" num_output: 2 } bottom: "n" top: "i" }
        layers { layer { name: "d" type: "data" source: "s" batchsize: 4 scale: .5 cropsize: 2 } top: "d" }""",
        """layer { name: "c" type: "Convolution" bottom: "data" top: "c" param { lr_mult: 1 decay_mult: 0 }
          convolution_param { num_output: 4 kernel_size: 3 stride: 2 pad: 2 bias_term: false
            weight_filler { type: "gaussian" } } }
        layer { name: "r" type: "ReLU" bottom: "c" top: "c" }
        layer { name: "m" type: "Pooling" bottom: "c" top: "m" pooling_param { pool: AVE kernel_size: 2 } }
        layer { name: "n" type: "LRN" bottom: "m" top: "n" lrn_param { local_size: 3 alpha: 0.1 } }
        layer { name: "i" type: "InnerProduct" bottom: "n" top: "i" inner_product_param { num_output: 2 } }
        layer { name: "d" type: "Data" top: "d" data_param { source: "s" batch_size: 4 }
          transform_param { scale: .5 crop_size: 2 } }""",
    )


V0 = 'layers { layer { type: "%s" } }'
PADDING = 'layers { layer { type: "padding" pad: 1 } bottom: "x" top: "p" }'


@pytest.mark.parametrize(
    ("content", "places", "words"),
    [
        ('layers { type: RELU }\nlayer { name: "a" }', ["n:1:1"], "both 'layer' and 'layers'"),
        ('input: "x" input_dim: 1\ninput_dim: 3', ["n:1:12"], "2 input_dim for 1 input"),
        ('input: "x" input: "y" input: "z"\ninput_shape { } input_shape { }', ["n:2:1"], "2 input_shape for 3 inputs"),
        (f"{V0 % 'reshape'}\n{V0 % 'what'}", ["n:1:18", "n:2:18"], "no layers of"),
        ('layers { layer { type: "relu" pad: 1 } }', ["n:1:31"], "no use for pad"),
        (PADDING, ["n:1:1"], "nothing uses"),
        (f'{PADDING}\nlayers {{ layer {{ type: "relu" }} bottom: "p" }}', ["n:2:1"], "cannot pad"),
        (f"{V0 % 'relu'}\nlayers {{ type: RELU }}", ["n:2:1"], "two formats"),
    ],
)
def test_what_cannot_be_brought_up_to_date(content: str, places: list[str], words: str) -> None:
    with pytest.raises(ConfigError, match=words) as failed:
        brought_up(content)
    errors = failed.value.errors if isinstance(failed.value, ConfigErrors) else [failed.value]
    assert [str(error.place) for error in errors] == places
    assert failed.value.exit_code == 2


@pytest.mark.parametrize("old", ["SGD", "NESTEROV", "ADAGRAD", "RMSPROP", "ADADELTA", "ADAM"])
def test_old_types_of_solvers(old: str) -> None:
    solver = upgraded_solver(text.parse(f"base_lr: 1\nsolver_type: {old}", "SolverParameter", "s"))
    assert solver.get("type").upper() == old
    assert not solver.has("solver_type")
    assert str(solver.place("type")) == "s:2:1"
    assert upgraded_solver(text.parse("type: 'Adam'", "SolverParameter")).get("type") == "Adam"


def test_a_solver_of_two_types() -> None:
    with pytest.raises(ConfigError, match="s:1:14: both type and solver_type"):
        upgraded_solver(text.parse("type: 'Adam' solver_type: ADAM", "SolverParameter", "s"))


def test_what_is_given_stays_as_it_is() -> None:
    net = text.parse('input: "x" layers { type: RELU param: "w" } input_dim: [1, 1, 1, 1]', "NetParameter")
    kept = net.copy()
    upgraded(net)
    assert net == kept


def test_real_nets_and_weights_are_brought_up_to_date() -> None:
    folder = caffe_folder()
    for path in sorted((folder / "prototxt").iterdir()):
        net = loading.load_net(path, [])
        assert not net.has("input")
        assert all(layer.get("type") for layer in net.get("layer"))
    new = loading.load_weights(folder / "files/nets/v1_layers.caffemodel")
    assert [len(layer.get("blobs")) for layer in new.get("layer") if layer.has("blobs")] == [2, 2]
