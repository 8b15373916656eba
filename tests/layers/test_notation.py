"""The derivations keep to the notation: every symbol is defined, and dy and dx are gradients and nothing else."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.notation import QUOTIENT, SOLVED, formulas, symbols, undefined

from layerforge.contract.layer import Layer
from layerforge.layers import builtin_layers
from layerforge.layers.notation import NOTATION

LAYERS = Path(__file__).parents[2] / "layerforge" / "layers"
TABLE = NOTATION.split("\n\n")[1]
STANDARD = {symbol for line in TABLE.splitlines() for symbol in line[:12].strip().split(", ") if symbol}


def doc_of(cls: type[Layer]) -> str:
    return inspect.getdoc(cls) or ""


@pytest.mark.parametrize("cls", builtin_layers(), ids=lambda cls: cls.type_name)
def test_every_symbol_in_a_formula_is_defined(cls: type[Layer]) -> None:
    missing = undefined(doc_of(cls), STANDARD | set(cls.fields))
    assert not missing, f"{', '.join(missing)}: say what it is (`with s the mean`, `s = ...`), or write it as an index"


def docstrings() -> Iterator[tuple[str, str]]:
    """(where, text) of every string of the layers' files, so that tables of formulas are among them."""
    for path in sorted(LAYERS.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield f"{path.relative_to(LAYERS)}:{node.lineno}", node.value


def test_dy_and_dx_are_never_differentials() -> None:
    """dy/dx reads as the reciprocal slope, where dx = dy f'; and a backward that is solved for dy is no backward."""
    broken = [where for where, text in docstrings() for rule in (QUOTIENT, SOLVED) if rule.search(text)]
    assert not broken, f"write ∂y/∂x or f' at {broken}"


GOOD = """Thing: what it is

    y = x / s,   s = √(Σ x² / m + eps)      over the m elements of a sample; r(a, b) = a b

Shapes    x (N, D) real, y the same; weight (D,)
Backward  With g = weight dy, and ∂s/∂x[n, d] = x[n, d] / (m s), a change ẋ moves step t by zₜ, with z the rest:
              dx[n, d] = (g[n, d] - Σⱼ g[n, j] y[n, j]) / s      dweightᵢ = [i = j] dy
"""


@pytest.mark.parametrize(
    ("right", "wrong", "missing"),
    [
        ("/ s      dweight", "/ n      dweight", ["n"]),  # an index is none outside of brackets
        ("[i = j] dy", "δᵢⱼ dy", ["δ"]),
        ("g = weight dy", "h = weight dy", ["g"]),
        ("a change ẋ", "a change u̇", ["u"]),
        ("eps)", "epsilon)", ["epsilon"]),
        ("y[n, j]", "W_hh[n, j]", ["W_hh"]),
        ("with z the rest", "as ever", ["z"]),
        ("y = x / s", "y = q x / s", ["q"]),
        ("dweightᵢ", "dvᵢ", ["v"]),
        ("√(Σ x²", "√(Σ xᵖ", ["p"]),
    ],
)
def test_an_undefined_symbol_is_found(right: str, wrong: str, missing: list[str]) -> None:
    assert right in GOOD
    assert undefined(GOOD, STANDARD | {"eps"}) == []
    assert undefined(GOOD.replace(right, wrong), STANDARD | {"eps"}) == missing


@pytest.mark.parametrize("text", ["as 1 = cos y dy/dx", "μ moves (dμ/dxᵢ = 1/m)", "exp(-x²), or dt/dx", "d/dx of it"])
def test_a_quotient_of_differentials_is_found(text: str) -> None:
    assert QUOTIENT.search(text)


@pytest.mark.parametrize("text", ["dx = dy/m", "dx = dℓ u/beta", "dx = dy / (1 + x²)", "∂y/∂x", "dx/m, dx / divisor"])
def test_a_gradient_over_something_is_no_such_quotient(text: str) -> None:
    assert not QUOTIENT.search(text)


def test_a_backward_that_is_solved_for_dy_is_found() -> None:
    assert SOLVED.search("q |y|^(q-1) dy = w q x^(q-1) dx") and SOLVED.search("so dy[n, c] = 2 a da")
    assert not SOLVED.search("dx = dy f'(x)") and not SOLVED.search("with dℓ = dy / m")


def test_the_lint_reads_what_it_should() -> None:
    """Not a lint that passes because it sees nothing: of the layers it reads the formulas, and of these the symbols."""
    by_name = {cls.type_name: doc_of(cls) for cls in builtin_layers()}
    read = {name: {s for line in formulas(doc) for s in symbols(line)} for name, doc in by_name.items()}
    assert {"W_ih", "W_hh", "c", "g", "i", "f", "o", "h", "a", "x"} <= read["LSTM"]
    assert {"ℓ", "p", "q", "w", "a", "ε", "K", "m"} <= read["SoftmaxCrossEntropy"]
    assert {"x\u0302", "μ", "σ", "eps", "g", "m"} <= read["BatchNorm"]
    assert sum(map(bool, read.values())) > 0.9 * len(read)


def test_the_notation_has_one_line_for_a_symbol() -> None:
    named = [s for line in TABLE.splitlines() for s in line[:12].strip().split(", ") if s]
    assert len(named) == len(set(named))
    assert not set(named) & set("nmcdopt") - {"m"}, "these are indices: they are bound where they stand"
    assert re.search(r"^m ", TABLE, re.M)
