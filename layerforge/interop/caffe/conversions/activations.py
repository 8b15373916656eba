"""Activations: one layer for one of Caffe's, unless that behaves otherwise in place or has no derivative."""

from __future__ import annotations

from typing import Any

from ..conversion import Site, Stream, converts
from ..fillers import filler_of
from ..message import Message


def _input(site: Site) -> Stream:
    """The one bottom, as real numbers."""
    site.count(1, 1)
    return site.real(site.bottoms[0])


@converts("ReLU")
def relu(site: Site) -> None:
    """ReLU, with its slope below zero. In place Caffe's tells the sides of zero apart by the top."""
    p = site.param("relu_param")
    site.harmless(p, "engine")
    x, slope = _input(site), p.get("negative_slope")
    if site.in_place and slope < 0:  # all tops are above zero
        site.note("in place Caffe's ReLU with a slope below 0 passes every gradient on, and so does it here")
        _with_gradient(site, x, "ReLU", {"negative_slope": slope})
    else:
        site.emit("ReLU", x, negative_slope=slope)


@converts("PReLU")
def prelu(site: Site) -> None:
    """PReLU, with a slope for each channel or one for all."""
    x, p = _input(site), site.param("prelu_param")
    shared = p.get("channel_shared")
    site.demand_axes(x, 2)
    start: dict[str, Any] = {}
    if p.has("filler"):
        filler = filler_of(site, p.get("filler"))
        start = {"init": p.get("filler").get("value")} if _is_constant(filler) else {"weight_filler": filler}
    site.emit("PReLU", x, num_parameters=1 if shared else x.shape[1], **start)
    site.blob("weight", shape=() if shared else None)


def _is_constant(filler: Any) -> bool:
    return (filler if isinstance(filler, str) else filler["type"]) == "constant"


@converts("ELU")
def elu(site: Site) -> None:
    """ELU with its alpha."""
    site.emit("ELU", _input(site), alpha=site.param("elu_param").get("alpha"))


@converts("Sigmoid")
def sigmoid(site: Site) -> None:
    """Sigmoid."""
    site.harmless(site.param("sigmoid_param"), "engine")
    site.emit("Sigmoid", _input(site))


@converts("TanH")
def tanh(site: Site) -> None:
    """Tanh."""
    site.harmless(site.param("tanh_param"), "engine")
    site.emit("Tanh", _input(site))


@converts("Swish")
def swish(site: Site) -> None:
    """SiLU with its beta."""
    site.emit("SiLU", _input(site), beta=site.param("swish_param").get("beta"))


@converts("AbsVal")
def absval(site: Site) -> None:
    """Abs."""
    site.emit("Abs", _input(site))


@converts("BNLL")
def bnll(site: Site) -> None:
    """Softplus. In place Caffe's takes the top for its bottom in backward."""
    x = _input(site)
    if site.in_place:
        site.note("in place Caffe's BNLL has the gradient dy sigmoid(y) and not dy sigmoid(x), and so it is here")
        _with_gradient(site, x, "Softplus", {}, slope="Sigmoid")
    else:
        site.emit("Softplus", x)


@converts("Power")
def power(site: Site) -> None:
    """Pow: (shift + scale x) to the power."""
    p = site.param("power_param")
    x = _input(site)
    site.emit("Pow", x, exponent=p.get("power"), scale=p.get("scale"), shift=p.get("shift"))


@converts("Exp")
def exponential(site: Site) -> None:
    """Exp; base -1 is e."""
    site.emit("Exp", _input(site), **_base(site, site.param("exp_param")))


@converts("Log")
def logarithm(site: Site) -> None:
    """Log; base -1 is e."""
    site.emit("Log", _input(site), **_base(site, site.param("log_param")))


def _base(site: Site, p: Message) -> dict[str, Any]:
    base = p.get("base")
    if base != -1 and base <= 0:
        raise site.invalid(f"base {base:g}: it must be -1, which stands for e, or above 0", p, "base")
    return {"base": None if base == -1 else base, "scale": p.get("scale"), "shift": p.get("shift")}


@converts("Clip")
def clip(site: Site) -> None:
    """Clamp. In place Caffe's sees values that are clipped already, and passes every gradient on."""
    x, p = _input(site), site.param("clip_param")
    for name in ("min", "max"):
        if not p.has(name):
            raise site.invalid(f"{name} is missing", p)
    limits = {"min": p.get("min"), "max": p.get("max")}
    if not site.in_place:
        site.emit("Clamp", x, **limits)
        return
    site.note("in place Caffe's Clip passes every gradient on, and so does it here")
    _with_gradient(site, x, "Clamp", limits)


def _with_gradient(site: Site, x: Stream, kind: str, options: dict[str, Any], slope: str = "") -> None:
    """A layer whose gradient is dy, or dy times what a layer `slope` makes of its top."""
    (held,) = site.emit("Detach", x, part="held")
    (y,) = site.emit(kind, held, part="value", **options)
    (passed,) = site.emit("Sub", [x, held], part="gradient")  # 0 everywhere, with the gradient of x
    if slope:
        (factor,) = site.emit(slope, y, part="slope")
        (passed,) = site.emit("Mul", [passed, factor], part="scaled")
    site.emit("Add", [y, passed])


@converts("Threshold")
def threshold(site: Site) -> None:
    """max(0, sign(x - threshold)): 1 above the threshold, otherwise 0. It has no gradient."""
    x, limit = _input(site), site.param("threshold_param").get("threshold")
    if limit:
        (x,) = site.emit("Pow", x, part="above", exponent=1, shift=-limit)
    (x,) = site.emit("Sign", x, part="sign")
    site.emit("ReLU", x)
    site.note("Caffe's Threshold stops with an error in backward; here its gradient is 0")


@converts("Dropout")
def dropout(site: Site) -> None:
    """Dropout with the same ratio; which elements are dropped is drawn otherwise."""
    p = site.param("dropout_param")
    ratio = p.get("dropout_ratio")
    if not 0 <= ratio <= 1:
        raise site.invalid(f"dropout_ratio {ratio:g}: it must lie between 0 and 1", p, "dropout_ratio")
    if p.get("sample_weights_test"):
        hint = "without it nothing is dropped in phase TEST"
        raise site.unsupported("sample_weights_test: true", p, "sample_weights_test", hint=hint)
    x = _input(site)
    if ratio < 1 and not p.get("scale_train"):  # what is kept stays as it is, and all is made smaller in phase TEST
        site.emit("Pow", site.emit("Dropout", x, part="dropped", p=ratio), exponent=1, scale=1 - ratio)
    elif ratio < 1:
        site.emit("Dropout", x, p=ratio)
    elif site.phase == "eval":
        site.emit("Identity", x)
    else:
        raise site.unsupported("dropout_ratio 1 in phase TRAIN: everything is dropped, and divided by 0", p)


@converts("Softmax")
def softmax(site: Site) -> None:
    """Softmax along its axis."""
    x, p = _input(site), site.param("softmax_param")
    site.harmless(p, "engine")
    site.emit("Softmax", x, dim=site.axis(p.get("axis"), x.ndim, p))
