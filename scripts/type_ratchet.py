"""A ratchet on the types of the package: the errors of mypy, and the comments that silence it, may only become fewer.

    python scripts/type_ratchet.py            # compares with the number in pyproject.toml
    python scripts/type_ratchet.py --lower    # writes the number there, where it has become smaller

The number is `type-errors` in [tool.layerforge]. More is a failure; so is fewer, until the smaller number is written
down. mypy has the version that the extra `dev-full` pins: another one counts otherwise.
"""

from __future__ import annotations

import argparse
import io
import re
import subprocess
import sys
import tokenize
import tomllib
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
PROJECT = ROOT / "pyproject.toml"
ERROR = re.compile(r"^[^:]+:\d+: error: ", re.M)
IGNORE = re.compile(r"#\s*(type|pyright):\s*ignore")
NUMBER = re.compile(r"^type-errors = \d+", re.M)


def pinned(project: dict[str, Any]) -> str:
    """The version of mypy that `dev-full` installs."""
    [found] = [d for d in project["project"]["optional-dependencies"]["dev-full"] if d.startswith("mypy==")]
    return str(found).removeprefix("mypy==")


def silenced(source: str) -> int:
    """How many comments of a source tell a checker to be silent."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return sum(bool(IGNORE.match(token.string)) for token in tokens if token.type == tokenize.COMMENT)


def verdict(count: int, limit: int) -> str:
    """What is wrong with this many, or nothing."""
    if count > limit:
        return f"{count} type errors and ignores, {limit} are allowed"
    if count < limit:
        return f"{count} type errors and ignores, fewer than {limit}: run python scripts/type_ratchet.py --lower"
    return ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--lower", action="store_true", help="write a smaller number into pyproject.toml")
    lower = parser.parse_args().lower
    text = PROJECT.read_text()
    project = tomllib.loads(text)
    if version("mypy") != pinned(project):
        print(f"mypy is {version('mypy')}, the ratchet counts with {pinned(project)}", file=sys.stderr)
        return 2
    done = subprocess.run([sys.executable, "-m", "mypy"], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode > 1:
        print(done.stdout + done.stderr, file=sys.stderr)
        return 2
    count = len(ERROR.findall(done.stdout))
    count += sum(silenced(path.read_text(encoding="utf-8")) for path in (ROOT / "layerforge").rglob("*.py"))
    limit = project["tool"]["layerforge"]["type-errors"]
    if lower and count < limit:
        PROJECT.write_text(NUMBER.sub(f"type-errors = {count}", text))
        limit = count
    wrong = verdict(count, limit)
    if count > limit:
        print(done.stdout, end="")
    print(wrong or f"{count} type errors and ignores, as many as are allowed")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
