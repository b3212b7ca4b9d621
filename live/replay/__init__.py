"""Replay: recorded inputs through the same decide, evolve and commit as live, in a scratch portfolio."""
