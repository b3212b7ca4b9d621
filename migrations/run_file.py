"""Run one .sql file inside Alembic, untouched: op.execute would take `:name` and `%` in it for its own."""

from contextlib import closing
from pathlib import Path

from alembic import context, op

_FOLDER = Path(__file__).parent


def run_file(name: str) -> None:
    """Execute a file of this folder on the migration's connection, or print it where Alembic runs offline."""
    text = (_FOLDER / name).read_text(encoding="utf-8")
    if context.is_offline_mode():
        op.get_context().impl.static_output(text)
        return
    with closing(op.get_bind().connection.cursor()) as cursor:
        cursor.execute(text)
