"""Reports of the book as pages and figures: tear sheets, realised tax lots."""
