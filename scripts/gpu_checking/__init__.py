"""The stages of `scripts/gpu_check.py`, each a promise that only a device can keep or break."""
