"""Matrices: products, decompositions and what is learned linearly."""

TITLE = "Matrices"
