"""What an option is a right to, and which legs the engine's synthetic futures have."""

from migrations.run_file import run_file

revision = "r007"
down_revision = "r006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Run the file."""
    run_file("shared/r007_option_terms.sql")


def downgrade() -> None:
    """As all of this branch."""
    raise RuntimeError("r007 cannot be undone: restore a backup instead")
