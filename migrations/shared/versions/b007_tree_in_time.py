"""The tree as it was on a day, rates between any two currencies, settings in force."""

from migrations.run_file import run_file

revision = "b007"
down_revision = "b006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Run the file."""
    run_file("shared/b007_tree_in_time.sql")


def downgrade() -> None:
    """What nodes were called and where they hung would be gone."""
    raise RuntimeError("b007 cannot be undone: restore a backup instead")
