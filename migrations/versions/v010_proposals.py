"""Signals that wait for a human."""

from migrations.run_file import run_file

revision = "010"
down_revision = "009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Run the file."""
    run_file("010_proposals.sql")


def downgrade() -> None:
    """The journal speaks of them."""
    raise RuntimeError("010 cannot be undone: restore a backup instead")
