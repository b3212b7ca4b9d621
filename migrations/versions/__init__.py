"""Alembic revisions, one a .sql file."""
