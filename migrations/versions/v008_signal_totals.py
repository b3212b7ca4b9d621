"""Signals are counted once, however long the history."""

from migrations.run_file import run_file

revision = "008"
down_revision = "007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Run the file."""
    run_file("008_signal_totals.sql")


def downgrade() -> None:
    """What was counted is not needed by anything older."""
    raise RuntimeError("008 cannot be undone: restore a backup instead")
