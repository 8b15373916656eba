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


SAY_WHOSE = """
import sys
from unittest.mock import MagicMock

torch = MagicMock(__file__=sys.argv[1] + "/torch/__init__.py", __version__="0")
names = ("torch", "torch.nn", "torch.nn.utils", "torch.nn.utils.rnn", "torch.func")
sys.modules.update({name: torch for name in names})
from layerforge.check.torch_twins.reference import Refusal, _or_refusal

def raised(problem):
    raise problem

theirs = {}
exec(compile("def refuse(x): raise ValueError('Expected more than 1 value')", torch.__file__[:-11] + "functional.py",
             "exec"), theirs)
cases = {
    "python of torch": lambda: theirs["refuse"](0),
    "c of torch": lambda: raised(RuntimeError("shape '[2]' is invalid")),
    "an argument": lambda: raised(TypeError("conv2d(): argument 'stride' must be tuple of ints, not str")),
    "an axis": lambda: raised(IndexError("Dimension out of range (expected to be in range of [-1, 0], but got 3)")),
    "a name": lambda: undefined,
    "a call": lambda: (lambda: 0)(1),
    "a list": lambda: [][0],
    "a key": lambda: {}["p"],
    "an attribute": lambda: (0).shape,
    "two lengths": lambda: list(zip([1], [], strict=True)),
}
for name, case in cases.items():
    try:
        _or_refusal(case)
    except Refusal:
        print(name)
    except Exception:
        pass
"""


def test_torch_refuses_where_torch_says_so_and_a_fault_of_ours_is_none(tmp_path: Path) -> None:
    command = [sys.executable, "-c", SAY_WHOSE, str(tmp_path)]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert found == ["python of torch", "c of torch", "an argument", "an axis"]
