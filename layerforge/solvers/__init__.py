"""Solvers: update rules, learning-rate schedules, and the Solver that drives a net with them."""
