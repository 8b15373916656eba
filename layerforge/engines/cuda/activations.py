"""Activations and their derivatives, each in one launch. The formulas are those of layers/elementwise."""

from __future__ import annotations

import math
from typing import Any

from ...arrays.functional import EXP_LIMIT
from ...layers.elementwise.activations import FAR, GELU_CUBE, GELU_SLOPE, INV_SQRT_2PI
from .kernel import Elementwise, of_reals, stands_in
from .recurrent import SIGMOID as SIGMOID_TEXT
from .scores import given

GATES = f"""
{SIGMOID_TEXT}
template <class T> __device__ T lf_near(T x) {{
    return x < T(-{FAR}) ? T(-{FAR}) : x > T({FAR}) ? T({FAR}) : x;  // NaN stays
}}
template <class T> __device__ T lf_softplus(T x) {{ return (x > T(0) || x != x ? x : T(0)) + log1p(exp(-fabs(x))); }}
template <class T> __device__ T lf_logistic(T u) {{ return u < T(-{EXP_LIMIT}) ? T(0) : lf_sigmoid(u); }}
template <class T> __device__ T lf_gated(T x, T gate) {{ return gate == T(0) ? T(0) : x * gate; }}
template <class T> __device__ T lf_gate(T x, bool by_tanh) {{
    return by_tanh ? T(0.5) * (T(1) + tanh(T({GELU_SLOPE}) * (x + T({GELU_CUBE}) * (x * x * x))))
                   : T(0.5) * (T(1) + erf(T({math.sqrt(0.5)}) * x));
}}
template <class T> __device__ T lf_gate_slope(T x, T phi, bool by_tanh) {{
    return by_tanh ? T(2) * phi * (T(1) - phi) * (T({GELU_SLOPE}) * (T(1) + T({3 * GELU_CUBE}) * (x * x)))
                   : T({INV_SQRT_2PI}) * exp(T(-0.5) * (x * x));
}}
"""

SIGMOID = Elementwise("sigmoid", "T x", "T y", "y = lf_sigmoid(x)", GATES)
SOFTPLUS = Elementwise("softplus", "T x", "T y", "y = lf_softplus(x)", GATES)
RECTIFY_BACK = Elementwise(
    "rectify_back", "T dy, T kept, float64 slope", "T dx", "dx = dy * (kept > T(0) ? T(1) : T(slope))"
)
GELU = Elementwise("gelu", "T x, bool by_tanh", "T y", "y = lf_gated(x, lf_gate(lf_near(x), by_tanh))", GATES)
GELU_BACK = Elementwise(
    "gelu_back",
    "T dy, T x, bool by_tanh",
    "T dx",
    """
    const T u = lf_near(x), phi = lf_gate(u, by_tanh);
    dx = dy * (phi + u * lf_gate_slope(u, phi, by_tanh));
    """,
    GATES,
)
SILU = Elementwise("silu", "T x, float64 beta", "T y", "y = lf_gated(x, lf_logistic(T(beta) * x))", GATES)
SILU_BACK = Elementwise(
    "silu_back",
    "T dy, T x, float64 beta",
    "T dx",
    """
    const T u = lf_near(T(beta) * x), s = lf_logistic(u);
    dx = dy * (s * (T(1) + u * (T(1) - s)));
    """,
    GATES,
)
MISH = Elementwise("mish", "T x", "T y", "y = lf_gated(x, tanh(lf_softplus(x)))", GATES)
MISH_BACK = Elementwise(
    "mish_back",
    "T dy, T x",
    "T dx",
    """
    const T u = lf_near(x), t = tanh(lf_softplus(u));
    dx = dy * (t + u * (T(1) - t * t) * lf_logistic(u));
    """,
    GATES,
)


@stands_in
@of_reals
def sigmoid(xp: Any, x: Any, out: Any = None) -> Any:
    """The logistic function."""
    return SIGMOID(xp, x, *given(out))


@stands_in
@of_reals
def softplus(xp: Any, x: Any, out: Any = None) -> Any:
    """log(1 + exp x)."""
    return SOFTPLUS(xp, x, *given(out))


@stands_in
@of_reals
def rectify_back(xp: Any, dy: Any, kept: Any, negative_slope: float) -> Any:
    """The gradient of a rectifier."""
    return RECTIFY_BACK(xp, dy, kept, negative_slope)


@stands_in
@of_reals
def gelu(xp: Any, x: Any, approximate: str, out: Any = None) -> Any:
    """x Φ(x)."""
    return GELU(xp, x, approximate == "tanh", *given(out))


@stands_in
@of_reals
def gelu_back(xp: Any, dy: Any, x: Any, approximate: str) -> Any:
    """Its gradient."""
    return GELU_BACK(xp, dy, x, approximate == "tanh")


@stands_in
@of_reals
def silu(xp: Any, x: Any, beta: float, out: Any = None) -> Any:
    """x σ(beta x)."""
    return SILU(xp, x, beta, *given(out))


@stands_in
@of_reals
def silu_back(xp: Any, dy: Any, x: Any, beta: float) -> Any:
    """Its gradient."""
    return SILU_BACK(xp, dy, x, beta)


@stands_in
@of_reals
def mish(xp: Any, x: Any, out: Any = None) -> Any:
    """x tanh(softplus x)."""
    return MISH(xp, x, *given(out))


@stands_in
@of_reals
def mish_back(xp: Any, dy: Any, x: Any) -> Any:
    """Its gradient."""
    return MISH_BACK(xp, dy, x)
