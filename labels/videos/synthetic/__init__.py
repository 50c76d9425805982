"""Stage 1's own clips: rendered, with exact truth."""
