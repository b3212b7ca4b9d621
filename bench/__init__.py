"""First figures, beside raw limits of the same run."""
