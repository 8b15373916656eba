"""The packages that LayerForge asks for, and those that are there: its own metadata say which, the extras among them.

In a clone pyproject.toml beside the package is asked: metadata are as old as the installation.
"""

from __future__ import annotations

import operator
import platform
import re
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

OURS = "layerforge"
BESIDE = Path(__file__).parents[2] / "pyproject.toml"
REQUIREMENT = re.compile(r"\s*([\w.-]+)\s*(?:\[[^\]]*\])?\s*\(?([^;()]*)\)?\s*(?:;(.*))?")
MARKER = re.compile(r"(platform_system|platform_machine|sys_platform)\s*(==|!=)\s*[\"']([^\"']*)[\"']")

# What is imported of a distribution, where that is not its name; "" for what is no module.
MODULES = {
    "pillow": "PIL",
    "pyyaml": "yaml",
    "opencv-python-headless": "cv2",
    "onednn-cpu-gomp": "",
    "cupy-cuda12x": "cupy",
    "cupy-cuda13x": "cupy",
}


@dataclass(frozen=True)
class Wanted:
    """A package that is asked for: its name, the versions that will do (">=2.0"), and the extra that brings it."""

    name: str
    versions: str = ""
    extra: str = ""

    @property
    def module(self) -> str:
        """What is imported of it; "" where it has nothing to import."""
        return MODULES.get(self.name, self.name.replace("-", "_"))


def wanted() -> list[Wanted]:
    """What everybody needs, then what extras bring. Extras that bring others, such as `dev`, are left out, and so is
    what is not for this system.
    """
    lines = _of_clone() or _of_metadata()
    found = [one for line in lines if (one := _requirement(line)) is not None]
    collections = {one.extra for one in found if one.name == OURS}
    return [one for one in found if one.extra not in collections]


def version_of(name: str) -> str | None:
    """The version of an installed distribution; None where it is not there."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


COMPARE: dict[str, Callable[[tuple[int, ...], tuple[int, ...]], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
    "==": operator.eq,
    "!=": operator.ne,
}


def satisfies(version: str, versions: str) -> bool:
    """Whether a version is among those that will do. Released numbers are compared: of 2.13.0+cpu 2.13.0."""
    for part in versions.split(","):
        sign = next((s for s in COMPARE if part.strip().startswith(s)), "")
        if not sign:
            continue
        mine, bound = _numbers(version), _numbers(part.strip().removeprefix(sign))
        width = max(len(mine), len(bound))
        padded = [numbers + (0,) * (width - len(numbers)) for numbers in (mine, bound)]
        if not COMPARE[sign](padded[0], padded[1]):
            return False
    return True


def _numbers(version: str) -> tuple[int, ...]:
    found = re.match(r"\s*v?(\d+(?:\.\d+)*)", version)
    return tuple(map(int, found[1].split("."))) if found else ()


def _of_clone() -> list[str]:
    """The requirements in a clone's pyproject.toml, as metadata write them; none where there is no clone."""
    import tomllib

    try:
        project = tomllib.loads(BESIDE.read_text(encoding="utf-8")).get("project", {})
    except (OSError, ValueError):
        return []
    if project.get("name") != OURS:
        return []
    extras = project.get("optional-dependencies", {})
    return [*project.get("dependencies", []), *(_marked(line, extra) for extra in extras for line in extras[extra])]


def _marked(line: str, extra: str) -> str:
    name, _, marker = line.partition(";")
    return f'{name}; {f"({marker}) and " if marker else ""}extra == "{extra}"'


def _of_metadata() -> Iterable[str]:
    try:
        return metadata.requires(OURS) or []
    except metadata.PackageNotFoundError:
        return []


def _requirement(line: str) -> Wanted | None:
    """The package of a line of metadata; None where it is not for this system."""
    found = REQUIREMENT.fullmatch(line)
    if found is None:
        return None
    name, versions, marker = found[1], found[2].replace(" ", ""), found[3] or ""
    here = {"platform_system": platform.system(), "platform_machine": platform.machine(), "sys_platform": sys.platform}
    for key, sign, value in MARKER.findall(marker):
        if (here[key] == value) != (sign == "=="):
            return None
    extra = re.search(r"extra\s*==\s*[\"']([^\"']+)[\"']", marker)
    return Wanted(re.sub(r"[-_.]+", "-", name).lower(), versions, extra[1] if extra else "")
