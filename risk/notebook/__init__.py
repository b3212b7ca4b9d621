"""Frames for notebooks: what the tables have, read-only. Begin with `risk.open(dsn)`."""
