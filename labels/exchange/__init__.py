"""Foreign formats, one file each, both ways."""
