"""GRU: the recurrent layer with gates and no cell."""

from __future__ import annotations

from typing import Any

from ...arrays.formula import formula
from ...arrays.functional import sigmoid
from ...schema.registry import register
from .recurrent import Recurrent
from .recurrent_examples import BAD_EXAMPLES, EXAMPLES, from_initial_states


@formula
def gru_step(xp: Any, u: Any, w: Any, h_before: Any) -> tuple[Any, ...]:
    """h, and what backward needs: r, z, g, w_g and h before."""
    u_r, u_z, u_g = xp.split(u, 3, axis=1)
    w_r, w_z, w_g = xp.split(w, 3, axis=1)
    r, z = sigmoid(xp, u_r + w_r), sigmoid(xp, u_z + w_z)
    g = xp.tanh(u_g + r * w_g)
    return (1 - z) * g + z * h_before, r, z, g, w_g, h_before


@formula
def gru_step_back(xp: Any, dh: Any, r: Any, z: Any, g: Any, w_g: Any, h_before: Any) -> tuple[Any, Any, Any]:
    """The gradients of u and w, the three parts side by side, and the direct one of h before."""
    du_g = dh * (1 - z) * (1 - g * g)
    du_r = du_g * w_g * r * (1 - r)
    du_z = dh * (h_before - g) * z * (1 - z)
    du = xp.concatenate([du_r, du_z, du_g], axis=1)
    dw = xp.concatenate([du_r, du_z, du_g * r], axis=1)
    return du, dw, dh * z


@register
class GRU(Recurrent):
    """GRU: recurrent layer that mixes its old state with a new one

        u  = xₜ W_ihᵀ + b_ih,   w = hₜ₋₁ W_hhᵀ + b_hh      each three blocks of H features
        r  = σ(u_r + w_r)            how much of the old state the new one sees
        z  = σ(u_z + w_z)            how much of the old state stays
        g  = tanh(u_g + r ⊙ w_g)     the new state
        hₜ = (1 - z) ⊙ g + z ⊙ hₜ₋₁,   yₜ = hₜ             for t = 1 ... T, from h₀ = 0 unless told

    where σ is the logistic function, W_ih, W_hh, b_ih and b_hh are weight_ih_l0 and so on, samples are rows, W is
    always in a matrix product and ⊙ goes element by element. u = [u_r | u_z | u_g], w = [w_r | w_z | w_g], r, z and g
    (torch calls it n) are those of step t. As in torch (and cuDNN), r multiplies w_g, bias included, and not hₜ₋₁, as
    Cho et al. have it. Layers, directions, the second bottom, initial states, stateful and the loop over time are as in
    LSTM, whose page explains them. With recurrent_bias false w has no bias at all, so r multiplies hₜ₋₁ W_hhᵀ alone.

    Shapes    x (N, T, D) real: torch's batch_first=True. y (N, T, H), or 2H if bidirectional.
              A second top is h_T (N, layers · directions, H); torch puts N second.
              Optional second bottom (N, T), 0 or 1, real or index, without gradient; h₀ behind it, or behind x, with
              initial_states: of all passes, as h_T.
              weight_ih_l0 (3H, D), weight_hh_l0 (3H, H), bias_ih_l0, bias_hh_l0 (3H,); l1 ... above, _reverse backwards
    Backward  From t = T to 1, with dh = dyₜ + dhₜ. From hₜ = (1 - z) ⊙ g + z ⊙ hₜ₋₁:
                  dg = dh ⊙ (1 - z),   dz = dh ⊙ (hₜ₋₁ - g),   and directly dhₜ₋₁ = dh ⊙ z
              Through tanh' = 1 - tanh² to u_g + r ⊙ w_g, and from there by the product rule:
                  du_g = dg ⊙ (1 - g²),   dw_g = du_g ⊙ r,   dr = du_g ⊙ w_g
              Through σ' = σ (1 - σ); u and w are summed in both gates, so they get the same:
                  du_r = dw_r = dr ⊙ r ⊙ (1 - r),   du_z = dw_z = dz ⊙ z ⊙ (1 - z)
              and through the two linear maps, where dhₜ₋₁ has its second part:
                  dxₜ = du W_ih,   dhₜ₋₁ = dh ⊙ z + dw W_hh
                  dW_ih = Σₜ duᵀ xₜ,   dW_hh = Σₜ dwᵀ hₜ₋₁,   db_ih = Σₜ du,   db_hh = Σₜ dw
              (the biases' also summed over the samples); dh₀ is the gradient of the initial state
              Forward mode (`jvp`), from t = 1 to T with ḣ₀ that of h₀, by the product rule:
                  u̇ = ẋₜ W_ihᵀ + xₜ Ẇ_ihᵀ + ḃ_ih,   ẇ = ḣₜ₋₁ W_hhᵀ + hₜ₋₁ Ẇ_hhᵀ + ḃ_hh
                  ṙ = (u̇_r + ẇ_r) ⊙ r ⊙ (1 - r),   ż = (u̇_z + ẇ_z) ⊙ z ⊙ (1 - z)
                  ġ = (u̇_g + ṙ ⊙ w_g + r ⊙ ẇ_g) ⊙ (1 - g²)
                  ḣₜ = (1 - z) ⊙ ġ + ż ⊙ (hₜ₋₁ - g) + z ⊙ ḣₜ₋₁,   ẏₜ = ḣₜ
    Keeps     x, and of every step h, the gates and w_g
    Cost      6NT(D + H)H flops forward for each layer and direction, twice that backward, at most as much for a tangent
    Errors    LayerError when x does not have three axes, when the second bottom is not (N, T) or h₀ not
              (N, layers · directions, H)
    Source    Cho et al. 2014; compare torch.nn.GRU
    """

    gates, gates_add = 3, False

    examples = [*EXAMPLES, *from_initial_states(1)]
    bad_examples = BAD_EXAMPLES

    def step(self, a_x: Any, a_h: Any, state: tuple[Any]) -> tuple[tuple[Any], tuple[Any, ...]]:
        h, *kept = gru_step(self.xp, a_x, a_h, *state)
        return (h,), tuple(kept)

    def step_back(self, dstate: tuple[Any], kept: tuple[Any, ...]) -> tuple[Any, Any, tuple[Any]]:
        du, dw, dh = gru_step_back(self.xp, *dstate, *kept)
        return du, dw, (dh,)

    def step_along(self, da_x: Any, da_h: Any, dstate: tuple[Any], kept: tuple[Any, ...]) -> tuple[Any]:
        (dh_before,), (r, z, g, w_g, h_before) = dstate, kept
        du_r, du_z, du_g = self.xp.split(da_x, 3, axis=1)
        dw_r, dw_z, dw_g = self.xp.split(da_h, 3, axis=1)
        dr = (du_r + dw_r) * r * (1 - r)
        dz = (du_z + dw_z) * z * (1 - z)
        dg = (du_g + dr * w_g + r * dw_g) * (1 - g * g)
        return ((1 - z) * dg + dz * (h_before - g) + z * dh_before,)
