"""What a configuration names or says may be anything: pipes, devices, files that want to end, huge numbers."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from layerforge import Net, train
from layerforge.cli import main
from layerforge.config import Config
from layerforge.schema.errors import ConfigError, LayerForgeError
from layerforge.schema.regular_files import irregular
from layerforge.schema.user_modules import import_file
from layerforge.training.ending import outcome

NET = "inputs: {x: {shape: [2, 3]}}\nnet: [{name: fc, type: Linear, out_features: 4}]\n"
SMALL: dict[str, Any] = {
    "inputs": {"x": {"shape": [2, 3]}},
    "net": [{"name": "fc", "type": "Linear", "out_features": 4}],
}

# ---- files that are none -----------------------------------------------------------------------------------------


@pytest.fixture
def odd(tmp_path: Path) -> dict[str, str]:
    """Paths by what is there."""
    os.mkfifo(tmp_path / "pipe")
    os.symlink("pipe", tmp_path / "link")
    with socket.socket(socket.AF_UNIX) as server:
        os.chdir(tmp_path)
        server.bind("sock")
    return {"pipe": "a named pipe", "link": "a named pipe", "sock": "a socket", "/dev/zero": "a device"}


def test_what_is_no_file_is_not_opened(odd: dict[str, str], tmp_path: Path) -> None:
    for name, kind in odd.items():
        for text in (f"extends: {name}\n{NET}", f"extends: [{name}]\n", f"import: {name}\n{NET}"):
            (tmp_path / "c.yaml").write_text(text)
            with pytest.raises(ConfigError, match=rf"c\.yaml:1:\d+: .*'{name}' is {kind}, not a"):
                Config.load("c.yaml").raise_errors()
        with pytest.raises(ConfigError, match=f"is {kind}, not a regular file"):
            Config.load(name)
        with pytest.raises(ConfigError, match=f"is {kind}, not a Python file"):
            import_file(name)
    assert irregular("c.yaml") is irregular(tmp_path) is irregular("nothing") is None


def test_a_pipe_that_is_open_already_may_hold_the_configuration() -> None:
    read, write = os.pipe()
    threading.Thread(target=lambda: (os.write(write, NET.encode()), os.close(write))).start()
    assert Config.load(f"/dev/fd/{read}").net[0]["name"] == "fc"
    os.close(read)


# ---- files that end the process ----------------------------------------------------------------------------------


ENDINGS = ["sys.exit(0)", "raise SystemExit", "raise BaseException('me')", "exit(3)", "os._exit(0)"]


@pytest.mark.parametrize("call", ENDINGS)
def test_an_imported_file_cannot_end_the_process(call: str, tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "mine.py").write_text(f"import os, sys\nsys.stdout\n{call}\n")
    (tmp_path / "c.yaml").write_text(f"import: mine.py\n{NET}")
    assert main(["check", str(tmp_path / "c.yaml"), "--allow-import"]) == 2
    told = capsys.readouterr()
    assert "mine.py:3:1:" in told.out + told.err
    assert "while importing" in told.out + told.err


WORDLESS = """
class Wordless(ValueError):
    def __str__(self): raise KeyError

raise Wordless
"""


def test_an_exception_without_a_text_is_told_with_its_line(tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "mine.py").write_text(WORDLESS)
    (tmp_path / "c.yaml").write_text(f"import: mine.py\n{NET}")
    assert main(["check", str(tmp_path / "c.yaml"), "--allow-import"]) == 2
    told = "".join(capsys.readouterr())
    assert "mine.py:5:1: Wordless while importing: its text cannot be had, as __str__ raises KeyError" in told


def test_an_exception_without_a_text_ends_a_command_as_any_other(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from layerforge import Source, Spec, register_source\n"
        "class Wordless(Exception):\n"
        "    def __str__(self): raise KeyError\n"
        "@register_source\n"
        "class Failing(Source):\n"
        '    """Failing: reads nothing"""\n'
        '    def specs(self): return {"x": Spec((2,))}\n'
        "    def count(self, part): return 4\n"
        "    def read(self, part, progress=None): raise Wordless\n"
    )
    (tmp_path / "c.yaml").write_text(
        "import: mine.py\ndata: {train: {type: Failing}}\n"
        "net: [{name: a, type: Linear, out_features: 1}, {name: l, type: Sum, loss_weight: 1}]\n"
        "solver: {lr: 1}\ntrain: {max_steps: 1}\n"
    )
    command = [sys.executable, "-m", "layerforge", "train", "c.yaml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "Wordless: its text cannot be had" in done.stderr


def test_a_run_that_such_an_exception_ends_has_a_reason() -> None:
    class Wordless(Exception):
        def __str__(self) -> str:
            raise KeyError

    status, code, reason = outcome(Wordless(), "", signalled=False)
    assert (status, code, reason) == ("failed", 1, "its text cannot be had, as __str__ raises KeyError")


LAYER = """
import sys
from layerforge import Example, Layer, Spec, register

@register
class Ender(Layer):
    \"\"\"Ender: y = x, and the end\"\"\"
    examples = [Example({}, [Spec((2, 3))])]

    def setup(self, x):
        if "setup" == WHERE: sys.exit(0)
        return x

    def forward(self, x):
        if "forward" == WHERE: sys.exit(0)
        return x

    def backward(self, dy):
        if "backward" == WHERE: sys.exit(0)
        return dy
"""


@pytest.mark.parametrize("where", ["setup", "forward", "backward"])
def test_a_layer_cannot_end_the_process(where: str, tmp_path: Path) -> None:
    from layerforge.schema.registry import LAYERS

    (tmp_path / f"ender_{where}.py").write_text(LAYER.replace("WHERE", repr(where)))
    config = {**SMALL, "import": str(tmp_path / f"ender_{where}.py")}
    config["net"] = [*SMALL["net"], {"name": "e", "type": "Ender"}, {"name": "l", "type": "Sum", "loss_weight": 1}]
    try:
        with pytest.raises(LayerForgeError, match=rf"layer 'e' \(Ender\): SystemExit in {where}: exit\(0\) is called"):
            net = Net.from_config(config)
            net.forward(x=[[1.0, 2.0, 3.0]])
            net.backward()
    finally:
        LAYERS.remove("Ender")


def test_a_hook_cannot_end_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    class Ends:
        def on_step_end(self, run: Any) -> None:
            sys.exit(0)

    np.savez("d.npz", x=np.ones((4, 3), "f4"))
    config = {
        "data": {"train": {"type": "NPZ", "path": str(tmp_path / "d.npz"), "batch_size": 2}},
        "net": [*SMALL["net"], {"name": "loss", "type": "Sum", "loss_weight": 1}],
        "solver": {"lr": 0.1},
        "train": {"max_steps": 2},
    }
    with pytest.raises(LayerForgeError, match=r"hook Ends\.on_step_end: SystemExit: exit\(0\) is called"):
        train(config, hooks=[Ends()])
    assert [path.read_text().strip() for path in Path("runs").glob("*/[0-9]*/STATUS")] == ["failed"]


def test_no_code_of_a_user_ends_a_command_in_silence(tmp_path: Path) -> None:
    """A source is called from many places: the command itself says who ended it."""
    (tmp_path / "mine.py").write_text(
        "import sys\n"
        "from layerforge.data.source import Source\n"
        "from layerforge.schema.registry import SOURCES\n"
        "@SOURCES.add\n"
        "class Ending(Source):\n"
        '    """Ending: the end"""\n'
        "    def blobs(self): sys.exit(0)\n"
        "    open = specs = load = blobs\n"
    )
    (tmp_path / "c.yaml").write_text(
        "import: mine.py\ndata: {train: {type: Ending}}\nnet: [{name: a, type: Tanh}]\nsolver: {lr: 1}\n"
    )
    command = [sys.executable, "-m", "layerforge", "train", "c.yaml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "mine.py:7:1: exit(0) is called, but this code is not the program" in done.stderr


ENDING_HOOK = """
import os
from layerforge import hook

@hook
class Ends:
    def on_step_end(self, run):
        if not (child := os.fork()):
            os._exit(7)
        run.note(f"the child ended with {os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}")
        os._exit(0)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_os_exit_in_a_hook_ends_no_process_but_a_child(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    leave = os._exit
    Path("ends.py").write_text(ENDING_HOOK)
    np.savez("d.npz", x=np.ones((4, 3), "f4"))
    Path("c.yaml").write_text(
        "import: ends.py\nname: c\nengine: reference\ndata: {train: {type: NPZ, path: d.npz, batch_size: 2}}\n"
        "net: [{name: a, type: Linear, out_features: 1}, {name: loss, type: Sum, loss_weight: 1}]\n"
        "solver: {lr: 0.1}\ntrain: {max_steps: 2}\n"
    )
    assert main(["train", "c.yaml", "--progress=off"]) == 1
    told = capsys.readouterr().err
    assert "the child ended with 7" in told
    assert "ends.py:11:1: hook Ends.on_step_end" in told
    assert "os._exit(0) is called, but this code is not the program" in told
    assert Path("runs/c/latest/STATUS").read_text() == "failed\n"
    assert os._exit is leave


# ---- numbers without measure -------------------------------------------------------------------------------------

HUGE = [10**18, 2**63 - 1, 2**63, 10**19, 2**64 - 1]


@pytest.mark.parametrize("value", HUGE)
@pytest.mark.parametrize(
    "layer",
    [
        {"type": "Linear", "out_features": None},
        {"type": "Conv1d", "out_channels": None, "kernel_size": 1},
        {"type": "AdaptiveAvgPool2d", "output_size": None},
        {"type": "RNN", "hidden_size": 2, "num_layers": None},
        {"type": "LSTM", "hidden_size": None},
    ],
    ids=lambda layer: layer["type"],
)
def test_a_huge_hyper_parameter_is_a_clear_error(layer: dict[str, Any], value: int) -> None:
    filled = {"name": "it", **{k: value if v is None else v for k, v in layer.items()}}
    shape = [2, 3, 4, 4][: {"Linear": 2, "AdaptiveAvgPool2d": 4}.get(layer["type"], 3)]
    try:
        Net.from_config({"engine": "reference", "inputs": {"x": {"shape": shape}}, "net": [filled]})
    except ConfigError as error:
        assert "'it" in str(error)
    except LayerForgeError as error:
        assert error.exit_code == 2
        assert "layer 'it'" in str(error)


def test_what_takes_too_much_memory_is_named() -> None:
    with pytest.raises(ConfigError, match=r"more than there is: 'fc\.weight' alone has the shape \(10{13}, 3\)"):
        Net.from_config({**SMALL, "net": [{"name": "fc", "type": "Linear", "out_features": 10**13}]})


@pytest.mark.parametrize(
    "filler",
    [
        {"type": "uniform", "min": -1e308, "max": 1e308},
        {"type": "uniform", "max": float("inf")},
        {"type": "msra", "negative_slope": 1e308},
    ],
)
def test_a_filler_that_overflows_is_named(filler: dict[str, Any]) -> None:
    layer = {"name": "fc", "type": "Linear", "out_features": 4, "weight_filler": filler}
    with pytest.raises(ConfigError, match=f"layer 'fc': the filler {filler['type']} of 'weight' cannot fill it"):
        Net.from_config({**SMALL, "net": [layer]})


@pytest.mark.parametrize("value", [10**19, 2**64 - 1])
def test_a_batch_that_no_memory_holds(value: int, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(NET.replace("[2, 3]", f"[{value}, 3]"))
    assert main(["check", str(tmp_path / "c.yaml")]) in (0, 2)
    assert "internal error" not in capsys.readouterr().err
    net = Net.from_config(SMALL, keep="none")
    with pytest.raises(ConfigError, match=rf"an input of shape \({value}, 3\) does not fit into memory"):
        net.passes.executor_for("train", {"x": (value, 3)})


@pytest.mark.parametrize("value", ["99999999999999999999", "-99999999999999999999", "[1, 99999999999999999999]"])
def test_an_integer_beyond_64_bits_has_a_place(value: str, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(f"{NET}seed: {value}\n")
    errors = [e for e in Config.load(tmp_path / "c.yaml").errors if "does not fit into 64 bits" in str(e)]
    assert "c.yaml:3:" in str(errors[0].place)
