"""The tree of portfolios, positions in it, snapshots of it."""

from migrations.run_file import run_file

revision = "b003"
down_revision = "b002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Run the file."""
    run_file("shared/b003_hierarchy.sql")


def downgrade() -> None:
    """What the book keeps is not to be forgotten."""
    raise RuntimeError("b003 cannot be undone: restore a backup instead")
