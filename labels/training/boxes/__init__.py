"""Stage 4 for boxes: data, tasks, metrics and the round."""
