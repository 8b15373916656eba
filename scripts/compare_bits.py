"""Two checkouts of the package against each other: the same nets, batches and steps must give identical bits.

    scripts/compare_bits.py ../before                         that checkout against this one
    scripts/compare_bits.py ../before . --nets 500 --steps 20 --json FILE
    scripts/compare_bits.py ../before --same-start            where other starting values are meant

What a refactor must not change. The nets are those of the first checkout's configs/, of its benchmark, and random ones
(its netfuzzing); each is trained with everything kept and with nothing kept, on the reference and on the engine.
Digested are the parameters and running statistics at the start, after each step the loss, all gradients, parameters
and statistics, and now and then the outputs in eval. Each checkout runs in a process of its own. No data set is read:
inputs are random. Exit code 1 where a digest differs.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
ENGINES = ("reference", "auto")
CLASSES = 4  # labels that any of the nets knows
DIGITS = 16  # of a digest
EVAL_EVERY = 5  # steps, from one forward in eval to the next
LR = 0.001  # at which no net of the benchmark diverges on noise

Digests = dict[str, str]  # of a step: by what was digested; or the type of an error under "error"


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


def digest(arrays: Iterable[Any]) -> str:
    """Of the bits of arrays, in their order."""
    found = hashlib.sha256()
    for array in arrays:
        found.update(b"" if array is None else np.ascontiguousarray(array).tobytes())
    return found.hexdigest()[:DIGITS]


def of_net(net: Any, gradients: bool) -> Digests:
    """Of what a net holds."""
    views = [net.params[layer][name] for layer in net.params for name in net.params[layer]]
    found = {"gradients": digest(view.grad for view in views)} if gradients else {}
    found["parameters"] = digest(view.data for view in views)
    found["statistics"] = digest(net.state[layer][name] for layer in net.state for name in net.state[layer])
    return found


def trained(case: Mapping[str, Any], engine: str, keep: str, steps: int, start: Path | None) -> list[Digests]:
    """The digests at the start and of each step; the last is an error's type where there was one.

    start   the file of a snapshot to begin with; it is written where it is not there
    """
    from layerforge import Net, Solver

    found: list[Digests] = []
    try:
        if "file" in case:
            net = Net.from_yaml(case["file"], [*case["overrides"], f"engine={engine}"], keep=keep)
        else:
            net = Net.from_config({**case["config"], "engine": engine}, keep=keep)
        if start and start.exists():
            net.load(start)
        elif start:
            net.save(start)
        found.append(of_net(net, gradients=False))
        solver, rng = Solver(net, type="SGD", lr=LR, momentum=0.9, weight_decay=5e-4), np.random.default_rng(7)
        for step in range(1, steps + 1):
            batch = inputs_of(net, rng)
            found.append({"loss": digest([np.float64(solver.step(**batch))]), **of_net(net, gradients=True)})
            if step % EVAL_EVERY == 0:
                outputs = net.forward(phase="eval", **batch)
                found[-1]["outputs in eval"] = digest(outputs[name] for name in sorted(outputs))
    except Exception as error:  # whatever it is: the other checkout must say the same
        found.append({"error": type(error).__name__})
    return found


def work(steps: int, starts: Path | None) -> None:
    """Read cases from standard input, write digests by name to standard output."""
    warnings.simplefilter("ignore")
    found = {}
    for number, case in enumerate(json.load(sys.stdin)):
        start = starts / f"{number}.npz" if starts else None
        for engine in case["engines"]:
            for keep in ("all", "none"):
                found[f"{case['name']} {engine} {keep}"] = trained(case, engine, keep, steps, start)
    json.dump(found, sys.stdout)


def random_cases(checkout: Path, nets: int, seed: int) -> Iterator[dict[str, Any]]:
    """The first nets of a checkout's netfuzzing that have a loss."""
    if not nets:
        return
    sys.path.insert(0, str(checkout / "scripts"))
    from netfuzzing import trials

    number = 0
    while nets:
        trial = trials.draw(seed, number)
        if any(action.kind == "step" for action in trial.actions):
            yield {"name": f"random {seed}/{number}", "config": {**trial.config, "threads": 1}}
            nets -= 1
        number += 1


def write_cases(checkout: Path, nets: int, seed: int) -> None:
    """Write to standard output the files of configurations, and random nets that have a loss."""
    cases = []
    for folder, smaller in (("configs", ["data.train.batch_size=8"]), ("scripts/benchmarks/nets", [])):
        for path in sorted((checkout / folder).glob("*.yaml")):
            if path.stem != "base":
                overrides = smaller if "\ndata:" in path.read_text() else []
                cases.append({"name": f"{folder}/{path.stem}", "file": str(path), "overrides": overrides})
    json.dump([*cases, *random_cases(checkout, nets, seed)], sys.stdout)


# In this process ------------------------------------------------------------------------------------------------------


def in_checkout(checkout: Path, arguments: Sequence[object], given: object = None) -> Any:
    """What this script answers, in a process that imports a checkout's package."""
    one = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    environment = {**os.environ, **one, "PYTHONPATH": str(checkout)}
    command = [sys.executable, "-P", __file__, *map(str, arguments), str(checkout)]
    given_as_json = json.dumps(given).encode()
    done = subprocess.run(command, input=given_as_json, env=environment, stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


def difference(before: Sequence[Digests], after: Sequence[Digests]) -> str:
    """Where two trainings part, in words; "" where they are the same to the bit."""
    for step, (old, new) in enumerate(zip(before, after, strict=False)):
        if "error" in old or "error" in new:
            said = [found.get("error", "no error") for found in (old, new)]
            if said[0] != said[1]:
                return f"{said[0]} and {said[1]} in step {step}"
        parts = [part for part in new if old.get(part) != new[part]]
        if parts:
            return f"{'differs from step ' + str(step) if step else 'starts with other'}: {', '.join(parts)}"
    return "" if len(before) == len(after) else "one ends before the other"


def ends(trainings: Iterable[Sequence[Digests]]) -> str:
    """How many ended before their last step, in words."""
    errors = Counter(digests[-1]["error"] for digests in trainings if "error" in digests[-1])
    kinds = ", ".join(f"{number} {kind}" for kind, number in sorted(errors.items()))
    return f"{errors.total()} of all end in an error of the first checkout{kinds and ': '}{kinds}"


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = made.add_argument
    add("before", type=Path, help="the folder of a checkout")
    add("after", type=Path, nargs="?", default=ROOT, help="that of the other; this one by default")
    add("--nets", type=int, default=500, help="random nets")
    add("--steps", type=int, default=20)
    add("--seed", type=int, default=0, help="of the random nets")
    add("--only", default="", help="cases whose name holds this")
    add("--engine", choices=ENGINES, help="one of the two")
    add("--same-start", action="store_true", help="both train from the starting values of the first")
    add("--by-reference", default="", metavar="TYPE,TYPE", help="never the engine's in random nets")
    add("--json", type=Path, metavar="FILE", help="write all digests")
    add("--cases", action="store_true", help=argparse.SUPPRESS)
    add("--work", action="store_true", help=argparse.SUPPRESS)
    add("--starts", type=Path, help=argparse.SUPPRESS)
    return made


def chosen_cases(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Those of the first checkout that were asked for."""
    drawn = in_checkout(args.before.resolve(), ["--cases", "--nets", args.nets, "--seed", args.seed])
    chosen = [case for case in drawn if args.only in case["name"]]
    for case in chosen:
        case["engines"] = [args.engine] if args.engine else ENGINES
        for item in case.get("config", {"net": []})["net"]:
            if item["type"] in args.by_reference.split(","):
                item["engine"] = "reference"
    return chosen


def main() -> int:
    """Compare, and say where the first difference of each case is."""
    args = parser().parse_args()
    if args.cases:
        write_cases(args.before, args.nets, args.seed)
        return 0
    if args.work:
        work(args.steps, args.starts)
        return 0
    given = chosen_cases(args)
    with tempfile.TemporaryDirectory() as starts:
        asked = ["--work", "--steps", args.steps, *(["--starts", starts] if args.same_start else [])]
        before, after = (in_checkout(path.resolve(), asked, given) for path in (args.before, args.after))
    if args.json:
        args.json.write_text(json.dumps({"before": before, "after": after}, indent=1))
    differences = {name: difference(digests, after[name]) for name, digests in before.items()}
    different = {name: words for name, words in differences.items() if words}
    for name, words in different.items():
        print(f"{name}: {words}")
    identical = len(before) - len(different)
    print(f"{len(given)} nets, {len(before)} trainings of {args.steps} steps: {identical} identical,")
    print(f"{len(different)} different; {ends(before.values())}")
    return int(bool(different))


if __name__ == "__main__":
    sys.exit(main())
