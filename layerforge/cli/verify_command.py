"""Put promises to the test, on your own configuration.

    layerforge verify resume CONFIG    kill a training again and again, resume it, and compare it bit by bit with one
                                       that ran through; to make it short: train.max_steps=300
    layerforge verify batch CONFIG     the gradient of a batch is that of its parts, ragged ones too, dropout included

Exit code 0 when the promise holds, 1 when it does not.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from .arguments import add_config_arguments, add_json_option, open_config, positive
from .output import print_json
from .terminal import note

if TYPE_CHECKING:
    from ..debug.verify_batch import BatchVerdict

KILLS = 20


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    parser = subparsers.add_parser("verify", help="put promises to the test", description=__doc__)
    parser.add_argument("what", choices=("resume", "batch"), help="which promise")
    add_config_arguments(parser)
    parser.add_argument("--kills", type=positive, metavar="N", help=f"resume: how often to kill (default {KILLS})")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="another seed kills, or cuts, elsewhere")
    add_json_option(parser)
    parser.set_defaults(run=run)
    return parser


def run(args: argparse.Namespace) -> int:
    return {"resume": resume, "batch": batch}[args.what](args)


def resume(args: argparse.Namespace) -> int:
    """`verify resume`."""
    from ..debug.verify import verify_resume

    verdict = verify_resume(args.config, [*args.assignments, *args.set], args.kills or KILLS, args.seed, note)
    if args.json:
        print_json({**asdict(verdict), "ok": verdict.ok})
        return 0 if verdict.ok else 1
    for line in verdict.differences[:20]:
        print(line)
    word = "the same bits" if verdict.ok else f"{len(verdict.differences)} differences"
    print(
        f"{verdict.kills} kills, {verdict.writing} of them in the middle of writing a checkpoint: "
        f"{verdict.arrays} arrays and {verdict.rows} rows of metrics compared, {word}"
    )
    return 0 if verdict.ok else 1


def batch(args: argparse.Namespace) -> int:
    """`verify batch`."""
    from ..debug.verify_batch import verify_batch
    from ..schema.errors import ConfigError

    if args.kills is not None or args.seed < 0:
        option = f"--seed {args.seed}" if args.seed < 0 else "--kills"
        raise ConfigError(f"{option} has no meaning for verify batch", hint="--seed N, from 0 on, cuts elsewhere")
    verdict = verify_batch(open_config(args.config, [*args.assignments, *args.set], args.allow_import), args.seed)
    if args.json:
        print_json({**asdict(verdict), "ok": verdict.ok})
    else:
        print("\n".join(batch_text(verdict)))
    return 0 if verdict.ok else 1


def batch_text(verdict: BatchVerdict) -> list[str]:
    """What `verify batch` prints; the verdict is the last line."""
    from ..debug.verify_batch import LIMITS
    from .net_table import align

    cuts = ", ".join("+".join(map(str, cut)) for cut in verdict.cuts)
    lines = [f"{verdict.name}: one batch of {verdict.samples}, and the same in parts of {cuts}"]
    if verdict.frozen and verdict.as_trained is not None:
        name, share = verdict.as_trained
        lines += [
            f"depends on the batch in train: {', '.join(verdict.frozen)}; frozen here at running statistics.",
            f"As trained, the gradient of {name} from {'+'.join(map(str, verdict.cuts[0]))} is off by {share:.1e}.",
        ]
    if verdict.depending:
        lines.append(f"depends on the batch: {', '.join(verdict.depending)}")
        lines.append(f"so nothing is promised of the gradients of {', '.join(verdict.unpromised)}")
    if verdict.averaged:
        counts = ", ".join(f"{name} {'a sum' if n is None else f'over {n}'}" for name, n in verdict.averaged.items())
        lines.append(f"the losses are means over different counts ({counts}): each is weighted by its own")
    dtypes = list(LIMITS)
    rows = [("gradient", "norm", *dtypes, "")]
    for cut in verdict.gradients:
        words = "ok" if cut.ok else "FAIL"
        rows.append((cut.name, f"{cut.norm:.3g}", *(f"{cut.off[dtype]:.1e}" for dtype in dtypes), words))
    lines += ["", *align(rows, (1, 2, 3)), "", "the largest |a - b| of a gradient, as a share of its norm"]
    wrong = [cut.name for cut in verdict.gradients if not cut.ok]
    limits = " and ".join(f"{limit:g} in {dtype}" for dtype, limit in LIMITS.items())
    end = f"differ ({', '.join(wrong)})" if wrong else f"the same to {limits}"
    return [*lines, f"{len(verdict.gradients)} gradients, {len(verdict.cuts)} ways to cut the batch: {end}"]
