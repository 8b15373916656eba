"""Detection: boxes around objects, and the regions of an image that they name."""

TITLE = "Detection"
