"""Poolings: what is left of a window: its largest number, its mean, one drawn from it."""

TITLE = "Poolings"
