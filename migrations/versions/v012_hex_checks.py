"""The checks of fingerprints and hashes, at less cost."""

from migrations.run_file import run_file

revision = "012"
down_revision = "011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Run the file."""
    run_file("012_hex_checks.sql")


def downgrade() -> None:
    """It could be; but no version is gone back from without a backup."""
    raise RuntimeError("012 cannot be undone: restore a backup instead")
