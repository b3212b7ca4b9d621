"""Orders and fills."""

from migrations.run_file import run_file

revision = "002"
down_revision = "001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Run the file."""
    run_file("002_orders.sql")


def downgrade() -> None:
    """What brokers were asked to do is not to be forgotten."""
    raise RuntimeError("002 cannot be undone: restore a backup instead")
