"""Looking inside: traces, differences between runs, replayed steps, and what verify proves."""
