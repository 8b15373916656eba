"""The order of the package's parts, as docs/design.md states it."""

from __future__ import annotations

# From left to right; a module imports from its own slot and from those to its left. Look-ups through the registries
# by name are the one exception (docs/design.md).
SLOTS = [
    ["_version"],
    ["schema"],
    ["arrays"],
    ["contract", "snapshot", "safetensors_file"],
    ["layers"],
    ["engines"],
    ["config"],
    ["graph"],
    ["plan"],
    ["run"],
    ["net"],
    ["solvers", "data", "check"],
    ["training"],
    ["inference"],
    ["interop"],
    ["debug"],
    ["cli", "__main__"],
]
