"""Stage 3 for actions."""
