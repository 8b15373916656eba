"""Convolutions: windows that slide over images, and what changes their size."""

TITLE = "Convolutions"
