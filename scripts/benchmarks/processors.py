"""The processor of a measurement: its name, its generation, and those of its instructions that decide about speed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MATTER = ("AVX-512 BF16", "AMX BF16")  # told also where they are missing: what bfloat16 is worth depends on them

# By vendor and family: models, and what their generation is called. As in Linux, arch/x86/kernel/cpu/amd.c and
# arch/x86/include/asm/intel-family.h.
GENERATIONS: dict[tuple[str, int], list[tuple[range, str]]] = {
    ("AuthenticAMD", 23): [(range(0x30), "Zen"), (range(0x30, 0x100), "Zen 2")],
    ("AuthenticAMD", 25): [
        (range(0x10), "Zen 3"),
        (range(0x10, 0x20), "Zen 4"),
        (range(0x20, 0x60), "Zen 3"),
        (range(0x60, 0xB0), "Zen 4"),
    ],
    ("AuthenticAMD", 26): [(range(0x50), "Zen 5"), (range(0x60, 0x80), "Zen 5")],
    ("GenuineIntel", 6): [
        (range(0x55, 0x56), "Skylake or Cascade Lake"),
        (range(0x6A, 0x6D), "Ice Lake"),
        (range(0x8F, 0x90), "Sapphire Rapids"),
        (range(0xAD, 0xAF), "Granite Rapids"),
        (range(0xCF, 0xD0), "Emerald Rapids"),
    ],
}


def generation(vendor: str, family: int, model: int) -> str:
    """What the makers call it; "" where it is not in the table."""
    known = GENERATIONS.get((vendor, family), [])
    return next((word for models, word in known if model in models), "")


def described() -> dict[str, Any]:
    """This machine's: name, features, and where the system tells them vendor, family, model and generation."""
    from layerforge.arrays import processor

    found: dict[str, Any] = {"name": processor.name(), "features": processor.features()}
    if (numbers := processor.numbers()) is not None:
        vendor, family, model = numbers
        found |= {"vendor": vendor, "family": family, "model": model, "generation": generation(*numbers)}
    return found


def in_words(about: Mapping[str, Any]) -> str:
    """`AMD EPYC (Zen 4, AuthenticAMD family 25 model 17; AVX2, FMA, AVX-512; no AVX-512 BF16, no AMX BF16)`."""
    words = []
    if "vendor" in about:
        numbers = f"{about['vendor']} family {about['family']} model {about['model']}"
        words.append(f"{about['generation']}, {numbers}" if about["generation"] else numbers)
    if about["features"] is None:
        words.append("its instructions are not told")
    else:
        words.append(", ".join(about["features"]) or "neither AVX2 nor AVX-512")
        words.append(", ".join(f"no {word}" for word in MATTER if word not in about["features"]))
    return f"{about['name']} ({'; '.join(filter(None, words))})"


def has_amx(about: Mapping[str, Any]) -> bool:
    """Whether it multiplies bfloat16 matrices with AMX."""
    return "AMX BF16" in (about["features"] or ())


def has_bfloat16(about: Mapping[str, Any]) -> bool:
    """Whether it multiplies bfloat16 numbers at all."""
    return any(word in (about["features"] or ()) for word in MATTER)
