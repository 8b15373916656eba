"""Normalization: numbers brought to a common scale."""

TITLE = "Normalization"
