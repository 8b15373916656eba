"""The documents tell the truth: commands run, Python runs, links lead somewhere, the worked example works."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.slots import SLOTS

from layerforge import Example, Net, Spec, register
from layerforge.check.harness import Probe
from layerforge.layers import builtin_layers
from layerforge.schema.registry import LAYERS, SOURCES

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), ROOT / "data" / "README.md"])


def blocks(path: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", path.read_text(), re.S)


def commands(path: Path) -> list[str]:
    """The layerforge commands of a page, also those at the end of a longer line."""
    lines = [line for block in blocks(path, "sh") for line in block.splitlines()]
    return [line[line.index("layerforge ") :] for line in lines if re.search(r"(^|&& )layerforge ", line)]


@pytest.fixture
def workplace(tmp_path: Path) -> Path:
    """An empty folder with the repository's configs and docs, and no data and no network."""
    for name in ("configs", "docs"):
        (tmp_path / name).symlink_to(ROOT / name)
    return tmp_path


def environment(folder: Path) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("LAYERFORGE_")}
    return {**kept, "LAYERFORGE_OFFLINE": "1", "LAYERFORGE_CACHE": str(folder / "cache"), "CI": "1"}


def call(line: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a documented command word for word; training is only cut short."""
    words = shlex.split(line)
    if words[1] == "train":
        words += ["--max-steps", "3"]
    command = [sys.executable, "-m", "layerforge", *words[1:]]
    return subprocess.run(
        command, cwd=folder, env=environment(folder), capture_output=True, text=True, timeout=300, check=False
    )


def test_the_readme_commands_run_in_order(workplace: Path) -> None:
    lines = commands(ROOT / "README.md")
    assert any(line.startswith("layerforge train configs/mnist_mlp.yaml") for line in lines)
    assert len(lines) >= 9
    for line in lines:
        done = call(line, workplace)
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"


def test_the_readme_has_the_two_commands() -> None:
    text = (ROOT / "README.md").read_text()
    main = re.search(r"<!-- main -->\n```sh\n(.*?)```", text, re.S)
    tests = re.search(r"<!-- tests -->\n```sh\n(.*?)```", text, re.S)
    assert main is not None and tests is not None
    assert 'pip install ".[fast]" && layerforge train configs/mnist_mlp.yaml' in main.group(1)
    assert 'pip install -e ".[dev]"' in tests.group(1)
    assert "pytest" in tests.group(1)


def test_the_readme_python_runs(tmp_path: Path) -> None:
    code = blocks(ROOT / "README.md", "python")
    assert code
    for block in code:
        subprocess.run([sys.executable, "-W", "error", "-c", block], cwd=tmp_path, check=True, capture_output=True)


def test_the_readme_net_trains(workplace: Path) -> None:
    (workplace / "net.yaml").write_text(blocks(ROOT / "README.md", "yaml")[0])
    done = call("layerforge train net.yaml", workplace)
    assert done.returncode == 0, done.stderr


WORKED = {"Snake": "snake", "Maxout": "maxout"}  # the layers of the guide and their files


def test_the_worked_examples_are_proven_and_trained(workplace: Path) -> None:
    lines = commands(ROOT / "docs" / "layers_of_your_own.md")
    verbs = (("test", "py"), ("train", "yaml"))
    files = [*WORKED.values(), "within"]
    proofs = [f"layerforge {do} docs/examples/{f}.{kind}" for f in files for do, kind in verbs]
    assert lines == [*proofs, "layerforge test docs/examples/snake.py --backend strict"]
    for line in lines:
        done = call(line, workplace)
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
    assert not {*WORKED, "Within"} & set(LAYERS.names()), "the examples are a user's layers, none of ours"


@pytest.mark.parametrize(("number", "name"), list(enumerate(WORKED)), ids=list(WORKED))
def test_the_worked_examples_stand_in_the_guide_as_they_are_in_the_files(number: int, name: str) -> None:
    guide = blocks(ROOT / "docs" / "layers_of_your_own.md", "python")[number]
    source = (ROOT / "docs" / "examples" / f"{WORKED[name]}.py").read_text()
    body = guide[guide.index("    def forward") :].strip()
    assert f"class {name}(Layer)" in source
    assert body in source


def test_the_metric_and_the_schedule_stand_in_the_guides_as_they_are_in_their_file() -> None:
    source = (ROOT / "docs" / "examples" / "within.py").read_text()
    for page, number, begin in (("layers_of_your_own", 2, "    bottoms"), ("config", -1, "@register_schedule")):
        guide = blocks(ROOT / "docs" / f"{page}.md", "python")[number]
        for part in guide[guide.index(begin) :].strip().split("\n\n"):
            assert part in source, f"{page}.md"


def test_the_heads_of_the_worked_example_are_what_the_guide_says() -> None:
    layer = example_layer("maxout", "Maxout")
    probe = Probe(layer, Example({"pieces": 3}, [Spec((1, 6))]))
    probe.bottoms = [np.array([[1.0, 7.0, 4.0, 0.0, -5.0, -2.0]])]
    y, lead, winner = probe.forward()
    assert (y.tolist(), lead.tolist(), winner.tolist()) == ([[7, 0]], [[3, 2]], [[1, 0]])
    (dx,) = probe.backward([np.array([[10.0, 20.0]]), np.array([[1.0, 2.0]]), None])
    assert dx.tolist() == [[0, 11, -1, 22, 0, -2]]


def example_layer(file: str, name: str) -> Any:
    """The class of a worked example; the registry forgets it again."""
    spec = importlib.util.spec_from_file_location(file, ROOT / "docs" / "examples" / f"{file}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[file] = module  # where the annotations of a layer are looked up
    try:
        spec.loader.exec_module(module)
    finally:
        LAYERS.remove(name)
        del sys.modules[file]
    return getattr(module, name)


def test_unread_and_integer_heads_in_a_net() -> None:
    """Backward gets zeros for a real head that nobody differentiated, None for an index."""
    received = []
    layer = example_layer("maxout", "Maxout")

    class Watched(layer):
        def backward(self, dy: Any, dlead: Any, dwinner: Any) -> Any:
            received.append((dy.copy(), dlead.copy(), dwinner))
            return super().backward(dy, dlead, dwinner)

    register(Watched)
    try:
        heads = {"name": "heads", "type": "Watched", "pieces": 3, "bottom": "x", "top": ["y", "lead", "winner"]}
        code = {"name": "code", "type": "Embedding", "num_embeddings": 3, "embedding_dim": 2, "bottom": "winner"}
        net = Net.from_config({"inputs": {"x": {"shape": [2, 6], "grad": True}}, "net": [heads, code]})
    finally:
        LAYERS.remove("Watched")
    x = np.arange(12.0).reshape(2, 6)
    net.forward(x=x)
    net.backward(y=np.ones((2, 2)), code=np.ones((2, 2, 2)))
    net.backward(code=np.ones((2, 2, 2)))
    ((dy, dlead, dwinner),) = received
    assert (dy.tolist(), dlead.tolist(), dwinner) == ([[1, 1]] * 2, [[0, 0]] * 2, None)


def test_the_source_of_ones_own_works(tmp_path: Path) -> None:
    [moons] = [block for block in blocks(ROOT / "docs" / "data.md", "python") if "class Moons" in block]
    (tmp_path / "moons.py").write_text(moons)
    (tmp_path / "moons.yaml").write_text(
        "import: [moons.py]\n"
        "data: {train: {type: Moons, samples: 64, batch_size: 16}}\n"
        "net:\n"
        "  - {name: fc, type: Linear, out_features: 2, bottom: x}\n"
        "  - {name: loss, type: SoftmaxCrossEntropy, bottom: [fc, label]}\n"
        "solver: {lr: 0.1}\n"
    )
    done = call("layerforge train moons.yaml", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Moons" not in SOURCES


def test_the_example_of_a_source_and_the_script_that_uses_it_run(workplace: Path) -> None:
    [line] = [line for line in commands(ROOT / "docs" / "data.md") if "examples" in line]
    done = call(line, workplace)
    assert done.returncode == 0, done.stderr
    script = [sys.executable, "-W", "error", str(ROOT / "docs" / "examples" / "in_python.py")]
    ran = subprocess.run(script, cwd=workplace, env=environment(workplace), capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert "accuracy 1.00" in ran.stdout


def test_the_promise_of_resume_is_proven_as_documented(workplace: Path) -> None:
    lines = [line for line in commands(ROOT / "docs" / "runs.md") if "verify resume" in line]
    assert lines
    done = call(lines[0], workplace)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "the same bits" in done.stdout


def test_the_debugging_commands_run_in_order_and_print_what_is_shown(workplace: Path) -> None:
    """Word for word, with the exit codes that stand behind them; of outputs the last line, where nothing is trained."""
    parts = re.findall(r"```sh\n(.*?)```\n(?:\n```\n(.*?)```)?", (ROOT / "docs" / "debugging.md").read_text(), re.S)
    assert len(parts) >= 6
    for block, shown in parts:
        for line in block.splitlines():
            command, _, code = line.partition("  # exit code ")
            done = call(command, workplace)
            assert done.returncode == int(code or 0), f"{line}\n{done.stdout}\n{done.stderr}"
        if shown and "layerforge train" not in block:
            assert done.stdout.splitlines()[-1] == shown.splitlines()[-1]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target


def test_the_documented_slots_are_those_that_are_enforced() -> None:
    text = blocks(ROOT / "docs" / "design.md", "")[0]
    assert [line.split() for line in text.strip().splitlines()] == [
        [n for n in names if n != "__main__"] for names in SLOTS
    ]


def test_the_readme_counts_the_layers_right() -> None:
    layers = builtin_layers()
    differentiable = [cls for cls in layers if cls.is_differentiable()]
    assert f"Of {len(layers)} layer types {len(differentiable)} have a backward" in (ROOT / "README.md").read_text()
