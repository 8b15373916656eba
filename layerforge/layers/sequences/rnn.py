"""RNN: the simple recurrent layer."""

from __future__ import annotations

from typing import Any

from ...arrays.spec import Spec
from ...contract.layer import Bad, Example
from ...schema.params import param
from ...schema.registry import register
from .recurrent import Recurrent
from .recurrent_examples import BAD_EXAMPLES, EXAMPLES, from_initial_states


@register
class RNN(Recurrent):
    """RNN: recurrent layer whose state is its output (Caffe: RNN, which has a second matrix at the output)

        hₜ = tanh(xₜ W_ihᵀ + b_ih + hₜ₋₁ W_hhᵀ + b_hh)      or max(0, ...), for t = 1 ... T, from h₀ = 0 unless told
        yₜ = hₜ

    where W_ih, W_hh, b_ih and b_hh are weight_ih_l0 and so on, samples are rows, W is always in a matrix product and ⊙
    goes element by element. Layers, directions, the second bottom, initial states, stateful, a single bias and the loop
    over time are as in LSTM, whose page explains them. Caffe's second matrix is a Linear and a Tanh above this layer.

    Shapes    x (N, T, D) real: torch's batch_first=True, Caffe has (T, N, D). y (N, T, H), or 2H if bidirectional.
              A second top is h_T (N, layers · directions, H); torch puts N second.
              Optional second bottom (N, T), 0 or 1, real or index, without gradient; h₀ behind it, or behind x, with
              initial_states: of all passes, as h_T.
              weight_ih_l0 (H, D), weight_hh_l0 (H, H), bias_ih_l0, bias_hh_l0 (H,); l1 ... above, _reverse backwards
    Backward  hₜ is used twice, as yₜ and in step t + 1. With dhₜ what comes from the steps after t (at T the gradient
              of h_T, 0 where it is no top) and a the argument of tanh, from t = T down to 1:
                  dh = dyₜ + dhₜ
                  da = dh ⊙ (1 - hₜ²)               (ReLU: dh where hₜ > 0, otherwise 0)
                  dhₜ₋₁ = da W_hh,   dxₜ = da W_ih
              As the same weights act in every step, their gradients are sums over the steps:
                  dW_ih = Σₜ daᵀ xₜ,   dW_hh = Σₜ daᵀ hₜ₋₁,   db_ih = db_hh = Σₜ da, summed over the samples
              dh₀ is the gradient of the initial state.
              Forward mode (`jvp`), from t = 1 to T with ḣ₀ that of h₀, by the product rule:
                  ȧ = ẋₜ W_ihᵀ + xₜ Ẇ_ihᵀ + ḃ_ih + ḣₜ₋₁ W_hhᵀ + hₜ₋₁ Ẇ_hhᵀ + ḃ_hh
                  ḣₜ = ȧ ⊙ (1 - hₜ²),   ẏₜ = ḣₜ      (ReLU: ȧ where hₜ > 0, otherwise 0)
    Keeps     x and every hₜ
    Cost      2NT(D + H)H flops forward for each layer and direction, twice that backward, at most as much for a tangent
    Errors    LayerError when x does not have three axes, when the second bottom is not (N, T) or h₀ not
              (N, layers · directions, H)
    Source    Elman 1990; Werbos 1990 for backpropagation through time; compare torch.nn.RNN
    """

    gates = 1

    nonlinearity: str = param("tanh", help="what makes the state", choices=("tanh", "relu"))

    examples = [
        *EXAMPLES,
        *from_initial_states(1),
        Example({"hidden_size": 4, "nonlinearity": "relu", "num_layers": 2}, [Spec((3, 4, 2))], tops=2),
    ]
    bad_examples = [*BAD_EXAMPLES, Bad({"hidden_size": 2, "nonlinearity": "gelu"}, "must be one of tanh, relu")]

    def step(self, a_x: Any, a_h: Any, state: tuple[Any]) -> tuple[tuple[Any], tuple[Any]]:
        a = a_x + a_h
        h = self.xp.tanh(a) if self.nonlinearity == "tanh" else self.xp.maximum(a, 0)
        return (h,), (h,)

    def step_back(self, dstate: tuple[Any], kept: tuple[Any]) -> tuple[Any, Any, tuple[Any]]:
        (dh,), (h,) = dstate, kept
        da = dh * (1 - h * h) if self.nonlinearity == "tanh" else dh * (h > 0)
        return da, da, (0,)

    def step_along(self, da_x: Any, da_h: Any, dstate: tuple[Any], kept: tuple[Any]) -> tuple[Any]:
        (h,), da = kept, da_x + da_h
        return (da * (1 - h * h) if self.nonlinearity == "tanh" else da * (h > 0),)
