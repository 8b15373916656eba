"""Silence: blobs are read, and nothing comes of it."""

from __future__ import annotations

from typing import Any

from ...arrays.spec import Spec, index
from ...contract.layer import Bad, Example, Layer
from ...schema.registry import register
from .identity import WITHOUT_SETTINGS


@register
class Silence(Layer):
    """Silence: reads blobs so that they are no outputs of the net (Caffe: Silence)

    A top that nobody reads is an output: forward returns it, and a log shows it where it is a single number.

    Shapes    any number of bottoms of any shapes; no tops
    Backward  none: nothing depends on it
    Keeps     nothing
    Source    Jia et al. 2014 (Caffe)
    """

    bottoms = (1, None)
    tops = 0

    examples = [
        Example({}, [Spec((3, 4))], tops=0),
        Example({}, [Spec((3, 4)), index((3,), 5), Spec(())], tops=0),
        Example({}, [Spec((0, 2)), Spec((1,))], tops=0),
    ]
    bad_examples = [*WITHOUT_SETTINGS, Bad({"top": "y"}, "unknown key 'top'")]

    def setup(self, *bottoms: Spec) -> tuple[Spec, ...]:
        return ()

    def forward(self, *bottoms: Any) -> None:
        """Nothing."""
