"""What a label is and where it is stored: geometry, tables, the work folder, run records, safe writing."""
