"""How orders are executed."""

from migrations.run_file import run_file

revision = "003"
down_revision = "002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Run the file."""
    run_file("003_execution.sql")


def downgrade() -> None:
    """What brokers were asked to do is not to be forgotten."""
    raise RuntimeError("003 cannot be undone: restore a backup instead")
