"""Stage 4. Splits, datasets, augmentation, loops, metrics."""
