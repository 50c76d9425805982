"""Stage 5. Drawing, charts, the report."""
