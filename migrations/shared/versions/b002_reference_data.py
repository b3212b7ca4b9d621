"""Reference data, instruments, market data and where it came from."""

from migrations.run_file import run_file

revision = "b002"
down_revision = "b001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Run the file."""
    run_file("shared/b002_reference_data.sql")


def downgrade() -> None:
    """What the book keeps is not to be forgotten."""
    raise RuntimeError("b002 cannot be undone: restore a backup instead")
