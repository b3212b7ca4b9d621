"""The one source of the schema: numbered .sql files, run by Alembic or by hand."""
