"""Foreign formats: one file a format, both ways in that file."""
