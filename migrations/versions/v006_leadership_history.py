"""Who led, term by term."""

from migrations.run_file import run_file

revision = "006"
down_revision = "005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Run the file."""
    run_file("006_leadership_history.sql")


def downgrade() -> None:
    """Who led is not to be forgotten."""
    raise RuntimeError("006 cannot be undone: restore a backup instead")
