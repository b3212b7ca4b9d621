"""What the book keeps of the engine's journals."""

from migrations.run_file import run_file

revision = "b008"
down_revision = "b007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Run the file."""
    run_file("shared/b008_projections.sql")


def downgrade() -> None:
    """What is locked and sent cannot be taken back."""
    raise RuntimeError("b008 cannot be undone: restore a backup instead")
