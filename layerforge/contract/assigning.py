"""Attributes of a layer in a net that are assigned and do not exist: what was meant, in words."""

from __future__ import annotations

from typing import Any

from ..schema.errors import LayerError
from ..schema.synonyms import did_you_mean

FOREIGN = {
    "frozen": "freeze = True keeps its parameters as they are",
    "requires_grad": "freeze = True keeps its parameters as they are",
    "trainable": "freeze = True keeps its parameters as they are",
    "training": 'a phase is named for each pass: net.forward(phase="eval", ...)',
    "phase": 'a phase is named for each pass: net.forward(phase="eval", ...)',
    "lr": "the learning rate is the solver's; lr_mult is its factor for this layer",
    "weight_decay": "weight decay is the solver's; decay_mult is its factor for this layer",
}


def unknown_attribute(layer: Any, name: str) -> LayerError:
    """The error for an attribute that a layer (contract/layer.py) in a net does not have."""
    params = layer.param_decls.keys() | layer.state_decls.keys()
    known = [*layer.fields, "freeze", "lr_mult", "decay_mult"]
    held = "params" if name in layer.param_decls else "state"
    hint = f"net.{held}[{layer.name!r}][{name!r}] has its numbers" if name in params else FOREIGN.get(name)
    message = f"layer '{layer.name}' ({layer.type_name}) in a net has no attribute '{name}' to assign"
    return LayerError(message, hint=hint or did_you_mean(name, known) or f"there are: {', '.join(known)}")
