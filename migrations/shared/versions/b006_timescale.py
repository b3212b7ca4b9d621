"""Daily P&L in compressed chunks, where TimescaleDB is there."""

from migrations.run_file import run_file

revision = "b006"
down_revision = "b005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Run the file."""
    run_file("shared/b006_timescale.sql")


def downgrade() -> None:
    """A hypertable is no table again without being copied."""
    raise RuntimeError("b006 cannot be undone: restore a backup instead")
