"""What series, curves and surfaces tell, and research signals."""

from migrations.run_file import run_file

revision = "r002"
down_revision = "r001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Run the file."""
    run_file("shared/r002_series.sql")


def downgrade() -> None:
    """What was told cannot always be had again."""
    raise RuntimeError("r002 cannot be undone: restore a backup instead")
