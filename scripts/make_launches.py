"""How many launches the passes of every layer have, for the check of costs: layerforge/check/launches.json.

    python scripts/make_launches.py        needs no GPU: counted on the strict stand-in for CuPy

A limit that rises is seen in the file's diff. What counts as a launch says tests/support/strict_cupy.py.
"""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from support.strict_backend import STRICT  # noqa: E402

from layerforge.check.case import computes  # noqa: E402
from layerforge.check.contract import cases  # noqa: E402
from layerforge.check.costs import PASSES, RECORD, measured  # noqa: E402
from layerforge.schema.registry import LAYERS  # noqa: E402


def main() -> None:
    warnings.simplefilter("ignore")
    found: dict[str, list[int]] = {}
    for name in LAYERS.names():
        for _, case in cases(LAYERS.get(name), STRICT):
            if computes(case) is None:
                passes = [measured(case, phase) for phase in ("train", "eval")]
                launches = [max(one[each]["launches"] if each in one else 0 for one in passes) for each in PASSES]
                found[name] = [max(pair) for pair in zip(found.get(name, [0, 0]), launches, strict=True)]
    lines = ",\n".join(f" {json.dumps(name)}: {json.dumps(launches)}" for name, launches in sorted(found.items()))
    RECORD.write_text(f"{{\n{lines}\n}}\n")
    print(f"{RECORD.name}: {len(found)} layers")


if __name__ == "__main__":
    main()
