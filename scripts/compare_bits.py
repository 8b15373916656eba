"""Two checkouts of the package against each other: the same nets, batches and steps must give identical bits.

    scripts/compare_bits.py ../before                         that checkout against this one
    scripts/compare_bits.py ../before . --nets 500 --steps 20 --json FILE

What a refactor must not change. The nets are those of configs/, of the benchmark, and random ones (netfuzzing), all of
this checkout; each is trained with everything kept and with nothing kept, on the reference and on the engine. After
each step the loss, all gradients, parameters and running statistics are digested. Each checkout runs in a process of
its own. No data set is read: inputs are random. Exit code 1 where a digest differs.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
ENGINES = ("reference", "auto")
CLASSES = 4  # labels that any of the nets knows
DIGITS = 16  # of a digest


# In a process of the checkout in question -----------------------------------------------------------------------------


def inputs_of(net: Any, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """A batch of random numbers and labels."""
    batch = {}
    for name, spec in net.graph.inputs.items():
        if spec.is_real:
            batch[name] = rng.normal(size=spec.shape).astype(spec.dtype)
        else:
            batch[name] = rng.integers(spec.low or 0, spec.high or CLASSES, spec.shape).astype(spec.dtype)
    return batch


def digest(loss: float, net: Any) -> str:
    """Of all that a step made."""
    found = hashlib.sha256(np.float64(loss).tobytes())
    for views in (net.params[layer] for layer in net.params):
        for view in (views[name] for name in views):
            for array in (view.data, view.grad):
                found.update(b"" if array is None else np.ascontiguousarray(array).tobytes())
    for arrays in (net.state[layer] for layer in net.state):
        for name in arrays:
            found.update(np.ascontiguousarray(arrays[name]).tobytes())
    return found.hexdigest()[:DIGITS]


def trained(case: Mapping[str, Any], engine: str, keep: str, steps: int) -> list[str]:
    """The digest of each step; the last is an error's text where there was one."""
    from layerforge import Net, Solver

    found: list[str] = []
    try:
        if "file" in case:
            net = Net.from_yaml(case["file"], [*case["overrides"], f"engine={engine}"], keep=keep)
        else:
            net = Net.from_config({**case["config"], "engine": engine}, keep=keep)
        solver, rng = Solver(net, type="SGD", lr=0.01, momentum=0.9, weight_decay=5e-4), np.random.default_rng(7)
        for _ in range(steps):
            found.append(digest(solver.step(**inputs_of(net, rng)), net))
    except Exception as error:  # whatever it is: the other checkout must say the same
        found.append(type(error).__name__)
    return found


def work(steps: int) -> None:
    """Read cases from standard input, write digests by name to standard output."""
    warnings.simplefilter("ignore")
    found = {}
    for case in json.load(sys.stdin):
        for engine in ENGINES:
            for keep in ("all", "none"):
                found[f"{case['name']} {engine} {keep}"] = trained(case, engine, keep, steps)
    json.dump(found, sys.stdout)


# In this process ------------------------------------------------------------------------------------------------------


def cases(nets: int, seed: int, by_reference: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Files of configurations, and random nets that have a loss."""
    for folder, overrides in (("configs", ["data.train.batch_size=8"]), ("scripts/benchmarks/nets", [])):
        for path in sorted((ROOT / folder).glob("*.yaml")):
            if path.stem != "base":
                yield {"name": f"{folder}/{path.stem}", "file": str(path), "overrides": overrides}
    from netfuzzing import trials

    number = found = 0
    while found < nets:
        trial = trials.draw(seed, number)
        if any(action.kind == "step" for action in trial.actions):
            for item in trial.config["net"]:
                if item["type"] in by_reference:
                    item["engine"] = "reference"
            yield {"name": f"random {seed}/{number}", "config": {**trial.config, "threads": 1}}
            found += 1
        number += 1


def run(checkout: Path, given: Sequence[Mapping[str, Any]], steps: int) -> dict[str, list[str]]:
    """The digests of a checkout's package."""
    one = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    environment = {**os.environ, **one, "PYTHONPATH": str(checkout)}
    command = [sys.executable, "-P", __file__, "--work", "--steps", str(steps), str(checkout)]
    given_as_json = json.dumps(given).encode()
    done = subprocess.run(command, input=given_as_json, env=environment, stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


def main() -> int:
    """Compare, and say where the first difference of each case is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", type=Path, help="the folder of a checkout")
    parser.add_argument("after", type=Path, nargs="?", default=ROOT, help="that of the other; this one by default")
    parser.add_argument("--nets", type=int, default=500, help="random nets")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="of the random nets")
    parser.add_argument("--only", default="", help="cases whose name holds this")
    parser.add_argument("--by-reference", default="", metavar="TYPE,TYPE", help="never the engine's in random nets")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all digests")
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.work:
        work(args.steps)
        return 0
    sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]
    given = [case for case in cases(args.nets, args.seed, args.by_reference.split(",")) if args.only in case["name"]]
    before, after = (run(path.resolve(), given, args.steps) for path in (args.before, args.after))
    if args.json:
        args.json.write_text(json.dumps({"before": before, "after": after}, indent=1))
    different = 0
    for name, digests in before.items():
        if digests != after[name]:
            different += 1
            pairs = enumerate(zip(digests, after[name], strict=False))
            step = next((i + 1 for i, (a, b) in pairs if a != b), min(len(digests), len(after[name])) + 1)
            print(f"{name}: differs from step {step} on")
    broken = sum(len(digests) < args.steps or len(digests[-1]) != DIGITS for digests in before.values())
    print(f"{len(given)} nets, {len(before)} trainings of {args.steps} steps: {len(before) - different} identical,")
    print(f"{different} different; {broken} of all end in an error of the first checkout")
    return int(different > 0)


if __name__ == "__main__":
    sys.exit(main())
