"""Files of earlier formats keep loading, and files of one kind are told from files of another."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from layerforge import Net, train
from layerforge.cli import main
from layerforge.schema.errors import ConfigError, DataError
from layerforge.snapshot import FORMAT, pack, read_snapshot, write_snapshot
from layerforge.training.console import Console

GOLDEN = Path(__file__).parents[1] / "golden"
WEIGHT_SUM = 33.478424  # of one layer's weights, when the files were made
FORMATS = range(1, FORMAT + 1)
AS_WRITTEN = ["net.in/fc.weight_filler=msra", "net.fc2.weight_filler=msra"]  # the default of when the files were made


def quiet() -> Console:
    return Console(progress="off", quiet=True)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def golden(version: int, name: str) -> Path:
    return GOLDEN / f"format{version}" / name


@pytest.mark.parametrize("version", FORMATS)
def test_weights_of_every_format_load(version: int) -> None:
    arrays, meta = read_snapshot(golden(version, "weights.h5"))
    assert (meta["kind"], meta["format"]) == ("weights", version)
    net = Net.from_yaml(golden(version, "golden.yaml"))
    net.load(golden(version, "weights.h5"))
    for name, array in net.arrays().items():
        np.testing.assert_array_equal(array, arrays[name])
    assert float(np.abs(arrays["params/in%2Ffc/weight"]).sum()) == pytest.approx(WEIGHT_SUM, rel=1e-6)


@pytest.mark.parametrize("version", FORMATS)
def test_a_run_of_every_format_goes_on(version: int, folder: Path) -> None:
    """Seven of twelve steps were made by the version that wrote the files."""
    meta = read_snapshot(golden(version, "checkpoint.h5"))[1]
    assert meta["iteration"] == 7
    run = folder / "runs" / "golden" / "old"
    (run / "checkpoints").mkdir(parents=True)
    shutil.copy(golden(version, "checkpoint.h5"), run / "checkpoints" / "last.h5")
    (run / "config.resolved.yaml").write_text(meta["config"])
    for name in ("metrics.csv", "metrics.jsonl"):
        (run / name).write_text("")
    result = train(golden(version, "golden.yaml"), resume_from=run, console=quiet())
    assert (result.status, result.steps) == ("finished", 12)
    whole = train(golden(version, "golden.yaml"), AS_WRITTEN, console=quiet())
    one, two = (read_snapshot(Path(r.run) / "checkpoints/last.h5")[0] for r in (result, whole))
    assert set(one) == set(two)
    for name in one:  # not bit by bit: the first half was computed on another machine
        np.testing.assert_allclose(one[name], two[name], rtol=1e-3, atol=1e-5, err_msg=name)


def test_what_a_later_version_wrote_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = golden(FORMAT, "weights.h5").read_bytes()
    later = content.replace(b"snapshot %d\n" % FORMAT, b"snapshot %d\n" % (FORMAT + 1), 1)
    (folder / "later.h5").write_bytes(later)
    config = str(golden(FORMAT, "golden.yaml"))
    assert main(["train", config, "--init-weights", "later.h5"]) == 3
    said = capsys.readouterr().err
    assert f"later.h5 is a snapshot of format {FORMAT + 1}, which a later LayerForge wrote" in said
    assert "pip install --upgrade layerforge" in said


NET = """\
name: small
data: {train: {type: Digits, split: "train[:64]", batch_size: 32}}
net:
  - {name: flat, type: Flatten, bottom: image}
  - {name: body/1, type: Linear, out_features: 8}
  - {name: bn, type: BatchNorm}
  - {name: head, type: Linear, out_features: 10}
  - {name: loss, type: SoftmaxCrossEntropy, bottom: [head, label]}
solver: {lr: 0.05}
train: {max_steps: 2}
"""


@pytest.fixture
def config(folder: Path) -> str:
    (folder / "small.yaml").write_text(NET)
    return "small.yaml"


@pytest.fixture
def weights(config: str) -> Path:
    """Weights of another net: its head has other shapes, `extra` is not in `config`, and `bn` is missing."""
    more = "  - {name: extra, type: Linear, out_features: 8, bottom: body/1}\n  - {name: head"
    text = NET.replace("  - {name: bn, type: BatchNorm}\n", "").replace("  - {name: head", more)
    Path("other.yaml").write_text(text.replace("type: Linear, out_features: 10", "type: Linear, out_features: 12"))
    Net.from_yaml("other.yaml", ["seed=5"]).save("other.h5")
    return Path("other.h5")


def begin(config: str, weights: Path, *patterns: str) -> dict[str, np.ndarray]:
    """What a run's net looks like before its first step that counts."""
    overrides = ["train.max_steps=1", "solver.lr=1e-30"]
    result = train(config, overrides, init_weights=weights, allow_missing=patterns, console=quiet())
    return read_snapshot(Path(result.run) / "checkpoints/last.h5")[0]


def test_all_that_does_not_fit_is_listed(config: str, weights: Path) -> None:
    with pytest.raises(DataError, match=r"other\.h5 does not fit this net") as caught:
        begin(config, weights)
    text = str(caught.value)
    assert "missing params/bn/weight" in text
    assert "missing state/bn/running_mean" in text
    assert "unexpected params/extra/weight" in text
    assert "params/head/weight has shape (12, 8), the net's is (10, 8)" in text
    assert "--allow-missing 'head'" in text
    assert "body" not in text


def test_what_is_allowed_begins_anew_and_the_rest_is_taken(config: str, weights: Path) -> None:
    with pytest.raises(DataError, match=r"other\.h5 does not fit this net") as caught:
        begin(config, weights, "head", "b*")
    assert "unexpected params/extra/weight" in str(caught.value)
    assert "head" not in str(caught.value).partition("begin anew")[0]
    arrays, old = begin(config, weights, "head", "b*", "extra"), read_snapshot(weights)[0]
    fresh = Net.from_yaml(config).arrays()
    np.testing.assert_array_equal(arrays["params/body%2F1/weight"], old["params/body%2F1/weight"])
    np.testing.assert_array_equal(arrays["params/head/weight"], fresh["params/head/weight"])
    np.testing.assert_array_equal(arrays["params/bn/weight"], fresh["params/bn/weight"])


def test_a_pattern_that_matches_nothing_is_a_mistake(config: str, weights: Path) -> None:
    with pytest.raises(ConfigError, match="no layer is called 'haed'") as caught:
        begin(config, weights, "haed")
    assert "did you mean 'head'?" in str(caught.value)


def said_by(capsys: pytest.CaptureFixture[str], code: int, arguments: Sequence[Any]) -> str:
    assert main([str(a) for a in ["train", *arguments, "--progress=off"]]) == code
    return capsys.readouterr().err


def test_the_command_line(config: str, weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    allow = [f"--allow-missing={name}" for name in ("head", "bn", "extra")]
    said = said_by(capsys, 0, [config, "--init-weights", weights, *allow])
    assert "not taken from other.h5: missing params/bn/weight" in said
    assert "--init-weights FILE too" in said_by(capsys, 2, [config, *allow])


def test_each_kind_of_file_says_what_it_is(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    run = Path(train(config, console=quiet()).run)
    checkpoint = run / "checkpoints/last.h5"
    said = said_by(capsys, 0, [config, "--init-weights", checkpoint])
    assert "last.h5 is a checkpoint, after step 2; only its weights are taken" in said
    assert "--resume-from" in said
    assert "is a checkpoint" in said_by(capsys, 0, [config, "--init-weights", run])
    Net.from_yaml(config).save("weights.h5")
    said = said_by(capsys, 2, [config, "--resume-from", "weights.h5"])
    assert "weights.h5 holds weights only, not the state of a run" in said
    assert "--init-weights weights.h5" in said
    write_snapshot("trace.h5", {"blobs/a": np.ones(2)}, {"kind": "trace"})
    assert "trace.h5 holds a trace of one step" in said_by(capsys, 2, [config, "--resume-from", "trace.h5"])
    assert "trace.h5 holds no weights" in said_by(capsys, 2, [config, "--init-weights", "trace.h5"])


BROKEN = {
    "position": ({"epoch": "1"}, "holds no position of a run"),
    "window": ({"window": None}, "holds no position of a run"),
    "later": ({"unheard_of": 1}, "holds no position of a run"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_checkpoint_with_another_content_is_refused_in_words(config: str, case: str) -> None:
    run = Path(train(config, console=quiet()).run)
    file = run / "checkpoints/last.h5"
    arrays, meta = read_snapshot(file)
    change, words = BROKEN[case]
    file.write_bytes(pack(arrays, meta | {"position": meta["position"] | change}))
    with pytest.raises(DataError, match=words):
        train(config, resume_from=run, console=quiet())


@pytest.mark.parametrize(
    "change", [{"iteration": "1"}, {"iteration": -1}, {"type": None}, {"schedule": {"best": None}}, {"schedule": 1}]
)
def test_a_checkpoint_with_another_solver_state_is_refused_in_words(config: str, change: dict[str, Any]) -> None:
    run = Path(train(config, console=quiet()).run)
    file = run / "checkpoints/last.h5"
    arrays, meta = read_snapshot(file)
    file.write_bytes(pack(arrays, meta | {"solver": meta["solver"] | change}))
    with pytest.raises(DataError, match="no state of a solver"):
        train(config, resume_from=run, console=quiet())


@pytest.mark.parametrize("name", ["position", "solver", "config", "seed", "fallback", "iteration"])
def test_a_checkpoint_that_lacks_something_says_what(config: str, name: str) -> None:
    run = Path(train(config, console=quiet()).run)
    file = run / "checkpoints/last.h5"
    arrays, meta = read_snapshot(file)
    file.write_bytes(pack(arrays, {k: v for k, v in meta.items() if k != name}))
    with pytest.raises(DataError, match=f"a checkpoint without '{name}'"):
        train(config, resume_from=run, console=quiet())


@pytest.mark.parametrize("line", ["{", "[]", '{"step": 1}', '{"step": "1", "run_segment": 0}', "[" * 10_000, "\udcff"])
def test_damaged_metrics_are_refused_with_their_line(config: str, line: str) -> None:
    run = Path(train(config, console=quiet()).run)
    with (run / "metrics.jsonl").open("ab") as file:
        file.write(line.encode("utf-8", "surrogateescape") + b"\n")
    count = (run / "metrics.jsonl").read_bytes().count(b"\n")
    with pytest.raises(DataError) as caught:
        train(config, resume_from=run, console=quiet())
    assert f"metrics.jsonl:{count}:1" in str(caught.value) or "is not UTF-8 text" in str(caught.value)


def test_the_pointer_to_the_newest_run_cannot_leave_its_folder(config: str, folder: Path) -> None:
    run = Path(train(config, console=quiet()).run)
    here = folder / "above" / "here"
    for place in (folder / "above", folder / "above" / "beside", here / "a" / "b", here / "inside"):
        shutil.copytree(run, place, dirs_exist_ok=True)
    for name in ("../beside", str(folder / "above" / "beside"), "a/b", "..", "\udcff", "x" * 5000):
        (here / "latest.txt").write_bytes(name.encode("utf-8", "surrogateescape"))
        with pytest.raises(ConfigError, match="neither a run nor a file of weights"):
            begin(config, here)
    (here / "latest.txt").write_text("inside\n")
    begin(config, here)


def test_constants_of_a_transform_that_are_none(config: str) -> None:
    run = Path(train(config, console=quiet()).run)
    file = run / "checkpoints/last.h5"
    arrays, meta = read_snapshot(file)
    del arrays["transform/image.offset"]
    file.write_bytes(pack(arrays, meta))
    with pytest.raises(DataError, match="no constants of an input transform"):
        train(config, resume_from=run, console=quiet())


def test_weights_of_layers_with_other_names(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("older.yaml").write_text(NET.replace("name: head", "name: fc").replace("[head,", "[fc,"))
    Net.from_yaml("older.yaml", ["seed=5"]).save("older.h5")
    said_by(capsys, 0, [config, "--init-weights", "older.h5", "--rename", "fc=head", "train.max_steps=1"])
    said = said_by(capsys, 2, [config, "--init-weights", "older.h5", "--rename=fd=head"])
    assert "nothing that is called 'fd'" in said
    assert "must be OLD=NEW" in said_by(capsys, 2, [config, "--init-weights", "older.h5", "--rename=fd"])
    assert "--init-weights FILE too" in said_by(capsys, 2, [config, "--rename", "fc=head"])
