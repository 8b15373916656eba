"""DummyData as a source: where nothing else feeds a net, its constants and random numbers are batches of type Filled.

Beside another source, and in net.yaml, they stay layers of the net: Constant and Random.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .conversion import Site
from .feeding import Feeding
from .translation import Translation

EPOCH = 10  # batches of an epoch, which Caffe has none of
TOLD = f"an epoch is {EPOCH} batches of drawn numbers, which are the same in every epoch"


def filled(made: Translation) -> Feeding | None:
    """The source of a net that DummyData alone feeds, which loses these layers; None where they cannot be one.

    The batches of all of them must be of one size, and no blob a single number.
    """
    sites = [site for site in made.sites if site.type == "DummyData"]
    items = [layer.item for site in sites for layer in site.made]
    shapes = [item["shape"] for item in items]
    if not items or made.inputs or not all(shapes) or len({shape[0] for shape in shapes}) != 1:
        return None
    blobs = {_top(site, number): _blob(item.item) for site in sites for number, item in enumerate(site.made)}
    batch = shapes[0][0]
    names = {str(item["name"]) for item in items}
    made.layers = [item for item in made.layers if item["name"] not in names]
    found = Feeding(sites[0].layer, batch=batch)
    found.feed = {"type": "Filled", "blobs": blobs, "samples": batch * EPOCH, "shuffle": False, "batch_size": batch}
    return found


def _top(site: Site, number: int) -> str:
    return site.made[number].tops[0]


def _blob(item: Mapping[str, Any]) -> dict[str, Any]:
    """What Filled says of a blob that a Constant or Random makes."""
    filler: dict[str, Any]
    if item["type"] == "Constant":
        filler = {"type": "constant", "value": item.get("value", 0.0)}
    elif item.get("distribution") == "normal":
        filler = {"type": "gaussian", "mean": item.get("mean", 0.0), "std": item.get("std", 1.0)}
    else:
        filler = {"type": "uniform", "min": item.get("low", 0.0), "max": item.get("high", 1.0)}
    return {"shape": list(item["shape"][1:]), "filler": filler}
