"""The daily batch: what the book's positions were worth on a day, what could happen to them, and the log of reckoning it."""
