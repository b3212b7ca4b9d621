"""What the daily batch reckons of the book, by date."""

from migrations.run_file import run_file

revision = "r004"
down_revision = "r003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Run the file."""
    run_file("shared/r004_daily_risk.sql")


def downgrade() -> None:
    """As all of this branch."""
    raise RuntimeError("r004 cannot be undone: restore a backup instead")
