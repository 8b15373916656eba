"""The golden cases by files: one for each family of layers, and one of nets."""

from __future__ import annotations

from support.golden_cases import Case
from support.golden_corners import CORNERS
from support.golden_examples import EXAMPLES
from support.golden_nets import NETS

FAMILIES: dict[str, list[Case]] = {family: cases + CORNERS[family] for family, cases in EXAMPLES.items()}
FAMILIES["nets"] = NETS
