"""`layerforge time CONFIG`: forward and backward milliseconds of each layer, on random inputs."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import TYPE_CHECKING, Any

from ..run.observer import Observer
from .arguments import add_config_arguments, add_json_option, open_config, positive
from .output import print_json
from .terminal import note

if TYPE_CHECKING:
    from ..graph.graph import Step
    from ..net import Net

EPILOG = """\
One batch as the config says, with random numbers in it; the times are medians after two iterations of warm-up, the
total is their sum. The row "between layers" is what the net does itself: adding up gradients at forks, book-keeping.
In mixed precision the row "casts" is what goes from float32 to bfloat16 between layers, and back.
In train the gradients are set to zero between iterations, which is not counted, and the solver's update is not part
of it."""

WARM_UP = 2
PASSES = ("forward", "backward")


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    parser = subparsers.add_parser("time", help="time each layer", description=__doc__, epilog=EPILOG)
    add_config_arguments(parser)
    parser.add_argument("--iterations", type=positive, default=10, metavar="N", help="how many are timed (default 10)")
    parser.add_argument("--phase", choices=("train", "eval"), default="train", help="eval: forward alone")
    add_json_option(parser)
    parser.set_defaults(run=run)
    return parser


def run(args: argparse.Namespace) -> int:
    from ..net import Net

    config = open_config(args.config, [*args.assignments, *args.set], args.allow_import)
    net = Net(config, keep="none")
    result = measure(net, args.phase, args.iterations)
    if args.json:
        print_json(result)
        return 0
    print("\n".join(table(result)))
    if result["phase"] == "train" and not result["differentiated"] and not args.quiet:
        note("nothing in this net is differentiable, so only forward was timed")
    return 0


# Measuring ------------------------------------------------------------------------------------------------------------


class Stopwatch(Observer):
    """Notes how long every forward and backward of a plan's layers takes, in seconds: `times[layer, pass]`.

    What a layer recomputes is a part of its backward.
    """

    as_stored = True

    def __init__(self, net: Net) -> None:
        self.net = net
        self.times: dict[tuple[str, str], list[float]] = {}
        self.plan = net.current_plan
        self.casts = [step.node.name for step in self.plan.steps if step.node.name not in self.plan.choices]
        self.began = 0.0
        self.recomputed: dict[str, float] = {}  # seconds, of layers whose backward is still to come
        net.observe(self)

    def before_forward(self, number: int, step: Step, bottoms: Sequence[Any], again: bool) -> None:
        self.began = self.now()

    def after_forward(self, number: int, step: Step, tops: Sequence[Any], again: bool) -> None:
        seconds = self.now() - self.began
        if again:
            self.recomputed[step.node.name] = seconds
        else:
            self.times.setdefault((step.node.name, "forward"), []).append(seconds)

    def before_backward(self, number: int, step: Step, dtops: Sequence[Any]) -> None:
        self.began = self.now()

    def after_backward(self, number: int, step: Step, dbottoms: Sequence[Any]) -> None:
        seconds = self.now() - self.began + self.recomputed.pop(step.node.name, 0.0)
        self.times.setdefault((step.node.name, "backward"), []).append(seconds)

    def timed(self, key: tuple[str, str], function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, with the duration of each call noted under the key."""

        def call(*arguments: Any, **named: Any) -> Any:
            began = self.now()
            result = function(*arguments, **named)
            self.times.setdefault(key, []).append(self.now() - began)
            return result

        return call

    def now(self) -> float:
        """Seconds, when all that was asked of the device is done."""
        if hasattr(self.net.xp, "cuda"):
            self.net.xp.cuda.get_current_stream().synchronize()
        return time.perf_counter()

    def milliseconds(self, name: str) -> dict[str, float]:
        """The median of each pass of a layer, without the warm-up; 0 where there was none."""
        return {f"{which}_ms": middle(self.times.get((name, which), [])) for which in PASSES}

    def milliseconds_of_casts(self) -> dict[str, float]:
        """The median of what all steps that cast take together."""
        found = {}
        for which in PASSES:
            each = [self.times[name, which] for name in self.casts if (name, which) in self.times]
            found[f"{which}_ms"] = middle([sum(parts) for parts in zip(*each, strict=True)])
        return found

    def milliseconds_between(self) -> dict[str, float]:
        """The median of what is left of the net's own passes, noted under "", when all layers are taken away."""
        left = {}
        for which in PASSES:
            inside = [seconds for (name, pass_), seconds in self.times.items() if name and pass_ == which]
            whole = self.times.get(("", which), [])
            left[f"{which}_ms"] = middle([w - sum(parts) for w, *parts in zip(whole, *inside, strict=True)])
        return left


def middle(seconds: list[float]) -> float:
    """The median behind the warm-up, in milliseconds; 0 of nothing."""
    return 1e3 * median(seconds[WARM_UP:]) if seconds else 0.0


def measure(net: Net, phase: str, iterations: int) -> dict[str, Any]:
    """Time a net of its own, which is good for nothing else afterwards.

    Errors   LayerForgeError where the net does not take random inputs
    """
    import numpy as np

    from ..plan.precision import computing_in

    rng = np.random.default_rng(net.config.top.seed)
    inputs = {name: net.backend.from_host(random_input(rng, spec)) for name, spec in net.graph.inputs.items()}
    with np.errstate(all="ignore"):
        net.forward(phase=phase, copy=False, **inputs)
    watch = Stopwatch(net)
    forward, backward = watch.timed(("", "forward"), net.forward), watch.timed(("", "backward"), net.backward)
    with np.errstate(all="ignore"):
        for _ in range(WARM_UP + iterations):
            net.zero_grad()
            outputs = forward(phase=phase, copy=False, **inputs)
            if phase == "train" and (seeds := cotangents(net, outputs)) is not None:
                backward(seeds or None)
    shapes = [spec.shape for spec in net.graph.inputs.values()]
    layers: list[dict[str, Any]] = [
        {
            "name": node.name,
            "type": node.layer.type_name,
            "engine": watch.plan.choices[node.name].engine,
            "into": watch.plan.choices[node.name].into or None,
            "precision": watch.plan.choices[node.name].precision,
            **watch.milliseconds(node.name),
        }
        for node in net.graph.nodes
        if node.runs_in(phase)
    ]
    casts, between = watch.milliseconds_of_casts(), watch.milliseconds_between()
    return {
        "name": net.config.name,
        "backend": net.backend.describe(),
        "dtype": net.dtype,
        "precision": computing_in(net.engine_request, net.graph.nodes),
        "phase": phase,
        "batch_size": shapes[0][0] if shapes and shapes[0] else 1,
        "iterations": iterations,
        "differentiated": ("", "backward") in watch.times,
        "layers": layers,
        "casts": {"count": len(watch.casts), **casts},
        "between_layers": between,
        "total": {key: between[key] + casts[key] + sum(layer[key] for layer in layers) for key in between},
    }


def cotangents(net: Net, outputs: Mapping[str, Any]) -> dict[str, Any] | None:
    """What backward starts from: its losses ({}), else ones for its outputs; None where it has no gradients at all."""
    blobs = net.graph.phases["train"].current
    if any(any(node.loss_weights) for node in net.graph.nodes if node.runs_in("train")):
        return {}
    return {n: net.xp.ones(y.shape, dtype=net.dtype) for n, y in outputs.items() if blobs[n].needs_grad} or None


def random_input(rng: Any, spec: Any) -> Any:
    """Normal numbers, or uniform ones where there are bounds; indices among those that are allowed, else 0."""
    import numpy as np

    if spec.sparse:
        from ..check.harness import draw

        return draw(spec, rng)
    if not spec.is_real:
        low = int(spec.low or 0)
        return rng.integers(low, max(low + 1, int(spec.high or 0)), spec.shape).astype(spec.dtype)
    if spec.low is None and spec.high is None:
        return np.asarray(rng.standard_normal(spec.shape), dtype=spec.dtype)
    low = spec.low if spec.low is not None else spec.high - 1
    return np.asarray(rng.uniform(low, spec.high if spec.high is not None else low + 1, spec.shape), dtype=spec.dtype)


# Printing -------------------------------------------------------------------------------------------------------------


def table(result: Mapping[str, Any]) -> list[str]:
    """What `time` prints."""
    from ..plan.precision import in_words
    from .net_table import align

    keys = [f"{which}_ms" for which in PASSES]
    total = sum(result["total"][key] for key in keys)

    def row(name: str, kind: str, times: Mapping[str, Any]) -> tuple[str, ...]:
        share = 100 * sum(times[key] for key in keys) / total if total else 0.0
        engine = times.get("engine", "")
        if times.get("into"):
            return (name, kind, engine, "", "", f"in {times['into']}")
        return (name, kind, engine, *(f"{times[key]:.3f}" for key in keys), f"{share:.1f} %")

    rows: list[tuple[str, ...]] = [("layer", "type", "engine", "forward ms", "backward ms", "share")]
    rows += [row(layer["name"], layer["type"], layer) for layer in result["layers"]]
    rows += [row("casts", f"{result['casts']['count']} steps", result["casts"])] if result["casts"]["count"] else []
    rows += [row("between layers", "", result["between_layers"]), row("total", "", result["total"])]
    lines = align(rows, (3, 4, 5))
    rule = "-" * max(map(len, lines))
    computed = in_words(result["dtype"], result["precision"], result["backend"])
    head = (
        f"{result['name']}: one batch of {result['batch_size']}, phase {result['phase']}, {computed}, median of"
        f" {result['iterations']} iterations"
    )
    per_sample = 1e3 * total / max(1, result["batch_size"])
    return [head, "", lines[0], rule, *lines[1:-1], rule, lines[-1], "", f"per sample  {per_sample:.1f} us"]
