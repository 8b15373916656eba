"""Reads the formulas of a layer's docstring: which symbols they use, and which of these nothing defines.

Formulas are the indented lines before Shapes, and all of Backward. A symbol is a letter, perhaps with a mark, an
exponent and indices (`x̂ᵢ`, `y[n, c]`, `W_ih`), a name with an underscore, or the English name of a Greek letter; `d`
before a symbol makes the name of its gradient. Words of two letters and more are words. An index is bound by its place,
in brackets or as a subscript, and needs no definition there.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator

SECTIONS = ("Shapes", "Backward", "Keeps", "Cost", "Errors", "Source")
MARKS = "\u0302\u0303\u0307"  # hat, tilde, dot
SUBSCRIPTS = "₀₁₂₃₄₅₆₇₈₉₊₋ₐₑₕᵢⱼₖₗₘₙₒₚᵣₛₜᵤᵥₓ"
SUPERSCRIPTS = "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ᵀ"  # exponents that are no symbols; ᵖ, ˣ, ᵝ and others are
RAISED = {"ᵖ": "p", "ˣ": "x", "ᵗ": "t", "ᵘ": "u", "ʸ": "y", "ᵝ": "β", "ˡ": "l", "ᵏ": "k"}
LETTER = "A-Za-zα-ωΓ-Ωℓ"
TOKEN = re.compile(rf"[{LETTER}][{LETTER}{MARKS}_0-9]*")
GREEK = ("alpha", "beta", "gamma", "delta", "eps", "epsilon", "lambda", "mu", "sigma", "theta", "rho")
QUOTIENT = re.compile(rf"(?<![\w∂])d[{LETTER}]?[\w{MARKS}]{{0,2}}\s*/\s*d[{LETTER}][{SUBSCRIPTS}]*(?![\w{MARKS}])")
SOLVED = re.compile(r"(?<!\w)dy(\[[^]]*\])?\s=\s")
BOUND_TO = re.compile(rf"(?<=[\w{MARKS}ᵀ⁻¹²])\[[^\[\]]*(?:\[[^\[\]]*\][^\[\]]*)*\]")  # [n, c] after a symbol
NOUNS = (
    "elements?|samples?|steps?|positions?|places?|windows?|channels?|outputs?|class(?:es)?|labels?|query|key|head|level|"
    "rows?|columns?|axis|axes|path|group|index|indices|letters?|features?|neighbours?|target|matrix|vectors?|cofactors|"
    "predictions?|bottoms?"
)
ENGLISH = {"a": " [A-Za-z]{3,}", "A": " [A-Za-z]{3,}", "do": "(?! [⊙=])"}  # words, before this
VERBS = "is|are|be|has|have|runs?|belongs|makes|the|of|for|over|uniform|or 1"


def plain(text: str) -> str:
    """Text in which marks are characters of their own, exponents are symbols after ^; no subscripts, no primes."""
    text = re.sub(r"'(?!s\b)", "", unicodedata.normalize("NFD", text))
    text = re.sub(f"[{SUPERSCRIPTS}]+", " ", re.sub(f"[{SUBSCRIPTS}]+", "", text))
    return "".join(f" ^{RAISED[c]} " if c in RAISED else c for c in text)


def sections(doc: str) -> dict[str, list[str]]:
    """The lines of a docstring by section; "" is what comes before the first."""
    found: dict[str, list[str]] = {"": []}
    name = ""
    for line in doc.splitlines():
        word = line.split(" ", 1)[0]
        name = word if word in SECTIONS else name
        found.setdefault(name, []).append(line.removeprefix(word) if word in SECTIONS else line)
    return found


def formulas(doc: str) -> Iterator[str]:
    """The lines with formulas."""
    parts = sections(doc)
    yield from (line for line in parts[""][1:] if line.startswith("    "))
    yield from parts.get("Backward", ())


def symbols(line: str) -> Iterator[str]:
    """The symbols of a line, without their indices, marks of motion (ẋ) and the d of a gradient (dx)."""
    bare = BOUND_TO.sub("", re.sub(r"'s\b|[ΣΠ](_\w+)?", " ", plain(line)))
    integrated = re.findall(r"∫.*\bd(\w)\b", bare)
    for match in TOKEN.finditer(bare):
        token = match[0]
        if token in ENGLISH and re.match(ENGLISH[token], bare[match.end() :]):
            continue
        if token[0] == "d" and is_symbol(token[1:]):
            token = token[1:]
        if is_symbol(token) and token not in integrated:
            yield token.replace("\u0307", "")


def is_symbol(token: str) -> bool:
    """Whether this is a symbol, and not a word."""
    letters = re.sub(f"[{MARKS}]", "", token)
    return len(letters) == 1 or "_" in token.strip("_") or token in GREEK


def undefined(doc: str, known: Iterable[str]) -> list[str]:
    """The symbols in the formulas of a docstring that are neither known nor defined in it, in their order."""
    names, missing = {*known, *mentioned(doc)}, []
    for line in formulas(doc):
        for symbol in symbols(line):
            if symbol not in names and symbol not in missing and not is_defined(symbol, doc):
                missing.append(symbol)
    return missing


def mentioned(doc: str) -> set[str]:
    """The symbols under Shapes: bottoms, tops, parameters and sizes."""
    return {m[0] for line in sections(doc).get("Shapes", ()) for m in TOKEN.finditer(plain(line))}


def is_defined(symbol: str, doc: str) -> bool:
    """Whether the docstring says what the symbol is: `s =`, `s(x) =`, `s is`, `s the mean`, `with s`, `step t` ..."""
    text = re.sub(r"\s+", " ", plain(doc))
    if re.fullmatch(r"[^_]_[A-Z]", symbol) and is_defined(symbol[0], doc):
        return True  # the value at the end, as α_T of αₜ
    s, other = rf"(?<![\w{MARKS}^∂]){re.escape(symbol)}(?![\w{MARKS}])", rf"[\w{MARKS}]+"
    patterns = (
        rf"{s}(?:\([^()]*\)|\[[^]]*\])? ?[=:] ",  # s = ..., s(x) = ..., s: ...
        rf"\w\((?:{other}, )*{s}(?:, {other})*\) = ",  # f(s) = ...
        rf"{s}(?:\([^()]*\)|\[[^]]*\])?(?:, {other})*(?: and {other}| = {other})? (?:{VERBS}) ",  # s is, r and s are
        rf"\bis (?:{other}, )*(?:{other} and )?{s}",  # ... is r and s
        rf"= \[(?:{other} \| )*{s}(?: \| {other})*\]",  # ... = [r | s]
        rf"\b(?:{NOUNS}):? (?:{other}, )*{s}",  # step s
        rf"{s} (?:{NOUNS})\b",  # s steps
        rf"\b(?:over|every|each|over the|over all) (?:{other}, )*{s}",
        rf"<=? (?:{other}, )*{s}(?:, {other})* <",  # 0 <= s < 2
    )
    return any(re.search(pattern, text) for pattern in patterns)
