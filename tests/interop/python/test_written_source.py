"""What becomes of a layer's source: eval's part of it, with what it reaches, under names that do not collide."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.written_nets import loaded, ours

from layerforge import ConfigError, Net, Spec, register
from layerforge.contract.layer import Example, Layer
from layerforge.interop.python import save_model, write_model
from layerforge.schema.registry import LAYERS
from layerforge.schema.user_modules import import_file

OWN = '''
import math
from dataclasses import dataclass

import numpy as np

from layerforge import Example, Layer, Spec, param, register
from layerforge.arrays.functional import sigmoid as squashed

# Above and below.
UP, DOWN = 2.0, -0.5  # two of one statement
HALF = 0.5
KINDS = {"up": UP, "down": DOWN}


@dataclass(frozen=True)
class Step:
    """A step of a ladder."""

    height: float
    width: int = 1

    @property
    def area(self) -> float:
        return self.height * self.width

    def unused(self) -> float:
        return math.inf


def lifted(layer: "Ladder", x: "np.ndarray", /, *, by: float = HALF) -> "np.ndarray":
    """x, raised."""
    return layer.xp.add(x, by * layer.gain)


@register
class Ladder(Layer):
    """Ladder: up and down

        y = x up and down

    Backward  of no interest
    """

    examples = [Example({}, [Spec((2, 3))])]

    gain: float = param(1.0, help="factor")
    kind: str = param("up", help="where to", choices=("up", "down"))

    def setup(self, x: Spec) -> Spec:
        self.rungs = np.linspace(0, 1, 50)
        self.add_param("weight", (), 1.0)
        return x

    def forward(self, x: "np.ndarray") -> "np.ndarray":
        # what stays of this
        if self.phase == "train":
            x = x + self.random(x.shape)  # noise
        elif self.kind == "up":
            x = x * 3  # thrice
        else:
            x = x / 3
        rows = squashed(self.xp, x)  # a name that a helper of ours has
        for i in range(2):
            if i and self.run.keep:
                x = x * 100
            elif self.is_up():
                x += i
        self.save(x=x)

        def twice(v: float) -> float:
            """v + v."""
            return v + v

        level = Step(KINDS[self.kind]).area
        spare = self.xp.zeros_like(x)
        y = lifted(self, rows) + twice(level) + self.params.weight + self.rungs[7].astype(x.dtype) + x
        return y if True else spare

    def is_up(self) -> bool:
        return self.kind == "up"

    def backward(self, dy: "np.ndarray") -> "np.ndarray":
        return dy
'''


@pytest.fixture
def own(tmp_path: Path) -> Any:
    """Layers of a file of the user's, which are forgotten afterwards."""
    before = set(LAYERS.names())
    yield lambda text, name="own.py": import_text(tmp_path / name, text)
    for name in set(LAYERS.names()) - before:
        LAYERS.remove(name)


def import_text(path: Path, text: str) -> Path:
    path.write_text(text)
    import_file(path)
    return path


def net_of(*layers: dict[str, Any], shape: tuple[int, ...] = (4, 3)) -> Net:
    inputs = {"x": {"shape": [*shape]}}
    return Net.from_config({"name": "own", "engine": "reference", "inputs": inputs, "net": [*layers]})


def test_a_layer_of_the_users_is_written_with_what_it_reaches(own: Any) -> None:
    own(OWN)
    net = net_of({"name": "a", "type": "Ladder", "gain": 2.0}, {"name": "if/else", "type": "Linear", "out_features": 3})
    written = write_model(net)
    x = np.random.default_rng(0).normal(size=(5, 3)).astype("float32")
    np.testing.assert_array_equal(loaded(written).forward(x), ours(net, ["if/else"], {"x": x})[0])
    text = written.source
    comments = ("# what stays of this", "x = x * 3  # thrice", '"""v + v."""', "# Above and below.")
    for kept in (*comments, "class Step:", "def twice(v):"):
        assert kept in text, kept
    for gone in ("noise", "* 100", "x / 3", "unused", "spare", "backward", "of no interest", "self.is_up", "-> "):
        assert gone not in text, gone
    assert 'self.a = Ladder(weights, "a", gain=2.0, rungs=weights["a/rungs"])' in text
    assert 'self.if_else = Linear(weights, "if/else")' in text
    assert np.array_equal(written.arrays["a/rungs"], np.linspace(0, 1, 50))


def test_where_layers_differ_the_question_stays(own: Any) -> None:
    own(OWN)
    net = net_of({"name": "a", "type": "Ladder"}, {"name": "b", "type": "Ladder", "kind": "down"})
    written = write_model(net)
    x = np.random.default_rng(0).normal(size=(2, 3)).astype("float32")
    np.testing.assert_array_equal(loaded(written).forward(x), ours(net, ["b"], {"x": x})[0])
    for kept in ('if self.kind == "up":', "x / 3", "if self.is_up():", 'kind = "up"', 'kind="down"'):
        assert kept in written.source, kept
    assert "noise" not in written.source


def test_two_things_of_one_name_get_two_names(own: Any) -> None:
    own(OWN)
    other = OWN.replace("Ladder", "Stairs").replace("HALF = 0.5", "HALF = 0.25").replace("class Step", "class Step")
    own(other, "other.py")
    net = net_of({"name": "a", "type": "Ladder"}, {"name": "b", "type": "Stairs"})
    written = write_model(net)
    x = np.random.default_rng(0).normal(size=(2, 3)).astype("float32")
    np.testing.assert_array_equal(loaded(written).forward(x), ours(net, ["b"], {"x": x})[0])
    for name in ("HALF = 0.5", "HALF_of_other = 0.25", "class Step_of_other:", "def lifted_of_other("):
        assert name in written.source, name


def test_everything_that_cannot_be_written_is_told_at_once(own: Any) -> None:
    own(
        "import numpy as np\nimport pytest\nfrom layerforge import Example, Layer, Spec, register\n"
        "class Base(Layer):\n"
        "    examples = [Example({}, [Spec((2, 3))])]\n"
        "    def setup(self, x):\n        self.thing = object()\n        return x\n"
        "    def backward(self, dy):\n        return dy\n"
        "@register\nclass Foreign(Base):\n    def forward(self, x):\n        return x + pytest.approx(0).expected\n"
        "@register\nclass Thing(Base):\n    def forward(self, x):\n        return x if self.thing else x\n"
        "@register\nclass Ask(Base):\n    def forward(self, x):\n        return x * self.needs_grad[0]\n"
    )
    space: dict[str, Any] = {"Layer": Layer, "__name__": "nowhere", "some": [Example({}, [Spec((2, 3))])]}
    body = "    examples = some\n    def setup(self, x):\n        return x\n    def forward(self, x):\n        return x"
    exec(f"class Typed(Layer):\n{body}", space)
    register(space["Typed"])
    kinds = ("Foreign", "Ask", "Typed")
    net = net_of(*({"name": kind.lower(), "type": kind} for kind in kinds))
    with pytest.raises(ConfigError) as told:
        write_model(net)
    message = str(told.value)
    assert "3 layers of own cannot be written as Python" in message
    assert "foreign (Foreign): it needs pytest" in message
    assert "ask (Ask): its forward reads self.needs_grad" in message
    assert "typed (Typed): " in message
    with pytest.raises(ConfigError, match=r"layer 'thing' \(Thing\): its thing is of type object"):
        write_model(net_of({"name": "thing", "type": "Thing"}))


def test_a_sparse_bottom_cannot_be_written_but_a_blob_before_it_can(tmp_path: Path) -> None:
    inputs = {"x": {"shape": [4, 3]}, "s": {"shape": [4, 6], "sparse": "csr"}}
    layers = [{"name": "fc", "type": "Linear", "out_features": 2, "bottom": "s"}]
    layers += [{"name": "dense", "type": "Linear", "out_features": 2, "bottom": "x"}]
    layers += [{"name": "sum", "type": "Add", "bottom": ["fc", "dense"]}]
    net = Net.from_config({"inputs": inputs, "net": layers})
    with pytest.raises(ConfigError, match=r"fc \(Linear\): a bottom of it is sparse"):
        save_model(net, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    save_model(net, tmp_path / "out", blobs=["dense"])
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["net.py", "weights.npz"]


def test_a_forward_that_depends_on_the_batch_of_setup_is_found_out(own: Any) -> None:
    own(
        "from layerforge import Example, Layer, Spec, register\n@register\nclass Frozen(Layer):\n"
        "    examples = [Example({}, [Spec((2, 3))])]\n"
        "    def setup(self, x):\n        self.count = x.shape[0]\n        return x\n"
        "    def forward(self, x):\n        return x * self.count\n"
    )
    with pytest.raises(ConfigError, match=r"the written file does not compute what the net does: blob 'f' differs"):
        write_model(net_of({"name": "f", "type": "Frozen"}))


FUSSY = """
from layerforge import Example, Layer, Spec, register
from layerforge.schema.errors import LayerError

@register
class Fussy(Layer):
    examples = [Example({}, [Spec((2, 3), BOUNDS)])]

    def setup(self, x):
        return x

    def forward(self, x):
        if (x < 1000).any():
            raise LayerError("numbers of 1000 or more, please")
        return x * 2

    def backward(self, dy):
        return dy * 2
"""


def test_a_net_that_takes_no_random_inputs_is_warned_of(own: Any, tmp_path: Path) -> None:
    own(FUSSY.replace(", BOUNDS", ""))
    net = net_of({"name": "f", "type": "Fussy"})
    with pytest.warns(UserWarning, match=r"was not compared with the net.*numbers of 1000 or more, please.*examples"):
        assert write_model(net).unchecked


def test_the_bounds_of_a_layers_example_are_kept_by_the_check(own: Any) -> None:
    own(FUSSY.replace("BOUNDS", "low=1000.0, high=2000.0"))
    made = write_model(net_of({"name": "f", "type": "Fussy"}))
    assert not made.unchecked
    written = loaded(made)
    x = np.full((1, 3), 1500.0, "float32")
    np.testing.assert_array_equal(written.forward(x), 2 * x)


def test_a_stateful_layer_goes_on_from_call_to_call_until_it_is_told_to_forget() -> None:
    net = net_of({"name": "r", "type": "LSTM", "hidden_size": 2, "stateful": True}, shape=(2, 4, 3))
    written = loaded(write_model(net))
    x = np.random.default_rng(0).normal(size=(2, 4, 3)).astype("float32")
    net.reset_carried()
    first, second = (ours(net, ["r"], {"x": x})[0] for _ in range(2))
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(written.forward(x), first)
    np.testing.assert_array_equal(written.forward(x), second)
    written.forget()
    np.testing.assert_array_equal(written.forward(x), first)


def test_the_text_is_the_same_in_every_process_and_writing_changes_nothing_of_the_net() -> None:
    program = (
        "from layerforge import Net; from layerforge.interop.python import write_model; import sys;"
        "sys.stdout.write(write_model(Net.from_yaml('configs/mnist_lenet.yaml', ['engine=reference'])).source)"
    )
    root = Path(__file__).parents[3]
    command = [sys.executable, "-c", program]
    env = {"PYTHONPATH": str(root), "PATH": "", "PYTHONHASHSEED": "7", "PYTHONIOENCODING": "utf8"}
    done = subprocess.run(command, cwd=root, env=env, capture_output=True, check=True)
    net = Net.from_yaml(root / "configs/mnist_lenet.yaml", ["engine=reference"])
    image = np.zeros((2, 1, 28, 28), "float32")
    net.forward(image=image, label=np.zeros(2, "int64"))
    assert write_model(net).source == done.stdout.decode()
    net.backward()  # its last pass is still there


def test_an_index_is_not_cut_off_its_fraction() -> None:
    inputs = {"x": {"shape": [2, 3], "dtype": "int64"}}
    net = Net.from_config(
        {"inputs": inputs, "net": [{"name": "e", "type": "Embedding", "num_embeddings": 5, "embedding_dim": 2}]}
    )
    written = loaded(write_model(net))
    x = np.array([[0, 4, 2]], "uint8")
    np.testing.assert_array_equal(written.forward(x), ours(net, ["e"], {"x": x.astype("int64")})[0])
    with pytest.raises(TypeError, match="float64"):
        written.forward(x + 0.5)
    with pytest.raises(ValueError, match=r"index 7 at position 0, 1 is out of range for 5 embeddings"):
        written.forward([[0, 7, 2]])


def test_names_that_python_has_not_become_others() -> None:
    odd = '{a"""b\\'
    inputs = {"x y": {"shape": [2, 3]}, "x_y": {"shape": [2, 3]}, odd: {"shape": [2, 3]}}
    layers = [
        {"name": "self", "type": "Add", "bottom": ["x y", "x_y", odd], "top": "np"},
        {"name": "class", "type": "Linear", "out_features": 2},
        {"name": "forward", "type": "ReLU", "top": 'out"""'},
    ]
    net = Net.from_config({"name": "odd", "engine": "reference", "inputs": inputs, "net": layers})
    written = write_model(net)
    rng = np.random.default_rng(0)
    given = {name: rng.normal(size=(4, 3)).astype("float32") for name in inputs}
    theirs = loaded(written).forward(*(given[name] for name in written.inputs))
    np.testing.assert_array_equal(theirs, ours(net, ['out"""'], given)[0])


def test_a_rectifier_speaks_of_its_slope_where_it_has_one() -> None:
    inputs = {"x": {"name": "x", "type": "Input", "shape": [2, 3], "top": "x"}}
    for slope, speaks in ((0.0, False), (0.1, True), (1.0, True), (2.0, True)):
        net = Net.from_config({"net": [inputs["x"], {"name": "act", "type": "ReLU", "negative_slope": slope}]})
        source = write_model(net).source
        assert ("slope" in source) is speaks, source
        assert ("otherwise 0" in source) is not speaks


def test_a_helper_knows_the_words_that_it_is_called_with() -> None:
    layers = {kind: {"name": kind, "type": "GELU", "approximate": kind} for kind in ("tanh", "none")}
    x = np.random.default_rng(0).normal(size=(5, 3)).astype("float32")
    for kinds, kept, gone in (
        (["tanh"], ["np.tanh("], ["def erf(", "FITS"]),
        (["none"], ["def erf("], ["GELU_SLOPE"]),
        (["tanh", "none"], ["def erf(", "GELU_SLOPE", 'if approximate == "tanh":'], []),
        (["none", "tanh"], ["def erf(", "GELU_SLOPE", 'if approximate == "tanh":'], []),
    ):
        net = net_of(*(layers[kind] for kind in kinds))
        written = write_model(net)
        np.testing.assert_array_equal(loaded(written).forward(x), ours(net, kinds[-1:], {"x": x})[0])
        text = written.source.replace("xp.", "np.")
        assert [word for word in kept if word not in text] == []
        assert [word for word in gone if word in text] == []


def test_what_a_device_is_asked_later_is_known_at_once() -> None:
    net = Net.from_config(
        {
            "inputs": {"x": {"shape": [2, 3], "dtype": "int64"}},
            "net": [{"name": "e", "type": "Embedding", "num_embeddings": 5, "embedding_dim": 2}],
        }
    )
    source = write_model(net).source
    assert "if flag:" in source
    assert "threading" not in source
    assert "awaited" not in source


WORDS = '''
from layerforge import Example, Layer, Spec, register

KINDS = ["down", "up"]


def outer(xp, x, kind):
    return inner(xp, x, kind) + 1


def inner(xp, x, kind):
    if kind == "up":
        return x * 3
    return x / 3


@register
class Told(Layer):
    """Told: a word"""

    examples = [Example({}, [Spec((2, 3))])]

    def setup(self, x):
        return x

    def forward(self, x):
        return outer(self.xp, x, "up")

    def backward(self, dy):
        return dy * 3


@register
class Untold(Told):
    """Untold: a word that turns up later"""

    examples = [Example({}, [Spec((2, 3))])]

    def forward(self, x):
        for kind in KINDS:
            x = outer(self.xp, x, kind)
        return x
'''


@pytest.mark.parametrize("kinds", [["Told", "Untold"], ["Untold", "Told"], ["Told", "Told"]])
def test_a_helper_that_is_told_words_by_some_alone_asks(own: Any, kinds: list[str]) -> None:
    own(WORDS, "words.py")
    net = net_of(*({"name": f"l{i}", "type": kind} for i, kind in enumerate(kinds)))
    written = write_model(net)
    x = np.random.default_rng(0).normal(size=(5, 3)).astype("float32")
    np.testing.assert_array_equal(loaded(written).forward(x), ours(net, ["l1"], {"x": x})[0])
    assert ('if kind == "up":' in written.source) is ("Untold" in kinds)
