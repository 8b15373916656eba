"""The processor: its name, and of its instructions those that decide how fast products of matrices are."""

from __future__ import annotations

import platform
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")

# What Linux calls an instruction set, on x86-64 and on ARM, and what others call it.
FEATURES = {
    "avx2": "AVX2",
    "fma": "FMA",
    "avx512f": "AVX-512",
    "avx512_vnni": "AVX-512 VNNI",
    "avx512_bf16": "AVX-512 BF16",
    "avx512_fp16": "AVX-512 FP16",
    "amx_tile": "AMX",
    "amx_bf16": "AMX BF16",
    "amx_int8": "AMX INT8",
    "asimd": "NEON",
    "sve": "SVE",
    "bf16": "BF16",
    "i8mm": "I8MM",
}


def name() -> str:
    """What the system calls the processor."""
    return _line("model name") or platform.machine() or "unknown"  # platform.processor would start a program


def numbers() -> tuple[str, int, int] | None:
    """Vendor, family and model of an x86 processor, which say more than its name: virtual machines often shorten that
    to "AMD EPYC". None of another one, and where the system does not tell."""
    vendor, family, model = _line("vendor_id"), _line("cpu family"), _line("model")
    return (vendor, int(family), int(model)) if vendor and family.isdecimal() and model.isdecimal() else None


def features() -> list[str] | None:
    """The instruction sets of `FEATURES` that it has; None where the system does not tell."""
    flags = (_line("flags") or _line("Features")).split()
    return [word for flag, word in FEATURES.items() if flag in flags] if flags else None


def _line(key: str) -> str:
    """What the first line with that key says; "" where there is none."""
    try:
        for line in CPUINFO.read_text().splitlines():
            if line.partition(":")[0].strip() == key:
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return ""
