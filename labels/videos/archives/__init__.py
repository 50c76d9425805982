"""Stage 1 from labelled archives on disk: one file an archive."""
