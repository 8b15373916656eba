"""Indexing: numbers chosen by whole numbers."""

TITLE = "Indexing"
