"""The kernel: what a portfolio is, what an input does to it, and how that is kept in PostgreSQL."""
