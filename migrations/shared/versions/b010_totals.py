"""Totals of positions, kept by group and day."""

from migrations.run_file import run_file

revision = "b010"
down_revision = "b009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Run the file."""
    run_file("shared/b010_totals.sql")


def downgrade() -> None:
    """As all of this branch."""
    raise RuntimeError("b010 cannot be undone: restore a backup instead")
