"""Recurrent layers: Caffe has the steps first, and one bias."""

from __future__ import annotations

from ..conversion import Site, converts


@converts("LSTMUnit")
def lstm_unit(site: Site) -> None:
    """One step of an LSTM: c = cont f c_prev + i g, h = o tanh(c), from the gates i, f, o, g before their squashing."""
    site.count(3, 2)
    before, gates, cont = (site.real(bottom) for bottom in site.bottoms)
    size = before.shape[-1]
    if before.ndim != 3 or gates.shape != (*before.shape[:2], 4 * size) or cont.spec.size != before.shape[1]:
        told = f"the bottoms have the shapes {before.shape}, {gates.shape} and {cont.shape}"
        raise site.invalid(told, site.layer, "bottom")
    parts = [f"{site.own}.{name}" for name in ("i0", "f0", "o0", "g0")]
    raw = site.emit("Slice", gates, part="gates", tops=parts, dim=2)
    i, f, o = (site.emit("Sigmoid", one, part=name)[0] for one, name in zip(raw[:3], "ifo", strict=True))
    (g,) = site.emit("Tanh", raw[3], part="g")
    (keeps,) = site.emit("Reshape", cont, part="cont", shape=[1, -1, 1])
    (kept,) = site.emit("Mul", [keeps, f, before], part="kept")
    (new,) = site.emit("Mul", [i, g], part="new")
    (c,) = site.emit("Add", [kept, new], part="c", tops=site.tops[:1])
    (shown,) = site.emit("Tanh", c, part="shown")
    site.emit("Mul", [o, shown], tops=site.tops[1:])
