"""A check of formulas: the losses against the same formulas, written down a second time (loss_formulas.py).

Gradients that agree with forward, and a twin in torch, do not show that the formula on the page is the layer's: what an
option does to it is easily left out. So every loss is also run with all of its options at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..arrays.spec import Spec, index
from ..contract.layer import Example, Layer
from ..layers.losses.multi_box_examples import bottoms as boxes_and_objects
from ..layers.losses.vectors import signs
from .case import Case, close, demand, layer_check
from .harness import Probe
from .loss_formulas import BY_SAMPLES, FORMULAS

SCORES, LABELS = Spec((2, 3, 2, 3)), index((2, 2, 3), 3)
PAIR, VECTORS = [Spec((3, 2, 4))] * 2, [Spec((5, 2, 4))] * 3
PROBABILITIES = Spec(SCORES.shape, low=0.05, high=1)
WEIGHTED = {"weight": [0.5, 2.0, 1.5], "ignore_index": 1}
MATRIX = [[1.0, 0.5, 0.0], [0.25, 2.0, 0.0], [-0.5, 0.0, 1.0]]
SIGNS = signs(5, 2)
MULTI_BOX = {
    "num_classes": 3, "loc_loss_type": "l2", "conf_loss_type": "logistic", "loc_weight": 1.7, "match_type": "bipartite",
    "use_prior_for_matching": False, "use_difficult_gt": False, "code_type": "center_size",
    "encode_variance_in_target": True, "ignore_cross_boundary_bbox": True,
}  # fmt: skip

# All options of a loss but its reduction and normalization, and bottoms for them; those two take every value in turn.
OPTIONS: dict[str, list[tuple[Mapping[str, Any], list[Spec]]]] = {
    "BCELoss": [({}, [Spec((3, 4), low=0.05, high=0.95), Spec((3, 4), low=0, high=1)])],
    "BCEWithLogitsLoss": [
        ({"pos_weight": w, "ignore_index": 0}, [Spec((3, 4)), Spec((3, 4), low=-1, high=2)])
        for w in (3.0, [0.5, 2.0, 0.0, 1.0])
    ],
    "CTCLoss": [
        (
            {"blank": 2, "zero_infinity": True},
            [Spec((4, 4, 3)), index((4, 3), 2), index((4,), 5, 1), index((4,), 4)],
        )
    ],
    "ContrastiveLoss": [
        ({"margin": 9.0, "legacy_version": True, "gradient_eps": 0.1}, [*[Spec((6, 2, 2))] * 2, index((6,), 2)])
    ],
    "CosineEmbeddingLoss": [({"margin": 0.1}, [*VECTORS[:2], SIGNS])],
    "DiceLoss": [
        ({"activation": way, "smooth": 0.5, "squares": True, "ignore_index": 1}, [bottom, LABELS])
        for way, bottom in (("sigmoid", SCORES), ("none", PROBABILITIES))
    ],
    "EuclideanLoss": [({}, PAIR)],
    "FocalLoss": [({"alpha": WEIGHTED["weight"], "gamma": 1.5, "ignore_index": 1}, [SCORES, LABELS])],
    "HingeLoss": [({**WEIGHTED, "norm": "L2"}, [SCORES, LABELS])],
    "HuberLoss": [({"delta": 0.7}, PAIR)],
    "InfogainLoss": [
        ({**WEIGHTED, "matrix": MATRIX, "min_probability": 0.3}, [SCORES, LABELS]),
        ({**WEIGHTED, "min_probability": 0.3}, [SCORES, LABELS, Spec((3, 3))]),
    ],
    "KLDivLoss": [({"log_target": True}, [Spec((3, 4), low=-5, high=0)] * 2)],
    "L1Loss": [({}, PAIR)],
    "MSELoss": [({}, PAIR)],
    "MarginRankingLoss": [({"margin": 0.4}, [Spec((5, 2)), Spec((5, 2)), SIGNS])],
    "MultiBoxLoss": [
        ({**MULTI_BOX, **ways}, boxes_and_objects(2, 9, 3, boxes=boxes, objects=9, background=background))
        for ways, boxes, background in (
            ({"neg_pos_ratio": 0.8, "neg_overlap": 0.3, "background_label_id": 2}, 1, 2),
            ({"share_location": False, "mining_type": "none", "background_label_id": -1}, 3, -1),
            ({"match_type": "per_prediction", "overlap_threshold": 0.2, "use_prior_for_matching": True}, 1, 0),
        )
    ],
    "MultinomialLogisticLoss": [(WEIGHTED, [PROBABILITIES, LABELS])],
    "NLLLoss": [(WEIGHTED, [SCORES, LABELS])],
    "SigmoidFocalLoss": [({"alpha": 0.3, "gamma": 1.5}, [Spec((3, 4)), Spec((3, 4), low=0, high=1)])],
    "SmoothL1Loss": [({"beta": 0.7}, PAIR), ({"sigma": 1.2}, PAIR)],
    "SoftmaxCrossEntropy": [
        ({**WEIGHTED, "label_smoothing": 0.3, "min_probability": 0.3}, [SCORES, LABELS]),
        ({"weight": WEIGHTED["weight"], "label_smoothing": 0.3, "min_probability": 0.3}, [SCORES, PROBABILITIES]),
    ],
    "TripletMarginLoss": [({"margin": 2.0, "p": 3.0, "eps": 0.1}, VECTORS)],
}


def with_all_options(cls: type[Layer]) -> Iterator[Example]:
    """Examples of a loss that set all its options at once, for each reduction and each normalization of a mean."""
    choices = {name: field.choices or () for name, field in cls.fields.items()}
    ways = [{"reduction": value} for value in choices.get("reduction", ())] or [{}]
    ways += [{"normalization": value} for value in choices.get("normalization", ()) if value != "valid"]
    for options, bottoms in OPTIONS.get(cls.type_name, ()):
        each = [bottoms]
        if cls.type_name in BY_SAMPLES:
            each.append([*bottoms, Spec(bottoms[1].shape[:1], low=0.1, high=3)])
        yield from (Example({**options, **way}, given) for way in ways for given in each)


def has_formula(case: Case) -> str | None:
    """Condition of the check of formulas."""
    return None if case.cls.type_name in FORMULAS else "no formula of it is written down a second time"


@layer_check(has_formula)
def check_formula(case: Case) -> None:
    """A loss is what its formula says, to 1e-12 in float64; the first example stands for all options at once, too."""
    formula = FORMULAS[case.cls.type_name]
    first = case.example is case.cls.examples[0]
    for example in (case.example, *(with_all_options(case.cls) if first else ())):
        probe = Probe(case.cls, example, backend=case.backend)
        (top,) = map(probe.host, probe.forward())
        want = formula(probe.layer, *map(probe.host, probe.bottoms))
        told = f"the formula gives {want} with {dict(example.params)}, the layer {top}"
        demand(close(top, want, tolerance=1e-12), told)
