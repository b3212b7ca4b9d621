"""The book of record: what a desk keeps around the engine. It reads the engine's tables and never writes them."""
