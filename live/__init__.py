"""The running process: intake, one writer, recovery, commands."""
