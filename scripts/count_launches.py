"""What a training step asks of a device: calls that launch work, waits, uploads, views, allocations.

    python scripts/count_launches.py                                   five of the example configurations
    python scripts/count_launches.py configs/mnist_mlp.yaml --json F
    python scripts/count_launches.py configs/mnist_mlp.yaml --set solver.type=LARS

Counted on the strict stand-in for CuPy (tests/support/strict_cupy.py, which says what counts as what), without a GPU,
and without the data: a step is one batch of random numbers of the right shapes. The first step is not counted, as it
holds what is done once; the two after it must cost the same.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from support import strict_cupy  # noqa: E402
from support.strict_backend import STRICT  # noqa: E402

from layerforge import Net, Solver  # noqa: E402
from layerforge.check.harness import draw  # noqa: E402
from layerforge.config.document import Config  # noqa: E402
from layerforge.schema.errors import ConfigError, LayerForgeError  # noqa: E402

EXAMPLES = ("mnist_mlp", "mnist_lenet", "cifar10_resnet20", "char_lstm", "char_transformer")
SET_UP, COUNTED = 1, 2  # steps


def count(config: Config) -> dict[str, int]:
    """The counts of one training step after set-up, on random batches.

    Errors   LayerForgeError where the configuration does not build, or two steps do not cost the same
    """
    net = Net(config, keep="none", backend=STRICT)
    if config.solver is None:
        raise ConfigError(f"{config.path} has no solver, and so no step", hint="for example `solver: {lr: 0.1}`")
    solver = Solver.from_config(net, config.solver)
    solver.total_iterations, solver.total_epochs = 1000, 10
    rng, found = np.random.default_rng(0), []
    for _ in range(SET_UP + COUNTED):
        batch = {name: draw(spec, rng) for name, spec in net.graph.inputs.items()}
        with strict_cupy.counting() as counts:
            solver.step(**batch)
        found.append(counts)
    one, other = found[SET_UP:]
    if one != other:
        raise LayerForgeError(f"two steps of {config.path} do not cost the same: {one}, then {other}")
    return one


def table(found: dict[str, dict[str, int]]) -> str:
    """A row for each configuration."""
    wide = max(map(len, found))
    heads = list(next(iter(found.values())))
    rows = [f"{name:{wide}}" + "".join(f"{n:>13,}" for n in counts.values()) for name, counts in found.items()]
    return "\n".join([" " * wide + "".join(f"{head:>13}" for head in heads), *rows])


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    known = [ROOT / "configs" / f"{name}.yaml" for name in EXAMPLES]
    parser.add_argument("configs", nargs="*", type=Path, default=known, metavar="CONFIG", help="configurations")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change them (repeatable)")
    parser.add_argument("--json", type=Path, metavar="F", help="write the counts to a file")
    args = parser.parse_args(argv)
    found: dict[str, Any] = {}
    try:
        for path in args.configs:
            found[path.stem] = count(Config.load(path, tuple(args.set)))
    except LayerForgeError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(table(found))
    if args.json:
        args.json.write_text(json.dumps(found, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
