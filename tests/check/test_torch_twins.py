"""The twins of the layers stand where the layers stand: a module for each family. What they compute is in the golden
files, and wherever torch is installed.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import layerforge.check
from layerforge.layers import FAMILIES, builtin_layers

FOLDER = Path(layerforge.check.__file__).parent / "torch_twins"
TOOLS = {"__init__", "call", "net", "reference"}
WITHOUT_TWIN = {"Input"}  # its top is what it is given

# Which twins a module has can be seen without torch: it is only called when they compute.
SAY_WHERE = """
import importlib, json, sys
from unittest.mock import MagicMock

for name in ("torch", "torch.nn", "torch.nn.utils", "torch.nn.utils.rnn", "torch.func"):
    sys.modules[name] = MagicMock()
package = "layerforge.check.torch_twins"
print(json.dumps({name: sorted(importlib.import_module(f"{package}.{name}").TWINS) for name in sys.argv[1:]}))
"""


def test_there_is_a_module_for_every_family_and_no_other() -> None:
    assert {path.stem for path in FOLDER.glob("*.py")} == {*FAMILIES, *TOOLS}


def test_the_twin_of_every_layer_stands_in_the_module_of_its_family() -> None:
    command = [sys.executable, "-c", SAY_WHERE, *FAMILIES]
    found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    families: dict[str, list[str]] = {family: [] for family in FAMILIES}
    for cls in builtin_layers():
        if cls.type_name not in WITHOUT_TWIN:
            families[cls.__module__.split(".")[-2]].append(cls.type_name)
    assert found == {family: sorted(names) for family, names in families.items()}
