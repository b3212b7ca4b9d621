"""The kernel's first schema: positions, portfolio, pyramiding, signals, instances, leadership, journal, flows."""

from migrations.run_file import run_file

revision = "001"
down_revision = None
branch_labels = ("kernel",)
depends_on = None


def upgrade() -> None:
    """Run the file."""
    run_file("001_initial_schema.sql")


def downgrade() -> None:
    """There is no way back from the first schema that would not lose what it keeps."""
    raise RuntimeError("001 cannot be undone: restore a backup instead")
