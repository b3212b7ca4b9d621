"""The shared branch: what a database has once, whatever portfolios there are."""
