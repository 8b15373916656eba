"""Sequences: recurrence and attention."""

TITLE = "Sequences"
