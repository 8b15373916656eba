"""The cells of recurrent layers: all that a step does between its products, in one launch."""

from __future__ import annotations

from typing import Any

from .functions import SIGMOID
from .kernel import Elementwise, of_reals, stands_in

LSTM = Elementwise(
    "lstm_step",
    "T x_i, T x_f, T x_g, T x_o, T h_i, T h_f, T h_g, T h_o, T c_before",
    "T h, T c, T i_, T f, T g, T o, T tanh_c",
    """
    i_ = lf_sigmoid(x_i + h_i);
    f = lf_sigmoid(x_f + h_f);
    g = tanh(x_g + h_g);
    o = lf_sigmoid(x_o + h_o);
    c = f * c_before + i_ * g;
    tanh_c = tanh(c);
    h = o * tanh_c;
    """,
    SIGMOID,
)

LSTM_BACK = Elementwise(
    "lstm_step_back",
    "T dh, T dc, T i_, T f, T g, T o, T c_before, T tanh_c",
    "T da_i, T da_f, T da_g, T da_o, T dc_before",
    """
    const T dc_all = dc + dh * o * (T(1) - tanh_c * tanh_c);
    da_i = dc_all * g * i_ * (T(1) - i_);
    da_f = dc_all * c_before * f * (T(1) - f);
    da_g = dc_all * i_ * (T(1) - g * g);
    da_o = dh * tanh_c * o * (T(1) - o);
    dc_before = dc_all * f;
    """,
)

GRU = Elementwise(
    "gru_step",
    "T u_r, T u_z, T u_g, T w_r, T w_z, T w_g, T h_before",
    "T h, T r, T z, T g",
    """
    r = lf_sigmoid(u_r + w_r);
    z = lf_sigmoid(u_z + w_z);
    g = tanh(u_g + r * w_g);
    h = (T(1) - z) * g + z * h_before;
    """,
    SIGMOID,
)

GRU_BACK = Elementwise(
    "gru_step_back",
    "T dh, T r, T z, T g, T w_g, T h_before",
    "T du_r, T du_z, T du_g, T dw_r, T dw_z, T dw_g, T dh_before",
    """
    du_g = dh * (T(1) - z) * (T(1) - g * g);
    du_r = dw_r = du_g * w_g * r * (T(1) - r);
    du_z = dw_z = dh * (h_before - g) * z * (T(1) - z);
    dw_g = du_g * r;
    dh_before = dh * z;
    """,
)


@stands_in
@of_reals
def lstm_step(xp: Any, a_x: Any, a_h: Any, c_before: Any) -> Any:
    """One step of an LSTM."""
    h, c, i, f, g, o, tanh_c = LSTM(xp, *xp.split(a_x, 4, axis=1), *xp.split(a_h, 4, axis=1), c_before)
    return h, c, i, f, g, o, c_before, tanh_c


@stands_in
@of_reals
def lstm_step_back(xp: Any, dh: Any, dc: Any, *kept: Any) -> Any:
    """Its gradients; the four parts of that of a are written side by side."""
    da, dc_before = xp.empty((len(dh), 4 * dh.shape[1]), dtype=dh.dtype), xp.empty_like(dc)
    LSTM_BACK(xp, dh, dc, *kept, *xp.split(da, 4, axis=1), dc_before)
    return da, dc_before


@stands_in
@of_reals
def gru_step(xp: Any, u: Any, w: Any, h_before: Any) -> Any:
    """One step of a GRU."""
    w_r, w_z, w_g = xp.split(w, 3, axis=1)
    h, r, z, g = GRU(xp, *xp.split(u, 3, axis=1), w_r, w_z, w_g, h_before)
    return h, r, z, g, w_g, h_before


@stands_in
@of_reals
def gru_step_back(xp: Any, dh: Any, *kept: Any) -> Any:
    """Its gradients; the three parts of those of u and w are written side by side."""
    du, dw = (xp.empty((len(dh), 3 * dh.shape[1]), dtype=dh.dtype) for _ in range(2))
    dh_before = xp.empty_like(dh)
    GRU_BACK(xp, dh, *kept, *xp.split(du, 3, axis=1), *xp.split(dw, 3, axis=1), dh_before)
    return du, dw, dh_before
