"""Files of Caffe as messages, whatever the form that they are stored in."""

from __future__ import annotations

from pathlib import Path

from ...data.files import file_error
from ...schema.errors import ConfigError, LayerForgeError
from . import binary, hdf5, text
from .files import content, is_hdf5
from .message import Message
from .upgrade import upgraded, upgraded_solver

OF_SOLVERS = {"base_lr", "lr_policy", "max_iter", "train_net", "net"}  # fields that a net has not
OF_NETS = {"layer", "layers", "input"}  # and those that a solver has not


def load_net(path: str | Path, problems: list[LayerForgeError] | None = None) -> Message:
    """The definition of a net in a prototxt, in the present form. Errors: see text.parse and upgrade.upgraded."""
    net = text.load(path, "NetParameter", problems)
    if OF_SOLVERS & {unknown.name for unknown in net.unknown}:
        hint = "name the prototxt of the net first, and this file with --solver"
        raise ConfigError(f"{path} is the definition of a solver, not of a net", hint=hint)
    return upgraded(net)


def load_solver(path: str | Path, problems: list[LayerForgeError] | None = None) -> Message:
    """The definition of a solver in a prototxt. Errors: see text.parse and upgrade.upgraded_solver."""
    solver = text.load(path, "SolverParameter", problems)
    if OF_NETS & {unknown.name for unknown in solver.unknown}:
        raise ConfigError(f"{path} is the definition of a net, not of a solver", hint="name its solver.prototxt")
    return upgraded_solver(solver)


def load_weights(path: str | Path) -> Message:
    """The net in a .caffemodel, in the present form, or the names and blobs of the layers in a .caffemodel.h5.

    Errors   DataError with the file, and the byte where it is damaged
    """
    if is_hdf5(path):
        return hdf5.load_model(path)
    stored = content(path)
    if not stored:
        raise file_error(path, "is empty", "copy or download it again")
    return upgraded(binary.parse(stored, "NetParameter", str(path)))


def load_state(path: str | Path) -> Message:
    """The SolverState of a .solverstate or .solverstate.h5. Errors: as load_weights."""
    return hdf5.load_state(path) if is_hdf5(path) else binary.load(path, "SolverState")


def load_blob(path: str | Path) -> Message:
    """The BlobProto of a .binaryproto: a mean image, or the matrix of InfogainLoss."""
    return binary.load(path, "BlobProto")
