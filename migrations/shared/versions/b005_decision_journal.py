"""The kernel's journals, to be read."""

from migrations.run_file import run_file

revision = "b005"
down_revision = "b004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Run the file."""
    run_file("shared/b005_decision_journal.sql")


def downgrade() -> None:
    """It only reads: there is nothing to undo."""
    raise RuntimeError("b005 cannot be undone: restore a backup instead")
