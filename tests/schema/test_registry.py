"""Look-ups of types by name: which modules they import, and what they find where a name alone does not say where."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from layerforge.layers import FAMILIES
from layerforge.schema.errors import ConfigError
from layerforge.schema.registry import LAYERS, SOURCES, Registry

LOADED = """
import sys
{code}
print(*(name for name in sys.modules if name.startswith("layerforge.")))
"""


def loaded_by(code: str) -> set[str]:
    """The modules of the package that are imported after `code` has run in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", LOADED.format(code=code)], capture_output=True, text=True, check=True, timeout=60
    )
    return set(done.stdout.split())


def families_in(modules: set[str]) -> set[str]:
    """The families of which a module with layers is among them."""
    found = {name.split(".")[2] for name in modules if name.startswith("layerforge.layers.") and name.count(".") == 3}
    return found & set(FAMILIES)


# What is imported -----------------------------------------------------------------------------------------------------

STEP = """
import numpy as np
from layerforge import Net, Solver
net = Net.from_config({{
    "engine": "{engine}",
    "inputs": {{"x": {{"shape": [2, 6]}}, "t": {{"shape": [2], "dtype": "int64"}}}},
    "net": [
        {{"name": "fc", "type": "Linear", "out_features": 3}},
        {{"name": "relu", "type": "ReLU"}},
        {{"name": "loss", "type": "SoftmaxCrossEntropy", "bottom": ["relu", "t"]}},
    ],
}})
Solver(net, type="SGD", lr=0.1).step(x=np.ones((2, 6), "float32"), t=np.zeros(2, "int64"))
"""


def test_one_type_imports_no_module_of_another_family() -> None:
    modules = loaded_by("from layerforge.schema.registry import LAYERS; LAYERS.get('Linear')")
    assert families_in(modules) == {"matrices"}
    assert not [name for name in modules if name.startswith(("layerforge.engines.", "layerforge.data."))]


@pytest.mark.parametrize("engine", ["reference", "auto"])
def test_the_first_step_imports_the_families_of_its_net_only(engine: str) -> None:
    modules = loaded_by(STEP.format(engine=engine))
    assert families_in(modules) == {"matrices", "elementwise", "losses", "plumbing"}  # an input is of type Input
    needless = ("layerforge.check", "layerforge.training", "layerforge.debug", "layerforge.data", "layerforge.cli")
    assert not [name for name in modules if name.startswith(needless)]


def test_one_data_source_imports_no_other() -> None:
    modules = loaded_by("from layerforge.schema.registry import SOURCES; SOURCES.get('CSV')")
    assert "layerforge.data.tables" in modules
    assert not {f"layerforge.data.{name}" for name in ("digits", "hdf5", "mnist", "npz", "svmlight")} & modules


# All types are found so -----------------------------------------------------------------------------------------------

DIRECTLY = """
from layerforge.schema import registry
def refuse(self): raise SystemExit("all modules are imported to find one type")
registry.Registry._discover = refuse
"""


@pytest.mark.parametrize("variable", ["LAYERS", "SOURCES"])
def test_every_type_is_found_without_a_look_at_all_modules(variable: str) -> None:
    known = {"LAYERS": LAYERS, "SOURCES": SOURCES}[variable]
    own = {name: known.get(name).__module__ for name in known.names()}
    own = {name: module for name, module in own.items() if module.startswith("layerforge.")}
    code = f"""{DIRECTLY}
for name, module in {own!r}.items():
    assert registry.{variable}.get(name).__module__ == module
"""
    assert own and set(own.values()) <= loaded_by(code)


# Where the text does not say it ---------------------------------------------------------------------------------------

SQUARE = 'Square = KNOWN.add(type("Square", (), {}))'


def test_a_type_that_no_text_names_is_found_all_the_same(shapes: Callable[..., Registry]) -> None:
    known = shapes(late='KNOWN.add(type("Round", (), {}))')
    assert known.get("Round").__name__ == "Round" and "Round" in known


def test_a_package_without_its_text_is_known_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile(tmp_path / "archive.zip", "w") as archive:
        archive.writestr("zipped/__init__.py", REGISTRY.format(package="zipped"))
        archive.writestr("zipped/family/__init__.py", "")
        archive.writestr("zipped/family/square.py", f"from zipped import KNOWN\n{SQUARE}\n")
    monkeypatch.syspath_prepend(str(tmp_path / "archive.zip"))
    assert importlib.import_module("zipped").KNOWN.get("Square").__name__ == "Square"


def test_a_name_that_only_looks_like_a_types_is_unknown(shapes: Callable[..., Registry]) -> None:
    known = shapes(helper="Helper = object()", real=SQUARE)
    with pytest.raises(ConfigError, match="unknown shape type 'Helper'"):
        known.get("Helper")
    with pytest.raises(ConfigError, match="unknown shape type 'Sqare'") as raised:
        known.get("Sqare")
    assert "Square" in str(raised.value.hint)
    with pytest.raises(ConfigError, match="unknown shape type"):
        known.get(["Square"])


def test_a_module_that_fails_says_so_at_every_look_up(shapes: Callable[..., Registry]) -> None:
    known = shapes(half=f"{SQUARE}\n1 / 0")
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            known.get("Square")


def test_a_look_up_waits_for_a_module_that_another_thread_imports(shapes: Callable[..., Registry]) -> None:
    known = shapes(slow=f"{SQUARE}\nKNOWN.registered.set()\nKNOWN.go_on.wait(20)\nDONE = True")
    registered, go_on = threading.Event(), threading.Event()
    vars(known).update(registered=registered, go_on=go_on)
    first = threading.Thread(target=known.get, args=("Square",))
    first.start()
    assert registered.wait(20)
    threading.Timer(0.1, go_on.set).start()
    known.get("Square")  # is registered, but the module is not done
    assert vars(sys.modules[f"{known.package}.family.slow"])["DONE"]
    first.join()


def test_only_modules_are_looked_into(shapes: Callable[..., Registry]) -> None:
    """A notebook's copies do no harm, and a package is not imported a second time for its __init__.py."""
    known = shapes(real=SQUARE)
    family = Path(str(importlib.import_module(f"{known.package}.family").__file__)).parent
    (family / ".ipynb_checkpoints").mkdir()
    for name in (".ipynb_checkpoints/real-checkpoint.py", "__init__.py"):
        (family / name).write_text(f"from nowhere import KNOWN\n{SQUARE}\n")
    assert known.get("Square").__name__ == "Square"


REGISTRY = """
from layerforge.schema.registry import Registry

KNOWN = Registry("shape", "{package}")
"""


@pytest.fixture
def shapes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Registry]:
    """A function that makes a registry of a package with modules of these texts."""

    def make(**modules: str) -> Registry:
        package = f"shapes_{os.path.basename(tmp_path)}"
        folder = tmp_path / package
        (folder / "family").mkdir(parents=True)
        (folder / "__init__.py").write_text(REGISTRY.format(package=package))
        (folder / "family" / "__init__.py").write_text("")
        for name, text in modules.items():
            (folder / "family" / f"{name}.py").write_text(f"from {package} import KNOWN\n\n{text}\n")
        monkeypatch.syspath_prepend(tmp_path)
        known: Registry = importlib.import_module(package).KNOWN
        return known

    return make
