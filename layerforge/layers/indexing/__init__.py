"""Indexing: elements chosen by whole numbers."""

TITLE = "Indexing"
