"""From a net of Caffe to the layers of a configuration, with all errors at once and an account of every layer.

The NetParameter has been upgraded and filtered for its phase before. Layer after layer is converted; what cannot be is
collected, and its tops go on as a guess, so that whatever else is wrong is told of in the same run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...arrays.spec import Spec
from ...schema.errors import ConfigError, LayerForgeError, flatten
from ...schema.synonyms import did_you_mean
from ..fidelity import Entry, Report
from . import conversions  # noqa: F401  # fills the table
from .conversion import CONVERSIONS, REFUSED, Site, Stream, Unsupported
from .inputs import FEEDING, UNREAD, demand_shapes
from .learning import Learning
from .message import Message
from .names import Names, Version, split_names
from .rules import PHASES

WIRING = (  # the fields of a layer that are read here, for all types alike
    *("name", "type", "bottom", "top", "phase", "loss_weight", "param", "blobs", "propagate_down"),
    *("include", "exclude"),
)
LOSSES = "Loss"  # the types that end so have a loss weight of 1, and a top though they name none
PRECISION = ("forward_type", "backward_type", "forward_math", "backward_math")  # NVIDIA's, of a layer
OF_DTYPE = "the precision of numbers is the configuration's dtype"
NOTHING = "it says nothing of what the net computes"
ASIDE = {  # fields of a net, and why they are left aside
    **dict.fromkeys(("debug_info", "engine", "profile_info", "profile_iter", "profile_warmup"), NOTHING),
    "default_conv_algos_override": NOTHING,
    **dict.fromkeys((*(f"default_{name}" for name in PRECISION), "global_grad_scale"), OF_DTYPE),
}
ASKED = {  # of a net's own state: who opens a net asks for them, as in pycaffe
    "phase": "the phase is the one that is asked for",
    "level": "the level is the one that is asked for; train.yaml has this one unless --level or the solver says one",
}
NOT_IN_PLACE = ("AbsVal", "Flatten", "Reshape", "Split")
RIGHT_IN_PLACE = (  # types that need nothing in backward which they overwrote, or say themselves what they do
    *("BatchNorm", "Bias", "BN", "BNLL", "Clip", "Dropout", "ELU", "Exp", "PReLU", "Python", "ReLU", "ReLU6", "Scale"),
    *("SELU", "SeLU", "SeLu", "Selu", "Sigmoid", "Softmax", "Swish", "TanH", "Threshold"),
)


def is_loss(kind: str) -> bool:
    """Whether Caffe takes a type for a loss: it has a loss weight of 1 unless it says otherwise."""
    return kind.endswith(LOSSES)


def is_fed(net: Message) -> bool:
    """Whether something feeds a net: that of a phase which a definition is not for has nothing."""
    return any(layer.get("type") in (*FEEDING, "DummyData", "Python") for layer in net.get("layer"))


def loss_weights(layer: Message) -> list[float]:
    """The loss weight of each top. Errors: ConfigError where there are not as many as tops."""
    given, tops = layer.get("loss_weight"), len(layer.get("top"))
    if not given:
        return [1.0 if j == 0 and is_loss(layer.get("type")) else 0.0 for j in range(tops)]
    if len(given) != tops:
        who = f"layer '{layer.get('name')}' ({layer.get('type')})"
        told = f"{who}: {len(given)} loss_weight(s) for {tops} top(s)"
        raise ConfigError(told, place=layer.place("loss_weight"), hint="one for each top, or none")
    return list(given)


@dataclass
class Translation:
    """A net of Caffe, translated.

    layers    the layers of the configuration, in order
    inputs    what is given to the net, as the section `inputs` has it
    sites     each of Caffe's layers with what became of it
    names     what things are called
    report    the account of it
    shapes    those of inputs that were said beside the definition, by Caffe's names
    errors    everything that is wrong
    """

    net: Message
    phase: str
    report: Report
    names: Names
    shapes: Mapping[str, Sequence[int]] = field(default_factory=dict)
    layers: list[dict[str, Any]] = field(default_factory=list)
    inputs: dict[str, dict[str, Any]] = field(default_factory=dict)
    sites: list[Site] = field(default_factory=list)
    errors: list[LayerForgeError] = field(default_factory=list)


def translate(
    net: Message,
    phase: str,
    source: str,
    *,
    shapes: Mapping[str, Sequence[int]] | None = None,
    feeds: Mapping[str, Spec] | None = None,
    roots: Sequence[Path] = (),
    splits: bool = False,
) -> Translation:
    """Translate a NetParameter; look at `errors` before using the result.

    phase    TRAIN or TEST
    shapes   of inputs by name, in the place of those that the definition gives
    feeds    what the layers that read data give, by the names of their tops
    roots    folders that the files which layers name are below
    splits   give a name of their own to the copies that Caffe makes of a blob for each of its readers
    """
    layers = [_with_top(layer) for layer in net.get("layer")]
    names = Names(layers, lambda layer: layer.get("type") in FEEDING, _loses)
    translation = Translation(net, phase, Report("Caffe", source), names, dict(shapes or {}))
    translation.errors += names.errors
    translation.errors += _unknown_fields(net)
    walk = _Walk(translation, dict(shapes or {}), dict(feeds or {}), roots, splits)
    for number, layer in enumerate(layers):
        walk.convert(number, layer)
    walk.finish()
    return translation


def _with_top(layer: Message) -> Message:
    """A loss that names no top has one all the same."""
    if is_loss(layer.get("type")) and not layer.get("top"):
        layer.set("top", [layer.get("name") or layer.get("type").lower()])
    return layer


def _loses(layer: Message, top: int) -> bool:
    try:
        return loss_weights(layer)[top] != 0
    except ConfigError:
        return False


def _unknown_fields(net: Message) -> list[LayerForgeError]:
    """An error for every field that Caffe's format does not know."""
    found: list[LayerForgeError] = []
    for path, unknown in net.all_unknown():
        name = f"{path}{unknown.name}" if isinstance(unknown.name, str) else f"{path}field {unknown.name}"
        found.append(Unsupported(f"unknown field {name}{unknown.reason and ': '}{unknown.reason}", place=unknown.place))
    return found


class _Walk:
    """The state of a translation: which stream each version of a blob is."""

    def __init__(
        self,
        done: Translation,
        shapes: dict[str, Sequence[int]],
        feeds: dict[str, Spec],
        roots: Sequence[Path],
        splits: bool,
    ) -> None:
        self.done = done
        self.shapes, self.feeds, self.roots, self.splits = shapes, feeds, roots, splits
        self.streams: dict[int, Stream] = {}  # by id of the version
        self.copies: dict[tuple[int, int], Stream] = {}  # by layer and bottom, where splits have names
        self.casts: dict[tuple[str, str], Stream] = {}
        self.learning = Learning()
        self.asked: set[str] = set()  # inputs whose gradient a layer asks for
        self.learned: set[str] = set()  # versions of blobs that come from a layer which learns
        self.force = bool(done.net.get("force_backward"))

    # One layer ----------------------------------------------------------------------------------------------------

    def convert(self, number: int, layer: Message) -> None:
        """Convert a layer, or keep what is wrong with it and go on with a guess."""
        done, names = self.done, self.done.names
        kind, versions = layer.get("type"), names.tops[number]
        entry = Entry(layer.get("name"), kind, layer.place("name") if layer.has("name") else layer.place())
        done.report.entries.append(entry)
        for name in WIRING:
            layer.has(name)
        phase = PHASES[layer.get("phase")] if layer.has("phase") else PHASES[done.phase]
        site = Site(
            layer, names.layers[number], phase, self._bottoms(number, layer), [v.name for v in versions], names.unique,
            self.roots, self.casts,
        )  # fmt: skip
        done.sites.append(site)
        site.harmless(layer, *PRECISION, why=OF_DTYPE)
        site.harmless(layer, "debug")
        try:
            if kind in FEEDING:
                self._feed(site, versions)
            else:
                self._convert(site)
            self.learning.read(site)
            self._ask(number, site)
        except LayerForgeError as error:
            self._failed(site, entry, error)
        self._account(site, entry)
        for version in versions:
            guess = Stream(version.name, site.bottoms[0].spec if site.bottoms else Spec((1,)), True)
            stream = site.streams.get(version.name, guess)
            self.streams[id(version)] = stream
            if self.splits:
                self._split(site, version, stream)
        done.layers += [made.item for made in site.made]

    def _bottoms(self, number: int, layer: Message) -> list[Stream]:
        found = []
        for i, version in enumerate(self.done.names.bottoms[number]):
            stream = self.copies.get((number, i)) or (self.streams.get(id(version)) if version is not None else None)
            found.append(stream or Stream(layer.get("bottom")[i], Spec((1,)), True))
        return found

    def _convert(self, site: Site) -> None:
        conversion = CONVERSIONS.get(site.type)
        if conversion is None:
            told = f"layer '{site.name}': type {site.type} is not supported"
            hint = REFUSED.get(site.type) or did_you_mean(site.type, [*CONVERSIONS, *FEEDING])
            raise Unsupported(told, place=site.place("type"), hint=hint)
        weights = loss_weights(site.layer)
        shared = set(site.layer.get("bottom")) & set(site.layer.get("top"))
        if shared and site.type in NOT_IN_PLACE:
            raise site.invalid("it cannot run in place", site.layer, "top", hint="give its top a name of its own")
        self._cut(site)
        conversion(site)
        if shared:
            self._tell_of_place(site)
        self._weigh(site, weights)

    @staticmethod
    def _tell_of_place(site: Site) -> None:
        """A note for a layer in place whose backward reads, in Caffe, what forward or backward has overwritten."""
        p = site.param("eltwise_param") if site.type == "Eltwise" else None
        plain_sum = p is not None and p.get("operation") == "SUM" and not p.get("coeff")
        if site.type not in RIGHT_IN_PLACE and not plain_sum:
            site.note("in place Caffe computes gradients from what it has overwritten: here they are exact")

    def _cut(self, site: Site) -> None:
        """propagate_down: false stops the gradient; true asks for that of an input, see `_ask`."""
        given = site.layer.get("propagate_down")
        if given and len(given) != len(site.bottoms):
            told = f"{len(given)} propagate_down for {len(site.bottoms)} bottom(s)"
            raise site.invalid(told, site.layer, "propagate_down", hint="one for each bottom, or none")
        for i, down in enumerate(given):
            stream = site.bottoms[i]
            if not down and stream.spec.is_real:
                (site.bottoms[i],) = site.emit("Detach", stream, part=f"detach{i}" if i else "detach")

    def _ask(self, number: int, site: Site) -> None:
        """With propagate_down: true a layer that learns computes the gradient of an input, too.

        As in Caffe one that learns nothing runs no backward for that, nor does the copying for several readers. That of
        another blob which comes from no learned layer, or of a copy, is not computed here, which is noted.
        """
        versions = [version for version in self.done.names.bottoms[number] if version is not None]
        fixed = {i for i, spec in enumerate(site.layer.get("param")) if spec.get("lr_mult") == 0}
        learns = any(blob.namespace == "params" and i not in fixed for i, blob in enumerate(site.blobs))
        if learns or any(version.name in self.learned for version in versions):
            self.learned |= {version.name for version in self.done.names.tops[number]}
        for version, down in zip(versions, site.layer.get("propagate_down"), strict=False):
            if not (learns and down) or version.name in self.learned:
                continue
            if len(version.readers) == 1 and version.name in self.done.inputs:
                self.asked.add(version.name)
            elif not self.force:
                site.note(f"the gradient of '{version.blob}', which nothing learned makes, may be zeros here")

    @staticmethod
    def _weigh(site: Site, weights: Sequence[float]) -> None:
        """Write the loss weights at the layers that make the tops."""
        wanted = dict(zip(site.tops, weights, strict=True))
        for made in site.made:
            mine = [wanted.get(top, 0.0) for top in made.tops]
            usual = [1.0] + [0.0] * (len(mine) - 1) if made.layer.loss else [0.0] * len(mine)
            if mine and mine != usual:
                made.item["loss_weight"] = mine[0] if len(mine) == 1 else mine

    # What feeds the net -------------------------------------------------------------------------------------------

    def _feed(self, site: Site, versions: Sequence[Version]) -> None:
        """The tops of a layer that gives data are inputs of the net."""
        given = site.param("input_param").get("shape") if site.type == "Input" else []
        if site.type == "Input" and len(given) not in (0, 1, len(versions)):
            raise site.invalid(f"{len(given)} shapes for {len(versions)} top(s)", site.layer, "input_param")
        if any(loss_weights(site.layer)):
            hint = "give it to a layer that computes something, such as a Power"
            raise site.unsupported("a loss_weight of what is given to the net", site.layer, "loss_weight", hint=hint)
        if not given:
            demand_shapes(site, versions, {*self.shapes, *self.feeds})
        if site.type in UNREAD:
            site.note("no source here reads its data: its tops are inputs, what it does with samples is not imported")
        for j, version in enumerate(versions):
            blob, spec = version.blob, self.feeds.get(version.blob)
            shape = self.shapes.get(blob)
            if spec is None and shape is None and given:
                shape = given[j if len(given) > 1 else 0].get("dim")
            for one in given:
                one.get("dim")
            if spec is None:
                if any(length < 0 for length in shape or ()):
                    raise site.invalid(f"'{blob}' has the shape {list(shape or ())}", site.layer, "input_param")
                spec = Spec(tuple(shape or ()), "float32")
                self.done.inputs[version.name] = {"shape": list(spec.shape)}
            site.demand_size(spec)
            site.streams[version.name] = Stream(version.name, spec)

    # Keeping account ----------------------------------------------------------------------------------------------

    def _failed(self, site: Site, entry: Entry, error: LayerForgeError) -> None:
        """Keep the errors of a layer; where its bottoms are guesses only what does not depend on them."""
        for one in flatten(error):
            if site.guessed and not isinstance(one, Unsupported):
                continue
            if one.place is None:
                one.place = site.layer.place()
            self.done.errors.append(one)
            entry.problems.append(one.message)
        if not entry.problems:
            entry.problems.append("what it reads cannot be imported")

    def _account(self, site: Site, entry: Entry) -> None:
        """The entry of a layer: what it became, and which of its fields were not understood or are ignored."""
        entry.becomes = [(made.name, str(made.item["type"])) for made in site.made]
        entry.notes += site.notes
        ignored = list(site.ignored)
        if not entry.problems:
            for path, place in site.layer.unread():
                head, _, rest = path.partition(".")
                if rest or not head.split("[")[0].endswith("_param"):
                    told = f"layer '{site.name}' ({site.type}): the field {path} is not supported"
                    self.done.errors.append(Unsupported(told, place=place))
                    entry.problems.append(f"the field {path} is not supported")
                else:
                    kind = f"a layer of type {site.type}"
                    why = f"what {kind} does is not imported" if site.type in UNREAD else f"{kind} does not read it"
                    ignored.append((path, place, why))
        who = f"layer {site.name}: "
        self.done.report.ignored += [(f"{who}{path}", str(place), why) for path, place, why in ignored]

    # The copies that Caffe makes ----------------------------------------------------------------------------------

    def _split(self, site: Site, version: Version, stream: Stream) -> None:
        """An Identity for each reader of a blob with several, called as Caffe calls its copies."""
        copies = split_names(version, site.name)
        maker = next((made for made in site.made if version.name in made.tops), None)
        weight = maker.item.pop("loss_weight", None) if copies and maker is not None else None
        for name, (number, i) in zip(copies, version.readers, strict=False):
            (copy,) = site.emit("Identity", stream, name=self.done.names.unique(name), tops=[name])
            if number >= 0:
                self.copies[number, i] = copy
            elif weight is not None:
                site.made[-1].item["loss_weight"] = weight

    # The end ------------------------------------------------------------------------------------------------------

    def finish(self) -> None:
        """What is known only when all layers are."""
        done = self.done
        try:
            self.learning.write()
        except LayerForgeError as error:
            done.errors += flatten(error)
        done.report.ignored += [
            (name, str(done.net.place(name)), ASIDE[name]) for name in done.net.values if name in ASIDE
        ]
        state = done.net.get("state")
        done.report.ignored += [
            (f"state.{name}", str(state.place(name)), ASKED[name]) for name in ASKED if name in state.values
        ]
        trains = any(made.layer.param_decls for site in done.sites for made in site.made)
        loses = any(any(weights) for weights in map(_weights_or_none, done.net.get("layer")))
        for name, section in done.inputs.items():
            if self.force or not (trains and loses) or name in self.asked:
                section["grad"] = True
        foreign = (layer.get("name") for layer in done.net.get("layer"))
        done.report.layers = {old: new for old, new in zip(foreign, done.names.layers, strict=True) if old != new}
        last = {blob: versions[-1].name for blob, versions in done.names.versions.items()}
        done.report.blobs = {old: new for old, new in last.items() if old != new}


def _weights_or_none(layer: Message) -> list[float]:
    try:
        return loss_weights(layer)
    except ConfigError:
        return []
