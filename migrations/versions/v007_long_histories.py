"""Lists by what is rare, however long the history."""

from migrations.run_file import run_file

revision = "007"
down_revision = "006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Run the file."""
    run_file("007_long_histories.sql")


def downgrade() -> None:
    """They cost little and are not to be missed."""
    raise RuntimeError("007 cannot be undone: restore a backup instead")
