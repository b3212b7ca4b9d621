"""How far each channel of notifications has told of the journal."""

from migrations.run_file import run_file

revision = "009"
down_revision = "008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Run the file."""
    run_file("009_notifications.sql")


def downgrade() -> None:
    """What was told would be told again."""
    raise RuntimeError("009 cannot be undone: restore a backup instead")
