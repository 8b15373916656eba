"""A copy of a net that computes in full precision, as files that are written from it do."""

from __future__ import annotations

from ..net import Net
from ..run import copies


def full_twin(net: Net) -> Net:
    """A net with the same numbers, in which no key of `precision` or `matmul_precision` lowers what is computed.

    A written file holds float32 alone: what a net in bf16-mixed rounds would be told of as a fault of the file.
    """
    state = copies.state_of(net)  # without attributes that somebody gave the net, which need not be copied
    return Net(net.config.in_full_precision(), keep="none", backend=net.backend, like=state)
