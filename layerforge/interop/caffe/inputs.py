"""The types of layers that feed a net, and the shapes that have to be said of what they give."""

from __future__ import annotations

from collections.abc import Container, Sequence

from .conversion import Site
from .names import Version

UNREAD = (  # types that give data which no source reads: their tops are inputs of the net
    *("WindowData", "AnnotatedData", "VideoData", "DenseImageData", "ImageSegData", "ImageLabelmapData", "BboxData"),
)
LABELLED = ("Data", "ImageData", "MemoryData")  # whose second top has one label a sample
FEEDING = ("Input", "Data", "ImageData", "HDF5Data", "MemoryData", *UNREAD)


def demand_shapes(site: Site, versions: Sequence[Version], known: Container[str]) -> None:
    """Errors: Unsupported for the tops whose shapes neither data nor the user say."""
    missing = [version.blob for version in versions if version.blob not in known]
    if not missing:
        return
    names = (f"'{blob}'" for blob in missing)
    first, labelled = versions[0].blob, site.type in LABELLED
    asked = {blob: "1,3,224,224" if blob == first else "1" for blob in missing if blob == first or not labelled}
    words = " ".join(f"--input {blob}={shape}" for blob, shape in (asked or {missing[0]: "1"}).items())
    root = "" if site.type in ("Input", *UNREAD) else "; or --data-root names the folder that its data are in"
    hint = f"say it: {words}, in Python inputs={{'{first}': (1, 3, 224, 224)}}{root}"
    raise site.unsupported(f"the shape of {' and '.join(names)} is not known without its data", hint=hint)
