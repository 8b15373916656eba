"""Element by element, of one input."""

from __future__ import annotations

import numpy as np

from ....layers.elementwise.rectifiers import SELU_ALPHA, SELU_SCALE
from ....schema.registry import LAYERS
from ..constants import number
from ..folding import DTYPES
from ..importing import IMPORTS, REFUSED, Import, Site, imports
from ..values import BOOL, INDEX, NARROW, REAL, Known, Stream
from .common_in import scalar, truth
from .one_operator import BOTH_WAYS, OneOperator

ONLY_READ = (  # operators that nothing is exported as: the layer, and its hyper-parameter that alpha is
    OneOperator("Mish", "Mish"),
    OneOperator("SiLU", "Swish", {"beta": "alpha"}),
)
CASTS = {  # dtypes of ONNX by number: what they are here
    **dict.fromkeys((1, 10, 11, 16), "real"),
    **dict.fromkeys((2, 3, 4, 5, 6, 7, 12, 13), "index"),
    9: "bool",
}
FAR = float(1 << 30)  # whose square is a number of float32, and next to it that square plus or less 1
LARGEST = 3.4028234663852886e38  # number of float32
REFUSED.update(
    {
        "Bernoulli": "what it draws is not said by the graph",
    }
)


def _of_row(row: OneOperator) -> Import:
    """The import of an operator that is one layer: its attributes have the defaults of the layer's hyper-parameters."""
    fields = LAYERS.get(row.type).fields

    def convert(site: Site) -> None:
        given = {
            ours: number(site.attributes.number(theirs, fields[ours].default))
            for ours, theirs in row.attributes.items()
        }
        numeric(site, row.type, given)

    return convert


for _row in (*BOTH_WAYS, *ONLY_READ):
    IMPORTS.setdefault(_row.op, _of_row(_row))


def numeric(site: Site, kind: str, given: dict[str, float]) -> None:
    """A layer of one input, whose output is integers where the input is."""
    whole = site.input(0).dtype == "int64"
    (y,) = site.emit(kind, site.real(0), part=kind.lower() if whole else "", given=given)
    if whole:
        site.emit("Cast", y, role="index")


@imports("Selu")
def selu(site: Site) -> None:
    """SELU, or ELU times a number."""
    alpha, gamma = site.attributes.number("alpha", SELU_ALPHA), site.attributes.number("gamma", SELU_SCALE)
    if abs(alpha - SELU_ALPHA) < 1e-5 and abs(gamma - SELU_SCALE) < 1e-5:
        site.emit("SELU", site.real(0))
        return
    (y,) = site.emit("ELU", site.real(0), part="elu", alpha=number(alpha))
    site.emit("Pow", y, exponent=1.0, scale=number(gamma))


@imports("Gelu")
def gelu(site: Site) -> None:
    """GELU."""
    site.emit("GELU", site.real(0), approximate=site.attributes.text("approximate", "none"))


@imports("HardSigmoid")
def hard_sigmoid(site: Site) -> None:
    """HardSigmoid, or a Clamp of a line with another slope."""
    alpha, beta = site.attributes.number("alpha", 0.2), site.attributes.number("beta", 0.5)
    if abs(alpha - 1 / 6) < 1e-7 and beta == 0.5:
        site.emit("HardSigmoid", site.real(0))
        return
    (line,) = site.emit("Pow", site.real(0), part="line", exponent=1.0, scale=number(alpha), shift=number(beta))
    site.emit("Clamp", line, min=0.0, max=1.0)


@imports("ThresholdedRelu")
def thresholded_relu(site: Site) -> None:
    """Threshold, with 0 below it."""
    site.emit("Threshold", site.real(0), threshold=number(site.attributes.number("alpha", 1.0)), value=0.0)


@imports("PRelu")
def p_relu(site: Site) -> None:
    """PReLU with one slope or one for each channel; any other is ReLU(x) - slope ReLU(-x)."""
    x, slope = site.real(0), site.input(1)
    if isinstance(slope, Known) and slope.fixed:
        count, shape = slope.array.size, slope.shape
        channels = x.shape[1] if x.ndim > 1 else 0
        behind = (channels,) + (1,) * (x.ndim - 2)
        if count == 1 or (x.ndim > 1 and shape in (behind, (1, *behind))):
            site.emit("PReLU", x, num_parameters=count)
            site.param("weight", slope.flattened())
            return
    (above,) = site.emit("ReLU", x, part="above")
    (turned,) = site.emit("Neg", x, part="turned")
    (below,) = site.emit("ReLU", turned, part="below")
    (less,) = site.emit("Mul", [below, site.real(1)], part="sloped")
    site.emit("Sub", [above, less])


@imports("Clip")
def clip(site: Site) -> None:
    """Clamp between numbers; between blobs Maximum and Minimum."""
    limits: list[float | None] = []
    for i, name, end in ((1, "min", -np.inf), (2, "max", np.inf)):
        value = scalar(site, i) if site.has(i) else None
        if site.has(i) and value is None:
            return _clip_by_blobs(site)
        if not site.has(i) and site.attributes.has(name):
            value = number(site.attributes.number(name, 0.0))
        usual = value is None or value == end or abs(value) >= 3.4e38
        limits.append(None if usual else value)
    low, high = limits
    if low is None and high is None:
        return site.pass_on(site.input(0))
    whole = site.input(0).dtype == "int64"
    if low == 0 and high == 6 and not whole:
        site.emit("ReLU6", site.real(0))
        return None
    if low == 0 and high is None and not whole:
        site.emit("ReLU", site.real(0))
        return None
    if low is not None and high is not None and low > high:
        low = high  # as ONNX has it: the upper limit counts
    (y,) = site.emit("Clamp", site.real(0), part="clamped" if whole else "", min=low, max=high)
    if whole:
        site.emit("Cast", y, role="index")
    return None


def _clip_by_blobs(site: Site) -> None:
    x = site.real(0)
    if site.has(1):
        (x,) = site.emit("Maximum", [x, site.real(1)], part="above" if site.has(2) else "")
    if site.has(2):
        site.emit("Minimum", [x, site.real(2)])


@imports("Ceil")
def ceil(site: Site) -> None:
    """-Floor(-x)."""
    (turned,) = site.emit("Neg", site.real(0), part="turned")
    (floor,) = site.emit("Floor", turned, part="floor")
    site.emit("Neg", floor)


@imports("Round")
def round_(site: Site) -> None:
    """The nearest whole number, and halfway the even one: Floor, and 1 more where what is left of x is more than half.

    A hundred-millionth is added where Floor is odd, so that its halves are more than half; float32 has no number there.
    """
    x = site.real(0)
    (floor,) = site.emit("Floor", x, part="floor")
    (half,) = site.emit("Pow", floor, part="half", exponent=1.0, scale=0.5)
    (low,) = site.emit("Floor", half, part="half_floor")
    (odd,) = site.emit("Add", [floor, low], part="odd", coeff=[1.0, -2.0])
    (rest,) = site.emit("Sub", [x, floor], part="rest")
    (above,) = site.emit("Pow", rest, part="above_half", exponent=1.0, shift=-0.5)
    (decided,) = site.emit("Add", [above, odd], part="decided", coeff=[1.0, 1e-8])
    (positive,) = site.emit("ReLU", decided, part="positive")
    (up,) = site.emit("Sign", positive, part="up")
    site.emit("Add", [floor, up])


@imports("Shrink")
def shrink(site: Site) -> None:
    """x - bias above lambd, x + bias below -lambd, 0 between: what two Thresholds leave of x and of -x."""
    x, bias = site.real(0), number(site.attributes.number("bias", 0.0))
    edge = number(site.attributes.number("lambd", 0.5))
    sides = []
    for part in ("above", "below"):
        (side,) = (x,) if part == "above" else site.emit("Neg", x, part="turned")
        if edge < 0:
            raise site.unsupported(f"lambd {edge:g}, which is negative")
        (kept,) = site.emit("Threshold", side, part=part, threshold=edge, value=0.0)
        (there,) = site.emit("Sign", kept, part=f"{part}.sign")
        sides.append(site.emit("Add", [kept, there], part=f"{part}.moved", coeff=[1.0, -bias])[0])
    site.emit("Sub", sides)


@imports("Asinh")
def asinh(site: Site) -> None:
    """sign(x) log(1 + |x| + x² / (1 + √(x² + 1))); beyond FAR it is log(2 FAR) + log(|x| / FAR)."""
    x = site.real(0)
    (size,) = site.emit("Abs", x, part="size")
    (sign,) = site.emit("Sign", x, part="sign")
    (near,) = site.emit("Clamp", size, part="near", max=FAR)
    (square,) = site.emit("Square", near, part="square")
    (shifted,) = site.emit("Pow", square, part="shifted", exponent=1.0, shift=1.0)
    (root,) = site.emit("Sqrt", shifted, part="root")
    (below,) = site.emit("Pow", root, part="below", exponent=1.0, shift=1.0)
    (share,) = site.emit("Div", [square, below], part="share")
    (above_one,) = site.emit("Add", [near, share], part="above_one")
    (log,) = site.emit("Add", [_log_1p(site, above_one, "log"), _far(site, size)], part="of_size")
    site.emit("Mul", [sign, log])


@imports("Acosh")
def acosh(site: Site) -> None:
    """log(1 + t + √(t (t + 2))) with t = x - 1; beyond FAR as Asinh."""
    x = site.real(0)
    (near,) = site.emit("Clamp", x, part="near", max=FAR)
    (less,) = site.emit("Pow", near, part="less_one", exponent=1.0, shift=-1.0)
    (more,) = site.emit("Pow", near, part="and_one", exponent=1.0, shift=1.0)
    (square,) = site.emit("Mul", [less, more], part="square")
    (root,) = site.emit("Sqrt", square, part="root")
    (above_one,) = site.emit("Add", [less, root], part="above_one")
    site.emit("Add", [_log_1p(site, above_one, "log"), _far(site, x)])


@imports("Atanh")
def atanh(site: Site) -> None:
    """(log(1 + x) - log(1 - x)) / 2."""
    x = site.real(0)
    (turned,) = site.emit("Neg", x, part="turned")
    logs = [_log_1p(site, one, part, near=True) for one, part in ((x, "above"), (turned, "below"))]
    site.emit("Add", logs, coeff=[0.5, -0.5])


def _log_1p(site: Site, u: Stream, part: str, near: bool = False) -> Stream:
    """log(1 + u) of w = 1 + u as log w - ((w - 1) - u) / w, where w - 1 is not u, but what is left of it in float32.

    near   u is at most 1: the division by w, which is 0 for -1, makes no difference
    """
    (w,) = site.emit("Pow", u, part=f"{part}.w", exponent=1.0, shift=1.0)
    (log,) = site.emit("Log", w, part=f"{part}.rounded")
    (left,) = site.emit("Pow", w, part=f"{part}.left", exponent=1.0, shift=-1.0)
    (lost,) = site.emit("Sub", [left, u], part=f"{part}.lost")
    if not near:
        (lost,) = site.emit("Div", [lost, w], part=f"{part}.share")
    return site.emit("Sub", [log, lost], part=part)[0]


def _far(site: Site, x: Stream) -> Stream:
    """log(x / FAR), and 0 up to FAR."""
    (far,) = site.emit("Clamp", x, part="far", min=FAR)
    return site.emit("Log", far, part="far.log", scale=1 / FAR)[0]


@imports("IsNaN")
def is_nan(site: Site) -> None:
    """1 where ArgMax, for which a NaN is the largest number, prefers it to infinity."""
    _nan(site, site.real(0), "")


def _nan(site: Site, x: Stream, part: str) -> Stream:
    """1 where a number is NaN."""
    (one,) = site.emit("Pow", x, part="one", exponent=0.0)
    infinity = site.as_stream(Known((np.asarray(np.inf, np.float32),) * site.shared.count))
    (above,) = site.emit("Mul", [one, infinity], part="infinite")
    (both,) = site.emit("Stack", [above, x], part="both", dim=x.ndim)
    (larger,) = site.emit("ArgMax", both, part="larger", dim=x.ndim)
    return site.emit("Cast", larger, part=part, dtype=BOOL, role="real")[0]


@imports("IsInf")
def is_inf(site: Site) -> None:
    """1 where the size is above the largest number; with an attribute that is 0 one sign alone counts."""
    below, above = site.attributes.flag("detect_negative", True), site.attributes.flag("detect_positive", True)
    x = site.real(0)
    zero = site.as_stream(Known((np.zeros((), np.float32),) * site.shared.count))
    (x,) = site.emit("Where", [_nan(site, x, "nan"), zero, x], part="number")
    if below and above:
        (x,) = site.emit("Abs", x, part="size")
    elif below:
        (x,) = site.emit("Neg", x, part="turned")
    elif not above:
        (x,) = site.emit("Pow", x, part="none", exponent=0.0)
    (beyond,) = site.emit("Threshold", x, part="beyond", threshold=LARGEST, value=0.0)
    site.emit("Sign", beyond, dtype=BOOL)


@imports("Not")
def not_(site: Site) -> None:
    """1 - x, of 0 and 1."""
    site.emit("Pow", truth(site, site.stream(0), "truth"), dtype=BOOL, exponent=1.0, scale=-1.0, shift=1.0)


@imports("Cast")
def cast(site: Site) -> None:
    """Cast to real numbers or integers; what is of the kind already is passed on."""
    site.attributes.has("saturate")
    number = site.attributes.integer("to", 1)
    if number not in CASTS:
        raise site.unsupported(f"a cast to dtype {number}")
    if number in NARROW and site.input(0).dtype != BOOL:
        site.note(f"a cast to {DTYPES[number]}, whose integers are int64 here: beyond its limits they do not wrap")
    _cast_to(site, site.stream(0), CASTS[number])


@imports("CastLike")
def cast_like(site: Site) -> None:
    """Cast to the kind of the second input."""
    site.attributes.has("saturate")
    kinds, like = {REAL: "real", INDEX: "index", BOOL: "bool"}, site.input(1).dtype
    if like not in kinds:
        raise site.unsupported(f"a cast to dtype {like}")
    if site.is_known(0):  # of the second input its dtype alone counts
        value = site.known(0)
        arrays = tuple(array.astype(like) for array in value.arrays)
        return site.pass_on(value if value.dtype == like else Known(arrays))
    return _cast_to(site, site.stream(0), kinds[like])


def _cast_to(site: Site, x: Stream, to: str) -> None:
    if to == "bool":
        made = truth(site, x, "truth")
    else:
        made = site.as_real(x, computing=False) if to == "real" else site.as_index(x)
    site.pass_on(Stream(made.name, made.specs, {"real": REAL, "index": INDEX, "bool": BOOL}[to], made.guessed))


@imports("Identity", "StopGradient")
def identity(site: Site) -> None:
    """The same blob."""
    site.pass_on(site.input(0))


@imports("Dropout")
def dropout(site: Site) -> None:
    """Dropout; in eval it passes on."""
    site.count(1)
    if site.opset < 12:
        share = site.attributes.number("ratio", 0.5)
    else:
        share = float(site.constant(1, "ratio").reshape(-1)[0]) if site.has(1) else 0.5
        if site.has(2) and bool(site.constant(2, "training_mode").reshape(-1)[0]):
            site.note("training_mode is true: here it drops in train, and passes on in eval")
    if site.attributes.has("seed"):
        site.note("its seed is the net's here")
    site.emit("Dropout", site.real(0), p=number(share))
