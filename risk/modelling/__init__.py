"""What-if sessions in the database: a copy of the book, changes to it, snapshots, exports. No row that is traded is written."""
