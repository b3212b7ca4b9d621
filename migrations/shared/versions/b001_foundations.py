"""The schema of the book, and what its tables are checked with."""

from migrations.run_file import run_file

revision = "b001"
down_revision = None
branch_labels = ("shared",)
depends_on = None


def upgrade() -> None:
    """Run the file."""
    run_file("shared/b001_foundations.sql")


def downgrade() -> None:
    """What the book keeps is not to be forgotten."""
    raise RuntimeError("b001 cannot be undone: restore a backup instead")
