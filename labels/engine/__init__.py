"""The one runner of per-item work: what is finished, where the rest is done, and the account of it."""
