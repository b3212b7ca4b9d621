"""What a desk calls nodes and positions, by date."""

from migrations.run_file import run_file

revision = "r006"
down_revision = "r005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Run the file."""
    run_file("shared/r006_tags.sql")


def downgrade() -> None:
    """As all of this branch."""
    raise RuntimeError("r006 cannot be undone: restore a backup instead")
