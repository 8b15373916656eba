"""The parts of scripts/fuzz.py: formats with their small good files, mutations, and the workers that try them."""
