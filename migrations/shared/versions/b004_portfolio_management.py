"""Positions in two currencies, proposals, drafts, briefings, daily P&L."""

from migrations.run_file import run_file

revision = "b004"
down_revision = "b003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Run the file."""
    run_file("shared/b004_portfolio_management.sql")


def downgrade() -> None:
    """What the book keeps is not to be forgotten."""
    raise RuntimeError("b004 cannot be undone: restore a backup instead")
