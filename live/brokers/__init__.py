"""Brokers: one port, and an adapter for each."""
