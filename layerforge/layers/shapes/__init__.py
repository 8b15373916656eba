"""Shapes: the same elements in another arrangement."""

TITLE = "Shapes"
