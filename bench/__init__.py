"""Figures: ours beside a raw limit of the same run, as ratios. Never a test, never a reason for a build to fail."""
