"""Nets that are written as Python: run in a process that has NumPy and nothing else."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from layerforge import Net

# What the other process does: every folder has a written net and cases, arrays by the names of its inputs.
PROGRAM = """
import importlib.util, sys
from pathlib import Path

root = Path(sys.argv[1])
sys.path.append(str(root / "only_numpy"))
import numpy as np

if importlib.util.find_spec("layerforge") is not None:
    sys.exit("layerforge can be imported here")
for folder in sorted(path.parent for path in root.glob("*/net.py")):
    spec = importlib.util.spec_from_file_location(folder.name, folder / "net.py")
    module = sys.modules[folder.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    net = module.Net()
    for case in sorted(folder.glob("case*.npz")):
        given = np.load(case)
        np.save(folder / f"{case.stem}.npy", net.forward(*(given[name] for name in given.files)))
strangers = {name.partition(".")[0] for name in sys.modules} - set(sys.stdlib_module_names) - {"numpy", "__main__"}
strangers -= {folder.parent.name for folder in root.glob("*/net.py")}
if strangers & {"layerforge", "scipy", "h5py", "yaml"}:
    sys.exit(f"it has loaded {sorted(strangers)}")
"""


def only_numpy(folder: Path) -> None:
    """A folder for the path of Python, in which NumPy can be found and no other package."""
    found = Path(np.__file__).parent
    (folder / "only_numpy").mkdir()
    for path in (found, found.with_name("numpy.libs")):
        if path.exists():
            (folder / "only_numpy" / path.name).symlink_to(path)


def run_alone(root: Path) -> None:
    """Run all written nets below a folder on their cases, where LayerForge is not installed."""
    only_numpy(root)
    command = [sys.executable, "-I", "-S", "-c", PROGRAM, str(root)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def loaded(written: Any) -> Any:
    """The net of a file that was written, in this process."""
    space: dict[str, Any] = {"__name__": "net", "__file__": "net.py"}
    exec(compile(written.source, "net.py", "exec", dont_inherit=True), space)
    return space["Net"](dict(written.arrays))


def ours(net: Net, blobs: list[str], given: Mapping[str, Any]) -> list[np.ndarray]:
    """What the net itself computes of blobs."""
    values = net.forward(phase="eval", outputs=blobs, **given)
    return [np.asarray(values[blob]) for blob in blobs]
