"""What-if sessions, their snapshots, and what was exported."""

from migrations.run_file import run_file

revision = "r005"
down_revision = "r004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Run the file."""
    run_file("shared/r005_modeling_sessions.sql")


def downgrade() -> None:
    """As all of this branch."""
    raise RuntimeError("r005 cannot be undone: restore a backup instead")
