"""The book kept by a running instance, and what it tells of a day: the page, the message, the thread that does it."""
