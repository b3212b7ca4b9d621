"""Several instances of one portfolio."""

from migrations.run_file import run_file

revision = "005"
down_revision = "004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Run the file."""
    run_file("005_instances.sql")


def downgrade() -> None:
    """Who led is not to be forgotten."""
    raise RuntimeError("005 cannot be undone: restore a backup instead")
