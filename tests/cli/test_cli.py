"""The command line: what commands print, where, and with which exit code; how failures end."""

from __future__ import annotations

import errno
import io
import json
import os
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.data_files import images, isolate, write_mnist
from support.tools import demand, demand_that

from layerforge import Net, __version__
from layerforge.cli import COMMANDS, EXIT_CODES, main, net_table
from layerforge.cli.failures import guarded
from layerforge.cli.layers_command import KINDS, registered
from layerforge.cli.terminal import plain
from layerforge.cli.time_command import Stopwatch, measure
from layerforge.config import load_yaml, parse_yaml
from layerforge.plan.engines import FAST
from layerforge.schema.errors import DataError
from layerforge.schema.registry import LAYERS, engine

SMALL = """\
name: small
inputs: {x: {shape: [4, 6]}, t: {shape: [4], dtype: int64}}
net:
  - {name: fc1, type: Linear, out_features: 3}
  - {name: act, type: ReLU}
  - {name: fc2, type: Linear, out_features: 2, freeze: true}
  - {name: loss, type: SoftmaxCrossEntropy, bottom: [fc2, t]}
  - {name: accuracy, type: Accuracy, bottom: [fc2, t], phase: eval}
solver: {lr: 0.1, momentum: 0.5}
engine: reference
"""
DIGITS = """\
data:
  train: {type: Digits, split: "train[:64]", batch_size: 16}
  val:   {type: Digits, split: "train[64:128]", batch_size: 32}
net:
  - {name: flat, type: Flatten, bottom: image}
  - {name: fc,   type: Linear, out_features: 10}
  - {name: loss, type: SoftmaxCrossEntropy, bottom: [fc, label]}
solver: {lr: 0.1}
"""
BLOCKS = """\
inputs: {x: {shape: [4, 6]}}
blocks:
  dense:
    args: {m: null}
    net:
      - {name: fc, type: Linear, out_features: "${m}"}
      - {name: act, type: ReLU}
net:
  - {name: a, block: dense, repeat: 2, with: {m: 5}}
"""
OWN_LAYER = '''\
from layerforge import Example, Layer, Spec, register


@register
class Thrice(Layer):
    """Thrice: three times its bottom"""

    examples = [Example({}, [Spec((2, 3))])]

    def setup(self, x):
        return x

    def forward(self, x):
        return 3 * x

    def backward(self, dy):
        return 3 * dy
'''


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder without a network, where temporary files go too."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for name in ("NO_COLOR", "FORCE_COLOR", "LAYERFORGE_DEBUG"):
        monkeypatch.delenv(name, raising=False)
    return isolate(monkeypatch, tmp_path)


@pytest.fixture
def small(folder: Path) -> str:
    return write("small.yaml", SMALL)


def write(name: str, text: str | bytes) -> str:
    Path(name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return name


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """(exit code, stdout, stderr) of a command line."""
    code = main(arguments)
    out, err = capsys.readouterr()
    return code, out, err


def ok(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The output of a command line that must succeed."""
    code, out, err = run(capsys, *arguments)
    assert code == 0, err
    return out


def refused(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 2) -> str:
    """What stderr says of a command line that must fail, without a traceback and without output."""
    got, out, err = run(capsys, *arguments)
    assert (got, out) == (code, ""), err
    assert "Traceback" not in err
    return err


def process(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command line in a process of its own."""
    command = [sys.executable, "-m", "layerforge", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment}, timeout=120)


# The frame ------------------------------------------------------------------------------------------------------------


def test_help_lists_all_commands_and_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    out = ok(capsys, "--help")
    for name, (_, words) in COMMANDS.items():
        assert any(line.split(maxsplit=1) == [name, words] for line in out.splitlines())
    for code, words in EXIT_CODES:
        assert any(line.split() == [*code.split(), *words.split()] for line in out.splitlines())


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    out = ok(capsys, name, "--help")
    assert out.startswith(f"usage: layerforge {name} ")
    assert all(option in out for option in ("--quiet", "--verbose", "--debug"))


def test_without_a_command_help_goes_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    assert "commands:" in refused(capsys)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert ok(capsys, "--version") == f"layerforge {__version__}\n"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("chek a.yaml", "unknown command 'chek'\n     = did you mean 'check'?"),
        ("frobnicate", "unknown command 'frobnicate'"),
        ("--vesion", "unknown option '--vesion'\n     = did you mean '--version'?"),
        ("check --jsn", "unknown option '--jsn'\n     = did you mean '--json'?"),
        ("time a.yaml --iter 3", "unknown option '--iter'"),
        ("time a.yaml -z", "unknown option '-z'"),
        ("time a.yaml --iterations 0", "--iterations: must be an integer >= 1, got '0'"),
        ("time a.yaml --iterations x", "--iterations: must be an integer >= 1, got 'x'"),
        ("check", "required: CONFIG\n"),
        ("config", "required: CONFIG\n"),
        ("layers Linear ReLU", "unexpected argument 'ReLU'"),
        ("layers --fillers --solvers", "not allowed with argument"),
    ],
)
def test_usage_errors(line: str, words: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    err = refused(capsys, *line.split())
    assert err.startswith("usage: layerforge")
    assert f"\nerror: {words}" in err or words in err.split("\nerror: ")[1]


def test_options_may_stand_before_the_command_and_overrides_anywhere(
    small: str, capsys: pytest.CaptureFixture[str]
) -> None:
    line = f"--debug config {small} seed=3 --json name=other --set solver.lr=0.2 dtype=float64"
    out = ok(capsys, *line.split())
    config = json.loads(out)["config"]
    assert (config["seed"], config["name"], config["solver"]["lr"], config["dtype"]) == (3, "other", 0.2, "float64")


def test_verbose_tells_time_and_memory_and_quiet_nothing(small: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert "s, peak memory" in run(capsys, "check", small, "-v")[2]
    assert run(capsys, "check", small, "-q") == (0, "", "")


# Failures -------------------------------------------------------------------------------------------------------------


def raising(problem: BaseException) -> Any:
    def command() -> int:
        print("some output")
        raise problem

    return command


@pytest.mark.parametrize(
    ("problem", "code", "words"),
    [
        (KeyboardInterrupt(), 130, "interrupted\n"),
        (DataError("the file is torn", hint="get it again"), 3, "error: the file is torn\n     = get it again\n"),
        (MemoryError("8 GiB"), 1, "error: out of memory: 8 GiB\n     = a smaller batch_size needs less\n"),
        (PermissionError(errno.EACCES, "Permission denied", "runs/x"), 3, "error: runs/x: Permission denied\n"),
        (OSError(errno.ENOSPC, "No space left on device"), 3, "error: No space left on device\n"),
        (SystemExit(4), 4, ""),
        (SystemExit(None), 0, ""),
        (SystemExit("bye"), 1, ""),
        (BrokenPipeError(), 141, ""),
    ],
)
def test_failures_become_a_message_and_a_code(
    problem: BaseException, code: int, words: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert guarded(raising(problem)) == code
    assert capsys.readouterr().err == words


def test_an_internal_error_is_one_line_and_a_file(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert guarded(raising(KeyError("x"))) == 1
    err = capsys.readouterr().err
    assert err.startswith("internal error: KeyError: 'x'; please report it, with the traceback in ")
    assert err.count("\n") == 1
    assert "KeyError: 'x'" in Path(err.split(" in ")[-1].strip()).read_text()


def test_debug_shows_the_traceback(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert guarded(raising(KeyError("x")), debug=True) == 1
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize("how", ["option", "environment"])
def test_two_ways_to_ask_for_tracebacks(
    how: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if how == "environment":
        monkeypatch.setenv("LAYERFORGE_DEBUG", "1")
    code, _, err = run(capsys, "check", "none.yaml", *(["--debug"] if how == "option" else []))
    assert (code, "Traceback" in err) == (2, True)


def test_errors_in_a_users_code_say_how_to_see_where(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write("own.py", OWN_LAYER.replace("return 3 * x", "return 3 * missing"))
    own = "import: own.py\ninputs: {x: {shape: [2, 3]}}\nnet: [{name: a, type: Thrice}]\n"
    try:
        err = refused(capsys, "time", write("own.yaml", own), code=1)
    finally:
        forget("Thrice")
    assert "own.yaml:3:14: layer 'a' (Thrice): NameError in forward: name 'missing'" in err
    assert err.endswith("     = --debug shows where in the code\n")


def test_warnings_are_lines_on_stderr(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def command() -> int:
        warnings.simplefilter("always")
        warnings.warn("careful", stacklevel=1)
        return 0

    before = warnings.showwarning
    assert guarded(command) == 0
    assert capsys.readouterr() == ("", "warning: careful\n")
    assert warnings.showwarning is before


# The terminal ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("y = x Wᵀ + b", "y = x W^T + b"),
        ("yₙₘ = Σ_d xₙ_d", "y_nm = sum_d x_n_d"),
        ("e⁻ˣ ≤ 10⁻³ → 0", "e^-x <= 10^-3 -> 0"),
        ("α ≥ β · γ", "alpha >= beta * gamma"),
        ("naïve café", "naive cafe"),
        ("漢", "\\u6f22"),
    ],
)
def test_ascii_for_terminals_that_know_nothing_else(text: str, expected: str) -> None:
    assert plain(text) == expected


def test_output_works_in_ascii(folder: Path) -> None:
    done = process("layers", "Linear", PYTHONIOENCODING="ascii")
    assert done.returncode == 0
    assert "y = x W^T + b" in done.stdout
    assert done.stdout.isascii()


@pytest.mark.parametrize(
    ("variables", "colour"),
    [({}, False), ({"FORCE_COLOR": "1"}, True), ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, False)],
)
def test_colours(
    variables: dict[str, str], colour: bool, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert ("\033[31merror:\033[0m" in refused(capsys, "check", "none.yaml")) == colour


def test_a_reader_that_leaves_early_is_no_error(folder: Path) -> None:
    command = [sys.executable, "-m", "layerforge", "layers"]
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=buffered) as done:
        assert done.stdout is not None
        assert done.stderr is not None
        done.stdout.close()
        assert done.stderr.read() == ""
    assert done.returncode == 141


class Full(io.StringIO):
    """A stream on a disk that has no room left."""

    def flush(self) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")


def test_output_that_cannot_be_written_is_an_error(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", Full())
        assert main(["--version"]) == 3
        assert main(["--help"]) == 3
    assert capsys.readouterr().err == "error: No space left on device\n" * 2


def test_quiet_hides_warnings(folder: Path) -> None:
    write("own.py", OWN_LAYER.replace("examples = ", "unused = "))
    path = write("own.yaml", "import: own.py\ninputs: {x: {shape: [2, 3]}}\nnet: [{name: a, type: Thrice}]\n")
    assert process("check", path).stderr.startswith("warning: Thrice has no examples")
    assert process("check", path, "-q").stderr == ""


# check ----------------------------------------------------------------------------------------------------------------


def test_check_prints_the_table(small: str, capsys: pytest.CaptureFixture[str]) -> None:
    lines = ok(capsys, "check", small).splitlines()
    assert lines[0] == "small.yaml: no errors"
    rows = {line.split()[0]: line.split() for line in lines if line}
    assert rows["x"][1:] == ["input", "(4,", "6)", "float32"]
    start = ["msra", "(ReLU", "'act'", "follows)"]
    assert rows["fc1"][1:] == ["Linear", "x", "(4,", "3)", "21", "0.00", "96", "B", *start]
    assert rows["fc2"][-1] == "frozen"
    assert rows["accuracy"][-2:] == ["eval", "only"]
    assert rows["total"][1] == "29"
    assert rows["parameters"][1:] == ["29", "(116", "B),", "8", "of", "them", "frozen"]


def test_check_as_json(small: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "check", small, write("bad.yaml", SMALL.replace("Linear", "Linaer", 1)), "--json")
    assert (code, err) == (2, "")
    answer = json.loads(out)
    good, bad = answer["files"]
    assert (answer["ok"], good["ok"], bad["ok"]) == (False, True, False)
    assert [layer["name"] for layer in good["net"]["layers"]] == ["fc1", "act", "fc2", "loss", "accuracy"]
    assert bad["errors"][0] == {
        "message": "unknown layer type 'Linaer'",
        "file": "bad.yaml",
        "line": 4,
        "column": 23,
        "hint": "did you mean 'Linear'?",
        "exit_code": 2,
    }


def test_check_takes_overrides_in_both_forms(small: str, capsys: pytest.CaptureFixture[str]) -> None:
    out = ok(capsys, "check", small, "net.fc1.out_features=7", "--set", "net.fc2.out_features=5", "--json")
    shapes = {layer["name"]: layer["shapes"] for layer in json.loads(out)["files"][0]["net"]["layers"]}
    assert (shapes["fc1"], shapes["fc2"]) == ([[4, 7]], [[4, 5]])


def test_check_finds_all_errors_of_all_files(small: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = SMALL.replace("momentum", "momentun").replace("features: 3", "features: 0").replace("[fc2, t]", "[f, t]")
    code, out, err = run(capsys, "check", write("bad.yaml", text), small)
    assert code == 2
    assert "error: bad.yaml:9:19: unknown key 'momentun' in solver (SGD)" in err
    assert "error: bad.yaml:4:45: layer 'fc1' (Linear): out_features must be >= 1, got 0" in err
    assert "error: bad.yaml:7:54: layer 'loss' (SoftmaxCrossEntropy): bottom 'f' is not produced" in err
    assert "4 errors; nothing was run.\n" in err
    assert "2 files checked, 1 with errors\n" in err
    assert "small.yaml: no errors" in out


def test_errors_of_the_data_section_do_not_blame_the_layers(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    err = refused(capsys, "check", write("bad.yaml", DIGITS.replace("Digits", "Digit", 1)))
    assert err.count("error:") == 1
    assert "unknown data source type 'Digit'" in err
    missing = DIGITS.replace('type: Digits, split: "train[:64]"', "type: NPZ, path: none.npz")
    assert refused(capsys, "check", write("bad.yaml", missing), code=3).count("error:") == 1
    above = missing.replace(", bottom: image", "")
    assert refused(capsys, "check", write("bad.yaml", above), code=3).count("error:") == 1
    both = missing.replace("out_features: 10", "out_features: 0")
    err = refused(capsys, "check", write("bad.yaml", both))
    assert "there is no such file" in err
    assert "must be >= 1" in err


def test_an_error_of_a_config_outweighs_a_missing_file(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    missing = DIGITS.replace('type: Digits, split: "train[:64]"', "type: NPZ, path: none.npz")
    refused(capsys, "check", write("a.yaml", missing), write("b.yaml", SMALL + "sed: 1\n"), code=2)


def test_check_looks_at_the_shapes_of_val_too(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez("wide.npz", image=images(4, shape=(1, 30, 30)), label=np.arange(4))
    text = DIGITS.replace('type: Digits, split: "train[64:128]"', "type: NPZ, path: wide.npz")
    err = refused(capsys, "check", write("bad.yaml", text))
    assert "the net does not take the data of data.val: layer 'fc' (Linear): 'weight' was set up with shape" in err


WORDS = """\
data: {train: {type: Text, path: words.txt, sequence_length: 4, batch_size: 2}}
net:
  - {name: e, type: Embedding, bottom: x, num_embeddings: 9, embedding_dim: 3, sparse: true}
  - {name: fc, type: Linear, out_features: 9}
  - {name: scores, type: Transpose, dim0: 1, dim1: 2}
  - {name: loss, type: SoftmaxCrossEntropy, bottom: [scores, y]}
solver: {type: Adam, lr: 0.1, weight_decay: 0.01}
train: {max_steps: 1}
"""


@pytest.mark.parametrize("command", ["check", "train"])
def test_a_solver_that_cannot_update_single_rows_is_refused_before_anything_runs(
    folder: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    Path("words.txt").write_text("abcdefghi" * 20)
    err = refused(capsys, command, write("bad.yaml", WORDS))
    assert "error: bad.yaml:7:1: the gradient of 'e.weight' is sparse, and solver Adam does not update single" in err
    assert "AdaGrad, Nesterov, SGD do; or give the layer `sparse: false`" in err
    assert "error: bad.yaml:3:12: the gradient of 'e.weight' is sparse, and weight_decay would act on its other" in err
    assert "give layer 'e' `decay_mult: 0`" in err
    assert not Path("runs").exists()
    mended = WORDS.replace("Adam", "AdaGrad").replace("sparse: true", "sparse: true, decay_mult: 0")
    assert run(capsys, command, write("good.yaml", mended))[0] == 0


def test_check_says_what_may_not_be_meant(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = "inputs: {x: {shape: [2, 3]}}\nnet: [{name: fc, type: Linear, out_features: 3}]\n"
    code, _, err = run(capsys, "check", write("a.yaml", text))
    assert code == 0
    assert "note: a.yaml: there is no solver section" in err
    assert "note: a.yaml: no layer is a loss in train" in err


def test_check_needs_no_gpu_and_says_so(
    small: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "cupy", None)
    code, out, err = run(capsys, "check", small, "backend=cupy")
    assert code == 0
    assert "float32 on cupy" in out
    assert "backend 'cupy' needs the package 'cupy'" in err
    assert "pip install" in refused(capsys, "time", small, "backend=cupy", code=5)


@pytest.mark.parametrize("command", ["check", "config", "time"])
def test_a_run_is_taken_for_its_config(command: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write("own.py", OWN_LAYER)
    Path("run").mkdir()
    text = f"import: {Path('own.py').absolute()}\ninputs: {{x: {{shape: [2, 3]}}}}\nnet: [{{name: a, type: Thrice}}]\n"
    write("run/config.resolved.yaml", text)
    assert "--allow-import" in refused(capsys, command, "run")
    try:
        assert "Thrice" in ok(capsys, command, "run", "--allow-import", "-q" if command != "check" else "--json")
    finally:
        forget("Thrice")


def forget(type_name: str) -> None:
    """Forget a user's layer and the file that it came from."""
    LAYERS.remove(type_name)
    for name in [name for name in sys.modules if name.startswith("layerforge_user_own")]:
        del sys.modules[name]


# Bad files ------------------------------------------------------------------------------------------------------------

ALIASES = "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 21))
BAD_FILES = {
    "missing": (None, "does not exist"),
    "folder": (None, "is a folder, not a config file"),
    "empty": (b"", "the file is empty"),
    "only comments": (b"# nothing\n", "the file holds no values"),
    "binary": (bytes(range(128, 256)) * 4, "is not UTF-8 text"),
    "HDF5": (b"\x89HDF\r\n\x1a\n" + bytes(100), "is an HDF5 file, not YAML text"),
    "tab": (b"net:\n\t- {}\n", "not valid YAML"),
    "unclosed": (b"net: [{name: a\n", "not valid YAML"),
    "list": (b"- a\n", "the top level must be a mapping"),
    "aliases": (ALIASES.encode(), "more than 200000 values"),
    "duplicate key": (b"seed: 1\nseed: 2\nnet: []\n", "the key 'seed' is given twice"),
    "unknown key": ((SMALL + "sed: 1\n").encode(), "unknown key 'sed'"),
    "wrong type": ((SMALL + "seed: one\n").encode(), "seed must be an integer >= 0, got 'one'"),
    "unknown layer": (SMALL.replace("ReLU", "Relo").encode(), "unknown layer type 'Relo'"),
    "layer key": (SMALL.replace("out_features", "num_output").encode(), "did you mean 'out_features'?"),
}


@pytest.mark.parametrize("command", ["check", "config", "time"])
@pytest.mark.parametrize("what", BAD_FILES)
def test_bad_files(what: str, command: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content, words = BAD_FILES[what]
    if what == "folder":
        Path("bad.yaml").mkdir()
    elif content is not None:
        write("bad.yaml", content)
    err = refused(capsys, command, "bad.yaml")
    assert words in err
    assert err.startswith("error: ")
    assert sorted(os.listdir()) == ([] if what == "missing" else ["bad.yaml"]), "something was left behind"


@pytest.mark.parametrize("command", ["check", "time"])
@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("bottom: [fc2, t]", "bottom: [fc3, t]", "bottom 'fc3' is not produced by any earlier layer"),
        ("{shape: [4], dtype", "{shape: [5], dtype", "has shape (5,), expected (4,)"),
        ("type: ReLU", "type: Sigmoid, top: fc1", "cannot run in place"),
    ],
)
def test_bad_nets(
    command: str, old: str, new: str, words: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = SMALL.replace(old, new)
    if "in place" in words:  # the first Linear's backward does not read its top; a second Sigmoid's does
        text = text.replace("  - {name: fc2", "  - {name: again, type: ReLU, bottom: fc1, top: fc1}\n  - {name: fc2")
    assert words in refused(capsys, command, write("bad.yaml", text))


# report ---------------------------------------------------------------------------------------------------------------


def net_of(text: str) -> Net:
    return Net.from_config(parse_yaml(text, "text"))


def test_describe_counts_flops_and_parameters() -> None:
    totals = net_table.describe(net_of(SMALL))["totals"]
    assert (totals["batch_size"], totals["parameters"], totals["trained_parameters"]) == (4, 29, 21)
    linear, relu, frozen, loss = 2 * 4 * 6 * 3, 4 * 3, 2 * 4 * 3 * 2, 6 * 4 * 2
    assert totals["forward_flops"] == linear + relu + frozen + loss
    assert totals["forward_flops_per_sample"] == totals["forward_flops"] / 4
    assert totals["step_flops"] == 2 * totals["forward_flops"], "x wants no gradient and fc2 is frozen: one way back"
    unfrozen = net_table.describe(net_of(SMALL.replace(", freeze: true", "")))["totals"]
    assert unfrozen["step_flops"] == 2 * totals["forward_flops"] + frozen, "gradients of x and of the weight"


def test_kept_memory_counts_once_and_not_what_is_there_anyway() -> None:
    kept = net_table.kept_bytes(net_table.planned(net_of(SMALL)))
    assert kept["fc1"] == 4 * 6 * 4, "x"
    assert kept["act"] == 4 * 3 * 4, "y, which fc2 keeps too"
    assert kept["fc2"] == 0
    assert kept["loss"] >= 4 * 2 * 4
    assert "accuracy" not in kept, "it does not run in train"


def test_describe_leaves_the_net_alone() -> None:
    text = SMALL.replace("type: ReLU", "type: BatchNorm")
    net, twin = net_of(text), net_of(text)
    inputs = {"x": np.random.default_rng(0).standard_normal((4, 6)), "t": np.array([0, 1, 1, 0])}
    for each in (net, twin):
        each.forward(**inputs)
    net_table.describe(net)
    for each in (net, twin):
        each.backward()
    assert np.array_equal(net.params["fc1"]["weight"].grad, twin.params["fc1"]["weight"].grad)
    assert np.array_equal(net.state["act"]["running_mean"], twin.state["act"]["running_mean"])


def test_the_table_marks_what_is_in_place_shared_and_for_one_phase() -> None:
    text = """
inputs: {x: {shape: [2, 3]}}
net:
  - {name: a, type: Linear, out_features: 3}
  - {name: r, type: ReLU, bottom: a, top: a}
  - {name: b, type: Linear, out_features: 3, share: {weight: a.weight}}
  - {name: noise, type: Dropout, phase: train}
"""
    rows = {line.split()[0]: line for line in net_table.net_table(net_of(text)).splitlines() if line}
    assert rows["r"].endswith("in place")
    assert rows["b"].endswith("weight is a.weight")
    assert rows["noise"].endswith("train only")


def test_a_layer_that_counts_its_flops_wrongly_is_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write("own.py", OWN_LAYER + "\n    def flops(self, bottoms, tops):\n        return missing\n")
    path = write("own.yaml", "import: own.py\ninputs: {x: {shape: [2, 3]}}\nnet: [{name: a, type: Thrice}]\n")
    try:
        assert "layer 'a' (Thrice): NameError" in refused(capsys, "check", path)
    finally:
        forget("Thrice")


def test_a_net_that_takes_no_dummies_is_described_all_the_same() -> None:
    net = net_of(
        "engine: reference\ninputs: {p: {shape: [2, 3]}}\nnet: [{name: c, type: Linear, out_features: 2}]\n"
    )

    def fail(*arrays: Any) -> Any:
        raise ValueError("not with ones")

    linear = type(net.layers["c"])
    before = linear.forward
    try:
        linear.forward = fail  # type: ignore[method-assign]
        about = net_table.describe(net)
    finally:
        linear.forward = before  # type: ignore[method-assign]
    assert about["totals"]["kept_bytes"] is None
    assert "not with ones" in about["notes"][0]
    assert "?" in net_table.table_of(about)


# config ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [SMALL, DIGITS, BLOCKS], ids=["small", "digits", "blocks"])
def test_config_prints_a_config_that_says_the_same(
    text: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = ok(capsys, "config", write("a.yaml", text))
    second = ok(capsys, "config", write("b.yaml", first))
    assert load_yaml("b.yaml")[0] == load_yaml(write("c.yaml", second))[0]
    about = [json.loads(ok(capsys, "check", name, "--json"))["files"][0]["net"] for name in ("a.yaml", "b.yaml")]
    assert about[0] == about[1]


def test_config_says_where_every_value_came_from(small: str, capsys: pytest.CaptureFixture[str]) -> None:
    write("upper.yaml", "extends: small.yaml\nsolver: {momentum: 0.7}\n")
    lines = [line.split() for line in ok(capsys, "config", "upper.yaml", "net.fc1.bias=false", "seed=3").splitlines()]
    assert ["seed:", "3", "#", "--set"] in lines
    assert ["lr:", "0.1", "#", "small.yaml:9"] in lines
    assert ["momentum:", "0.7", "#", "upper.yaml:2"] in lines
    assert ["out_features:", "3", "#", "small.yaml:4"] in lines
    assert ["bias:", "false", "#", "--set"] in lines
    assert ["negative_slope:", "0.0", "#", "default"] in lines
    assert ["log_every:", "50", "#", "default"] in lines


def test_config_fills_in_the_layers_of_blocks(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answer = json.loads(ok(capsys, "config", write("a.yaml", BLOCKS), "--json"))
    fc, act = answer["config"]["blocks"]["dense"]["net"]
    assert (fc["out_features"], fc["bias"], act["negative_slope"]) == ("${m}", True, 0.0)
    assert answer["origins"]["blocks.dense.net.fc.bias"] == "default"
    assert answer["origins"]["blocks.dense.net.fc.out_features"] == "a.yaml:6"


def test_config_says_what_a_null_filler_means_and_why(small: str, capsys: pytest.CaptureFixture[str]) -> None:
    origins = json.loads(ok(capsys, "config", small, "--json"))["origins"]
    assert origins["net.fc1.weight_filler"] == "default: variance 2 / fan_in, as ReLU 'act' follows"
    assert origins["net.fc2.weight_filler"] == "default: variance 0.25 / fan_in, as SoftmaxCrossEntropy 'loss' follows"
    assert origins["net.fc1.bias_filler.type"] == "default"
    words = ["net.fc1.weight_filler=xavier", "net.fc2.weight_filler=null"]
    answer = json.loads(ok(capsys, "config", small, *words, "--json"))
    assert answer["config"]["net"][0]["weight_filler"] == "xavier"
    assert answer["origins"]["net.fc1.weight_filler"] == "--set"
    assert answer["origins"]["net.fc2.weight_filler"].startswith("--set: variance 0.25 / fan_in")


@pytest.mark.parametrize(
    ("rest", "words"),
    [
        ("", "variance 2 / fan_in where ReLU follows"),
        ("  - {name: fc, type: Linear, out_features: 2}\n  - {name: b, block: dense, with: {m: 3, act: Tanh}}\n",
         "variance 2 / fan_in where ReLU follows, 1 / fan_in where Tanh follows"),
    ],
    ids=["the same for all uses", "not the same"],
)  # fmt: skip
def test_config_says_it_of_the_layers_of_blocks(
    rest: str, words: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = BLOCKS.replace("{m: null}", "{m: null, act: ReLU}").replace("type: ReLU}", 'type: "${act}"}') + rest
    answer = json.loads(ok(capsys, "config", write("a.yaml", text), "--json"))
    assert answer["origins"]["blocks.dense.net.fc.weight_filler"] == f"default: {words}"


def test_config_says_whose_start_a_shared_weight_has(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = """inputs: {x: {shape: [2, 4]}, t: {shape: [2], dtype: int64}}
net:
  - {name: fc, type: Linear, out_features: 5, bottom: x}
  - {name: loss, type: SoftmaxCrossEntropy, bottom: [fc, t]}
  - {name: other, type: Linear, out_features: 5, bottom: x, share: {weight: fc.weight}}
  - {name: act, type: ReLU}
"""
    origins = json.loads(ok(capsys, "config", write("a.yaml", text), "--json"))["origins"]
    assert origins["net.other.weight_filler"] == "default: it is fc.weight, and starts as that"


def test_config_needs_no_data_for_that(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = DIGITS.replace("type: Digits", "type: NPZ, path: nowhere.npz").replace("train[", "all[")
    assert "/ fan_in, as " in ok(capsys, "config", write("a.yaml", text))


def test_the_table_says_how_weights_start(small: str, capsys: pytest.CaptureFixture[str]) -> None:
    about = json.loads(ok(capsys, "check", small, "--json"))["files"][0]["net"]
    starts = {layer["name"]: layer["starts"] for layer in about["layers"]}
    assert starts["act"] == {}
    assert starts["fc2"] == {
        "weight": {
            "filler": {"type": "xavier", "mode": "fan_in", "gain": 0.5},
            "why": "SoftmaxCrossEntropy 'loss' follows",
        }
    }
    assert "xavier gain 0.5 (SoftmaxCrossEntropy 'loss' follows), frozen" in ok(capsys, "check", small)


def test_config_finds_errors_of_layers_too(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = BLOCKS.replace("type: ReLU", "type: ReLU, alpha: 1").replace("repeat: 2, ", "") + "sed: 1\n"
    err = refused(capsys, "config", write("a.yaml", text))
    assert "unknown key 'sed'" in err
    assert "did you mean 'negative_slope'?" in err


# layers ---------------------------------------------------------------------------------------------------------------


def types_of(kind: str) -> list[Any]:
    return [cls for types in registered(kind).values() for cls in types]


def test_the_catalogue_has_every_layer_once_and_by_family(capsys: pytest.CaptureFixture[str]) -> None:
    out = ok(capsys, "layers")
    assert len(out.splitlines()) == len(LAYERS.names()) == len(types_of("layers"))
    lines = [line.split() for line in out.splitlines()]
    assert lines[0][:2] == ["Element-wise", "Abs"]
    assert ["Matrices", "Bilinear"] in [line[:2] for line in lines]
    assert "fully connected layer (Caffe: InnerProduct)" in out


@pytest.mark.parametrize("kind", KINDS)
def test_every_type_has_a_page(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    for cls in types_of(kind):
        out = ok(capsys, "layers", cls.type_name)
        assert out.startswith(cls.type_name)
        assert all(name in out for name in cls.fields)
        about = json.loads(ok(capsys, "layers", cls.type_name, "--json"))
        assert (about["name"], about["kind"]) == (cls.type_name, kind)


@pytest.mark.parametrize("kind", KINDS[1:])
def test_other_kinds_are_listed(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    listed = json.loads(ok(capsys, "layers", f"--{kind}", "--json"))
    assert [entry["name"] for entry in listed] == [cls.type_name for cls in types_of(kind)]


def test_families_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    listed = {entry["name"]: entry for entry in json.loads(ok(capsys, "layers", "--json"))}
    assert listed["Linear"]["family"] == "Matrices"
    assert json.loads(ok(capsys, "layers", "Linear", "--json"))["family"] == "Matrices"


def test_the_page_of_a_layer(capsys: pytest.CaptureFixture[str]) -> None:
    out = ok(capsys, "layers", "Linear")
    assert "    y = x Wᵀ + b\n" in out
    assert "  out_features   an integer >= 1   required          features O of the output\n" in out
    assert "Reads       bottom in backward\n" in out
    assert "  - {name: linear, type: Linear, bottom: x1, out_features: 4}\n" in out
    assert "x1 (3, 5) float32 -> (3, 4) float32" in out


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Lineer", "did you mean 'Linear'?"),
        ("InnerProduct", "did you mean Linear (Caffe's InnerProduct)?"),
        ("cosin", "did you mean 'cosine'?"),
        ("qqqqqq", "`layerforge layers` lists them"),
    ],
)
def test_an_unknown_type(name: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert refused(capsys, "layers", name) == f"error: there is no type '{name}'\n     = {words}\n"


def test_layers_of_a_users_file(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        out = ok(capsys, "layers", "--import", write("own.py", OWN_LAYER))
        assert ["own", "Thrice", "three", "times", "its", "bottom"] in [line.split() for line in out.splitlines()]
    finally:
        forget("Thrice")
    assert "there is no file" in refused(capsys, "layers", "--import", "none.py")


# time -----------------------------------------------------------------------------------------------------------------


def test_time_has_a_row_for_each_layer(small: str, capsys: pytest.CaptureFixture[str]) -> None:
    out = ok(capsys, "time", small, "--iterations", "2")
    rows = [line.split() for line in out.splitlines()]
    assert [row[0] for row in rows if row[-1:] == ["%"]] == ["fc1", "act", "fc2", "loss", "between", "total"]
    assert next(row for row in rows if row and row[0] == "total")[-2:] == ["100.0", "%"]


def test_time_as_json(small: str, capsys: pytest.CaptureFixture[str]) -> None:
    answer = json.loads(ok(capsys, "time", small, "--iterations", "3", "--json"))
    assert (answer["iterations"], answer["batch_size"], answer["differentiated"]) == (3, 4, True)
    for key in ("forward_ms", "backward_ms"):
        parts = [layer[key] for layer in answer["layers"]] + [answer["between_layers"][key]]
        assert sum(parts) == pytest.approx(answer["total"][key])
        assert all(layer[key] > 0 for layer in answer["layers"])


CASTS = """\
name: small
precision: bf16-mixed
inputs: {x: {shape: [4, 3, 8, 8]}, t: {shape: [4], dtype: int64}}
net:
  - {name: c1, type: Conv2d, out_channels: 4, kernel_size: 3, bottom: x}
  - {name: n1, type: LocalResponseNorm, size: 3}
  - {name: c2, type: Conv2d, out_channels: 4, kernel_size: 3}
  - {name: flat, type: Flatten}
  - {name: fc, type: Linear, out_features: 3}
  - {name: loss, type: SoftmaxCrossEntropy, bottom: [fc, t]}
"""


def test_time_of_casts_has_a_row(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    missing = engine(FAST).missing() or engine(FAST).bfloat16_missing()
    demand_that(missing is None, f"bfloat16: {missing}")
    write("casts.yaml", CASTS)
    answer = json.loads(ok(capsys, "time", "casts.yaml", "--iterations", "3", "--json"))
    assert answer["precision"] == {"asked": "bf16-mixed", "mixed": ["bf16-mixed"], "why": None}
    assert [row["precision"] == "bf16-mixed" for row in answer["layers"]] == [True, False, True, True, True, False]
    assert answer["casts"]["count"] == 2
    for key in ("forward_ms", "backward_ms"):
        parts = [layer[key] for layer in answer["layers"]] + [answer["casts"][key], answer["between_layers"][key]]
        assert sum(parts) == pytest.approx(answer["total"][key])
        assert answer["casts"][key] > 0
    out = ok(capsys, "time", "casts.yaml", "--iterations", "2")
    rows = [line.split() for line in out.splitlines()]
    assert [row[0] for row in rows if row[-1:] == ["%"]][-3:] == ["casts", "between", "total"]
    assert out.startswith("small: one batch of 4, phase train, float32, bf16-mixed on numpy ")
    assert ok(capsys, "time", "casts.yaml", "precision=float32").count("casts") == 0


def test_what_is_kept_of_casts_counts_at_the_layers_that_read_them(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = engine(FAST).missing() or engine(FAST).bfloat16_missing()
    demand_that(missing is None, f"bfloat16: {missing}")
    write("casts.yaml", CASTS)
    net = json.loads(ok(capsys, "check", "casts.yaml", "--json"))["files"][0]["net"]
    assert net["precision"] == {"asked": "bf16-mixed", "mixed": ["bf16-mixed"], "why": None}
    kept = {layer["name"]: layer["kept_bytes"] for layer in net["layers"]}
    assert kept["c2"] >= 2 * 4 * 4 * 6 * 6
    assert "\nsmall: one batch of 4, float32, bf16-mixed on numpy\n" in ok(capsys, "check", "casts.yaml")


def test_the_stopwatch() -> None:
    net = net_of(SMALL)
    net.forward(x=np.zeros((4, 6)), t=np.zeros(4, int))
    watch = Stopwatch(net)
    watch.times = {("fc1", "forward"): [9, 9, 1, 2], ("act", "forward"): [9, 9, 2, 3], ("", "forward"): [50, 50, 4, 7]}
    assert watch.milliseconds("act") == {"forward_ms": 2500, "backward_ms": 0}, "the first two are warm-up"
    assert watch.milliseconds_between() == {"forward_ms": 1500, "backward_ms": 0}


def test_every_iteration_begins_with_zero_gradients() -> None:
    nets = net_of(SMALL), net_of(SMALL)
    for net, iterations in zip(nets, (1, 4), strict=True):
        measure(net, "train", iterations)
    first, second = (net.params["fc1"]["weight"].grad for net in nets)
    assert first.any()
    assert np.array_equal(first, second)


def test_time_of_eval_is_forward_alone(small: str, capsys: pytest.CaptureFixture[str]) -> None:
    answer = json.loads(ok(capsys, "time", small, "--iterations", "1", "--phase", "eval", "--json"))
    assert [layer["name"] for layer in answer["layers"]][-1] == "accuracy"
    assert answer["total"]["backward_ms"] == 0


def test_time_of_nets_without_a_loss(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = "inputs: {x: {shape: [2, 3]}}\nnet: [{name: fc, type: Linear, out_features: 3}]\n"
    answer = json.loads(ok(capsys, "time", write("a.yaml", text), "--iterations", "1", "--json"))
    assert answer["layers"][0]["backward_ms"] > 0
    code, _, err = run(capsys, "time", write("b.yaml", text.replace("3}]", "3, freeze: true}]")), "--iterations", "1")
    assert (code, err) == (0, "note: nothing in this net is differentiable, so only forward was timed\n")


def test_time_and_check_read_no_data(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write("mnist.yaml", DIGITS.replace("Digits", "MNIST"))  # neither here nor reachable
    assert "no errors" in ok(capsys, "check", path)
    assert "Linear" in ok(capsys, "time", path, "--iterations", "1")


# data -----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def mnist(folder: Path) -> Path:
    """A working folder with a small MNIST in it."""
    write_mnist(folder / "data" / "mnist")
    return folder


def test_data_list_says_where_files_are(mnist: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = {line.split()[0]: line for line in ok(capsys, "data", "list").splitlines()}
    assert f"in {Path('data/mnist')} " in rows["MNIST"]
    assert "not here (170 MB to download)" in rows["CIFAR10"]
    assert "made here" in rows["Digits"]
    assert "a file of yours" in rows["NPZ"]
    Path("data/mnist/t10k-labels-idx1-ubyte.gz").unlink()
    listed = {entry["name"]: entry for entry in json.loads(ok(capsys, "data", "list", "--json"))}
    assert "incomplete" in listed["MNIST"]["where"]
    assert len(listed["MNIST"]["files"]) == 3


def test_data_info(mnist: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = ok(capsys, "data", "info", "MNIST")
    assert "train: 20 samples" in out
    assert "test: 10 samples" in out
    assert "image: (1, 28, 28) real" in out
    assert "label: () index, 0 to 9" in out
    about = json.loads(ok(capsys, "data", "info", "CIFAR10", "--json"))
    assert about["parts"] == {"train": None, "test": None}
    assert about["classes"][3] == "cat"
    assert about["missing"] == {"cifar-10-binary.tar.gz": 170052171}


def test_data_info_of_a_file(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez("a.npz", x=np.zeros((7, 3)), y=np.arange(7))
    about = json.loads(ok(capsys, "data", "info", "NPZ", "path=a.npz", "--json"))
    assert about["parts"] == {"all": 7}
    assert about["blobs"]["x"]["shape"] == [3]
    assert "path is required" in refused(capsys, "data", "info", "NPZ")
    assert "unknown key 'pth'" in refused(capsys, "data", "info", "NPZ", "pth=a.npz")


def test_data_verify(mnist: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "data", "verify", "MNIST")
    assert code == 3, "these are not the published files"
    assert out.count("checksum WRONG") == 4
    assert "train: 20 samples" in out
    assert err.count("is not the published file") == 4


def test_data_verify_finds_damage(mnist: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images_file = Path("data/mnist/train-images-idx3-ubyte.gz")
    images_file.write_bytes(images_file.read_bytes()[:-40])
    code, out, _ = run(capsys, "data", "verify", "--json")
    answer = json.loads(out)
    assert (code, answer["ok"]) == (3, False)
    assert any("damaged or cut off" in error["message"] for error in answer["sets"][0]["errors"])


def test_data_verify_without_files(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "data", "verify", "MNIST")
    assert code == 3
    assert "MNIST is not here\n     = `layerforge data download MNIST`" in err
    assert "no file of a public data set is here" in ok(capsys, "data", "verify")


def test_data_download(mnist: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert len(ok(capsys, "data", "download", "MNIST").splitlines()) == 4, "what is here is left alone"
    assert "LAYERFORGE_OFFLINE is set" in refused(capsys, "data", "download", "CIFAR10", code=3)
    assert "Digits has nothing to download: made here" in refused(capsys, "data", "download", "Digits")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("data verfy", "did you mean 'verify'?"),
        ("data info", "data info takes one name"),
        ("data info MNIST CIFAR10", "data info takes one name"),
        ("data info Mnist", "did you mean 'MNIST'?"),
        ("data download", "data download takes one or more names"),
        ("data list MNIST", "data list takes no name"),
        ("data", "required: ACTION"),
    ],
)
def test_data_misused(line: str, words: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert words in refused(capsys, *line.split())


# Processes ------------------------------------------------------------------------------------------------------------


def test_python_m_layerforge() -> None:
    done = process("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"layerforge {__version__}\n", "")


def test_the_exit_code_leaves_the_process(small: str) -> None:
    assert process("check", small, "net.fc1.out_features=0").returncode == 2


def loaded_by(code: str) -> set[str]:
    """The names of the modules that running the code loads."""
    script = [sys.executable, "-c", f"import sys\n{code}\nprint(*sys.modules)"]
    return set(subprocess.run(script, capture_output=True, text=True, check=True).stdout.split())


def test_help_and_imports_load_nothing_heavy() -> None:
    heavy = {"h5py", "tqdm", "urllib.request", "layerforge.net"}
    assert not heavy & loaded_by("import layerforge")
    assert not (heavy | {"numpy", "yaml"}) & loaded_by("from layerforge.cli import main; main(['--help'])")


def test_check_refuses_the_path_that_a_run_could_not_write_down(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "odd\x01").mkdir()
    (folder / "odd\x01" / "t.csv").write_text("a,label\n" + "1.5,0\n2.5,1\n" * 4)
    (folder / "odd\x01" / "c.yaml").write_text(
        "data: {train: {type: CSV, path: t.csv, label: label, batch_size: 2}}\n"
        "net:\n- {name: fc, type: Linear, out_features: 2}\n"
        "- {name: loss, type: SoftmaxCrossEntropy, bottom: [fc, label]}\n"
        "solver: {lr: 0.1}\ntrain: {epochs: 1}\n"
    )
    monkeypatch.chdir(folder / "odd\x01")
    told = refused(capsys, "check", "c.yaml")
    assert "control character U+0001" in told and "rename the file or folder" in told
    assert "control character U+0001" in refused(capsys, "train", "c.yaml")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["-o", "out", "onnx", "none.onnx"], "none.onnx"),
        (["--output", "caffe", "onnx", "none.onnx"], "none.onnx"),  # a folder that is called as a format
        (["-o", "onnx", "caffe", "none.prototxt"], "none.prototxt"),
        (["--check", "onnx", "none.onnx", "-o", "caffe"], "none.onnx"),
        (["-o", "out", "onxn", "none.onnx"], "unknown format 'onxn'"),
        (["-o", "onnx"], "import names no format"),
        (["-o", "out"], "import names no format"),
    ],
)
def test_options_may_stand_before_the_format(
    words: list[str], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    if told == "none.onnx":
        demand("onnx")
        demand("onnxruntime")
    assert main(["import", *words]) in (2, 3)
    assert told in capsys.readouterr().err
