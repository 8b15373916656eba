"""The parts of scripts/bench.py: what is measured, who competes, how they take turns, and how it is shown."""
