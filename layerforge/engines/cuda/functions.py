"""Functions of the device that kernels of several modules call: preambles."""

from __future__ import annotations

from ...arrays.functional import EXP_LIMIT

SIGMOID = f"""
template <class T> __device__ T lf_sigmoid(T x) {{
    T u = -x;
    if (u > T({EXP_LIMIT})) u = T({EXP_LIMIT});  // NaN stays
    return T(1) / (T(1) + exp(u));
}}
"""
