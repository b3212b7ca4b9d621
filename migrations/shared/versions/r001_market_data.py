"""The risk lab: sources, series, bars."""

from migrations.run_file import run_file

revision = "r001"
down_revision = "b010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Run the file."""
    run_file("shared/r001_market_data.sql")


def downgrade() -> None:
    """What was told cannot always be had again."""
    raise RuntimeError("r001 cannot be undone: restore a backup instead")
