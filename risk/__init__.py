"""Market data and the risk lab: read-only towards the engine."""
