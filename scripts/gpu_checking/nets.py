"""Random nets on the device and on NumPy: values, gradients, statistics, and parameters after a step.

The nets and the judgement are those of `scripts/netfuzz.py`: NumPy in float64 is the truth, and the device in float32
may differ from it as NumPy in float32 does, or as the truth itself moves where a net has a kink.
"""

from __future__ import annotations

from netfuzzing.judging import judge
from netfuzzing.passes import Variant
from netfuzzing.trials import draw

from .stages import Check

SEED = 17
COUNT, QUICK = 100, 15


def nets(check: Check) -> None:
    """So many random nets agree with float64."""
    count = QUICK if check.options.quick else COUNT
    compared = undecided = 0
    others = [Variant("numpy", "reference", "all"), Variant("device", "auto", "all", backend=check.backend)]
    for number in range(count):
        check.reached(f"{number} of {count} nets, {compared} arrays")
        trial = draw(SEED, number)
        trial.threads = False
        verdict = judge(trial, others)
        compared, undecided = compared + verdict.compared, undecided + verdict.undecided
        check.demand(not verdict.findings, f"net {number} of seed {SEED}: {'; '.join(verdict.findings[:2])}")
    check.fact("nets", {"nets": count, "arrays": compared, "undecided": undecided})
    check.demand(compared > 10 * count, f"hardly anything was compared: {compared} arrays in {count} nets")
    check.finished(f"{count} nets, {compared} arrays")
