"""Pure functions of arrays and frames: what positions are worth, what can happen to them, and how sure that is."""
