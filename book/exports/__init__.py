"""What leaves the book: tables in CSV, JSON, Parquet and FIX, each kept with what it was."""
