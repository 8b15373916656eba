"""A trained model, written as Python: preprocessing, answers, the program, and the command that writes it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.written_nets import loaded

from layerforge import ConfigError, load_model, snapshot, train
from layerforge.cli import main
from layerforge.interop.python import save_model, write_model
from layerforge.training.console import Console

QUIET = Console(progress="off", quiet=True)
SCORES = [
    {"name": "flat", "type": "Flatten", "bottom": "image"},
    {"name": "fc", "type": "Linear", "out_features": 3},
    {"name": "loss", "type": "SoftmaxCrossEntropy", "bottom": ["fc", "label"]},
]


def trained(folder: Path, data: dict[str, Any], net: list[dict[str, Any]]) -> str:
    """The run of a training of a few steps."""
    solver = {"solver": {"lr": 0.05}, "train": {"epochs": 2, "output_dir": str(folder / "runs")}}
    return str(train({"name": "small", "data": data, "net": net, **solver}, console=QUIET).run)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, np.ndarray]:
    """A run on small pictures in bytes, their mean subtracted and their border cut off; and the pictures."""
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(16)
    x, labels = rng.integers(0, 256, (60, 2, 6, 6), dtype=np.uint8), rng.integers(0, 3, 60)
    np.savez(folder / "data.npz", image=x, label=labels)
    source = {"type": "NPZ", "path": str(folder / "data.npz"), "batch_size": 20}
    source["augment"] = {"random_crop": {"size": 4}}
    transform = {"mean": "pixel", "std": "channel"}
    return trained(folder, {"train": source, "transform": transform}, SCORES), x


def test_raw_pictures_go_through_the_preprocessing_of_training(images: tuple[str, np.ndarray]) -> None:
    run, x = images
    model = load_model(run)
    net = loaded(write_model(model))
    np.testing.assert_allclose(net.scores(x[:7]), model.scores(x[:7]), rtol=0, atol=1e-6)
    assert net.predict(x).tolist() == model.predict(x).tolist()
    with pytest.raises(ValueError, match=r"training saw uint8 from 0 to 255, \(N, 2, 6, 6\); got float64"):
        net.predict(x / 255)
    with pytest.raises(ValueError, match="got uint8"):
        net.predict(x[:, :1])


def test_classes_have_their_names_and_values_their_units(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    x = rng.normal(0, 1, (40, 2)) * [10, 0.1] + [100, 5]
    words = np.array(["ant", "bee", 'c"at'])[rng.integers(0, 3, 40)]
    price = 1000 + 30 * x[:, 0]
    lines = [f'{a},{b},"{w.replace(chr(34), chr(34) * 2)}",{p}' for (a, b), w, p in zip(x, words, price, strict=True)]
    (tmp_path / "t.csv").write_text("\n".join(["a,b,kind,price", *lines]) + "\n")
    source = {"type": "CSV", "path": str(tmp_path / "t.csv"), "batch_size": 20}
    kinds = [{"name": "fc", "type": "Linear", "out_features": 3, "bottom": "x"}, {**SCORES[2]}]
    values = [{"name": "fc", "type": "Linear", "out_features": 1, "bottom": "x"}]
    values += [{"name": "loss", "type": "MSELoss", "bottom": ["fc", "target"]}]
    of_kinds, of_values = {"label": "kind", "ignore": ["price"]}, {"target": "price", "ignore": ["kind"]}
    for more, net in ((of_kinds, kinds), (of_values, values)):
        model = load_model(trained(tmp_path, {"train": {**source, **more}}, net))
        written = loaded(write_model(model))
        mine, theirs = model.predict(x), written.predict(x)
        if mine.dtype.kind == "U":
            assert theirs.tolist() == mine.tolist()
        else:
            np.testing.assert_allclose(theirs, mine, rtol=1e-6)


def test_scores_that_are_no_numbers_choose_no_class(images: tuple[str, np.ndarray]) -> None:
    run, x = images
    written = write_model(load_model(run))
    written.arrays["fc.bias"] = np.full_like(written.arrays["fc.bias"], np.nan)
    with pytest.raises(ValueError, match="NaN"):
        loaded(written).predict(x[:2])


def test_the_command_writes_a_program(images: tuple[str, np.ndarray], tmp_path: Path, capsys: Any) -> None:
    run, x = images
    out = tmp_path / "small"
    assert main(["export", "python", run, "-o", str(out), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["inputs"] == ["image"] and told["blobs"] == ["fc"]
    assert told["files"] == {name: (out / name).stat().st_size for name in ("net.py", "weights.npz")}
    np.save(tmp_path / "x.npy", x[:5])
    for arguments in (["x.npy"], ["x.npy", "scores.npy"]):
        command = [sys.executable, str(out / "net.py"), *arguments]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    model = load_model(run)
    np.testing.assert_allclose(np.load(tmp_path / "scores.npy"), model.scores(x[:5]), rtol=0, atol=1e-6)
    done = subprocess.run([sys.executable, str(out / "net.py")], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "usage: python net.py" in done.stderr
    assert main(["export", "python", run, "-o", str(out)]) == 2
    assert "is not empty" in capsys.readouterr().err


def test_a_config_has_start_values_and_a_blob_must_be_there(
    images: tuple[str, np.ndarray], tmp_path: Path, capsys: Any
) -> None:
    run, _ = images
    config = Path(run) / "config.resolved.yaml"
    assert main(["export", "python", str(config), "-o", str(tmp_path / "start"), "--json"]) == 0
    told = capsys.readouterr()
    assert "start values; --weights FILE names others" in told.err
    assert json.loads(told.out)["weights"] is None
    assert main(["export", "python", run, "--blob", "flta", "-o", str(tmp_path / "a")]) == 2
    assert "did you mean 'flat'" in capsys.readouterr().err
    assert not (tmp_path / "a").exists()
    weights = str(Path(run) / "checkpoints" / "last.h5")
    assert main(["export", "python", str(config), "--weights", weights, "-o", str(tmp_path / "a")]) == 0
    assert "net.py" in capsys.readouterr().out


def test_named_blobs_come_together_those_of_losses_too(images: tuple[str, np.ndarray]) -> None:
    run, x = images
    model = load_model(run)
    written = write_model(model, ["loss", "flat"])
    assert written.inputs == ["image", "label"]
    given = {"image": model.prepared("image", x[:6]), "label": np.arange(6) % 3}
    loss, flat = loaded(written).forward(**given)
    mine = model.net.forward(phase="eval", outputs=("loss", "flat"), **given)
    np.testing.assert_allclose(loss, mine["loss"], rtol=1e-6)
    np.testing.assert_array_equal(flat, mine["flat"])


def test_a_folder_that_cannot_be_made_is_told_of(images: tuple[str, np.ndarray], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="is no folder"):
        save_model(load_model(images[0]), tmp_path / "file")


def test_the_folder_is_there_whole_or_not_at_all(
    images: tuple[str, np.ndarray], tmp_path: Path, monkeypatch: Any
) -> None:
    model = load_model(images[0])
    seen: list[bool] = []
    right = snapshot.atomic_write

    def watched(path: Path, content: bytes) -> None:
        seen.append((tmp_path / "new").exists())
        right(path, content)
        if len(seen) == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr(snapshot, "atomic_write", watched)
    assert save_model(model, tmp_path / "new") == tmp_path / "new"
    assert seen == [False, False] and sorted(p.name for p in (tmp_path / "new").iterdir()) == ["net.py", "weights.npz"]
    with pytest.raises(KeyboardInterrupt):
        save_model(model, tmp_path / "other")
    assert [p.name for p in tmp_path.iterdir()] == ["new"]
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    save_model(model, ".")
    assert sorted(p.name for p in Path.cwd().iterdir()) == ["net.py", "weights.npz"]


def test_the_program_says_what_is_wrong_in_a_line(images: tuple[str, np.ndarray], tmp_path: Path) -> None:
    run, x = images
    save_model(load_model(run), tmp_path / "small")
    np.savez(tmp_path / "named.npz", image=x[:3])
    np.savez(tmp_path / "other.npz", picture=x[:3])
    np.save(tmp_path / "object.npy", np.array([{}], object), allow_pickle=True)
    np.save(tmp_path / "floats.npy", x / 255)
    np.save(tmp_path / "nan.npy", np.full(x.shape, np.nan))
    (tmp_path / "text.npy").write_text("not an array")
    wrong = {
        "other.npz": "no array image, but picture",
        "object.npy": "cannot be read",
        "text.npy": "cannot be read",
        "none.npy": "cannot be read",
        "floats.npy": "training saw uint8",
        "nan.npy": "sample 0 is not finite",
    }
    for arguments, code, said in [
        (["-h"], 0, "usage"),
        (["named.npz"], 0, ""),
        *(([k], 1, v) for k, v in wrong.items()),
    ]:
        command = [sys.executable, str(tmp_path / "small" / "net.py"), *arguments]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == code and said in done.stdout + done.stderr, done
        assert "Traceback" not in done.stderr
