"""The risk lab's tables of times in compressed chunks, where TimescaleDB is there."""

from migrations.run_file import run_file

revision = "r003"
down_revision = "r002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Run the file."""
    run_file("shared/r003_timescale.sql")


def downgrade() -> None:
    """A hypertable is no table again without being copied."""
    raise RuntimeError("r003 cannot be undone: restore a backup instead")
