"""The number that fences off a batch which was lost on its way."""

from migrations.run_file import run_file

revision = "013"
down_revision = "012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Run the file."""
    run_file("013_fencing_numbers.sql")


def downgrade() -> None:
    """A batch may be on its way that names it; and no version is gone back from without a backup."""
    raise RuntimeError("013 cannot be undone: restore a backup instead")
