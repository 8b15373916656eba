"""Poolings: what is left of a window: its largest element, its mean, one drawn from it."""

TITLE = "Poolings"
