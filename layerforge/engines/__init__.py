"""Engines: faster ways to compute what the layer files say. plan/engines.py picks them; the layer files do not know."""
