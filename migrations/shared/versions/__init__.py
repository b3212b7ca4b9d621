"""Alembic revisions of the shared branch, one a .sql file."""
