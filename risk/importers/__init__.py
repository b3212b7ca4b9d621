"""What is imported from where, one file a layout."""
