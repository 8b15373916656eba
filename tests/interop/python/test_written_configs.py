"""Every shipped configuration, written as Python, gives the same scores where LayerForge is not installed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.onnx_nets import inputs_of, randomize
from support.written_nets import ours, run_alone

from layerforge import Net
from layerforge.check.draws import input_specs
from layerforge.interop.python import save_model
from layerforge.interop.python.net_text import Part

CONFIGS = sorted((Path(__file__).parents[3] / "configs").glob("*.yaml"))
BATCHES = (2, 5)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for each configuration: the written net, inputs and ours outputs; and theirs, from a process apart."""
    root = tmp_path_factory.mktemp("written")
    for path in CONFIGS:
        net = Net.from_yaml(path, ["engine=reference"], keep="none")
        randomize(net)
        folder = save_model(net, root / path.stem)
        blob = scores_of(net)
        needed = Part.of(net.graph.phases["eval"], [blob]).input_names()
        for samples in BATCHES:
            drawn = inputs_of(input_specs(net.graph), samples)
            given = {name: drawn[name] for name in needed}
            np.savez(folder / f"case{samples}.npz", **given)
            np.save(folder / f"ours{samples}.npy", ours(net, [blob], given)[0])
    run_alone(root)
    return root


def scores_of(net: Net) -> str:
    from layerforge.inference.answers import scores_blob

    return scores_blob(net.graph)[0]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
@pytest.mark.parametrize("samples", BATCHES)
def test_a_shipped_net_gives_the_same_scores_with_numpy_alone(alone: Path, path: Path, samples: int) -> None:
    mine, theirs = (np.load(alone / path.stem / f"{word}{samples}.npy") for word in ("ours", "case"))
    assert mine.dtype == theirs.dtype and mine.shape == theirs.shape
    assert np.ptp(mine) > 0 or not mine.shape
    np.testing.assert_allclose(theirs, mine, rtol=0, atol=1e-6 * max(1, np.abs(mine).max()))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_written_file_has_forward_in_eval_and_nothing_more(alone: Path, path: Path) -> None:
    text = (alone / path.stem / "net.py").read_text()
    for word in ("def backward", "layerforge.", "import layerforge", "self.save(", "jvp", "setup(", "param(", "->"):
        assert word not in text, f"{word} in net.py"
    imported = {line.split()[1].split(".")[0] for line in text.splitlines() if line.startswith(("import ", "from "))}
    assert imported <= {"numpy", "sys", "math", "pathlib", "dataclasses", "typing", "functools", "itertools"}
    longest = max(text.splitlines(), key=len)
    assert len(longest) <= 120, longest
