"""Stage 2. One video through a labeller gives one shard."""
