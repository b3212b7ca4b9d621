"""The ATR of an instrument's newest bar, and its time."""

from migrations.run_file import run_file

revision = "011"
down_revision = "010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Run the file."""
    run_file("011_last_bars.sql")


def downgrade() -> None:
    """Entries would miss what the engine has kept for them."""
    raise RuntimeError("011 cannot be undone: restore a backup instead")
