"""Shapes: the same numbers in another arrangement."""

TITLE = "Shapes"
