"""An order at the broker belongs to one order of ours."""

from migrations.run_file import run_file

revision = "004"
down_revision = "003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Run the file."""
    run_file("004_broker_orders.sql")


def downgrade() -> None:
    """What brokers were asked to do is not to be forgotten."""
    raise RuntimeError("004 cannot be undone: restore a backup instead")
