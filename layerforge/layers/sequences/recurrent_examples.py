"""What the checks of RNN, LSTM and GRU run on, and what all three refuse."""

from __future__ import annotations

from typing import Any

from ...arrays.spec import Spec, index
from ...contract.layer import Bad, Example


def zeros_and_ones(rng: Any, shape: tuple[int, ...]) -> Any:
    """A draw of marks."""
    return rng.integers(0, 2, shape)


def from_initial_states(states: int) -> list[Example]:
    """What runs from states that bottoms give, in every pass."""
    return [
        Example({"hidden_size": 3, "initial_states": True}, [Spec((2, 3, 2)), *[Spec((2, 1, 3))] * states]),
        Example(
            {"hidden_size": 2, "num_layers": 2, "bidirectional": True, "second_bottom": "cont", "initial_states": True},
            [Spec((3, 3, 2)), index((3, 3), 2), *[Spec((3, 4, 2))] * states],
            tops=1 + states,
        ),
        Example(
            {"hidden_size": 2, "initial_states": True},
            [Spec((2, 0, 3)), index((2, 0), 2), *[Spec((2, 1, 2))] * states],
            "no step: the state stays",
            tops=2,
        ),
    ]


EXAMPLES = [
    Example({"hidden_size": 3}, [Spec((2, 4, 5))]),
    Example({"hidden_size": 2, "recurrent_bias": False, "bidirectional": True}, [Spec((2, 3, 4))], "a single bias"),
    Example({"hidden_size": 2, "num_layers": 2, "bidirectional": True}, [Spec((3, 3, 2))], tops=2),
    Example({"hidden_size": 2, "num_layers": 3, "bias": False}, [Spec((2, 3, 4))]),
    Example({"hidden_size": 1}, [Spec((1, 1, 1))], tops=2),
    Example({"hidden_size": 2}, [Spec((3, 1, 2))], "one step"),
    Example({"hidden_size": 2, "bidirectional": True}, [Spec((2, 0, 3))], "no step: the state stays 0", tops=2),
    Example({"hidden_size": 2}, [Spec((0, 2, 3))], "no sample"),
    Example(
        {"hidden_size": 2, "num_layers": 2, "bidirectional": True},
        [Spec((3, 5, 2)), index((3, 5), 2)],
        "some steps do not count",
        tops=2,
    ),
    Example({"hidden_size": 3}, [Spec((3, 4, 2)), Spec((3, 4), draw=zeros_and_ones)], "a mask of reals", tops=2),
    Example(
        {"hidden_size": 2, "num_layers": 2, "bidirectional": True, "second_bottom": "cont"},
        [Spec((3, 5, 2)), index((3, 5), 2)],
        "sequences one after another",
        tops=2,
    ),
    Example({"hidden_size": 2, "num_layers": 2, "stateful": True}, [Spec((3, 2, 2)), index((3, 2), 2)], tops=2),
    Example({"hidden_size": 3}, [Spec((2, 5, 3), low=-1e4, high=1e4)], "extreme"),
    Example({"hidden_size": 2}, [Spec((17, 2, 3))], "many samples"),
    Example({"hidden_size": 2, "num_layers": 2, "bidirectional": True}, [Spec((16, 3, 1))], "many samples", tops=2),
]
BAD_EXAMPLES = [
    Bad({}, "hidden_size is required"),
    Bad({"hidden_size": 0}, "must be >= 1"),
    Bad({"hidden_size": 2, "num_layers": 0}, "must be >= 1"),
    Bad({"hidden_size": 2}, "expected (N, T, D)", [Spec((3, 4))]),
    Bad({"hidden_size": 2}, "the mask, has shape (4, 3), expected (3, 4)", [Spec((3, 4, 2)), index((4, 3), 2)]),
    Bad({"hidden_size": 2, "second_bottom": "lengths"}, "second_bottom must be one of mask, cont"),
    Bad({"hidden_size": 2}, "must be real numbers", [index((3, 4, 2), 5)]),
    Bad({"hidden_size": 2}, "initial states are bottoms with initial_states: true", [Spec((3, 4, 2))] * 3),
    Bad({"hidden_size": 2, "initial_states": True}, "bottoms are x and the initial h", [Spec((3, 4, 2))]),
    Bad({"hidden_size": 2, "stateful": True, "bidirectional": True}, "also begins at its end"),
    Bad({"hidden_size": 2, "stateful": True, "initial_states": True}, "leave one of the two out"),
    Bad({"num_output": 2}, "did you mean 'hidden_size'?"),
    Bad({"hidden_size": 2, "batch_first": True}, "unknown key 'batch_first'"),
]
