"""Checks: gradients against finite differences, and the whole layer contract. Public, for users' layers too."""
