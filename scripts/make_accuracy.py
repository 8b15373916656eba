"""torch float32's errors on inputs that cost digits, for the check of engines: layerforge/check/accuracy.json.

    python scripts/make_accuracy.py        where torch is installed

The inputs come from a seed (layerforge/check/accuracy.py), the truth is our reference in float64. Only errors are kept.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from layerforge.check import accuracy
from layerforge.check.accuracy import Use
from layerforge.check.torch_twins import Call
from layerforge.check.torch_twins.net import answer, gradients, in_dtype, tensors
from layerforge.schema.registry import LAYERS


def of_torch(use: Use, bottoms: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    """What `accuracy.results` gives, of the layer's twin in float32."""
    probe = accuracy.prepared(use, LAYERS.get(use.type_name), list(bottoms), "float32")
    with in_dtype("float32"):
        xs = [torch.from_numpy(b.copy()) for b in bottoms]
        leaves = {f"bottom[{i}].grad": x.requires_grad_() for i, x in enumerate(xs) if x.is_floating_point()}
        learned, state = tensors(dict(probe.layer.params.items()), grad=True), tensors(dict(probe.layer.state.items()))
        call = Call("layer", "train", use.params, xs, learned | state, len(probe.top_specs), probe.layer.run.seed)
        tops = answer(use.type_name, call)
        found = {f"top[{i}]": t.detach().numpy().copy() for i, t in enumerate(tops)}
        found |= {name: t.detach().numpy().copy() for name, t in state.items()}
        pairs = list(zip(tops, accuracy.cotangents(tops), strict=True))
        return found | gradients(pairs, leaves | {f"{name}.grad": t for name, t in learned.items()})


def main() -> None:
    torch.set_num_threads(1)
    found: dict[str, dict[str, float]] = {}
    for use in accuracy.USES:
        for kind in use.kinds:
            bottoms = accuracy.drawn(use, kind)
            truth = accuracy.results(use, LAYERS.get(use.type_name), bottoms, "float64")
            errors = accuracy.errors(of_torch(use, bottoms), truth)
            found[f"{use.name} {kind}"] = {name: float(f"{error:.2g}") for name, error in errors.items()}
    record = {"made by": "scripts/make_accuracy.py", "torch": torch.__version__, "errors": found}
    accuracy.RECORD.write_text(json.dumps(record, indent=1) + "\n")
    print(f"{accuracy.RECORD.name}: {len(found)} uses, {accuracy.RECORD.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
