"""`layerforge replay CAPSULE|RUN`: run the step again that ended a run, and name the first blob, gradient or parameter
that went non-finite, with the range of everything above it. Exits with 1 where the step is finite this time."""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from .arguments import add_backend_option, add_json_option
from .output import print_json

if TYPE_CHECKING:
    from ..debug.replay import Replayed
    from ..debug.watch import Seen
    from ..net import Net

ROWS = 24  # of the table that text shows; JSON has all

SENTENCES = {
    "input": "the data: input '{name}' is not finite",
    "parameter": "parameter '{name}' of {owner} was not finite before the step: the update before it overflowed",
    "statistic": "running statistic '{name}' of {owner} was not finite before the step",
    "blob": "forward of {owner} made blob '{name}' not finite",
    "gradient": "backward of {owner} made the gradient of its bottom '{name}' not finite",
    "parameter gradient": "backward of {owner} made the gradient of its parameter '{name}' not finite",
    "sum of gradients": "each reader of blob '{name}' made a finite gradient, but their sum is not finite",
    "seed": "backward began at blob '{name}' with a weight that is not finite",
    "loss": "every array is finite; the loss, the sum over {owner} and all others, overflows",
    "norm": "every array is finite; the norm of all gradients overflows, and the largest is in {owner}",
}


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    parser = subparsers.add_parser("replay", help="name what diverged first", description=__doc__)
    parser.add_argument("target", metavar="CAPSULE|RUN", help="a file of a run's capsules/, or the run: its newest one")
    add_backend_option(parser)
    parser.add_argument("--allow-import", action="store_true", help="run the Python files that the capsule imports")
    add_json_option(parser)
    parser.set_defaults(run=run)
    return parser


def run(args: argparse.Namespace) -> int:
    from ..debug.replay import replay

    done = replay(args.target, allow_import=args.allow_import, backend=args.backend)
    if args.json:
        print_json(as_json(done))
    else:
        print("\n".join(lines(done)))
    return 0 if done.cause is not None else 1


def lines(done: Replayed) -> Iterator[str]:
    """What is to be said of a replay, for people."""
    meta, cause = done.capsule.meta, done.cause
    yield f"{done.capsule.file}: iteration {meta['iteration']}, {figures(meta)}"
    if cause is None:
        yield f"replayed, the step is finite: {figures(_named(done.loss, done.grad_norm))}"
        trained = done.as_trained or (done.loss, done.grad_norm)
        if all(map(math.isfinite, trained)):
            yield "     = it was not where the capsule was written: compare env.json (threads, BLAS, backend, versions)"
        else:
            yield f"     = but not as training runs it, fused and in place: {figures(_named(*trained))}"
            yield "     = that is a fault of an engine: train with `engine: reference`, and please report it"
        return
    yield sentence(done)
    place = done.capsule.place(cause.layer)
    if place is not None:
        yield f"  --> {place}"
        if place.excerpt():
            yield place.excerpt()
    parts = len(done.capsule.batches)
    where = f"micro-batch {done.part + 1} of {parts}: " if parts > 1 else ""
    yield f"{where}all above it in order (* it is made of these):"
    yield from table(done)


def sentence(done: Replayed) -> str:
    """Who made what not finite, and how much of it."""
    cause = done.cause
    assert cause is not None
    layer = done.net.layers.get(cause.layer)
    owner = f"layer '{cause.layer}' ({layer.type_name})" if layer is not None else "the net"
    text = SENTENCES[cause.kind].format(name=cause.name, owner=owner)
    if cause.kind not in ("loss", "norm"):
        text += f": {cause.nan} NaN and {cause.inf} infinite among {cause.size} elements"
    if done.samples:
        numbers = done.capsule.samples[done.part]
        named = ", ".join(f"{i} (number {numbers[i]} of data.train)" for i in done.samples[:5])
        text += f"; sample {named}{' ...' if len(done.samples) > 5 else ''}"
    return text


def table(done: Replayed) -> list[str]:
    """The last arrays before the cause, those that it is made of wherever they are, and the cause itself."""
    from .net_table import align

    assert done.cause is not None
    own = {id(s) for s in done.cause.made_of}
    rest = [s for s in done.seen if s is not done.cause]
    recent = {id(s) for s in rest[-ROWS:]}
    shown = [s for s in rest if id(s) in own | recent]
    rows = [_row(s, "*" if id(s) in own else "") for s in [*shown, *done.history]] + [_row(done.cause, "!")]
    head = ("", "array", "what", "shape", "min", "max", "nan", "inf")
    left_out = len(rest) - len(shown)
    note = [f"  ({left_out} arrays before these; --json has all)"] if left_out else []
    return [*note, *align([head, *rows], right=range(4, 8))]


def _row(seen: Seen, mark: str) -> tuple[str, ...]:
    shape = "x".join(map(str, seen.shape)) or "1"
    counts = (str(seen.nan) if seen.nan else "", str(seen.inf) if seen.inf else "")
    return (mark, seen.name, seen.kind, shape, f"{seen.low:.4g}", f"{seen.high:.4g}", *counts)


def as_json(done: Replayed) -> dict[str, Any]:
    """The same for programs."""
    meta, cause = done.capsule.meta, done.cause
    place = done.capsule.place(cause.layer) if cause is not None else None
    return {
        "capsule": str(done.capsule.file),
        **{key: meta[key] for key in ("iteration", "first_sample", "seed", "loss", "grad_norm")},
        "reproduced": cause is not None,
        "replayed": _named(done.loss, done.grad_norm),
        "as_trained": None if done.as_trained is None else _named(*done.as_trained),
        "micro_batch": done.part,
        "what": None if cause is None else sentence(done),
        "first": None if cause is None else {**_plain(cause, done.net), "place": None if place is None else str(place)},
        "samples": done.samples,
        "made_of": [] if cause is None else [_plain(s, done.net) for s in cause.made_of],
        "history": [_plain(s, done.net) for s in done.history],
        "above": [_plain(s, done.net) for s in done.seen if s is not cause],
    }


def _plain(seen: Seen, net: Net) -> dict[str, Any]:
    layer = net.layers.get(seen.layer)
    kind = {"pass": "backward" if seen.backward else "forward", "kind": seen.kind, "name": seen.name}
    owner = {"layer": seen.layer or None, "type": layer.type_name if layer is not None else None}
    numbers = {"shape": list(seen.shape), "min": seen.low, "max": seen.high, "nan": seen.nan, "inf": seen.inf}
    return {**kind, **owner, **numbers}


def _named(loss: float, grad_norm: float) -> dict[str, float]:
    return {"loss": loss, "grad_norm": grad_norm}


def figures(values: Mapping[str, Any]) -> str:
    """Loss and norm of a step, as people read them."""
    return f"loss {values['loss']:g}, gradient norm {values['grad_norm']:g}"
