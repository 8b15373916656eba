"""A written net against ONNX Runtime on the same net: sizes, and what a process takes for first scores.

    python scripts/startup_benchmark.py [--rounds 11] [CONFIG ...]

Each way is a fresh process with one thread that imports what it needs, loads the net, and computes the scores of one
sample: `net.py` of `layerforge export python` with NumPy, and the file of `layerforge export onnx` with onnxruntime,
which needs NumPy, too. `layerforge` itself is the third, `python` an interpreter that does nothing. They take turns;
reported are medians, with the quartiles, of the wall clock and of the processor time, and how far the scores of net.py
and onnxruntime are apart.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from layerforge import Net
from layerforge.check.draws import input_specs, with_batch
from layerforge.check.harness import draw
from layerforge.config.document import Config
from layerforge.config.yaml_dump import dump_yaml
from layerforge.inference.answers import scores_blob
from layerforge.inference.saving import OF_TRAINING
from layerforge.interop.onnx.saving import save_model as save_onnx
from layerforge.interop.python import save_model
from layerforge.interop.python.net_text import Part

CONFIGS = ("mnist_mlp", "cifar10_resnet20", "char_transformer")
ROOT = Path(__file__).parent.parent
READ = "given = dict(np.load('case.npz')); "
WAYS = {
    "python": "pass",
    "net.py": "import numpy as np; from net import Net; " + READ + "np.save('net.npy', Net().forward(**given))",
    "onnxruntime": "import numpy as np, onnxruntime as o; " + READ + "options = o.SessionOptions(); "
    "options.intra_op_num_threads = 1; session = o.InferenceSession('net.onnx', options); "
    "np.save('onnx.npy', session.run(None, given)[0])",
    "layerforge": "import numpy as np; from layerforge import load_model; " + READ
    + "net = load_model('model').net; net.forward(phase='eval', outputs=['{blob}'], **given)",
}  # fmt: skip


def prepare(config: Path, folder: Path) -> str:
    """All files of a net in a folder; the blob of its scores."""
    net = Net.from_yaml(config, keep="none")
    phase, blob = net.graph.phases["eval"], scores_blob(net.graph)[0]
    save_model(net, folder / "written")
    for path in (folder / "written").iterdir():
        path.rename(folder / path.name)
    save_onnx(net, folder / "net.onnx", outputs=[blob])
    rng = np.random.default_rng(0)
    specs = with_batch(input_specs(net.graph), 1)
    needed = Part.of(phase, [blob]).input_names()
    np.savez(folder / "case.npz", **{name: np.asarray(draw(specs[name], rng), specs[name].dtype) for name in needed})
    tree = Config.of_inputs(net.config.resolved(), "the net", net.graph.inputs).resolved()
    (folder / "model").mkdir()
    (folder / "model" / "net.yaml").write_text(dump_yaml({k: v for k, v in tree.items() if k not in OF_TRAINING}))
    net.save(folder / "model" / "weights.h5")
    return blob


def seconds(code: str, folder: Path) -> tuple[float, float]:
    """From the start of a process to its end, and its processor time, which other work on the machine adds less to."""
    env = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", code], cwd=folder, env=env, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    computed = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - start, computed


def measure(config: Path, rounds: int) -> None:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        blob = prepare(config, folder)
        sizes = {name: (folder / name).stat().st_size / 1024 for name in ("net.py", "weights.npz", "net.onnx")}
        codes = {way: code.replace("{blob}", blob) for way, code in WAYS.items()}
        for code in codes.values():
            seconds(code, folder)
        times: dict[str, list[tuple[float, float]]] = {way: [] for way in codes}
        for _ in range(rounds):
            for way, code in codes.items():
                times[way].append(seconds(code, folder))
        apart = np.abs(np.load(folder / "net.npy") - np.load(folder / "onnx.npy")).max()
    listed = ", ".join(f"{name} {size:.0f} KiB" for name, size in sizes.items())
    print(f"\n{config.stem}: {listed}; the scores differ by {apart:.1e}")
    for number, word in enumerate(("wall clock", "processor time")):
        base = statistics.median(both[number] for both in times["onnxruntime"])
        print(f"  {word}")
        for way, found in times.items():
            quartiles = statistics.quantiles([both[number] for both in found], n=4)
            low, middle, high = (1e3 * quartile for quartile in quartiles)
            print(f"    {way:12} {middle:6.0f} ms [{low:.0f}, {high:.0f}]   {middle / base / 1e3:.2f} of onnxruntime's")


def installed() -> None:
    """What the packages take on the disk."""
    import onnxruntime

    for package in (np, onnxruntime):
        folder = Path(package.__file__).parent
        folders = [folder, folder.with_name(f"{folder.name}.libs")]
        size = sum(path.stat().st_size for each in folders for path in each.rglob("*") if path.is_file())
        print(f"{folder.name} {package.__version__}: {size / 2**20:.0f} MiB installed")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("configs", nargs="*", default=CONFIGS, metavar="CONFIG")
    parser.add_argument("--rounds", type=int, default=11)
    args = parser.parse_args()
    installed()
    for name in args.configs:
        measure(ROOT / "configs" / f"{name}.yaml", args.rounds)


if __name__ == "__main__":
    main()
