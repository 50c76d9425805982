"""Stage 4 for actions: data, task, metrics and the round."""
