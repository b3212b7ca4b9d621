"""Uploads row by row, prices beside the other feeds."""

from migrations.run_file import run_file

revision = "b009"
down_revision = "b008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Run the file."""
    run_file("shared/b009_uploads.sql")


def downgrade() -> None:
    """What was uploaded is the record of where numbers came from."""
    raise RuntimeError("b009 cannot be undone: restore a backup instead")
