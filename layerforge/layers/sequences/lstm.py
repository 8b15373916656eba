"""LSTM: the recurrent layer with a memory cell, and backpropagation through time."""

from __future__ import annotations

from typing import Any

from ...arrays.formula import formula
from ...arrays.functional import sigmoid
from ...arrays.spec import Spec, index
from ...contract.layer import Example
from ...schema.registry import register
from .recurrent import Recurrent
from .recurrent_examples import BAD_EXAMPLES, EXAMPLES, from_initial_states


@formula
def lstm_step(xp: Any, a_x: Any, a_h: Any, c_before: Any) -> tuple[Any, ...]:
    """h and c, and what backward needs: i, f, g, o, c before and tanh c. a_x may be overwritten."""
    a_i, a_f, a_g, a_o = blocks_of(xp.add(a_x, a_h, out=a_x))
    i, f, g, o = sigmoid(xp, a_i), sigmoid(xp, a_f), xp.tanh(a_g), sigmoid(xp, a_o)
    c = f * c_before
    c += i * g
    tanh_c = xp.tanh(c)
    return o * tanh_c, c, i, f, g, o, c_before, tanh_c


@formula
def lstm_step_back(
    xp: Any, dh: Any, dc: Any, i: Any, f: Any, g: Any, o: Any, c_before: Any, tanh_c: Any
) -> tuple[Any, Any]:
    """The gradients of a, the four parts side by side, and of c before."""
    da = xp.empty((dh.shape[0], 4 * dh.shape[1]), dtype=dh.dtype)
    da_i, da_f, da_g, da_o = blocks_of(da)
    dc = dc + dh * o * (1 - tanh_c * tanh_c)
    xp.multiply(dc * g * i, 1 - i, out=da_i)
    xp.multiply(dc * c_before * f, 1 - f, out=da_f)
    xp.multiply(dc * i, 1 - g * g, out=da_g)
    xp.multiply(dh * tanh_c * o, 1 - o, out=da_o)
    return da, dc * f


def blocks_of(a: Any) -> list[Any]:
    """The four blocks of features of (N, 4H): views."""
    size = a.shape[1] // 4
    return [a[:, k * size : (k + 1) * size] for k in range(4)]


@register
class LSTM(Recurrent):
    """LSTM: recurrent layer that keeps its memory in a cell with gates (Caffe: LSTM)

        a  = xₜ W_ihᵀ + b_ih + hₜ₋₁ W_hhᵀ + b_hh     four blocks of H features: a_i, a_f, a_g, a_o (Caffe: i, f, o, g)
        i  = σ(a_i)       how much is written         f = σ(a_f)      how much is remembered
        g  = tanh(a_g)    what is written             o = σ(a_o)      how much is shown
        cₜ = f ⊙ cₜ₋₁ + i ⊙ g
        hₜ = o ⊙ tanh(cₜ),   yₜ = hₜ                  for t = 1 ... T, from h₀ = c₀ = 0 unless told

    where σ is the logistic function, W_ih, W_hh, b_ih and b_hh are weight_ih_l0 and so on, samples are rows, W is
    always in a matrix product and ⊙ goes element by element; a, i, f, g and o are those of step t.

    Each layer reads the outputs of the one below: weight_ih_l1 acts on the y of layer 0. A bidirectional layer runs a
    second time from t = T to 1 with weights of its own (_reverse), and y is [forward | backward].

    The second bottom (N, T) says of each step, by second_bottom, either
        mask   0: the step does not count. The state stays as it is and yₜ = 0. With ones followed by zeros this is
               torch's packed sequence.
        cont   0: a sequence begins here. The state is 0 before the step, and backwards 0 after it: Caffe's rule.
    Anything but 0 is 1.

    With initial_states the last two bottoms are h₀ and c₀ of all passes, in the shape of the tops h_T and c_T. Where
    the first step's cont is 0, those of the forward passes count for nothing; those of _reverse enter at step T and
    always count.

    With stateful each batch begins where the batch before it ended: h₀ and c₀ of row i are what row i ended with, as
    constants, so no gradient goes back there (Keras: stateful; Caffe's layers always do so). The first batch begins
    from 0, and so does, in training, each epoch, unless cont tells where sequences begin. Train and eval go on from
    batches of their own; an evaluation and each batch of a prediction begin from 0. The rows have to belong together:
    data with streams: true cuts samples that follow one another so. A checkpoint holds what training goes on from.
    With accumulate_grad_batches each micro-batch is a batch that goes on from the one before.

    With recurrent_bias false there is one bias, b_ih, and b_hh = 0: the same function of x with half the biases, as
    Caffe's. A solver then moves their sum by db and not by 2 db.

    Shapes    x (N, T, D) real: torch's batch_first=True, Caffe has (T, N, D). y (N, T, H), or 2H if bidirectional.
              Further tops are h_T and c_T (N, layers · directions, H), the last state of each pass: of a _reverse one
              that after step 1; torch puts N second.
              Optional second bottom (N, T), 0 or 1, real or index, without gradient; initial states behind it, or
              behind x.
              weight_ih_l0 (4H, D), weight_hh_l0 (4H, H), bias_ih_l0, bias_hh_l0 (4H,)
    Backward  Laid out over time, the layer is a chain of T equal steps, and backward walks it from t = T to 1. It
              carries dhₜ and dcₜ, the gradients of hₜ and cₜ that come from the steps after t. At T they are those of
              the tops h_T and c_T, 0 where these are no tops. At each step hₜ is also shown as yₜ:
                  dh = dyₜ + dhₜ
              From hₜ = o ⊙ tanh(cₜ), cₜ gets a share of dh, besides what step t + 1 sent it:
                  do = dh ⊙ tanh(cₜ)
                  dc = dcₜ + dh ⊙ o ⊙ (1 - tanh²(cₜ))
              From cₜ = f ⊙ cₜ₋₁ + i ⊙ g, the product rule, factor by factor:
                  df = dc ⊙ cₜ₋₁,   di = dc ⊙ g,   dg = dc ⊙ i
                  dcₜ₋₁ = dc ⊙ f          no matrix and no squashing on this path: while f is near 1, gradients survive
              Through σ' = σ (1 - σ) and tanh' = 1 - tanh² to the arguments:
                  da = [di ⊙ i ⊙ (1 - i) | df ⊙ f ⊙ (1 - f) | dg ⊙ (1 - g²) | do ⊙ o ⊙ (1 - o)]
              and through a, which is a Linear layer in xₜ and in hₜ₋₁:
                  dxₜ = da W_ih,   dhₜ₋₁ = da W_hh
                  dW_ih = Σₜ daᵀ xₜ,   dW_hh = Σₜ daᵀ hₜ₋₁,   db_ih = db_hh = Σₜ da, summed over the samples
              The sums over steps come from the weights being the same in all of them. Where the mask is 0 the state was
              copied and yₜ = 0 is a constant: dhₜ₋₁ = dhₜ, dcₜ₋₁ = dcₜ, da = 0, and dyₜ goes nowhere. Where cont is 0,
              dhₜ₋₁ = dcₜ₋₁ = 0, and hₜ₋₁ = cₜ₋₁ = 0 in the formulas above. What arrives at t = 0, dh₀ and dc₀, are the
              gradients of the initial states. In a _reverse pass t + 1 takes the place of t - 1, and its cont that of
              step t.
              Forward mode (`jvp`) walks the chain from t = 1 to T, and carries ḣ and ċ, before it those of h₀ and c₀.
              xₜ, the weights and the biases may all move:
                  ȧ = ẋₜ W_ihᵀ + xₜ Ẇ_ihᵀ + ḃ_ih + ḣₜ₋₁ W_hhᵀ + hₜ₋₁ Ẇ_hhᵀ + ḃ_hh
                  i̇ = ȧ_i ⊙ i ⊙ (1 - i),   ḟ = ȧ_f ⊙ f ⊙ (1 - f),   ġ = ȧ_g ⊙ (1 - g²),   ȯ = ȧ_o ⊙ o ⊙ (1 - o)
                  ċₜ = ḟ ⊙ cₜ₋₁ + f ⊙ ċₜ₋₁ + i̇ ⊙ g + i ⊙ ġ
                  ḣₜ = ȯ ⊙ tanh(cₜ) + o ⊙ (1 - tanh²(cₜ)) ⊙ ċₜ,   ẏₜ = ḣₜ
              Where the mask is 0, ḣₜ = ḣₜ₋₁, ċₜ = ċₜ₋₁ and ẏₜ = 0. Where cont is 0, ḣₜ₋₁ = ċₜ₋₁ = 0.
    Keeps     x, and of every step h, the gates, cₜ₋₁ and tanh(cₜ)
    Cost      8NT(D + H)H flops forward for each layer and direction, twice that backward, at most as much for a tangent
    Errors    LayerError when x does not have three axes, when the second bottom is not (N, T) or an initial state
              not (N, layers · directions, H), when a stateful layer meets a batch of another size
    Source    Hochreiter & Schmidhuber 1997, with the forget gate of Gers et al. 2000; compare torch.nn.LSTM
    """

    bottoms = (1, 4)
    tops = (1, 3)
    gates, states = 4, 2

    examples = [
        *EXAMPLES,
        *from_initial_states(2),
        Example({"hidden_size": 3, "num_layers": 2, "bidirectional": True}, [Spec((2, 3, 2))], tops=3),
        Example({"hidden_size": 2}, [Spec((3, 4, 2)), index((3, 4), 2)], tops=3),
        Example({"hidden_size": 2, "second_bottom": "cont"}, [Spec((3, 4, 2)), index((3, 4), 2)], tops=3),
    ]
    bad_examples = BAD_EXAMPLES

    def step(self, a_x: Any, a_h: Any, state: tuple[Any, Any]) -> tuple[tuple[Any, Any], tuple[Any, ...]]:
        h, c, *kept = lstm_step(self.xp, a_x, a_h, state[1])
        return (h, c), tuple(kept)

    def step_back(self, dstate: tuple[Any, Any], kept: tuple[Any, ...]) -> tuple[Any, Any, tuple[Any, Any]]:
        da, dc = lstm_step_back(self.xp, *dstate, *kept)
        return da, da, (0, dc)  # h reaches its step through a alone

    def step_along(self, da_x: Any, da_h: Any, dstate: tuple[Any, Any], kept: tuple[Any, ...]) -> tuple[Any, Any]:
        _, dc_before = dstate
        i, f, g, o, c_before, tanh_c = kept
        da_i, da_f, da_g, da_o = self.xp.split(da_x + da_h, 4, axis=1)
        di, df = da_i * i * (1 - i), da_f * f * (1 - f)
        dg, do = da_g * (1 - g * g), da_o * o * (1 - o)
        dc = df * c_before + f * dc_before + di * g + i * dg
        return do * tanh_c + o * (1 - tanh_c * tanh_c) * dc, dc
