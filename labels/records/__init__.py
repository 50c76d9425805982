"""What a label is and where it lies: geometry, tables, the work folder, run records, safe writing."""
